package shards

import (
	"context"
	"errors"
	"time"
)

// scaler looks at the traffic of the streams that are on demand, every interval, and splits and merges their shards, until ctx
// ends. One goroutine does it for all of them.
func (s *Store) scaler(ctx context.Context, sc Scaling) {
	last := time.Now()
	for wait(ctx, sc.Interval) == nil {
		now := time.Now()
		for _, st := range s.all() {
			if st.usable() != nil || st.def().Mode != OnDemand {
				continue
			}
			err := s.rescale(ctx, st, sc, now.Sub(last))
			if err != nil && ctx.Err() == nil && !st.gone.Load() && !errors.Is(err, ErrBusy) {
				s.logger.Error("the shards of an on-demand stream cannot be scaled; it is tried again", "stream", st.name, "error", err)
			}
		}
		last = now
	}
}

// rescale does what the traffic of the time that has passed asks for. A change that comes first makes it void: the shards
// are then looked at anew.
func (s *Store) rescale(ctx context.Context, st *Stream, sc Scaling, passed time.Duration) error {
	sh := st.shape.Load()
	shards := make([]observed, len(sh.routing.slots))
	for i, slot := range sh.routing.slots {
		d, f := &sh.def.Shards[slot], sh.flows[slot]
		w := &f.watch
		w.look(sc, f.records.Load(), f.bytes.Load(), f.samples.take(), passed)
		shards[i] = observed{d.ID, hashRange{d.StartHash, d.EndHash}, w.hot, w.cold, w.samples}
	}
	todo := sc.scale(shards, len(sh.def.Shards))
	if len(todo.splits)+len(todo.merges) == 0 {
		return nil
	}
	err := s.reshape(ctx, st, func(r *resharding) error {
		if r.def.Mode != OnDemand {
			return nil
		}
		for _, split := range todo.splits {
			if err := r.split(split.id, split.at); err != nil {
				return err
			}
		}
		for _, m := range todo.merges {
			if err := r.merge(m[0], m[1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.logger.Info("scaled an on-demand stream", "stream", st.name, "split", len(todo.splits), "merged", len(todo.merges),
			"shards", len(st.shape.Load().routing.slots))
	}
	return err
}
