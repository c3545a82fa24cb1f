package triggers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// lane sees batches of a shard through, one after the other, until each of their records is settled or given up. A poller has one,
// which runs on the poller's goroutine; with parallelization it has several, each with the records of some partition keys.
type lane struct {
	p      *poller
	number int
	batch  batch
	tries  tries
	last   last

	rejections rejections
	rejects    []Failure // of the last attempt, not delivered yet
}

// process sees the batch through.
func (l *lane) process(read, work context.Context) error {
	l.tries = tries{}
	for {
		d, err := l.attempt(work)
		if err != nil {
			return err
		}
		if err := l.apply(read, work, d); err != nil {
			return err
		}
		if l.batch.records == 0 {
			return nil
		}
		if !sleep(read, jitter(d.Delay, rand.Float64())) {
			return context.Cause(read)
		}
	}
}

// attempt decides on the batch's age, and then on what the function makes of its first part.
func (l *lane) attempt(work context.Context) (decision, error) {
	s := l.p.r.settings.Load()
	f := facts{Records: l.batch.headLen()}
	if s.MaxRecordAge > 0 {
		f.Expired = l.batch.older(time.Now().Add(-s.MaxRecordAge).UnixMicro())
	}
	if d := decide(f, outcome{}, l.tries, s.policy); d.Discard > 0 {
		return d, nil
	}
	o, err := l.invoke(work, s, f.Records)
	if err != nil {
		return decision{}, err
	}
	return decide(f, o, l.tries, s.policy), nil
}

var replies = sync.Pool{New: func() any { return new(runtime.Reply) }}

// invoke calls the function once with the first n records and classifies what came of it. Its only error is errCutOff.
func (l *lane) invoke(work context.Context, s *settings, n int) (outcome, error) {
	reply := replies.Get().(*runtime.Reply)
	defer replies.Put(reply)
	p := l.p
	p.progress.invoking(l.number, l.tries.Attempts+1)
	p.r.batchSizes.Observe(float64(n))
	head := l.batch.head(n)
	source := l.source(s, head[0].First().Sequence, l.batch.last(head))
	err := p.r.functions.Invoke(work, runtime.Call{
		Function: s.Function, Version: s.version, Alias: s.alias,
		Kind:    runtime.KindBatch,
		Source:  source,
		Attempt: l.tries.Attempts + 1,
		Records: head,
	}, reply)
	if err != nil && work.Err() != nil {
		p.progress.cutOff(fmt.Sprintf("the invocation for the records %d to %d", source.First, source.Last))
		return outcome{}, errCutOff
	}
	o, err := l.outcome(s, n, reply, err)
	p.progress.invoked(l.number, o, n, err)
	return o, nil
}

// outcome reads what an invocation of n records came to. The error says why it was not simply ok.
func (l *lane) outcome(s *settings, n int, reply *runtime.Reply, err error) (outcome, error) {
	o := outcome{Class: classify(err)}
	if o.Class != replied {
		l.last = lastOf(err)
		return o, err
	}
	var count settled
	o.RetryFrom, count = readOutcomes(reply.Outcomes, n)
	if o.RetryFrom < n {
		err = askedAgain(reply.Outcomes, o.RetryFrom)
		l.last = last{version: reply.Version, invocation: reply.Invocation}
	}
	if count != (settled{}) {
		l.p.progress.settled(count)
	}
	if count.Rejected > 0 {
		l.rejections.note(reply.Outcomes, o.RetryFrom, l.batch.ascending())
		l.rejected(s, reply, o.RetryFrom)
	}
	if len(l.rejections.reasons) > 0 {
		l.rejections.flush(l.p.log, time.Now(), false)
	}
	return o, err
}

// apply carries a decision out: what is settled or given up leaves the batch, and the checkpoint follows.
func (l *lane) apply(read, work context.Context, d decision) error {
	if len(l.rejects) > 0 {
		if err := l.sendRejected(read, work); err != nil {
			return err
		}
	}
	if d.Discard > 0 {
		if err := l.giveUp(read, work, d); err != nil {
			return err
		}
	}
	l.tries = d.Next
	done := d.Settle + d.Discard
	l.batch.drop(done)
	if d.Join {
		l.batch.join()
	}
	l.batch.split(d.Split)
	if done == 0 {
		return nil
	}
	var oldest int64 // 0 = the batch is done
	if l.batch.records > 0 {
		oldest = l.batch.first().Arrival
	}
	l.p.progress.advanced(l.number, d.Settle, oldest)
	return l.p.settled(work, l)
}

// end lets go of what the lane has in hand.
func (l *lane) end() {
	l.rejections.flush(l.p.log, time.Now(), true)
	l.batch.reset()
	l.rejects = nil
}

// source says where the records of a call are from.
func (l *lane) source(s *settings, first, last uint64) runtime.Source {
	return runtime.Source{Mapping: s.Name, Stream: s.Stream, Shard: uint32(l.p.shard), First: first, Last: last}
}
