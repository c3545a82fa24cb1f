package triggers

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

// registered reads as a registered consumer of a stream. While that is not registered it returns an error and no records, and goes on with them when it is
// again. Its methods belong to the poller's goroutine, but for Behind.
type registered struct {
	Reader
	source   Source
	consumer string
	held     record.Run   // was read, and not returned
	since    atomic.Int64 // the arrival of its first record, µs; 0 = nothing is held
}

// Next is Reader's.
func (r *registered) Next(ctx context.Context) (record.Run, error) {
	if r.since.Load() == 0 {
		run, err := r.Reader.Next(ctx)
		if err != nil || r.source.HasConsumer(r.consumer) {
			return run, err
		}
		r.held = run
		r.since.Store(max(1, run.First().Arrival))
	}
	if !r.source.HasConsumer(r.consumer) {
		return record.Run{}, noConsumer(r.consumer)
	}
	r.since.Store(0)
	return r.held, nil
}

// Position is Reader's.
func (r *registered) Position() uint64 {
	if r.since.Load() != 0 {
		return r.held.First().Sequence
	}
	return r.Reader.Position()
}

// Behind is Reader's.
func (r *registered) Behind() time.Duration {
	if since := r.since.Load(); since != 0 {
		return time.Since(time.UnixMicro(since))
	}
	return r.Reader.Behind()
}
