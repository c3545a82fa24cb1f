package runtime

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/record"
)

// transformed is what a transform of these records came to.
func transformed(t *testing.T, w *world, reply *Reply, data ...string) (all []string, err error) {
	t.Helper()
	var b record.Builder
	for _, d := range data {
		if err := b.Append(record.Record{Sequence: 7, Key: []byte("k"), Data: []byte(d)}); err != nil { // as user records of one aggregate
			t.Fatal(err)
		}
	}
	err = w.Invoke(t.Context(), Call{Function: "f", Kind: KindTransform, Records: []record.Run{b.Run()}}, reply)
	for _, o := range reply.Outcomes {
		all = append(all, fmt.Sprintf("%d %s %s", o.Index, o.Result, o.Reason))
	}
	for i, r := range reply.Replacements() {
		all = append(all, fmt.Sprintf("%d=%s/%s", i, r.Key, r.Data))
	}
	return all, err
}

func TestTransform(t *testing.T) {
	w := open(t)
	f := w.deploy(t, "f", guests["probe"], Config{Emit: []string{"out"}})
	if !f.Kinds.Has(KindTransform) {
		t.Fatalf("kinds %b", f.Kinds)
	}
	var reply Reply
	got, err := transformed(t, w, &reply, "as it is", "drop no use", "reject broken", "replace by this", "split a b", "emit out", "backwards last", "x")
	want := []string{"1 dropped no use", "2 rejected broken", "3=k/by this", "4=a/a", "4=b/b", "6=k/backwards last", "7=k/last"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\ngot  %q\nwant %q", err, got, want)
	}
	if !slices.Equal(w.emitted.records, []string{"out/k/emit out"}) || reply.Emitted != 1 {
		t.Errorf("%d emitted: %q", reply.Emitted, w.emitted.records)
	}
	var failed *FunctionError
	if got, err := transformed(t, w, &reply, "replace x", "fail for good"); !errors.As(err, &failed) || failed.Message != "for good" || len(got) > 0 {
		t.Errorf("%v, %q", err, got)
	}
	if got, err := transformed(t, w, &reply, "emit elsewhere", "replace x"); !errors.As(err, &failed) || failed.Kind != FailDenied {
		t.Errorf("%v, %q", err, got)
	}
}

// A view that a function keeps shows what has come to its place since; in one whose environment asks for it, nothing for ever.
func TestPoisonedFunction(t *testing.T) {
	for value, want := range map[string]string{"1": strings.Repeat("db", len("keep this")), "": hex.EncodeToString([]byte("elsewhere"))} {
		w := open(t)
		w.deploy(t, "f", guests["probe"], Config{Env: map[string]string{sdk.PoisonVariable: value}})
		var reply Reply
		for _, data := range []string{"keep this", "elsewhere"} {
			if _, err := transformed(t, w, &reply, data); err != nil {
				t.Fatal(err)
			}
		}
		if lines := w.logsOf(t, "f"); len(lines) != 1 || !strings.HasSuffix(lines[0], "kept "+want) {
			t.Errorf("with %q: %q, want %q", value, lines, want)
		}
	}
}
