package state

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/shardmill/shardmill/internal/field"
)

// What a change can expect of an entry, besides a revision.
const (
	Any    int64 = -1 // it may be there or not
	Absent int64 = 0  // it must not be there
)

// localBit marks a revision that is good within its batch only: of an entry that the batch itself has put.
const localBit = int64(1) << 62

// Entry is one entry of a table. The value belongs to the caller.
type Entry struct {
	Key      string
	Revision int64 // greater than 0; of an entry that this batch has put, good for this batch only
	Value    []byte
}

// Batch is what one call reads and changes. It is used by one goroutine at a time.
type Batch struct {
	store   *Store
	changes map[string]map[string]*change // by the table's id, and the key
	keys    int
	bytes   int
	last    int64 // the local revision given last
	stored  int64 // the revision of what it has put, once it is committed
}

// change is what a batch does to one entry.
type change struct {
	value    []byte // nil: it is deleted
	local    int64  // the revision as the batch sees it
	expected int64  // of the committed entry: Any, Absent or its revision
}

// Begin makes a batch.
func (s *Store) Begin() *Batch { return &Batch{store: s} }

// Get reads an entry; found is false when there is none. Errors: a *field.Error, ErrDamaged, ErrClosed.
func (b *Batch) Get(t Table, key string) (e Entry, found bool, err error) {
	if err := checkKey(key); err != nil {
		return Entry{}, false, err
	}
	id := t.id()
	if c := b.changes[id][key]; c != nil {
		return Entry{key, c.local, bytes.Clone(c.value)}, c.value != nil, nil
	}
	err = b.store.view(func(tables *bolt.Bucket) error {
		e, found, err = stored(tables.Bucket([]byte(id)), id, key)
		return err
	})
	return e, found, err
}

// stored reads a committed entry from a table's bucket, which may be nil.
func stored(bucket *bolt.Bucket, id, key string) (Entry, bool, error) {
	if bucket == nil {
		return Entry{}, false, nil
	}
	v := bucket.Get([]byte(key))
	if v == nil {
		return Entry{}, false, nil
	}
	revision, value, err := decodeEntry(v, id, []byte(key))
	if err != nil {
		return Entry{}, false, err
	}
	return Entry{key, int64(revision), append([]byte{}, value...)}, true, nil
}

func checkKey(key string) error {
	if len(key) == 0 || len(key) > MaxKeyBytes {
		return field.Invalid("key", fmt.Sprintf("%d bytes", len(key)), fmt.Sprintf("1 to %d bytes", MaxKeyBytes))
	}
	return nil
}

// Put changes an entry, or makes it, when the batch is committed, if it is then as expected: Any, Absent, or the revision that a read of this
// batch, or an earlier one, has given. It takes a copy of the value and answers a revision that is good within this batch. Errors: a
// *field.Error, ErrConflict when it is not as expected already, ErrDamaged, ErrClosed.
func (b *Batch) Put(t Table, key string, value []byte, expected int64) (revision int64, err error) {
	if len(value) > MaxValueBytes {
		return 0, field.Invalid("value", fmt.Sprintf("%d bytes", len(value)), fmt.Sprintf("at most %d bytes", MaxValueBytes))
	}
	c, err := b.change(t, key, expected, len(value))
	if err != nil {
		return 0, err
	}
	c.value = append([]byte{}, value...)
	return c.local, nil
}

// Delete removes an entry when the batch is committed, if it is then as expected. That there is none is no error. Errors: as of Put.
func (b *Batch) Delete(t Table, key string, expected int64) error {
	c, err := b.change(t, key, expected, 0)
	if err == nil {
		c.value = nil
	}
	return err
}

// change notes that an entry will be of n bytes of value, if it is as expected.
func (b *Batch) change(t Table, key string, expected int64, n int) (*change, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	id := t.id()
	c := b.changes[id][key]
	keys, size := b.keys+1, b.bytes+len(key)+n
	if c != nil {
		keys, size = b.keys, b.bytes+n-len(c.value)
	}
	if keys > MaxBatchKeys {
		return nil, field.Invalid("batch", fmt.Sprintf("%d keys", keys), fmt.Sprintf("at most %d changed keys", MaxBatchKeys))
	}
	if size > MaxBatchBytes {
		return nil, field.Invalid("batch", fmt.Sprintf("%d bytes", size), fmt.Sprintf("at most %d bytes of changed keys and values", MaxBatchBytes))
	}
	if err := b.expect(t, c, key, expected); err != nil {
		return nil, err
	}
	if c == nil {
		c = &change{expected: expected}
		if b.changes == nil {
			b.changes = map[string]map[string]*change{}
		}
		if b.changes[id] == nil {
			b.changes[id] = map[string]*change{}
		}
		b.changes[id][key] = c
	}
	b.keys, b.bytes = keys, size
	b.last++
	c.local = localBit | b.last
	return c, nil
}

