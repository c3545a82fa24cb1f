package runtime

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// pause lets the bubble's time pass.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
}

// fakeCounter is the counter of a guest that is not there.
type fakeCounter struct {
	api.MutableGlobal
	value uint64
}

func (c *fakeCounter) Get() uint64  { return c.value }
func (c *fakeCounter) Set(v uint64) { c.value = v }

// refilled says whether a guest that has used up its fuel goes on.
func refilled(w *watch) (goesOn bool) {
	defer func() {
		if r := recover(); r != nil && r != errStopped {
			panic(r)
		}
	}()
	w.refill(nil)
	return true
}

func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name  string
		act   func(t *testing.T, w *watch, cancel func())
		cause stopCause
		err   error
	}{
		{"returns in time", func(t *testing.T, w *watch, _ func()) { pause(t, 999*time.Millisecond) }, stopNone, nil},
		{"timeout", func(t *testing.T, w *watch, _ func()) { pause(t, time.Second) }, stopTimeout, context.DeadlineExceeded},
		{"caller gives up", func(t *testing.T, w *watch, cancel func()) { cancel() }, stopCanceled, context.Canceled},
		{"close", func(t *testing.T, w *watch, _ func()) { w.end(stopClosed) }, stopClosed, context.Canceled},
		{"the first counts", func(t *testing.T, w *watch, cancel func()) {
			w.end(stopClosed)
			cancel()
			pause(t, time.Minute)
		}, stopClosed, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatch()
				w.counter = &fakeCounter{}
				for range 3 { // used again and again
					w.start(t.Context(), time.Second)
					if !refilled(w) || !w.stop() {
						t.Fatal("not reusable")
					}
				}
				pause(t, 2*time.Hour)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w.start(ctx, time.Second)
				c.act(t, w, cancel)
				goesOn := c.cause == stopNone
				if got := refilled(w); got != goesOn {
					t.Errorf("goes on: %v", got)
				}
				if got := w.stop(); got != goesOn {
					t.Errorf("reusable: %v", got)
				}
				if w.cause() != c.cause || !errors.Is(w.Err(), c.err) {
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

func TestFuelIsCounted(t *testing.T) {
	fuel := &fakeCounter{value: 100}
	w := newWatch()
	w.counter = fuel
	w.start(t.Context(), time.Hour)
	fuel.value -= 70
	if got := w.used(); got != 70 {
		t.Errorf("used %d before it was refilled", got)
	}
	over := int64(-25)
	fuel.value = uint64(over)
	w.refill(nil)
	fuel.value -= 5
	if got := w.used(); got != 130 {
		t.Errorf("used %d", got)
	}
	w.stop()
	w.start(t.Context(), time.Hour)
	if got := w.used(); got != 0 {
		t.Errorf("used %d by a call that has not begun", got)
	}
}

func TestFuelIsLimited(t *testing.T) {
	fuel := &fakeCounter{value: 5000}
	w := newWatch()
	w.counter = fuel
	w.start(t.Context(), time.Hour)
	w.limit(3000)
	if fuel.value != 3000 {
		t.Errorf("it begins with %d", fuel.value)
	}
	over := func(n int64) { fuel.value = uint64(int64(fuel.value) - n) }
	over(2990)
	if w.used() != 2990 {
		t.Errorf("used %d", w.used())
	}
	over(11)
	if refilled(w) || w.cause() != stopFuel || w.used() != 3001 {
		t.Errorf("cause %d after %d", w.cause(), w.used())
	}
	w = newWatch()
	w.counter = fuel
	w.start(t.Context(), time.Hour)
	w.limit(firstSlice + 100)
	for range 3 { // a slice never goes over the limit
		fuel.value = ^uint64(0)
		if !refilled(w) {
			break
		}
	}
	if w.cause() != stopFuel || w.used() < firstSlice {
		t.Errorf("cause %d after %d", w.cause(), w.used())
	}
}

// TestTailCalls has guests that call in the place of what they do, so that neither loop nor stack ends them.
func TestTailCalls(t *testing.T) {
	w := open(t)
	const handle, start = 2, 5 // functions of the fake
	arguments := []byte{wasm.OpLocalGet, 0, wasm.OpLocalGet, 1, wasm.OpLocalGet, 2}
	w.deploy(t, "endless", fake{handle: cat(arguments, []byte{wasm.OpReturnCall, handle})}.build(), Config{Timeout: 50 * time.Millisecond})
	_, err := w.ask(t.Context(), "endless", "")
	failure(t, err, FailTimeout)
	f := w.deploy(t, "short", fake{initialize: []byte{wasm.OpReturnCall, start}, start: []byte{0x01}, handle: cat(arguments, []byte{wasm.OpI32Const, 1, wasm.OpIf, wasm.BlockEmpty},
		i64Const(0), []byte{wasm.OpReturn, wasm.OpEnd, wasm.OpReturnCall, handle})}.build(), Config{Fuel: 1_000_000, Timeout: time.Minute})
	if f.Start != StartSnapshot {
		t.Errorf("it starts from %q (%s)", f.Start, f.StartReason)
	}
	_, err = w.ask(t.Context(), "short", "")
	failure(t, err, FailMalformed) // it has returned 0
	w.deploy(t, "endless", fake{handle: cat(arguments, []byte{wasm.OpReturnCall, handle})}.build(), Config{Fuel: 1_000_000, Timeout: time.Minute})
	_, err = w.ask(t.Context(), "endless", "")
	if f := failure(t, err, FailFuel); !strings.Contains(f.Stack, ".$2(i32,i32,i32) i64") {
		t.Errorf("the stack is\n%s", f.Stack)
	}
}

func TestNextSlice(t *testing.T) {
	for _, c := range []struct {
		slice int64
		took  time.Duration
		want  int64
	}{
		{firstSlice, 10 * time.Microsecond, 2 * firstSlice},
		{maxSlice, 10 * time.Microsecond, maxSlice},
		{100_000, 700 * time.Microsecond, 100_000},
		{100_000, 2 * time.Millisecond, 50_000},
		{100_000, time.Hour, minSlice},
		{minSlice, 0, 2 * minSlice},
	} {
		if got := nextSlice(c.slice, c.took); got != c.want {
			t.Errorf("after %d in %v: %d, want %d", c.slice, c.took, got, c.want)
		}
	}
}

func TestGuestSleepEndsWithTheGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := newWatch()
		started := time.Now()
		sleep := func(d time.Duration) (goesOn bool) {
			defer func() { goesOn = recover() == nil }()
			w.sleep(int64(d))
			return true
		}
		w.start(ctx, 3*time.Second)
		if !sleep(-1) || !sleep(time.Second) {
			t.Error("stopped too early")
		}
		if d := time.Since(started); d != time.Second {
			t.Errorf("slept %v", d)
		}
		if sleep(time.Hour) || w.cause() != stopTimeout {
			t.Errorf("goes on, cause %d", w.cause())
		}
		if d := time.Since(started); d != 3*time.Second {
			t.Errorf("woke after %v", d)
		}
		for cause, end := range map[stopCause]func(*watch){stopCanceled: func(*watch) { cancel() }, stopClosed: func(w *watch) { w.end(stopClosed) }} {
			w = newWatch()
			w.start(ctx, time.Hour)
			time.AfterFunc(time.Minute, func() { end(w) })
			if sleep(2*time.Hour) || w.cause() != cause {
				t.Errorf("goes on, cause %d, want %d", w.cause(), cause)
			}
			ctx, cancel = context.WithCancel(t.Context())
		}
		cancel()
	})
}

