package state

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/internal/field"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var (
	cities = Table{Name: "cities", Shared: true}
	seen   = Table{Name: "seen", Function: "f", Mapping: "m", Shard: 3}
)

// put commits one entry.
func put(t testing.TB, s *Store, table Table, key, value string) {
	t.Helper()
	b := s.Begin()
	if _, err := b.Put(table, key, []byte(value), Any); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

// get is an entry as a new batch sees it; "-" is none.
func get(t testing.TB, s *Store, table Table, key string) (string, int64) {
	t.Helper()
	e, found, err := s.Begin().Get(table, key)
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return "-", Absent
	}
	return string(e.Value), e.Revision
}

func want(t testing.TB, s *Store, table Table, key, value string) {
	t.Helper()
	if got, _ := get(t, s, table, key); got != value {
		t.Errorf("key %s of table %v is %.40q, want %.40q", key, table, got, value)
	}
}

func TestStateLivesOn(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	big := strings.Repeat("b", MaxValueBytes)
	for _, table := range []Table{cities, seen, {Name: "seen", Function: "f", Mapping: "m", Shard: 4}, {Name: "seen", Function: "f"}} {
		put(t, s, table, "a", table.String())
		put(t, s, table, "empty", "")
		put(t, s, table, strings.Repeat("k", MaxKeyBytes), big)
	}
	sizes := s.Tables()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Begin().Get(cities, "a"); !errors.Is(err, ErrClosed) {
		t.Errorf("get of a closed store: %v", err)
	}
	b := s.Begin()
	if _, err := b.Put(cities, "a", nil, Any); err != nil {
		t.Error(err)
	}
	if err := b.Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("commit to a closed store: %v", err)
	}
	s = open(t, o)
	for _, table := range []Table{cities, seen, {Name: "seen", Function: "f", Mapping: "m", Shard: 4}, {Name: "seen", Function: "f"}} {
		want(t, s, table, "a", table.String())
		want(t, s, table, "empty", "")
		want(t, s, table, strings.Repeat("k", MaxKeyBytes), big)
		want(t, s, table, "none", "-")
	}
	if again := s.Tables(); !slices.Equal(again, sizes) || len(again) != 4 || again[0].Table != cities || again[0].Keys != 3 {
		t.Errorf("tables after a start: %+v, before: %+v", again, sizes)
	}
	if _, err := Open(o); err == nil {
		t.Error("a second store was opened on the same file")
	}
}

// A batch sees its own changes; others do, all of them, when it is committed, and never when it is not.
func TestBatches(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	put(t, s, seen, "old", "1")
	b := s.Begin()
	first, err := b.Put(seen, "a", []byte("x"), Absent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(seen, "a", []byte("y"), first); err != nil {
		t.Errorf("changed again by its local revision: %v", err)
	}
	if _, err := b.Put(seen, "a", []byte("z"), first); !errors.Is(err, ErrConflict) {
		t.Errorf("by the one before: %v", err)
	}
	if err := b.Delete(seen, "old", Any); err != nil {
		t.Error(err)
	}
	if e, found, err := b.Get(seen, "a"); string(e.Value) != "y" || !found || err != nil {
		t.Errorf("its own put: %+v, %v, %v", e, found, err)
	}
	if _, found, err := b.Get(seen, "old"); found || err != nil {
		t.Errorf("its own deletion: %v, %v", found, err)
	}
	want(t, s, seen, "a", "-")
	want(t, s, seen, "old", "1")
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	want(t, s, seen, "a", "y")
	want(t, s, seen, "old", "-")
	if _, err := s.Begin().Put(seen, "a", []byte("w"), first); !errors.Is(err, ErrConflict) {
		t.Errorf("the local revision of another batch: %v", err)
	}
	if err := s.Begin().Commit(); err != nil {
		t.Errorf("a batch without changes: %v", err)
	}
}

func TestConflicts(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	put(t, s, cities, "n", "0")
	_, revision := get(t, s, cities, "n")
	one, two := s.Begin(), s.Begin()
	for i, b := range []*Batch{one, two} {
		if _, err := b.Put(cities, "n", fmt.Append(nil, i+1), revision); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(cities, fmt.Sprint("beside ", i), nil, Any); err != nil {
			t.Fatal(err)
		}
		if err := b.Check(); err != nil {
			t.Error(err)
		}
	}
	if err := two.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, now := get(t, s, cities, "n"); two.Revision() != now || now == revision || one.Revision() != 0 {
		t.Errorf("the batch has revision %d, the entry %d; the other batch %d", two.Revision(), now, one.Revision())
	}
	if err := one.Check(); !errors.Is(err, ErrConflict) {
		t.Errorf("check of the one that is late: %v", err)
	}
	if err := one.Commit(); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), `"n" of table cities`) {
		t.Errorf("commit of the one that is late: %v", err)
	}
	want(t, s, cities, "n", "2")
	want(t, s, cities, "beside 0", "-")
	b := s.Begin()
	if err := b.Delete(cities, "n", Absent); !errors.Is(err, ErrConflict) {
		t.Errorf("an entry that is there, expected absent: %v", err)
	}
	if err := b.Delete(cities, "none", Absent); err != nil {
		t.Errorf("an absent entry deleted: %v", err)
	}
	if err := b.Commit(); err != nil {
		t.Error(err)
	}
}

