package sdk

import (
	"context"
	"testing"

	"github.com/shardmill/shardmill/sdk/abi"
)

// readyCall is a call of n records of 1 KiB in the guest's input area.
func readyCall(t testing.TB, g *Guest, n int) []byte {
	t.Helper()
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{Key: []byte("DFW"), Data: make([]byte, 1024)}
	}
	body := encode(t, records...)
	head := abi.Call{
		Kind: abi.KindBatch, Mapping: "m", Stream: "flights", Function: "f",
		Invocation: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Version: 1, Attempt: 1, Deadline: 4e15,
	}
	size, err := head.Size(len(body), 0)
	if err != nil {
		t.Fatal(err)
	}
	call := g.Input(size)[:size]
	to, _ := head.Put(call, len(body), 0)
	copy(to, body)
	return call
}

func touch(_ context.Context, b *Batch) error {
	sum := 0
	for _, r := range b.All() {
		sum += int(r.Data[0]) + int(r.Data[len(r.Data)-1])
	}
	if sum != 0 {
		b.Drop(0, "")
	}
	return nil
}

func passOn(_ context.Context, b *Batch) error {
	for i, r := range b.All() {
		b.EmitRecord("a", r)
		b.Emit("b", "key", r.Data)
		b.Reject(i, "no")
	}
	return nil
}

// A call allocates its context, and nothing for a record, however many there are.
func TestAllocationsPerCall(t *testing.T) {
	for name, h := range map[string]BatchHandler{"touch": touch, "pass on": passOn} {
		for _, n := range []int{1, 100, 1000} {
			g := NewGuest(Handlers{Batch: h})
			call := readyCall(t, g, n)
			var r abi.Reply
			if got := testing.AllocsPerRun(50, func() {
				if err := r.Parse(g.Handle(abi.KindBatch, call), abi.KindBatch, n); err != nil || r.Failed() {
					t.Error(err, r.Failed())
				}
			}); got != 1 {
				t.Errorf("%s: %v allocations in a call of %d records, want 1", name, got, n)
			}
		}
	}
}

func BenchmarkHandle(b *testing.B) {
	for name, h := range map[string]BatchHandler{"touch": touch, "passOn": passOn} {
		b.Run(name, func(b *testing.B) {
			g := NewGuest(Handlers{Batch: h})
			call := readyCall(b, g, 100)
			b.ReportAllocs()
			b.SetBytes(int64(len(call)))
			for b.Loop() {
				g.Handle(abi.KindBatch, call)
			}
		})
	}
}
