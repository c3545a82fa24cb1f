package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

// touchers are one function in several languages, which looks at every record and does nothing else: where its source is, and
// how many records a second are to go through it at least.
var touchers = []struct {
	figure, source string
	goal           float64
}{
	{"invoke", "runtime/testdata/touch", 5_000_000},
	{"invoke.c", "cmd/host/testdata/touch/c", 8_000_000},
	{"invoke.rust", "cmd/host/testdata/touch/rust", 8_000_000},
}

// invoke measures records of 1 KiB through functions that touch each of them.
func (b *bench) invoke(ctx context.Context) error {
	for _, t := range touchers {
		source := filepath.Join(b.source, filepath.FromSlash(t.source))
		if _, err := os.Stat(source); err != nil {
			b.a.say("left out: invoke figures need a checkout of Shardmill (--source)")
			return nil
		}
		module, err := buildModule(ctx, source)
		if missing := (*toolchainError)(nil); errors.As(err, &missing) {
			b.a.say("left out: %s figures: %s", t.figure, oneLine(err))
			continue
		}
		if err != nil {
			return err
		}
		err = b.withHost(ctx, "invoke", func(h *host) error {
			if _, err := h.functions.Deploy(ctx, "touch", module, runtime.Config{}); err != nil {
				return err
			}
			return errors.Join(b.touch(ctx, h, t.figure, 100, t.goal), b.touch(ctx, h, t.figure, 1000, t.goal), b.overhead(ctx, h, t.figure, module))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// touch reports how many records a second go through the function in batches of n.
func (b *bench) touch(ctx context.Context, h *host, figure string, n int, goal float64) error {
	rate, allocations, err := b.calls(ctx, h, n)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s.batch%d", figure, n)
	return errors.Join(
		b.report(measured(name, rate, "records/s").atLeast(goal)),
		b.report(measured(name+".allocs", allocations, "per record").atMost(0.2)),
	)
}

// overhead reports what a call takes longer through Invoke than the bare call of its export, and how much of that call is metering.
func (b *bench) overhead(ctx context.Context, h *host, figure string, module []byte) error {
	call, err := touching(100)
	if err != nil {
		return err
	}
	o, err := h.functions.Overhead(ctx, module, call, b.span(time.Second, 4*time.Second))
	if err != nil {
		return err
	}
	added, metering := max(o.Invoke-o.Bare, 1), max(o.Bare-o.Plain, 1)
	return errors.Join(
		b.report(measured(figure+".overhead", float64(added.Nanoseconds())/1000, "µs").atMost(1)),
		b.report(measured(figure+".overhead.metering", float64(metering.Nanoseconds())/1000, "µs")),
	)
}

// touching is a call with n records.
func touching(n int) (call runtime.Call, err error) {
	var w record.Builder
	for range n {
		if err := w.Append(record.Record{Key: []byte("partition"), Data: make([]byte, benchData)}); err != nil {
			return call, err
		}
	}
	return runtime.Call{Function: "touch", Kind: runtime.KindBatch, Attempt: 1, Records: []record.Run{w.Run()}}, nil
}

// calls invokes the function with batches of n records, one call after the other.
func (b *bench) calls(ctx context.Context, h *host, n int) (rate, allocations float64, err error) {
	call, err := touching(n)
	if err != nil {
		return 0, 0, err
	}
	var reply runtime.Reply
	var before, after goruntime.MemStats
	total := 0
	if err := h.functions.Invoke(ctx, call, &reply); err != nil {
		return 0, 0, err
	}
	goruntime.ReadMemStats(&before)
	began := time.Now()
	until := began.Add(b.span(time.Second, 4*time.Second))
	for time.Now().Before(until) {
		for range 50 {
			if err := h.functions.Invoke(ctx, call, &reply); err != nil {
				return 0, 0, err
			}
		}
		total += 50 * n
	}
	took := time.Since(began)
	goruntime.ReadMemStats(&after)
	return float64(total) / took.Seconds(), float64(after.Mallocs-before.Mallocs) / float64(total), nil
}

// latency measures how long it takes from the start of a put until the function that a mapping drives has run and what it
// emitted for the record is on disk and read: one put at a time, on a host with nothing else to do.
func (b *bench) latency(ctx context.Context) error {
	return b.withHost(ctx, "latency", func(h *host) error {
		const in, out = "bench-in", "bench-out"
		for _, name := range []string{in, out} {
			if _, _, err := h.streams.Create(ctx, shards.Config{Name: name, Shards: 1}); err != nil {
				return err
			}
		}
		if _, err := h.functions.Deploy(ctx, out, echoModule, runtime.Config{Emit: []string{out}}); err != nil {
			return err
		}
		if _, _, err := h.mappings.Put(ctx, triggers.Mapping{Name: "bench", Stream: in, Function: out}); err != nil {
			return err
		}
		took, err := b.roundTrips(ctx, h, in, out)
		if err != nil {
			return err
		}
		return errors.Join(
			b.report(measured("latency.put_to_output.p50", milliseconds(quantile(took, 0.5)), "ms").atMost(1)),
			b.report(measured("latency.put_to_output.p99", milliseconds(quantile(took, 0.99)), "ms").atMost(5)),
		)
	})
}

func (b *bench) roundTrips(ctx context.Context, h *host, in, out string) ([]time.Duration, error) {
	source, err := h.streams.Stream(in)
	if err != nil {
		return nil, err
	}
	target, err := h.streams.Stream(out)
	if err != nil {
		return nil, err
	}
	reader, err := target.Reader(0, shards.Start{Kind: shards.Oldest})
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	var results []shards.Result
	until := time.Now().Add(b.span(2*time.Second, 10*time.Second))
	for i := 0; time.Now().Before(until); i++ {
		data := fmt.Appendf(make([]byte, 0, benchData), "%d", i)
		began := time.Now()
		if results, err = source.Put(ctx, []record.Record{{Key: []byte("k"), Data: data}}, results[:0]); err != nil {
			return nil, err
		}
		run, err := reader.Next(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
		if got := run.First(); run.Len() != 1 || !bytes.Equal(got.Data, data) {
			return nil, fmt.Errorf("record %d came back as %d records beginning with %q", i, run.Len(), got.Data)
		}
	}
	return took, nil
}