// A function of the host that waits is told when the guest's time is up.
func TestWaitingInTheHostEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for cause, end := range map[stopCause]func(w *watch, cancel func()){
			stopTimeout:  func(*watch, func()) {},
			stopCanceled: func(_ *watch, cancel func()) { time.AfterFunc(time.Second, cancel) },
			stopClosed:   func(w *watch, _ func()) { time.AfterFunc(time.Second, func() { w.end(stopClosed) }) },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			w := newWatch()
			w.start(ctx, time.Minute)
			done := w.attend()
			end(w, cancel)
			<-w.Done()
			done()
			if w.cause() != cause || w.stop() {
				t.Errorf("cause %d, want %d", w.cause(), cause)
			}
			cancel()
		}
		w := newWatch()
		w.start(t.Context(), time.Minute)
		w.attend()()
		pause(t, time.Hour)
		if w.cause() != stopNone {
			t.Errorf("cause %d after the host had answered", w.cause())
		}
	})
}

// What the host does for a guest with many bytes can be stopped too.
func TestManyBytesInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch()
		w.start(t.Context(), time.Second)
		var got bytes.Buffer
		b := bytes.Repeat([]byte("0123456789"), 3*piece/10)
		if n, err := (output{w, &got}).Write(b); n != len(b) || err != nil || !bytes.Equal(got.Bytes(), b) {
			t.Errorf("wrote %d of %d bytes, %v", n, len(b), err)
		}
		if n, err := (&senses{watch: w}).Read(b); n != piece || err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		pause(t, time.Second)
		for name, use := range map[string]func(){
			"write": func() { output{w, &got}.Write(b) }, "read": func() { (&senses{watch: w}).Read(b) },
		} {
			func() {
				defer func() {
					if recover() != errStopped {
						t.Errorf("%s goes on", name)
					}
				}()
				use()
			}()
		}
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
