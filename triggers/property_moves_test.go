package triggers

import (
	"context"
	"slices"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// inForce is settings, and when they were those of some call: until those that came next were taken up.
type inForce struct {
	Mapping
	from, to time.Time // to zero: they still are
}

// adopt changes the mapping, or makes it.
func (w *world) adopt(b *bench, m Mapping) {
	w.mu.Lock()
	w.largest = max(w.largest, m.BatchSize)
	w.history = append(w.history, inForce{Mapping: m, from: time.Now()})
	before := len(w.history) - 2
	w.mu.Unlock()
	b.put(func(x *Mapping) { *x = m })
	w.mu.Lock()
	if before >= 0 {
		w.history[before].to = time.Now()
	}
	w.mu.Unlock()
}

// mapping is the newest settings.
func (w *world) mapping() Mapping { return w.history[len(w.history)-1].Mapping }

// during says whether something holds for settings that were in force at a time.
func (w *world) during(at time.Time, holds func(*Mapping) bool) bool {
	return slices.ContainsFunc(w.history, func(s inForce) bool {
		return !at.Before(s.from) && (s.to.IsZero() || !at.After(s.to)) && holds(&s.Mapping)
	})
}

// ever says whether something has held for the settings at any time.
func (w *world) ever(holds func(*Mapping) bool) bool {
	return slices.ContainsFunc(w.history, func(s inForce) bool { return holds(&s.Mapping) })
}

func givesUp(m *Mapping) bool { return m.MaxAttempts > 0 || m.MaxRecordAge > 0 }

func filters(m *Mapping) bool { return len(m.Filters) > 0 }

// mixed says whether aggregates have ever been handed over as they are stored: then the records in one are in the order of its key, and not of their own.
func (w *world) mixed() bool { return w.ever(func(m *Mapping) bool { return m.Aggregated }) }

// filtered says whether a filter may have kept a record from the function. A batch that is being gathered still has the filter of its beginning.
func (w *world) filtered(it *item) bool { return it.key == "k0" && w.ever(filters) }

// excluded says whether a record can never come.
func (w *world) excluded(it *item) bool {
	return it.key == "k0" && !w.mixed() && !w.ever(func(m *Mapping) bool { return !filters(m) })
}

// begin has records put, and then makes the mapping, which passes over those before its starting position.
func (e *episode) begin(b *bench, w *world) Mapping {
	m := e.Mapping
	since := time.Now()
	for i, s := range e.Before {
		if i == e.Since {
			since = time.Now()
		}
		s.do(b, w, &m)
	}
	if m.StartingPosition == AtTime {
		m.StartingTime = since
	}
	for _, it := range w.records {
		it.passed = m.StartingPosition == Newest || m.StartingPosition == AtTime && it.arrival.Before(since.Truncate(time.Microsecond))
		it.done = it.passed
	}
	w.adopt(b, m)
	return m
}

// seeking is the key of a context that says that a checkpoint is being moved, and not saved.
type seeking struct{}

// seek moves the mapping, in one shard or in all.
func (w *world) seek(b *bench, shard shards.ShardID, how int, back time.Duration) {
	to := Target{}
	if how >= 3 {
		to.Shard = shard.String()
	}
	switch how % 3 {
	case 0:
		to.Position = Oldest
	case 1:
		to.Position = Newest
	case 2:
		to.Position, to.Time = AtTime, time.Now().Add(-back)
	}
	if first := b.stream.nextOf(int(shard)); how == 6 && record.Counter(first) > 1 {
		to = Target{Sequence: first - 1, Shard: shard.String()}
	}
	w.mu.Lock()
	w.target = &to
	w.mu.Unlock()
	ctx := context.WithValue(context.Background(), seeking{}, true)
	if _, err := b.Seek(ctx, "m", to); err != nil {
		b.t.Fatal(err)
	}
}

// moved is told of each checkpoint before it is checked. One that seek moves, when nothing runs any more, says which records are to come again, or not at all.
func (w *world) moved(ctx context.Context, cp shards.Checkpoint) {
	if ctx.Value(seeking{}) == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, it := range w.records {
		if uint32(it.shard) != cp.Shard {
			continue
		}
		it.passed = it.sequence <= cp.Sequence
		it.done = it.passed
		it.counted = false // the window is forgotten
		if want := w.skips(it); it.passed != want {
			w.violated("seek to %+v moved shard %d to %d: %s, %d, is passed over: %v", *w.target, cp.Shard, cp.Sequence, it.name, it.sequence, it.passed)
		}
	}
}

// skips says whether the seek under way passes over a record.
func (w *world) skips(it *item) bool {
	switch to := w.target; {
	case to.Sequence != 0:
		return it.sequence < to.Sequence
	case to.Position == AtTime:
		return it.arrival.Before(to.Time.Truncate(time.Microsecond))
	default:
		return to.Position == Newest
	}
}
