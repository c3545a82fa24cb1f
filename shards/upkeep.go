package shards

import (
	"context"
	"slices"
	"time"
)

const (
	// firstScrub is when the first scrub begins at the latest, so that a host that is often restarted has some.
	firstScrub = time.Hour
	// scrubPause keeps a scrub slow: one segment, of 64 MiB at most as a rule, in this time.
	scrubPause = 5 * time.Second
)

// trim drops the expired segments and shards of all streams, now and then every interval, until ctx ends. One goroutine
// does it for all of them.
func (s *Store) trim(ctx context.Context, interval time.Duration) {
	for {
		for _, st := range s.all() {
			if st.usable() != nil {
				continue
			}
			dropped, err := st.log.Trim(ctx, st.cutoff())
			s.metrics.segmentsTrimmed.Add(float64(dropped))
			if err != nil && ctx.Err() == nil && !st.gone.Load() {
				s.logger.Error("expired segments cannot be dropped", "stream", st.name, "error", err)
			}
			if err := s.tidy(ctx, st); err != nil && ctx.Err() == nil && !st.gone.Load() {
				s.logger.Error("expired shards cannot be removed", "stream", st.name, "error", err)
			}
		}
		if wait(ctx, interval) != nil {
			return
		}
	}
}

// tidy takes closed shards whose records have all passed the retention out of a stream's definition, and has the log forget the
// shards that no definition names: those, and what a failed change of the shards has left.
func (s *Store) tidy(ctx context.Context, st *Stream) error {
	if len(st.expired(st.def())) == 0 && len(st.unlisted()) == 0 {
		return nil
	}
	done, err := s.begin(ctx, st.name)
	if err != nil {
		return err
	}
	defer done()
	if err := st.usable(); err != nil {
		return err
	}
	err = s.edit(ctx, st, func(def *definition) error {
		expired := st.expired(def)
		def.Shards = slices.DeleteFunc(slices.Clone(def.Shards), func(s shardDefinition) bool { return slices.Contains(expired, s.ID) })
		return nil
	})
	if err != nil {
		return err
	}
	return st.log.Forget(ctx, st.unlisted())
}

// expired are the closed shards that hold no record within the retention, and have been closed for so long.
func (st *Stream) expired(def *definition) (ids []ShardID) {
	cutoff := time.UnixMicro(st.cutoff())
	for i := range def.Shards {
		s := &def.Shards[i]
		if s.State != ShardClosed || !s.Closed.Before(cutoff) {
			continue
		}
		if oldest, next := st.trimPoint(uint32(s.ID)); oldest == next {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// unlisted are the shards that the log knows and the definition does not.
func (st *Stream) unlisted() (ids []uint32) {
	def := st.def()
	for _, id := range st.log.Shards() {
		if _, ok := def.shard(ShardID(id)); !ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// scrub reads and checks what all streams store, slowly, and again an interval after it is done, until ctx
// ends. What it finds damaged the log lists, counts and writes to the logger.
func (s *Store) scrub(ctx context.Context, interval time.Duration) {
	pause := func(ctx context.Context) error { return wait(ctx, scrubPause) }
	for next := min(interval, firstScrub); wait(ctx, next) == nil; next = interval {
		for _, st := range s.all() {
			if st.usable() != nil {
				continue
			}
			if err := st.log.Scrub(ctx, pause); err != nil && ctx.Err() == nil && !st.gone.Load() {
				s.logger.Error("stream cannot be scrubbed", "stream", st.name, "error", err)
			}
		}
	}
}

// wait returns nil after d, or the context's error when that ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
