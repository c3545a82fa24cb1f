package journal

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// A reader that asks for a segment's file just when retention has dropped it does not open it again: nobody would close it.
func TestDroppedSegmentIsNotOpenedAgain(t *testing.T) {
	j := openDamaged(t)
	seg := j.segments[0]
	if f, err := j.files.keep(seg); f == nil || err != nil {
		t.Fatal(err)
	}
	if err := j.files.drop(seg); err != nil {
		t.Fatal(err)
	}
	if f, err := j.files.keep(seg); f != nil || !errors.Is(err, errGone) {
		t.Errorf("%v, %v", f, err)
	}
}

// The cache never holds more than its limit, but for one group that is larger alone, and it holds the newest.
func TestCacheIsBounded(t *testing.T) {
	const limit = 1000
	c := NewCache(limit)
	var groups []*cachedGroup
	for i := range 2000 {
		g := &cachedGroup{at: position(i), size: rand.Int64N(400) + 1}
		if i%100 == 99 {
			g.size = 3 * limit
		}
		b := make([]byte, g.size)
		g.bytes.Store(&b)
		c.add(g)
		groups = append(groups, g)
		held, n, evicted := int64(0), 0, false
		for k := len(groups) - 1; k >= 0 && k > len(groups)-200; k-- {
			switch b := groups[k].bytes.Load(); {
			case b == nil:
				evicted = true
			case evicted:
				t.Fatalf("group %d is held, and a newer one is not", k)
			default:
				held, n = held+int64(len(*b)), n+1
			}
		}
		if held > limit && n > 1 || n == 0 || held != c.bytes {
			t.Fatalf("%d groups of %d bytes are held, counted as %d", n, held, c.bytes)
		}
		if n < len(groups) && held+groups[len(groups)-n-1].size <= limit {
			t.Fatalf("a group of %d bytes went though %d are held", groups[len(groups)-n-1].size, held)
		}
		if len(c.queue) > 2*n+2 {
			t.Fatalf("%d places for %d groups", len(c.queue), n)
		}
	}
}

// What is kept for readers behind the tail is bounded, in bytes and in number, and can be found.
func TestBehindIsBounded(t *testing.T) {
	const limit = 100_000
	b := &NewCache(limit).behind
	seg := []*segment{{number: 1}, {number: 2}, {number: 3}}
	for i := range 5000 {
		w := stored{offset: uint32(rand.IntN(1 << 20)), size: uint32(rand.IntN(200) + 1)}
		if i%100 == 99 {
			w.size = 2 * limit
		}
		e := stored{offset: w.offset + w.size/2, size: w.size - w.size/2}
		c, mine := b.claim(seg[i%3], e, w)
		switch {
		case !mine && !c.covers(int64(e.offset), int64(e.size)):
			t.Fatalf("a chunk at %d of %d bytes for %d of %d", c.at, c.size, e.offset, e.size)
		case mine && i%7 == 0:
			b.settle(c, nil)
		case mine:
			b.settle(c, make([]byte, w.size))
			if again, mine := b.claim(seg[i%3], e, w); c.size <= limit && (mine || again.bytes == nil || !again.covers(int64(e.offset), int64(e.size))) {
				t.Fatalf("chunk %d is not found", i)
			}
		}
		bytes, n := int64(0), 0
		for _, list := range b.chunks {
			for _, c := range list {
				bytes, n = bytes+c.size, n+1
			}
		}
		if bytes != b.bytes || bytes > limit || n != len(b.queue) || n > maxChunks {
			t.Fatalf("%d chunks of %d bytes, counted as %d of %d", n, bytes, len(b.queue), b.bytes)
		}
	}
}
