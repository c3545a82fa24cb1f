package journal

import (
	"sort"
	"sync"
	"sync/atomic"
)

// Cache holds the newest groups of the journals that share it, up to a number of bytes, so that readers at the
// tail read no disk; and apart from that, up to as many bytes, what readers behind the tail have read last, so that those who are
// together read the disk once. Its methods may be called concurrently.
type Cache struct {
	limit  int64
	behind behind

	mu    sync.Mutex
	bytes int64
	queue []*cachedGroup // oldest first, over all journals
	head  int
}

// NewCache makes a cache of at most limit bytes for the tail, and as many for what is read behind it; the newest group is held even if
// it alone is larger.
func NewCache(limit int64) *Cache {
	return &Cache{limit: limit, behind: behind{limit: limit, chunks: map[*segment][]*chunk{}}}
}

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
	if c.head > len(c.queue)/2 {
		kept := copy(c.queue, c.queue[c.head:])
		clear(c.queue[kept:])
		c.queue, c.head = c.queue[:kept], 0
	}
}

// tail is what the cache holds of one journal: its groups in their order, of which the oldest may be evicted. The
// journal's mutex guards it.
type tail struct {
	groups []*cachedGroup
	gone   int // so many at the front are known to be evicted
}

// add notes a group that has been written.
func (t *tail) add(g *cachedGroup) {
	for t.gone < len(t.groups) && t.groups[t.gone].bytes.Load() == nil {
		t.groups[t.gone] = nil
		t.gone++
	}
	if t.gone > len(t.groups)/2 {
		kept := copy(t.groups, t.groups[t.gone:])
		clear(t.groups[kept:])
		t.groups, t.gone = t.groups[:kept], 0
	}
	t.groups = append(t.groups, g)
}

// lookup returns the cached bytes of an entry, nil when they are not cached.
func (t *tail) lookup(at position, size int) []byte {
	held := t.groups[t.gone:]
	i := sort.Search(len(held), func(i int) bool { return held[i].at > at }) - 1
	if i < 0 {
		return nil
	}
	g := held[i]
	b := g.bytes.Load()
	from := int64(at - g.at)
	if b == nil || at.segment() != g.at.segment() || from+int64(size) > g.size {
		return nil
	}
	return (*b)[from : from+int64(size) : from+int64(size)]
}
