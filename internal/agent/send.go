package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// putter is what a sender needs of a service. It blocks until ctx is done at most; it does not keep records. An error means that
// nobody knows what became of them.
type putter interface {
	put(ctx context.Context, f *Flow, records []entry) ([]result, error)
}

// sender is the goroutine that puts a flow's buffers, one request at a time.
type sender struct {
	flow      *Flow
	service   putter
	positions *positions
	log       *slog.Logger
	counts    *counts
	slots     chan struct{} // holds a token per request under way, of all flows

	complained time.Time // when a failure was last logged
}

// complainEvery is how often a failure that goes on is logged.
const complainEvery = time.Minute

// run puts what comes in until in is closed. When ctx is done before, what is left is not sent: it is in the files still.
func (s *sender) run(ctx context.Context, in <-chan *buffer) {
	for b := range in {
		if s.send(ctx, b.records) == nil {
			marks := make([]position, 0, len(b.marks))
			for _, pos := range b.marks {
				marks = append(marks, pos)
			}
			s.positions.acknowledge(s.flow.Name(), marks)
		} else {
			for range in { // nothing may be acknowledged behind what was not sent
			}
		}
	}
}

// send puts records, and what was refused of them again, in order, until all are taken. Its only error is ctx's.
func (s *sender) send(ctx context.Context, records []entry) error {
	for failures := 0; len(records) > 0; {
		results, err := s.attempt(ctx, records)
		if ctx.Err() != nil && err != nil {
			return ctx.Err()
		}
		left, why := s.refused(records, results, err)
		if len(left) == 0 {
			s.recovered(failures)
			return nil
		}
		if failures++; len(left) < len(records) {
			failures = 1 // some were taken
		}
		records = left
		s.complain(why, len(left))
		pause(ctx, backoff(s.flow, failures, rand.Float64()))
	}
	return nil
}

func (s *sender) attempt(ctx context.Context, records []entry) ([]result, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.slots }()
	s.counts.requests.Add(1)
	return s.service.put(ctx, s.flow, records)
}

// refused is what was not taken of records, in order, and why not.
func (s *sender) refused(records []entry, results []result, err error) (left []entry, why error) {
	if err != nil {
		s.counts.failures.Add(1)
		return records, err
	}
	for i, r := range results {
		if r.ErrorCode == "" {
			s.counts.sent.Add(1)
			s.counts.bytes.Add(int64(len(records[i].data)))
			continue
		}
		if why == nil {
			why = fmt.Errorf("%s: %s", r.ErrorCode, r.ErrorMessage)
		}
		left = append(left, records[i])
	}
	if why != nil {
		s.counts.failures.Add(1)
	}
	return left, why
}

// complain logs a failure, seldom.
func (s *sender) complain(why error, records int) {
	if now := time.Now(); now.Sub(s.complained) >= complainEvery {
		s.complained = now
		s.log.Warn("records could not be put; this is tried again, and the files wait", "records", records, "error", why)
	}
}

func (s *sender) recovered(failures int) {
	if failures > 1 {
		s.log.Info("records can be put again")
		s.complained = time.Time{}
	}
}

// backoff is the wait after so many failures in a row: doubled each time, less up to half of it. r is in [0, 1).
func backoff(f *Flow, failures int, r float64) time.Duration {
	d := f.RetryFirst
	for ; failures > 1 && d < f.RetryMost; failures-- {
		d *= 2
	}
	d = min(d, f.RetryMost)
	return d - time.Duration(r*float64(d/2))
}
