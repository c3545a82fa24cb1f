package runtime

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

// batchOf is a batch of n records of 1 KiB, in four runs as if it straddled stored batches.
func batchOf(t testing.TB, n int) []record.Run {
	t.Helper()
	data := strings.Repeat("x", 1024-24-16)
	var runs []record.Run
	for range 4 {
		var b record.Builder
		for range n / 4 {
			if err := b.Append(record.Record{Key: []byte("partition-key-16"), Data: []byte(data)}); err != nil {
				t.Fatal(err)
			}
		}
		runs = append(runs, b.Run())
	}
	return runs
}

func TestAllocationsPerRecord(t *testing.T) {
	w := open(t)
	w.deploy(t, "touch", guests["touch"], Config{Concurrency: 1})
	var reply Reply
	perCall := func(n int) float64 {
		call := Call{Function: "touch", Kind: KindBatch, Records: batchOf(t, n)}
		invoke := func() {
			if err := w.Invoke(t.Context(), call, &reply); err != nil {
				t.Fatal(err)
			}
		}
		invoke()
		return testing.AllocsPerRun(50, invoke)
	}
	few, many := perCall(100), perCall(1000)
	if many > few+2 {
		t.Errorf("a call of 100 records allocates %v times, one of 1000 %v times", few, many)
	}
	if few > 5 {
		t.Errorf("a call allocates %v times", few)
	}
}

// BenchmarkInvoke is figure "guest call": records of 1 KiB into a Go guest that touches each. The variant "unstoppable"
// is what it would be if guests could not be stopped.
func BenchmarkInvoke(b *testing.B) {
	for _, off := range []bool{false, true} {
		for _, n := range []int{100, 1000} {
			name := fmt.Sprintf("batch=%d/stoppable", n)
			if off {
				name = fmt.Sprintf("batch=%d/unstoppable", n)
			}
			b.Run(name, func(b *testing.B) {
				w := open(b, func(o *Options) { o.meter.off = off })
				w.deploy(b, "touch", guests["touch"], Config{Concurrency: 1})
				var reply Reply
				call := Call{Function: "touch", Kind: KindBatch, Records: batchOf(b, n)}
				b.ReportAllocs()
				for b.Loop() {
					if err := w.Invoke(b.Context(), call, &reply); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(float64(reply.Fuel)/float64(n), "fuel/record")
			})
		}
	}
}

func BenchmarkInvokeBody(b *testing.B) {
	w := open(b)
	w.deploy(b, "probe", guests["probe"], Config{Concurrency: 1})
	var reply Reply
	call := Call{Function: "probe", Kind: KindInvoke, Body: []byte("echo hello")}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Invoke(b.Context(), call, &reply); err != nil {
			b.Fatal(err)
		}
	}
}
