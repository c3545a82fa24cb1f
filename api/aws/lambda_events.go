package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// AsyncStream is the stream that invocations of the type Event wait in; it is made for the first one. A record is the function's name as
// the key, and as data a header in JSON (asyncHeader), a newline and the payload.
const AsyncStream = "lambda-async"

// Limits of invocations of the type Event.
const (
	asyncConsumer  = "lambda/async" // of the checkpoint
	asyncRetention = 24 * time.Hour
	asyncHeaderMax = 4 << 10
	asyncRetries   = 2 // of a function that does not say
	maxAsyncAge    = 6 * time.Hour

	maxCalls  = 32 // at the same time
	partCalls = 1  // a function can have a half of all: 16

	maxUnderWay   = 64 << 20 // bytes of payloads in memory; others wait in the stream
	leastUnderWay = 16 << 10 // what one takes of that at least: so there are at most 4,096
	partUnderWay  = 8        // a function can have a ninth of all: 7 MiB, and 455 calls
	maxBehind     = 1_024    // functions without room whose calls others go by

	maxAnswers  = 64 << 20 // bytes of answers that are to be delivered; calls of functions that have an OnSuccess wait for room, and those that have begun may go beyond it
	leastAnswer = 4 << 10  // what a call takes of that before its answer is there
	partAnswers = 4        // a function can have a fifth of all

	maxDeliveries  = 16 // of documents at the same time
	partDeliveries = 2  // a destination can have a third of all
)

// The waits before the retries of a function's failures are Lambda's.
var asyncWaits = [asyncRetries]time.Duration{time.Minute, 2 * time.Minute}

// events calls functions for invocations of the type Event, in the background: at least once, in any order. They wait in a stream; the
// checkpoint knows which have not ended, so that a restart takes those up (see backlog). What a function's calls wait for, be it their turn, a retry or a destination that
// does not answer, holds up that function's only: it has no more than its part of the room in memory, and the rest of its calls stay in the stream.
type events struct {
	streams      Streams
	functions    Functions
	settings     Settings
	destinations Destinations                            // nil: functions only
	arn          func(function, qualifier string) string // of what was called
	logger       *slog.Logger

	calls      *pot                // of functions that run or wait for an instance, by function
	lagging    *semaphore.Weighted // functions that are behind
	room       *pot                // bytes under way, by function
	answers    *pot                // bytes of them that are to be delivered, by function
	deliveries *pot                // of documents, by destination

	spawn   func(f func(context.Context))
	stop    func()
	mu      sync.Mutex
	reading bool // there is a reader
}

// asyncHeader is what stands before the payload.
type asyncHeader struct {
	ID      string    `json:"id"`
	Version int       `json:"version,omitempty"`
	Alias   string    `json:"alias,omitempty"`
	Added   time.Time `json:"added"`
}

// newEvents takes up what waits. stop ends it, and waits for that. arn is the ARN of a function with a qualifier.
func newEvents(o Options, arn func(function, qualifier string) string) *events {
	q := &events{
		streams: o.Streams, functions: o.Functions, settings: o.Settings, destinations: o.Destinations, arn: arn, logger: o.Logger,
		calls: newPot(maxCalls, partCalls), lagging: semaphore.NewWeighted(maxBehind), room: newPot(maxUnderWay, partUnderWay),
		answers: newPot(maxAnswers, partAnswers), deliveries: newPot(maxDeliveries, partDeliveries),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	// The reader is started by requests too, but then by none that comes after stop.
	q.spawn = func(f func(context.Context)) { tasks.Go(func() { f(ctx) }) }
	q.stop = sync.OnceFunc(func() {
		cancel()
		tasks.Wait()
	})
	if st, err := o.Streams.Stream(AsyncStream); err == nil {
		q.read(st)
	}
	return q
}

// add stores a call, durably when it returns.
func (q *events) add(ctx context.Context, call runtime.Call) error {
	st, err := q.stream(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(asyncHeader{ID: call.ID, Version: call.Version, Alias: call.Alias, Added: time.Now().UTC()})
	if err != nil {
		return err
	}
	data = append(append(data, '\n'), call.Body...)
	results, err := st.Put(ctx, []record.Record{{Key: []byte(call.Function), Data: data}}, nil)
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return fmt.Errorf("store an asynchronous invocation: %w", err)
	}
	q.read(st)
	return nil
}

// stream is the one that they wait in.
func (q *events) stream(ctx context.Context) (*shards.Stream, error) {
	st, err := q.streams.Stream(AsyncStream)
	if errors.Is(err, shards.ErrNotFound) {
		_, _, err = q.streams.Create(ctx, shards.Config{Name: AsyncStream, Shards: 1, Retention: asyncRetention, MaxRecordBytes: maxAsyncPayload + asyncHeaderMax})
		if err == nil {
			st, err = q.streams.Stream(AsyncStream)
		}
	}
	return st, err
}

// read starts the reader, unless there is one.
func (q *events) read(st *shards.Stream) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reading {
		return
	}
	q.reading = true
	q.spawn(func(ctx context.Context) {
		for st := st; st != nil; st = q.successor(st) {
			if err := q.follow(ctx, st); err != nil && ctx.Err() == nil {
				q.logger.Error("asynchronous invocations are not read; the next one tries again", "stream", AsyncStream, "error", err)
			}
		}
	})
}

// successor is the stream that was made in the place of one that was read until it was deleted. Where there is none, there is no reader any more.
func (q *events) successor(st *shards.Stream) *shards.Stream {
	q.mu.Lock()
	defer q.mu.Unlock()
	if next, err := q.streams.Stream(AsyncStream); err == nil && next != st {
		return next
	}
	q.reading = false
	return nil
}

