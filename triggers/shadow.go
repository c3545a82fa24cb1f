package triggers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// Shadow is what the user asks for beside a mapping: another version, or function, that reads the same shards with checkpoints of its own and emits
// nothing; what it would have is compared with what the serving version would have of the same batch.
type Shadow struct {
	Function  string // "" = the mapping's; takes records by the same door
	Qualifier string // the version by number, or an alias; "" or "$LATEST" = the newest version

	StartingPosition Position  // "" = Newest
	StartingTime     time.Time // with AtTime only, not in the future

	HTTP bool // the GET and HEAD requests of both versions are made; else none is
}

// shadowDefinition is a Shadow as the mapping's definition has it.
type shadowDefinition struct {
	ID               string    `json:"id"`
	Created          time.Time `json:"created"`
	Function         string    `json:"function"`
	Qualifier        string    `json:"qualifier,omitempty"`
	StartingPosition Position  `json:"startingPosition"`
	StartingTime     time.Time `json:"startingTime,omitzero"`
	HTTP             bool      `json:"http,omitzero"`
}

func (d *shadowDefinition) shadow() Shadow {
	return Shadow{d.Function, d.Qualifier, d.StartingPosition, d.StartingTime, d.HTTP}
}

// reporter is the consumer in whose checkpoints a shadow keeps what it has found.
func (d *shadowDefinition) reporter() string { return "shadow/" + d.ID }

// shadowed is the definition by which the shadow reads: the mapping's, without whatever has an effect or becomes of failures.
func (d *definition) shadowed() definition {
	s := *d
	s.ID = d.Shadow.ID
	s.StartingPosition, s.StartingTime = d.Shadow.StartingPosition, d.Shadow.StartingTime
	s.ExactlyOnce, s.Bisect, s.Isolate, s.EventCounts = false, false, false, false
	s.OnFailure, s.MaxAttempts, s.MaxRecordAge, s.Capsules = "", 0, 0, Capsules{}
	return s
}

// normalize fills in the defaults and checks what can be checked without looking anything up.
func (s *Shadow) normalize(of *Mapping, now time.Time) error {
	s.Function = cmp.Or(s.Function, of.Function)
	s.StartingPosition = cmp.Or(s.StartingPosition, Newest)
	s.StartingTime = s.StartingTime.UTC().Round(0)
	if _, _, err := runtime.ParseQualifier(s.Qualifier); err != nil {
		return err
	}
	if s.Function == of.Function && newestOr(s.Qualifier) == newestOr(of.Qualifier) {
		return field.Invalid("qualifier", newestOr(s.Qualifier), "another version than the one that serves, or of another function")
	}
	start := Mapping{StartingPosition: s.StartingPosition, StartingTime: s.StartingTime}
	return start.checkStart(now)
}

func newestOr(qualifier string) string { return cmp.Or(qualifier, runtime.Latest) }

// check makes sure that what s names exists and takes the mapping's records as the serving version does.
func (s *Shadow) check(functions Functions, of *Mapping, events bool) error {
	as := *of
	as.Function, as.Qualifier = s.Function, s.Qualifier
	if err := checkFunction(functions, &as, events); err != nil {
		return err
	}
	if err := checkFunction(functions, of, events); err != nil {
		return err
	}
	a, b := doorFor(functions, of.Function, of.Qualifier), doorFor(functions, s.Function, s.Qualifier)
	if a != b && a != doorNone && b != doorNone { // what is not compiled yet is not known
		return field.Invalid("qualifier", newestOr(s.Qualifier), "a version that takes records as the serving one does: both as batches, or both as Lambda's event")
	}
	return nil
}

// doorFor is the door of a version that a qualifier leads to.
func doorFor(functions Functions, function, qualifier string) door {
	f, err := functions.Get(function)
	if err != nil {
		return doorNone
	}
	kinds, _ := kindsOf(&f, qualifier)
	return doorOf(kinds)
}

// PutShadow gives a mapping a shadow; one with other settings that it had is removed, and created is true. The same again changes nothing. Errors: ErrInvalid
// (as *FieldError), ErrNotFound, ErrFailed, ErrClosed.
func (t *Triggers) PutShadow(ctx context.Context, name string, s Shadow) (status ShadowStatus, created bool, err error) {
	err = t.changing(ctx, "put the shadow of", name, func(r *runner) error {
		status, created, err = t.putShadow(ctx, r, s)
		return err
	})
	return status, created, err
}

