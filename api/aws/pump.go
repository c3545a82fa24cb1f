package aws

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

const (
	// maxEventBytes and maxEventRecords are the most that one event has, but for a record that is larger by itself.
	maxEventBytes   = 1 << 20
	maxEventRecords = 10000
	// maxPumped is how many bytes of events a pump keeps for subscriptions that are not quite at the tail: two or three of the largest.
	maxPumped = 4 << 20
	// maxPumpedAll is how many bytes all pumps together keep before each that gets an event keeps that one only: subscriptions to a
	// thousand shards do not cost a thousand times maxPumped.
	maxPumpedAll = 64 << 20
)

// event is a SubscribeToShardEvent as it goes over the wire, with the sequence numbers of its records: from first up to next.
type event struct {
	first, next uint64
	frame       []byte
	size        int   // bytes of data and keys
	arrival     int64 // of its first record, µs; 0 when it has none
	last        bool  // the shard has ended
}

// pump reads the tail of one shard for all subscriptions that are there: one reader, one encoding. It runs while it has any.
type pump struct {
	key    shardKey
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
	users  int           // guarded by the hub
	all    *atomic.Int64 // the hub's kept

	mu      sync.Mutex
	events  []event // without a gap, up to next
	kept    int     // bytes of their frames
	next    uint64
	err     error         // why there are no more
	changed chan struct{} // closed, and replaced, at every change
}

// hub has the pumps.
type hub struct {
	mu    sync.Mutex
	pumps map[shardKey]*pump

	kept atomic.Int64 // bytes of frames that all pumps keep
}

// attach is the pump of a shard, which is started when there is none. The caller detaches.
func (h *hub) attach(st *shards.Stream, shard shards.ShardID, describe describer) (*pump, error) {
	key := shardKey{st.ID(), shard}
	if p := h.join(key, nil); p != nil {
		return p, nil
	}
	r, err := st.Reader(shard, shards.Start{Kind: shards.Newest})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	mine := &pump{key: key, cancel: cancel, done: make(chan struct{}), all: &h.kept, next: r.Position(), changed: make(chan struct{})}
	p := h.join(key, mine)
	if p != mine {
		cancel()
		return p, nil
	}
	go func() {
		defer close(mine.done)
		mine.run(ctx, r, encoder{st, shard, describe})
	}()
	return mine, nil
}

// join adds a user to the pump of a shard, to mine when there is no other; nil when there is neither.
func (h *hub) join(key shardKey, mine *pump) *pump {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.pumps[key]
	if p == nil && mine != nil {
		p = mine
		h.pumps[key] = p
	}
	if p != nil {
		p.users++
	}
	return p
}

// detach takes one user off; the last one stops the pump and waits for it.
func (h *hub) detach(p *pump) {
	h.mu.Lock()
	p.users--
	last := p.users == 0
	if last {
		delete(h.pumps, p.key)
	}
	h.mu.Unlock()
	if last {
		p.cancel()
		<-p.done
		p.drop(func() bool { return len(p.events) > 0 })
	}
}

// run reads until ctx ends or there is nothing more to read.
func (p *pump) run(ctx context.Context, r *shards.Reader, enc encoder) {
	for {
		run, err := r.Next(ctx)
		if errors.Is(err, shards.ErrShardEnd) {
			var last event
			if last, err = enc.end(ctx, r.Position()); err == nil {
				p.publish([]event{last}, nil)
				return
			}
		}
		if err != nil {
			p.publish(nil, err)
			return
		}
		behind := r.Behind()
		for run.Len() > 0 {
			var part record.Run
			part, run = cutEvent(run)
			p.publish([]event{enc.encode(nil, part, behind)}, nil)
		}
	}
}

// cutEvent divides a run behind what fits into one event.
func cutEvent(run record.Run) (head, rest record.Run) {
	head, rest = run.SplitSize(maxEventBytes)
	if head.Len() == 0 {
		return run.Split(1)
	}
	if head.Len() > maxEventRecords {
		return run.Split(maxEventRecords)
	}
	return head, rest
}

