package triggers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers/event"
)

// Options are what Triggers works with. Streams, Functions and Definitions are needed.
type Options struct {
	Streams     Streams
	Functions   Functions
	Definitions Definitions
	Failures    Failures // nil: mappings can have no on-failure destination
	Markers     Markers  // nil: mappings cannot have ExactlyOnce

	// Leftovers are the streams in which only mappings of Definitions have checkpoints: what a crash has left of others is deleted by Open.
	// nil: it stays.
	Leftovers Leftovers

	// Events makes what Lambda's events of a mapping, from the stream with an ID, share. nil: functions that take only those, because they handle
	// call kind 4 and not 1, cannot be driven.
	Events Events

	DrainTimeout time.Duration // what invocations under way get when a mapping stops; 0 = 10 s
	RetryBase    time.Duration // first wait after a function's failure, doubled each time; 0 = 1 s
	RetryMax     time.Duration // longest such wait; 0 = 30 s

	Logger     *slog.Logger          // nil = none
	Registerer prometheus.Registerer // nil = none
}

// Events makes the envelope of a mapping's events, but for shard and window. It does not block.
type Events func(m Mapping, streamID string) event.Envelope

// Throttles and the host's failures are tried again sooner: they are not the function's fault, and pass.
var refusalBackoff = backoff{Base: 100 * time.Millisecond, Max: 5 * time.Second}

// Triggers runs the mappings of a host. Its methods are safe for concurrent use.
type Triggers struct {
	opts    Options
	retry   policy
	metrics *metrics
	admin   chan struct{} // holds a token while a definition is changed; pollers never take it

	mu      sync.Mutex
	runners map[string]*runner
	closed  bool
}

// Open starts every mapping that is defined. One that cannot run is listed as Failed and harms no other.
func Open(ctx context.Context, opts Options) (*Triggers, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.DrainTimeout = cmp.Or(opts.DrainTimeout, 10*time.Second)
	t := &Triggers{
		opts: opts,
		retry: policy{
			Failure: backoff{cmp.Or(opts.RetryBase, time.Second), cmp.Or(opts.RetryMax, 30*time.Second)},
			Refusal: refusalBackoff,
		},
		admin:   make(chan struct{}, 1),
		runners: map[string]*runner{},
	}
	var err error
	if t.metrics, err = newMetrics(opts.Registerer, t); err != nil {
		return nil, fmt.Errorf("triggers: open: %w", err)
	}
	for _, entry := range opts.Definitions.List() {
		r := t.newRunner(entry.Key)
		def, err := parseDefinition(entry.Value)
		if r.set(stored{def, entry.Revision}); err != nil {
			r.fail(err)
		} else {
			r.start(opts.Streams)
			t.startShadow(r)
		}
		t.mu.Lock() // metrics are read already
		t.runners[entry.Key] = r
		t.mu.Unlock()
	}
	t.sweep(ctx)
	t.sweepTrials()
	t.sweepCheckpoints(ctx)
	return t, ctx.Err()
}

func (t *Triggers) newRunner(name string) *runner {
	return &runner{
		name: name, functions: t.opts.Functions, failures: t.opts.Failures, markers: t.opts.Markers, events: t.opts.Events, retry: t.retry, state: Enabled,
		log:        t.opts.Logger.With("mapping", name),
		batchSizes: t.metrics.batchSizes.WithLabelValues(name),
	}
}

// Close stops all mappings: reading ends at once, invocations under way get the drain time, or until ctx is
// done, to end and have their checkpoints saved. Error: ErrDrain, naming what did not; its records will be
// delivered again.
func (t *Triggers) Close(ctx context.Context) error {
	t.mu.Lock()
	again := t.closed
	t.closed = true
	t.mu.Unlock()
	t.stopAll()
	ctx, cancel := context.WithTimeout(ctx, t.opts.DrainTimeout)
	defer cancel()
	select {
	case t.admin <- struct{}{}:
	case <-ctx.Done():
		// Whoever is deleting a mapping waits for what it has under way.
		for _, r := range t.sorted() {
			r.current().cut()
		}
		t.admin <- struct{}{}
	}
	defer func() { <-t.admin }()
	if again {
		return nil
	}
	t.stopAll() // also what was being made when the first look was taken
	err := drain(ctx, t.sorted())
	for _, s := range t.shadows() {
		haltShadow(s)
	}
	t.metrics.unregister(t.opts.Registerer)
	if err != nil {
		return fmt.Errorf("triggers: close: %w", err)
	}
	return nil
}

