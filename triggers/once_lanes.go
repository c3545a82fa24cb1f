package triggers

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/shardmill/shardmill/shards"
)

// What a crash leaves of lanes with ExactlyOnce is one call of each at most that had emitted. The poller makes these calls again before the lanes
// begin, one after the other: it gathers the records that a lane of so many had, up to the last that the marker names.

// lanes is how many a shard is to have. With ExactlyOnce it has one until it has passed what other lanes had settled above the checkpoint: they could not
// say how far both are.
func (p *poller) lanes(s *settings) int {
	n := s.lanes()
	if a := p.feed.ahead; s.ExactlyOnce && a != nil && (len(a.low) != n || len(a.parked) > 0) {
		return 1
	}
	return n
}

// stored says whether aggregates that are read from a sequence number on are handed over as they are stored. With ExactlyOnce they are handed over as
// they were, as long as some of them are settled.
func (p *poller) stored(s *settings, first uint64) bool {
	if a := p.feed.ahead; s.ExactlyOnce && a != nil && a.upto.after(place{first, 0}) {
		return a.aggregated
	}
	return s.Aggregated
}

// between waits between lanes and others, or none: no call of these may be in doubt together with one of those.
func (p *poller) between() error {
	if !p.r.settings.Load().ExactlyOnce && !p.calls.emitted() {
		return nil
	}
	return p.saver.wait()
}

// has says whether a key is of the lane of a call.
func (d *doubt) has(key []byte) bool {
	return d.lanes == 0 || keyHash(key)%uint64(d.lanes) == uint64(d.lane)
}

// after is the place behind the call's records: whatever is there, it was not in the call.
func (d *doubt) after() place { return place{d.last.sequence, d.last.inside + 1} }

// redoLanes makes the calls of lanes in doubt again.
func (p *poller) redoLanes(read, work context.Context) error {
	own := p.lane.doubt
	defer func() { p.lane.doubt, p.redoing = own, nil }()
	for ; len(p.doubts) > 0; p.doubts = p.doubts[1:] {
		p.redoing = p.doubts[0]
		if err := p.redoLane(read, work); err != nil {
			return err
		}
	}
	p.progress.rearranged()
	return p.saver.wait()
}

// redoLane makes a call in doubt again until it is settled or given up. Records that it leaves are the lane's to deliver.
func (p *poller) redoLane(read, work context.Context) error {
	l := &p.lane
	defer l.batch.reset()
	if err := p.gather(read); err != nil {
		return err
	}
	l.doubt, l.tries = p.redoing, tries{}
	if l.batch.records == 0 { // its records are gone
		l.resolve()
		return p.redone(work, l)
	}
	p.progress.holding(0, l.batch.first().Arrival)
	for {
		d, err := l.attempt(work)
		if err != nil {
			return err
		}
		if err := l.apply(read, work, d); err != nil || l.doubt == nil {
			return err
		}
		if !sleep(read, jitter(d.Delay, rand.Float64())) {
			return context.Cause(read)
		}
	}
}

// gather reads the records of the call in doubt, beside the poller's own reading.
func (p *poller) gather(read context.Context) error {
	b, s, d := &p.lane.batch, p.r.settings.Load(), p.redoing
	b.reset()
	reader, err := p.r.source.Reader(p.shard, p.start(s))
	if err != nil {
		return err
	}
	from := feed{ahead: p.feed.ahead}
	defer from.reset()
	for skip := p.calls.skip; from.collect(b, s.filter, d); skip = 0 {
		run, err := reader.Next(read)
		if errors.Is(err, shards.ErrShardEnd) || errors.Is(err, shards.ErrNoShard) {
			return nil
		}
		if err != nil {
			return err
		}
		from.fill(run, d.stored)
		if cp, _ := p.saver.checkpoint(); skip > 0 && cp.Sequence+1 == run.First().Sequence {
			from.skip(skip)
		}
	}
	return nil
}

// redone has the checkpoint say what has become of the call in doubt: its lane is further than before, and the others are where they were.
func (p *poller) redone(work context.Context, l *lane) error {
	d, old := p.redoing, p.feed.ahead
	if old == nil {
		old = &ahead{aggregated: d.stored, upto: place{p.next, p.calls.skip}, low: make([]place, d.lanes)}
	}
	a := &ahead{aggregated: old.aggregated, upto: old.upto}
	if d.after().after(a.upto) {
		a.upto = d.after()
	}
	for i, low := range old.low {
		switch {
		case i == d.lane && l.batch.records > 0:
			low = l.batch.place(0)
		case i == d.lane:
			low = d.after()
		case low == place{} && a.upto.after(old.upto):
			low = old.upto
		}
		a.low = append(a.low, low)
	}
	a.blob = a.encode()
	p.feed.resume(a)
	p.generation.Add(1)
	return p.saver.settle(work, p.markOf(p.next-1, a.blob))
}
