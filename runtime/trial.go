package runtime

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/sdk/record"
)

// Tape is what a guest read of clocks and random numbers in one call.
type Tape = capsule.Tape

// Trial makes a call one that is only looked at. What it emits is checked against the grants, and put nowhere: Reply.Outputs has it. It reads and
// changes state tables of its own, shared ones too; its changes are made durable by Reply.Commit, and forgotten without. It runs beside the version's
// and the function's concurrency, in instances for trials only, and is in no log, metric or list of invocations.
type Trial struct {
	Tables string // names whose tables it has, see KeepTrials
	HTTP   bool   // GET and HEAD requests are made; else none
	Note   *Tape  // what the guest reads is added here; nil notes nothing
	Play   *Tape  // what the guest reads comes from here as long as there is any, and then from the world; nil: all from the world

	// Refused counts the HTTP requests that were not made; nil does not.
	Refused *atomic.Uint64
}

// errNoTrial is why a trial's request is not made.
var errNoTrial = errors.New("a call that is only compared makes no such request")

// sends says whether a request may be made.
func (t *Trial) sends(method string) bool {
	if t.HTTP && (method == "GET" || method == "HEAD") {
		return true
	}
	if t.Refused != nil {
		t.Refused.Add(1)
	}
	return false
}

// playFor is what a call's guest is to read; nil is the world.
func playFor(call *Call) *player {
	if call.Trial == nil || call.Trial.Play == nil {
		return nil
	}
	return &player{tape: *call.Trial.Play, timed: true}
}

// trialSeed is not zero, because some take that for no randomness, and choose the time in its place.
var trialSeed = bytes.Repeat([]byte("the trials' seed"), 64)

// trialSenses are what an instance for trials is made with. All have the same random numbers and the same time, so that a guest which makes numbers of its
// own from them makes the same in each.
func trialSenses() *senses {
	return &senses{play: &player{tape: capsule.Tape{Random: trialSeed, Wall: slices.Repeat([]int64{epoch.UnixNano()}, 16)}, timed: true}}
}

// try is invoke of a trial.
func (rt *Runtime) try(ctx context.Context, f *function, v *version, call *Call, reply *Reply) error {
	if err := rt.handles(ctx, v, call.Kind); err != nil {
		return err
	}
	if err := rt.run(ctx, f, v, call, reply); err != nil {
		return err
	}
	if err := v.finish(reply); err != nil {
		return err
	}
	if reply.tried = v; reply.state == nil {
		return nil
	}
	if err := reply.state.Check(); err != nil {
		return stateFailure(v, reply, err)
	}
	return nil
}

// Outputs yields what a trial emitted, by its stream. The records are the reply's.
func (r *Reply) Outputs() iter.Seq2[string, record.Run] {
	return func(yield func(string, record.Run) bool) {
		for o := range r.parsed.Outputs() {
			if !yield(text(o.Stream), o.Records) {
				return
			}
		}
	}
}

// Commit makes durable what a trial has changed of its state. Error: a *FunctionError, as from Invoke, or ErrState.
func (r *Reply) Commit() error {
	if r.state == nil {
		return nil
	}
	changes := r.state
	r.state = nil
	if err := changes.Commit(); err != nil {
		return stateFailure(r.tried, r, err)
	}
	return nil
}

// KeepTrials removes the tables of all trials but those whose names keep wants, durably.
func (rt *Runtime) KeepTrials(keep func(tables string) bool) error {
	if rt.options.Doors.State == nil {
		return nil
	}
	_, err := rt.options.Doors.State.Drop(func(t state.Table) bool {
		name, of := strings.CutPrefix(t.Mapping, state.Trials)
		return of && !keep(name)
	})
	return err
}
