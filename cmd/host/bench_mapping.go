package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

const (
	mappingBatch = 500
	lambdaTouch  = "cmd/host/testdata/touch/lambda"
)

// mapping measures event source mappings: how fast they bring a stream's records to a function, and how soon.
func (b *bench) mapping(ctx context.Context) error {
	return errors.Join(b.catchUp(ctx), b.invoked(ctx, "mapping", 1, 1000, 1, 5))
}

// thousand measures how soon 1,000 mappings on as many shards of streams of their own invoke their function.
func (b *bench) thousand(ctx context.Context) error {
	streams, rate := b.rounds(100, 1000), 10
	bare, err := b.bareFiles(ctx, streams, rate)
	if err != nil {
		return err
	}
	return errors.Join(
		b.report(measured("mapping.1000.bare.p50", milliseconds(quantile(bare, 0.5)), "ms")),
		b.report(measured("mapping.1000.bare.p99", milliseconds(quantile(bare, 0.99)), "ms")),
		b.invoked(ctx, "mapping.1000", streams, rate, 0, 20),
	)
}

// catchUp measures how many records a second of 1 KiB go through a mapping, from the log to a checkpoint that is on disk.
func (b *bench) catchUp(ctx context.Context) error {
	return b.withHost(ctx, "mapping", func(h *host) error {
		n := b.rounds(200_000, 6_000_000)
		if err := fillShard(ctx, h, "bench", n); err != nil {
			return err
		}
		for _, t := range touchers {
			got, err := b.inTurn(
				func() (float64, error) { return readAll(ctx, h, "bench", n) },
				func() (float64, error) { return b.drive(ctx, h, filepath.FromSlash(t.source), mappingBatch, n) },
			)
			if missing := (*toolchainError)(nil); errors.Is(err, os.ErrNotExist) || errors.As(err, &missing) {
				b.a.say("left out: mapping.%s: %s", t.figure, oneLine(err))
				continue
			}
			if err != nil {
				return err
			}
			f := measured("mapping."+t.figure, got[1], "records/s")
			if t.figure == "invoke" {
				f = f.atLeast(400_000)
			} else {
				f = f.against(got[0]).atLeast(0.9)
			}
			if err := b.report(f); err != nil {
				return err
			}
		}
		return b.lambdaDoor(ctx, h)
	})
}

// lambdaDoor measures a function that takes Lambda's event, with batches and with single records.
func (b *bench) lambdaDoor(ctx context.Context, h *host) error {
	n := b.rounds(2_000, 20_000)
	few, many := n, 10*n
	if err := errors.Join(fillShard(ctx, h, "lambda.1", few), fillShard(ctx, h, "lambda", many)); err != nil {
		return err
	}
	got, err := b.inTurn(
		func() (float64, error) { return b.driveStream(ctx, h, "lambda.1", lambdaTouch, 1, few) },
		func() (float64, error) { return b.driveStream(ctx, h, "lambda", lambdaTouch, mappingBatch, many) },
	)
	if errors.Is(err, os.ErrNotExist) {
		b.a.say("left out: mapping.lambda needs a checkout of Shardmill (--source)")
		return nil
	}
	if err != nil {
		return err
	}
	return b.report(measured("mapping.lambda", got[1], "records/s").against(got[0]).atLeast(10))
}

// inTurn takes measurements a few times, one after the other, and returns the median of each: a machine is not as fast at one moment as at
// another, and what is read for the first time is not in memory.
func (b *bench) inTurn(measure ...func() (float64, error)) ([]float64, error) {
	medians := make([]float64, len(measure))
	values := make([][]float64, len(measure))
	for range b.rounds(1, 9) {
		for i, m := range measure {
			v, err := m()
			if err != nil {
				return nil, err
			}
			values[i] = append(values[i], v)
		}
	}
	for i, v := range values {
		slices.Sort(v)
		medians[i] = v[len(v)/2]
	}
	return medians, nil
}

func (b *bench) drive(ctx context.Context, h *host, source string, batch, n int) (float64, error) {
	return b.driveStream(ctx, h, "bench", source, batch, n)
}

