package runtime

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// pool holds the instances of one version. slots bounds those that run, which bounds those that exist: one is
// made only when none is idle.
type pool struct {
	slots *semaphore.Weighted

	shared   *idleMemory // nil: its idle instances count with no others
	dropping sync.Mutex  // held while idle instances are closed: when dropIdle returns, nobody else is closing one

	mu         sync.Mutex
	live       map[*instance]bool
	idle       []*instance // the one used last is at the end
	idleBytes  uint64      // memory of the idle ones
	limit      uint64      // of idleBytes, without the one used last
	generation int         // instances of an older one are closed when they come back
}

// init makes a pool whose idle instances hold at most so many bytes beside the one used last.
func (p *pool) init(concurrency int, idleBytes uint64) {
	p.slots = semaphore.NewWeighted(int64(concurrency))
	p.live = map[*instance]bool{}
	p.limit = idleBytes
}

// wait takes a slot, which release or giveUp returns. Waiters are served in their order.
func (p *pool) wait(ctx context.Context) error {
	if p.slots.TryAcquire(1) {
		return nil
	}
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("%w: %w", ErrThrottled, err)
	}
	return nil
}

// giveUp returns a slot for which no instance could be made.
func (p *pool) giveUp() { p.slots.Release(1) }

// take returns the idle instance of a program that was used last, or nil. Others' are of one that is being unloaded.
func (p *pool) take(of *program) *instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.idle) - 1; n >= 0; n-- {
		if i := p.idle[n]; i.program == of {
			p.idle = slices.Delete(p.idle, n, n+1)
			p.idled(-int64(i.memory.size.Load()))
			return i
		}
	}
	return nil
}

// add makes a new instance known; its maker holds a slot.
func (p *pool) add(i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i.generation = p.generation
	p.live[i] = true
}

// release takes an instance back, to keep it or to close it.
func (p *pool) release(i *instance, reusable bool) {
	p.mu.Lock()
	reusable = reusable && i.generation == p.generation
	if reusable {
		p.idle = append(p.idle, i)
		p.idled(int64(i.memory.size.Load()))
	}
	over := p.idleBytes > p.limit && len(p.idle) > 1
	p.mu.Unlock()
	if !reusable {
		p.close(i)
	}
	if over {
		p.trim()
	}
	p.slots.Release(1)
	if reusable {
		p.shared.check()
	}
}

// close closes instances that nobody can take any more. They count as live until they are closed: whoever finds
// none may unload the program.
func (p *pool) close(instances ...*instance) {
	for _, i := range instances {
		i.close()
		p.mu.Lock()
		delete(p.live, i)
		p.mu.Unlock()
	}
}

// drain closes the idle instances, and those that run when they come back.
func (p *pool) drain() {
	p.mu.Lock()
	p.generation++
	p.mu.Unlock()
	p.dropIdle(time.Now().Add(time.Hour))
}

// dropIdle closes the instances that have not been used since.
func (p *pool) dropIdle(since time.Time) {
	p.dropping.Lock()
	defer p.dropping.Unlock()
	p.mu.Lock()
	dropped := p.oldest(func(i *instance) bool { return i.usedAt.Before(since) })
	p.mu.Unlock()
	p.close(dropped...)
}

// evict closes the idle instances of a program, which nobody uses any more. When it returns, there are none, and nobody is closing one.
func (p *pool) evict(of *program) {
	p.dropping.Lock()
	defer p.dropping.Unlock()
	var evicted []*instance
	p.mu.Lock()
	p.idle = slices.DeleteFunc(p.idle, func(i *instance) bool {
		if i.program != of {
			return false
		}
		p.idled(-int64(i.memory.size.Load()))
		evicted = append(evicted, i)
		return true
	})
	p.mu.Unlock()
	p.close(evicted...)
}

// trim closes the instances used longest ago until the idle ones hold no more memory than they may.
func (p *pool) trim() {
	p.dropping.Lock()
	defer p.dropping.Unlock()
	p.mu.Lock()
	dropped := p.oldest(func(*instance) bool { return p.idleBytes > p.limit && len(p.idle) > 1 })
	p.mu.Unlock()
	p.close(dropped...)
}

// oldest takes idle instances out, the one used longest ago first, as long as they are unwanted; p.mu is held.
func (p *pool) oldest(unwanted func(*instance) bool) (out []*instance) {
	for len(p.idle) > 0 && unwanted(p.idle[0]) {
		p.idled(-int64(p.idle[0].memory.size.Load()))
		out = append(out, p.idle[0])
		p.idle[0] = nil
		p.idle = p.idle[1:]
	}
	return out
}

// idled counts memory of idle instances that came, or went where it is negative; p.mu is held.
func (p *pool) idled(bytes int64) {
	p.idleBytes += uint64(bytes)
	p.shared.add(bytes)
}

func (p *pool) idleUsage() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idleBytes
}

// ages adds the idle instances to a list.
func (p *pool) ages(to []idleAge) []idleAge {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range p.idle {
		to = append(to, idleAge{i.usedAt, int64(i.memory.size.Load())})
	}
	return to
}

// kill stops every guest that runs.
func (p *pool) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.live {
		i.watch.end(stopClosed)
	}
}

func (p *pool) usage() (instances int, bytes uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.live {
		bytes += i.memory.size.Load()
	}
	return len(p.live), bytes
}
