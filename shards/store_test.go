package shards

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
)

// rig is a store on in-memory logs and an in-memory table, which outlive it.
type rig struct {
	*Store
	options Options
	table   *memTable
	disk    *memDisk
	logged  *bytes.Buffer
	logs    openLog // nil: disk.open
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{table: new(memTable), disk: &memDisk{perSegment: 3}, logged: new(bytes.Buffer)}
	r.options = Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(r.logged, nil))}
	r.open(t)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) open(t testing.TB) {
	t.Helper()
	logs := r.logs
	if logs == nil {
		logs = r.disk.open
	}
	s, err := openStore(context.Background(), r.options, r.table, logs, false)
	if err != nil {
		t.Fatal(err)
	}
	r.Store = s
}

func (r *rig) reopen(t testing.TB) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(t)
}

// create makes a stream and returns its handle.
func (r *rig) create(t testing.TB, c Config) *Stream {
	t.Helper()
	if _, created, err := r.Create(context.Background(), c); err != nil || !created {
		t.Fatalf("create %q: %v, %v", c.Name, created, err)
	}
	return r.stream(t, c.Name)
}

func (r *rig) stream(t testing.TB, name string) *Stream {
	t.Helper()
	st, err := r.Stream(name)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// memLog is the log under a stream.
func (r *rig) memLog(t testing.TB, st *Stream) *memLog {
	t.Helper()
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	return r.disk.logs[r.folder(st.ID())]
}

// put puts records with the given keys, which are their data too.
func put(t testing.TB, st *Stream, keys ...string) []Result {
	t.Helper()
	var records []record.Record
	for _, key := range keys {
		records = append(records, record.Record{Key: []byte(key), Data: []byte(key)})
	}
	results, err := st.Put(context.Background(), records, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("record %d: %v", i, r.Err)
		}
	}
	return results
}

func TestCreateDescribeList(t *testing.T) {
	r := newRig(t)
	before := time.Now().Add(-time.Millisecond)
	d, created, err := r.Create(t.Context(), Config{Name: "b", Shards: 2, Retention: 2 * time.Hour, MaxRecordBytes: 2048})
	if err != nil || !created {
		t.Fatalf("%v, %v", created, err)
	}
	if _, err := ulid.ParseStrict(d.ID); err != nil {
		t.Errorf("ID %q: %v", d.ID, err)
	}
	if d.Created.Before(before) || d.Created.After(time.Now()) || d.Created.Location() != time.UTC {
		t.Errorf("created %v", d.Created)
	}
	half := Hash{1 << 63, 0}
	want := Description{
		Name: "b", ID: d.ID, Created: d.Created, Retention: 2 * time.Hour, MaxRecordBytes: 2048, Status: StatusActive,
		Shards: []ShardDescription{
			{ID: 0, Epoch: 1, State: ShardOpen, EndHash: half.previous(), Created: d.Created, Oldest: seq(1, 1), Next: seq(1, 1)},
			{ID: 1, Epoch: 1, State: ShardOpen, StartHash: half, EndHash: MaxHash, Created: d.Created, Oldest: seq(1, 1), Next: seq(1, 1)},
		},
	}
	check := func(got Description, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	check(d, nil)
	check(r.Describe(t.Context(), "b"))
	r.create(t, Config{Name: "a"})
	names := func() (names []string) {
		for _, d := range r.List() {
			names = append(names, d.Name)
		}
		return names
	}
	if got := names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("listed %q", got)
	}

	results := put(t, r.stream(t, "b"), "k", "k", "k")
	at := results[0].Shard
	want.Shards[at].Next += 3
	got, err := r.Describe(t.Context(), "b")
	if last := got.Shards[at].LastArrival; last.Before(before) || last.After(time.Now()) {
		t.Errorf("last arrival %v", last)
	}
	want.Shards[at].LastArrival = got.Shards[at].LastArrival
	check(got, err)
	r.reopen(t)
	check(r.Describe(t.Context(), "b")) // the last arrival comes from the log now
	if got := names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("listed %q after a restart", got)
	}
}

func TestCreateAgain(t *testing.T) {
	r := newRig(t)
	c := Config{Name: "s", Shards: 3}
	r.create(t, c)
	first, _ := r.Describe(t.Context(), "s")
	for _, same := range []Config{c, {Name: "s", Shards: 3, Retention: DefaultRetention, MaxRecordBytes: DefaultMaxRecordBytes}} {
		d, created, err := r.Create(t.Context(), same)
		if diff := cmp.Diff(first, d); created || err != nil || diff != "" {
			t.Errorf("%v %v %s", created, err, diff)
		}
	}
	for _, other := range []Config{
		{Name: "s"}, {Name: "s", Shards: 3, Retention: time.Hour}, {Name: "s", Shards: 3, MaxRecordBytes: 5000},
	} {
		if _, created, err := r.Create(t.Context(), other); !errors.Is(err, ErrExists) || created {
			t.Errorf("%+v: %v, %v", other, created, err)
		} else if !strings.Contains(err.Error(), "3 shards") {
			t.Errorf("the error does not name the shape: %v", err)
		}
	}
	_, _, err := r.Create(t.Context(), Config{Name: "bad name"})
	checkField(t, err, "name")
	if n := len(r.List()); n != 1 {
		t.Errorf("%d streams", n)
	}
}

func TestConcurrentCreateMakesOne(t *testing.T) {
	r := newRig(t)
	var made int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, created, err := r.Create(context.Background(), Config{Name: "s"})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if created {
				made++
			}
		})
	}
	wg.Wait()
	entries, err := os.ReadDir(r.dir)
	if made != 1 || len(entries) != 1 || err != nil {
		t.Errorf("created %d times, %d folders, %v", made, len(entries), err)
	}
}

