package triggers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/triggers/event"
)

// door is how a function takes the records of a mapping.
type door uint8

const (
	doorNone   door = iota // not known, or the function takes none
	doorSDK                // call kinds 1 and 2: record batches
	doorLambda             // call kind 4 with Lambda's event
)

// doorOf is the door of a version that handles some kinds of call. The SDK's goes before Lambda's.
func doorOf(kinds runtime.Kinds) door {
	switch {
	case kinds.Has(runtime.KindBatch):
		return doorSDK
	case kinds.Has(runtime.KindInvoke):
		return doorLambda
	}
	return doorNone
}

// entrance remembers a function's door, so that it is not asked for at each call.
type entrance struct {
	mu      sync.Mutex
	of      string // function and qualifier
	door    door
	version int // that was found with it; 0 = none has run
}

// find is the door by which a call goes in.
func (e *entrance) find(functions Functions, s *settings) door {
	e.mu.Lock()
	known, of := e.door, e.of
	e.mu.Unlock()
	if known == doorNone || of != s.target {
		f, err := functions.Get(s.Function)
		if err != nil {
			return doorSDK // the call will say what is the matter
		}
		kinds, _ := kindsOf(&f, s.Qualifier)
		known = doorOf(kinds)
		e.mu.Lock()
		e.of, e.door, e.version = s.target, known, 0
		e.mu.Unlock()
	}
	if known == doorNone {
		return doorSDK
	}
	return known
}

// ran notes which version a call has run, and forgets the door when it is another one than before.
func (e *entrance) ran(version int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(err, runtime.ErrUnsupported) || e.version != 0 && e.version != version {
		e.door = doorNone
		return
	}
	e.version = version
}

// request is what one call is about: records, or the end of a window.
type request struct {
	head  []record.Run
	n     int    // records
	final bool   // the window ends, and there are no records
	early bool   // because its state is too large
	what  string // for people

	through  door
	envelope event.Envelope // with doorLambda
}

var (
	replies = sync.Pool{New: func() any { return new(runtime.Reply) }}
	bodies  = sync.Pool{New: func() any { return new([]byte) }}
)

// exchange calls the function once and classifies what came of it. Its only error is errCutOff.
func (l *lane) exchange(work context.Context, s *settings, q request) (outcome, error) {
	defer func() { l.called = time.Now() }()
	if l.p.r.trial != nil {
		return l.compare(work, s, q)
	}
	reply := replies.Get().(*runtime.Reply)
	defer replies.Put(reply)
	p := l.p
	p.progress.invoking(l.number, l.tries.Attempts+1)
	q.through = p.r.entrance.find(p.r.functions, s)
	body := bodies.Get().(*[]byte)
	defer bodies.Put(body)
	call := l.call(s, &q, p.window.state, body)
	if l.marks(s, q) {
		l.asked = asked{q, s.ReportItemFailures}
		call.Once = l
	}
	err := p.r.functions.Invoke(work, call, reply)
	l.asked = asked{} // it has views of the log's memory
	p.r.entrance.ran(reply.Version, err)
	if err != nil && work.Err() != nil {
		p.progress.cutOff(cutOffText(q, &call))
		return outcome{}, errCutOff
	}
	o, err := l.outcome(s, &q, reply, err)
	p.progress.invoked(l.number, o, q.n, err)
	return o, nil
}

// call is the call for a request with a state of the window, by the request's door. An event is made in body, and its envelope kept with the request.
func (l *lane) call(s *settings, q *request, state []byte, body *[]byte) runtime.Call {
	call := runtime.Call{
		Function: s.Function, Version: s.version, Alias: s.alias,
		Kind: runtime.KindBatch, Attempt: l.tries.Attempts + 1,
		Records: q.head, State: state, Window: l.p.window.call(q.early),
		Source: l.source(s, 0, 0), Keep: s.keep,
	}
	if q.final {
		call.Kind = runtime.KindWindowClose
	} else {
		call.Source.First, call.Source.Last = q.head[0].First().Sequence, l.batch.last(q.head)
	}
	if q.through == doorLambda {
		q.envelope = l.envelope(s, *q)
		if w := q.envelope.Window; w != nil && l.p.r.trial != nil {
			w.State = event.StateObject(state)
		}
		*body = event.Append((*body)[:0], q.envelope, q.head)
		call.Keep = s.keepEvents(q)
		call.Kind, call.Body, call.Count, call.Records, call.State, call.Window = runtime.KindInvoke, *body, q.n, nil, nil, runtime.Window{}
	}
	return call
}

