package sdk

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/abi"
)

func (h *host) transform(t testing.TB, records ...Record) *abi.Reply {
	t.Helper()
	return h.call(t, abi.KindTransform, encode(t, records...), len(records))
}

func TestTransform(t *testing.T) {
	h := newHost(Handlers{Transform: func(_ context.Context, tr *Transform) error {
		if tr.Len() != 5 || tr.Call().Function != "f" {
			t.Errorf("%d records of %+v", tr.Len(), tr.Call())
		}
		for i, r := range tr.All() {
			switch i {
			case 0:
				tr.Drop(i, "not wanted")
			case 1:
				tr.Reject(i, "broken")
			case 2:
				r.Data = []byte("two")
				tr.Replace(i, r)
				tr.Replace(i, Record{Key: []byte("own"), Data: []byte("more")})
			case 3:
				tr.Emit("aside", "k", r.Data)
				tr.EmitRecord("aside", r)
			}
		}
		return nil
	}})
	if h.guest.Kinds() != abi.KindTransform.Mask() {
		t.Errorf("kinds %b", h.guest.Kinds())
	}
	r := h.transform(t, numbered(5)...)
	var got []string
	for o := range r.Outcomes() {
		got = append(got, fmt.Sprintf("%d %s %s", o.Index, o.Result, o.Reason))
	}
	for i, rec := range r.Replacements() {
		got = append(got, fmt.Sprintf("%d %s %s", i, rec.Key, rec.Data))
	}
	if all := strings.Join(got, ", "); all != "0 dropped not wanted, 1 rejected broken, 2 kk two, 2 own more" || r.Emitted() != 2 {
		t.Errorf("%s; %d emitted", all, r.Emitted())
	}
}

func TestTransformsThatFail(t *testing.T) {
	var kept *Transform
	for name, c := range map[string]struct {
		do   TransformHandler
		want string
	}{
		"an error":        {func(_ context.Context, tr *Transform) error { kept = tr; return &refusal{} }, "refused"},
		"no such record":  {func(_ context.Context, tr *Transform) error { tr.Replace(2, Record{}); return nil }, "replacement for record 2 of a batch of 2"},
		"below the first": {func(_ context.Context, tr *Transform) error { tr.Drop(-1, ""); return nil }, "outcome for record -1"},
		"no record": {func(_ context.Context, tr *Transform) error {
			tr.Replace(0, Record{ExplicitHash: []byte("x")})
			return nil
		}, "replace record 0"},
		"after the handler": {func(context.Context, *Transform) error { kept.Replace(0, Record{}); return nil }, "after its handler returned"},
		"to a nameless stream": {func(_ context.Context, tr *Transform) error {
			tr.Replace(0, Record{})
			tr.Emit("", "k", nil)
			return nil
		}, `emit to stream ""`},
	} {
		h := newHost(Handlers{Transform: func(_ context.Context, tr *Transform) error { kept = tr; return nil }})
		h.transform(t, numbered(2)...)
		if r := newHost(Handlers{Transform: c.do}).transform(t, numbered(2)...); !strings.Contains(string(r.Failure().Message), c.want) {
			t.Errorf("%s: %s", name, r.Failure().Message)
		}
	}
}

func TestOnTransformTwice(t *testing.T) {
	defer func() { registered.Transform = nil }()
	OnTransform(func(context.Context, *Transform) error { return nil })
	defer func() {
		if recover() == nil {
			t.Error("a second OnTransform does not panic")
		}
	}()
	OnTransform(func(context.Context, *Transform) error { return nil })
}

// A poisoned guest leaves nothing of a call's memory, whatever kind it was and however it ended; the reply was made before.
func TestPoison(t *testing.T) {
	var views [][]byte
	h := newHost(Handlers{
		Batch: func(_ context.Context, b *Batch) error {
			for _, r := range b.All() {
				views = append(views, r.Key, r.Data, r.ExplicitHash)
			}
			if b.Len() == 1 {
				panic("no")
			}
			return nil
		},
		Invoke: func(_ context.Context, in []byte) ([]byte, error) {
			views = append(views, in)
			return in[1:], nil
		},
	})
	h.guest.Poisoned(true)
	for name, reply := range map[string]func() *abi.Reply{
		"batch":       func() *abi.Reply { return h.batch(t, numbered(40)...) },
		"panic":       func() *abi.Reply { return h.batch(t, numbered(1)...) },
		"invocation":  func() *abi.Reply { return h.call(t, abi.KindInvoke, []byte("ping"), 0) },
		"a bad batch": func() *abi.Reply { return h.call(t, abi.KindBatch, []byte("short"), 0) },
	} {
		views = nil
		r := reply()
		if name == "invocation" && string(r.Body()) != "ing" {
			t.Errorf("the answer is %q", r.Body())
		}
		for i, view := range views {
			if len(bytes.Trim(view, string([]byte{PoisonByte}))) > 0 {
				t.Errorf("%s: view %d is still %q", name, i, view)
			}
		}
	}
	// The next call comes to another place, so that what was kept stays poisoned.
	views = nil
	h.call(t, abi.KindInvoke, []byte("one"), 0)
	h.call(t, abi.KindInvoke, []byte("two"), 0)
	if len(views) != 2 || string(views[0]) != "\xdb\xdb\xdb" {
		t.Errorf("after the next call: %q", views)
	}
	h.guest.Poisoned(false)
	views = nil
	h.batch(t, numbered(40)...)
	if !strings.HasPrefix(string(views[len(views)-2]), "ddd") {
		t.Errorf("a guest that is not poisoned: %q", views[len(views)-2])
	}
}
