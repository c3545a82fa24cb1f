package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

func kib(b *testing.B, n int) record.Run {
	b.Helper()
	var w record.Builder
	for range n {
		if err := w.Append(record.Record{Key: []byte("partition"), Data: make([]byte, 1024)}); err != nil {
			b.Fatal(err)
		}
	}
	return w.Run()
}

// BenchmarkAppend puts records of 1 KiB, durably, from a number of putters at once.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ putters, records int }{{1, 1}, {256, 1}, {1, 100}, {16, 100}} {
		b.Run(fmt.Sprintf("putters=%d/records=%d", c.putters, c.records), func(b *testing.B) {
			j := open(b, journal.Options{Dir: filepath.Join(b.TempDir(), "j"), Name: "bench", Shards: []journal.Shard{{ID: 0, Epoch: 1}, {ID: 1, Epoch: 1}, {ID: 2, Epoch: 1}, {ID: 3, Epoch: 1}}})
			run := kib(b, c.records)
			b.SetBytes(int64(run.Size()))
			b.ReportAllocs()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for p := range c.putters {
				wg.Go(func() {
					parts := []journal.Part{{Shard: uint32(p % 4), Records: run}}
					for left.Add(-1) >= 0 {
						if err := j.Append(b.Context(), parts); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N*c.records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkBareWrite is the least that durability costs here: equal writes to one file, each with its sync.
func BenchmarkBareWrite(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			run := kib(b, n)
			b.SetBytes(int64(run.Size()))
			for b.Loop() {
				if _, err := f.Write(run.Bytes()); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkRead reads a shard from its beginning, from the tail cache and from disk.
func BenchmarkRead(b *testing.B) {
	for name, cache := range map[string]int64{"cache": 1 << 30, "disk": 1} {
		b.Run(name, func(b *testing.B) {
			j := open(b, journal.Options{Dir: filepath.Join(b.TempDir(), "j"), Name: "bench", Shards: []journal.Shard{{ID: 0, Epoch: 1}}, Cache: journal.NewCache(cache)})
			const groups, records = 1000, 100
			parts := []journal.Part{{Records: kib(b, records)}}
			for range groups {
				if err := j.Append(b.Context(), parts); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(groups * parts[0].Records.Size()))
			b.ReportAllocs()
			for b.Loop() {
				r, err := j.Reader(0, 0)
				if err != nil {
					b.Fatal(err)
				}
				for n := 0; n < groups*records; {
					run, err := r.Next(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					n += run.Len()
				}
			}
			b.ReportMetric(float64(b.N*groups*records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
