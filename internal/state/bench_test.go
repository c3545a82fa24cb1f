package state

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkCommit is a batch of 100 puts into a table of 100,000 keys, durable when it returns.
func BenchmarkCommit(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir()})
	random := func() string { return fmt.Sprintf("key-%016x", rand.Uint64()) }
	value := make([]byte, 100)
	fill := func(n int) {
		batch := s.Begin()
		for range n {
			binary.LittleEndian.PutUint64(value, rand.Uint64())
			if _, err := batch.Put(cities, random(), value, Any); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	for range 25 {
		fill(4000)
	}
	b.ReportAllocs()
	for b.Loop() {
		fill(100)
	}
}

// BenchmarkGet is a read of one entry among 4,000.
func BenchmarkGet(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir()})
	batch := s.Begin()
	for i := range 4000 {
		if _, err := batch.Put(cities, fmt.Sprint(i), make([]byte, 100), Any); err != nil {
			b.Fatal(err)
		}
	}
	if err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
	batch = s.Begin()
	b.ReportAllocs()
	for b.Loop() {
		if _, found, err := batch.Get(cities, "1234"); !found || err != nil {
			b.Fatal(err)
		}
	}
}
