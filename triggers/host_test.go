package triggers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/internal/broker"
	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// host is all that a host runs below its API: the real parts, on a real disk.
type host struct {
	*Triggers
	tb      testing.TB
	dir     string
	options Options // what is not about the parts
	metrics *prometheus.Registry

	broker  *broker.Broker
	catalog *catalog.Catalog
	store   *shards.Store
	runtime *runtime.Runtime
}

func newHost(tb testing.TB, o Options) *host {
	tb.Helper()
	h := &host{tb: tb, dir: tb.TempDir(), options: o}
	h.start()
	tb.Cleanup(h.stop)
	return h
}

func (h *host) check(err error) {
	h.tb.Helper()
	if err != nil {
		h.tb.Fatal(err)
	}
}

func (h *host) start() {
	h.tb.Helper()
	ctx := context.Background()
	var err error
	h.broker, err = broker.Open(ctx, broker.Options{Dir: filepath.Join(h.dir, "nats")})
	h.check(err)
	h.catalog, err = catalog.Open(ctx, catalog.Options{JetStream: h.broker.JetStream(), Dir: filepath.Join(h.dir, "catalog")})
	h.check(err)
	h.metrics = prometheus.NewRegistry()
	h.store, err = shards.Open(ctx, shards.Options{Dir: filepath.Join(h.dir, "streams"), Catalog: h.catalog, Registerer: h.metrics})
	h.check(err)
	functions, err := h.catalog.Table(ctx, "functions")
	h.check(err)
	code, err := h.catalog.Blobs(ctx, "code")
	h.check(err)
	h.runtime, err = runtime.Open(ctx, runtime.Options{Functions: functions, Code: code, Emitter: h, CacheDir: filepath.Join(h.dir, "cache")})
	h.check(err)
	o := h.options
	o.Streams, o.Functions, o.Leftovers = FromStore(h.store), h.runtime, h.store
	o.Definitions, err = h.catalog.Table(ctx, "mappings")
	h.check(err)
	h.Triggers, err = Open(ctx, o)
	h.check(err)
}

func (h *host) stop() {
	h.tb.Helper()
	ctx := context.Background()
	h.check(h.Close(ctx))
	h.check(h.runtime.Close(ctx))
	h.check(h.store.Close())
	h.check(h.catalog.Close())
	h.check(h.broker.Close())
}

// Emit makes the host its runtime's Emitter.
func (h *host) Emit(ctx context.Context, e runtime.Emission) error {
	out, err := h.store.Stream(e.Stream)
	if err == nil {
		_, err = out.PutRun(ctx, e.Records, nil)
	}
	return err
}

func (h *host) create(name string, shardCount int) *shards.Stream {
	h.tb.Helper()
	_, _, err := h.store.Create(context.Background(), shards.Config{Name: name, Shards: shardCount})
	h.check(err)
	st, err := h.store.Stream(name)
	h.check(err)
	return st
}

func (h *host) deploy(name string) {
	h.tb.Helper()
	_, err := h.runtime.Deploy(context.Background(), name, echoModule(h.tb), runtime.Config{Emit: []string{"out"}, Timeout: time.Second})
	h.check(err)
}

// put stores records that have their number as partition key.
func (h *host) put(st *shards.Stream, first int, data ...string) {
	h.tb.Helper()
	var list []record.Record
	for i, d := range data {
		list = append(list, record.Record{Key: fmt.Append(nil, first+i), Data: []byte(d)})
	}
	results, err := st.Put(context.Background(), list, nil)
	h.check(err)
	for _, r := range results {
		h.check(r.Err)
	}
}

// wait returns the mapping's status once done says so.
func (h *host) wait(mapping string, done func(Status) bool) Status {
	h.tb.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := h.Get(mapping)
		h.check(err)
		if done(s) {
			return s
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			h.tb.Fatalf("waited in vain; the status is %+v", s)
		}
	}
}

// atTip says that everything put is settled or given up, and saved.
func (h *host) atTip(s Status) bool {
	h.tb.Helper()
	d, err := h.store.Describe(context.Background(), s.Stream)
	h.check(err)
	for i, shard := range s.Shards {
		if next := d.Shards[i].Next; record.Counter(next) > 1 && shard.Checkpoint != next-1 {
			return false
		}
	}
	return true
}

// emitted counts the records of the stream "out" by their data.
func (h *host) emitted() map[string]int {
	h.tb.Helper()
	out, err := h.store.Stream("out")
	h.check(err)
	counts := map[string]int{}
	for _, shard := range out.Shards() {
		r, err := out.Reader(shard, shards.Start{})
		h.check(err)
		for {
			run, err := r.Next(atHand)
			if err != nil {
				break
			}
			for rec := range run.All() {
				counts[string(rec.Data)]++
			}
		}
	}
	return counts
}

var buildEcho = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "echo")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "echo.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, "./testdata/echo")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testdata/echo: %w\n%s", err, text)
	}
	return os.ReadFile(out)
})

