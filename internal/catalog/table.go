package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Entry is one definition. The value belongs to the caller.
type Entry struct {
	Key   string
	Value []byte
	// Revision grows with every change of any table of the catalog. It is opaque:
	// after a restore from the snapshot an unchanged entry has a new one.
	Revision uint64
}

// Table is a set of entries, held in memory. Its methods may be called from several
// goroutines.
type Table struct {
	catalog *Catalog
	name    string

	mu       sync.RWMutex
	entries  map[string]change
	markers  map[string]uint64 // revision of the deletion of a key JetStream still has
	watchers map[*watcher]struct{}
}

func newTable(c *Catalog, name string) *Table {
	return &Table{
		catalog: c, name: name,
		entries: map[string]change{}, markers: map[string]uint64{}, watchers: map[*watcher]struct{}{},
	}
}

// Name returns the table's name.
func (t *Table) Name() string { return t.name }

// put takes an entry in while the catalog is opened.
func (t *Table) put(c change) {
	t.entries[c.id.key] = c
	t.catalog.metrics.entries.WithLabelValues(t.name).Set(float64(len(t.entries)))
}

// apply takes a change in and tells the watchers. Only the keeper calls it, so the
// changes come in order.
func (t *Table) apply(c change) {
	t.mu.Lock()
	if c.op == opDelete {
		delete(t.entries, c.id.key)
		t.markers[c.id.key] = c.revision
	} else {
		delete(t.markers, c.id.key)
		t.entries[c.id.key] = c
	}
	watchers := slices.Collect(maps.Keys(t.watchers))
	n := len(t.entries)
	t.mu.Unlock()
	for _, w := range watchers {
		w.add(c)
	}
	t.catalog.metrics.entries.WithLabelValues(t.name).Set(float64(n))
}

func (t *Table) wrap(operation, key string, err error) error {
	return fmt.Errorf("catalog: %s %s %q: %w", operation, t.name, key, err)
}

// Get returns the entry with this key, from memory. Errors: ErrNotFound.
func (t *Table) Get(key string) (Entry, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c, ok := t.entries[key]
	if !ok {
		return Entry{}, t.wrap("get", key, ErrNotFound)
	}
	return entry(c), nil
}

// List returns all entries, sorted by key, from memory.
func (t *Table) List() []Entry {
	t.mu.RLock()
	list := make([]Entry, 0, len(t.entries))
	for _, c := range t.entries {
		list = append(list, entry(c))
	}
	t.mu.RUnlock()
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return list
}

func entry(c change) Entry {
	return Entry{Key: c.id.key, Value: bytes.Clone(c.value), Revision: c.revision}
}

// Create adds an entry whose key must not exist, and returns its revision when it is
// durable. Errors: ErrExists, ErrInvalid, ErrNoSpace, ErrUnknownOutcome, ErrClosed.
func (t *Table) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	t.mu.RLock()
	_, exists := t.entries[key]
	expected := t.markers[key]
	t.mu.RUnlock()
	if exists {
		return 0, t.wrap("create", key, ErrExists)
	}
	revision, err := t.write(ctx, "create", key, opPut, value, expected)
	if errors.Is(err, ErrConflict) {
		err = t.wrap("create", key, ErrExists)
	}
	return revision, err
}

// Update replaces the value of an entry that has the given revision, and returns the
// new revision when it is durable. Errors: ErrNotFound, ErrConflict, ErrInvalid,
// ErrNoSpace, ErrUnknownOutcome, ErrClosed.
func (t *Table) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if err := t.expect(key, revision); err != nil {
		return 0, t.wrap("update", key, err)
	}
	return t.write(ctx, "update", key, opPut, value, revision)
}

// Delete removes an entry that has the given revision, or any if revision is 0; it
// returns when that is durable. Errors: ErrNotFound, ErrConflict, ErrInvalid,
// ErrNoSpace, ErrUnknownOutcome, ErrClosed.
func (t *Table) Delete(ctx context.Context, key string, revision uint64) error {
	if revision == 0 {
		revision = anyRevision
	}
	if err := t.expect(key, revision); err != nil {
		return t.wrap("delete", key, err)
	}
	_, err := t.write(ctx, "delete", key, opDelete, nil, revision)
	return err
}

// expect refuses early what memory shows to be in vain; JetStream decides about the rest.
func (t *Table) expect(key string, revision uint64) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c, ok := t.entries[key]
	switch {
	case !ok:
		return ErrNotFound
	case revision != anyRevision && revision != c.revision:
		return fmt.Errorf("%w: it is at revision %d, not %d", ErrConflict, c.revision, revision)
	}
	return nil
}

// checkSpace refuses what the disk may not have room for. What makes space, or may tell
// another part of the host to, is let further than the rest.
func (t *Table) checkSpace(key string, op operation, value []byte) error {
	t.mu.RLock()
	old, exists := t.entries[key]
	t.mu.RUnlock()
	if op == opDelete || exists && len(value) <= len(old.value)+alikeBytes {
		return t.catalog.space.forRelief()
	}
	return t.catalog.space.forWrite(len(value))
}

// write publishes a change and waits until the keeper has it in the snapshot.
func (t *Table) write(ctx context.Context, operation, key string, op operation, value []byte, expected uint64) (uint64, error) {
	start := time.Now()
	revision, err := t.tryWrite(ctx, key, op, value, expected)
	result := "ok"
	if err != nil {
		err = t.wrap(operation, key, err)
		result = "error"
	}
	t.catalog.metrics.writes.WithLabelValues(operation, result).Observe(time.Since(start).Seconds())
	return revision, err
}

func (t *Table) tryWrite(ctx context.Context, key string, op operation, value []byte, expected uint64) (uint64, error) {
	if err := errors.Join(checkKey(key), checkValue(value)); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	end, err := t.catalog.begin()
	if err != nil {
		return 0, err
	}
	defer end()
	if err := t.checkSpace(key, op, value); err != nil {
		return 0, err
	}
	revision, err := publish(ctx, t.catalog.js, id{t.name, key}, op, value, expected)
	if isConflict(err) {
		return 0, fmt.Errorf("%w: %w", ErrConflict, err)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	if err := t.catalog.keeper.wait(ctx, revision); err != nil {
		return 0, err
	}
	return revision, nil
}
