package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmill/shardmill/internal/broker"
)

func TestCompareAndSet(t *testing.T) {
	h := newHouse(t)
	table := h.table(t, "streams")
	ctx := t.Context()
	first := mustCreate(t, table, "a", "one")
	if _, err := table.Create(ctx, "a", nil); !errors.Is(err, ErrExists) {
		t.Errorf("Create of an existing key: %v", err)
	}
	second := mustUpdate(t, table, "a", "two", first)
	if second <= first {
		t.Errorf("revisions do not grow: %d then %d", first, second)
	}
	if _, err := table.Update(ctx, "a", []byte("three"), first); !errors.Is(err, ErrConflict) {
		t.Errorf("Update with an old revision: %v", err)
	}
	if _, err := table.Update(ctx, "b", nil, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("Update of a missing key: %v", err)
	}
	if err := table.Delete(ctx, "a", first); !errors.Is(err, ErrConflict) {
		t.Errorf("Delete with an old revision: %v", err)
	}
	if e, err := table.Get("a"); err != nil || string(e.Value) != "two" || e.Revision != second || e.Key != "a" {
		t.Errorf("Get: %+v, %v", e, err)
	}
	if err := table.Delete(ctx, "a", second); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Get("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get after Delete: %v", err)
	}
	if err := table.Delete(ctx, "a", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("Delete of a deleted key: %v", err)
	}
	third := mustCreate(t, table, "a", "again")
	if third <= second {
		t.Errorf("the revision after a deletion is %d, before it %d", third, second)
	}
	if err := table.Delete(ctx, "a", 0); err != nil {
		t.Errorf("Delete of any revision: %v", err)
	}
}