// expect compares with what is known now; c is the batch's own change of the entry, or nil.
func (b *Batch) expect(t Table, c *change, key string, expected int64) error {
	if expected == Any {
		return nil
	}
	now := Absent
	if c != nil {
		if c.value != nil {
			now = c.local
		}
	} else {
		e, found, err := b.Get(t, key)
		if err != nil {
			return err
		}
		if found {
			now = e.Revision
		}
	}
	if now != expected {
		return fmt.Errorf("%w: key %q of table %s", ErrConflict, key, t)
	}
	return nil
}

// List reads the entries whose keys begin with prefix and come after the key after ("" is from the first), in the order of their bytes: at most limit,
// 0 and more than 1,000 being 1,000, and at most 1 MiB unless one alone is larger. more says that others follow. Errors: a *field.Error,
// ErrDamaged, ErrClosed.
func (b *Batch) List(t Table, prefix, after string, limit int) (list []Entry, more bool, err error) {
	if len(prefix) > MaxKeyBytes || len(after) > MaxKeyBytes {
		return nil, false, field.Invalid("key", fmt.Sprintf("%d bytes", max(len(prefix), len(after))), fmt.Sprintf("at most %d bytes", MaxKeyBytes))
	}
	if limit <= 0 || limit > MaxList {
		limit = MaxList
	}
	id := t.id()
	own := slices.DeleteFunc(slices.Sorted(maps.Keys(b.changes[id])), func(key string) bool {
		return !strings.HasPrefix(key, prefix) || after != "" && key <= after
	})
	size := 0
	add := func(e Entry) (full bool) {
		n := len(e.Key) + len(e.Value)
		if len(list) == limit || len(list) > 0 && size+n > MaxListBytes {
			more = true
			return true
		}
		size += n
		list = append(list, e)
		return false
	}
	// mine adds the batch's own entries up to a key.
	mine := func(below string, all bool) (full bool) {
		for len(own) > 0 && (all || own[0] < below) {
			if c := b.changes[id][own[0]]; c.value != nil && add(Entry{own[0], c.local, bytes.Clone(c.value)}) {
				return true
			}
			own = own[1:]
		}
		return false
	}
	err = b.store.view(func(tables *bolt.Bucket) error {
		return walk(tables.Bucket([]byte(id)), prefix, after, func(key string, v []byte) error {
			if mine(key, false) {
				return errStop
			}
			if len(own) > 0 && own[0] == key {
				return nil // mine has it
			}
			revision, value, err := decodeEntry(v, id, []byte(key))
			if err != nil {
				return err
			}
			if add(Entry{key, int64(revision), append([]byte{}, value...)}) {
				return errStop
			}
			return nil
		})
	})
	if err == nil && !more {
		mine("", true)
	}
	if errors.Is(err, errStop) {
		err = nil
	}
	return list, more, err
}

var errStop = errors.New("stop")

// walk visits the entries of a table's bucket, which may be nil, until visit fails.
func walk(bucket *bolt.Bucket, prefix, after string, visit func(key string, stored []byte) error) error {
	if bucket == nil {
		return nil
	}
	cursor := bucket.Cursor()
	k, v := cursor.Seek([]byte(max(prefix, after)))
	if k != nil && after != "" && string(k) == after {
		k, v = cursor.Next()
	}
	for ; k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = cursor.Next() {
		if err := visit(string(k), v); err != nil {
			return err
		}
	}
	return nil
}

// Changes is how many entries the batch changes.
func (b *Batch) Changes() int { return b.keys }

// Check finds out early whether Commit would answer ErrConflict, as things are now. Errors: ErrConflict, ErrDamaged, ErrClosed.
func (b *Batch) Check() error {
	if !b.expects() {
		return nil
	}
	return b.store.view(b.check)
}

func (b *Batch) expects() bool {
	for _, keys := range b.changes {
		for _, c := range keys {
			if c.expected != Any {
				return true
			}
		}
	}
	return false
}

// check compares what the batch expects with what is committed.
func (b *Batch) check(tables *bolt.Bucket) error {
	for id, keys := range b.changes {
		bucket := tables.Bucket([]byte(id))
		for key, c := range keys {
			if c.expected == Any {
				continue
			}
			e, found, err := stored(bucket, id, key)
			if err != nil {
				return err
			}
			if !found {
				e.Revision = Absent
			}
			if e.Revision != c.expected {
				t, _ := decodeTable(id)
				return fmt.Errorf("%w: key %q of table %s", ErrConflict, key, t)
			}
		}
	}
	return nil
}

// Revision is what the entries have that the batch has put, when Commit has returned nil. It is 0 when nothing was changed.
func (b *Batch) Revision() int64 { return b.stored }

// Commit makes the changes durable, all or none, and ends the batch. It waits for the disk, whatever happens to the caller's context. Errors:
// ErrConflict, ErrFull, ErrNoSpace, ErrFailed, ErrDamaged, ErrClosed.
func (b *Batch) Commit() error {
	if b.keys == 0 {
		return nil
	}
	if err := b.store.submit(&commit{batch: b}); err != nil {
		return fmt.Errorf("state: commit: %w", err)
	}
	return nil
}