// Many count at once, each trying again when another was faster: no count is lost.
func TestCountersLoseNothing(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := open(t, Options{Dir: t.TempDir(), Registerer: registry})
	const workers, rounds = 8, 20
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range rounds {
				for {
					b := s.Begin()
					e, found, err := b.Get(cities, "n")
					if err != nil {
						t.Error(err)
						return
					}
					n := 0
					if found {
						fmt.Sscan(string(e.Value), &n)
					}
					if _, err = b.Put(cities, "n", fmt.Append(nil, n+1), e.Revision); err == nil {
						err = b.Commit()
					}
					if err == nil {
						break
					}
					if !errors.Is(err, ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	want(t, s, cities, "n", fmt.Sprint(workers*rounds))
	if n, err := registry.Gather(); err != nil || len(n) != 7 {
		t.Errorf("%d metrics, %v", len(n), err)
	}
}

func TestList(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	b := s.Begin()
	for i := range 2500 {
		if _, err := b.Put(cities, fmt.Sprintf("k%04d", i), []byte("v"), Any); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	b = s.Begin()
	for key, value := range map[string]string{"a": "first", "k0001": "other", "k1000x": "between", "z": "last"} {
		if _, err := b.Put(cities, key, []byte(value), Any); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"k0000", "k2499", "none"} {
		if err := b.Delete(cities, key, Any); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	pages := 0
	for after, more := "", true; more; pages++ {
		var list []Entry
		var err error
		if list, more, err = b.List(cities, "", after, 0); err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			keys = append(keys, e.Key)
			after = e.Key
			if e.Key == "k0001" && string(e.Value) != "other" || e.Revision <= 0 {
				t.Errorf("%+v", e)
			}
		}
	}
	if len(keys) != 2501 || pages != 3 || !slices.IsSorted(keys) || keys[0] != "a" || keys[2500] != "z" || !slices.Contains(keys, "k1000x") {
		t.Errorf("%d keys in %d pages: %v …", len(keys), pages, keys[:3])
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"k000", "", 0, "k0001 k0002 k0003 k0004 k0005 k0006 k0007 k0008 k0009 false"},
		{"k000", "k0007", 0, "k0008 k0009 false"},
		{"k000", "", 2, "k0001 k0002 true"},
		{"k000", "a", 2, "k0001 k0002 true"},
		{"k000", "z", 2, "false"},
		{"k1000", "", 2, "k1000 k1000x false"},
		{"k1000", "k1000", 2, "k1000x false"},
		{"x", "", 2, "false"},
	} {
		list, more, err := b.List(cities, c.prefix, c.after, c.limit)
		var got []string
		for _, e := range list {
			got = append(got, e.Key)
		}
		if line := strings.Join(append(got, fmt.Sprint(more)), " "); line != c.want || err != nil {
			t.Errorf("list %q after %q: %s, %v", c.prefix, c.after, line, err)
		}
	}
	if list, more, err := s.Begin().List(Table{Name: "none", Shared: true}, "", "", 0); len(list) != 0 || more || err != nil {
		t.Errorf("an empty table: %v, %v, %v", list, more, err)
	}
}

func TestListIsBounded(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	for i := range 4 {
		put(t, s, cities, fmt.Sprint(i), strings.Repeat("v", MaxValueBytes/2))
	}
	if list, more, err := s.Begin().List(cities, "", "", 0); len(list) != 1 || !more || err != nil {
		t.Errorf("%d entries, %v, %v", len(list), more, err)
	}
	put(t, s, seen, "big", strings.Repeat("v", MaxValueBytes))
	if list, more, err := s.Begin().List(seen, "", "", 0); len(list) != 1 || more || err != nil {
		t.Errorf("%d entries, %v, %v", len(list), more, err)
	}
}

func TestLimits(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	b := s.Begin()
	for name, f := range map[string]func() error{
		"key":   func() error { _, err := b.Put(cities, "", nil, Any); return err },
		"key ":  func() error { _, err := b.Put(cities, strings.Repeat("k", MaxKeyBytes+1), nil, Any); return err },
		"key  ": func() error { _, _, err := b.Get(cities, ""); return err },
		"key   ": func() error {
			_, _, err := b.List(cities, strings.Repeat("k", MaxKeyBytes+1), "", 0)
			return err
		},
		"value": func() error { _, err := b.Put(cities, "a", make([]byte, MaxValueBytes+1), Any); return err },
		"batch": func() error {
			many := s.Begin()
			for i := range MaxBatchKeys + 1 {
				if err := many.Delete(cities, fmt.Sprint(i), Any); err != nil {
					return err
				}
			}
			return nil
		},
		"batch ": func() error {
			many := s.Begin()
			for i := range 9 {
				if _, err := many.Put(cities, fmt.Sprint(i), make([]byte, MaxValueBytes), Any); err != nil {
					return err
				}
				if _, err := many.Put(cities, fmt.Sprint(i), make([]byte, MaxValueBytes), Any); err != nil {
					return err // the same again counts once
				}
			}
			return nil
		},
	} {
		var refused *field.Error
		if err := f(); !errors.As(err, &refused) || refused.Field != strings.TrimSpace(name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, ok := range map[string]bool{"a": true, strings.Repeat("n", 64): true, strings.Repeat("n", 65): false, "": false, "a:b": false, ".": false} {
		if err := CheckName(name); ok != (err == nil) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// A table, and all together, hold what they may and no more; what makes them smaller goes on.
func TestFull(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := open(t, Options{Dir: t.TempDir(), TableBytes: 1000, TotalBytes: 1500, Registerer: registry})
	defer func() {
		outcomes := `
# HELP shardmill_state_commits_total Changes of state, each of one call or from outside, by what came of them.
# TYPE shardmill_state_commits_total counter
shardmill_state_commits_total{outcome="full"} 2
shardmill_state_commits_total{outcome="ok"} 4
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(outcomes), "shardmill_state_commits_total"); err != nil {
			t.Error(err)
		}
	}()
	fill := func(table Table, key string, n int) error {
		b := s.Begin()
		if _, err := b.Put(table, key, make([]byte, n), Any); err != nil {
			t.Fatal(err)
		}
		return b.Commit()
	}
	if err := fill(cities, "a", 900); err != nil {
		t.Fatal(err)
	}
	if err := fill(cities, "b", 100); !errors.Is(err, ErrFull) {
		t.Errorf("more than a table may hold: %v", err)
	}
	if err := fill(seen, "a", 600); !errors.Is(err, ErrFull) {
		t.Errorf("more than all may hold: %v", err)
	}
	if err := fill(seen, "a", 500); err != nil {
		t.Error(err)
	}
	if err := fill(cities, "a", 10); err != nil {
		t.Errorf("smaller than before: %v", err)
	}
	if err := fill(cities, "b", 100); err != nil {
		t.Errorf("with room again: %v", err)
	}
	for _, z := range s.Tables() {
		if z.Table == cities && z.Size != (Size{2, 2*(entryOverhead+1) + 110}) {
			t.Errorf("%+v", z)
		}
	}
}

// Each trial may hold little, all together not much more, and none of it is taken from the other tables; so it is after the store was opened again.
func TestTrialsHaveLimitsOfTheirOwn(t *testing.T) {
	o := Options{Dir: t.TempDir(), TotalBytes: 20_000, TrialBytes: 1000}
	s := open(t, o)
	trial := func(name string, shard uint32) Table {
		return Table{Name: "seen", Function: "f", Mapping: Trials + name, Shard: shard}
	}
	fill := func(table Table, key string, n int) error {
		b := s.Begin()
		if _, err := b.Put(table, key, make([]byte, n), Any); err != nil {
			t.Fatal(err)
		}
		return b.Commit()
	}
	check := func(table Table, key string, n int, says string) {
		t.Helper()
		if err := fill(table, key, n); says == "" && err != nil || says != "" && (!errors.Is(err, ErrFull) || !strings.HasSuffix(err.Error(), says)) {
			t.Errorf("%d bytes to %v: %v, want %q", n, table, err, says)
		}
	}
	const own, all = "the tables of either version of a shadow may have 1000 bytes together", "the tables of all shadows may have 16000 bytes together"
	check(trial("a/serving", 1), "k", 500, "")
	check(trial("a/serving", 2), "k", 500, own)
	check(trial("a/serving", 2), "k", 400, "")
	check(trial("a/shadow", 2), "k", 900, "")
	check(trial("a/serving", 1), "k", 10, "") // there is room again
	check(trial("a/serving", 2), "k", 900, "")
	check(seen, "k", 19_000, "")
	for i := range 14 {
		check(trial(fmt.Sprint("b", i), 1), "k", 983, "")
	}
	check(trial("c", 1), "k", 900, all)
	check(seen, "l", 1000, "all tables together would have 20034 bytes; they may have 20000")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	check(trial("c", 1), "k", 900, all)
	check(trial("a/serving", 1), "k", 500, own)
	if _, err := s.Drop(func(t Table) bool { return strings.HasPrefix(t.Mapping, Trials+"b") }); err != nil {
		t.Fatal(err)
	}
	check(trial("c", 1), "k", 900, "")
	if len(s.totals) != 4 || s.totals[""] != 19_017 {
		t.Errorf("%v", s.totals)
	}
}

// Both versions that are compared are told the same of a table that is full.
func TestFullTableOfATrial(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), TableBytes: 100})
	var says []string
	for _, side := range []string{"serving", "shadow"} {
		b := s.Begin()
		if _, err := b.Put(Table{Name: "seen", Function: "f", Mapping: Trials + side}, "k", make([]byte, 100), Any); err != nil {
			t.Fatal(err)
		}
		err := b.Commit()
		if !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		says = append(says, err.Error())
	}
	if says[0] != says[1] || !strings.Contains(says[0], "table seen of function f would have 117 bytes") {
		t.Errorf("%q", says)
	}
}

func TestDrop(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	other := Table{Name: "seen", Function: "f", Mapping: "other"}
	for _, table := range []Table{cities, seen, other} {
		put(t, s, table, "a", "1")
	}
	if n, err := s.Drop(func(t Table) bool { return !t.Shared && t.Mapping == "m" }); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := s.Drop(func(Table) bool { return false }); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	want(t, s, seen, "a", "-")
	b := s.Begin()
	if err := b.Delete(other, "a", Any); err != nil {
		t.Error(err)
	}
	if err := b.Commit(); err != nil {
		t.Error(err)
	}
	if tables := s.Tables(); len(tables) != 1 || tables[0].Table != cities {
		t.Errorf("%+v", tables)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, o)
	want(t, s, cities, "a", "1")
	want(t, s, seen, "a", "-")
	if len(s.Tables()) != 1 {
		t.Errorf("%+v", s.Tables())
	}
	put(t, s, seen, "a", "2")
	want(t, s, seen, "a", "2")
}

// On a full disk puts are refused before they do harm, deletions go on, and with room all is well again.
func TestFullDisk(t *testing.T) {
	room := uint64(1 << 30)
	s := open(t, Options{Dir: t.TempDir(), free: func(string) (uint64, error) { return room, nil }})
	put(t, s, cities, "a", "1")
	room = reserveBytes
	b := s.Begin()
	if _, err := b.Put(cities, "b", []byte("2"), Any); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a put: %v", err)
	}
	b = s.Begin()
	if err := b.Delete(cities, "a", Any); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil {
		t.Errorf("a deletion: %v", err)
	}
	room = 0
	if _, err := s.Drop(func(Table) bool { return true }); err != nil {
		t.Errorf("nothing to drop: %v", err)
	}
	room = 1 << 30
	put(t, s, cities, "b", "2")
	want(t, s, cities, "a", "-")
}

// A write that fails in the disk fails its batches; then nothing is written any more, and all is read.
func TestOutcomesOfCommits(t *testing.T) {
	for want, err := range map[string]error{"ok": nil, "conflict": fmt.Errorf("x: %w", ErrConflict), "no_space": ErrNoSpace, "failed": ErrClosed, "full": ErrFull} {
		if got := outcomeOf(err); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
}

func TestFailedWrite(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	put(t, s, cities, "a", "1")
	fail := errors.New("the disk is gone")
	s.options.free = func(string) (uint64, error) { return 0, fail }
	b := s.Begin()
	if _, err := b.Put(cities, "a", []byte("2"), Any); err != nil {
		t.Fatal(err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := b.Commit(); !errors.Is(err, fail) {
		t.Errorf("the batch: %v", err)
	}
	if err := s.Err(); !errors.Is(err, ErrFailed) || !errors.Is(err, fail) {
		t.Errorf("then: %v", err)
	}
	s.options.free = freeBytes
	if err := b.Commit(); !errors.Is(err, ErrFailed) || !errors.Is(err, fail) {
		t.Errorf("the next one: %v", err)
	}
	want(t, s, cities, "a", "1")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, o)
	want(t, s, cities, "a", "1")
	put(t, s, cities, "a", "2")
	if !refused(fmt.Errorf("%w: %w", ErrNoSpace, syscall.ENOSPC)) {
		t.Error("a full disk poisons the store")
	}
}

// A damaged entry is named, does not stop others, and can be put anew.
func TestDamagedEntry(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	put(t, s, cities, "a", "1")
	put(t, s, cities, "b", "2")
	err := s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketTables).Bucket([]byte(cities.id()))
		return b.Put([]byte("a"), append([]byte{}, b.Get([]byte("b"))...)) // whole, but another's
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Begin().Get(cities, "a"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), `key "a" of table cities`) {
		t.Errorf("%v", err)
	}
	if err := s.Scrub(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("scrub: %v", err)
	}
	b := s.Begin()
	b.changes = map[string]map[string]*change{cities.id(): {"a": {value: []byte("x"), expected: 1}}}
	b.keys = 1
	if err := b.Commit(); !errors.Is(err, ErrDamaged) {
		t.Errorf("compared with damage: %v", err)
	}
	put(t, s, cities, "b", "3")
	put(t, s, cities, "a", "4")
	want(t, s, cities, "a", "4")
	want(t, s, cities, "b", "3")
}
