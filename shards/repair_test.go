package shards

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
)

func TestFailedStreamLeavesTheOthers(t *testing.T) {
	r := newRig(t)
	lost := r.create(t, Config{Name: "lost"})
	r.create(t, Config{Name: "fine"})
	if _, err := r.table.Create(t.Context(), "garbled", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(r.folder(lost.ID())); err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(r.dir, ulid.Make().String())
	if err := os.Mkdir(orphan, 0o755); err != nil {
		t.Fatal(err)
	}
	r.open(t)
	put(t, r.stream(t, "fine"), "k")
	for _, name := range []string{"lost", "garbled"} {
		d, err := r.Describe(t.Context(), name)
		if err != nil || d.Status != StatusFailed || d.Reason == "" || d.Name != name {
			t.Errorf("%s is described as %+v, %v", name, d, err)
		}
		if _, err := r.stream(t, name).Put(t.Context(), []record.Record{{Key: []byte("k")}}, nil); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: put: %v", name, err)
		}
	}
	if len(r.List()) != 3 || len(r.Damage()) != 0 {
		t.Errorf("%d streams, damage %v", len(r.List()), r.Damage())
	}
	if _, err := os.Stat(orphan); err != nil {
		t.Errorf("a folder was removed although a definition cannot be read: %v", err)
	}
	for _, name := range []string{"lost", "garbled"} {
		if err := r.Delete(t.Context(), name); err != nil {
			t.Errorf("delete %s: %v", name, err)
		}
	}
	r.reopen(t)
	if len(r.List()) != 1 {
		t.Errorf("%d streams at the end", len(r.List()))
	}
	if _, err := os.Stat(orphan); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the orphan is still there: %v", err)
	}
}

func TestSweep(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s"})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	orphan := ulid.Make().String()
	for _, name := range []string{orphan, "not-ours", keptPrefix + orphan} {
		if err := os.Mkdir(filepath.Join(r.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.open(t)
	there := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(r.dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, names); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	}
	there(st.ID(), "not-ours", keptPrefix+orphan)
	if log := r.logged.String(); !strings.Contains(log, orphan) || !strings.Contains(log, "not-ours") {
		t.Errorf("not logged: %s", log)
	}

	// With an alarm of the catalog, nothing is removed.
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	maybe := ulid.Make().String()
	if err := os.Mkdir(filepath.Join(r.dir, maybe), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := openStore(t.Context(), r.options, r.table, r.disk.open, true)
	if err != nil {
		t.Fatal(err)
	}
	r.Store = s
	there(st.ID(), "not-ours", keptPrefix+orphan, keptPrefix+maybe)
}

type crashes struct {
	*memTable
	disk  *memDisk
	steps int
}

var errCrashed = errors.New("crashed")

func (c *crashes) step() error {
	if c.steps--; c.steps < 0 {
		return errCrashed
	}
	return nil
}

func (c *crashes) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	if err := c.step(); err != nil {
		return 0, err
	}
	return c.memTable.Create(ctx, key, value)
}

func (c *crashes) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if err := c.step(); err != nil {
		return 0, err
	}
	return c.memTable.Update(ctx, key, value, revision)
}

func (c *crashes) Delete(ctx context.Context, key string, revision uint64) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.memTable.Delete(ctx, key, revision)
}

func (c *crashes) open(ctx context.Context, dir string, d *definition) (Log, error) {
	if err := c.step(); err != nil {
		return nil, err
	}
	return c.disk.open(ctx, dir, d)
}