// changing finds a mapping and changes it while nobody else does.
func (t *Triggers) changing(ctx context.Context, what, name string, change func(*runner) error) error {
	end, err := t.begin(ctx)
	if err == nil {
		defer end()
		if r := t.lookup(name); r == nil {
			err = ErrNotFound
		} else {
			err = change(r)
		}
	}
	if err != nil {
		return fmt.Errorf("triggers: %s %q: %w", what, shorten(name), err)
	}
	return nil
}

func (t *Triggers) putShadow(ctx context.Context, r *runner, s Shadow) (ShadowStatus, bool, error) {
	now := time.Now()
	of := r.settings.Load().Mapping
	if err := s.normalize(&of, now); err != nil {
		return ShadowStatus{}, false, err
	}
	def := r.stored()
	if def.Shadow != nil && def.Shadow.shadow() == s {
		return r.shadowing().report(now), false, nil
	}
	if err := s.check(t.opts.Functions, &of, t.opts.Events != nil); err != nil {
		return ShadowStatus{}, false, err
	}
	if status := r.status(now); status.State == Failed {
		return ShadowStatus{}, false, fmt.Errorf("%w: %s", ErrFailed, status.Reason)
	}
	was := def.Shadow
	def.Shadow = &shadowDefinition{
		ID: newID(), Created: now.UTC(), Function: s.Function, Qualifier: s.Qualifier,
		StartingPosition: s.StartingPosition, StartingTime: s.StartingTime, HTTP: s.HTTP,
	}
	reading := def.shadowed()
	if s.StartingPosition == Newest {
		if err := pin(ctx, r.source, reading.consumer()); err != nil {
			return ShadowStatus{}, false, errors.Join(err, r.source.DeleteCheckpoints(context.WithoutCancel(ctx), reading.consumer()))
		}
	}
	if err := t.store(ctx, r, &def); err != nil {
		return ShadowStatus{}, false, errors.Join(err, r.source.DeleteCheckpoints(context.WithoutCancel(ctx), reading.consumer()))
	}
	t.dismiss(ctx, r, was)
	t.startShadow(r)
	return r.shadowing().report(now), true, nil
}

// store makes a changed definition durable, and the one in force.
func (t *Triggers) store(ctx context.Context, r *runner, def *stored) error {
	value, err := json.Marshal(def.definition)
	if err != nil {
		return err
	}
	if def.revision, err = t.opts.Definitions.Update(ctx, r.name, value, def.revision); err != nil {
		return err
	}
	r.set(*def)
	return nil
}

// Shadow returns the shadow of a mapping with all it has found. Errors: ErrNotFound, ErrNoShadow.
func (t *Triggers) Shadow(name string) (ShadowStatus, error) {
	r := t.lookup(name)
	var err error
	if r == nil {
		err = ErrNotFound
	} else if s := r.shadowing(); s != nil {
		return s.report(time.Now()), nil
	} else {
		err = ErrNoShadow
	}
	return ShadowStatus{}, fmt.Errorf("triggers: get the shadow of %q: %w", shorten(name), err)
}

// DeleteShadow removes the shadow of a mapping with its checkpoints and tables. Errors: ErrNotFound, ErrNoShadow, ErrClosed.
func (t *Triggers) DeleteShadow(ctx context.Context, name string) error {
	return t.changing(ctx, "delete the shadow of", name, func(r *runner) error {
		def := r.stored()
		was := def.Shadow
		if was == nil {
			return ErrNoShadow
		}
		def.Shadow = nil
		if err := t.store(ctx, r, &def); err != nil {
			return err
		}
		t.dismiss(ctx, r, was)
		return nil
	})
}

// Promote makes the function and qualifier of a mapping's shadow those of the mapping, and removes the shadow. It is durable when Promote returns, and holds from each
// shard's next batch or attempt on, as every change. With an id that is not the shadow's it is refused; "" means whichever it is. Errors: ErrNotFound,
// ErrNoShadow, ErrConflict, ErrInvalid (as *FieldError) when what the shadow names is gone, ErrFailed, ErrClosed.
func (t *Triggers) Promote(ctx context.Context, name, id string) (s Status, err error) {
	err = t.changing(ctx, "promote the shadow of", name, func(r *runner) error {
		s, err = t.promote(ctx, r, id)
		return err
	})
	return s, err
}