// TestRacingWriters has many goroutines add to one counter by compare-and-set, and
// checks that no step is lost: the conflicts are JetStream's, not memory's.
func TestRacingWriters(t *testing.T) {
	h := newHouse(t)
	table := h.table(t, "counters")
	mustCreate(t, table, "n", "0")
	const writers, steps = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < steps; {
				e, err := table.Get("n")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				if _, err := fmt.Sscan(string(e.Value), &n); err != nil {
					t.Error(err)
					return
				}
				_, err = table.Update(t.Context(), "n", fmt.Appendf(nil, "%d", n+1), e.Revision)
				if err == nil {
					done++
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := content(table)["n"]; got != fmt.Sprint(writers*steps) {
		t.Errorf("the counter is %s, want %d", got, writers*steps)
	}
}

func TestRacingCreatesHaveOneWinner(t *testing.T) {
	h := newHouse(t)
	table := h.table(t, "t")
	var wg sync.WaitGroup
	won := make(chan int, 8)
	for i := range cap(won) {
		wg.Go(func() {
			_, err := table.Create(t.Context(), "k", fmt.Appendf(nil, "%d", i))
			if err == nil {
				won <- i
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d creates won", len(won))
	}
	if got, want := content(table)["k"], fmt.Sprint(<-won); got != want {
		t.Errorf("the value is %s, the winner wrote %s", got, want)
	}
}

func TestEverythingIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	a, b := h.table(t, "streams"), h.table(t, "mappings")
	for i := range 20 {
		mustCreate(t, a, fmt.Sprintf("s%d", i), fmt.Sprintf("value %d", i))
	}
	r := mustCreate(t, b, "s1", "another table, the same key")
	mustUpdate(t, b, "s1", "updated", r)
	mustDelete(t, a, "s7")
	mustDelete(t, a, "s8")
	mustCreate(t, a, "s8", "back")
	wantA, wantB := a.List(), b.List()
	h.close(t)
	for range 3 {
		h = openHouse(t, dir)
		wantNoAlarms(t, h.catalog)
		if got := h.table(t, "streams").List(); fmt.Sprint(got) != fmt.Sprint(wantA) {
			t.Errorf("streams: %v, want %v", got, wantA)
		}
		if got := h.table(t, "mappings").List(); fmt.Sprint(got) != fmt.Sprint(wantB) {
			t.Errorf("mappings: %v, want %v", got, wantB)
		}
		h.close(t)
	}
}

// TestDeletedStaysDeleted reopens a catalog in which everything was deleted: nothing is
// back, nothing is taken for damage, and revisions still grow.
func TestDeletedStaysDeleted(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	table := h.table(t, "t")
	for i := range 5 {
		mustCreate(t, table, fmt.Sprint(i), "x")
	}
	for i := range 5 {
		mustDelete(t, table, fmt.Sprint(i))
	}
	h.close(t)
	for range 3 {
		h = openHouse(t, dir)
		wantNoAlarms(t, h.catalog)
		if got := content(h.table(t, "t")); len(got) != 0 {
			t.Errorf("the table holds %v", got)
		}
		h.close(t)
	}
	h = openHouse(t, dir)
	defer h.close(t)
	if r := mustCreate(t, h.table(t, "t"), "0", "again"); r != 11 {
		t.Errorf("the revision after ten changes is %d", r)
	}
}

// TestStreamMadeAnewKeepsWorking makes the stream anew as Open does when it is crowded
// with markers, with entries and without, and goes on after reopening.
func TestStreamMadeAnewKeepsWorking(t *testing.T) {
	for _, entries := range []int{0, 3} {
		dir := t.TempDir()
		h := openHouse(t, dir)
		for i := range entries {
			mustCreate(t, h.table(t, "t"), fmt.Sprint(i), "x")
		}
		mustCreate(t, h.table(t, "t"), "gone", "x")
		mustDelete(t, h.table(t, "t"), "gone")
		h.close(t)
		b, err := broker.Open(t.Context(), broker.Options{Dir: natsDir(dir), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		save, err := readSaved(catalogDir(dir))
		if err != nil {
			t.Fatal(err)
		}
		_, live, err := restore(t.Context(), b.JetStream(), save.live, save.last+1)
		if err != nil {
			t.Fatal(err)
		}
		snap := newSnapshot(catalogDir(dir), live, save.last+uint64(len(live)))
		if err := snap.rewrite(); err != nil {
			t.Fatal(err)
		}
		snap.abandon()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			h = openHouse(t, dir)
			wantNoAlarms(t, h.catalog)
			mustCreate(t, h.table(t, "t"), fmt.Sprintf("new %d", n), "x")
			if got := len(h.table(t, "t").List()); got != entries+n+1 {
				t.Errorf("%d entries, want %d", got, entries+n+1)
			}
			h.close(t)
		}
	}
}

func TestAnyKey(t *testing.T) {
	dir := t.TempDir()
	keys := []string{
		".", "..", "a.b", "a b", "*", ">", "=", "=2E", "$JS", "é", "日本語", "a/b", "\x00", "\n", "A", "a",
		strings.Repeat("k", MaxKeyBytes), strings.Repeat("é", MaxKeyBytes/2),
	}
	h := openHouse(t, dir)
	for _, k := range keys {
		mustCreate(t, h.table(t, "t"), k, "value of "+k)
	}
	h.close(t)
	h = openHouse(t, dir)
	defer h.close(t)
	wantNoAlarms(t, h.catalog)
	for _, k := range keys {
		if e, err := h.table(t, "t").Get(k); err != nil || string(e.Value) != "value of "+k {
			t.Errorf("%q: %q, %v", k, e.Value, err)
		}
	}
}

func TestLimits(t *testing.T) {
	h := newHouse(t)
	table := h.table(t, "t")
	for _, key := range []string{"", strings.Repeat("k", MaxKeyBytes+1), "\xff"} {
		if _, err := table.Create(t.Context(), key, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("key of %d bytes: %v", len(key), err)
		}
	}
	if _, err := table.Create(t.Context(), "big", make([]byte, MaxValueBytes+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a value over the limit: %v", err)
	}
	r, err := table.Create(t.Context(), "big", make([]byte, MaxValueBytes))
	if err != nil {
		t.Errorf("a value at the limit: %v", err)
	}
	if _, err := table.Update(t.Context(), "big", make([]byte, MaxValueBytes+1), r); !errors.Is(err, ErrInvalid) {
		t.Errorf("an update over the limit: %v", err)
	}
	for _, name := range []string{"", "A", "1a", "a.b", "-a", "a b", strings.Repeat("a", MaxNameBytes+1)} {
		if _, err := h.catalog.Table(t.Context(), name); !errors.Is(err, ErrInvalid) {
			t.Errorf("table %q: %v", name, err)
		}
		if _, err := h.catalog.Blobs(t.Context(), name); !errors.Is(err, ErrInvalid) {
			t.Errorf("bucket %q: %v", name, err)
		}
	}
	if got := len(table.List()); got != 1 {
		t.Errorf("%d entries after refused writes, want 1", got)
	}
}

func TestSameTableForAName(t *testing.T) {
	h := newHouse(t)
	a, again, b := h.table(t, "a"), h.table(t, "a"), h.table(t, "b")
	if a != again || a == b {
		t.Error("tables and names do not go together")
	}
	if a.Name() != "a" {
		t.Error("a table does not know its name")
	}
}

// TestEntriesAreCopies checks that a caller who writes into a value does not write into
// the catalog.
func TestEntriesAreCopies(t *testing.T) {
	h := newHouse(t)
	table := h.table(t, "t")
	value := []byte("value")
	if _, err := table.Create(t.Context(), "k", value); err != nil {
		t.Fatal(err)
	}
	value[0] = 'X'
	e, _ := table.Get("k")
	e.Value[1] = 'X'
	table.List()[0].Value[2] = 'X'
	if got := content(table)["k"]; got != "value" {
		t.Errorf("the value became %q", got)
	}
}

func TestClosed(t *testing.T) {
	h := newHouse(t)
	table := h.table(t, "t")
	blobs, err := h.catalog.Blobs(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	r := mustCreate(t, table, "k", "v")
	if err := h.catalog.Close(); err != nil {
		t.Fatal(err)
	}
	_, create := table.Create(t.Context(), "l", nil)
	_, update := table.Update(t.Context(), "k", nil, r)
	_, again := h.catalog.Table(t.Context(), "t")
	_, bucket := h.catalog.Blobs(t.Context(), "b")
	_, put := blobs.Put(t.Context(), []byte("x"))
	for name, err := range map[string]error{
		"Create": create, "Update": update, "Delete": table.Delete(t.Context(), "k", 0),
		"Table": again, "Blobs": bucket, "Put": put,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if _, ok := <-table.Watch(t.Context()); ok {
		t.Error("Watch after Close gives a change")
	}
	if got := content(table)["k"]; got != "v" {
		t.Errorf("memory after Close: %q", got)
	}
}

// TestCloseWaitsForWriters closes while writers write: each write is either
// acknowledged and there after reopening, or refused.
func TestCloseWaitsForWriters(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	table := h.table(t, "t")
	var mu sync.Mutex
	var acked []string
	var wg sync.WaitGroup
	started := make(chan struct{})
	var once sync.Once
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d", w, i)
				_, err := table.Create(t.Context(), key, []byte(key))
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				acked = append(acked, key)
				mu.Unlock()
				once.Do(func() { close(started) })
			}
		})
	}
	<-started
	if err := h.catalog.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	h.close(t)
	h = openHouse(t, dir)
	defer h.close(t)
	wantNoAlarms(t, h.catalog)
	if got := len(h.table(t, "t").List()); got != len(acked) {
		t.Errorf("%d entries, %d acknowledged", got, len(acked))
	}
}

func TestOpenRefusesBadOptions(t *testing.T) {
	if _, err := Open(t.Context(), Options{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("no options: %v", err)
	}
	b, err := broker.Open(t.Context(), broker.Options{Dir: t.TempDir(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{JetStream: b.JetStream(), Dir: t.TempDir(), Logger: quiet}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{JetStream: b.JetStream(), Dir: file, Logger: quiet}); err == nil {
		t.Error("a directory that is a file is accepted")
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	dir := t.TempDir()
	h, err := tryHouse(t, dir, Options{Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, h.table(t, "streams"), "a", "v")
	if n, err := testutil.GatherAndCount(reg, "shardmill_catalog_write_seconds", "shardmill_catalog_snapshot_commit_seconds"); err != nil || n != 2 {
		t.Errorf("%d series of timings, %v", n, err)
	}
	want := `
# HELP shardmill_catalog_entries Entries in a table.
# TYPE shardmill_catalog_entries gauge
shardmill_catalog_entries{table="streams"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "shardmill_catalog_entries"); err != nil {
		t.Error(err)
	}
	if _, err := Open(t.Context(), Options{JetStream: h.broker.JetStream(), Dir: catalogDir(dir), Logger: quiet, Registerer: reg}); err == nil {
		t.Error("two catalogs share a registry")
	}
	h.close(t)
	damageSnapshot(t, dir, 10)
	reg = prometheus.NewPedanticRegistry()
	if h, err = tryHouse(t, dir, Options{Registerer: reg}); err != nil {
		t.Fatal(err)
	}
	defer h.close(t)
	if got := testutil.ToFloat64(h.catalog.metrics.alarms.WithLabelValues(string(AlarmSnapshotDamaged))); got != 1 {
		t.Errorf("the alarm's counter is %v", got)
	}
}
