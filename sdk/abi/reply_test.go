package abi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

// describe is everything in a parsed reply, as text.
func describe(r *Reply) string {
	var s strings.Builder
	if r.Failed() {
		f := r.Failure()
		fmt.Fprintf(&s, "%s [%s] %s\n%s\n", f.Kind, f.Type, f.Message, f.Stack)
	}
	for o := range r.Outcomes() {
		fmt.Fprintf(&s, "%d %s %q\n", o.Index, o.Result, o.Reason)
	}
	for out := range r.Outputs() {
		fmt.Fprintf(&s, "%s:", out.Stream)
		for rec := range out.Records.All() {
			fmt.Fprintf(&s, " (%s, %s)", rec.Key, rec.Data)
		}
		s.WriteByte('\n')
	}
	fmt.Fprintf(&s, "emitted %d state %q body %q", r.Emitted(), r.State(), r.Body())
	return s.String()
}

func TestParseGoldenReplies(t *testing.T) {
	for name, c := range map[string]struct {
		kind    Kind
		records int
		want    string
	}{
		"reply-ok.bin":       {KindBatch, 3, `emitted 0 state "" body ""`},
		"reply-outcomes.bin": {KindBatch, 3, "0 dropped \"\"\n1 retry \"later\"\n2 rejected \"not a flight\"\nemitted 0 state \"\" body \"\""},
		"reply-outputs.bin":  {KindBatch, 1, "delays: (DFW, {\"flights\":12}) (JFK, {\"flights\":1})\nspäte-flüge: (, )\nemitted 3 state \"\" body \"\""},
		"reply-state.bin":    {KindBatch, 1, "0 dropped \"x\"\ns: (k, v)\nemitted 1 state \"count=4\" body \"\""},
		"reply-body.bin":     {KindInvoke, 0, `emitted 0 state "" body "pong!"`},
		"reply-error.bin":    {KindInvoke, 0, "error [*errors.errorString] boom\n\nemitted 0 state \"\" body \"\""},
		"reply-panic.bin":    {KindBatch, 1, "panic [runtime.boundsError] index out of range [3] with length 3\nmain.handle(...)\n\t/src/main.go:12 +0x1\nemitted 0 state \"\" body \"\""},
	} {
		var r Reply
		if err := r.Parse(goldens(t)[name], c.kind, c.records); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := describe(&r); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestMalformedReplies(t *testing.T) {
	for i, c := range []struct {
		golden string
		kind   Kind
		at     int
		put    []byte
		want   string
	}{
		{"reply-ok.bin", KindBatch, 0, []byte("X"), "magic"},
		{"reply-ok.bin", KindBatch, 4, []byte{2}, "version"},
		{"reply-ok.bin", KindBatch, 6, []byte{2}, "status"},
		{"reply-ok.bin", KindBatch, 6, []byte{1}, "error section length"},
		{"reply-ok.bin", KindBatch, 7, []byte{1}, "flags"},
		{"reply-ok.bin", KindBatch, 8, []byte{48}, "length"},
		{"reply-ok.bin", KindBatch, 12, []byte{255, 255, 255, 255}, "error section length"},
		{"reply-ok.bin", KindBatch, 16, []byte{1}, "outcomes section length"},
		{"reply-ok.bin", KindBatch, 20, []byte{8}, "outcomes section length"},
		{"reply-ok.bin", KindBatch, 24, []byte{1}, "output sections length"},
		{"reply-ok.bin", KindBatch, 24, []byte{1, 1}, "output section count"},
		{"reply-ok.bin", KindBatch, 32, []byte{255, 255, 255, 255}, "state length"},
		{"reply-ok.bin", KindBatch, 36, []byte{1}, "body length"},

		{"reply-outcomes.bin", KindInvoke, 0, nil, "outcomes section length"},
		{"reply-outcomes.bin", KindWindowClose, 0, nil, "outcomes section length"},
		{"reply-outcomes.bin", KindBatch, 40, []byte{1}, "outcome index"},            // 1, 1, 2
		{"reply-outcomes.bin", KindBatch, 40, []byte{0, 0, 0, 128}, "outcome index"}, // beyond the call
		{"reply-outcomes.bin", KindBatch, 44, []byte{0}, "outcome result"},           // ok is not written
		{"reply-outcomes.bin", KindBatch, 44, []byte{4}, "outcome result"},
		{"reply-outcomes.bin", KindBatch, 45, []byte{1}, "reserved byte"},
		{"reply-outcomes.bin", KindBatch, 46, []byte{1, 4}, "outcome reason length"}, // 1025
		{"reply-outcomes.bin", KindBatch, 70, []byte{0, 4}, "outcome reason length"}, // beyond the section
		{"reply-outcomes.bin", KindBatch, 16, []byte{2}, "outcomes section length"},  // bytes left over
		{"reply-outcomes.bin", KindBatch, 16, []byte{4}, "outcomes section length"},  // too few
		{"reply-outcomes.bin", KindBatch, 62, []byte{1}, "the padding of record 1"},
		{"reply-outputs.bin", KindBatch, 40, []byte{255}, "output section length"},
		{"reply-outputs.bin", KindBatch, 40, []byte{0, 1}, "output section length"},
		{"reply-outputs.bin", KindBatch, 44, []byte{0}, "output record count"},
		{"reply-outputs.bin", KindBatch, 44, []byte{1}, "output records"},
		{"reply-outputs.bin", KindBatch, 44, []byte{0, 0, 0, 255}, "output record co"},
		{"reply-outputs.bin", KindBatch, 48, []byte{0}, "output section length"},
		{"reply-outputs.bin", KindBatch, 52, []byte{1, 1}, "output stream name len"}, // 257
		{"reply-outputs.bin", KindBatch, 54, []byte{1}, "output section: reserved"},
		{"reply-outputs.bin", KindBatch, 62, []byte{1}, "output section: reserved"}, // padding of the name
		{"reply-outputs.bin", KindBatch, 64 + 16, []byte{255}, "output records"},    // data length
		{"reply-state.bin", KindTransform, 0, nil, "state length"},
		{"reply-body.bin", KindBatch, 0, nil, "body length"},
		{"reply-body.bin", KindInvoke, 45, []byte{1}, "padding after 5 bytes"},
		{"reply-error.bin", KindBatch, 6, []byte{0}, "error section length"},
		{"reply-error.bin", KindBatch, 40, []byte{0}, "error kind"},
		{"reply-error.bin", KindBatch, 40, []byte{5}, "error kind"},
		{"reply-error.bin", KindBatch, 42, []byte{1, 1}, "error type length"},
		{"reply-error.bin", KindBatch, 44, []byte{1, 0, 1}, "error message length"},
		{"reply-error.bin", KindBatch, 48, []byte{1, 0, 4}, "error stack length"},
		{"reply-error.bin", KindBatch, 44, []byte{64}, "error section length"},
		{"reply-error.bin", KindBatch, 52, []byte{1}, "reserved field"},
		{"reply-error.bin", KindBatch, 12, []byte{8}, "length"},
	} {
		b := slices.Clone(goldens(t)[c.golden])
		copy(b[c.at:], c.put)
		var r Reply
		err := r.Parse(b, c.kind, 3)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("row %d: %s with %v at %d: %v, want %q", i, c.golden, c.put, c.at, err, c.want)
		}
		if r.Emitted() != 0 || r.Failed() || r.Body() != nil {
			t.Errorf("row %d: a reply that was refused is not empty", i)
		}
	}
}

// Any one byte changed, and any end cut off, is refused or read as some other well-formed reply.
func TestDamagedRepliesAreSafe(t *testing.T) {
	for name, b := range goldens(t) {
		if !strings.HasPrefix(name, "reply") {
			continue
		}
		for n := range b {
			var r Reply
			if err := r.Parse(b[:n:n], KindBatch, 3); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
			for _, bit := range []byte{1, 0x80, 0xFF} {
				damaged := slices.Clip(slices.Clone(b))
				damaged[n] ^= bit
				if r.Parse(damaged, KindBatch, 3) == nil {
					_ = describe(&r)
				}
			}
		}
	}
}

func TestTransformMayNameNoStream(t *testing.T) {
	var w ReplyWriter
	emit(t, &w, "x", "k", "v")
	b := slices.Clone(finish(t, &w))
	at := ReplyHeaderSize
	b = slices.Delete(b, at+outputHeaderSize, at+outputHeaderSize+8)
	b[8], b[28], b[at], b[at+12] = b[8]-8, b[28]-8, b[at]-8, 0
	var r Reply
	if err := r.Parse(b, KindTransform, 1); err != nil {
		t.Error(err)
	}
	if err := r.Parse(b, KindBatch, 1); err == nil || !strings.Contains(err.Error(), "output stream name length") {
		t.Errorf("in a batch: %v", err)
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	var w ReplyWriter
	for i := range 100 {
		w.Outcome(i, ResultRetry, "later")
		emit(t, &w, []string{"a", "b"}[i&1], "key", "data")
	}
	b := finish(t, &w)
	var r Reply
	seen := 0
	if n := testing.AllocsPerRun(100, func() {
		if err := r.Parse(b, KindBatch, 100); err != nil {
			t.Error(err)
		}
		for o := range r.Outcomes() {
			seen += o.Index
		}
		for out := range r.Outputs() {
			for rec := range out.Records.All() {
				seen += len(rec.Data)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for 100 records", n)
	}
}

func FuzzReply(f *testing.F) {
	for name, b := range goldens(f) {
		if strings.HasPrefix(name, "reply") {
			f.Add(b, uint8(KindBatch), 3)
			f.Add(b, uint8(KindInvoke), 0)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, records int) {
		b = b[:len(b):len(b)]
		var r Reply
		if err := r.Parse(b, Kind(kind), records); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("unnamed error %v", err)
			}
			return
		}
		last := -1
		for o := range r.Outcomes() {
			if o.Index <= last || o.Index >= records || o.Result == ResultOK || o.Result > ResultRejected {
				t.Errorf("outcome %+v after %d in a call of %d", o, last, records)
			}
			last = o.Index
		}
		emitted, size := 0, 0
		for out := range r.Outputs() {
			for rec := range out.Records.All() {
				emitted, size = emitted+1, size+rec.Size()
			}
		}
		if emitted != r.Emitted() || size > len(b) {
			t.Errorf("%d records of %d bytes, said %d in %d", emitted, size, r.Emitted(), len(b))
		}
		if r.Failed() && (emitted > 0 || last >= 0 || len(r.State())+len(r.Body()) > 0) {
			t.Error("a failed reply carries results")
		}
	})
}

func BenchmarkReplyParse(b *testing.B) {
	var w ReplyWriter
	for range 100 {
		if err := w.Emit("delays", record.Record{Key: []byte("DFW"), Data: make([]byte, 1024)}); err != nil {
			b.Fatal(err)
		}
	}
	reply, err := w.Finish()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(reply)))
	var r Reply
	for b.Loop() {
		if err := r.Parse(reply, KindBatch, 100); err != nil {
			b.Fatal(err)
		}
	}
}

// The usual reply is known by its bytes. It must be what guests write, and come to what reading it does, for every kind of call.
func TestUsualReply(t *testing.T) {
	var w ReplyWriter
	w.Reset()
	b, err := w.Finish()
	if err != nil || string(b) != usualReply {
		t.Fatalf("a guest writes %q, %v", b, err)
	}
	for kind := range Kind(8) {
		var known, read Reply
		if err := known.Parse(b, kind, 3); err != nil {
			t.Errorf("kind %d: %v", kind, err)
		}
		if err := read.parse(b, kind, 3); err != nil || describe(&known) != describe(&read) || (known.Body() == nil) != (read.Body() == nil) {
			t.Errorf("kind %d: %s, read it is %s, %v", kind, describe(&known), describe(&read), err)
		}
	}
}
