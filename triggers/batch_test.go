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
		for i, s := range want {
			if b.sequence(i) != s {
				t.Fatalf("sequence(%d) is %d, want %d", i, b.sequence(i), s)
			}
		}
		if b.sequence(b.records-1) != want[len(want)-1] || b.first().Sequence != want[0] {
			t.Fatalf("first %d, last %d of %d", b.first().Sequence, b.sequence(b.records-1), want)
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
			functions: &fakeIdle{left: -1}, log: slog.New(slog.DiscardHandler),
			batchSizes: prometheus.NewHistogram(prometheus.HistogramOpts{}),
		}}
		p.r.settings.Store(&settings{Mapping: Mapping{Function: "f", BatchSize: records}})
		p.log = p.r.log
		run := makeRun(record.MakeSequence(1, 1), make([]int, records)...)
		p.reader, p.next = endless{run}, run.First().Sequence
		st := (&fakeStreams{}).create("s", 1)
		p.saver = newSaver(st, shards.Checkpoint{}, backoff{}, nil)
		one := func() {
			if err := p.fill(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := p.process(t.Context(), t.Context()); err != nil {
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
