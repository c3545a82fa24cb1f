package sdk

import (
	"context"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

// windowed is a host whose calls are of a window with a state.
func windowed(h Handlers, state string) (*host, func(t testing.TB, kind abi.Kind, records ...Record) *abi.Reply) {
	p := newHost(h)
	p.head.WindowStart, p.head.WindowEnd = 60_000_000, 120_000_000
	return p, func(t testing.TB, kind abi.Kind, records ...Record) *abi.Reply {
		t.Helper()
		var body []byte
		if kind == abi.KindBatch {
			body = encode(t, records...)
		}
		p.head.Kind = kind
		size, err := p.head.Size(len(body), len(state))
		if err != nil {
			t.Fatal(err)
		}
		call := p.guest.Input(size)[:size]
		to, stateTo := p.head.Put(call, len(body), len(state))
		copy(to, body)
		copy(stateTo, state)
		if err := p.reply.Parse(p.guest.Handle(kind, call), kind, len(records)); err != nil {
			t.Fatal(err)
		}
		return &p.reply
	}
}

func TestWindows(t *testing.T) {
	want := Window{Start: time.UnixMicro(60_000_000), End: time.UnixMicro(120_000_000)}
	var seen Window
	var state string
	set := []byte(nil)
	h := Handlers{
		Batch: func(_ context.Context, b *Batch) error {
			seen, state = b.Window(), string(b.State())
			if set != nil {
				b.SetState(set)
			}
			return nil
		},
		Window: func(_ context.Context, w *WindowEnd) error {
			seen, state = w.Window(), string(w.State())
			w.Emit("out", "k", w.State())
			w.EmitRecord("out", Record{Key: []byte(w.Call().Function)})
			return nil
		},
	}
	p, call := windowed(h, "so far")
	if p.guest.Kinds() != abi.KindBatch.Mask()|abi.KindWindowClose.Mask() {
		t.Errorf("kinds %b", p.guest.Kinds())
	}
	if r := call(t, abi.KindBatch, numbered(2)...); string(r.State()) != "so far" || seen != want || state != "so far" {
		t.Errorf("a handler that sets no state: %q, saw %q of %+v", r.State(), state, seen)
	}
	set = []byte("another")
	if r := call(t, abi.KindBatch, numbered(2)...); string(r.State()) != "another" {
		t.Errorf("state %q", r.State())
	}
	set = []byte{}
	if r := call(t, abi.KindBatch, numbered(2)...); len(r.State()) != 0 || r.Failed() {
		t.Errorf("state %q", r.State())
	}
	set = make([]byte, abi.MaxStateBytes+1)
	if r := call(t, abi.KindBatch, numbered(2)...); !r.Failed() {
		t.Error("a state over the limit was taken")
	}
	p.head.Flags, want.EndedEarly = abi.FlagWindowEnded, true
	r := call(t, abi.KindWindowClose)
	if r.Failed() || len(r.State()) != 0 || seen != want || state != "so far" {
		t.Errorf("at the end: %+v, saw %q of %+v", r.Failure(), state, seen)
	}
	n := 0
	for out := range r.Outputs() {
		n += out.Records.Len()
	}
	if n != 2 {
		t.Errorf("%d records were emitted, want 2", n)
	}
}

// Without a window there is no state to set.
func TestNoWindow(t *testing.T) {
	p := newHost(Handlers{Batch: func(_ context.Context, b *Batch) error {
		b.SetState([]byte("x"))
		if b.Window() != (Window{}) || len(b.State()) != 0 {
			t.Errorf("window %+v", b.Window())
		}
		return nil
	}})
	if r := p.batch(t, numbered(1)...); r.Failed() || len(r.State()) != 0 {
		t.Errorf("state %q", r.State())
	}
	if r := p.call(t, abi.KindWindowClose, nil, 0); !r.Failed() || r.Failure().Kind != abi.FailureUnsupported {
		t.Error("a function without a window handler took the end of a window")
	}
}

func TestStateAfterTheHandler(t *testing.T) {
	var kept *Batch
	p := newHost(Handlers{Batch: func(_ context.Context, b *Batch) error { kept = b; return nil }})
	p.batch(t, numbered(1)...)
	defer func() {
		if recover() == nil {
			t.Error("SetState after the handler does not panic")
		}
	}()
	kept.SetState(nil)
}

func TestOnWindowTwice(t *testing.T) {
	defer func() { registered.Window = nil }()
	OnWindow(func(context.Context, *WindowEnd) error { return nil })
	defer func() {
		if recover() == nil {
			t.Error("a second OnWindow does not panic")
		}
	}()
	OnWindow(func(context.Context, *WindowEnd) error { return nil })
}
