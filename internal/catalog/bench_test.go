package catalog

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

func BenchmarkUpdate(b *testing.B) {
	table := newHouse(b).table(b, "t")
	value := []byte(strings.Repeat("v", 300))
	revision := mustCreate(b, table, "k", string(value))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if revision, err = table.Update(b.Context(), "k", value, revision); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateParallel(b *testing.B) {
	table := newHouse(b).table(b, "t")
	value := []byte(strings.Repeat("v", 300))
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := table.Create(b.Context(), fmt.Sprint(n.Add(1)), value); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	table := newHouse(b).table(b, "t")
	mustCreate(b, table, "k", strings.Repeat("v", 300))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := table.Get("k"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a catalog of 1,000 entries and 64 MiB of blobs, with its broker.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	h := openHouse(b, dir)
	for i := range 1000 {
		mustCreate(b, h.table(b, "t"), fmt.Sprint(i), strings.Repeat("v", 300))
	}
	for i := range 16 {
		mustPut(b, h.blobs(b, "code"), sample(4<<20+i))
	}
	h.close(b)
	for b.Loop() {
		h = openHouse(b, dir)
		h.blobs(b, "code")
		b.StopTimer()
		h.close(b)
		b.StartTimer()
	}
}
