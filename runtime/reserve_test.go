package runtime

import (
	"context"
	"errors"
	"math/rand/v2"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestReservation(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", constant(t, "x"), Config{})
	if f, err := w.Get("f"); err != nil || f.Reserved != Unreserved {
		t.Fatalf("a new function reserves %d: %v", f.Reserved, err)
	}
	f, err := w.Reserve(t.Context(), "f", 0)
	if err != nil || f.Reserved != 0 {
		t.Fatalf("reserved %d: %v", f.Reserved, err)
	}
	if _, err := w.ask(t.Context(), "f", ""); !errors.Is(err, ErrThrottled) || !errors.Is(err, ErrNothingReserved) { // at once: the context has no end
		t.Errorf("with nothing reserved: %v", err)
	}
	w = reopen(t, w.stores)
	if _, err := w.ask(t.Context(), "f", ""); !errors.Is(err, ErrThrottled) {
		t.Errorf("after a restart: %v", err)
	}
	w.deploy(t, "f", constant(t, "y"), Config{}) // keeps it
	if _, err := w.ask(t.Context(), "f", ""); !errors.Is(err, ErrThrottled) {
		t.Errorf("after a deploy: %v", err)
	}
	if _, err := w.Reserve(t.Context(), "f", Unreserved); err != nil || w.mustAsk(t, "f", "") != "y" {
		t.Error(err)
	}
	for _, calls := range []int{-2, 1001} {
		var refused *FieldError
		if _, err := w.Reserve(t.Context(), "f", calls); !errors.As(err, &refused) || refused.Field != "reserved" {
			t.Errorf("%d: %v", calls, err)
		}
	}
	if _, err := w.Reserve(t.Context(), "g", 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no function: %v", err)
	}
}

// The reservation holds over versions: a call of one waits for a call of another.
func TestReservationHoldsOverVersions(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", guests["probe"], Config{Timeout: time.Minute})
	w.deploy(t, "f", constant(t, "quick"), Config{})
	if _, err := w.Reserve(t.Context(), "f", 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var slow sync.WaitGroup
	slow.Go(func() {
		var reply Reply
		if err := w.Invoke(ctx, Call{Function: "f", Version: 1, Kind: KindInvoke, Body: []byte("spin")}, &reply); !errors.Is(err, context.Canceled) {
			t.Errorf("the call that was cancelled: %v", err)
		}
	})
	for w.running("f") == 0 {
		goruntime.Gosched()
	}
	short, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer end()
	if _, err := w.ask(short, "f", ""); !errors.Is(err, ErrThrottled) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside a call of another version: %v", err)
	}
	cancel()
	slow.Wait()
	if w.mustAsk(t, "f", "") != "quick" {
		t.Error("the reservation was not given back")
	}
}

// running is how many calls of a function are through its gate.
func (w *world) running(name string) int {
	f, err := w.function("test", name)
	if err != nil {
		return 0
	}
	f.gate.mu.Lock()
	defer f.gate.mu.Unlock()
	return f.gate.running
}

func TestGateServesInOrderAndFollowsItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		var waiters sync.WaitGroup
		hold := make(chan struct{})
		for n := range 4 {
			waiters.Go(func() {
				if err := g.enter(t.Context()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
				<-hold
				g.leave()
			})
			synctest.Wait()
		}
		g.set(3)
		synctest.Wait()
		if len(order) != 2 {
			t.Errorf("with two more places %d went in", len(order))
		}
		g.set(1)
		g.leave()
		synctest.Wait()
		if len(order) != 2 {
			t.Errorf("over the lower limit another went in: %v", order)
		}
		close(hold)
		waiters.Wait()
		if order[0]+order[1] != 1 || order[2] != 2 || order[3] != 3 {
			t.Errorf("order %v", order)
		}
		if g.running != 0 {
			t.Errorf("%d are counted as running", g.running)
		}
	})
}

// Whatever comes and goes, never do more run than the limit, and nobody who may go is left waiting.
func TestGateUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 5
		g := newGate(limit)
		var running, most, throttled atomic.Int64
		var callers sync.WaitGroup
		for n := range 40 {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			callers.Go(func() {
				for range 50 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+r.IntN(40))*time.Millisecond)
					if err := g.enter(ctx); err != nil {
						throttled.Add(1)
						if !errors.Is(err, ErrThrottled) {
							t.Error(err)
						}
					} else {
						most.Store(max(most.Load(), running.Add(1)))
						<-time.After(time.Duration(r.IntN(10)) * time.Millisecond)
						running.Add(-1)
						g.leave()
					}
					cancel()
				}
			})
		}
		callers.Wait()
		if most.Load() != limit || throttled.Load() == 0 {
			t.Errorf("at most %d ran at once and %d were throttled, with a limit of %d", most.Load(), throttled.Load(), limit)
		}
		if g.running != 0 || len(g.waiting) != 0 {
			t.Errorf("%d running and %d waiting are left", g.running, len(g.waiting))
		}
	})
}
