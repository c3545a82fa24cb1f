package triggers

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// makeRun makes records of the data sizes given, from a sequence number on.
func makeRun(first uint64, sizes ...int) record.Run {
	var b record.Builder
	for _, n := range sizes {
		if err := b.Append(record.Record{Data: make([]byte, n)}); err != nil {
			panic(err)
		}
	}
	record.Stamp(b.Run(), first, 1)
	return b.Run()
}

func (b *batch) sequences() []uint64 {
	var list []uint64
	for _, run := range b.runs {
		for r := range run.All() {
			list = append(list, r.Sequence)
		}
	}
	return list
}

// A batch and what is left of the run are together what there was, whatever the limits.
func TestBatchTakesAndDrops(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxRecords := rapid.IntRange(1, 10).Draw(t, "max records")
		maxBytes := rapid.IntRange(1, 1000).Draw(t, "max bytes")
		var b batch
		var all, want []uint64
		next := record.MakeSequence(1, 1)
		for range rapid.IntRange(1, 5).Draw(t, "runs") {
			sizes := rapid.SliceOfN(rapid.IntRange(0, 400), 1, 8).Draw(t, "sizes")
			run := makeRun(next, sizes...)
			for range sizes {
				all = append(all, next)
				next++
			}
			rest := run
			full := b.take(&rest, maxRecords, maxBytes)
			want = all[:len(all)-rest.Len()]
			if got := b.sequences(); !slices.Equal(got, want) {
				t.Fatalf("the batch holds %d, want %d", got, want)
			}
			if b.records != len(want) || b.records > maxRecords || b.bytes > maxBytes && b.records > 1 {
				t.Fatalf("%d records of %d bytes, limits %d and %d", b.records, b.bytes, maxRecords, maxBytes)
			}
			if !full && (rest.Len() > 0 || b.records == maxRecords) || full && b.records < maxRecords && b.bytes < maxBytes && rest.Len() == 0 {
				t.Fatalf("full is %v with %d records of %d bytes and %d left", full, b.records, b.bytes, rest.Len())
			}
			if full {
				break
			}
		}
		if last := b.last(b.head(b.records)); last != want[len(want)-1] || b.first().Sequence != want[0] {
			t.Fatalf("first %d, last %d of %d", b.first().Sequence, last, want)
		}
		n := rapid.IntRange(0, len(want)).Draw(t, "drop")
		b.drop(n)
		if got := b.sequences(); !slices.Equal(got, want[n:]) || b.records != len(want)-n {
			t.Fatalf("after dropping %d of %d it holds %d", n, want, got)
		}
		size := 0
		for _, run := range b.runs {
			size += run.Size()
		}
		if b.bytes != size {
			t.Fatalf("it says %d bytes and has %d", b.bytes, size)
		}
	})
}

// However a batch is divided and settled, its parts are together what it has, in order, and the division behind what was settled stays.
func TestBatchParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b batch
		n := rapid.IntRange(1, 40).Draw(t, "records")
		run := makeRun(1, make([]int, n)...)
		b.take(&run, n, maxPayload)
		parts := []int{n} // the model: the records of each part, the first one first
		for b.records > 0 {
			switch rapid.SampledFrom([]string{"split", "drop", "drop more", "join"}).Draw(t, "step") {
			case "split":
				k := rapid.IntRange(0, parts[0]).Draw(t, "at")
				b.split(k)
				if k > 0 && k < parts[0] {
					parts = append([]int{k, parts[0] - k}, parts[1:]...)
				}
			case "join":
				b.join()
				parts = []int{b.records}
			case "drop":
				k := rapid.IntRange(1, parts[0]).Draw(t, "settled")
				b.drop(k)
				parts = without(parts, k)
			case "drop more":
				k := rapid.IntRange(1, b.records).Draw(t, "given up")
				b.drop(k)
				parts = without(parts, k)
			}
			want := 0
			if len(parts) > 0 {
				want = parts[0]
			}
			if b.headLen() != want || len(b.sequences()) != b.records {
				t.Fatalf("the first part has %d of %d records, want %d of %v", b.headLen(), b.records, want, parts)
			}
		}
		if len(b.behind) != 0 {
			t.Fatalf("parts are left of an empty batch: %v", b.behind)
		}
	})
}

// without takes n records from the front of parts.
func without(parts []int, n int) []int {
	for len(parts) > 0 && n >= parts[0] {
		n -= parts[0]
		parts = parts[1:]
	}
	if n > 0 {
		parts[0] -= n
	}
	return parts
}

func TestBatchCountsOldRecords(t *testing.T) {
	var b batch
	for i, arrival := range []int64{10, 20, 30} {
		run := makeRun(uint64(1+2*i), 1, 1)
		record.Stamp(run, uint64(1+2*i), arrival)
		b.take(&run, 100, 1<<20)
	}
	for arrival, want := range map[int64]int{0: 0, 10: 0, 11: 2, 20: 2, 25: 4, 31: 6} {
		if got := b.older(arrival); got != want {
			t.Errorf("older(%d) = %d, want %d", arrival, got, want)
		}
	}
}

// endless returns the same records for ever.
type endless struct{ run record.Run }

func (e endless) Next(ctx context.Context) (record.Run, error) { return e.run, nil }
func (e endless) Position() uint64                             { return e.run.First().Sequence }
func (e endless) Behind() time.Duration                        { return 0 }

// What a batch costs does not depend on its records: nothing is allocated per record.
func TestAllocations(t *testing.T) {
	for _, records := range []int{1, 100, 10_000} {
		p := &poller{r: &runner{
			functions: newIdle(-1), log: slog.New(slog.DiscardHandler),
			batchSizes: prometheus.NewHistogram(prometheus.HistogramOpts{}),
		}}
		p.r.settings.Store(&settings{Mapping: Mapping{Function: "f"}, limits: limits{records: records, bytes: maxPayload}})
		p.log, p.lane.p = p.r.log, p
		run := makeRun(record.MakeSequence(1, 1), make([]int, records)...)
		p.reader, p.next = endless{run}, run.First().Sequence
		st := (&fakeStreams{}).create("s", 1)
		p.r.source = st
		p.saver = newSaver(st, shards.Checkpoint{}, backoff{}, nil)
		one := func() {
			if err := p.fill(t.Context(), t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := p.lane.process(t.Context(), t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := p.saver.wait(); err != nil {
				t.Fatal(err)
			}
		}
		one()
		if n := testing.AllocsPerRun(100, one); n > 2 {
			t.Errorf("%v allocations for a batch of %d records, want at most 2", n, records)
		}
	}
}