// see tries a call until it has ended; false when ctx ended first. What became of it goes where the function's settings say.
func (q *events) see(ctx context.Context, call runtime.Call, added time.Time) bool {
	e := ending{call: call}
	defer q.dropAnswer(&e)
	failures, refusals := 0, 0
	for {
		if !q.prepare(ctx, &e) {
			return false
		}
		if e.rules.MaxAge != nil && time.Since(added) > e.rules.maxAge() {
			q.dropAnswer(&e)
			e.condition = conditionAge
			return q.conclude(ctx, &e, errTooOld)
		}
		err := q.try(ctx, &e)
		if err != nil && ctx.Err() != nil { // what has succeeded has, also while the host stops
			return false
		}
		var wait time.Duration
		wait, e.condition = retryAsync(err, failures, refusals, time.Since(added), &e.rules)
		if e.condition != "" {
			return q.conclude(ctx, &e, err)
		}
		if failed := (*runtime.FunctionError)(nil); errors.As(err, &failed) {
			failures, refusals = failures+1, 0
		} else {
			refusals++
		}
		if !pause(ctx, wait) {
			return false
		}
	}
}

// errTooOld is why a call that was not tried again is given up.
var errTooOld = errors.New("it has waited longer than the function's MaximumEventAgeInSeconds")

// prepare reads what holds for the next attempt, and waits for room for the answer if that is to be delivered; false when ctx ended first.
func (q *events) prepare(ctx context.Context, e *ending) (ok bool) {
	for {
		if e.rules, ok = q.rules(ctx, e.call); !ok || e.rules.OnSuccess == "" || e.room > 0 {
			return ok
		}
		if q.answers.wait(ctx, e.call.Function, leastAnswer) != nil {
			return false
		}
		e.room = leastAnswer // and what holds may have changed meanwhile
	}
}

// dropAnswer gives back the room that is kept for an answer.
func (q *events) dropAnswer(e *ending) {
	if e.room > 0 {
		q.answers.release(e.call.Function, e.room)
		e.room, e.answer = 0, nil
	}
}

// try makes one attempt, and notes in e what came of it. The answer is kept if it is to be delivered.
func (q *events) try(ctx context.Context, e *ending) error {
	if err := q.calls.wait(ctx, e.call.Function, 1); err != nil {
		return err
	}
	defer q.calls.release(e.call.Function, 1)
	var reply runtime.Reply
	err := q.functions.Invoke(ctx, e.call, &reply)
	failed := (*runtime.FunctionError)(nil)
	switch {
	case errors.As(err, &failed):
		e.calls, e.version, e.failed = e.calls+1, failed.Version, failed
	case err == nil:
		e.calls, e.version, e.failed = e.calls+1, reply.Version, nil
		// A document without the answer is better than none: one that Lambda would not take is left out.
		if n := int64(len(reply.Body)); e.room > 0 && e.rules.OnSuccess != "" && n <= maxPayload {
			q.answers.grow(e.call.Function, n)
			e.answer, e.room = reply.Body, e.room+n
			return nil
		}
	}
	q.dropAnswer(e)
	return err
}

// retryAsync decides what follows an attempt: the function's own failures are tried again as often as its rules say, throttles and the host's failures until
// the next attempt would come when the call is too old. condition "": it is tried again after the wait.
func retryAsync(err error, failures, refusals int, age time.Duration, rules *asyncRules) (wait time.Duration, ended condition) {
	var failed *runtime.FunctionError
	switch {
	case err == nil:
		return 0, conditionSuccess
	case errors.Is(err, runtime.ErrNotFound), errors.Is(err, runtime.ErrUnsupported): // which last until somebody deploys
		return 0, conditionRetries
	case errors.Is(err, runtime.ErrNothingReserved): // somebody has stopped the function
		return 0, conditionZero
	case !errors.As(err, &failed):
		wait = asyncBackoff(refusals)
	case failures >= rules.retries():
		return 0, conditionRetries
	default:
		wait = asyncWaits[failures]
	}
	if age+wait > rules.maxAge() {
		return 0, conditionAge
	}
	return wait, ""
}

// asyncBackoff is the wait after the nth failure in a row that is not the function's.
func asyncBackoff(n int) time.Duration { return min(time.Second<<min(n, 9), 5*time.Minute) }

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// giveUp logs a call that was given up and puts its payload into the dead-letter stream, under the invocation's ID. It tries until that has happened, unless there is
// no such stream; false when ctx ended first.
func (q *events) giveUp(ctx context.Context, call runtime.Call, why condition, cause error) bool {
	q.logger.Error("an asynchronous invocation was given up", "function", call.Function, "invocation", call.ID, "condition", why, "error", cause)
	for n := 0; ; n++ {
		r, _, err := readRecord(q.settings, call.Function)
		if f, gone := q.functions.Get(call.Function); gone == nil {
			r = r.of(&f)
		}
		if err == nil && r.DeadLetter == "" {
			return true
		}
		if err == nil {
			err = q.bury(ctx, r.DeadLetter, call)
		}
		switch {
		case err == nil:
			return true
		case errors.Is(err, shards.ErrNotFound), errors.Is(err, shards.ErrInvalid):
			q.logger.Error("a given up invocation has no place in its dead-letter stream", "invocation", call.ID, "stream", r.DeadLetter, "error", err)
			return true
		}
		if !pause(ctx, asyncBackoff(n)) {
			return false
		}
	}
}

func (q *events) bury(ctx context.Context, stream string, call runtime.Call) error {
	st, err := q.streams.Stream(stream)
	if err != nil {
		return err
	}
	results, err := st.Put(ctx, []record.Record{{Key: []byte(call.ID), Data: call.Body}}, nil)
	if err == nil {
		err = results[0].Err
	}
	return err
}
