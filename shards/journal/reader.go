package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sort"

	"github.com/shardmill/shardmill/sdk/record"
)

// readBytes is how much a reader takes from disk at once when what it wants lies close together.
const readBytes = 1 << 20

// Reader is a position in one shard. It holds no resources and is not safe for concurrent use.
type Reader struct {
	j       *Journal
	shard   uint32
	pos     uint64
	trimmed uint64
	lost    uint64

	chunk *chunk // what was read from disk last; nil = nothing
	bytes []byte // what there is of it
	ahead *ahead // nil = nothing is read ahead
}

// Reader makes a reader of a shard that begins with the record of sequence number from, or the oldest one there is when
// that is greater. Error: ErrShard.
func (j *Journal) Reader(shard uint32, from uint64) (*Reader, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.shards[shard] == nil {
		return nil, j.wrap("read", fmt.Errorf("%w: %d", ErrShard, shard))
	}
	return &Reader{j: j, shard: shard, pos: from}, nil
}

// Position is the sequence number of the next record wanted.
func (r *Reader) Position() uint64 { return r.pos }

// Seek moves the position.
func (r *Reader) Seek(from uint64) { r.pos = from }

// Trimmed is the number of records that retention dropped before this reader came to them.
func (r *Reader) Trimmed() uint64 { return r.trimmed }

// Lost is the number of records that this reader passed over because their damage was accepted.
func (r *Reader) Lost() uint64 { return r.lost }

// Next returns the records from the position on, up to the end of their stored batch, and moves the position behind
// them. It waits until there is one. The run is never changed and stays valid as long as it is held. Errors: *DamageError,
// with the position left where it was; ErrEnd; ErrClosed; ctx's; a disk's.
func (r *Reader) Next(ctx context.Context) (record.Run, error) {
	for {
		run, wait, err := r.step()
		if err != nil {
			if errors.Is(err, errGone) && !r.isClosed() {
				continue // retention took the segment meanwhile; the position moves on
			}
			return record.Run{}, r.fail(err)
		}
		if wait == nil {
			if run.Len() > 0 {
				return run, nil
			}
			continue
		}
		select {
		case <-wait:
		case <-r.j.done:
			return record.Run{}, r.fail(ErrClosed)
		case <-ctx.Done():
			return record.Run{}, ctx.Err()
		}
	}
}

// TryNext is Next without waiting: ok is false when there is no record yet.
func (r *Reader) TryNext() (run record.Run, ok bool, err error) {
	for {
		run, wait, err := r.step()
		switch {
		case err != nil && errors.Is(err, errGone) && !r.isClosed():
			continue
		case err != nil:
			return record.Run{}, false, r.fail(err)
		case wait != nil:
			return record.Run{}, false, nil
		case run.Len() > 0:
			return run, true, nil
		}
	}
}

func (r *Reader) isClosed() bool {
	select {
	case <-r.j.done:
		return true
	default:
		return false
	}
}

func (r *Reader) fail(err error) error {
	var d *DamageError
	if errors.As(err, &d) {
		return err
	}
	if errors.Is(err, errGone) {
		err = ErrClosed
	}
	return r.j.wrap("read", err)
}

// step makes one attempt: records, or a channel that is closed when there are more, or neither after moving the position
// over something that is no longer there.
func (r *Reader) step() (run record.Run, wait <-chan struct{}, err error) {
	j := r.j
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return run, nil, ErrClosed
	}
	s := j.shards[r.shard]
	if s == nil {
		j.mu.Unlock()
		return run, nil, ErrEnd
	}
	if oldest := s.oldest(); r.pos < oldest {
		if r.pos > 0 {
			r.trimmed += oldest - r.pos
		}
		r.pos = oldest
	}
	if r.pos >= s.next && s.ended {
		j.mu.Unlock()
		return run, nil, ErrEnd
	}
	if r.pos >= s.next {
		if s.wake == nil {
			s.wake = make(chan struct{})
		}
		wait = s.wake
		j.mu.Unlock()
		return run, wait, nil
	}
	if l := s.lost.at(r.pos); l != nil {
		r.lost += l.Last + 1 - r.pos
		r.pos = l.Last + 1
		j.mu.Unlock()
		return run, nil, nil
	}
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].next > r.pos })
	if i == len(s.spans) {
		d := r.gap(s.next, nil)
		j.mu.Unlock()
		return run, nil, d
	}
	sp := s.spans[i]
	if !sp.seg.sealed {
		e := sp.live[find(sp.live, r.pos)]
		b := j.tail.lookup(makePosition(sp.seg.number, int64(e.offset)), int(e.size))
		if e.first > r.pos {
			d := r.gap(e.first, sp.seg)
			j.mu.Unlock()
			return run, nil, d
		}
		list := sp.live[:len(sp.live):len(sp.live)]
		j.mu.Unlock()
		if b != nil {
			return r.take(e, b), nil, nil
		}
		return r.read(sp, e, list)
	}
	j.mu.Unlock()
	return r.readSealed(sp)
}