// publish adds events, or the end, and wakes the subscriptions.
func (p *pump) publish(events []event, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		p.events = append(p.events, e)
		p.kept += len(e.frame)
		p.all.Add(int64(len(e.frame)))
		p.next = e.next
	}
	p.drop(func() bool { return len(p.events) > 1 && (p.kept > maxPumped || p.all.Load() > maxPumpedAll) })
	p.err = err
	close(p.changed)
	p.changed = make(chan struct{})
}

// drop forgets the oldest events while there is reason to. The caller holds mu, or is the last who has the pump.
func (p *pump) drop(while func() bool) {
	for while() {
		size := len(p.events[0].frame)
		p.kept -= size
		p.all.Add(-int64(size))
		p.events[0] = event{}
		p.events = p.events[1:]
	}
}

// answer is what a pump has for a subscription at a position: one of these.
type answer struct {
	event   *event
	changed <-chan struct{} // nothing yet: ask again when it is closed
	until   uint64          // the position is not where an event begins: read up to here by oneself, and ask again
	err     error
}

// at is what comes for a subscription at a position.
func (p *pump) at(position uint64) answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.events {
		e := &p.events[i]
		if e.first == position && (e.next > e.first || e.last) {
			found := *e
			return answer{event: &found}
		}
		if position > e.first && position < e.next {
			return answer{until: e.next}
		}
	}
	switch {
	case position < p.next:
		return answer{until: p.next}
	case p.err != nil:
		return answer{err: p.err}
	}
	return answer{changed: p.changed}
}

// describer is Streams.Describe.
type describer func(ctx context.Context, name string) (shards.Description, error)

// encoder makes the events of one shard.
type encoder struct {
	st       *shards.Stream
	shard    shards.ShardID
	describe describer
}

// encode makes the event of a run that is not empty, over memory that may be used again.
func (enc encoder) encode(into []byte, run record.Run, behind time.Duration) event {
	first := run.First()
	e := event{first: first.Sequence, next: first.Sequence + uint64(run.Len()), size: run.Size(), arrival: first.Arrival}
	if room := run.Size()/3*4 + 192*run.Len() + 512; cap(into) < room {
		into = make([]byte, 0, room)
	}
	e.frame = enc.frame(into[:0], []record.Run{run}, run.Len(), e.next, behind)
	return e
}

// empty makes an event without records: a sign of life.
func (enc encoder) empty(next uint64, behind time.Duration) event {
	return event{first: next, next: next, frame: enc.frame(nil, nil, 0, next, behind)}
}

// frame writes an event. The number to continue after is that of the record before next, which need not be there.
func (enc encoder) frame(dst []byte, runs []record.Run, count int, next uint64, behind time.Duration) []byte {
	w := &jsonWriter{beginFrame(dst, eventHeaders)}
	w.open(3)
	writeRecords(w, enc.st, enc.shard, runs, count)
	w.sequence("ContinuationSequenceNumber", sequence.Of(enc.st.ID()), enc.shard, next-1)
	w.integer("MillisBehindLatest", behind.Milliseconds())
	w.close()
	return endFrame(w.b, 0)
}

// end makes the last event of a shard, which has nothing to continue after, and names the children.
func (enc encoder) end(ctx context.Context, next uint64) (event, error) {
	d, err := enc.describe(ctx, enc.st.Name())
	if err != nil {
		return event{}, err
	}
	w := &jsonWriter{beginFrame(nil, eventHeaders)}
	w.open(3)
	writeRecords(w, enc.st, enc.shard, nil, 0)
	w.integer("MillisBehindLatest", 0)
	w.value("ChildShards", childrenOf(d, enc.shard))
	w.close()
	return event{first: next, next: next, frame: endFrame(w.b, 0), last: true}, nil
}
