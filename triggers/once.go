package triggers

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers/event"
)

// Markers finds and deletes the markers that calls have left in the streams they emitted to; a *shards.Store is one. Marker and Producers do not block.
type Markers interface {
	// Marker is the one of the highest ordinal that a producer has in any stream.
	Marker(producer string) (shards.Marker, bool)
	// Producers are those that have markers and whose names begin with a prefix.
	Producers(prefix string) map[string]bool
	// DeleteMarkers durably forgets the markers of all these.
	DeleteMarkers(ctx context.Context, prefix string) error
}

// emittedBy is what the names of all producers begin with. One is a shard of a mapping, or one of the shard's lanes: its name holds the mapping's id and not its name, so
// that a mapping made anew under an old name is another producer.
const emittedBy = "emitted/"

func producers(id string) string { return emittedBy + id + "/" }

func producer(id string, shard shards.ShardID) string { return producers(id) + shard.String() }

// producerOf is a lane of a shard.
func producerOf(id string, shard shards.ShardID, lane int) string {
	if lane == noLane {
		return producer(id, shard)
	}
	return producer(id, shard) + "/" + strconv.Itoa(lane)
}

// calls is what the checkpoint of a shard says besides its position, for ExactlyOnce. It belongs to the poller's goroutine.
//
// Calls that emit are numbered, in each lane. The outputs of one are put under a marker with its number, when the checkpoint that has the number
// before it is saved: so there is one call of a lane at most whose outputs may be in streams and which the checkpoint does not know.
type calls struct {
	ordinal uint64                     // of the last call with outputs that is settled
	lanes   [MaxParallelization]uint64 // the same of each lane, of those with which a shard has several
	inside  uint32                     // so many user records of the stored record behind the position are settled

	generation uint64 // grows with each change
	skip       uint32 // inside, until the reader has come to it
}

func (c *calls) used() bool { return c.emitted() || c.inside > 0 }

// emitted says whether there has been a call with outputs.
func (c *calls) emitted() bool { return c.ordinal > 0 || c.lanes != [MaxParallelization]uint64{} }

// last is the number of the last call with outputs that is settled: of a lane, or without lanes.
func (c *calls) last(lane int) *uint64 {
	if lane == noLane {
		return &c.ordinal
	}
	return &c.lanes[lane]
}

func (c *calls) settle(lane int, ordinal uint64) {
	last := c.last(lane)
	*last = max(*last, ordinal)
	c.generation++
}

func (c *calls) enter(inside uint32) {
	if c.inside != inside {
		c.inside = inside
		c.generation++
	}
}

// place is a record as the function has it: a stored one, or a user record in it.
type place struct {
	sequence uint64
	inside   uint32
}

func (p place) after(other place) bool {
	return p.sequence > other.sequence || p.sequence == other.sequence && p.inside > other.inside
}

// noLane is the lane of calls while a shard has only one.
const noLane = -1

// doubt is a call whose outputs may have been put. It is made again, with the same records and under the same mark, until the function has
// replied; what it emits then goes only to the streams that do not have the mark.
type doubt struct {
	mark    runtime.Mark
	lane    int   // of so many lanes; noLane and 0 = there was one
	lanes   int   //
	stored  bool  // aggregates were handed over as they are stored
	closing bool  // it was the end of a window, and there are no records
	last    place // its last record
	settles place // the last record that the reply settled
}

// The note of a marker is 32 bytes, little-endian:
//
//	0   1   format: 1
//	1   1   1 = the end of a window
//	2   1   lanes of the shard; 0 = it had one
//	3   1   1 = with lanes: aggregates were handed over as they are stored
//	4   4   user record of the last record
//	8   8   sequence number of the last record
//	16  4   reserved: 0
//	20  4   user record of the last record that is settled
//	24  8   sequence number of the last record that is settled
const (
	noteFormat = 1
	noteSize   = 32
)

var errMarker = errors.New("the marker of what was emitted last cannot be read; move the mapping with seek to go on without it")

func (d *doubt) note() []byte {
	b := make([]byte, noteSize)
	b[0] = noteFormat
	b[1], b[2], b[3] = bit(d.closing), byte(d.lanes), bit(d.stored)
	binary.LittleEndian.PutUint32(b[4:], d.last.inside)
	binary.LittleEndian.PutUint64(b[8:], d.last.sequence)
	binary.LittleEndian.PutUint32(b[20:], d.settles.inside)
	binary.LittleEndian.PutUint64(b[24:], d.settles.sequence)
	return b
}