func (t *Triggers) stopAll() {
	for _, r := range append(t.sorted(), t.shadows()...) {
		r.stopping(Stopped)
	}
}

// begin takes the right to change definitions, until the returned func is called.
func (t *Triggers) begin(ctx context.Context) (end func(), err error) {
	select {
	case t.admin <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		<-t.admin
		return nil, ErrClosed
	}
	return func() { <-t.admin }, nil
}

// Put makes the mapping m, or changes the one of that name to it; created tells which. The change is
// durable when Put returns, holds from each shard's next batch or attempt on and replays nothing. With the
// settings unchanged it does nothing. Errors: ErrInvalid (as *FieldError), ErrConflict, ErrClosed.
func (t *Triggers) Put(ctx context.Context, m Mapping) (s Status, created bool, err error) {
	return t.putAs(ctx, m, false)
}

// Ensure is Put, but a mapping that is there stays paused, or at work: m.Disabled is for one that is made.
func (t *Triggers) Ensure(ctx context.Context, m Mapping) (s Status, created bool, err error) {
	return t.putAs(ctx, m, true)
}

func (t *Triggers) putAs(ctx context.Context, m Mapping, keep bool) (s Status, created bool, err error) {
	end, err := t.begin(ctx)
	if err == nil {
		defer end()
		if old := t.lookup(m.Name); keep && old != nil {
			m.Disabled = old.settings.Load().Disabled
		}
		s, created, err = t.put(ctx, m)
	}
	if err != nil {
		return Status{}, false, fmt.Errorf("triggers: put %q: %w", shorten(m.Name), err)
	}
	return s, created, nil
}

// Update changes a mapping as change does with a copy of its settings: nobody else changes the mapping meanwhile, and no setting that somebody else has
// changed is lost. change also gets the mapping's status, and must not block; its error is returned, and then nothing is changed. Errors besides: ErrNotFound and
// those of Put.
func (t *Triggers) Update(ctx context.Context, name string, change func(was Status, m *Mapping) error) (s Status, err error) {
	err = t.changing(ctx, "update", name, func(r *runner) error {
		was := r.status(time.Now())
		def := r.stored()
		m := def.mapping(name)
		if err := change(was, &m); err != nil {
			return err
		}
		m.Name = name
		s, _, err = t.put(ctx, m)
		return err
	})
	return s, err
}

func (t *Triggers) put(ctx context.Context, m Mapping) (s Status, created bool, err error) {
	now := time.Now()
	if err := m.normalize(now); err != nil {
		return Status{}, false, err
	}
	old := t.lookup(m.Name)
	if old != nil {
		if field := old.settings.Load().immutable(m); field != "" {
			return Status{}, false, fmt.Errorf("%w: %s cannot be changed; delete the mapping and make it anew, or leave that setting as it is", ErrConflict, field)
		}
	}
	source, err := t.check(ctx, &m, old)
	if err != nil {
		return Status{}, false, err
	}
	if old != nil {
		err := t.change(ctx, old, m, now)
		return old.status(now), false, err
	}
	r, err := t.create(ctx, m, source, now)
	if err != nil {
		return Status{}, false, err
	}
	return r.status(now), true, nil
}

// check makes sure that what m names exists, and that it can be used. old is the mapping before, or nil.
func (t *Triggers) check(ctx context.Context, m *Mapping, old *runner) (Source, error) {
	source, err := t.opts.Streams.Open(m.Stream)
	if errors.Is(err, shards.ErrNotFound) {
		return nil, field.Invalid("stream", m.Stream, "the name of a stream that exists")
	}
	if err != nil {
		return nil, err
	}
	if !source.HasConsumer(m.Consumer) {
		return nil, noConsumer(m.Consumer)
	}
	if err := checkFunction(t.opts.Functions, m, t.opts.Events != nil); err != nil {
		return nil, err
	}
	if m.ExactlyOnce && t.opts.Markers == nil {
		return nil, field.Invalid("exactlyOnce", "true", "left out: this host keeps no markers")
	}
	switch {
	case m.OnFailure == "", old != nil && old.settings.Load().OnFailure == m.OnFailure:
		return source, nil
	case t.opts.Failures == nil:
		return nil, field.Invalid("onFailure", m.OnFailure, "left out: this host has no destinations")
	case m.OnFailure == "stream:"+m.Stream: // each failure would be a record to fail with
		return nil, field.Invalid("onFailure", m.OnFailure, "another stream than the one the mapping reads")
	}
	return source, t.opts.Failures.Check(ctx, m.OnFailure)
}

