package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// pause lets the bubble's time pass.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
}

func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name     string
		act      func(t *testing.T, w *watch, cancel func())
		cause    stopCause
		err      error
		reusable bool
	}{
		{"returns in time", func(t *testing.T, w *watch, _ func()) { pause(t, 999*time.Millisecond) }, stopNone, nil, true},
		{"timeout", func(t *testing.T, w *watch, _ func()) { pause(t, time.Second) }, stopTimeout, context.DeadlineExceeded, false},
		{"caller gives up", func(t *testing.T, w *watch, cancel func()) { cancel(); synctest.Wait() }, stopCanceled, context.Canceled, false},
		{"caller gives up as it returns", func(t *testing.T, w *watch, cancel func()) { cancel() }, -1, nil, false},
		{"close", func(t *testing.T, w *watch, _ func()) { w.end(stopClosed) }, stopClosed, context.Canceled, false},
		{"the first counts", func(t *testing.T, w *watch, cancel func()) {
			w.end(stopClosed)
			cancel()
			pause(t, time.Minute)
		}, stopClosed, context.Canceled, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatch()
				for range 3 { // used again and again
					w.start(t.Context(), time.Second)
					if !w.stop() {
						t.Fatal("not reusable")
					}
				}
				pause(t, 2*time.Hour)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w.start(ctx, time.Second)
				c.act(t, w, cancel)
				if got := w.stop(); got != c.reusable {
					t.Errorf("reusable %v", got)
				}
				synctest.Wait()
				if c.cause >= 0 && (w.cause() != c.cause || !errors.Is(w.Err(), c.err)) {
					t.Errorf("cause %d, error %v", w.cause(), w.Err())
				}
				select {
				case <-w.Done():
					if w.Err() == nil {
						t.Error("done without an error")
					}
				default:
					if w.Err() != nil {
						t.Errorf("not done, and has error %v", w.Err())
					}
				}
			})
		})
	}
}

func TestGuestSleepEndsWithTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch()
		started := time.Now()
		w.sleep(-1)
		w.sleep(int64(time.Second))
		if d := time.Since(started); d != time.Second {
			t.Errorf("slept %v", d)
		}
		w.start(t.Context(), 2*time.Second)
		w.sleep(int64(time.Hour))
		if d := time.Since(started); d != 3*time.Second || w.cause() != stopTimeout {
			t.Errorf("woke after %v, cause %d", d, w.cause())
		}
		w.stop()
	})
}

func TestLinearMemory(t *testing.T) {
	m, err := reserveMemory(8 * wasmPage)
	if err != nil {
		t.Fatal(err)
	}
	one := m.Reallocate(wasmPage)
	one[0], one[wasmPage-1] = 1, 2
	three := m.Reallocate(3 * wasmPage)
	if len(three) != 3*wasmPage || three[0] != 1 || three[wasmPage-1] != 2 || &three[0] != &one[0] {
		t.Error("growing moved or lost what was there")
	}
	three[3*wasmPage-1] = 3
	if m.Reallocate(9*wasmPage) != nil || !m.refused {
		t.Error("it grew beyond its limit")
	}
	if got := m.Reallocate(2 * wasmPage); len(got) != 2*wasmPage || m.size.Load() != 3*wasmPage {
		t.Errorf("%d bytes, size %d", len(got), m.size.Load())
	}
	m.Free()
	m.Free()
	if m.Reallocate(wasmPage) != nil {
		t.Error("it grew after it was freed")
	}
	if _, err := reserveMemory(1 << 50); err == nil {
		t.Error("reserved a petabyte")
	}
}
