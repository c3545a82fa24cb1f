package journal

import (
	"sort"
	"sync"
	"sync/atomic"
)

// Cache holds the newest groups of the journals that share it, up to a number of bytes, so that readers at the
// tail read no disk. Its methods may be called concurrently.
type Cache struct {
	limit int64

	mu    sync.Mutex
	bytes int64
	queue []*cachedGroup // oldest first, over all journals
	head  int
}

// NewCache makes a cache of at most limit bytes; the newest group is held even if it alone is larger.
func NewCache(limit int64) *Cache { return &Cache{limit: limit} }

// cachedGroup is one group as it was written. Its bytes are never changed; they go when the cache lets go
// and the last view of them is gone.
type cachedGroup struct {
	at    position
	size  int64
	bytes atomic.Pointer[[]byte] // nil when evicted
}

// add takes in a group and lets the oldest go.
func (c *Cache) add(g *cachedGroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, g)
	c.bytes += g.size
	for c.bytes > c.limit && c.head < len(c.queue)-1 {
		old := c.queue[c.head]
		c.queue[c.head] = nil
		c.head++
		c.bytes -= old.size
		old.bytes.Store(nil)
	}
	if c.head > 1024 && c.head > len(c.queue)/2 {
		c.queue = append(c.queue[:0], c.queue[c.head:]...)
		c.head = 0
	}
}

// remember notes a written group for the journal's readers. The caller holds j.mu.
func (j *Journal) remember(g *cachedGroup) {
	gone := 0
	for gone < len(j.cached) && j.cached[gone].bytes.Load() == nil {
		gone++
	}
	if gone > 64 && gone > len(j.cached)/2 || gone == len(j.cached) {
		j.cached = append(j.cached[:0], j.cached[gone:]...)
	}
	j.cached = append(j.cached, g)
}

// lookup returns the cached bytes of an entry, nil when they are not cached. The caller holds j.mu.
func (j *Journal) lookup(at position, size int) []byte {
	i := sort.Search(len(j.cached), func(i int) bool { return j.cached[i].at > at }) - 1
	if i < 0 {
		return nil
	}
	g := j.cached[i]
	b := g.bytes.Load()
	from := int64(at - g.at)
	if b == nil || at.segment() != g.at.segment() || from+int64(size) > g.size {
		return nil
	}
	return (*b)[from : from+int64(size) : from+int64(size)]
}
