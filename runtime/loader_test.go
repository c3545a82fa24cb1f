package runtime

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestLoaderLoadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l loader
		starts := 0
		want := &program{}
		var users sync.WaitGroup
		for range 5 {
			users.Go(func() {
				if p, err := l.use(t.Context(), func() { starts++ }); p != want || err != nil {
					t.Errorf("got %p, %v", p, err)
				}
			})
		}
		synctest.Wait()
		if state, _ := l.state(); state != StatePending || starts != 1 {
			t.Errorf("state %s after %d starts", state, starts)
		}
		l.finish(want, nil)
		users.Wait()
		if state, _ := l.state(); state != StateActive {
			t.Errorf("state %s", state)
		}
		for range 4 {
			if l.done() != nil || l.rest(1) != nil {
				t.Error("unloaded while in use")
			}
		}
		if l.done() != nil {
			t.Error("unloaded without being asked to")
		}
		if l.rest(1) != want || l.rest(1) != nil {
			t.Error("not unloaded, or twice")
		}
		if state, _ := l.state(); state != StateActive {
			t.Errorf("state %s", state)
		}
	})
}

func TestLoaderTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l loader
		starts := 0
		problem := errors.New("damaged")
		fail := func() {
			starts++
			go l.finish(nil, problem)
		}
		for range 3 {
			if _, err := l.use(t.Context(), fail); !errors.Is(err, ErrUnavailable) || !errors.Is(err, problem) {
				t.Errorf("error %v", err)
			}
		}
		if state, why := l.state(); starts != 1 || state != StateFailed || why == "" {
			t.Errorf("%d starts, state %s: %s", starts, state, why)
		}
		pause(t, retryLoad)
		want := &program{}
		if p, err := l.use(t.Context(), func() { go l.finish(want, nil) }); p != want || err != nil {
			t.Errorf("later: %p, %v", p, err)
		}
	})
}

func TestLoaderWaitsNoLongerThanItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l loader
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.use(ctx, func() {}); !errors.Is(err, errCanceled) || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestDoomedLoader(t *testing.T) {
	var l loader
	want := &program{}
	l.finish(want, nil)
	if _, err := l.use(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if l.doom() != nil {
		t.Error("unloaded while in use")
	}
	if _, err := l.use(t.Context(), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a new use: %v", err)
	}
	if l.done() != want || l.doom() != nil {
		t.Error("not unloaded with its last use, or twice")
	}
}

// Who waits for code that nobody needs any more does not wait until it is compiled.
func TestDoomEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l loader
		l.expect()
		ended := make(chan error, 1)
		go func() {
			_, err := l.use(t.Context(), nil)
			ended <- err
		}()
		synctest.Wait()
		l.doom()
		if err := <-ended; !errors.Is(err, ErrNotFound) {
			t.Errorf("%v", err)
		}
		l.refuse(ErrSuperseded) // by the one who compiled it
	})
}