// keepEvents is which calls with events are kept: runtime cannot read what they answer.
func (s *settings) keepEvents(q *request) *runtime.Keep {
	if s.keep == nil || !s.keep.Failed {
		return s.keep
	}
	keep, envelope, head, items := *s.keep, q.envelope, q.head, s.ReportItemFailures && !q.final
	if q.final {
		keep.Window = envelope.Window.End
	}
	keep.Troubled = func(body []byte) bool {
		r, err := event.ParseReply(body, envelope, head, items)
		return err != nil || len(r.Failures) > 0
	}
	return &keep
}

func cutOffText(q request, call *runtime.Call) string {
	if q.final {
		return q.what
	}
	return fmt.Sprintf("the invocation for the records %d to %d", call.Source.First, call.Source.Last)
}

// envelope is what the records of a Lambda event share.
func (l *lane) envelope(s *settings, q request) event.Envelope {
	e := s.envelope
	e.Shard = uint32(l.p.shard)
	if w := &l.p.window; w.isOpen() {
		at := w.call(q.early)
		e.Window = &event.Window{Start: at.Start, End: at.End, State: w.stateObject(), Final: q.final, EndedEarly: q.early}
	}
	return e
}

// fit is how many of the first n records one call takes; 0 = the first alone is too large.
func (l *lane) fit(s *settings, n int) int {
	if l.p.r.entrance.find(l.p.r.functions, s) != doorLambda {
		return n
	}
	return event.Fit(l.envelope(s, request{}), l.batch.head(n))
}

// outcome reads what a call came to. The error says why it was not simply ok.
func (l *lane) outcome(s *settings, q *request, reply *runtime.Reply, err error) (outcome, error) {
	o := outcome{Class: classify(err), RetryFrom: max(q.n, 1)}
	if o.Class != replied {
		l.last = lastOf(err)
		return o, err
	}
	l.state = reply.State
	if q.through == doorLambda {
		o, err = l.readEvent(s, q, reply)
	} else if !q.final {
		o, err = l.readReply(s, q, reply)
	}
	if err != nil {
		l.last = last{version: reply.Version, invocation: reply.Invocation}
	}
	if p := l.p; p.window.isOpen() && o.Class == replied && o.RetryFrom > 0 && !q.final {
		l.state, l.object = append([]byte(nil), l.state...), q.through == doorLambda // it is the reply's
	} else {
		l.state = nil
	}
	if len(l.rejections.reasons) > 0 {
		l.rejections.flush(l.p.log, time.Now(), false)
	}
	return o, err
}

// readReply reads the reply of the SDK's door.
func (l *lane) readReply(s *settings, q *request, reply *runtime.Reply) (o outcome, err error) {
	o.Class = replied
	var count settled
	o.RetryFrom, count = readOutcomes(reply.Outcomes, q.n)
	if o.RetryFrom < q.n {
		err = askedAgain(reply.Outcomes, o.RetryFrom)
	}
	if count != (settled{}) {
		l.p.progress.settled(count)
	}
	if count.Rejected > 0 {
		l.rejections.note(reply.Outcomes, o.RetryFrom, l.batch.ascending())
		l.rejected(s, reply, o.RetryFrom)
	}
	return o, err
}

// readEvent reads the reply of Lambda's door.
func (l *lane) readEvent(s *settings, q *request, reply *runtime.Reply) (outcome, error) {
	r, err := event.ParseReply(reply.Body, q.envelope, q.head, s.ReportItemFailures && !q.final)
	if err != nil {
		return outcome{Class: failed}, err
	}
	l.state = r.State
	if len(r.Failures) == 0 {
		return outcome{Class: replied, RetryFrom: max(q.n, 1)}, nil
	}
	return outcome{Class: replied, RetryFrom: r.Failures[0]}, fmt.Errorf("the function asked for record %d again", r.Failures[0])
}