func (t *Triggers) promote(ctx context.Context, r *runner, id string) (Status, error) {
	now := time.Now()
	def := r.stored()
	was := def.Shadow
	switch status := r.status(now); {
	case was == nil:
		return Status{}, ErrNoShadow
	case status.State == Failed:
		return Status{}, fmt.Errorf("%w: %s", ErrFailed, status.Reason)
	case id != "" && id != was.ID:
		return Status{}, fmt.Errorf("%w: its shadow is another one than %s by now; look at it, and promote that", ErrConflict, shorten(id))
	}
	m := def.mapping(r.name)
	m.Function, m.Qualifier = was.Function, was.Qualifier
	if err := checkFunction(t.opts.Functions, &m, t.opts.Events != nil); err != nil {
		return Status{}, err
	}
	def.define(m)
	def.Shadow, def.Modified = nil, now.UTC()
	if err := t.store(ctx, r, &def); err != nil {
		return Status{}, err
	}
	r.log.Info("the shadow was promoted", "function", m.Function, "qualifier", newestOr(m.Qualifier))
	t.dismiss(ctx, r, was)
	return r.status(now), nil
}

// startShadow begins to run the shadow that a mapping's definition has, if it has one.
func (t *Triggers) startShadow(r *runner) {
	def := r.stored()
	if def.Shadow == nil {
		return
	}
	s := t.newRunner(r.name)
	s.log = r.log.With("shadow", newestOr(def.Shadow.Qualifier))
	s.failures, s.markers = nil, nil
	s.batchSizes = prometheus.ObserverFunc(func(float64) {})
	s.trial = newTrial(def.Shadow)
	s.set(stored{def.shadowed(), def.revision})
	s.start(t.opts.Streams)
	r.mu.Lock()
	r.shadow = s
	r.mu.Unlock()
}

// shadowing is the runner of a mapping's shadow; nil when there is none.
func (r *runner) shadowing() *runner {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shadow
}

// stored is the definition in force.
func (r *runner) stored() stored {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.def
}

// follow has a mapping's shadow, if it has one, go by a changed definition.
func (t *Triggers) follow(r *runner) {
	s, def := r.shadowing(), r.stored()
	if s == nil {
		return
	}
	paused := s.stored().Disabled != def.Disabled
	s.set(stored{def.shadowed(), def.revision})
	if paused {
		haltShadow(s)
		s.resume()
	}
}

// shadowPatience is how long the calls of a shadow have to end when it is stopped. Nothing is lost with one that is cut off: it is made again.
const shadowPatience = time.Second

// haltShadow stops a shadow's pollers.
func haltShadow(s *runner) {
	s.current().stop()
	patient, cancel := context.WithTimeout(context.Background(), shadowPatience)
	defer cancel()
	_ = drain(patient, []*runner{s}) // what is cut off is compared again
}

// dismiss stops the shadow that a mapping had, if it had one, and removes what it has kept.
func (t *Triggers) dismiss(ctx context.Context, r *runner, was *shadowDefinition) {
	r.mu.Lock()
	s := r.shadow
	r.shadow = nil
	r.mu.Unlock()
	if s == nil || was == nil {
		return
	}
	s.stopping(Deleting)
	haltShadow(s)
	t.sweepTrials()
	if s.source == nil {
		return
	}
	reading := s.stored()
	for _, consumer := range []string{reading.consumer(), was.reporter()} {
		err := s.source.DeleteCheckpoints(context.WithoutCancel(ctx), consumer)
		if err != nil && !errors.Is(err, shards.ErrNotFound) {
			r.log.Warn("checkpoints of a shadow that is gone could not be removed from the stream", "consumer", consumer, "error", err)
		}
	}
}

// sweepTrials removes the state tables of shadows that are no more.
func (t *Triggers) sweepTrials() {
	kept := map[string]bool{}
	for _, r := range t.sorted() {
		def := r.stored()
		if def.ID == "" {
			return // whether it has a shadow is not known: its definition cannot be read
		}
		if def.Shadow != nil {
			kept[tablesOf(def.Shadow.ID, serving)], kept[tablesOf(def.Shadow.ID, candidate)] = true, true
		}
	}
	if err := t.opts.Functions.KeepTrials(func(tables string) bool { return kept[tables] }); err != nil {
		t.opts.Logger.Warn("state tables of shadows that are gone could not be removed", "error", err)
	}
}

// shadows are the runners of all shadows.
func (t *Triggers) shadows() (list []*runner) {
	for _, r := range t.sorted() {
		if s := r.shadowing(); s != nil {
			list = append(list, s)
		}
	}
	return list
}
