package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

// once measures what ExactlyOnce costs: records that are stored already go through a function that emits each, with the setting
// and, as the baseline, without.
func (b *bench) once(ctx context.Context) error {
	return b.withHost(ctx, "once", func(h *host) error {
		const in, out = "bench-in", "bench-out"
		for _, name := range []string{in, out} {
			if _, _, err := h.streams.Create(ctx, shards.Config{Name: name, Shards: 1}); err != nil {
				return err
			}
		}
		if _, err := h.functions.Deploy(ctx, out, echoModule, runtime.Config{Emit: []string{out}}); err != nil {
			return err
		}
		n := b.rounds(20_000, 200_000)
		if err := fillStream(ctx, h, in, n); err != nil {
			return err
		}
		for _, batch := range []int{100, 500} {
			var best [2]float64 // without and with
			for range b.rounds(1, 3) {
				for i, exactly := range []bool{false, true} {
					rate, err := b.through(ctx, h, triggers.Mapping{Name: "bench", Stream: in, Function: out, BatchSize: batch, ExactlyOnce: exactly}, n)
					if err != nil {
						return err
					}
					best[i] = max(best[i], rate)
				}
			}
			if err := b.report(measured(fmt.Sprintf("once.batch%d", batch), best[1], "records/s").against(best[0])); err != nil {
				return err
			}
		}
		return nil
	})
}

// fillStream puts n records of 1 KiB.
func fillStream(ctx context.Context, h *host, name string, n int) error {
	stream, err := h.streams.Stream(name)
	if err != nil {
		return err
	}
	var w record.Builder
	for range 500 {
		if err := w.Append(record.Record{Key: []byte("partition"), Data: make([]byte, benchData)}); err != nil {
			return err
		}
	}
	for ; n > 0; n -= w.Len() {
		if _, err := stream.PutRun(ctx, w.Run(), nil); err != nil {
			return err
		}
	}
	return nil
}

// through makes a mapping and measures the rate at which n records come out of it.
func (b *bench) through(ctx context.Context, h *host, m triggers.Mapping, n int) (rate float64, err error) {
	target, err := h.streams.Stream(m.Function)
	if err != nil {
		return 0, err
	}
	reader, err := target.Reader(0, shards.Start{Kind: shards.Newest})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, _, err := h.mappings.Put(ctx, m); err != nil {
		return 0, err
	}
	for left := n; left > 0; {
		run, err := reader.Next(ctx)
		if err != nil {
			return 0, errors.Join(err, h.mappings.Delete(ctx, m.Name))
		}
		left -= run.Len()
	}
	took := time.Since(began)
	return float64(n) / took.Seconds(), h.mappings.Delete(ctx, m.Name)
}
