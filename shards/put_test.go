package shards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// readShard reads all that a shard holds now.
func readShard(t testing.TB, st *Stream, shard ShardID) (records []record.Record) {
	t.Helper()
	r, err := st.Reader(shard, Start{})
	if err != nil {
		t.Fatal(err)
	}
	for _, next := st.log.Bounds(uint32(shard)); r.Position() < next; {
		run, err := r.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for rec := range run.All() {
			records = append(records, rec)
		}
	}
	return records
}

func TestPutRoutes(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s", Shards: 4})
	hash := func(hi uint64) []byte { b := Hash{Hi: hi}.Bytes(); return b[:] }
	records := []record.Record{
		{Key: []byte("k"), Data: []byte("0"), ExplicitHash: hash(0)},
		{Key: []byte("k"), Data: []byte("3"), ExplicitHash: hash(1<<64 - 1)},
		{Key: []byte("k"), Data: []byte("1"), ExplicitHash: hash(1 << 62)},
		{Key: []byte("k"), Data: []byte("0 again"), ExplicitHash: hash(1<<62 - 1)},
		{Key: []byte("k"), Data: nil},
	}
	home, err := st.ShardOf([]byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := st.Put(t.Context(), records, nil)
	if err != nil {
		t.Fatal(err)
	}
	counters := map[ShardID]uint64{}
	for i, want := range []ShardID{0, 3, 1, 0, home} {
		counters[want]++
		if got := results[i]; got != (Result{want, seq(1, counters[want]), nil}) {
			t.Errorf("record %d: %+v, want %v, %d", i, got, want, counters[want])
		}
	}
	for i, res := range results {
		got := readShard(t, st, res.Shard)[record.Counter(res.Sequence)-1]
		if !bytes.Equal(got.Data, records[i].Data) || !bytes.Equal(got.ExplicitHash, records[i].ExplicitHash) || string(got.Key) != "k" {
			t.Errorf("record %d is stored as %+v", i, got)
		}
	}
}

func TestPutInvalidRecordsFailAlone(t *testing.T) {
	r := newRig(t)
	for _, shards := range []int{1, 4} {
		st := r.create(t, Config{Name: fmt.Sprint("s", shards), Shards: shards, MaxRecordBytes: 1024})
		records := []record.Record{
			{Key: []byte("a"), Data: make([]byte, 1025)},
			{Key: []byte("a"), Data: make([]byte, 1024)},
			{Key: []byte(strings.Repeat("x", 257))},
			{Key: []byte("b")},
			{},
		}
		before := []Result{{Sequence: 99}}
		check := func(results []Result, err error) {
			t.Helper()
			if err != nil || len(results) != 6 || results[0] != before[0] {
				t.Fatalf("%+v, %v", results, err)
			}
			checkField(t, results[1].Err, "data", "1025")
			checkField(t, results[3].Err, "partitionKey", "257")
			checkField(t, results[5].Err, "partitionKey", "0 characters")
			for _, good := range []int{2, 4} {
				if res := results[good]; res.Err != nil || res.Sequence == 0 {
					t.Errorf("good record %d: %+v", good, res)
				}
			}
			for _, bad := range []int{1, 3, 5} {
				if results[bad].Sequence != 0 {
					t.Errorf("bad record %d: %+v", bad, results[bad])
				}
			}
		}
		check(st.Put(t.Context(), records, slices.Clone(before)))
		var b record.Builder
		for _, rec := range records {
			if err := b.Append(rec); err != nil {
				t.Fatal(err)
			}
		}
		check(st.PutRun(t.Context(), b.Run(), slices.Clone(before)))

		results, err := st.PutRun(t.Context(), b.Run(), nil)
		if results != nil || err == nil || !strings.Contains(err.Error(), "record 1 of 5") {
			t.Errorf("a run with invalid records, all or nothing: %v, %v", results, err)
		}
		checkField(t, err, "data")
		n := 0
		for _, id := range st.Shards() {
			n += len(readShard(t, st, id))
		}
		if n != 4 {
			t.Errorf("%d records stored, want 4", n)
		}
	}
}

func TestPutNothing(t *testing.T) {
	st := newRig(t).create(t, Config{Name: "s", Shards: 2})
	if results, err := st.Put(t.Context(), nil, nil); len(results) != 0 || err != nil {
		t.Errorf("%v, %v", results, err)
	}
	if results, err := st.PutRun(t.Context(), record.Run{}, nil); results != nil || err != nil {
		t.Errorf("%v, %v", results, err)
	}
	results, err := st.Put(t.Context(), []record.Record{{}}, nil)
	if len(results) != 1 || results[0].Err == nil || err != nil {
		t.Errorf("only an invalid record: %v, %v", results, err)
	}
}

func TestPutFailsAsAWhole(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s", Shards: 4})
	log := r.memLog(t, st)
	records := []record.Record{{Key: []byte("a")}, {Key: []byte("b")}, {}}
	before := []Result{{Sequence: 99}}
	for _, cause := range []error{ErrNoSpace, ErrReadOnly, ErrDisk, errDisk} {
		log.appendErr = cause
		results, err := st.Put(t.Context(), records, before)
		if !errors.Is(err, cause) || !slices.Equal(results, before) || !strings.Contains(err.Error(), `"s"`) {
			t.Errorf("put: %v, %v", results, err)
		}
		results, err = st.PutRun(t.Context(), runOf(t, "x"), before)
		if !errors.Is(err, cause) || !slices.Equal(results, before) {
			t.Errorf("put run: %v, %v", results, err)
		}
	}
	log.appendErr = nil
	put(t, st, "a", "b") // it recovers
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := st.Put(ctx, records, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
}

// TestPutAgainstModel puts random records in both ways and compares with records routed one by one.
func TestPutAgainstModel(t *testing.T) {
	r := newRig(t)
	streams := 0
	rapid.Check(t, func(rt *rapid.T) {
		streams++
		n := rapid.SampledFrom([]int{1, 2, 3, 7, 64}).Draw(rt, "shards")
		st := r.create(t, Config{Name: fmt.Sprint("s", streams), Shards: n, MaxRecordBytes: 1024})
		model := make(map[ShardID][]record.Record)
		for range rapid.IntRange(1, 4).Draw(rt, "puts") {
			records := drawRecords(rt)
			var results []Result
			var err error
			if rapid.Bool().Draw(rt, "as a run") {
				var b record.Builder
				for _, rec := range records {
					if err := b.Append(rec); err != nil {
						rt.Fatal(err)
					}
				}
				results, err = st.PutRun(context.Background(), b.Run(), []Result{})
			} else {
				results, err = st.Put(context.Background(), records, nil)
			}
			if err != nil || len(results) != len(records) {
				rt.Fatalf("%d results for %d records, %v", len(results), len(records), err)
			}
			for i, rec := range records {
				res := results[i]
				if invalid := checkRecord(&rec, 1024) != nil; invalid || res.Err != nil {
					if invalid != (res.Err != nil) || res.Sequence != 0 {
						rt.Fatalf("record %d: %+v", i, res)
					}
					continue
				}
				want := routeSlowly(st, rec)
				model[want] = append(model[want], rec)
				if res.Shard != want || res.Sequence != seq(1, uint64(len(model[want]))) {
					rt.Fatalf("record %d: %+v, want %v, %d", i, res, want, len(model[want]))
				}
			}
		}
		ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Arrival" || p.Last().String() == ".Sequence" }, cmp.Ignore())
		for _, id := range st.Shards() {
			if diff := cmp.Diff(model[id], readShard(t, st, id), ignore, cmp.Comparer(bytes.Equal)); diff != "" {
				rt.Fatalf("%v: %s", id, diff)
			}
		}
	})
}

// routeSlowly looks at every shard's range.
func routeSlowly(st *Stream, r record.Record) ShardID {
	h := HashKey(r.Key)
	if r.ExplicitHash != nil {
		h = hashOf(r.ExplicitHash)
	}
	for _, s := range st.def().Shards {
		if s.State == ShardOpen && s.StartHash.Compare(h) <= 0 && h.Compare(s.EndHash) <= 0 {
			return s.ID
		}
	}
	panic("no shard")
}

// drawRecords draws records, some of them invalid.
func drawRecords(t *rapid.T) []record.Record {
	key := rapid.OneOf(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.StringN(1, 20, -1), rapid.SampledFrom([]string{"", "\xff"}))
	one := rapid.Custom(func(t *rapid.T) record.Record {
		r := record.Record{Key: []byte(key.Draw(t, "key")), Data: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data")}
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			r.ExplicitHash = rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "hash")
		case 1:
			r.Data = make([]byte, 1025)
		}
		return r
	})
	return rapid.SliceOfN(one, 0, 30).Draw(t, "records")
}

// blackHole is a log that takes everything at once and keeps nothing.
type blackHole struct {
	Log
	next uint64
}

func (b *blackHole) Append(_ context.Context, parts []journal.Part) error {
	for i := range parts {
		b.next++
		parts[i].First, parts[i].Arrival = b.next, time.Now().UnixMicro()
		b.next += uint64(parts[i].Records.Len())
	}
	return nil
}

func (b *blackHole) Close() error { return nil }

// blackHoleStream is a stream on a blackHole.
func blackHoleStream(shards int) *Stream {
	d := testDefinition(shards)
	return newStream(d, 1, &blackHole{}, newMetrics(nil, func() (int, int) { return 0, 0 }))
}

func testRecords(n, size int) ([]record.Record, record.Run) {
	records := make([]record.Record, n)
	var b record.Builder
	for i := range records {
		records[i] = record.Record{Key: fmt.Appendf(nil, "key-%d", i), Data: bytes.Repeat([]byte("x"), size)}
		if err := b.Append(records[i]); err != nil {
			panic(err)
		}
	}
	return records, b.Run()
}

func TestPutDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes sync.Pool forget")
	}
	for _, shards := range []int{1, 4, 1000} {
		for _, n := range []int{1, 100} {
			st := blackHoleStream(shards)
			if n == 100 && shards < 1000 { // traffic is observed, too; each shard has its samples soon
				def := *st.def()
				def.Mode = OnDemand
				st = newStream(def, 1, st.log, newMetrics(nil, func() (int, int) { return 0, 0 }))
			}
			records, run := testRecords(n, 1024)
			results := make([]Result, 0, n)
			puts := map[string]func() ([]Result, error){
				"Put":            func() ([]Result, error) { return st.Put(context.Background(), records, results) },
				"PutRun":         func() ([]Result, error) { return st.PutRun(context.Background(), run, results) },
				"PutRun, no res": func() ([]Result, error) { return st.PutRun(context.Background(), run, nil) },
			}
			for name, put := range puts {
				for range 2 * sampleEvery {
					if _, err := put(); err != nil {
						t.Fatal(err)
					}
				}
				allocs := testing.AllocsPerRun(200, func() {
					if _, err := put(); err != nil {
						t.Fatal(err)
					}
				})
				if allocs != 0 {
					t.Errorf("%s of %d records to %d shards: %v allocations", name, n, shards, allocs)
				}
			}
		}
	}
}

// TestStagingForgets checks that the memory of a huge put does not stay in the pool.
func TestStagingForgets(t *testing.T) {
	s := takeStaging(4)
	for range maxKeptRecords + 1 {
		s.place(1)
	}
	s.order()
	s.release()
	if cap(s.slots) != 0 || cap(s.sorted) != 0 || s.counts[1] != 0 {
		t.Errorf("kept room for %d records, counts %v", cap(s.slots), s.counts)
	}
}