func TestCrashDuringCreate(t *testing.T) {
	for steps := range 4 {
		r := newRig(t)
		r.create(t, Config{Name: "before"})
		put(t, r.stream(t, "before"), "k")
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		c := &crashes{memTable: r.table, disk: r.disk, steps: 1 + steps} // one step opens the stream before
		s, err := openStore(t.Context(), r.options, c, c.open, false)
		if err != nil {
			t.Fatal(err)
		}
		_, created, err := s.Create(t.Context(), Config{Name: "s", Shards: 2})
		if complete := steps >= 3; created != complete || (err == nil) != complete {
			t.Errorf("after %d steps: %v, %v", steps, created, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		r.open(t)
		checkConsistent(t, r)
		if _, _, err := r.Create(t.Context(), Config{Name: "s", Shards: 2}); err != nil {
			t.Errorf("after %d steps, creation again: %v", steps, err)
		}
		put(t, r.stream(t, "s"), "k")
		if got := put(t, r.stream(t, "before"), "k")[0].Sequence; got != seq(1, 2) {
			t.Errorf("the stream before goes on at %d", got)
		}
	}
}

func TestCrashDuringDelete(t *testing.T) {
	r := newRig(t)
	r.create(t, Config{Name: "s"})
	if err := r.table.Delete(t.Context(), "s", 0); err != nil {
		t.Fatal(err)
	}
	r.reopen(t)
	checkConsistent(t, r)
	if len(r.List()) != 0 {
		t.Errorf("it is back: %v", r.List())
	}
}

func checkConsistent(t *testing.T, r *rig) {
	t.Helper()
	named := make(map[string]bool)
	for _, d := range r.List() {
		named[d.ID] = true
		if d.Status != StatusActive {
			t.Errorf("%s is %s: %s", d.Name, d.Status, d.Reason)
		}
		if _, err := os.Stat(r.folder(d.ID)); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
	for _, e := range r.table.List() {
		if def, err := decodeDefinition(e.Key, e.Value); err != nil || def.State != stateActive {
			t.Errorf("definition of %s is %s, %v", e.Key, def.State, err)
		}
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if !named[e.Name()] {
			t.Errorf("folder %s belongs to no stream", e.Name())
		}
	}
}

func TestCreateTakesBack(t *testing.T) {
	r := newRig(t)
	r.openLog = func(context.Context, string, *definition) (Log, error) { return nil, errDisk }
	if _, created, err := r.Create(t.Context(), Config{Name: "s"}); !errors.Is(err, errDisk) || created {
		t.Fatalf("%v, %v", created, err)
	}
	checkConsistent(t, r)
	if _, err := r.Stream("s"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a stream that was not created: %v", err)
	}
	r.openLog = r.disk.open
	if _, err := r.table.Create(t.Context(), "elsewhere", testDefinitionOf("elsewhere")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Create(t.Context(), Config{Name: "elsewhere"}); !errors.Is(err, ErrExists) || !errors.Is(err, catalog.ErrExists) {
		t.Errorf("created over another's definition: %v", err)
	}
	r.create(t, Config{Name: "s"})
}

func testDefinitionOf(name string) []byte {
	d := newDefinition(Config{Name: name, Shards: 1, Retention: DefaultRetention, MaxRecordBytes: DefaultMaxRecordBytes}, testNow)
	return d.encode()
}

func TestOpenEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	r.create(t, Config{Name: "s"})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := openStore(ctx, r.options, r.table, r.disk.open, false); !errors.Is(err, context.Canceled) {
		t.Errorf("opened: %v", err)
	}
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Error("opened without a directory and a catalog")
	}
}

// TestDeleteThatFails leaves the stream as it was.
func TestDeleteThatFails(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s"})
	r.defs = &crashes{memTable: r.table}
	if err := r.Delete(t.Context(), "s"); !errors.Is(err, errCrashed) {
		t.Errorf("deleted: %v", err)
	}
	put(t, st, "k")
	r.defs = r.table
	if err := r.table.Delete(t.Context(), "s", 0); err != nil { // it had happened, and the answer was lost
		t.Fatal(err)
	}
	if err := r.Delete(t.Context(), "s"); err != nil {
		t.Error(err)
	}
	checkConsistent(t, r)
}

func TestMayHaveForgotten(t *testing.T) {
	for kind, want := range map[catalog.AlarmKind]bool{
		catalog.AlarmDamageAccepted: true, catalog.AlarmJetStreamRestored: true, catalog.AlarmSnapshotDamaged: true,
		catalog.AlarmBlobRestored: false, catalog.AlarmBlobLost: false,
	} {
		if got := mayHaveForgotten([]catalog.Alarm{{Kind: catalog.AlarmBlobLost}, {Kind: kind}}); got != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
	if mayHaveForgotten(nil) {
		t.Error("forgotten without an alarm")
	}
}
