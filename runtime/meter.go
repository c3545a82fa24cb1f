package runtime

import (
	"context"
	"io"
	goruntime "runtime"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/shardmill/shardmill/runtime/fuel"
)

// meter is the one place that knows how a running guest is stopped. A module is rewritten before it is compiled (runtime/fuel), so
// that it counts a global down and calls the host when that is below zero; there the guest's watch decides whether it goes on, and
// gives it the next slice.
type meter struct {
	off bool // guests cannot be stopped; only for measuring what stopping them costs, as is engine
	// engine says that instead they are stopped by the engine's own switch, which asks at the head of every loop whether the call's context
	// has ended.
	engine bool
}

// prepare makes what is compiled in place of code, which has passed inspect, and tells where its code has come from, if anybody can
// use that. The error is the end of a sentence.
func (m meter) prepare(code []byte) ([]byte, *fuel.Places, error) {
	if m.off || m.engine {
		return code, nil, nil
	}
	return fuel.RewriteWithPlaces(code)
}

// features are what modules may be made of. Besides WebAssembly 2.0 those are tail calls, which the engine counts as an experiment of its own; threads,
// which have no use where nothing runs beside a guest, and exceptions are not taken.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall

func (m meter) configure(config wazero.RuntimeConfig) wazero.RuntimeConfig {
	return config.WithCoreFeatures(features).WithCloseOnContextDone(m.engine)
}

// install makes what prepared modules import.
func (m meter) install(ctx context.Context, r wazero.Runtime) error {
	refill := api.GoModuleFunc(func(ctx context.Context, guest api.Module, _ []uint64) {
		ctx.Value(watchKey{}).(*watch).refill(guest)
	})
	_, err := r.NewHostModuleBuilder(fuel.ImportModule).
		NewFunctionBuilder().WithGoModuleFunction(refill, nil, nil).WithName(fuel.ImportName).Export(fuel.ImportName).
		Instantiate(ctx)
	return err
}

// instantiation is the context under which an instance is made.
func (m meter) instantiation(w *watch, memory *linearMemory) context.Context {
	return experimental.WithMemoryAllocator(w, memory)
}

// counterOf is the counter of an instance, nil where its module was not prepared.
func counterOf(guest api.Module) api.MutableGlobal {
	counter, _ := guest.ExportedGlobal(fuel.Export).(api.MutableGlobal)
	return counter
}

// stopCause is why a guest was stopped.
type stopCause int32

const (
	stopNone     stopCause = iota
	stopTimeout            // its own timeout passed
	stopCanceled           // its caller's context ended
	stopClosed             // the runtime is closing
	stopFuel               // it has executed as many instructions as it may
)

// A slice is about a slicePeriod of work. It is never more than maxSlice, because what a guest does next may be slower than what it did:
// waiting for memory, an instruction takes a hundred times longer, and maxSlice is then some 10 ms.
const (
	slicePeriod = time.Millisecond
	// A guest lets other goroutines run so often. A garbage collection that guests do not leave a processor to goes on only there, for a quarter
	// of the time: the shorter, the sooner its steps follow each other.
	yieldPeriod = slicePeriod / 4
	minSlice    = 4 << 10
	firstSlice  = 64 << 10
	maxSlice    = 400 << 10
)

// watch is the context that the guest of one instance is called under, again and again: start, calls, stop. It
// ends at most once, and then the instance is spent. Only end and cause are for other goroutines. It starts none, needs no timer
// but in sleep, and costs no allocation.
type watch struct {
	counter  api.MutableGlobal // of the instance; nil until it has run out for the first time
	deadline time.Time
	caller   <-chan struct{} // closed when the caller gives up
	closed   chan struct{}   // closed by end
	ended    atomic.Int32

	slice    int64     // the next one
	refilled time.Time // or started
	yielded  time.Time // to other goroutines, or started
	had      int64     // on the counter when it was started
	granted  int64     // since
	budget   int64     // what may be used; 0 means any

	marks marks  // of the records of a call
	grace grace  // what is left to a script that is to stop
	visit *visit // the instance's, for the functions of the host that its guest calls
}

type watchKey struct{}

func newWatch() *watch { return &watch{closed: make(chan struct{}), slice: firstSlice} }

// start begins a period that ends with stop, after the timeout, or with ctx. It tells the time, which calls need and a call of the clock
// is a tenth of what surrounds them.
func (w *watch) start(ctx context.Context, timeout time.Duration) time.Time {
	return w.startAt(ctx, time.Now(), timeout)
}

// startAt is start where the time is known.
func (w *watch) startAt(ctx context.Context, now time.Time, timeout time.Duration) time.Time {
	w.deadline, w.caller = now.Add(timeout), ctx.Done()
	w.refilled, w.yielded, w.granted, w.had, w.budget = now, now, 0, w.left(), 0
	return now
}

// limit bounds the fuel of the period; 0 does not.
func (w *watch) limit(budget int64) {
	w.budget = budget
	if budget > 0 && w.left() > budget {
		w.counter.Set(uint64(budget))
		w.had, w.marks.slice = budget, min(w.marks.slice, budget)
	}
}

