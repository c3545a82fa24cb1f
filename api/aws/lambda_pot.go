package aws

import (
	"context"
	"slices"
	"sync"
)

// pot divides something among keys so that none takes all of it: a key may hold up to a part of what is still free, and one piece whatever that is. So
// there is always some left, however long others hold on to theirs: of n keys that take what they can, with a part of 1/p, all together leave (p/(p+1))^n.
type pot struct {
	part int64 // a key may hold as much as 1/part of what is free

	mu   sync.Mutex
	free int64
	held map[string]int64
	line []*claim // who waits, in the order of arrival
}

type claim struct {
	key     string
	n       int64
	granted chan struct{} // closed when it is
}

func newPot(size, part int64) *pot { return &pot{part: part, free: size, held: map[string]int64{}} }

// try takes n for a key if it may have that now. release gives it back.
func (p *pot) try(key string, n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(key, n)
}

// take is try with mu held.
func (p *pot) take(key string, n int64) bool {
	has := p.held[key]
	if n > p.free || has > 0 && has+n > p.free/p.part {
		return false
	}
	p.held[key] = has + n
	p.free -= n
	return true
}

// wait takes n for a key as soon as it may have that; those who wait for the same key have it in the order of arrival. Error: ctx ended first.
func (p *pot) wait(ctx context.Context, key string, n int64) error {
	p.mu.Lock()
	first := !slices.ContainsFunc(p.line, func(c *claim) bool { return c.key == key })
	if first && p.take(key, n) {
		p.mu.Unlock()
		return nil
	}
	c := &claim{key, n, make(chan struct{})}
	p.line = append(p.line, c)
	p.mu.Unlock()
	select {
	case <-c.granted:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.line, c); i >= 0 {
		p.line = slices.Delete(p.line, i, i+1)
		p.grant() // what waited behind it
		return ctx.Err()
	}
	return nil // granted at the same moment
}

// release gives back what a key holds.
func (p *pot) release(key string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free += n
	if p.held[key] -= n; p.held[key] <= 0 {
		delete(p.held, key)
	}
	p.grant()
}

// grow takes n more for a key that holds something, whether that is free or not.
func (p *pot) grow(key string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[key] += n
	p.free -= n
}

// grant lets those have theirs who may now; mu is held.
func (p *pot) grant() {
	stuck := map[string]bool{}
	p.line = slices.DeleteFunc(p.line, func(c *claim) bool {
		if p.free <= 0 || stuck[c.key] {
			return false
		}
		if !p.take(c.key, c.n) {
			stuck[c.key] = true
			return false
		}
		close(c.granted)
		return true
	})
}
