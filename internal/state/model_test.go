package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestModel compares random programs of several batches with maps.
func TestModel(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		s := open(t, Options{Dir: dir})
		defer func() {
			if err := s.Close(); err != nil {
				rt.Fatal(err)
			}
		}()
		table := Table{Name: fmt.Sprint("t", n), Shared: true}
		model := map[string]string{}
		type view struct {
			*Batch
			own  map[string]*string     // nil is deleted
			from map[string]expectation // what it expected of committed entries
		}
		open := []*view{{s.Begin(), map[string]*string{}, map[string]expectation{}}, {s.Begin(), map[string]*string{}, map[string]expectation{}}}
		versions := map[string]int{}
		keys := rapid.StringMatching(`[ab]{1,3}`)
		see := func(v *view, key string) (string, bool) {
			if own, ok := v.own[key]; ok {
				if own == nil {
					return "", false
				}
				return *own, true
			}
			value, ok := model[key]
			return value, ok
		}
		change := func(v *view, key string, value *string, expected int64) error {
			if value == nil {
				return v.Delete(table, key, expected)
			}
			_, err := v.Put(table, key, []byte(*value), expected)
			return err
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			i := rapid.IntRange(0, len(open)-1).Draw(rt, "batch")
			v := open[i]
			switch key := keys.Draw(rt, "key"); rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0: // get
				e, found, err := v.Get(table, key)
				if value, ok := see(v, key); err != nil || found != ok || string(e.Value) != value {
					rt.Fatalf("get %s: %q, %v, %v; want %q, %v", key, e.Value, found, err, value, ok)
				}
			case 1, 2: // change, with or without a revision
				var value *string
				if rapid.Bool().Draw(rt, "put") {
					text := rapid.StringN(0, 5, 10).Draw(rt, "value")
					value = &text
				}
				expected := Any
				if rapid.Bool().Draw(rt, "compare") {
					e, found, err := v.Get(table, key)
					if err != nil {
						rt.Fatal(err)
					}
					if found {
						expected = e.Revision
					} else {
						expected = Absent
					}
				}
				if err := change(v, key, value, expected); err != nil {
					rt.Fatalf("change %s: %v", key, err)
				}
				if _, again := v.own[key]; !again {
					v.from[key] = expectation{compares: expected != Any, version: versions[key], absent: expected == Absent}
				}
				v.own[key] = value
			case 3: // list
				prefix := rapid.StringMatching(`[ab]{0,2}`).Draw(rt, "prefix")
				var got, all []string
				for after, more := "", true; more; {
					list, m, err := v.List(table, prefix, after, rapid.IntRange(1, 3).Draw(rt, "limit"))
					if err != nil {
						rt.Fatal(err)
					}
					more = m
					for _, e := range list {
						got = append(got, e.Key+"="+string(e.Value))
						after = e.Key
					}
				}
				every := maps.Clone(model)
				for key := range v.own {
					every[key] = ""
				}
				for _, key := range slices.Sorted(maps.Keys(every)) {
					if value, ok := see(v, key); ok && strings.HasPrefix(key, prefix) {
						all = append(all, key+"="+value)
					}
				}
				if !slices.Equal(got, all) {
					rt.Fatalf("list %q: %q, want %q", prefix, got, all)
				}
			default: // commit
				conflict := false
				for key, e := range v.from {
					_, there := model[key]
					conflict = conflict || e.compares && (e.absent && there || !e.absent && versions[key] != e.version)
				}
				checked, err := v.Check(), v.Commit()
				if errors.Is(err, ErrConflict) != conflict || errors.Is(checked, ErrConflict) != conflict || err != nil && !conflict {
					rt.Fatalf("check %v, commit %v; want a conflict: %v", checked, err, conflict)
				}
				if !conflict {
					for key, value := range v.own {
						_, was := model[key]
						if value == nil {
							delete(model, key)
						} else {
							model[key] = *value
						}
						if was || value != nil {
							versions[key]++
						}
					}
				}
				open[i] = &view{s.Begin(), map[string]*string{}, map[string]expectation{}}
			}
		}
		var size Size
		for key, value := range model {
			size.Keys++
			size.Bytes += entryOverhead + int64(len(key)+len(value))
		}
		for _, z := range s.Tables() {
			if z.Table == table {
				size.Keys -= z.Keys
				size.Bytes -= z.Bytes
			}
		}
		if size != (Size{}) {
			rt.Fatalf("the table's size is wrong by %+v", size)
		}
	})
}

// expectation is what a batch of the model compares a committed entry with.
type expectation struct {
	compares bool
	version  int
	absent   bool // it compares with nothing being there, whatever has been there in between
}

func FuzzDecodeTable(f *testing.F) {
	for _, t := range []Table{cities, seen, {Name: "n", Function: "f"}} {
		f.Add(t.id())
	}
	f.Fuzz(func(t *testing.T, id string) {
		if table, ok := decodeTable(id); ok && table.id() != id {
			t.Errorf("%q is %+v, whose id is %q", id, table, table.id())
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(appendEntry(nil, "sid", []byte("key"), 7, []byte("value")), "sid", "key")
	f.Fuzz(func(t *testing.T, stored []byte, id, key string) {
		revision, value, err := decodeEntry(stored, id, []byte(key))
		if err == nil && string(appendEntry(nil, id, []byte(key), revision, value)) != string(stored) {
			t.Errorf("%x is revision %d, %q", stored, revision, value)
		}
	})
}