// stop ends the period. It is false when the guest was stopped: the instance must not be used again.
func (w *watch) stop() (reusable bool) {
	w.caller = nil
	return w.cause() == stopNone
}

// left is what is on the counter.
func (w *watch) left() int64 {
	if w.counter == nil {
		return 0
	}
	return int64(w.counter.Get())
}

// used is the fuel that was used since start.
func (w *watch) used() int64 { return w.had + w.granted - w.left() }

// end may be called from any goroutine, any number of times; the first cause counts. The guest is stopped when its slice is
// used up, or at once where it sleeps.
func (w *watch) end(cause stopCause) {
	if w.ended.CompareAndSwap(int32(stopNone), int32(cause)) {
		close(w.closed)
	}
}

func (w *watch) cause() stopCause { return stopCause(w.ended.Load()) }

// overdrawn says whether the guest has used more time or fuel than it may.
func (w *watch) overdrawn() bool {
	cause := w.cause()
	return cause == stopTimeout || cause == stopFuel
}

// refill is called by a guest that has used up its slice. It gives it the next one, or stops it.
func (w *watch) refill(guest api.Module) {
	if w.counter == nil {
		w.counter = counterOf(guest)
	}
	now := w.look()
	if w.cause() != stopNone {
		w.stopAt(guest, now)
		return
	}
	w.marks.sample(guest)
	w.slice = nextSlice(w.slice, now.Sub(w.refilled))
	if now.Sub(w.yielded) >= yieldPeriod {
		goruntime.Gosched()
		now = time.Now()
		w.yielded = now
	}
	w.refilled = now
	slice := w.slice
	if w.budget > 0 {
		slice = min(slice, w.budget-w.used())
	}
	if slice < 0 {
		w.end(stopFuel)
		w.stopAt(guest, now)
		return
	}
	w.marks.slice = slice
	w.grant(slice)
}

// grant makes the counter what the guest may use until the next refill.
func (w *watch) grant(slice int64) {
	w.granted += slice - w.left() // which is negative, by what one charge was more
	w.counter.Set(uint64(slice))
}

// nextSlice is the size of the slice that follows one that took so long.
func nextSlice(slice int64, took time.Duration) int64 {
	switch {
	case took > slicePeriod:
		return max(minSlice, slice*int64(slicePeriod)/int64(took))
	case took < slicePeriod/2:
		return min(maxSlice, slice*2)
	}
	return slice
}

// look ends the watch if it is time, and tells the time.
func (w *watch) look() time.Time {
	now := time.Now()
	if !now.Before(w.deadline) {
		w.end(stopTimeout)
	}
	select {
	case <-w.caller:
		w.end(stopCanceled)
	default:
	}
	return now
}

// proceed stops the guest, from within its call of the host, if it is to stop: by a panic with errStopped, because so the engine
// adds the guest's stack to the error. Else it tells the time. A script goes on to where it looks at the counter next, and is stopped there.
func (w *watch) proceed() time.Time {
	now := w.look()
	if w.cause() != stopNone {
		w.halt()
	}
	return now
}

// sleep is the guest's way to wait: it ends with the guest.
func (w *watch) sleep(ns int64) {
	if ns <= 0 {
		return
	}
	t := time.NewTimer(min(time.Duration(ns), time.Until(w.deadline)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.caller:
	case <-w.closed:
	}
	w.refilled = w.look()
	if w.cause() != stopNone {
		panic(errStopped) // a script that sleeps is nowhere
	}
}

// attend ends the watch in time also while the guest waits in a function of the host that takes the watch for its context. The
// function that it returns ends that.
func (w *watch) attend() (done func()) {
	finished, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTimer(time.Until(w.deadline))
		defer t.Stop()
		select {
		case <-t.C:
			w.end(stopTimeout)
		case <-w.caller:
			w.end(stopCanceled)
		case <-finished:
		}
	}()
	return func() { close(finished); <-ended }
}

// piece is how many bytes the host handles for a guest before it looks again whether the guest is to stop.
const piece = 64 << 10

// output is what a guest writes to.
type output struct {
	watch *watch
	to    io.Writer
}

func (o output) Write(p []byte) (n int, err error) {
	for err == nil && n < len(p) {
		o.watch.proceed()
		var wrote int
		wrote, err = o.to.Write(p[n:min(len(p), n+piece)])
		n += wrote
	}
	return n, err
}

// Deadline, Done, Err and Value make it a context.Context. It says that it ended when the guest was stopped.
func (w *watch) Deadline() (time.Time, bool) { return time.Time{}, false }

func (w *watch) Done() <-chan struct{} { return w.closed }

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

// Value has the watch itself for refill, and the instance's visit for the functions of the host.
func (w *watch) Value(key any) any {
	switch key {
	case watchKey{}:
		return w
	case visitKey{}:
		return w.visit
	}
	return nil
}