// driveStream has a mapping bring all n records of a stream to a function, and says how many it settled a second.
func (b *bench) driveStream(ctx context.Context, h *host, stream, source string, batch, n int) (float64, error) {
	if source == lambdaTouch {
		source = filepath.FromSlash(source)
	}
	source = filepath.Join(b.source, source)
	if _, err := os.Stat(source); err != nil {
		return 0, err
	}
	module, err := buildModule(ctx, source)
	if err != nil {
		return 0, err
	}
	if _, err := h.functions.Deploy(ctx, "touch", module, runtime.Config{}); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, _, err := h.mappings.Put(ctx, triggers.Mapping{Name: "touch", Stream: stream, Function: "touch", BatchSize: batch}); err != nil {
		return 0, err
	}
	s, err := h.streams.Stream(stream)
	if err != nil {
		return 0, err
	}
	last := record.MakeSequence(1, uint64(n))
	for {
		status, err := h.mappings.Get("touch")
		if err != nil {
			return 0, err
		}
		if c := status.Counts(); c.Failed+c.Refused > 0 {
			return 0, fmt.Errorf("the mapping has failed: %+v", c)
		}
		if saved, ok := s.Checkpoint("mapping/"+status.ID, 0); ok && record.Counter(saved.Sequence) >= record.Counter(last) {
			break
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
	took := time.Since(began)
	return float64(n) / took.Seconds(), h.mappings.Delete(ctx, "touch")
}

// fillShard makes a stream of one shard with n records of 1 KiB.
func fillShard(ctx context.Context, h *host, name string, n int) error {
	if _, _, err := h.streams.Create(ctx, shards.Config{Name: name, Shards: 1}); err != nil {
		return err
	}
	s, err := h.streams.Stream(name)
	if err != nil {
		return err
	}
	records := slices.Repeat([]record.Record{{Key: []byte("partition"), Data: make([]byte, benchData)}}, mappingBatch)
	var results []shards.Result
	for at := 0; at < n; at += mappingBatch {
		if results, err = s.Put(ctx, records[:min(mappingBatch, n-at)], results[:0]); err != nil {
			return err
		}
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
		}
	}
	return nil
}

// readAll is how many records a second are read of a shard that has n, and looked at once.
func readAll(ctx context.Context, h *host, name string, n int) (float64, error) {
	s, err := h.streams.Stream(name)
	if err != nil {
		return 0, err
	}
	reader, err := s.Reader(0, shards.Start{Kind: shards.Oldest})
	if err != nil {
		return 0, err
	}
	began, sum := time.Now(), 0
	for got := 0; got < n; {
		run, err := reader.Next(ctx)
		if err != nil {
			return 0, err
		}
		for r := range run.All() {
			sum += len(r.Key) + int(r.Data[0])
		}
		got += run.Len()
	}
	if sum == 0 {
		return 0, errors.New("the records came back empty")
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// clocked are functions of which each call notes how old its records are, by the time in their data.
type clocked struct {
	triggers.Functions
	mu   sync.Mutex
	took []time.Duration
}

func (c *clocked) Invoke(ctx context.Context, call runtime.Call, reply *runtime.Reply) error {
	err := c.Functions.Invoke(ctx, call, reply)
	now := time.Now().UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, run := range call.Records {
		for r := range run.All() {
			c.took = append(c.took, time.Duration(now-int64(binary.LittleEndian.Uint64(r.Data))))
		}
	}
	return err
}

// invoked measures, for so many streams of one shard, each with a mapping and with so many single puts a second, how long it takes from
// the start of a put until the function has run. A goal of 0 is none.
func (b *bench) invoked(ctx context.Context, name string, streams, rate int, p50, p99 float64) error {
	return b.withHost(ctx, name, func(h *host) (err error) {
		functions := &clocked{Functions: h.functions}
		table, err := h.catalog.Table(ctx, "bench")
		if err != nil {
			return err
		}
		own, err := triggers.Open(ctx, triggers.Options{Streams: triggers.FromStore(h.streams), Functions: functions, Definitions: table, Logger: h.config.logger})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, own.Close(context.WithoutCancel(ctx))) }()
		module, err := buildModule(ctx, filepath.Join(b.source, filepath.FromSlash(touchers[0].source)))
		if errors.Is(err, os.ErrNotExist) {
			b.a.say("left out: %s figures need a checkout of Shardmill (--source)", name)
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := h.functions.Deploy(ctx, "f", module, runtime.Config{}); err != nil {
			return err
		}
		var targets []*shards.Stream
		for i := range streams {
			stream := "s" + strconv.Itoa(i)
			if _, _, err := h.streams.Create(ctx, shards.Config{Name: stream, Shards: 1}); err != nil {
				return err
			}
			if _, _, err := own.Put(ctx, triggers.Mapping{Name: stream, Stream: stream, Function: "f"}); err != nil {
				return err
			}
			s, err := h.streams.Stream(stream)
			if err != nil {
				return err
			}
			targets = append(targets, s)
		}
		used, began := processorTime(), time.Now()
		if err := putAtRate(ctx, targets, rate, b.span(3*time.Second, 15*time.Second)); err != nil {
			return err
		}
		took := time.Since(began)
		cores := (processorTime() - used).Seconds() / took.Seconds()
		return b.reportInvoked(name, functions, streams, took, cores, p50, p99)
	})
}

func (b *bench) reportInvoked(name string, functions *clocked, streams int, span time.Duration, cores, p50, p99 float64) error {
	functions.mu.Lock()
	took := slices.Clone(functions.took)
	functions.mu.Unlock()
	if len(took) == 0 {
		return errors.New("nothing was invoked")
	}
	half := measured(name+".put_to_invoked.p50", milliseconds(quantile(took, 0.5)), "ms")
	if p50 > 0 {
		half = half.atMost(p50)
	}
	err := errors.Join(b.report(half), b.report(measured(name+".put_to_invoked.p99", milliseconds(quantile(took, 0.99)), "ms").atMost(p99)))
	if streams > 1 {
		var m goruntime.MemStats
		goruntime.ReadMemStats(&m)
		err = errors.Join(err, b.report(measured(name+".rate", float64(len(took))/span.Seconds(), "records/s")))
		err = errors.Join(err, b.report(measured(name+".cpu", 100*cores, "% of core")), b.report(measured(name+".memory", float64(m.HeapInuse+m.StackInuse)/(1<<20), "MiB")))
	}
	return err
}

// putAtRate puts so many single records a second into each stream, whose data begins with the time.
func putAtRate(ctx context.Context, targets []*shards.Stream, rate int, span time.Duration) error {
	return atRate(ctx, rate*len(targets), span, func(i int) error {
		data := binary.LittleEndian.AppendUint64(make([]byte, 0, benchData), uint64(time.Now().UnixNano()))[:benchData]
		_, err := targets[i%len(targets)].Put(ctx, []record.Record{{Key: []byte("k"), Data: data}}, nil)
		return err
	})
}
