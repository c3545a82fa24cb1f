package runtime

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// idleInstance is one without a module, enough for a pool.
func idleInstance(t testing.TB) *instance {
	t.Helper()
	m, err := reserveMemory(wasmPage)
	if err != nil {
		t.Fatal(err)
	}
	return &instance{memory: m, watch: newWatch()}
}

func (i *instance) closed() bool { return i.memory.reserved == nil }

func TestPoolKeepsTheLastUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pool
		p.init(3, DefaultIdleBytes)
		var all []*instance
		for range 3 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			all = append(all, idleInstance(t))
			p.add(all[len(all)-1])
		}
		for _, i := range all {
			i.usedAt = time.Now() // as a call leaves it
			p.release(i, true)
			pause(t, time.Minute)
		}
		if p.take(nil) != all[2] {
			t.Error("it is not the one used last")
		}
		p.dropIdle(time.Now().Add(-2*time.Minute - time.Second))
		if !all[0].closed() || all[1].closed() {
			t.Error("idle instances: the wrong ones were closed")
		}
		p.drain()
		if n, _ := p.usage(); n != 1 || !all[1].closed() || all[2].closed() {
			t.Errorf("after draining there are %d instances", n)
		}
		if err := p.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.release(all[2], true)
		if n, _ := p.usage(); n != 0 || !all[2].closed() {
			t.Errorf("the one under way came back: %d instances", n)
		}
	})
}

func TestPoolServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pool
		p.init(1, DefaultIdleBytes)
		if err := p.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		var order []int
		var waiters sync.WaitGroup
		for n := range 3 {
			waiters.Go(func() {
				if err := p.wait(t.Context()); err != nil {
					t.Error(err)
				}
				order = append(order, n)
				p.giveUp()
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.wait(ctx); !errors.Is(err, ErrThrottled) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits too long: %v", err)
		}
		p.giveUp()
		waiters.Wait()
		if len(order) != 3 || order[0] != 0 || order[1] != 1 || order[2] != 2 {
			t.Errorf("served %v", order)
		}
	})
}

// Deploys, deletes, calls of $LATEST and of versions, all at once: every call ends in a way that is allowed, and
// nothing is left at the end.
func TestEverythingAtOnce(t *testing.T) {
	w := open(t, func(o *Options) { o.KeepVersions = 2; o.IdleTimeout = 5 * time.Millisecond })
	codes := [][]byte{constant(t, "0"), constant(t, "1"), constant(t, "2")}
	names := []string{"a", "b"}
	var calls atomic.Int64
	var tasks sync.WaitGroup
	for n := range 2 {
		tasks.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			for range 30 {
				name := names[r.IntN(2)]
				if r.IntN(6) == 0 {
					if err := w.Delete(t.Context(), name); err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
					continue
				}
				if _, err := w.Deploy(t.Context(), name, codes[r.IntN(3)], Config{Concurrency: 1 + r.IntN(3)}); err != nil && !errors.Is(err, ErrSuperseded) {
					t.Error(err)
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for n := range 3 {
		callers.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(n)))
			var reply Reply
			for ctx.Err() == nil {
				err := w.Invoke(t.Context(), Call{Function: names[r.IntN(2)], Version: r.IntN(4), Kind: KindInvoke}, &reply)
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				if err == nil {
					calls.Add(1)
				}
			}
		})
	}
	tasks.Wait()
	cancel()
	callers.Wait()
	if calls.Load() == 0 {
		t.Error("no call succeeded")
	}
	for _, name := range names {
		if err := w.Delete(t.Context(), name); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if len(w.stores.blobs) != 0 || len(w.stores.entries) != 0 {
		t.Errorf("%d blobs and %d definitions are left", len(w.stores.blobs), len(w.stores.entries))
	}
}

func TestSameDeployAtOnce(t *testing.T) {
	w := open(t)
	code := constant(t, "x")
	var tasks sync.WaitGroup
	for range 4 {
		tasks.Go(func() {
			if f, err := w.Deploy(t.Context(), "f", code, Config{}); err != nil || f.Version != 1 {
				t.Errorf("version %d, %v", f.Version, err)
			}
		})
	}
	tasks.Wait()
	if f, err := w.Get("f"); err != nil || len(f.Versions) != 1 {
		t.Errorf("%+v, %v", f, err)
	}
}
