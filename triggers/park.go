package triggers

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

// maxParked is how many keys of a shard may be parked at once. When there are more, a lane waits for its culprit.
const maxParked = 10

// park takes the record at the head of a lane's batch, which has failed alone and is to be tried again after d.Delay, out of the lane, with
// all records of its key that the lane has; more of them follow it. They have a lane of their own until they are done with, so that the
// rest of the shard goes on and the key stays in order. Without a free lane it does nothing and returns false. It is called by the lane.
func (f *fan) park(read, work context.Context, l *lane, d decision) bool {
	f.mu.Lock()
	from, to := f.lanes[l.number], f.free()
	if to == nil || from.key != "" {
		f.mu.Unlock()
		return false
	}
	culprit := l.batch.first()
	to.key = string(culprit.Key)
	f.parked[to.key] = to
	limits := &f.p.r.settings.Load().limits
	// The culprit is under way in its new lane, and the others wait behind it.
	to.lane.batch.reset()
	to.lane.batch.add(&culprit, limits.sizeOf(&culprit))
	to.lane.batch.seal()
	to.lane.tries, to.lane.last = d.Next, l.last
	l.batch.drop(1)
	var rest batch
	to.sift(&l.batch, &rest, limits)
	l.batch.reset()
	l.batch = rest
	from.regroup(to, limits)
	to.running = true
	from.look()
	to.look()
	f.running.Go(func() { f.retry(read, work, to, jitter(d.Delay, rand.Float64())) })
	var left int64
	if rest.records > 0 {
		left = rest.first().Arrival
	}
	f.mu.Unlock()
	f.p.progress.parked(l.number, to.lane.number, culprit.Arrival, left)
	return true
}

// free is a lane for a parked key; nil when all are taken.
func (f *fan) free() *queue {
	for _, q := range f.lanes[f.dealt:] {
		if q.key == "" && !q.running {
			return q
		}
	}
	return nil
}

// sift copies the records of a batch: those of the parked key to wait in q, the others into rest.
func (q *queue) sift(b, rest *batch, l *limits) {
	for _, run := range b.runs {
		for r := range run.All() {
			if string(r.Key) == q.key {
				q.add(&r, 0, l)
			} else {
				rest.add(&r, l.sizeOf(&r))
			}
		}
	}
	rest.seal()
}

// regroup moves what waits of the key that to has been given.
func (q *queue) regroup(to *queue, l *limits) {
	waiting := q.waiting
	q.waiting, q.held = nil, 0
	for _, b := range waiting {
		b.seal()
		if hasKey(b.runs, to.key) {
			rest := new(batch)
			to.sift(b, rest, l)
			b.reset()
			b = rest
		}
		if b.records > 0 {
			q.waiting = append(q.waiting, b)
			q.held += b.bytes + batchCost
		}
	}
}

func hasKey(runs []record.Run, key string) bool {
	for _, run := range runs {
		for r := range run.All() {
			if string(r.Key) == key {
				return true
			}
		}
	}
	return false
}

// retry is serve for a lane that begins with a parked record.
func (f *fan) retry(read, work context.Context, q *queue, wait time.Duration) {
	if !sleep(read, wait) || q.lane.persist(read, work) != nil {
		return // as in serve
	}
	f.serve(read, work, q)
}
