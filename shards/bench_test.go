package shards

import (
	"context"
	"fmt"
	goruntime "runtime"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/shards/journal"
)

// journalRig is a store on an in-memory table and real journals.
func journalRig(tb testing.TB) *rig {
	tb.Helper()
	r := newRig(tb)
	r.logs = journalOpener(r.options, nil)
	r.reopen(tb)
	return r
}

// BenchmarkPut1 is 256 putters of one record of 1 KiB each, on disk; "log" is the same without this package,
// straight into the journal.
func BenchmarkPut1(b *testing.B) {
	records, _ := testRecords(putters, 1024)
	for _, shards := range []int{1, 64} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			st := journalRig(b).create(b, Config{Name: "s", Shards: shards})
			benchmarkPutters(b, func(p int) func() error {
				results := make([]Result, 0, 1)
				return func() error {
					_, err := st.Put(context.Background(), records[p:p+1], results)
					return err
				}
			})
		})
	}
	b.Run("log", func(b *testing.B) {
		st := journalRig(b).create(b, Config{Name: "s"})
		_, run := testRecords(1, 1024)
		benchmarkPutters(b, func(int) func() error {
			parts := []journal.Part{{Records: run}}
			return func() error { return st.log.Append(context.Background(), parts) }
		})
	})
}

const putters = 256

// benchmarkPutters has every putter do its share of the b.N puts of 1 KiB.
func benchmarkPutters(b *testing.B, putter func(p int) (put func() error)) {
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for p := range putters {
		n := b.N / putters
		if p < b.N%putters {
			n++
		}
		wg.Go(func() {
			put := putter(p)
			for range n {
				if err := put(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkPutAlone is one putter of one record of 1 KiB: the latency of a put.
func BenchmarkPutAlone(b *testing.B) {
	st := journalRig(b).create(b, Config{Name: "s"})
	records, _ := testRecords(1, 1024)
	results := make([]Result, 0, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := st.Put(context.Background(), records, results); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPut100 is puts of 100 records of 1 KiB, on disk, by 8 putters.
func BenchmarkPut100(b *testing.B) {
	records, run := testRecords(100, 1024)
	puts := map[string]func(*Stream, []Result) error{
		"Put": func(st *Stream, results []Result) error {
			_, err := st.Put(context.Background(), records, results)
			return err
		},
		"PutRun": func(st *Stream, _ []Result) error {
			_, err := st.PutRun(context.Background(), run, nil)
			return err
		},
	}
	for name, put := range puts {
		for _, shards := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/shards=%d", name, shards), func(b *testing.B) {
				st := journalRig(b).create(b, Config{Name: "s", Shards: shards})
				b.SetParallelism(4)
				b.SetBytes(100 * 1024)
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					results := make([]Result, 0, 100)
					for pb.Next() {
						if err := put(st, results); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

// BenchmarkRoute is a put without a log: checks, hashing, encoding and sorting by shard.
func BenchmarkRoute(b *testing.B) {
	for _, shards := range []int{1, 4, 1000} {
		for _, n := range []int{1, 100} {
			b.Run(fmt.Sprintf("shards=%d/records=%d", shards, n), func(b *testing.B) {
				st := blackHoleStream(shards)
				records, _ := testRecords(n, 1024)
				results := make([]Result, 0, n)
				b.SetBytes(int64(n) * 1024)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := st.Put(context.Background(), records, results); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

func BenchmarkHashKey(b *testing.B) {
	key := []byte("a partition key of thirty bytes")
	b.ReportAllocs()
	for b.Loop() {
		HashKey(key)
	}
}

// BenchmarkRead reads 1 KiB records that are cached or not, in the batches they were put in.
func BenchmarkRead(b *testing.B) {
	st := journalRig(b).create(b, Config{Name: "s"})
	records, _ := testRecords(100, 1024)
	for range 1000 {
		if _, err := st.Put(b.Context(), records, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(100 * 1024)
	b.ReportAllocs()
	read := 0
	var r *Reader
	for b.Loop() {
		if r == nil || r.Position() == seq(1, 100_001) {
			var err error
			if r, err = st.Reader(0, Start{}); err != nil {
				b.Fatal(err)
			}
		}
		run, err := r.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		read += run.Len()
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "records/s")
}

// idleStreams makes streams with shards that are all idle, a reader's position on each shard included.
func idleStreams(tb testing.TB, r *rig, streams, shards int) (readers []*Reader) {
	tb.Helper()
	for i := range streams {
		st := r.create(tb, Config{Name: fmt.Sprint("s", i), Shards: shards})
		for _, id := range st.Shards() {
			reader, err := st.Reader(id, Start{})
			if err != nil {
				tb.Fatal(err)
			}
			readers = append(readers, reader)
		}
	}
	return readers
}

// TestIdleShardsHaveNoGoroutines has a thousand shards in one stream and in a hundred.
func TestIdleShardsHaveNoGoroutines(t *testing.T) {
	for _, streams := range []int{1, 100} {
		r := journalRig(t)
		before := goruntime.NumGoroutine()
		readers := idleStreams(t, r, streams, 1000/streams)
		for i := range streams { // a put is over and idle again, too
			put(t, r.stream(t, fmt.Sprint("s", i)), "a", "b", "c")
		}
		// What a put started on the side ends soon after it.
		for begin := time.Now(); goruntime.NumGoroutine() > before && time.Since(begin) < 10*time.Second; {
			goruntime.Gosched()
		}
		if n := goruntime.NumGoroutine() - before; n > 0 {
			t.Errorf("%d streams of %d shards have %d goroutines", streams, 1000/streams, n)
		}
		if len(readers) != 1000 {
			t.Errorf("%d readers", len(readers))
		}
	}
}

// BenchmarkIdleShard reports the memory that an idle shard takes, with a reader on it.
func BenchmarkIdleShard(b *testing.B) {
	for _, streams := range []int{1, 1000} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			r := journalRig(b)
			var before, after goruntime.MemStats
			goroutines := goruntime.NumGoroutine()
			for b.Loop() {
				goruntime.GC()
				goruntime.ReadMemStats(&before)
				readers := idleStreams(b, r, streams, 1000/streams)
				goruntime.GC()
				goruntime.ReadMemStats(&after)
				goruntime.KeepAlive(readers)
				b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1000, "heap-bytes/shard")
				b.ReportMetric(float64(goruntime.NumGoroutine()-goroutines), "goroutines")
				for i := range streams {
					if err := r.Delete(b.Context(), fmt.Sprint("s", i)); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// TestReadDoesNotAllocatePerRecord reads batches of a hundred records.
func TestReadDoesNotAllocatePerRecord(t *testing.T) {
	r := journalRig(t)
	st := r.create(t, Config{Name: "s"})
	records, _ := testRecords(100, 100)
	for range 300 {
		if _, err := st.Put(t.Context(), records, nil); err != nil {
			t.Fatal(err)
		}
	}
	rd := reader(t, st, Start{})
	perRun := testing.AllocsPerRun(200, func() {
		run, err := rd.Next(context.Background())
		if err != nil || run.Len() != 100 {
			t.Fatalf("%d records, %v", run.Len(), err)
		}
		for rec := range run.All() {
			if len(rec.Data) != 100 {
				t.Fatal("not the data")
			}
		}
	})
	if perRun > 5 {
		t.Errorf("%v allocations per batch of 100 records, want at most 5", perRun)
	}
}