func echoModule(tb testing.TB) []byte {
	tb.Helper()
	code, err := buildEcho()
	if err != nil {
		tb.Fatal(err)
	}
	return code
}

// TestHost has one host for all its parts, because compiling the function is what takes long.
func TestHost(t *testing.T) {
	h := newHost(t, Options{RetryBase: time.Millisecond, RetryMax: 10 * time.Millisecond})
	h.deploy("echo")
	for name, test := range map[string]func(*testing.T, *host){
		"handles every record":                     testHandlesEveryRecord,
		"gives up what the function cannot handle": testGivesUpWhatTheFunctionCannotHandle,
		"survives deletions":                       testSurvivesDeletions,
		"waits for damage to be accepted":          testWaitsForDamageToBeAccepted,
		"reads the log once":                       testReadsTheLogOnce,
		"reads the log once from its beginning":    testReadsTheLogOnceFromItsBeginning,
		"compares a shadow":                        testComparesAShadow,
	} {
		t.Run(name, func(t *testing.T) {
			defer func(tb testing.TB) { h.tb = tb }(h.tb)
			h.tb = t
			h.create("out", 2)
			test(t, h)
			for _, s := range h.List() {
				h.check(h.Delete(t.Context(), s.Name))
			}
			for _, d := range h.store.List() {
				h.check(h.store.Delete(t.Context(), d.Name))
			}
		})
	}
}

// Ten mappings on one shard, with settings of all kinds, have its records from the journal's memory: none is read from the disk.
func testReadsTheLogOnce(t *testing.T, h *host) {
	in := h.create("in", 1)
	before := h.counter("shardmill_journal_disk_reads_total")
	for i := range 10 {
		m := Mapping{Name: fmt.Sprint("m", i), Stream: "in", Function: "echo", BatchSize: 1 + 37*i, Parallelization: 1 + i%3}
		if i%4 == 1 {
			m.Filters = []string{`{"partitionKey": [{"suffix": "7"}]}`}
		}
		_, _, err := h.Put(t.Context(), m)
		h.check(err)
	}
	const n = 2000
	for i := 0; i < n; i += 100 {
		h.put(in, i, slices.Repeat([]string{"drop"}, 100)...)
	}
	for i := range 10 {
		s := h.wait(fmt.Sprint("m", i), h.atTip)
		if c := s.Counts(); c.Polled != n || c.Settled+c.Filtered != n {
			t.Errorf("mapping %d: %+v", i, c)
		}
	}
	if reads := h.counter("shardmill_journal_disk_reads_total") - before; reads != 0 {
		t.Errorf("%v reads of the disk for ten mappings at the tail", reads)
	}
	if hits := h.counter("shardmill_journal_cached_reads_total"); hits < 10*n/100 {
		t.Errorf("%v batches from memory", hits)
	}
}

// Ten mappings that begin at the oldest record of a log that is in no memory read the disk as often as one.
func testReadsTheLogOnceFromItsBeginning(t *testing.T, h *host) {
	in := h.create("in", 1)
	const n, size = 2000, 1000
	for i := 0; i < n; i += 100 {
		h.put(in, i, slices.Repeat([]string{"drop" + strings.Repeat(" ", size)}, 100)...)
	}
	h.stop()
	h.start()
	for i := range 10 {
		_, _, err := h.Put(t.Context(), Mapping{Name: fmt.Sprint("m", i), Stream: "in", Function: "echo", BatchSize: 10 + 37*i, Parallelization: 1 + i%3})
		h.check(err)
	}
	for i := range 10 {
		s := h.wait(fmt.Sprint("m", i), h.atTip)
		if c := s.Counts(); c.Settled != n {
			t.Errorf("mapping %d: %+v", i, c)
		}
	}
	if got := h.counter("shardmill_journal_disk_read_bytes_total"); got < n*size || got > n*size*1.1 {
		t.Errorf("%v bytes of the disk were read for %d of records", got, n*size)
	}
	if h.counter("shardmill_journal_shared_reads_total") == 0 {
		t.Error("no read was shared")
	}
}

