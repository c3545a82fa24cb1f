package sdk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// host plays the host's part towards one guest.
type host struct {
	guest *Guest
	head  abi.Call
	reply abi.Reply
}

func newHost(h Handlers) *host {
	return &host{guest: NewGuest(h), head: abi.Call{Function: "f", Version: 1, Attempt: 1}}
}

func (h *host) call(t testing.TB, kind abi.Kind, body []byte, records int) *abi.Reply {
	t.Helper()
	h.head.Kind = kind
	size, err := h.head.Size(len(body), 0)
	if err != nil {
		t.Fatal(err)
	}
	call := h.guest.Input(size)[:size]
	to, _ := h.head.Put(call, len(body), 0)
	copy(to, body)
	if err := h.reply.Parse(h.guest.Handle(kind, call), kind, records); err != nil {
		t.Fatal(err)
	}
	return &h.reply
}

func encode(t testing.TB, records ...Record) []byte {
	t.Helper()
	var w record.Builder
	for _, r := range records {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return w.Finish()
}

func (h *host) batch(t testing.TB, records ...Record) *abi.Reply {
	t.Helper()
	return h.call(t, abi.KindBatch, encode(t, records...), len(records))
}

func numbered(n int) []Record {
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{
			Sequence: record.MakeSequence(1, uint64(i+1)), Arrival: int64(i) - 3,
			Key: []byte(strings.Repeat("k", i%17)), Data: []byte(strings.Repeat("d", i%1031)),
		}
		if i%3 == 0 {
			records[i].ExplicitHash = slices.Repeat([]byte{byte(i)}, record.HashSize)
		}
	}
	return records
}

func TestAllYieldsEveryRecordAsItIs(t *testing.T) {
	records := numbered(2000)
	seen := 0
	h := newHost(Handlers{Batch: func(_ context.Context, b *Batch) error {
		if b.Len() != len(records) {
			t.Errorf("%d records", b.Len())
		}
		for i, r := range b.All() {
			want := records[i]
			if i != seen || r.Sequence != want.Sequence || r.Arrival != want.Arrival || string(r.Key) != string(want.Key) ||
				string(r.Data) != string(want.Data) || string(r.ExplicitHash) != string(want.ExplicitHash) ||
				(r.ExplicitHash == nil) != (want.ExplicitHash == nil) {
				t.Fatalf("record %d: %+v, want %+v", i, r, want)
			}
			if cap(r.Key) != len(r.Key) || cap(r.Data) != len(r.Data) {
				t.Fatalf("record %d can be appended to in place", i)
			}
			seen++
		}
		for range b.All() { // a second time, and not to the end
			seen++
			break
		}
		return nil
	}})
	if r := h.batch(t, records...); r.Failed() || seen != len(records)+1 {
		t.Errorf("saw %d records; failure %s", seen, r.Failure().Message)
	}
}

func TestAllOfAnEmptyBatch(t *testing.T) {
	h := newHost(Handlers{Batch: func(_ context.Context, b *Batch) error {
		for range b.All() {
			t.Error("a record")
		}
		return nil
	}})
	if r := h.batch(t); r.Failed() {
		t.Errorf("%s", r.Failure().Message)
	}
}

