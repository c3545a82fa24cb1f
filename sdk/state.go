package sdk

import (
	"context"
	"fmt"
	"iter"
)

// What a change of state can expect of an entry, besides its revision.
const (
	Any    int64 = -1 // nothing: it may be there or not
	Absent int64 = 0  // that it is not there
)

// Entry is one entry of a state table. The caller owns the value.
type Entry struct {
	Key      string
	Value    []byte
	Revision int64 // greater than 0, and another one after each change. That of an entry that this call has put is good in this call only
}

// Table is a state table, as one call uses it. It is used by one goroutine at a time.
//
// What a call changes it sees at once, and others when it has succeeded: all of it or nothing. After a call that failed nothing has
// changed. What the call emitted is put first, so that a host that is killed in between puts it again, and loses nothing.
type Table struct {
	call *callContext
	name string
}

// State is a state table that the function's configuration grants, by its name: one of its own for each mapping and shard that it runs for, or, where
// the grant is shared:NAME, one that it shares. A key has 1 to 512 bytes, a value at most 1 MiB. ctx must be the handler's, or come from it; any other panics.
func State(ctx context.Context, table string) *Table { return &Table{callOf(ctx, "State"), table} }

func (t *Table) wrap(operation, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q of state table %q: %w", operation, key, t.name, err)
}

// Get is the entry with a key. Errors: ErrNotFound when there is none, ErrDenied, ErrInvalid, ErrUnavailable, ErrNoCall.
func (t *Table) Get(key string) (Entry, error) {
	e, err := t.call.stateGet(t.name, key)
	return e, t.wrap("get", key, err)
}

// Put makes or changes an entry, whatever it was. Errors: ErrDenied, ErrInvalid, ErrUnavailable, ErrNoCall.
func (t *Table) Put(key string, value []byte) error {
	_, err := t.call.statePut(t.name, key, value, Any)
	return t.wrap("put", key, err)
}

// CAS puts an entry if it is as expected: Absent, or the revision of a Get or List. It returns the entry's revision as this call sees it. An entry that is
// not as expected is an ErrConflict; one that another call changes before this one has succeeded fails this call. Other errors: as of Put.
func (t *Table) CAS(key string, value []byte, expected int64) (revision int64, err error) {
	revision, err = t.call.statePut(t.name, key, value, expected)
	return revision, t.wrap("put", key, err)
}

// Delete removes an entry, if there is one. Errors: as of Put.
func (t *Table) Delete(key string) error {
	return t.wrap("delete", key, t.call.stateDelete(t.name, key, Any))
}

// CASDelete removes an entry if it has the expected revision. Errors: as of CAS.
func (t *Table) CASDelete(key string, expected int64) error {
	return t.wrap("delete", key, t.call.stateDelete(t.name, key, expected))
}

// List yields the entries whose keys begin with prefix, by the order of their bytes. The table may be changed while it is listed: what is behind the
// entry that was yielded last is seen. An error ends it. Errors: as of Put.
func (t *Table) List(prefix string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for after, more := "", true; more; {
			var list []Entry
			var err error
			if list, more, err = t.call.stateList(t.name, prefix, after, 0); err != nil {
				yield(Entry{}, t.wrap("list", prefix, err))
				return
			}
			for _, e := range list {
				if !yield(e, nil) {
					return
				}
				after = e.Key
			}
		}
	}
}
