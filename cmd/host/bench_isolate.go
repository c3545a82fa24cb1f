package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

const (
	poisonSource = "cmd/host/testdata/poison"
	poisonBatch  = 10_000 // the largest that a mapping can have
	poisonAt     = 6543   // which record of it is poison
)

// isolate measures how long one record that makes its function trap holds up a batch of 10,000: from the first delivery until it has
// been given up, and the checkpoint behind all of them is on disk.
func (b *bench) isolate(ctx context.Context) error {
	module, err := buildModule(ctx, filepath.Join(b.source, filepath.FromSlash(poisonSource)))
	if errors.Is(err, os.ErrNotExist) {
		b.a.say("left out: mapping.isolate needs a checkout of Shardmill (--source)")
		return nil
	}
	if err != nil {
		return err
	}
	return b.withHost(ctx, "isolate", func(h *host) error {
		if _, err := h.functions.Deploy(ctx, "poison", module, runtime.Config{}); err != nil {
			return err
		}
		var took []time.Duration
		for n := range b.rounds(5, 20) {
			d, err := isolateOne(ctx, h, fmt.Sprint("poison-", n))
			if err != nil {
				return err
			}
			took = append(took, d)
		}
		return b.report(measured("mapping.isolate", milliseconds(quantile(took, 0.5)), "ms").atMost(50))
	})
}

// isolateOne has a mapping of its own isolate the poison in a stream of its own.
func isolateOne(ctx context.Context, h *host, name string) (took time.Duration, err error) {
	stream, err := poisoned(ctx, h, name)
	if err != nil {
		return 0, err
	}
	functions := &firstCall{Functions: h.functions}
	table, err := h.catalog.Table(ctx, name)
	if err != nil {
		return 0, err
	}
	own, err := triggers.Open(ctx, triggers.Options{Streams: triggers.FromStore(h.streams), Functions: functions, Definitions: table})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, own.Close(context.WithoutCancel(ctx))) }()
	status, _, err := own.Put(ctx, triggers.Mapping{Name: name, Stream: name, Function: "poison", BatchSize: poisonBatch, MaxAttempts: 1, Isolate: true})
	if err != nil {
		return 0, err
	}
	for last := record.MakeSequence(1, poisonBatch); ; {
		if saved, ok := stream.Checkpoint("mapping/"+status.ID, 0); ok && saved.Sequence >= last {
			break
		}
		if err := pause(ctx, 100*time.Microsecond); err != nil {
			return 0, err
		}
	}
	end := time.Now()
	if status, err = own.Get(name); err != nil {
		return 0, err
	}
	began, records := functions.first()
	if c := status.Counts(); c.GivenUp != 1 || c.Settled != poisonBatch-1 || records != poisonBatch {
		return 0, fmt.Errorf("of %d records, %d in the first call, %d were given up and %d settled", poisonBatch, records, c.GivenUp, c.Settled)
	}
	return end.Sub(began), nil
}

// poisoned is a stream with as many records as a batch has at most, one of them poison.
func poisoned(ctx context.Context, h *host, name string) (*shards.Stream, error) {
	if _, _, err := h.streams.Create(ctx, shards.Config{Name: name, Shards: 1}); err != nil {
		return nil, err
	}
	stream, err := h.streams.Stream(name)
	if err != nil {
		return nil, err
	}
	records := make([]record.Record, poisonBatch)
	for i := range records {
		records[i] = record.Record{Key: fmt.Append(nil, "key", i), Data: make([]byte, 256)}
	}
	records[poisonAt].Data = []byte("panic poison")
	results, err := stream.Put(ctx, records, nil)
	if i := slices.IndexFunc(results, func(r shards.Result) bool { return r.Err != nil }); i >= 0 {
		err = results[i].Err
	}
	return stream, err
}

// firstCall are functions that note when they were called first, and with how many records.
type firstCall struct {
	triggers.Functions
	once    sync.Once
	began   time.Time
	records int
}

func (f *firstCall) Invoke(ctx context.Context, call runtime.Call, reply *runtime.Reply) error {
	f.once.Do(func() {
		f.began = time.Now()
		for _, run := range call.Records {
			f.records += run.Len()
		}
	})
	return f.Functions.Invoke(ctx, call, reply)
}

// first is when that was and how many there were; the call must have ended.
func (f *firstCall) first() (began time.Time, records int) { return f.began, f.records }
