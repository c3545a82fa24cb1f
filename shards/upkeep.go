package shards

import (
	"context"
	"time"
)

const (
	// firstScrub is when the first scrub begins at the latest, so that a host that is often restarted has some.
	firstScrub = time.Hour
	// scrubPause keeps a scrub slow: one segment, of 64 MiB at most as a rule, in this time.
	scrubPause = 5 * time.Second
)

// trim drops the expired segments of all streams, now and then every interval, until ctx ends. One goroutine
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
		}
		if wait(ctx, interval) != nil {
			return
		}
	}
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
