package triggers

import (
	"context"
	"sync"

	"github.com/shardmill/shardmill/internal/catalog"
)

// fakeTable is a table of the catalog in memory.
type fakeTable struct {
	mu       sync.Mutex
	entries  map[string]catalog.Entry
	revision uint64
	fail     error  // of every write
	writing  func() // called before each write; nil = nobody
}

func (t *fakeTable) List() []catalog.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []catalog.Entry
	for _, e := range t.entries {
		list = append(list, e)
	}
	return list
}

func (t *fakeTable) write(key string, value []byte, check func(catalog.Entry, bool) error) (uint64, error) {
	if t.writing != nil {
		t.writing()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fail != nil {
		return 0, t.fail
	}
	old, ok := t.entries[key]
	if err := check(old, ok); err != nil {
		return 0, err
	}
	t.revision++
	if t.entries == nil {
		t.entries = map[string]catalog.Entry{}
	}
	if t.entries[key] = (catalog.Entry{Key: key, Value: value, Revision: t.revision}); value == nil {
		delete(t.entries, key)
	}
	return t.revision, nil
}

func (t *fakeTable) Create(_ context.Context, key string, value []byte) (uint64, error) {
	return t.write(key, value, func(_ catalog.Entry, ok bool) error {
		if ok {
			return catalog.ErrExists
		}
		return nil
	})
}

func (t *fakeTable) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return t.write(key, value, sameRevision(revision))
}

func (t *fakeTable) Delete(_ context.Context, key string, revision uint64) error {
	_, err := t.write(key, nil, sameRevision(revision))
	return err
}

func sameRevision(revision uint64) func(catalog.Entry, bool) error {
	return func(e catalog.Entry, ok bool) error {
		switch {
		case !ok:
			return catalog.ErrNotFound
		case e.Revision != revision:
			return catalog.ErrConflict
		}
		return nil
	}
}