// take serves a stored batch that is still in memory as it was written.
func (r *Reader) take(e stored, b []byte) record.Run {
	r.j.opt.Metric.cachedReads.Inc()
	run := record.Batch(b[entryHeaderSize:]).Run().From(r.pos)
	r.pos = e.next()
	return run
}

// gap names the records from the position up to next, which are missing. The caller holds j.mu.
func (r *Reader) gap(next uint64, seg *segment) *DamageError {
	d := &DamageError{Stream: r.j.opt.Name, Shard: r.shard, First: r.pos, Last: next - 1, File: r.j.opt.Dir, Reason: "records are missing"}
	if seg != nil {
		d.File = seg.path
	}
	return r.j.meetDamage(*d, r.pos) // the list may have it from the opening, with a more exact place
}

func (r *Reader) readSealed(sp *span) (record.Run, <-chan struct{}, error) {
	j := r.j
	list, err := j.list(sp)
	var d *DamageError
	if errors.As(err, &d) {
		return record.Run{}, nil, r.meet(d)
	}
	if err != nil {
		return record.Run{}, nil, err
	}
	next := sp.next // when the index had to be made again and came out shorter
	i := find(list, r.pos)
	if i < len(list) {
		next = list[i].first
	}
	if next > r.pos {
		if j.gone(sp.seg) {
			return record.Run{}, nil, errGone
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		return record.Run{}, nil, r.gap(next, sp.seg)
	}
	e := list[i]
	j.mu.Lock()
	b := j.tail.lookup(makePosition(sp.seg.number, int64(e.offset)), int(e.size))
	j.mu.Unlock()
	if b != nil {
		return r.take(e, b), nil, nil
	}
	return r.read(sp, e, list)
}

// window is the stretch of the file, as a stored, that is worth reading with e: following batches of the shard while they
// make up a quarter of it at least.
func (sp *span) window(list []stored, e stored) stored {
	w := e
	used := int64(0)
	for _, next := range list[find(list, e.first):] {
		end := int64(next.offset) + int64(next.size)
		span := end - int64(e.offset)
		if span > readBytes && next.first != e.first || used+int64(next.size) < span/4 {
			break
		}
		used += int64(next.size)
		w.size = uint32(span)
	}
	return w
}

// read gets a stored batch, of a list of them, from the chunk at hand, from what another reader has read, or from disk, and checks it.
func (r *Reader) read(sp *span, e stored, list []stored) (record.Run, <-chan struct{}, error) {
	off, size := int64(e.offset), int64(e.size)
	if c := r.chunk; c == nil || c.seg != sp.seg || !c.covers(off, size) {
		window := sp.window(list, e)
		r.readAhead(sp, e, window, list)
		err := r.fetch(sp, e, window)
		if err != nil && !errors.Is(err, errGone) && window.size > e.size { // the bad place may be behind what is wanted
			err = r.fetch(sp, e, e)
		}
		switch {
		case err == nil:
		case errors.Is(err, errGone):
			return record.Run{}, nil, err
		default:
			return record.Run{}, nil, r.meet(r.j.unreadable(sp, e, err))
		}
	}
	have := int64(len(r.bytes))
	from := off - r.chunk.at
	b := r.bytes[min(from, have):min(from+size, have)]
	run, d := record.Run{}, (*DamageError)(nil)
	if r.chunk.sound == sp {
		run = record.Batch(b[entryHeaderSize:]).Run()
	} else {
		run, d = r.j.check(sp, e, b)
	}
	if d != nil {
		r.discard()
		if r.j.gone(sp.seg) {
			return record.Run{}, nil, errGone
		}
		return record.Run{}, nil, r.meet(d)
	}
	run = run.From(r.pos)
	r.pos = e.next()
	return run, nil, nil
}

// meet puts damage at the position on the journal's list.
func (r *Reader) meet(d *DamageError) *DamageError {
	r.j.mu.Lock()
	defer r.j.mu.Unlock()
	return r.j.meetDamage(*d, r.pos)
}

// unreadable is a stored batch that the disk does not give back.
func (j *Journal) unreadable(sp *span, e stored, err error) *DamageError {
	return &DamageError{Stream: j.opt.Name, Shard: sp.shard, First: e.first, Last: e.next() - 1, File: sp.seg.path, Offset: int64(e.offset),
		Reason: fmt.Sprintf("stored bytes cannot be read: %v", err)}
}

// check verifies the bytes of a stored batch against their checksums and the index.
func (j *Journal) check(sp *span, e stored, b []byte) (record.Run, *DamageError) {
	h, ok := decodeEntryHeader(b, j.id.seed(sp.seg.number))
	if ok && h.kind == kindRecords && h.shard == sp.shard && h.first == e.first && h.count == e.count && len(b) == entryHeaderSize+h.size {
		if run, ok := checkBody(h, b[entryHeaderSize:]); ok {
			return run, nil
		}
	}
	return record.Run{}, &DamageError{
		Stream: j.opt.Name, Shard: sp.shard, First: e.first, Last: e.next() - 1,
		File: sp.seg.path, Offset: int64(e.offset), Reason: "stored bytes do not match their checksum",
	}
}

// list returns the stored batches of a span. It must not be changed; that of the active segment is a snapshot.
func (j *Journal) list(sp *span) ([]stored, error) {
	j.mu.Lock()
	if !sp.seg.sealed {
		list := sp.live[:len(sp.live):len(sp.live)]
		j.mu.Unlock()
		return list, nil
	}
	j.mu.Unlock()
	if p := sp.sealed.Load(); p != nil {
		return *p, nil
	}
	b := make([]byte, int(sp.n)*storedSize)
	if _, err := j.readAt(sp.seg, b, sp.offset); errors.Is(err, errGone) {
		return nil, err
	}
	// What could not be read does not check either.
	if crc32.Update(j.id.seed(sp.seg.number), castagnoli, b) != sp.crc {
		if j.gone(sp.seg) {
			return nil, errGone
		}
		return j.relist(sp)
	}
	list := decodeStored(b)
	sp.sealed.Store(&list)
	return list, nil
}

// relist makes a span's list from the segment's groups, because the one in the footer is damaged. Nothing is lost by that.
func (j *Journal) relist(sp *span) ([]stored, error) {
	j.log.Error("the index of a journal segment is damaged and made again from its groups", "file", sp.seg.path, "shard", sp.shard)
	j.opt.Metric.damage.Inc()
	buf := make([]byte, sp.seg.end)
	if _, err := j.readAt(sp.seg, buf, 0); err != nil {
		read := func(b []byte, off int64) (int, error) { return j.readAt(sp.seg, b, off) }
		readPieces(buf, read, func(int64, int64, error) {}) // what is lost does not check
	}
	sc := scanner{buf: buf, number: sp.seg.number, seed: j.id.seed(sp.seg.number), file: sp.seg.path, stream: j.opt.Name, acked: sp.seg.end, stop: -1}
	var list []stored
	for _, f := range sc.run().entries {
		if f.header.kind == kindRecords && f.header.shard == sp.shard {
			list = append(list, f.stored)
		}
	}
	if j.gone(sp.seg) {
		return nil, errGone
	}
	if len(list) == 0 {
		return nil, &DamageError{Stream: j.opt.Name, Shard: sp.shard, First: sp.first, Last: sp.next - 1, File: sp.seg.path, Offset: sp.offset,
			Reason: "the segment's index and its groups are damaged"}
	}
	sp.sealed.Store(&list)
	return list, nil
}

// SequenceAt is the sequence number of the shard's first record that arrived at or after a time (microseconds since the Unix
// epoch); the next one to be given when there is none. Errors: ErrShard, a disk's.
func (j *Journal) SequenceAt(shard uint32, arrival int64) (uint64, error) {
	j.mu.Lock()
	s := j.shards[shard]
	if s == nil {
		j.mu.Unlock()
		return 0, j.wrap("read", fmt.Errorf("%w: %d", ErrShard, shard))
	}
	spans, next := append([]*span(nil), s.spans...), s.next
	j.mu.Unlock()
	for _, sp := range spans {
		if sp.seg.greatestArrival(j) < arrival {
			continue
		}
		list, err := j.list(sp)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return 0, j.wrap("read", err)
		}
		for _, e := range list {
			if e.arrival >= arrival {
				return e.first, nil
			}
		}
	}
	return next, nil
}

// greatestArrival is the greatest time of the segment's groups.
func (s *segment) greatestArrival(j *Journal) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return s.arrivals.greatest
}

// LastArrival is when the newest record of a shard arrived, microseconds since the Unix epoch; 0 when it holds none.
func (j *Journal) LastArrival(shard uint32) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.shards[shard]
	if s == nil || len(s.spans) == 0 {
		return 0
	}
	sp := s.spans[len(s.spans)-1]
	if n := len(sp.live); n > 0 {
		return sp.live[n-1].arrival
	}
	if p := sp.sealed.Load(); p != nil {
		return (*p)[len(*p)-1].arrival
	}
	return sp.seg.arrivals.last
}
