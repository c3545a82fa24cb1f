package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

// invoke measures records of 1 KiB through a function in Go that touches each of them.
func (b *bench) invoke(ctx context.Context) error {
	source := filepath.Join(b.source, "runtime", "testdata", "touch")
	if _, err := exec.LookPath("go"); err != nil {
		b.a.say("left out: invoke figures need the Go toolchain")
		return nil
	}
	if _, err := os.Stat(source); err != nil {
		b.a.say("left out: invoke figures need a checkout of Shardmill (--source)")
		return nil
	}
	out := filepath.Join(b.dir, "touch.wasm")
	if err := buildFunction(ctx, source, out); err != nil {
		return err
	}
	module, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	return b.withHost(ctx, "invoke", func(h *host) error {
		if _, err := h.functions.Deploy(ctx, "touch", module, runtime.Config{}); err != nil {
			return err
		}
		for _, n := range []int{100, 1000} {
			rate, allocations, err := b.calls(ctx, h, n)
			if err != nil {
				return err
			}
			if err := errors.Join(
				b.report(measured(fmt.Sprintf("invoke.batch%d", n), rate, "records/s").atLeast(5_000_000)),
				b.report(measured(fmt.Sprintf("invoke.batch%d.allocs", n), allocations, "per record").atMost(0.2)),
			); err != nil {
				return err
			}
		}
		return nil
	})
}

// calls invokes the function with batches of n records, one call after the other.
func (b *bench) calls(ctx context.Context, h *host, n int) (rate, allocations float64, err error) {
	var w record.Builder
	for range n {
		if err := w.Append(record.Record{Key: []byte("partition"), Data: make([]byte, benchData)}); err != nil {
			return 0, 0, err
		}
	}
	call := runtime.Call{Function: "touch", Kind: runtime.KindBatch, Attempt: 1, Records: []record.Run{w.Run()}}
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
