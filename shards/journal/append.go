package journal

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

// Part is what one put has for one shard. Records must not be empty; they are copied before Append returns.
// Append sets First and Arrival when it succeeds.
type Part struct {
	Shard   uint32
	Records record.Run
	First   uint64 // sequence number of the first record; the others follow
	Arrival int64  // of all its records, microseconds since the Unix epoch
}

// Append puts the parts' records into their shards, all of them or none, and returns when they are on disk. Several
// parts may name the same shard: its records follow in the order of the parts. ctx is looked at before the put is
// queued, not after, because a queued put may reach the disk. Errors: ErrShard, ErrSealed, ErrTooLarge, ErrClosed, ErrNoSpace,
// ErrReadOnly, ErrDisk, ctx's.
func (j *Journal) Append(ctx context.Context, parts []Part) error {
	size := 0
	for i := range parts {
		size += parts[i].Records.Size()
	}
	if size == 0 {
		return nil
	}
	if size > MaxPutBytes {
		return j.wrap("put", fmt.Errorf("%w: %d bytes", ErrTooLarge, size))
	}
	r := j.writer.request()
	defer j.writer.giveBack(r)
	r.parts, r.size = parts, size
	return j.submit(ctx, r)
}

// request is one put or one change of the journal's own state, on its way through the writer.
type request struct {
	parts   []Part
	size    int
	control func(*groupPlan) ([]control, error)
	claim   func(*groupPlan) (put bool, err error) // asked before the parts go in; put is false when they are there already
	hurry   <-chan struct{}                        // not nil: while the disk is busy the request waits for another to ride with, until that is closed
	err     error
	done    chan struct{} // receives once
}

// request is an empty one, for what comes often. submit leaves nothing in its channel.
func (w *writer) request() *request {
	if r, ok := w.unused.Get().(*request); ok {
		return r
	}
	return &request{done: make(chan struct{}, 1)}
}

// giveBack takes a request back that submit has returned from.
func (w *writer) giveBack(r *request) {
	*r = request{done: r.done}
	w.unused.Put(r)
}

// control is an entry that carries something other than records. apply runs under the journal's mutex once the entry is on disk.
type control struct {
	kind  entryKind
	shard uint32
	first uint64
	count uint32
	body  []byte
	apply func()
}

// writer is the queue in front of the one who writes. At most one goroutine is in commit at a time: the one
// that found the queue idle, or the one started to take over from it.
type writer struct {
	j      *Journal
	unused sync.Pool // of *request

	mu      sync.Mutex
	idle    sync.Cond // signalled when nobody writes any more
	queue   []*request
	spare   []*request // the other queue's memory
	writing bool
	stopped bool

	// Of whoever writes:
	act       *segment     // the segment written to
	preparing *preparation // the next one; nil when none is being made
}

// ridePatience is how long a checkpoint waits for a put to ride with.
const ridePatience = 250 * time.Millisecond

// groupBytes is the size from which on a group takes no further put.
const groupBytes = 4 << 20

func (j *Journal) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.done == nil {
		r.done = make(chan struct{}, 1)
	}
	w := &j.writer
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return j.wrap("put", ErrClosed)
	}
	w.queue = append(w.queue, r)
	w.mu.Unlock()
	if r.hurry != nil && j.opt.Traffic.busy() && r.rides(ctx) {
		return r.err
	}
	w.write()
	<-r.done
	return r.err
}

// rides waits for others to write the request, and reports whether they have.
func (r *request) rides(ctx context.Context) bool {
	patience := time.NewTimer(ridePatience)
	defer patience.Stop()
	select {
	case <-r.done:
		return true
	case <-r.hurry:
	case <-patience.C:
	case <-ctx.Done():
	}
	return false
}

// write sees to it that somebody writes what is in the queue.
func (w *writer) write() {
	w.mu.Lock()
	if w.writing || len(w.queue) == 0 {
		w.mu.Unlock()
		return
	}
	w.writing = true
	w.mu.Unlock()
	if w.round() {
		w.j.workers.Add(1)
		go w.drain()
	}
}

// round commits one group. It reports whether the caller, who is the writer, has more to do; if not, it is the writer no longer.
func (w *writer) round() (more bool) {
	w.j.opt.Traffic.enter() // what is queued meanwhile goes along
	w.mu.Lock()
	taken := w.queue
	n, size := 0, 0
	for n < len(taken) && (n == 0 || size+taken[n].size <= groupBytes) {
		size += taken[n].size
		n++
	}
	w.queue = append(w.spare[:0], taken[n:]...)
	w.spare = nil
	w.mu.Unlock()

	w.j.commit(taken[:n])
	w.j.opt.Traffic.exit()
	for i, r := range taken[:n] {
		r.done <- struct{}{}
		taken[i] = nil
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	clear(taken)
	w.spare = taken[:0]
	if len(w.queue) > 0 {
		return true
	}
	w.writing = false
	if w.stopped {
		w.idle.Broadcast()
	}
	return false
}

func (w *writer) drain() {
	defer w.j.workers.Done()
	for w.round() {
	}
}

// stop refuses what comes from now on and returns when what was queued before has been answered.
func (w *writer) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.write() // what waits for others to ride with
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle.L = &w.mu
	for w.writing {
		w.idle.Wait()
	}
}

