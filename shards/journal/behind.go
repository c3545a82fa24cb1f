package journal

import (
	"errors"
	"io"
	goruntime "runtime"
	"slices"
	"sync"
)

// behind holds what readers behind the tail have read of segment files last, so that others who come to the same place soon after
// do not read it again. It has its own memory, so that no reader behind takes any from the tail. What was read first goes
// first, whether it has been used again or not: a reader moves on, and those that follow it want what it has read since.
type behind struct {
	limit int64 // bytes

	mu     sync.Mutex
	bytes  int64
	ahead  int64                 // so many of them are read ahead, and no reader has come to them
	queue  []*chunk              // oldest first
	chunks map[*segment][]*chunk // the same by segment, oldest first
}

// parted is after how many chunks to which no second reader of the journal has come its readers count as alone.
const parted = 64

// maxChunks bounds the search for one, where a shard's batches lie so far apart that each is a chunk of its own.
const maxChunks = 1024

// chunk is a stretch of a segment file that was read at once, or is being read.
type chunk struct {
	seg  *segment
	at   int64 // its offset
	size int64

	ready chan struct{} // closed when it has been read; nil when nobody else knows it
	bytes []byte        // after ready; nil when it could not be read whole. Never changed.
	sound *span         // after ready: all that it has of this span has been checked; nil = nothing has
	ahead bool          // it is read ahead, and no reader has come to it
}

func (c *chunk) covers(off, size int64) bool { return c.at <= off && off+size <= c.at+c.size }

// leads is whether no reader has come to a stored batch yet whose chunk is still here.
func (b *behind) leads(seg *segment, e stored) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.lookup(seg, e)
	return c == nil || c.ahead
}

// lookup returns the chunk that has a stored batch; nil when there is none. The caller holds b.mu.
func (b *behind) lookup(seg *segment, e stored) *chunk {
	for _, c := range slices.Backward(b.chunks[seg]) {
		if c.covers(int64(e.offset), int64(e.size)) {
			return c
		}
	}
	return nil
}

// claim returns the chunk that has a stored batch; when there is none it is window, which the caller has to read and then to settle.
func (b *behind) claim(seg *segment, e, window stored) (c *chunk, mine bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.lookup(seg, e); c != nil {
		b.reached(c)
		return c, false
	}
	c = &chunk{seg: seg, at: int64(window.offset), size: int64(window.size)}
	if c.size <= b.limit {
		b.add(c)
	}
	return c, true
}

// claimAhead is claim for a reader that is not there yet: nil when there is such a chunk; not ok when enough has been read ahead. At most a
// quarter of the memory is for that, so that what is read ahead is still there when its reader comes.
func (b *behind) claimAhead(seg *segment, e, window stored) (c *chunk, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lookup(seg, e) != nil {
		return nil, true
	}
	c = &chunk{seg: seg, at: int64(window.offset), size: int64(window.size), ahead: true}
	if b.ahead+c.size > b.limit/4 {
		return nil, false
	}
	b.add(c)
	b.ahead += c.size
	return c, true
}

// add takes a chunk in, and lets the oldest go. The caller holds b.mu.
func (b *behind) add(c *chunk) {
	c.ready = make(chan struct{})
	for b.bytes+c.size > b.limit || len(b.queue) == maxChunks {
		b.drop(b.queue[0])
	}
	b.bytes += c.size
	b.queue = append(b.queue, c)
	b.chunks[c.seg] = append(b.chunks[c.seg], c)
}

// reached notes that a reader has come to a chunk, or that it is dropped. The caller holds b.mu.
func (b *behind) reached(c *chunk) {
	if c.ahead {
		c.ahead = false
		b.ahead -= c.size
	}
}

// settle gives those who wait for a chunk what was read; nil when that is not all of it, and then the chunk is forgotten.
func (b *behind) settle(c *chunk, bytes []byte) {
	if c.ready == nil {
		return
	}
	c.bytes = bytes
	close(c.ready)
	if bytes == nil {
		b.forget(c)
	}
}

// forget lets go of a chunk, so that the next reader reads it again.
func (b *behind) forget(c *chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.chunks[c.seg], c) {
		b.drop(c)
	}
}

// drop takes a chunk out. The caller holds b.mu.
func (b *behind) drop(c *chunk) {
	i := slices.Index(b.queue, c)
	b.queue = slices.Delete(b.queue, i, i+1)
	b.bytes -= c.size
	b.reached(c)
	same := b.chunks[c.seg]
	i = slices.Index(same, c)
	if b.chunks[c.seg] = slices.Delete(same, i, i+1); len(same) == 1 {
		delete(b.chunks, c.seg)
	}
}

// fetch makes a chunk that has the stored batch the reader's own: one that another has read, or is just reading, or else window, which is
// then read from disk. Error: the disk's, of this reading; errGone.
func (r *Reader) fetch(sp *span, e, window stored) error {
	r.chunk = nil
	shared := &r.j.opt.Cache.behind
	switch leads, company := shared.leads(sp.seg, e), r.j.company.Load(); {
	case !leads:
		r.j.company.Store(parted)
	case company > 0:
		// Whoever is first of several lets the others catch up before it goes on, as far as the processors are what they wait for: so they stay together.
		r.j.company.Store(company - 1)
		goruntime.Gosched()
	}
	c, mine := shared.claim(sp.seg, e, window)
	if !mine {
		<-c.ready
		if c.bytes != nil {
			r.j.opt.Metric.sharedReads.Inc()
			r.chunk, r.bytes = c, c.bytes
			return nil
		}
		c = &chunk{seg: sp.seg, at: int64(window.offset), size: int64(window.size)}
	}
	b, err := r.j.readChunk(c)
	if mine {
		shared.settle(c, c.whole(b, err))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r.chunk, r.bytes = c, b
	return nil
}

// readChunk reads a chunk from disk, as far as there is something.
func (j *Journal) readChunk(c *chunk) ([]byte, error) {
	b := make([]byte, c.size)
	n, err := j.readAt(c.seg, b, c.at)
	j.opt.Metric.diskReads.Inc()
	j.opt.Metric.diskBytes.Add(float64(n))
	return b[:n], err
}

// whole is what was read of a chunk, nil when that is not all of it.
func (c *chunk) whole(b []byte, err error) []byte {
	if err != nil || int64(len(b)) < c.size {
		return nil
	}
	return b
}

// discard forgets the chunk at hand, in which there is damage.
func (r *Reader) discard() {
	if r.chunk != nil {
		r.j.opt.Cache.behind.forget(r.chunk)
	}
	r.chunk, r.bytes = nil, nil
}