func bit(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// parseMarker reads the marker of a lane.
func parseMarker(m shards.Marker, lane int) (*doubt, error) {
	b := m.Note
	if len(b) != noteSize || b[0] != noteFormat || b[1] > 1 || b[3] > 1 || (lane == noLane) != (b[2] == 0) || lane >= int(b[2]) && lane != noLane {
		return nil, errMarker
	}
	d := &doubt{
		mark: runtime.Mark(m), lane: lane, lanes: int(b[2]), closing: b[1] == 1, stored: b[3] == 1,
		last:    place{binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[4:])},
		settles: place{binary.LittleEndian.Uint64(b[24:]), binary.LittleEndian.Uint32(b[20:])},
	}
	if d.settles.after(d.last) || d.closing == (d.last.sequence > 0) {
		return nil, errMarker
	}
	return d, nil
}

// marks says whether a call is to have a mark. Only what closes a window early has none: the call before it is not settled yet.
func (l *lane) marks(s *settings, q request) bool {
	return !q.early && (l.doubt != nil || s.ExactlyOnce && (l.p.fan == nil || l.p.fan.parked == nil))
}

// asked is a call under way, for Claim.
type asked struct {
	request request
	items   bool // batchItemFailures count
}

// Claim gives the call under way its mark, when all that was settled before it is saved. What a call emits that settles nothing is not put: it counts
// as failed.
func (l *lane) Claim(ctx context.Context, reply *runtime.Reply) (runtime.Mark, bool, error) {
	q, p := l.asked.request, l.p
	n := l.asked.settles(reply)
	switch {
	case n == 0:
		return runtime.Mark{}, false, nil
	case l.doubt != nil:
		return l.doubt.mark, true, nil
	}
	if err := l.savedBefore(ctx); err != nil {
		return runtime.Mark{}, false, err
	}
	d := &doubt{lane: noLane, closing: q.final}
	if p.fan != nil {
		d.lane, d.lanes, d.stored = l.number, p.fan.dealt, p.fan.stored
	}
	if !q.final {
		d.last, d.settles = l.batch.place(q.n-1), l.batch.place(n-1)
	}
	id := p.r.settings.Load().ID
	d.mark = runtime.Mark{Producer: producerOf(id, p.shard, d.lane), Ordinal: *p.calls.last(d.lane) + 1, Note: d.note()}
	l.doubt = d
	return d.mark, true, nil
}

// savedBefore waits until all that the lane has settled is saved.
func (l *lane) savedBefore(ctx context.Context) error {
	p := l.p
	if p.fan != nil {
		return p.saver.await(l.owed)
	}
	if err := p.saver.settle(ctx, p.mark(0)); err != nil {
		return err
	}
	return p.saver.wait()
}

// settles is how many records a reply settles; 1 for the end of a window.
func (a *asked) settles(reply *runtime.Reply) int {
	q := &a.request
	if q.through == doorLambda {
		r, err := event.ParseReply(reply.Body, q.envelope, q.head, a.items && !q.final)
		switch {
		case err != nil:
			return 0
		case len(r.Failures) > 0:
			return r.Failures[0]
		}
		return max(q.n, 1)
	}
	if q.final {
		return 1
	}
	n, _ := readOutcomes(reply.Outcomes, q.n)
	return n
}

// again makes the call in doubt again. It is not divided, and not too old before the stream's retention has passed all of it: what it has emitted is put. Of its records those
// are settled that the reply which emitted it settled.
func (l *lane) again(work context.Context, s *settings) (decision, error) {
	n := l.batch.headLen()
	if l.batch.older(l.kept(time.Now())) >= n {
		return decide(facts{Records: n, Retired: n}, outcome{}, l.tries, s.policy), nil
	}
	l.p.r.batchSizes.Observe(float64(n))
	o, err := l.exchange(work, s, request{head: l.batch.head(n), n: n})
	if err != nil {
		return decision{}, err
	}
	if o.Class == replied && o.RetryFrom > 0 {
		o.RetryFrom = min(max(l.batch.through(l.doubt.settles), 1), n)
	}
	return decide(facts{Records: n}, o, l.tries, l.policy(s, &o)), nil
}

// policy is the mapping's, for what came of an attempt: records for which something was put, though the call failed then, are not divided.
func (l *lane) policy(s *settings, o *outcome) policy {
	p := s.policy
	if l.doubt != nil && (o.Class != replied || o.RetryFrom == 0) {
		p.Bisect, p.Isolate = false, false
	}
	return p
}

// resolve notes that the call in doubt, if there is one, is settled or given up.
func (l *lane) resolve() {
	if d := l.doubt; d != nil {
		l.p.calls.settle(d.lane, d.mark.Ordinal)
		l.doubt = nil
	}
}

// recall finds out whether the calls behind the checkpoint have put something.
func (p *poller) recall(s *settings) error {
	if p.r.markers == nil || !s.ExactlyOnce && !p.calls.emitted() {
		return nil
	}
	own, err := p.recallLane(s, noLane)
	if err != nil {
		return err
	}
	p.lane.doubt, p.doubts = own, nil
	for i := range p.calls.lanes {
		d, err := p.recallLane(s, i)
		if err != nil {
			return err
		}
		if d != nil {
			p.doubts = append(p.doubts, d)
		}
	}
	return nil
}