// shardPlan is what a group is about to write into one shard.
type shardPlan struct {
	runs   []record.Run
	first  uint64
	size   int
	count  int
	stored stored // where it has been written
}

// groupPlan is a group before it is written.
type groupPlan struct {
	shards      []*shardState
	controls    []control
	size        int // of the entries
	index       uint64
	number      uint64
	checkpoints map[checkpointKey]plannedCheckpoint // that this group changes; nil: none
	grown       int64                               // by so much the saved checkpoints grow
	forgotten   []uint32                            // shards that this group forgets
	requests    int
	recordCount int
}

// plan decides what of the requests goes into the group. A request that cannot go in gets its error.
func (j *Journal) plan(reqs []*request) *groupPlan {
	p := &groupPlan{number: j.active().last.number + 1}
	for _, r := range reqs {
		var err error
		switch {
		case r.control != nil:
			err = p.addControl(r)
		case r.claim != nil:
			err = p.addClaimed(j, r)
		default:
			err = p.addParts(j, r.parts)
		}
		if err != nil {
			r.err = j.wrap("put", err)
			continue
		}
		p.requests++
	}
	return p
}

func (p *groupPlan) addControl(r *request) error {
	controls, err := r.control(p)
	if err != nil {
		return err
	}
	for _, c := range controls {
		p.size += entryHeaderSize + align8(len(c.body))
	}
	p.controls = append(p.controls, controls...)
	return nil
}

// canTake says whether all the parts can go in.
func (p *groupPlan) canTake(j *Journal, parts []Part) error {
	for i := range parts {
		switch s := j.shards[parts[i].Shard]; {
		case s == nil || slices.Contains(p.forgotten, s.id):
			return fmt.Errorf("%w: %d", ErrShard, parts[i].Shard)
		case s.sealed.Load():
			return fmt.Errorf("%w: %d", ErrSealed, parts[i].Shard)
		}
	}
	return nil
}

func (p *groupPlan) addParts(j *Journal, parts []Part) error {
	if err := p.canTake(j, parts); err != nil {
		return err
	}
	p.put(j, parts)
	return nil
}

// put adds parts that can go in.
func (p *groupPlan) put(j *Journal, parts []Part) {
	for i := range parts {
		part := &parts[i]
		if part.Records.Len() == 0 {
			continue
		}
		s := j.shards[part.Shard]
		if s.plan.count == 0 {
			s.plan.first = s.next
			p.size += entryHeaderSize + record.HeaderSize
			p.shards = append(p.shards, s)
		}
		part.First = s.plan.first + uint64(s.plan.count)
		s.plan.runs = append(s.plan.runs, part.Records)
		s.plan.count += part.Records.Len()
		s.plan.size += part.Records.Size()
		p.size += part.Records.Size()
		p.recordCount += part.Records.Len()
	}
}

// forget clears the writer's notes in the shards.
func (p *groupPlan) forget() {
	for _, s := range p.shards {
		clear(s.plan.runs)
		s.plan = shardPlan{runs: s.plan.runs[:0]}
	}
}

// encode lays the group out for its place: the active segment's end.
func (p *groupPlan) encode(j *Journal, now int64, flags uint32) []byte {
	seg := j.active()
	seed := j.id.seed(seg.number)
	b := make([]byte, groupHeaderSize+p.size)
	at := groupHeaderSize
	sum := uint32(0)
	for _, s := range p.shards {
		size := record.HeaderSize + s.plan.size
		body := b[at+entryHeaderSize : at+entryHeaderSize+size]
		to := record.HeaderSize
		for _, run := range s.plan.runs {
			to += copy(body[to:], run.Bytes())
		}
		record.PutHeader(body, s.plan.count, s.plan.size, false)
		record.Stamp(record.Batch(body).Run(), s.plan.first, now)
		record.PutHeader(body, s.plan.count, s.plan.size, true)
		h := entryHeader{kind: kindRecords, shard: s.id, size: size, first: s.plan.first, count: uint32(s.plan.count), crc: bodyCRC(kindRecords, body)}
		h.put(b[at:], seed)
		sum = updateEntries(sum, b[at:at+entryHeaderSize])
		s.plan.stored = stored{first: s.plan.first, arrival: now, offset: uint32(seg.end) + uint32(at), size: uint32(entryHeaderSize + size), count: uint32(s.plan.count)}
		at += entryHeaderSize + size
	}
	for _, c := range p.controls {
		size := align8(len(c.body))
		body := b[at+entryHeaderSize : at+entryHeaderSize+size]
		copy(body, c.body)
		h := entryHeader{kind: c.kind, shard: c.shard, size: size, first: c.first, count: c.count, crc: bodyCRC(c.kind, body)}
		h.put(b[at:], seed)
		sum = updateEntries(sum, b[at:at+entryHeaderSize])
		at += entryHeaderSize + size
	}
	link := seg.last
	groupHeader{
		number: link.number + 1, prev: link.at, prevChecksum: link.checksum,
		entriesCRC: sum, size: p.size, flags: flags, time: now,
	}.put(b, seed)
	return b
}

// Waiting is the number of puts and checkpoints that wait for a group.
func (j *Journal) Waiting() int {
	j.writer.mu.Lock()
	defer j.writer.mu.Unlock()
	return len(j.writer.queue)
}
