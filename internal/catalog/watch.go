package catalog

import (
	"bytes"
	"context"
	"sync"
)

// Change is what happened to an entry.
type Change struct {
	Entry        // of a deleted entry the value is nil
	Deleted bool // the entry was deleted, at Revision
}

// watcher holds what one watch has not yet read: of each entry the newest change, so
// that a reader that does not read costs no more than the table.
type watcher struct {
	mu      sync.Mutex
	pending map[string]Change
	order   []string      // keys of pending, oldest change first
	wake    chan struct{} // holds one
}

func (w *watcher) add(c change) {
	w.mu.Lock()
	if _, ok := w.pending[c.id.key]; !ok {
		w.order = append(w.order, c.id.key)
	}
	w.pending[c.id.key] = Change{
		Entry:   Entry{Key: c.id.key, Value: bytes.Clone(c.value), Revision: c.revision},
		Deleted: c.op == opDelete,
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) next() (Change, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.order) == 0 {
		return Change{}, false
	}
	key := w.order[0]
	w.order = w.order[1:]
	c := w.pending[key]
	delete(w.pending, key)
	return c, true
}

// Watch returns a channel of the changes after the call, those of this process and of
// others. Changes of one entry come in their order, and the last one always comes; one
// that was replaced before it was read may be left out. The channel is closed when ctx
// ends or the catalog is closed; on a closed catalog it is closed at once.
func (t *Table) Watch(ctx context.Context) <-chan Change {
	out := make(chan Change)
	w := &watcher{pending: map[string]Change{}, wake: make(chan struct{}, 1)}
	c := t.catalog
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		close(out)
		return out
	}
	c.running.Add(1)
	c.mu.Unlock()
	t.mu.Lock()
	t.watchers[w] = struct{}{}
	t.mu.Unlock()
	go func() {
		defer c.running.Done()
		defer close(out)
		defer t.forget(w)
		w.pump(ctx, c.life, out)
	}()
	return out
}

func (t *Table) forget(w *watcher) {
	t.mu.Lock()
	delete(t.watchers, w)
	t.mu.Unlock()
}

func (w *watcher) pump(ctx context.Context, life <-chan struct{}, out chan<- Change) {
	for {
		c, ok := w.next()
		if !ok {
			select {
			case <-w.wake:
				continue
			case <-ctx.Done():
			case <-life:
			}
			return
		}
		select {
		case out <- c:
		case <-ctx.Done():
			return
		case <-life:
			return
		}
	}
}
