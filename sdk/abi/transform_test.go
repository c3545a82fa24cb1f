package abi

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

func replace(t testing.TB, w *ReplyWriter, index int, data string) {
	t.Helper()
	if err := w.Replace(index, record.Record{Sequence: 99, Arrival: 7, Key: []byte("k"), Data: []byte(data)}); err != nil {
		t.Fatal(err)
	}
}

func replacements(r *Reply) string {
	var all []string
	for i, rec := range r.Replacements() {
		all = append(all, fmt.Sprintf("%d=%s", i, rec.Data))
	}
	return strings.Join(all, " ")
}

func TestReplacements(t *testing.T) {
	for name, c := range map[string]struct {
		write func(w *ReplyWriter)
		want  string
	}{
		"none":     {func(*ReplyWriter) {}, ""},
		"in order": {func(w *ReplyWriter) { replace(t, w, 0, "a"); replace(t, w, 2, "b"); replace(t, w, 2, "c") }, "0=a 2=b 2=c"},
		"in no order": {func(w *ReplyWriter) {
			replace(t, w, 3, "a")
			replace(t, w, 1, "b")
			emit(t, w, "out", "k", "other")
			replace(t, w, 3, "c")
			replace(t, w, 0, "d")
		}, "0=d 1=b 3=a 3=c"},
		"of records that do not go on": {func(w *ReplyWriter) {
			for i := range 4 {
				replace(t, w, i, "x")
			}
			w.Outcome(0, ResultDropped, "a reason")
			w.Outcome(2, ResultRejected, "")
		}, "1=x 3=x"},
		"only others": {func(w *ReplyWriter) { emit(t, w, "out", "k", "v") }, ""},
	} {
		var w ReplyWriter
		c.write(&w)
		r := parse(t, finish(t, &w), KindTransform, 4)
		if got := replacements(r); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for range r.Replacements() {
			break // also when nobody wants more
		}
	}
}

func TestTransformsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		write func(w *ReplyWriter)
		kind  Kind
		want  string
	}{
		"beyond the call":  {func(w *ReplyWriter) { replace(t, w, 4, "a") }, KindTransform, "output sequence number"},
		"in a batch":       {func(w *ReplyWriter) { replace(t, w, 0, "a") }, KindBatch, "output stream name length"},
		"retry":            {func(w *ReplyWriter) { w.Outcome(1, ResultRetry, "") }, KindTransform, "outcome result"},
		"state":            {func(w *ReplyWriter) { w.SetState([]byte("x")) }, KindTransform, "state length"},
		"a negative index": {func(w *ReplyWriter) { replace(t, w, -1, "a") }, KindTransform, "output sequence number"},
	} {
		var w ReplyWriter
		c.write(&w)
		var r Reply
		if err := r.Parse(finish(t, &w), c.kind, 4); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is emitted without a name is no replacement, also behind one.
func TestEmitNeedsANameAfterAReplacement(t *testing.T) {
	var w ReplyWriter
	replace(t, &w, 0, "a")
	if err := w.Emit("", record.Record{Data: []byte("b")}); err == nil || !strings.Contains(err.Error(), "it is empty") {
		t.Error(err)
	}
	emit(t, &w, "out", "k", "v")
	r := parse(t, finish(t, &w), KindTransform, 1)
	if replacements(r) != "0=a" || r.Emitted() != 1 {
		t.Errorf("%s, %d emitted", replacements(r), r.Emitted())
	}
	b := slices.Clone(finish(t, &w))
	for n := range b { // no byte that is another makes it panic
		b[n] ^= 0x81
		if r.Parse(b, KindTransform, 1) == nil {
			_ = replacements(r)
		}
		b[n] ^= 0x81
	}
}

func FuzzTransform(f *testing.F) {
	var w ReplyWriter
	replace(f, &w, 1, "a")
	replace(f, &w, 0, "b")
	w.Outcome(1, ResultDropped, "no")
	f.Add(slices.Clone(finish(f, &w)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Reply
		if r.Parse(b, KindTransform, 3) != nil {
			return
		}
		last := 0
		for i := range r.Replacements() {
			if i < last || i > 2 {
				t.Errorf("record %d after %d", i, last)
			}
			last = i
		}
	})
}
