package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "/journal"

// small makes segments that roll after a few records.
var small = journal.SegmentSizing{Segment: 4096, First: 512}

// metrics of journals whose metrics no test looks at: to make some for each takes longer than to open it.
var metrics = journal.NewMetrics(nil)

func options(fs journal.FS, shards int) journal.Options {
	opt := journal.Options{Dir: dir, Name: "orders", FS: fs, Sizes: small, Logger: slog.New(slog.DiscardHandler), Metric: metrics}
	for i := range shards {
		opt.Shards = append(opt.Shards, journal.Shard{ID: uint32(i), Epoch: 1})
	}
	return opt
}

func open(t testing.TB, opt journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func run(t testing.TB, data ...string) record.Run {
	t.Helper()
	var w record.Builder
	for _, d := range data {
		if err := w.Append(record.Record{Key: []byte("k"), Data: []byte(d)}); err != nil {
			t.Fatal(err)
		}
	}
	return w.Run()
}

// put appends records to a shard and returns the first sequence number.
func put(t testing.TB, j *journal.Journal, shard uint32, data ...string) uint64 {
	t.Helper()
	parts := []journal.Part{{Shard: shard, Records: run(t, data...)}}
	if err := j.Append(t.Context(), parts); err != nil {
		t.Fatal(err)
	}
	return parts[0].First
}

// readAll reads what a shard holds from a sequence number on, up to an error that is not the end.
func readAll(t testing.TB, j *journal.Journal, shard uint32, from uint64) ([]record.Record, error) {
	t.Helper()
	r, err := j.Reader(shard, from)
	if err != nil {
		t.Fatal(err)
	}
	var out []record.Record
	for {
		run, ok, err := r.TryNext()
		if err != nil {
			return out, err
		}
		if !ok {
			return out, nil
		}
		for rec := range run.All() {
			out = append(out, rec)
		}
	}
}

func expect(t testing.TB, j *journal.Journal, shard uint32, from uint64, want ...string) {
	t.Helper()
	got, err := readAll(t, j, shard, from)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("shard %d from %d: %d records, want %d", shard, from, len(got), len(want))
	}
	for i, r := range got {
		if string(r.Data) != want[i] {
			t.Errorf("shard %d record %d: %q, want %q", shard, i, r.Data, want[i])
		}
		if i > 0 && r.Sequence != got[i-1].Sequence+1 {
			t.Errorf("shard %d record %d: sequence %d after %d", shard, i, r.Sequence, got[i-1].Sequence)
		}
	}
}

func TestPutAndRead(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 2))
	before := time.Now().UnixMicro()
	first := put(t, j, 0, "a", "b")
	put(t, j, 1, "x")
	put(t, j, 0, "c", "")
	if first != record.MakeSequence(1, 1) {
		t.Errorf("first sequence number %d, want (1, 1)", first)
	}
	check := func(j *journal.Journal) {
		t.Helper()
		expect(t, j, 0, 0, "a", "b", "c", "")
		expect(t, j, 0, first+1, "b", "c", "")
		expect(t, j, 0, first+4)
		expect(t, j, 1, 0, "x")
		if oldest, next := j.Bounds(0); oldest != first || next != first+4 {
			t.Errorf("bounds %d, %d", oldest, next)
		}
		got, _ := readAll(t, j, 0, 0)
		if a := got[0].Arrival; a < before || a > time.Now().UnixMicro() {
			t.Errorf("arrival %d", a)
		}
	}
	check(j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, options(d, 2))
	check(again)
	if next := put(t, again, 0, "d"); next != first+4 {
		t.Errorf("after opening again the next number is %d, want %d", next, first+4)
	}
	if n := len(again.Damage()); n > 0 {
		t.Errorf("damage in a whole journal: %v", again.Damage())
	}
}

func TestRecordsAreExact(t *testing.T) {
	j := open(t, options(newDisk(), 1))
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	hash := bytes.Repeat([]byte{7}, 16)
	want := []record.Record{
		{Key: []byte("k"), Data: all},
		{Key: []byte("é"), Data: nil, ExplicitHash: hash},
		{Key: bytes.Repeat([]byte("x"), 1000), Data: bytes.Repeat(all, 40)},
	}
	var w record.Builder
	for _, r := range want {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Append(t.Context(), []journal.Part{{Records: w.Run()}}); err != nil {
		t.Fatal(err)
	}
	got, err := readAll(t, j, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if !bytes.Equal(r.Key, want[i].Key) || !bytes.Equal(r.Data, want[i].Data) || !bytes.Equal(r.ExplicitHash, want[i].ExplicitHash) {
			t.Errorf("record %d came back changed", i)
		}
	}
}

func TestManySegments(t *testing.T) {
	for name, cache := range map[string]int64{"from the cache": 8 << 20, "from disk": 1} {
		t.Run(name, func(t *testing.T) {
			d := newDisk()
			opt := options(d, 3)
			opt.Cache = journal.NewCache(cache)
			j := open(t, opt)
			var want [3][]string
			for i := range 300 {
				data := fmt.Sprintf("record %d", i)
				want[i%3] = append(want[i%3], data)
				put(t, j, uint32(i%3), data)
			}
			if _, n := j.Size(); n < 5 {
				t.Fatalf("%d segments: the test wants more", n)
			}
			for s := range want {
				expect(t, j, uint32(s), 0, want[s]...)
				expect(t, j, uint32(s), record.MakeSequence(1, 51), want[s][50:]...)
			}
			j.Close()
			opt.Cache = journal.NewCache(cache)
			j = open(t, opt)
			for s := range want {
				expect(t, j, uint32(s), 0, want[s]...)
			}
			if err := j.Scrub(t.Context(), nil); err != nil || len(j.Damage()) > 0 {
				t.Errorf("scrub of a whole journal: %v, %v", err, j.Damage())
			}
		})
	}
}

func TestPutLargerThanASegment(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 1))
	big := string(bytes.Repeat([]byte("b"), 3*4096))
	for range 3 {
		put(t, j, 0, big)
		put(t, j, 0, "small")
	}
	expect(t, j, 0, 0, big, "small", big, "small", big, "small")
	j.Close()
	expect(t, open(t, options(d, 1)), 0, 0, big, "small", big, "small", big, "small")
}

