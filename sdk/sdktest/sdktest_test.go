package sdktest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/abi"
)

func TestBatchGivesBackWhatTheHandlerSaid(t *testing.T) {
	got := Batch(t, func(_ context.Context, b *sdk.Batch) error {
		for i, r := range b.All() {
			switch r.Sequence {
			case 1:
				b.Retry(i, "once more")
			case 2:
				b.EmitRecord("out", r)
			case 77:
				b.Reject(i, "")
			}
		}
		return nil
	}, sdk.Record{}, sdk.Record{Key: []byte("k"), Data: []byte("v"), ExplicitHash: make([]byte, 16)}, sdk.Record{Sequence: 77}, sdk.Record{})
	if s := fmt.Sprint(got.Outcomes); s != "[retry: once more ok rejected ok]" {
		t.Errorf("outcomes %s", s)
	}
	out := got.Emitted["out"]
	if len(got.Emitted) != 1 || len(out) != 1 || string(out[0].Key) != "k" || string(out[0].Data) != "v" || len(out[0].ExplicitHash) != 16 {
		t.Errorf("emitted %v", got.Emitted)
	}
	if got.Err != nil {
		t.Errorf("error %v", got.Err)
	}
}

func TestFailuresAreResults(t *testing.T) {
	got := Batch(t, func(context.Context, *sdk.Batch) error { return errors.New("boom") }, sdk.Record{})
	if got.Err == nil || got.Err.Kind != abi.FailureError || got.Err.Error() != "error: boom" || got.Outcomes != nil || len(got.Emitted) != 0 {
		t.Errorf("%+v", got)
	}
	got = Batch(t, func(context.Context, *sdk.Batch) error { panic("bang") })
	if got.Err == nil || got.Err.Kind != abi.FailurePanic || got.Err.Message != "bang" || got.Err.Stack == "" {
		t.Errorf("%+v", got.Err)
	}
}

func TestInvoke(t *testing.T) {
	double := func(_ context.Context, in []byte) ([]byte, error) {
		if len(in) == 0 {
			return nil, errors.New("nothing")
		}
		return append(in, in...), nil
	}
	if out, err := Invoke(t, double, []byte("ab")); string(out) != "abab" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	var failure *Failure
	if _, err := Invoke(t, double, nil); !errors.As(err, &failure) || failure.Message != "nothing" {
		t.Errorf("%v", err)
	}
}

func TestCallFactsReachTheHandler(t *testing.T) {
	deadline := time.UnixMicro(time.Now().Add(time.Hour).UnixMicro())
	want := sdk.Call{Function: "f", Version: 2, Invocation: "i", Mapping: "m", Stream: "s", Shard: 3, Attempt: 4, Deadline: deadline}
	c := Call{Function: "f", Version: 2, Invocation: "i", Mapping: "m", Stream: "s", Shard: 3, Attempt: 4, Deadline: deadline}
	c.Batch(t, func(_ context.Context, b *sdk.Batch) error {
		if *b.Call() != want {
			t.Errorf("got %+v, want %+v", *b.Call(), want)
		}
		return nil
	})
	Batch(t, func(_ context.Context, b *sdk.Batch) error {
		if want := (sdk.Call{Function: "test", Version: 1, Attempt: 1}); *b.Call() != want {
			t.Errorf("got %+v, want %+v", *b.Call(), want)
		}
		return nil
	})
}

func TestViewsThatAreKeptAreSeen(t *testing.T) {
	var kept []byte
	Batch(t, func(_ context.Context, b *sdk.Batch) error {
		for _, r := range b.All() {
			kept = r.Data
		}
		return nil
	}, sdk.Record{Data: []byte("gone")})
	if !bytes.Equal(kept, []byte{0xDB, 0xDB, 0xDB, 0xDB}) {
		t.Errorf("the view is still %q", kept)
	}
}

func TestLines(t *testing.T) {
	text := "{\"k\":\"a\",\"n\":1}\n{\"n\": 2, \"k\":\"b\\u00e9\"}\n"
	plain := filepath.Join(t.TempDir(), "f.ndjson")
	zipped := plain + ".gz"
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(z.Close(), os.WriteFile(plain, []byte(text), 0o644), os.WriteFile(zipped, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{plain, zipped} {
		var got []string
		for _, r := range Lines(t, file, "k") {
			got = append(got, string(r.Key), string(r.Data))
		}
		if want := []string{"a", `{"k":"a","n":1}`, "bé", `{"n": 2, "k":"b\u00e9"}`}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

// fatal is a testing.TB that notes whether the test was failed.
type fatal struct {
	testing.TB
	failed bool
}

func (f *fatal) Helper()               {}
func (f *fatal) Fatalf(string, ...any) { f.failed = true; goruntime.Goexit() }

func TestBadInputFailsTheTest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ok := func(context.Context, *sdk.Batch) error { return nil }
	for name, do := range map[string]func(testing.TB){
		"no file":     func(t testing.TB) { Lines(t, filepath.Join(dir, "none"), "k") },
		"not gzip":    func(t testing.TB) { Lines(t, write("a.gz", "text"), "k") },
		"not JSON":    func(t testing.TB) { Lines(t, write("b", "{\n"), "k") },
		"no member":   func(t testing.TB) { Lines(t, write("c", "{\"k\":1}\n"), "k") },
		"record":      func(t testing.TB) { Batch(t, ok, sdk.Record{ExplicitHash: []byte("short")}) },
		"call":        func(t testing.TB) { Call{Stream: string(make([]byte, 300))}.Batch(t, ok) },
		"line length": func(t testing.TB) { Lines(t, write("d", string(make([]byte, maxLine+1))), "k") },
	} {
		f := &fatal{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			do(f)
		}()
		<-done
		if !f.failed {
			t.Errorf("%s: the test goes on", name)
		}
	}
}

func TestWindow(t *testing.T) {
	c := Call{Window: sdk.Window{Start: time.Unix(60, 0), End: time.Unix(120, 0)}, State: []byte("a")}
	got := c.Batch(t, func(_ context.Context, b *sdk.Batch) error {
		b.SetState(append(b.State(), 'b'))
		return nil
	}, sdk.Record{Data: []byte("x")})
	if got.Err != nil || string(got.State) != "ab" {
		t.Errorf("a batch: %+v", got)
	}
	c.Window.EndedEarly = true
	got = c.WindowEnd(t, func(_ context.Context, w *sdk.WindowEnd) error {
		if !w.Window().EndedEarly || w.Window().End.Unix() != 120 {
			t.Errorf("window %+v", w.Window())
		}
		w.Emit("out", "k", w.State())
		return nil
	})
	if out := got.Emitted["out"]; got.Err != nil || len(out) != 1 || string(out[0].Data) != "a" {
		t.Errorf("the end: %+v", got)
	}
}
