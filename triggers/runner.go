package triggers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// settings are what an attempt goes by. They are replaced as a whole when the mapping changes.
type settings struct {
	Mapping
	policy policy
}

// runner is one mapping at work: its pollers and how to stop them.
type runner struct {
	name       string
	functions  Functions
	log        *slog.Logger
	retry      policy // the waits; MaxAttempts is each mapping's own
	batchSizes prometheus.Observer

	source      Source
	settings    atomic.Pointer[settings]
	launch      func(*poller) // begins a poller's goroutine
	stopReading context.CancelCauseFunc
	cutOff      context.CancelFunc
	wg          sync.WaitGroup

	mu     sync.Mutex
	family family
	def    stored
	state  State // Enabled, or why no poller runs
	reason string
}

// stored is a definition and the revision that the catalog knows it by.
type stored struct {
	definition
	revision uint64
}

// set makes a definition the one in force. The pollers take it up with their next batch or attempt.
func (r *runner) set(def stored) {
	s := &settings{Mapping: def.mapping(r.name), policy: r.retry}
	s.policy.MaxAttempts = def.MaxAttempts
	r.settings.Store(s)
	r.mu.Lock()
	r.def = def
	r.mu.Unlock()
}

// start begins to read the stream's shards. A mapping that cannot run is left in the state Failed.
func (r *runner) start(streams Streams) {
	if err := r.open(streams); err != nil {
		r.fail(err)
		return
	}
	read, stopReading := context.WithCancelCause(context.Background())
	work, cutOff := context.WithCancel(context.Background())
	r.stopReading, r.cutOff = stopReading, cutOff
	r.launch = func(p *poller) {
		mine, stop := context.WithCancelCause(read)
		p.stop = stop
		p.progress.running()
		r.wg.Go(func() {
			defer stop(errStopped)
			if p.run(mine, work) {
				r.follow(p)
			}
		})
	}
	r.follow(nil)
}

// follow starts what can be read: at first, and after a poller has come to the end of its shard.
func (r *runner) follow(ended *poller) {
	listed := r.source.Shards()
	r.mu.Lock()
	r.family.end(ended)
	missing := r.family.missing(listed)
	r.mu.Unlock()
	var made []*poller
	for _, shard := range missing {
		made = append(made, r.newPoller(shard))
	}
	r.mu.Lock()
	r.family.take(made, listed)
	ready := r.family.ready()
	r.mu.Unlock()
	for _, p := range ready {
		r.launch(p)
	}
}

// newPoller makes the poller of a shard, which waits for its parents'.
func (r *runner) newPoller(shard shards.ShardID) *poller {
	r.mu.Lock()
	consumer := r.def.consumer()
	r.mu.Unlock()
	cp, ok := r.source.Checkpoint(consumer, shard)
	if !ok {
		cp = shards.Checkpoint{Consumer: consumer, Shard: uint32(shard)}
	}
	p := &poller{r: r, shard: shard, parents: r.source.Parents(shard), log: r.log.With("shard", shard.String())}
	p.progress.status.State = ShardWaiting
	p.saver = newSaver(r.source, cp, r.retry.Failure, p.saveFailed)
	return p
}

// pollers are those of all shards, and the counts of shards that are gone.
func (r *runner) pollers() ([]*poller, Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.family.pollers), r.family.past
}

// open finds the stream.
func (r *runner) open(streams Streams) error {
	def := r.def
	source, err := streams.Open(def.Stream)
	switch {
	case errors.Is(err, shards.ErrNotFound):
		return fmt.Errorf("stream %q does not exist", def.Stream)
	case err != nil:
		return err
	case source.ID() != def.StreamID:
		return fmt.Errorf("stream %q has been deleted, and another one made under its name", def.Stream)
	}
	r.source = source
	return nil
}

// fail notes why the mapping as a whole cannot run, once.
func (r *runner) fail(err error) {
	r.mu.Lock()
	first := r.state == Enabled
	if first {
		r.state, r.reason = Failed, err.Error()
	}
	r.mu.Unlock()
	if first {
		r.log.Error("the mapping cannot run", "error", err)
	}
}

// stopping notes that the mapping is being stopped, and stops reading; invocations go on.
func (r *runner) stopping(state State) {
	r.mu.Lock()
	r.state, r.reason = state, ""
	r.mu.Unlock()
	if r.stopReading != nil {
		r.stopReading(errStopped)
	}
}

// cut ends the invocations under way.
func (r *runner) cut() {
	if r.cutOff != nil {
		r.cutOff()
	}
}

// drain waits until the runners' invocations have ended and their checkpoints are saved; when ctx is done it
// cuts them off. Their reading must have been stopped. Error: ErrDrain, with what was cut off.
func drain(ctx context.Context, runners []*runner) error {
	done := make(chan struct{})
	go func() {
		for _, r := range runners {
			r.wg.Wait()
		}
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	for _, r := range runners {
		r.cut()
	}
	<-done
	return lossOf(runners)
}

// lossOf is an ErrDrain that names what the runners, which have ended, had to leave unfinished; nil when that is nothing.
func lossOf(runners []*runner) error {
	const most = 10 // that are named
	var lost []string
	for _, r := range runners {
		pollers, _ := r.pollers()
		for _, p := range pollers {
			if p.unfinished != "" {
				lost = append(lost, fmt.Sprintf("mapping %s, %s: %s", r.name, p.shard, p.unfinished))
			}
		}
	}
	switch n := len(lost); {
	case n == 0:
		return nil
	case n > most:
		lost = append(lost[:most], fmt.Sprintf("%d shards more", n-most))
	}
	return fmt.Errorf("%w: %s", ErrDrain, strings.Join(lost, "; "))
}

// pin saves where a mapping that begins at the newest records begins, so that records put after Put has
// returned are delivered even if the host ends before a first batch is settled.
func pin(ctx context.Context, source Source, consumer string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(256)
	for _, shard := range source.Shards() {
		g.Go(func() error {
			r, err := source.Reader(shard, shards.Start{Kind: shards.Newest})
			if err != nil {
				return err
			}
			_, err = source.SaveCheckpoint(ctx, shards.Checkpoint{Consumer: consumer, Shard: uint32(shard), Sequence: r.Position() - 1})
			return err
		})
	}
	return g.Wait()
}

// status is the mapping as of now.
func (r *runner) status(now time.Time) Status {
	r.mu.Lock()
	s := Status{
		Mapping: r.def.mapping(r.name), ID: r.def.ID, Created: r.def.Created, Modified: r.def.Modified,
		State: r.state, Reason: r.reason,
	}
	r.mu.Unlock()
	pollers, past := r.pollers()
	s.Past = past
	for _, p := range pollers {
		s.Shards = append(s.Shards, p.report(now))
	}
	if s.State != Enabled {
		return s
	}
	if err := checkFunction(r.functions, s.Function); err != nil {
		s.State, s.Reason = Blocked, err.Error()
	}
	return s
}

// checkFunction makes sure that the function exists and handles stream batches.
func checkFunction(functions Functions, name string) error {
	f, err := functions.Get(name)
	if errors.Is(err, runtime.ErrNotFound) {
		return field.Invalid("function", name, "the name of a function that exists")
	}
	if err != nil {
		return fmt.Errorf("function %q: %w", name, err)
	}
	if !f.Kinds.Has(runtime.KindBatch) {
		return field.Invalid("function", name, "the name of a function that handles stream batches")
	}
	return nil
}