func TestPutIsAllOrNothing(t *testing.T) {
	j := open(t, options(newDisk(), 1))
	err := j.Append(t.Context(), []journal.Part{{Shard: 0, Records: run(t, "a")}, {Shard: 9, Records: run(t, "b")}})
	if !errors.Is(err, journal.ErrShard) {
		t.Fatalf("%v, want ErrShard", err)
	}
	expect(t, j, 0, 0)
	if put(t, j, 0, "c") != record.MakeSequence(1, 1) {
		t.Error("the refused put took a sequence number")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Append(ctx, []journal.Part{{Shard: 0, Records: run(t, "d")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	if err := j.Append(t.Context(), nil); err != nil {
		t.Errorf("an empty put: %v", err)
	}
}

func TestReaderWaits(t *testing.T) {
	j := open(t, options(newDisk(), 1))
	r, err := j.Reader(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		defer close(got)
		for {
			run, err := r.Next(context.Background())
			if err != nil {
				got <- err.Error()
				return
			}
			for rec := range run.All() {
				got <- string(rec.Data)
			}
		}
	}()
	for i := range 20 {
		want := fmt.Sprint(i)
		put(t, j, 0, want)
		if s := <-got; s != want {
			t.Fatalf("read %q, want %q", s, want)
		}
	}
	j.Close()
	if s := <-got; !errorsContains(s, journal.ErrClosed) {
		t.Errorf("after close: %s", s)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Next of a closed journal: %v", err)
	}
	if err := j.Append(t.Context(), []journal.Part{{Records: run(t, "x")}}); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Append to a closed journal: %v", err)
	}
}

func errorsContains(s string, err error) bool { return bytes.Contains([]byte(s), []byte(err.Error())) }

func TestReaderEndsWithItsContext(t *testing.T) {
	j := open(t, options(newDisk(), 1))
	r, _ := j.Reader(0, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := j.Reader(5, 0); !errors.Is(err, journal.ErrShard) {
		t.Errorf("reader of an unknown shard: %v", err)
	}
}

// While one group is under way the next one fills: what waits becomes one group.
func TestGroupCommit(t *testing.T) {
	d := newDisk()
	opt := options(d, 4)
	opt.Sizes = journal.SegmentSizing{} // so large that no other is made meanwhile, and every sync is a group's
	j := open(t, opt)
	const putters = 64
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.set(func(d *disk) {
		d.gate = func() { once.Do(func() { close(entered); <-release }) }
		d.syncs = 0
	})
	errs := make(chan error, putters+1)
	appendOne := func(i int) {
		var w record.Builder
		if err := w.Append(record.Record{Key: []byte("k"), Data: []byte{byte(i)}}); err != nil {
			errs <- err
			return
		}
		errs <- j.Append(context.Background(), []journal.Part{{Shard: uint32(i % 4), Records: w.Run()}})
	}
	go appendOne(0)
	<-entered
	for i := range putters {
		go appendOne(i)
	}
	for deadline := time.Now().Add(20 * time.Second); j.Waiting() < putters && time.Now().Before(deadline); {
		goruntime.Gosched()
	}
	close(release)
	for range putters + 1 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	d.set(func(d *disk) {
		if d.syncs != 2 {
			t.Errorf("%d syncs for %d puts, want one for the first and one for those that waited", d.syncs, putters+1)
		}
	})
}

func TestNoAllocationPerRecord(t *testing.T) {
	j := open(t, journal.Options{Dir: t.TempDir(), Name: "s", Shards: []journal.Shard{{ID: 0, Epoch: 1}}})
	measure := func(n int) float64 {
		data := make([]string, n)
		parts := []journal.Part{{Records: run(t, data...)}}
		return testing.AllocsPerRun(50, func() {
			if err := j.Append(t.Context(), parts); err != nil {
				t.Fatal(err)
			}
		})
	}
	one, many := measure(1), measure(1000)
	if many > one+3 {
		t.Errorf("a put of 1,000 records allocates %v times, one of 1 record %v times", many, one)
	}
}
