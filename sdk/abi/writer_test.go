package abi

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/shardmill/shardmill/sdk/record"
)

func parse(t testing.TB, b []byte, kind Kind, records int) *Reply {
	t.Helper()
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(b))); at%alignment != 0 {
		t.Errorf("the reply lies at %#x", at)
	}
	var r Reply
	if err := r.Parse(b, kind, records); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestTheLastOutcomeOfARecordCounts(t *testing.T) {
	var w ReplyWriter
	want := map[int]Outcome{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		o := Outcome{random.IntN(300), Result(1 + random.IntN(3)), []byte(strings.Repeat("r", random.IntN(20)))}
		w.Outcome(o.Index, o.Result, string(o.Reason))
		want[o.Index] = o
	}
	r := parse(t, finish(t, &w), KindBatch, 300)
	got := 0
	for o := range r.Outcomes() {
		got++
		if w := want[o.Index]; w.Result != o.Result || string(w.Reason) != string(o.Reason) {
			t.Errorf("got %+v, want %+v", o, w)
		}
	}
	if got != len(want) {
		t.Errorf("%d outcomes, want %d", got, len(want))
	}
}

func TestTextsAreCutBetweenCharacters(t *testing.T) {
	var w ReplyWriter
	w.Outcome(0, ResultRejected, strings.Repeat("x", MaxReasonBytes-1)+"é")
	for o := range parse(t, finish(t, &w), KindBatch, 1).Outcomes() {
		if got := string(o.Reason); got != strings.Repeat("x", MaxReasonBytes-1) {
			t.Errorf("reason ends with %q", got[len(got)-3:])
		}
	}
	long := strings.Repeat("ü", MaxStackBytes)
	f := parse(t, w.Fail(FailurePanic, long, long, long), KindBatch, 1).Failure()
	if len(f.Type) != MaxTypeBytes || len(f.Message) != MaxMessageBytes || len(f.Stack) != MaxStackBytes {
		t.Errorf("type %d, message %d, stack %d bytes", len(f.Type), len(f.Message), len(f.Stack))
	}
}

func TestEmitLimits(t *testing.T) {
	var w ReplyWriter
	rec := record.Record{Key: []byte("k")}
	if err := w.Emit("", rec); !errors.Is(err, ErrMalformed) {
		t.Errorf("no stream: %v", err)
	}
	if err := w.Emit(strings.Repeat("s", MaxNameBytes+1), rec); !errors.Is(err, ErrLimit) {
		t.Errorf("long stream: %v", err)
	}
	if err := w.Emit("s", record.Record{ExplicitHash: []byte("short")}); !errors.Is(err, record.ErrHashSize) {
		t.Errorf("short hash: %v", err)
	}
	if r := parse(t, finish(t, &w), KindBatch, 1); r.Emitted() != 0 {
		t.Errorf("%d records of emits that failed", r.Emitted())
	}
	for i := range MaxOutputs {
		emit(t, &w, fmt.Sprint("stream", i), "k", "")
	}
	if err := w.Emit("one more", rec); !errors.Is(err, ErrLimit) {
		t.Errorf("too many streams: %v", err)
	}
	if r := parse(t, finish(t, &w), KindBatch, 1); r.Emitted() != MaxOutputs {
		t.Errorf("%d records", r.Emitted())
	}
	w.SetState(make([]byte, MaxStateBytes+1))
	if _, err := w.Finish(); !errors.Is(err, ErrLimit) {
		t.Errorf("long state: %v", err)
	}
}

// A writer that has served many calls writes what a new one would, whatever came before.
func TestAReusedWriterForgets(t *testing.T) {
	var used ReplyWriter
	random := rand.New(rand.NewPCG(3, 4))
	for call := range 500 {
		var fresh ReplyWriter
		used.Reset()
		seed := random.Uint64()
		fill := func(w *ReplyWriter) []byte {
			random := rand.New(rand.NewPCG(seed, 0))
			for range random.IntN(20) {
				// More names than a reply has sections, so that slots of old names are taken over.
				emit(t, w, fmt.Sprint("stream", random.IntN(2*MaxOutputs)), "key", strings.Repeat("d", random.IntN(50)))
			}
			for i := range random.IntN(5) {
				w.Outcome(i, ResultRetry, strings.Repeat("r", random.IntN(9)))
			}
			if random.IntN(10) == 0 {
				return w.Fail(FailureError, "T", "failed", "")
			}
			return finish(t, w)
		}
		if a, b := fill(&used), fill(&fresh); string(a) != string(b) {
			t.Fatalf("call %d:\n%x\na new writer's:\n%x", call, a, b)
		}
	}
}

func TestWriterAllocatesNothing(t *testing.T) {
	var w ReplyWriter
	rec := record.Record{Key: []byte("key"), Data: make([]byte, 1024)}
	body := []byte("body")
	write := func() {
		w.Reset()
		for i := range 100 {
			w.Outcome(i^1, ResultRejected, "no") // out of order
			if err := w.Emit([]string{"a", "b"}[i&1], rec); err != nil {
				t.Error(err)
			}
		}
		w.SetBody(body)
		if _, err := w.Finish(); err != nil {
			t.Error(err)
		}
	}
	write()
	if n := testing.AllocsPerRun(100, write); n != 0 {
		t.Errorf("%v allocations for 100 records", n)
	}
}

func TestPack(t *testing.T) {
	for _, c := range [][2]uint32{{0, 0}, {8, 40}, {1<<32 - 8, 1<<32 - 1}} {
		if ptr, size := Unpack(Pack(c[0], c[1])); ptr != c[0] || size != c[1] {
			t.Errorf("%v came back as %d, %d", c, ptr, size)
		}
	}
}

func TestNames(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"stream batch": KindBatch, "window close": KindWindowClose, "transform": KindTransform, "direct invoke": KindInvoke,
		"kind 9": Kind(9), "ok": ResultOK, "dropped": ResultDropped, "retry": ResultRetry, "rejected": ResultRejected,
		"result 9": Result(9), "error": FailureError, "panic": FailurePanic, "unsupported": FailureUnsupported,
		"bad call": FailureBadCall, "failure 9": FailureKind(9),
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if KindBatch.Mask() != 2 || KindInvoke.Mask() != 16 {
		t.Error("bit k is not kind k's")
	}
}

func BenchmarkReplyWrite(b *testing.B) {
	var w ReplyWriter
	rec := record.Record{Key: []byte("DFW"), Data: make([]byte, 1024)}
	b.ReportAllocs()
	b.SetBytes(int64(100 * rec.Size()))
	for b.Loop() {
		w.Reset()
		for range 100 {
			if err := w.Emit("delays", rec); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}
