package runtime

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/shardmill/shardmill/internal/field"
)

// Unreserved is the reservation of a function that has none: only its versions' own concurrency bounds it.
const Unreserved = -1

// Reserve bounds the calls of a function that may run at once, over all its versions: 0 (none: every call is throttled) to
// 1,000, or Unreserved for no such bound. Calls under way finish. Errors: a *FieldError (ErrInvalid), ErrNotFound, ErrClosed,
// what the store answers.
func (rt *Runtime) Reserve(ctx context.Context, name string, calls int) (Function, error) {
	f, err := rt.change(ctx, "reserve concurrency", name, func(f *function) error {
		if calls != Unreserved && (calls < 0 || calls > MaxConcurrency) {
			return field.Invalid("reserved", strconv.Itoa(calls), fmt.Sprintf("0 to %d calls at once", MaxConcurrency))
		}
		f.reserved = calls
		return nil
	})
	if err != nil {
		return Function{}, err
	}
	f.gate.set(calls)
	return f.describe(), nil
}

// gate bounds the calls of a function that run at once; the bound may change meanwhile. Who waits is served in the order of
// arrival. Its zero value lets nobody through.
type gate struct {
	mu      sync.Mutex
	limit   int // Unreserved: no bound
	running int
	waiting []chan struct{} // closed for the one who may go
}

func newGate(limit int) *gate { return &gate{limit: limit} }

// set changes the bound, and lets those through who may go now.
func (g *gate) set(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = limit
	g.admit()
}

// admit lets the first waiters through; g.mu is held.
func (g *gate) admit() {
	for len(g.waiting) > 0 && (g.limit == Unreserved || g.running < g.limit) {
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
		g.running++
	}
}

// enter waits until the call may run; leave must be called afterwards unless it fails. Errors are ErrThrottled.
func (g *gate) enter(ctx context.Context) error {
	g.mu.Lock()
	switch {
	case g.limit == 0:
		g.mu.Unlock()
		return ErrNothingReserved
	case len(g.waiting) == 0 && (g.limit == Unreserved || g.running < g.limit):
		g.running++
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	g.waiting = append(g.waiting, turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, turn); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	} else { // let through at the same moment
		g.running--
		g.admit()
	}
	return fmt.Errorf("%w: %w", ErrThrottled, ctx.Err())
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	g.admit()
}