// counter is the value of one of the store's metrics.
func (h *host) counter(name string) float64 {
	h.tb.Helper()
	families, err := h.metrics.Gather()
	h.check(err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	h.tb.Fatalf("there is no metric %s", name)
	return 0
}

// Every record is emitted, rejected or given up, across a restart of the whole host.
func testHandlesEveryRecord(t *testing.T, h *host) {
	in := h.create("in", 4)
	_, _, err := h.Put(t.Context(), Mapping{Name: "m", Stream: "in", Function: "echo", BatchSize: 50, MaxAttempts: 2})
	h.check(err)
	want := map[string]bool{}
	const n = 4000
	for i := 0; i < n; i += 100 {
		var data []string
		for j := i; j < i+100; j++ {
			word := "plain"
			switch j % 97 {
			case 13:
				word = "later"
			case 40:
				word = "reject"
			}
			d := fmt.Sprint(word, " ", j)
			if data = append(data, d); word != "reject" {
				want[d] = true
			}
		}
		h.put(in, i, data...)
		if i == n/2 {
			h.stop()
			h.start()
			in, err = h.store.Stream("in")
			h.check(err)
		}
	}
	s := h.wait("m", h.atTip)
	if c := s.Counts(); s.State != Enabled || c.GivenUp != 0 || c.Failed+c.Partial == 0 || c.Rejected == 0 {
		t.Errorf("status %+v, counts %+v", s, c)
	}
	got := h.emitted()
	for d := range want {
		if got[d] == 0 {
			t.Errorf("record %q was not handled", d)
		}
		delete(got, d)
	}
	if len(got) > 0 {
		t.Errorf("emitted and should not have been: %v", got)
	}
}

// A trap, an error and a timeout take one path: each batch is given up after its attempts, and the next one runs.
func testGivesUpWhatTheFunctionCannotHandle(t *testing.T, h *host) {
	in := h.create("in", 1)
	_, _, err := h.Put(t.Context(), Mapping{Name: "m", Stream: "in", Function: "echo", BatchSize: 1, MaxAttempts: 2})
	h.check(err)
	h.put(in, 0, "plain 0", "fail", "trap", "spin", "plain 1")
	s := h.wait("m", h.atTip)
	if c := s.Counts(); c.OK != 2 || c.Failed != 6 || c.GivenUp != 3 || c.Retries != 3 {
		t.Errorf("counts %+v", c)
	}
	if g := s.Shards[0].LastGivenUp; g == nil || g.Reason != AttemptsExhausted || g.Attempts != 2 || !strings.Contains(g.Error, "timeout") {
		t.Errorf("given up: %+v", g)
	}
	if got := h.emitted(); got["plain 0"] != 1 || got["plain 1"] != 1 || len(got) != 2 {
		t.Errorf("emitted %v", got)
	}
}

// Functions, streams and mappings come and go; the status says what is missing.
func testSurvivesDeletions(t *testing.T, h *host) {
	in := h.create("in", 2)
	h.deploy("gone")
	_, _, err := h.Put(t.Context(), Mapping{Name: "m", Stream: "in", Function: "gone", StartingPosition: Newest})
	h.check(err)
	h.check(h.runtime.Delete(t.Context(), "gone"))
	h.put(in, 0, "plain 0")
	h.wait("m", func(s Status) bool { return s.State == Blocked && s.Counts().Refused > 0 })
	h.deploy("gone")
	h.wait("m", func(s Status) bool { return s.State == Enabled && h.atTip(s) })
	h.check(h.store.Delete(t.Context(), "in"))
	s := h.wait("m", func(s Status) bool { return s.State == Failed })
	if s.Reason != `stream "in" has been deleted` {
		t.Errorf("reason %q", s.Reason)
	}
	h.check(h.Delete(t.Context(), "m"))
	if list := h.List(); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
}

// One flipped byte stops its shard, by name, until it is accepted; then the poller goes on by itself.
func testWaitsForDamageToBeAccepted(t *testing.T, h *host) {
	in := h.create("in", 1)
	h.put(in, 0, "plain 0")
	h.put(in, 1, "plain DAMAGED")
	h.put(in, 2, "plain 2")
	h.stop()
	flip(t, filepath.Join(h.dir, "streams"), "plain DAMAGED")
	h.start()
	_, _, err := h.Put(t.Context(), Mapping{Name: "m", Stream: "in", Function: "echo"})
	h.check(err)
	s := h.wait("m", func(s Status) bool { return s.Shards[0].State == ShardDamaged && s.Shards[0].Checkpoint != 0 })
	in, err = h.store.Stream("in")
	h.check(err)
	damage, err := in.Damage()
	h.check(err)
	if len(damage) != 1 || !strings.Contains(s.Shards[0].LastError, damage[0].Error()) {
		t.Errorf("the status says %q, the damage is %+v", s.Shards[0].LastError, damage)
	}
	_, err = in.AcceptDamage(t.Context(), 0)
	h.check(err)
	s = h.wait("m", h.atTip)
	if c := s.Counts(); c.Skipped != 1 || c.Settled != 2 {
		t.Errorf("counts %+v", c)
	}
	if got := h.emitted(); got["plain 0"] != 1 || got["plain 2"] != 1 || len(got) != 2 {
		t.Errorf("emitted %v", got)
	}
}

// flip changes one byte of the text, wherever it is in the files of a folder.
func flip(t *testing.T, dir, text string) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if i := strings.Index(string(b), text); i >= 0 {
			found++
			b[i] ^= 1
			return os.WriteFile(path, b, 0o644)
		}
		return nil
	})
	if err != nil || found != 1 {
		t.Fatalf("flipped %d bytes, %v", found, err)
	}
}
