package aws

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// Limits of invocations of the type Event that wait.
const (
	maxQueued      = 1000
	maxQueuedBytes = 64 << 20
	eventWorkers   = 4
	eventRetries   = 2
	maxEventAge    = 6 * time.Hour
)

// The waits before the retries of a failed event are Lambda's.
var eventWaits = [eventRetries]time.Duration{time.Minute, 2 * time.Minute}

// events calls functions for invocations of the type Event, in the background. They are in memory only: those that wait when the host
// stops are lost, and logged.
type events struct {
	functions Functions
	logger    *slog.Logger
	queue     chan asyncCall
	stop      func()

	mu    sync.Mutex
	bytes int
	count int
}

// asyncCall is one such invocation.
type asyncCall struct {
	call     runtime.Call
	added    time.Time
	failures int // of the function
	refusals int // throttles and failures of the host, since the last of those
}

// newEvents starts the workers. close ends them.
func newEvents(functions Functions, logger *slog.Logger) *events {
	q := &events{functions: functions, logger: logger, queue: make(chan asyncCall, maxQueued)}
	ctx, cancel := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for range eventWorkers {
		workers.Go(func() { q.work(ctx, &workers) })
	}
	q.stop = sync.OnceFunc(func() {
		cancel()
		workers.Wait()
		if q.count > 0 {
			logger.Warn("asynchronous invocations were lost with the stop", "events", q.count)
		}
	})
	return q
}

// errManyEvents is Lambda's answer where no more can wait.
var errManyEvents = &fault{code: "TooManyRequestsException", status: 429, message: "Too many asynchronous invocations wait; try again later."}

// add takes a call whose body it copies. Error: too many wait.
func (q *events) add(call runtime.Call) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count == maxQueued || q.bytes+len(call.Body) > maxQueuedBytes {
		return errManyEvents
	}
	q.count++
	q.bytes += len(call.Body)
	call.Body = bytes.Clone(call.Body)
	q.queue <- asyncCall{call: call, added: time.Now()} // it has room for all that are counted
	return nil
}

// done forgets an event.
func (q *events) done(e asyncCall) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count--
	q.bytes -= len(e.call.Body)
}

func (q *events) work(ctx context.Context, workers *sync.WaitGroup) {
	var reply runtime.Reply
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-q.queue:
			wait, again := q.try(ctx, &e, &reply)
			if ctx.Err() != nil {
				return // it counts as lost
			}
			if !again {
				q.done(e)
				continue
			}
			workers.Go(func() { q.later(ctx, e, wait) })
		}
	}
}

// try makes one attempt, and says whether there is to be another one, and when.
func (q *events) try(ctx context.Context, e *asyncCall, reply *runtime.Reply) (wait time.Duration, again bool) {
	err := q.functions.Invoke(ctx, e.call, reply)
	wait, again = retryEvent(err, e.failures, e.refusals, time.Since(e.added))
	if failed := (*runtime.FunctionError)(nil); errors.As(err, &failed) {
		e.failures, e.refusals = e.failures+1, 0
	} else {
		e.refusals++
	}
	if err != nil && !again && ctx.Err() == nil {
		q.logger.Error("an asynchronous invocation was given up", "function", e.call.Function, "invocation", e.call.ID, "failures", e.failures, "error", err)
	}
	return wait, again
}

// retryEvent decides what follows an attempt: the function's own failures are tried twice more, throttles and the host's failures until the
// event is six hours old.
func retryEvent(err error, failures, refusals int, age time.Duration) (wait time.Duration, again bool) {
	var failed *runtime.FunctionError
	switch {
	case err == nil, errors.Is(err, runtime.ErrNotFound), errors.Is(err, runtime.ErrClosed), age > maxEventAge:
		return 0, false
	case errors.As(err, &failed):
		if failures >= eventRetries {
			return 0, false
		}
		return eventWaits[failures], true
	}
	return min(time.Second<<min(refusals, 9), 5*time.Minute), true
}

// later puts an event back when its wait is over.
func (q *events) later(ctx context.Context, e asyncCall, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		q.queue <- e
	}
}
