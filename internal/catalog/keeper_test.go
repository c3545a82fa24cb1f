package catalog

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// newTestKeeper is a keeper on a new snapshot; applied gets what it applies.
func newTestKeeper(t *testing.T, applied func(change)) *keeper {
	t.Helper()
	s := newSnapshot(t.TempDir(), map[id]change{}, 0)
	if err := s.rewrite(); err != nil {
		t.Fatal(err)
	}
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	return newKeeper(s, applied, m, quiet)
}

// TestKeeperOrder hands changes in, some twice, and checks that each is applied once, in
// order, when it is on disk and before its writer is woken.
func TestKeeperOrder(t *testing.T) {
	var applied []uint64
	var k *keeper
	k = newTestKeeper(t, func(c change) {
		s, err := readSaved(k.snapshot.dir)
		if err != nil || s.last < c.revision {
			t.Errorf("revision %d is applied; on disk is %d, %v", c.revision, s.last, err)
		}
		applied = append(applied, c.revision)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go k.run(ctx)
	for _, revision := range []uint64{2, 3, 3, 2, 7} {
		k.offer(put("k", "v", revision))
	}
	for _, revision := range []uint64{7, 5, 2} { // 5 was replaced before it was delivered
		if err := k.wait(t.Context(), revision); err != nil {
			t.Errorf("revision %d: %v", revision, err)
		}
	}
	cancel()
	<-k.done
	if len(applied) != 3 || applied[0] != 2 || applied[1] != 3 || applied[2] != 7 {
		t.Errorf("applied %v", applied)
	}
	if err := k.wait(t.Context(), 8); !errors.Is(err, ErrClosed) {
		t.Errorf("waiting on a stopped keeper: %v", err)
	}
	k.offer(put("k", "v", 9)) // does not block
}

func TestKeeperRefusesWaitersWhenItStops(t *testing.T) {
	k := newTestKeeper(t, func(change) {})
	ctx, cancel := context.WithCancel(t.Context())
	go k.run(ctx)
	result := make(chan error)
	go func() { result <- k.wait(t.Context(), 1) }()
	cancel()
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("the waiter gets %v", err)
	}
	<-k.done
}

// TestWaitIsBounded waits for a change that never comes.
func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTestKeeper(t, func(change) {})
		defer k.snapshot.abandon()
		start := time.Now()
		if err := k.wait(t.Context(), 1); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("the error is %v", err)
		}
		if waited := time.Since(start); waited != waitTimeout {
			t.Errorf("it waited %v", waited)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := k.wait(ctx, 1); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	})
}