func TestOutcomesAndEmits(t *testing.T) {
	h := newHost(Handlers{Batch: func(_ context.Context, b *Batch) error {
		for i, r := range b.All() {
			switch i {
			case 0:
				b.Drop(i, "not wanted")
			case 1:
				b.Retry(i, "")
			case 2:
				b.Reject(i, "broken")
			default:
				b.EmitRecord("whole", r)
				b.Emit("parts", string(r.Key), []byte("x"))
				b.Emit("parts", "", nil)
			}
		}
		return nil
	}})
	r := h.batch(t, numbered(4)...)
	var got []string
	for o := range r.Outcomes() {
		got = append(got, fmt.Sprintf("%d %s %s", o.Index, o.Result, o.Reason))
	}
	for out := range r.Outputs() {
		for rec := range out.Records.All() {
			got = append(got, fmt.Sprintf("%s %d %d %s %s %d", out.Stream, rec.Sequence, rec.Arrival, rec.Key, rec.Data, len(rec.ExplicitHash)))
		}
	}
	want := []string{"0 dropped not wanted", "1 retry ", "2 rejected broken", "whole 0 0 kkk ddd 16", "parts 0 0 kkk x 0", "parts 0 0   0"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

type refusal struct{}

func (*refusal) Error() string { return "refused" }

func TestFailures(t *testing.T) {
	kept := Batch{}
	for name, c := range map[string]struct {
		do      BatchHandler
		kind    abi.FailureKind
		typ     string
		message string
		stack   string
	}{
		"error": {func(_ context.Context, b *Batch) error {
			b.Emit("s", "k", nil)
			b.Drop(0, "")
			return &refusal{}
		}, abi.FailureError, "*sdk.refusal", "refused", ""},
		"panic": {func(context.Context, *Batch) error { panic(fmt.Sprint("no ", 7)) },
			abi.FailurePanic, "string", "no 7", "TestFailures.func"},
		"index": {func(_ context.Context, b *Batch) error { return errors.New(string(make([]byte, 1)[b.Len():])) },
			abi.FailurePanic, "runtime.boundsError", "out of range", "guest_test.go:"},
		"nil panic": {func(context.Context, *Batch) error { panic(nil) },
			abi.FailurePanic, "*runtime.PanicNilError", "nil", ""},
		"outcome": {func(_ context.Context, b *Batch) error { b.Retry(2, ""); return nil },
			abi.FailurePanic, "string", "record 2 of a batch of 2", "sdk.(*Batch).Retry"},
		"below": {func(_ context.Context, b *Batch) error { b.Retry(-1, ""); return nil },
			abi.FailurePanic, "string", "record -1 of a batch of 2", ""},
		"emit": {func(_ context.Context, b *Batch) error { b.Emit("", "k", nil); b.Emit("s", "k", nil); return nil },
			abi.FailureError, "", `emit to stream ""`, ""},
		"late emit":    {func(context.Context, *Batch) error { kept.Emit("s", "k", nil); return nil }, abi.FailurePanic, "string", "after its handler returned", ""},
		"late outcome": {func(context.Context, *Batch) error { kept.Drop(0, ""); return nil }, abi.FailurePanic, "string", "after its handler returned", ""},
	} {
		r := newHost(Handlers{Batch: c.do}).batch(t, numbered(2)...)
		f := r.Failure()
		if !r.Failed() || f.Kind != c.kind || !strings.Contains(string(f.Type), c.typ) || !strings.Contains(string(f.Message), c.message) {
			t.Errorf("%s: %v [%s] %s", name, f.Kind, f.Type, f.Message)
		}
		if !strings.Contains(string(f.Stack), c.stack) || strings.Contains(string(f.Stack), "dispatch") || strings.Contains(string(f.Stack), "debug.Stack") {
			t.Errorf("%s: stack\n%s", name, f.Stack)
		}
		if r.Emitted() != 0 {
			t.Errorf("%s: emitted %d", name, r.Emitted())
		}
	}
}

func TestHandleRefusesWhatItCannotServe(t *testing.T) {
	h := newHost(Handlers{Invoke: func(context.Context, []byte) ([]byte, error) { return nil, nil }})
	if f := h.batch(t).Failure(); f.Kind != abi.FailureUnsupported || !strings.Contains(string(f.Message), "stream batch") {
		t.Errorf("no handler: %v %s", f.Kind, f.Message)
	}
	h = newHost(Handlers{Batch: func(context.Context, *Batch) error { return nil }})
	if f := h.call(t, abi.KindBatch, []byte("short"), 0).Failure(); f.Kind != abi.FailureBadCall {
		t.Errorf("short body: %v %s", f.Kind, f.Message)
	}
	h.head.Kind = abi.KindInvoke
	size, err := h.head.Size(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	call := make([]byte, size)
	h.head.Put(call, 0, 0)
	for name, b := range map[string][]byte{"another kind": call, "empty": nil, "cut": call[:50]} {
		var r abi.Reply
		if err := r.Parse(h.guest.Handle(abi.KindBatch, b), abi.KindBatch, 0); err != nil {
			t.Fatal(err)
		}
		if f := r.Failure(); f.Kind != abi.FailureBadCall {
			t.Errorf("%s: %v %s", name, f.Kind, f.Message)
		}
	}
}

func TestInvoke(t *testing.T) {
	h := newHost(Handlers{Invoke: func(ctx context.Context, in []byte) ([]byte, error) {
		if len(in) == 0 {
			return nil, errors.New("nothing to do")
		}
		Emit(context.WithValue(ctx, refusal{}, 1), "heard", "k", in)
		return append(in, " back"...), nil
	}})
	r := h.call(t, abi.KindInvoke, []byte("ping"), 0)
	if string(r.Body()) != "ping back" || r.Emitted() != 1 {
		t.Errorf("body %q, emitted %d", r.Body(), r.Emitted())
	}
	if f := h.call(t, abi.KindInvoke, nil, 0).Failure(); string(f.Message) != "nothing to do" {
		t.Errorf("%v %s", f.Kind, f.Message)
	}
	if len(h.reply.Body()) != 0 {
		t.Error("the failed call has the body of the one before")
	}
	defer func() {
		if recover() == nil {
			t.Error("Emit took a context that is no call's")
		}
	}()
	Emit(context.Background(), "s", "k", nil)
}

func TestInputGrowsAndStays(t *testing.T) {
	g := NewGuest(Handlers{})
	for _, size := range []int{0, 1, inputUnit, inputUnit + 1, 10 << 20, 5} {
		before := len(g.input)
		in := g.Input(size)
		if len(in) < max(size, before, 1) || len(in)%inputUnit != 0 {
			t.Errorf("Input(%d) has %d bytes, before it had %d", size, len(in), before)
		}
		if again := g.Input(size); &again[0] != &in[0] {
			t.Errorf("Input(%d) moved", size)
		}
	}
}

func TestKinds(t *testing.T) {
	batch := func(context.Context, *Batch) error { return nil }
	invoke := func(context.Context, []byte) ([]byte, error) { return nil, nil }
	for want, h := range map[uint32]Handlers{0: {}, 2: {Batch: batch}, 16: {Invoke: invoke}, 18: {Batch: batch, Invoke: invoke}} {
		if got := NewGuest(h).Kinds(); got != want {
			t.Errorf("%b, want %b", got, want)
		}
	}
}

func TestRegisteringTwicePanics(t *testing.T) {
	registered = Handlers{}
	defer func() { registered = Handlers{} }()
	batch := func(context.Context, *Batch) error { return nil }
	invoke := func(context.Context, []byte) ([]byte, error) { return nil, nil }
	panics := func(f func()) (did bool) {
		defer func() { did = recover() != nil }()
		f()
		return false
	}
	for i, c := range []struct {
		do   func()
		want bool
	}{
		{func() { OnBatch(nil) }, true}, {func() { OnInvoke(nil) }, true},
		{func() { OnBatch(batch) }, false}, {func() { OnInvoke(invoke) }, false},
		{func() { OnBatch(batch) }, true}, {func() { OnInvoke(invoke) }, true},
	} {
		if panics(c.do) != c.want {
			t.Errorf("step %d: want a panic: %v", i, c.want)
		}
	}
}
