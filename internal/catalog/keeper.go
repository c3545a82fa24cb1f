package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxGroup bounds how many changes one commit of the snapshot takes.
	maxGroup = 256
	// waitTimeout bounds how long a writer waits for a change that JetStream has
	// acknowledged and does not deliver.
	waitTimeout = 30 * time.Second
	// retryInterval is the time between attempts to write a snapshot that has failed.
	retryInterval = time.Second
)

// keeper takes the changes JetStream delivers, in the order of their revisions, makes
// them durable in the snapshot, lets the tables know them, and only then wakes the
// writers that wait for them. It is the one goroutine that writes the snapshot.
type keeper struct {
	snapshot *snapshot
	apply    func(change)
	metrics  *metrics
	log      *slog.Logger
	incoming chan change
	done     chan struct{} // closed when run has returned

	mu      sync.Mutex
	seen    uint64 // highest revision taken, durable or not
	durable uint64 // highest revision such that all up to it are in the snapshot
	failure error  // why seen is not durable
	waiters []waiter
	stopped bool
}

type waiter struct {
	revision uint64
	result   chan error // holds one
}

func newKeeper(s *snapshot, apply func(change), m *metrics, log *slog.Logger) *keeper {
	m.bytes.Set(float64(s.bytes()))
	return &keeper{
		snapshot: s, apply: apply, metrics: m, log: log,
		incoming: make(chan change, maxGroup), done: make(chan struct{}),
		seen: s.last, durable: s.last,
	}
}

// offer hands a change in; it blocks while the keeper is behind.
func (k *keeper) offer(c change) {
	select {
	case k.incoming <- c:
	case <-k.done:
	}
}

// run works until ctx ends, then refuses all who wait.
func (k *keeper) run(ctx context.Context) {
	defer func() {
		k.stop()
		k.snapshot.abandon()
		close(k.done)
	}()
	group := make([]change, 0, maxGroup)
	retry := time.NewTimer(retryInterval)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-k.incoming:
			group = k.collect(append(group[:0], c))
			k.commit(group)
		case <-retry.C:
			k.again()
		}
		if k.err() != nil {
			retry.Reset(retryInterval)
		}
	}
}

// again writes a snapshot that could not be written, without a change that asks for it.
func (k *keeper) again() {
	if k.err() == nil || k.snapshot.rewrite() != nil {
		return // or the reason is still the one that was told
	}
	k.log.Info("catalog snapshot is written again", "file", snapshotName)
	k.metrics.bytes.Set(float64(k.snapshot.bytes()))
	k.settle(k.snapshot.last, nil)
}

// collect adds what else waits already.
func (k *keeper) collect(group []change) []change {
	for len(group) < maxGroup {
		select {
		case c := <-k.incoming:
			group = append(group, c)
		default:
			return group
		}
	}
	return group
}

func (k *keeper) commit(group []change) {
	// After a reconnect a consumer may give a change twice.
	last := k.snapshot.last
	fresh := group[:0]
	for _, c := range group {
		if c.revision > last {
			fresh = append(fresh, c)
			last = c.revision
		}
	}
	if len(fresh) == 0 {
		return
	}
	start := time.Now()
	err := k.snapshot.commit(fresh)
	k.metrics.snapshot.Observe(time.Since(start).Seconds())
	k.metrics.bytes.Set(float64(k.snapshot.bytes()))
	for _, c := range fresh {
		k.apply(c)
	}
	if err != nil {
		k.metrics.failures.Inc()
		k.log.Error("catalog snapshot could not be written; the writes are refused", "file", snapshotName, "error", err)
		err = fmt.Errorf("%w: write %s: %w", ErrUnknownOutcome, snapshotName, err)
	}
	k.settle(last, err)
}

// settle answers the writers whose changes have been taken.
func (k *keeper) settle(revision uint64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen, k.failure = revision, err
	if err == nil {
		k.durable = revision
	}
	rest := k.waiters[:0]
	for _, w := range k.waiters {
		if w.revision > revision {
			rest = append(rest, w)
			continue
		}
		w.result <- err
	}
	clear(k.waiters[len(rest):])
	k.waiters = rest
}

// wait returns when the change with this revision is durable, or was not made so.
func (k *keeper) wait(ctx context.Context, revision uint64) error {
	k.mu.Lock()
	switch {
	case revision <= k.durable:
		k.mu.Unlock()
		return nil
	case revision <= k.seen:
		err := k.failure
		k.mu.Unlock()
		return err
	case k.stopped:
		k.mu.Unlock()
		return ErrClosed
	}
	w := waiter{revision, make(chan error, 1)}
	k.waiters = append(k.waiters, w)
	k.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, waitTimeout, fmt.Errorf("JetStream has not delivered it within %v", waitTimeout))
	defer cancel()
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

// err is why the snapshot is behind the tables, nil when it is not.
func (k *keeper) err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failure
}

func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	for _, w := range k.waiters {
		w.result <- ErrClosed
	}
	k.waiters = nil
}
