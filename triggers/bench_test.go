package triggers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

// probe tells when a function has run.
type probe struct {
	Functions
	ran chan time.Time
}

func (p *probe) Invoke(ctx context.Context, call runtime.Call, reply *runtime.Reply) error {
	err := p.Functions.Invoke(ctx, call, reply)
	p.ran <- time.Now()
	return err
}

// BenchmarkPutToRun is the time from the beginning of a durable put to the end of the function's run, on an
// idle host: the real log on disk, the real runtime, a standard-Go guest. Beside it, the put alone and a bare
// write of 4 KiB with fsync in the same run.
func BenchmarkPutToRun(b *testing.B) {
	h := newHost(b, Options{})
	in := h.create("in", 4)
	h.create("out", 1)
	h.deploy("echo")
	p := &probe{Functions: h.runtime, ran: make(chan time.Time, 1)}
	h.check(h.Close(context.Background()))
	o := Options{Streams: FromStore(h.store), Functions: p}
	var err error
	o.Definitions, err = h.catalog.Table(b.Context(), "mappings")
	h.check(err)
	h.Triggers, err = Open(b.Context(), o)
	h.check(err)
	_, _, err = h.Put(b.Context(), Mapping{Name: "m", Stream: "in", Function: "echo"})
	h.check(err)
	f, err := os.Create(filepath.Join(h.dir, "bare"))
	h.check(err)
	defer f.Close()
	var took, put, bare []time.Duration
	for b.Loop() {
		begin := time.Now()
		h.put(in, 0, "reject")
		put = append(put, time.Since(begin))
		took = append(took, (<-p.ran).Sub(begin))
		b.StopTimer()
		h.wait("m", h.atTip) // idle: the checkpoint before has been saved
		begin = time.Now()
		_, err := f.Write(make([]byte, 4096))
		h.check(err)
		h.check(f.Sync())
		bare = append(bare, time.Since(begin))
		b.StartTimer()
	}
	report(b, "", took)
	report(b, "put-", put)
	report(b, "bare-", bare)
}

// report adds the median and the 99th percentile to a benchmark's metrics.
func report(b *testing.B, prefix string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), prefix+"p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), prefix+"p99-µs")
}

// BenchmarkRecords is the rate of one mapping on one shard, records of 1 KiB that are there already, with
// durable checkpoints and a function that does nothing: the cost of the trigger itself and the log under it.
func BenchmarkRecords(b *testing.B) {
	for _, c := range []struct{ batchSize, lanes int }{{1, 1}, {100, 1}, {500, 1}, {10_000, 1}, {100, 10}, {500, 10}} {
		b.Run(fmt.Sprintf("batch=%d,lanes=%d", c.batchSize, c.lanes), func(b *testing.B) {
			h := newHost(b, Options{})
			in := h.create("in", 1)
			data := make([]record.Record, 500)
			for i := range data {
				data[i] = record.Record{Key: fmt.Append(nil, "key", i), Data: make([]byte, 1024)}
			}
			n := min(max(c.batchSize*1000, 10_000), 200_000)
			for i := 0; i < n; i += len(data) {
				_, err := in.Put(b.Context(), data, nil)
				h.check(err)
			}
			h.check(h.Close(context.Background()))
			o := Options{Streams: FromStore(h.store), Functions: newIdle(n)}
			var err error
			o.Definitions, err = h.catalog.Table(b.Context(), "mappings")
			h.check(err)
			h.Triggers, err = Open(b.Context(), o)
			h.check(err)
			b.ReportAllocs()
			total := 0
			for b.Loop() {
				idle := newIdle(n)
				h.Triggers.opts.Functions = idle
				name := fmt.Sprint("m", total)
				_, _, err := h.Put(b.Context(), Mapping{Name: name, Stream: "in", Function: "f", BatchSize: c.batchSize, Parallelization: c.lanes})
				h.check(err)
				<-idle.done
				total += n
				b.StopTimer()
				h.check(h.Delete(b.Context(), name))
				b.StartTimer()
			}
			b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/record")
		})
	}
}

// fakeIdle is a function that does nothing, and closes done when it has had all records.
type fakeIdle struct {
	left atomic.Int64
	done chan struct{}
}

func newIdle(records int) *fakeIdle {
	f := &fakeIdle{done: make(chan struct{})}
	f.left.Store(int64(records))
	return f
}

func (f *fakeIdle) Get(name string) (runtime.Function, error) {
	fn := runtime.Function{Name: name}
	fn.Kinds = runtime.AllKinds
	return fn, nil
}

func (*fakeIdle) KeepTrials(func(string) bool) error { return nil }

func (f *fakeIdle) Invoke(_ context.Context, c runtime.Call, reply *runtime.Reply) error {
	reply.Outcomes = reply.Outcomes[:0]
	n := 0
	for _, run := range c.Records {
		n += run.Len()
	}
	if f.left.Add(-int64(n)) == 0 {
		close(f.done)
	}
	return nil
}

// BenchmarkIdle is the processor time that 1,000 streams of one shard with a mapping each take while nothing
// happens, in percent of one core.
func BenchmarkIdle(b *testing.B) {
	h := newHost(b, Options{})
	h.create("out", 1)
	h.deploy("echo")
	for i := range 1000 {
		name := fmt.Sprint("in", i)
		h.create(name, 1)
		_, _, err := h.Put(b.Context(), Mapping{Name: name, Stream: name, Function: "echo"})
		h.check(err)
	}
	var cpu, wall time.Duration
	for b.Loop() {
		begin, used := time.Now(), processorTime(b)
		timer := time.NewTimer(2 * time.Second)
		<-timer.C
		cpu, wall = cpu+processorTime(b)-used, wall+time.Since(begin)
	}
	b.ReportMetric(100*cpu.Seconds()/wall.Seconds(), "%cpu")
}

func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
