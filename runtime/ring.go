package runtime

import (
	"context"
	"iter"
	"slices"
	"sync"
)

// ring keeps the latest values of a sort, up to a limit, for readers who may wait for more.
type ring[T any] struct {
	limit int          // of the sizes together; one value is kept in any case
	size  func(*T) int // of a value, in units of limit

	mu     sync.Mutex
	values []T           // values[head:] are kept
	head   int           // index of the oldest value kept
	first  uint64        // number of that value; the next one gets first+len(values)-head
	used   int           // of limit
	wake   chan struct{} // closed with the next value; nil when nobody waits
	closed bool
}

func (r *ring[T]) append(v T) { r.put(&v) }

// put is append for values that are large; it keeps nothing of v itself.
func (r *ring[T]) put(v *T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values = append(r.values, *v)
	r.used += r.size(&r.values[len(r.values)-1]) // where v has been copied to: given v itself, size would have it allocated
	for r.used > r.limit && len(r.values)-r.head > 1 {
		r.used -= r.size(&r.values[r.head])
		var none T
		r.values[r.head] = none
		r.head++
		r.first++
	}
	if r.head > len(r.values)/2 {
		n := copy(r.values, r.values[r.head:])
		clear(r.values[n:])
		r.values, r.head = r.values[:n], 0
	}
	r.wakeAll()
}

// newest copies the newest values, oldest first, as far back as they are wanted.
func (r *ring[T]) newest(wanted func(*T) bool) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := len(r.values)
	for from > r.head && wanted(&r.values[from-1]) {
		from--
	}
	return slices.Clone(r.values[from:])
}

// next is the number that the next value gets.
func (r *ring[T]) next() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first + uint64(len(r.values)-r.head)
}

// close ends everyone who follows.
func (r *ring[T]) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.wakeAll()
}

func (r *ring[T]) wakeAll() {
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

// read copies some values from number next on into buf. When there are none yet it returns a channel that is closed
// when that may have changed; nil when there will be none.
func (r *ring[T]) read(next uint64, buf []T) (values []T, number uint64, wait <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = max(next, r.first)
	kept := r.values[r.head:]
	values = append(buf[:0], kept[next-r.first:][:min(uint64(cap(buf)), uint64(len(kept))-(next-r.first))]...)
	if len(values) > 0 || r.closed {
		return values, next, nil
	}
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	return nil, next, r.wake
}

// all yields what is kept, oldest first, and with follow goes on as values come, until ctx ends or the ring is closed. A reader
// too slow for what comes is given what missed makes of the number of values that it has missed.
func (r *ring[T]) all(ctx context.Context, follow bool, missed func(uint64) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		buf := make([]T, 0, 64)
		for next, started := uint64(0), false; ; {
			values, number, wait := r.read(next, buf)
			if n := number - next; started && n > 0 && !yield(missed(n)) {
				return
			}
			for _, v := range values {
				if !yield(v) {
					return
				}
			}
			next, started = number+uint64(len(values)), true
			if len(values) > 0 {
				continue
			}
			if !follow || wait == nil {
				return
			}
			select {
			case <-wait:
			case <-ctx.Done():
				return
			}
		}
	}
}
