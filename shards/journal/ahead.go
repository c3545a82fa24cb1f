package journal

import (
	"sort"
	"sync"
)

// aheadBytes is how far is read ahead of a reader that goes on from chunk to chunk. It is more than what is read while a thread is woken up.
const aheadBytes = 8 * readBytes

// leastAhead is the smallest chunk that is read ahead. Where a shard's batches lie so far apart that each is a chunk of its own, many would push each other out of
// the cache before their reader comes.
const leastAhead = readBytes / 4

// ahead is what is being read ahead of a reader, by a goroutine that goes on while the reader does.
type ahead struct {
	mu      sync.Mutex
	changed sync.Cond // on mu: end or running
	seg     *segment
	here    int64 // where the reader has come to in the segment, with the chunk that it has
	end     int64 // where the goroutine has
	running bool
}

// ReadAhead has what is next be read from disk, and checked as far as there is time, while the reader's user sees to what it has, once the reader goes on from one stretch of a
// segment to the next: up to 8 MiB, and all readers together a quarter of the cache. It is for those who read for long; who reads little
// would leave most of it. The journal's Close waits for what is being read, and nothing else has to be closed.
func (r *Reader) ReadAhead() {
	if r.ahead == nil {
		r.ahead = new(ahead)
		r.ahead.changed.L = &r.ahead.mu
	}
}

// readAhead sees to it that what is behind a window is read, in which a reader has come to a stored batch, unless the reader goes to and fro or enough is at
// hand. Where the reader has overtaken what is being read it waits, for more than the next chunk: it would be woken up for each.
func (r *Reader) readAhead(sp *span, e, window stored, list []stored) {
	a := r.ahead
	if a == nil || !r.goesOn(sp, e, list) {
		return
	}
	here := int64(window.offset) + int64(window.size)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running && a.seg != sp.seg {
		return
	}
	a.here = here
	if a.running && a.end < here {
		for a.running && a.end < here+aheadBytes/2 {
			a.changed.Wait()
		}
	}
	if a.running {
		return
	}
	if a.seg != sp.seg || a.end < here {
		a.seg, a.end = sp.seg, here
	}
	if a.end-here > aheadBytes*3/4 || r.j.begin() != nil {
		return
	}
	a.running = true
	go func() {
		defer r.j.workers.Done()
		for at, check, more := a.reached(a.end, true); more; at, check, more = a.reached(r.j.readOn(sp, list, at, check)) {
		}
	}()
}

// reached notes how far has been read, and says whether there should be more, and whether there is time to check it: the reader does else, so that each
// of the two does what the other has no time for.
func (a *ahead) reached(end int64, more bool) (at int64, check, next bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end = end
	a.running = more && end < a.here+aheadBytes
	if !a.running || end >= a.here+aheadBytes/2 {
		a.changed.Broadcast()
	}
	return end, end >= a.here+aheadBytes/2, a.running
}

// goesOn is whether a reader that comes to a stored batch goes on where the chunk at hand ends.
func (r *Reader) goesOn(sp *span, e stored, list []stored) bool {
	c := r.chunk
	if c == nil {
		return false
	}
	if c.seg != sp.seg {
		return e.first == list[0].first
	}
	end := c.at + c.size
	return int64(e.offset) >= end && int64(e.offset)-end < readBytes
}

// readOn reads the next chunk of a span from a place in its segment on, and says where that ends; not more when there is none, when enough is read ahead,
// or when it cannot be read: the reader reads it again when it comes there, and meets the error.
func (j *Journal) readOn(sp *span, list []stored, from int64, check bool) (end int64, more bool) {
	list = list[sort.Search(len(list), func(i int) bool { return int64(list[i].offset) >= from }):]
	if len(list) == 0 {
		return from, false
	}
	window := sp.window(list, list[0])
	if window.size < leastAhead || j.inTail(sp.seg, list[0]) {
		return from, false
	}
	end = int64(window.offset) + int64(window.size)
	shared := &j.opt.Cache.behind
	c, ok := shared.claimAhead(sp.seg, list[0], window)
	switch {
	case !ok:
		return from, false
	case c == nil:
		return end, true
	}
	b, err := j.readChunk(c)
	b = c.whole(b, err)
	if more = b != nil; more && check {
		if more = j.sound(sp, list, c, b); more {
			c.sound = sp
		}
	}
	shared.settle(c, b)
	select {
	case <-j.done:
		return end, false
	default:
		return end, more
	}
}

// inTail is whether a stored batch is still in memory as it was written.
func (j *Journal) inTail(seg *segment, e stored) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.tail.lookup(makePosition(seg.number, int64(e.offset)), int(e.size)) != nil
}

// sound is whether everything that a chunk has of a span is what was stored there; list begins with the first of it.
func (j *Journal) sound(sp *span, list []stored, c *chunk, b []byte) bool {
	for _, e := range list {
		at := int64(e.offset) - c.at
		if at+int64(e.size) > c.size {
			break
		}
		if _, d := j.check(sp, e, b[at:at+int64(e.size)]); d != nil {
			return false
		}
	}
	return true
}