func (t *Triggers) create(ctx context.Context, m Mapping, source Source, now time.Time) (*runner, error) {
	def := definition{Format: definitionFormat, ID: newID(), StreamID: source.ID(), Created: now.UTC(), Modified: now.UTC()}
	def.define(m)
	if m.StartingPosition == Newest {
		if err := pin(ctx, source, def.consumer()); err != nil {
			return nil, errors.Join(err, source.DeleteCheckpoints(context.WithoutCancel(ctx), def.consumer()))
		}
	}
	value, err := json.Marshal(def)
	if err != nil {
		return nil, err
	}
	revision, err := t.opts.Definitions.Create(ctx, m.Name, value)
	if err != nil {
		return nil, errors.Join(err, source.DeleteCheckpoints(context.WithoutCancel(ctx), def.consumer()))
	}
	r := t.newRunner(m.Name)
	r.set(stored{def, revision})
	r.start(t.opts.Streams)
	t.mu.Lock()
	t.runners[m.Name] = r
	t.mu.Unlock()
	return r, nil
}

func (t *Triggers) change(ctx context.Context, r *runner, m Mapping, now time.Time) error {
	r.mu.Lock()
	def := r.def
	r.mu.Unlock()
	was := def.mapping(m.Name)
	if was.equal(&m) {
		return nil
	}
	def.define(m)
	def.Modified = now.UTC()
	if err := t.store(ctx, r, &def); err != nil {
		return err
	}
	if was.Disabled != m.Disabled {
		t.halt(ctx, r)
		r.resume()
	}
	t.follow(r)
	return nil
}

// halt stops a mapping's pollers, as Close does, for the time being.
func (t *Triggers) halt(ctx context.Context, r *runner) {
	r.current().stop()
	patient, cancel := context.WithTimeout(ctx, t.opts.DrainTimeout)
	defer cancel()
	if err := drain(patient, []*runner{r}); err != nil {
		r.log.Warn("halting a mapping", "error", err)
	}
}

// Delete stops the mapping, as Close does, and removes its definition and checkpoints. Errors: ErrNotFound,
// ErrClosed.
func (t *Triggers) Delete(ctx context.Context, name string) error {
	end, err := t.begin(ctx)
	if err == nil {
		defer end()
		err = t.delete(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("triggers: delete %q: %w", shorten(name), err)
	}
	return nil
}

func (t *Triggers) delete(ctx context.Context, name string) error {
	r := t.lookup(name)
	if r == nil {
		return ErrNotFound
	}
	r.stopping(Deleting)
	t.halt(ctx, r)
	shadow := r.stored().Shadow
	// The definition goes first: checkpoints without one are never looked at again, and the next start removes them.
	err := t.opts.Definitions.Delete(ctx, name, r.def.revision)
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		again := t.newRunner(name)
		again.set(r.def)
		again.start(t.opts.Streams)
		t.mu.Lock()
		t.runners[name] = again
		t.mu.Unlock()
		if s := r.shadowing(); s != nil { // it ran on
			again.mu.Lock()
			again.shadow = s
			again.mu.Unlock()
		}
		return err
	}
	t.mu.Lock()
	delete(t.runners, name)
	t.mu.Unlock()
	t.dismiss(ctx, r, shadow)
	t.metrics.forget(name)
	forgetMarkers(ctx, r, producers(r.def.ID))
	if r.source == nil {
		return nil
	}
	err = r.source.DeleteCheckpoints(ctx, r.def.consumer())
	if err != nil && !errors.Is(err, shards.ErrNotFound) {
		r.log.Warn("a deleted mapping's checkpoints could not be removed from its stream", "error", err)
	}
	return nil
}

// Get returns a mapping and its state. Error: ErrNotFound.
func (t *Triggers) Get(name string) (Status, error) {
	r := t.lookup(name)
	if r == nil {
		return Status{}, fmt.Errorf("triggers: get %q: %w", shorten(name), ErrNotFound)
	}
	return r.status(time.Now()), nil
}

// List returns all mappings, sorted by name.
func (t *Triggers) List() []Status {
	now := time.Now()
	var list []Status
	for _, r := range t.sorted() {
		list = append(list, r.status(now))
	}
	return list
}

func (t *Triggers) lookup(name string) *runner {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.runners[name]
}

func (t *Triggers) sorted() []*runner {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*runner, 0, len(t.runners))
	for _, r := range t.runners {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *runner) int { return cmp.Compare(a.name, b.name) })
	return list
}
