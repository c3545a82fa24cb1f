package runtime

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
)

// meter is the one place that knows how a running guest is stopped. It has three parts: what is done to the code
// before it is compiled (prepare), how the engine is set up (configure), and the watch that each instance is
// called under.
//
// It uses the engine's own switch: with it every loop header leaves the guest and looks whether the instance was
// closed, and a goroutine per call closes it when the call's context ends. Recursion that never passes a loop is
// not covered by that, so prepare puts an empty loop in front of every function that could take part in it.
type meter struct {
	off bool // guests cannot be stopped; only for measuring what stopping them costs
}

// prepare makes what is compiled in place of code, which has passed inspect.
func (m meter) prepare(code []byte, info *moduleInfo) []byte {
	if m.off {
		return guardCalls(code, nil)
	}
	return guardCalls(code, info.guards)
}

func (m meter) configure(config wazero.RuntimeConfig) wazero.RuntimeConfig {
	return config.WithCloseOnContextDone(!m.off)
}

// instantiation is the context under which an instance is made. A guest that is stopped is stopped by a panic
// with errStopped from within its own call, because only so the engine adds the guest's stack to the error; the
// closing of the instance is where that can be done.
func (m meter) instantiation(w *watch, memory *linearMemory) context.Context {
	ctx := experimental.WithMemoryAllocator(w, memory)
	return experimental.WithCloseNotifier(ctx, experimental.CloseNotifyFunc(func(context.Context, uint32) {
		if w.running && w.cause() != stopNone {
			panic(errStopped)
		}
	}))
}

// stopCause is why a guest was stopped.
type stopCause int32

const (
	stopNone     stopCause = iota
	stopTimeout            // its own timeout passed
	stopCanceled           // its caller's context ended
	stopClosed             // the runtime is closing
)

// watch is the context that the guest of one instance is called under, again and again: start, calls, stop. It
// ends at most once, and then the instance is spent. Unlike a context made per call it costs no allocation, and no
// second timer where the caller has none.
type watch struct {
	done   chan struct{}
	timer  *time.Timer
	parent func() bool // stops waiting for the caller's context
	ended  atomic.Int32

	running bool   // between start and stop; only for the goroutine that does those
	visit   *visit // the instance's, for the functions of the host that its guest calls
}

func newWatch() *watch {
	w := &watch{done: make(chan struct{})}
	w.timer = time.AfterFunc(time.Hour, func() { w.end(stopTimeout) })
	w.timer.Stop()
	return w
}

// start begins a period that ends with stop, after the timeout, or with ctx.
func (w *watch) start(ctx context.Context, timeout time.Duration) {
	w.running = true
	w.timer.Reset(timeout)
	if ctx.Done() != nil {
		w.parent = context.AfterFunc(ctx, func() { w.end(stopCanceled) })
	}
}

// stop ends the period. It is false when the watch has ended or is about to: the instance must not be used again.
func (w *watch) stop() (reusable bool) {
	w.running = false
	reusable = w.timer.Stop()
	if w.parent != nil {
		reusable = w.parent() && reusable
		w.parent = nil
	}
	return reusable && w.cause() == stopNone
}

// end may be called from any goroutine, any number of times; the first cause counts.
func (w *watch) end(cause stopCause) {
	if w.ended.CompareAndSwap(int32(stopNone), int32(cause)) {
		close(w.done)
	}
}

func (w *watch) cause() stopCause { return stopCause(w.ended.Load()) }

// sleep is the guest's way to wait: it ends with the watch.
func (w *watch) sleep(ns int64) {
	if ns <= 0 {
		return
	}
	t := time.NewTimer(time.Duration(ns))
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.done:
	}
}

// Deadline, Done, Err and Value make it a context.Context.
func (w *watch) Deadline() (time.Time, bool) { return time.Time{}, false }

func (w *watch) Done() <-chan struct{} { return w.done }

func (w *watch) Err() error {
	switch w.cause() {
	case stopNone:
		return nil
	case stopTimeout:
		return context.DeadlineExceeded
	default:
		return context.Canceled
	}
}

// Value has the instance's visit for the functions of the host.
func (w *watch) Value(key any) any {
	if key == (visitKey{}) {
		return w.visit
	}
	return nil
}
