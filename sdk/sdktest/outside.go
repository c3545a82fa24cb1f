package sdktest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shardmill/shardmill/sdk"
)

// Tables are state tables: the values by table and key. A table that is not there is not granted; make it empty to grant it.
type Tables map[string]map[string]string

// outside is what a call's handler reaches: the fields of Call are what it is granted.
type outside struct {
	call    Call
	changes Tables                      // tables as the call has changed them
	local   map[string]map[string]int64 // revisions of what it has put
	last    int64
}

// committed is the revision of every entry that the call has not put.
const committed = 1

// Secret is a secret of the call.
func (o *outside) Secret(name string) ([]byte, error) {
	value, ok := o.call.Secrets[name]
	if !ok {
		return nil, sdk.ErrDenied
	}
	return []byte(value), nil
}

// table is a table as the call sees it, to read or to change.
func (o *outside) table(name string) (map[string]string, error) {
	if changed, ok := o.changes[name]; ok {
		return changed, nil
	}
	stored, ok := o.call.Tables[name]
	if !ok {
		return nil, sdk.ErrDenied
	}
	if o.changes == nil {
		o.changes, o.local = Tables{}, map[string]map[string]int64{}
	}
	o.changes[name], o.local[name] = maps.Clone(stored), map[string]int64{}
	if stored == nil {
		o.changes[name] = map[string]string{}
	}
	return o.changes[name], nil
}

// commit has the changes of the call in its Tables.
func (o *outside) commit() {
	for name, changed := range o.changes {
		stored := o.call.Tables[name]
		if stored == nil {
			stored = map[string]string{}
			o.call.Tables[name] = stored
		}
		clear(stored)
		maps.Copy(stored, changed)
	}
}

func (o *outside) entry(table, key, value string) sdk.Entry {
	revision := o.local[table][key]
	if revision == 0 {
		revision = committed
	}
	return sdk.Entry{Key: key, Value: []byte(value), Revision: revision}
}

// StateGet is a table's entry.
func (o *outside) StateGet(table, key string) (sdk.Entry, error) {
	t, err := o.table(table)
	if err != nil {
		return sdk.Entry{}, err
	}
	value, ok := t[key]
	if !ok {
		return sdk.Entry{}, sdk.ErrNotFound
	}
	return o.entry(table, key, value), nil
}

// expect gives the table to change, when the entry is as expected.
func (o *outside) expect(table, key string, expected int64) (map[string]string, error) {
	t, err := o.table(table)
	if err != nil {
		return nil, err
	}
	now := sdk.Absent
	if value, ok := t[key]; ok {
		now = o.entry(table, key, value).Revision
	}
	if expected != sdk.Any && expected != now {
		return nil, sdk.ErrConflict
	}
	if len(key) == 0 || len(key) > maxKey {
		return nil, fmt.Errorf("%w: the key has %d bytes", sdk.ErrInvalid, len(key))
	}
	return t, nil
}

// Limits of a host.
const (
	maxKey   = 512
	maxValue = 1 << 20
)

// StatePut makes or changes an entry.
func (o *outside) StatePut(table, key string, value []byte, expected int64) (int64, error) {
	t, err := o.expect(table, key, expected)
	if err != nil {
		return 0, err
	}
	if len(value) > maxValue {
		return 0, fmt.Errorf("%w: the value has %d bytes", sdk.ErrInvalid, len(value))
	}
	o.last++
	t[key], o.local[table][key] = string(bytes.Clone(value)), committed+o.last
	return committed + o.last, nil
}

// StateDelete removes an entry.
func (o *outside) StateDelete(table, key string, expected int64) error {
	t, err := o.expect(table, key, expected)
	if err != nil {
		return err
	}
	delete(t, key)
	return nil
}

// StateList is a table's entries by the order of their keys, all at once.
func (o *outside) StateList(table, prefix, after string, _ int) (list []sdk.Entry, more bool, err error) {
	t, err := o.table(table)
	if err != nil {
		return nil, false, err
	}
	for _, key := range slices.Sorted(maps.Keys(t)) {
		if strings.HasPrefix(key, prefix) && (after == "" || key > after) {
			list = append(list, o.entry(table, key, t[key]))
		}
	}
	return list, false, nil
}

// Fetch is answered by the test.
func (o *outside) Fetch(r *sdk.Request) (*sdk.Response, error) {
	if o.call.Fetch == nil {
		return nil, sdk.ErrDenied
	}
	return o.call.Fetch(r)
}