// recallLane is the call of a lane that may have put something; nil when there is none.
func (p *poller) recallLane(s *settings, lane int) (*doubt, error) {
	m, ok := p.r.markers.Marker(producerOf(s.ID, p.shard, lane))
	last := *p.calls.last(lane)
	if !ok || m.Ordinal <= last {
		return nil, nil
	}
	d, err := parseMarker(m, lane)
	a := p.feed.ahead
	switch {
	case m.Ordinal > last+1, err == nil && lane != noLane && a != nil && (len(a.low) != d.lanes || len(a.parked) > 0):
		p.log.Error("the checkpoint is older than what was emitted: what the function emits for the records behind it is put again",
			"checkpoint call", last, "emitted call", m.Ordinal)
		p.calls.settle(lane, m.Ordinal)
		return nil, nil
	case err != nil:
		return nil, err
	}
	p.log.Info("the last call had emitted before its checkpoint was saved: it is made again, and what is there is not put again",
		"call", m.Ordinal, "last", d.last.sequence)
	return d, nil
}

// redo gathers the records of the call in doubt; have is false when there are none, or when it was the end of a window, which is closed then.
func (p *poller) redo(read, work context.Context) (have bool, err error) {
	l := &p.lane
	d, b := l.doubt, &l.batch
	if d.closing {
		if p.window.isOpen() {
			return false, l.closeWindow(read, work, false)
		}
		l.resolve()
		return false, p.settled(work, l)
	}
	b.reset()
	s := p.r.settings.Load()
	for p.feed.collect(b, s.filter, d) {
		err := p.read(read)
		ended := errors.Is(err, shards.ErrShardEnd) || errors.Is(err, shards.ErrNoShard)
		if ended && b.records > 0 {
			break
		}
		if err != nil { // it begins anew, behind the checkpoint
			b.reset()
			p.feed.reset()
			cp, _ := p.saver.checkpoint()
			was, _ := parseState(cp.State)
			p.feed.resume(was.ahead)
			p.calls.skip = was.calls.inside
			p.reader, l.doubt = nil, nil
			return false, err
		}
	}
	polled, filtered := p.feed.counted()
	p.progress.read(polled, filtered, p.feed.rest.First().Arrival)
	if b.records == 0 { // its records are gone
		l.resolve()
		return false, p.settled(work, l)
	}
	if first := b.first().Arrival; !p.window.isOpen() && s.TumblingWindow > 0 {
		p.window.open(first, s.TumblingWindow) // as for the call that is made again; any before it is closed
	}
	p.progress.holding(0, b.first().Arrival)
	return true, nil
}

// forgetMarkers deletes the markers of producers that emit no more.
func forgetMarkers(ctx context.Context, r *runner, prefix string) {
	if r.markers == nil {
		return
	}
	if err := r.markers.DeleteMarkers(ctx, prefix); err != nil {
		r.log.Warn("markers of what a mapping has emitted could not be removed from the streams", "producers", prefix, "error", err)
	}
}

// carryOn is the state of the checkpoint with which a shard goes on from another position: the numbers of its calls go on, so that nothing it
// emits is taken for what is there.
func carryOn(m Markers, id string) func(shard shards.ShardID, state []byte) []byte {
	return func(shard shards.ShardID, state []byte) []byte {
		was, _ := parseState(state) // what cannot be read is left behind
		c := calls{ordinal: was.calls.ordinal, lanes: was.calls.lanes}
		for lane := noLane; m != nil && lane < len(c.lanes); lane++ {
			if newest, ok := m.Marker(producerOf(id, shard, lane)); ok {
				c.settle(lane, newest.Ordinal)
			}
		}
		return c.wrap(nil)
	}
}

// sweep deletes the markers of mappings that are not defined any more: a crash came between their deletion and that of their markers.
func (t *Triggers) sweep(ctx context.Context) {
	if t.opts.Markers == nil {
		return
	}
	left := map[string]bool{}
	for name := range t.opts.Markers.Producers(emittedBy) {
		if id, _, ok := strings.Cut(strings.TrimPrefix(name, emittedBy), "/"); ok {
			left[id] = true
		}
	}
	for _, r := range t.sorted() {
		if r.def.ID == "" {
			return // whose they are is not known: its definition cannot be read
		}
		delete(left, r.def.ID)
	}
	for id := range left {
		if err := t.opts.Markers.DeleteMarkers(ctx, producers(id)); err != nil {
			t.opts.Logger.Warn("markers of a deleted mapping could not be removed from the streams", "id", id, "error", err)
		}
	}
}
