package triggers

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers/event"
)

// The two sides of a comparison.
const (
	serving   = 0
	candidate = 1
)

// trial is what makes a runner that of a shadow.
type trial struct {
	shadowDefinition
	version int // of the candidate; 0 = the newest, or what alias leads to
	alias   string
	splits  budget
	refused [2]atomic.Uint64 // HTTP requests that were not made, since the host started

	mu      sync.Mutex
	tallies map[shards.ShardID]*tally
}

func newTrial(d *shadowDefinition) *trial {
	t := &trial{shadowDefinition: *d, tallies: map[shards.ShardID]*tally{}, splits: budget{most: maxSplits}}
	t.version, t.alias, _ = runtime.ParseQualifier(d.Qualifier) // it was checked when the shadow was made
	return t
}

// tablesOf is what the state tables of a side are called.
func tablesOf(id string, side int) string {
	return id + "/" + [2]string{serving: "serving", candidate: "shadow"}[side]
}

// maxSplits is how many calls a second a shadow makes to find the record that makes a difference.
const maxSplits = 64

// budget allows something so often a second.
type budget struct {
	most int

	mu     sync.Mutex
	second int64
	used   int
}

func (b *budget) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := now.Unix(); s != b.second {
		b.second, b.used = s, 0
	}
	b.used++
	return b.used <= b.most
}

// attempt is the call of one side.
type attempt struct {
	reply    *runtime.Reply
	class    class
	err      error
	outcomes []runtime.Outcome
	state    []byte // of the window, after it
}

// failure is what it failed with; "" when it did not.
func (a *attempt) failure() string {
	var own *runtime.FunctionError
	switch {
	case a.err == nil:
		return ""
	case errors.As(a.err, &own) && own.Type != "":
		return fmt.Sprintf("%s: %s: %s", own.Kind, own.Type, own.Message)
	case errors.As(a.err, &own):
		return fmt.Sprintf("%s: %s", own.Kind, own.Message)
	}
	return a.err.Error()
}

// compare is exchange of a shadow: it makes the call with both versions and notes how what they come to differs. Calls that differ, or fail, are divided down to the record
// that is the cause: as failures are with Isolate.
func (l *lane) compare(work context.Context, s *settings, q request) (outcome, error) {
	p, t := l.p, l.p.r.trial
	p.progress.invoking(l.number, l.tries.Attempts+1)
	q.through = p.r.entrance.find(p.r.functions, s)
	var pair [2]attempt
	for side := range pair {
		pair[side].reply = replies.Get().(*runtime.Reply)
		defer replies.Put(pair[side].reply)
	}
	states := splitStates(p.window.state)
	y := t.tally(p.shard)
	unmade, err := l.runBoth(work, s, &q, &states, &pair, y.turn())
	if err != nil {
		return outcome{}, err
	}
	if unmade != nil {
		o := outcome{Class: unmade.class}
		p.progress.invoked(l.number, o, q.n, unmade.err)
		return o, nil
	}
	f := t.compare(&pair, &q)
	y.ran(&pair, q.n)
	o := outcome{Class: replied, RetryFrom: max(q.n, 1)}
	if q.n > 1 && f.blamable() && t.splits.take(time.Now()) {
		o.Class = failed
		p.progress.invoked(l.number, o, q.n, errors.New("the two versions differ: the record is looked for"))
		return o, nil
	}
	for side := range pair {
		if err := pair[side].reply.Commit(); err != nil && pair[side].err == nil {
			pair[side].err, pair[side].class = err, classify(err)
			f = t.compare(&pair, &q)
		}
	}
	y.compared(&f, q.n, p.shard, time.Now())
	p.progress.invoked(l.number, o, q.n, nil)
	if l.state = nil; p.window.isOpen() && !q.final {
		l.state = joinStates(pair[serving].state, pair[candidate].state)
	}
	return o, nil
}

// runBoth makes the calls of both sides. unmade is the one that the host could not make: then there is nothing to compare.
func (l *lane) runBoth(work context.Context, s *settings, q *request, states *[2][]byte, pair *[2]attempt, turn [2]int) (unmade *attempt, err error) {
	t, id := l.p.r.trial, newID()
	tape := new(runtime.Tape)
	body := bodies.Get().(*[]byte)
	defer bodies.Put(body)
	for i, side := range turn {
		a := &pair[side]
		call := l.call(s, q, states[side], body)
		call.ID, call.Keep = id, nil
		call.Trial = &runtime.Trial{Tables: tablesOf(t.ID, side), HTTP: t.HTTP, Note: tape, Refused: &t.refused[side]}
		if side == candidate {
			call.Function, call.Version, call.Alias = t.Function, t.version, t.alias
		}
		if i == 1 {
			call.Trial.Note, call.Trial.Play = nil, tape
		}
		a.err = l.p.r.functions.Invoke(work, call, a.reply)
		if a.err != nil && work.Err() != nil {
			return nil, errCutOff
		}
		if side == serving {
			l.p.r.entrance.ran(a.reply.Version, a.err)
		}
		if a.class = classify(a.err); a.class == throttled || a.class == refused {
			return a, nil
		}
		a.read(s, q, states[side])
	}
	return nil, nil
}

// read takes from a reply what is compared. was is the window's state before the call.
func (a *attempt) read(s *settings, q *request, was []byte) {
	if a.state = was; a.err != nil {
		return
	}
	if q.through == doorSDK {
		a.outcomes, a.state = a.reply.Outcomes, a.reply.State
		return
	}
	r, err := event.ParseReply(a.reply.Body, q.envelope, q.head, s.ReportItemFailures && !q.final)
	if err != nil {
		a.class, a.err = failed, err
		return
	}
	a.state = r.State
	for _, i := range r.Failures {
		a.outcomes = append(a.outcomes, runtime.Outcome{Index: i, Result: runtime.ResultRetry})
	}
}

// joinStates makes one state of a window of those of both sides: the length of the first, 4 bytes little-endian, and then both. Empty ones are none.
func joinStates(old, new []byte) []byte {
	if len(old)+len(new) == 0 {
		return nil
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(old)))
	return append(append(b, old...), new...)
}

// splitStates undoes joinStates; what it cannot read is no state.
func splitStates(b []byte) (states [2][]byte) {
	if len(b) < 4 {
		return states
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n > int64(len(b)-4) {
		return states
	}
	return [2][]byte{b[4 : 4+n], b[4+n:]}
}

// compare finds how the calls of both sides differ.
func (t *trial) compare(pair *[2]attempt, q *request) findings {
	f := findings{request: q}
	if q.n > 0 {
		f.first, f.last = q.head[0].First().Sequence, q.head[len(q.head)-1].Last().Sequence
	}
	old, new := &pair[serving], &pair[candidate]
	if old.err != nil || new.err != nil {
		f.note(old.failure() == new.failure(), Difference{What: FailureDiffers, Old: said(old.failure()), New: said(new.failure())})
	}
	f.outputs(outputsOf(old), outputsOf(new))
	if old.err != nil || new.err != nil {
		return f // what one says of records has nothing beside it
	}
	f.outcomes(old.outcomes, new.outcomes)
	if len(old.state)+len(new.state) > 0 && !q.final {
		f.note(bytes.Equal(old.state, new.state), Difference{What: StateDiffers, Old: old.state, New: new.state})
	}
	return f
}
