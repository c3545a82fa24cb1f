package triggers

import (
	"context"
	"math"
	"math/rand/v2"
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

	state      []byte // that the last attempt has given the window
	object     bool   // it is known to be a JSON object
	rejections rejections
	rejects    []Failure // of the last attempt, not delivered yet

	called time.Time // when the last call ended, or else the lane began: a batch window begins then; zero = long ago

	asked asked  // the call under way
	doubt *doubt // a call whose outputs may have been put, and which is not settled; nil = there is none
	owed  uint64 // the generation of the checkpoint that has all that the lane has settled; 0 = with one lane, that has to be the last
}

// process sees the batch through.
func (l *lane) process(read, work context.Context) error {
	l.tries = tries{}
	return l.persist(read, work)
}

// persist is process for a batch on which tries have been spent already.
func (l *lane) persist(read, work context.Context) error {
	for {
		d, err := l.attempt(work)
		if err != nil {
			return err
		}
		if err := l.apply(read, work, d); err != nil {
			return err
		}
		if l.culprit(d) && l.p.fan.park(read, work, l, d) {
			l.tries = tries{}
			d = decision{}
		}
		if l.batch.records == 0 {
			return nil
		}
		if !sleep(read, jitter(d.Delay, rand.Float64())) {
			return context.Cause(read)
		}
	}
}

// culprit says whether a decision leaves a single record at the head that is to be tried again, while others could go on.
func (l *lane) culprit(d decision) bool {
	return l.p.fan != nil && d.Delay > 0 && d.Next.Refusals == 0 && l.batch.records > 0 && l.batch.headLen() == 1 && l.p.r.settings.Load().Isolate
}

// attempt decides on the batch's age, and then on what the function makes of its first part.
func (l *lane) attempt(work context.Context) (decision, error) {
	s := l.p.r.settings.Load()
	if l.doubt != nil {
		return l.again(work, s)
	}
	f := facts{Records: l.batch.headLen()}
	now := time.Now()
	if s.MaxRecordAge > 0 {
		f.Expired = l.batch.older(now.Add(-s.MaxRecordAge).UnixMicro())
	}
	f.Retired = l.batch.older(l.kept(now))
	if d := decide(f, outcome{}, l.tries, s.policy); d.Discard > 0 {
		return d, nil
	}
	n := l.fit(s, f.Records)
	if n == 0 {
		return decision{Discard: 1, Reason: RecordTooLarge}, nil
	}
	if n < f.Records {
		l.batch.split(n)
		f.Records = n
	}
	l.p.r.batchSizes.Observe(float64(n))
	o, err := l.exchange(work, s, request{head: l.batch.head(n), n: n})
	if err != nil {
		return decision{}, err
	}
	return decide(f, o, l.tries, l.policy(s, &o)), nil
}

// kept is the arrival, in µs, from which on the stream still has its records: what has been tried and is older is not tried for ever. Before a first attempt nothing is too old.
func (l *lane) kept(now time.Time) int64 {
	if l.tries.Attempts+l.tries.Refusals == 0 {
		return math.MinInt64
	}
	return now.Add(-l.p.r.source.Retention()).UnixMicro()
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
	if l.p.window.isOpen() && d.Settle > 0 {
		if err := l.keepState(read, work); err != nil {
			return err
		}
	}
	l.tries = d.Next
	done := d.Settle + d.Discard
	var last uint64 // that is done, where it matters
	if l.p.window.isOpen() && done > 0 {
		last = l.batch.last(l.batch.head(done))
	}
	l.batch.drop(done)
	if d.Join {
		l.batch.join()
	}
	l.batch.split(d.Split)
	if done == 0 {
		return nil
	}
	if l.p.fan == nil {
		l.resolve()
	}
	var oldest int64 // 0 = the batch is done
	if l.batch.records > 0 {
		oldest = l.batch.first().Arrival
	}
	l.p.progress.advanced(l.number, d.Settle, oldest)
	if l.batch.settled() < last && !l.p.r.settings.Load().ExactlyOnce {
		return nil // the state has a part of an aggregate, which the checkpoint cannot tell: they are saved with the rest of it
	}
	return l.p.settled(work, l)
}

// keepState makes the state that a reply gave the window's. One that is too large ends the window early.
func (l *lane) keepState(read, work context.Context) error {
	l.p.window.keep(l.state)
	if l.object {
		l.p.window.object = l.p.window.state
	}
	tooLarge := len(l.state) > maxWindowState
	l.state = nil
	if !tooLarge {
		return nil
	}
	return l.closeWindow(read, work, true)
}

// end lets go of what the lane has in hand.
func (l *lane) end() {
	l.rejections.flush(l.p.log, time.Now(), true)
	l.batch.reset()
	l.rejects, l.doubt, l.asked = nil, nil, asked{}
}

// source says where the records of a call are from.
func (l *lane) source(s *settings, first, last uint64) runtime.Source {
	return runtime.Source{Mapping: s.Name, Stream: s.Stream, Shard: uint32(l.p.shard), First: first, Last: last}
}