func TestDelete(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s"})
	put(t, st, "k")
	reader, err := st.Reader(0, Start{Kind: Newest})
	if err != nil {
		t.Fatal(err)
	}
	blocked := make(chan error)
	go func() {
		_, err := reader.Next(context.Background())
		blocked <- err
	}()
	if err := r.Delete(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if err := <-blocked; !errors.Is(err, ErrNotFound) {
		t.Errorf("the blocked reader got %v", err)
	}
	again := r.create(t, Config{Name: "s"})
	_, saveErr := st.SaveCheckpoint(t.Context(), Checkpoint{Consumer: "c"})
	_, putErr := st.Put(t.Context(), []record.Record{{Key: []byte("k")}}, nil)
	_, runErr := st.PutRun(t.Context(), runOf(t, "x"), nil)
	_, readErr := reader.Next(t.Context())
	_, readerErr := st.Reader(0, Start{})
	_, damageErr := st.Damage()
	_, acceptErr := st.AcceptDamage(t.Context(), 0)
	_, routeErr := st.ShardOf([]byte("k"))
	_, describeErr := r.Describe(t.Context(), "gone")
	for what, err := range map[string]error{
		"SaveCheckpoint": saveErr, "Put": putErr, "PutRun": runErr, "Next": readErr, "Reader": readerErr, "Damage": damageErr,
		"AcceptDamage": acceptErr, "ShardOf": routeErr, "Scrub": st.Scrub(t.Context()), "Describe": describeErr,
		"DeleteCheckpoints": st.DeleteCheckpoints(t.Context(), "c"), "Delete": r.Delete(t.Context(), "gone"),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, ok := st.Checkpoint("c", 0); ok || reader.Behind() != 0 {
		t.Error("a deleted stream has a checkpoint or a reader behind")
	}
	if _, err := os.Stat(r.folder(st.ID())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files are still there: %v", err)
	}
	if st.ID() == again.ID() {
		t.Error("the new stream has the old one's ID")
	}
	if got := put(t, again, "k")[0].Sequence; got != seq(1, 1) {
		t.Errorf("the new stream begins at %d", got)
	}
}

func TestDeleteUnderLoad(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s", Shards: 4})
	var wg sync.WaitGroup
	running := make(chan struct{}, 16)
	for i := range 8 {
		wg.Go(func() {
			for {
				_, err := st.Put(context.Background(), []record.Record{{Key: []byte{byte('a' + i)}}}, nil)
				if err != nil {
					if !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
					return
				}
				select {
				case running <- struct{}{}:
				default:
				}
			}
		})
	}
	for range cap(running) {
		<-running
	}
	if err := r.Delete(t.Context(), "s"); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestStoreClose(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s"})
	reader, err := st.Reader(0, Start{})
	if err != nil {
		t.Fatal(err)
	}
	blocked := make(chan error)
	go func() {
		_, err := reader.Next(context.Background())
		blocked <- err
	}()
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, _, createErr := r.Create(t.Context(), Config{Name: "t"})
	_, putErr := st.Put(t.Context(), []record.Record{{Key: []byte("k")}}, nil)
	_, streamErr := r.Stream("unknown")
	for what, err := range map[string]error{
		"Next": <-blocked, "Create": createErr, "Put": putErr, "Delete": r.Delete(t.Context(), "s"), "Stream": streamErr,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

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

// crashes ends the process, as far as the store can tell, after a number of steps: from then on nothing it
// does has an effect.
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

// TestCrashDuringCreate crashes after every step of a creation and looks at what the next start makes of it.
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

// TestCrashDuringDelete leaves the files of a deleted stream behind.
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

// checkConsistent wants every stream to be active and whole, and every folder to be a stream's.
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

// TestCreateTakesBack fails the steps of a creation one by one, on a host that goes on.
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

func TestMetrics(t *testing.T) {
	r := newRig(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	r.options.Registerer = registry
	r.open(t)
	st := r.create(t, Config{Name: "s", Shards: 4})
	r.create(t, Config{Name: "t"})
	put(t, st, "a", "a", "a")
	reader, err := st.Reader(put(t, st, "a")[0].Shard, Start{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.memLog(t, st).appendErr = errDisk
	if _, err := st.Put(t.Context(), []record.Record{{Key: []byte("k")}}, nil); !errors.Is(err, errDisk) {
		t.Errorf("put: %v", err)
	}
	size := (&record.Record{Key: []byte("a"), Data: []byte("a")}).Size()
	for name, want := range map[string]float64{
		"shardmill_stream_records_in_total": 4, "shardmill_stream_bytes_in_total": float64(4 * size),
		"shardmill_stream_records_out_total": 3, "shardmill_stream_bytes_out_total": float64(3 * size),
		"shardmill_stream_put_failures_total": 1, "shardmill_streams": 2, "shardmill_shards": 5,
	} {
		if got := metric(t, registry, name, "s"); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if n, err := testutil.GatherAndCount(registry, "shardmill_stream_put_duration_seconds"); n != 1 || err != nil {
		t.Errorf("%d put durations, %v", n, err)
	}
	if err := r.Delete(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry, "shardmill_stream_records_in_total"); n != 1 || err != nil {
		t.Errorf("%d streams counted after one of two was deleted, %v", n, err)
	}
	r.reopen(t) // on the same registry
}

// metric is the value of a counter or gauge, of one stream if it has that label.
func metric(t *testing.T, g prometheus.Gatherer, name, stream string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == stream) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}
