package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers/event"
	"github.com/shardmill/shardmill/triggers/filter"
)

// settings are what an attempt goes by. They are replaced as a whole when the mapping changes.
type settings struct {
	Mapping
	ID      string
	policy  policy
	limits  limits
	filter  *filter.Filter // nil = every record
	version int            // of the function; 0 = the newest, or what alias leads to
	alias   string
	target  string        // function and qualifier
	keep    *runtime.Keep // which invocations are kept as capsules; nil = none

	envelope event.Envelope // of Lambda's events; the shard and the window are each call's
}

// lanes is how many there are of a shard.
func (s *settings) lanes() int { return max(1, s.Parallelization) }

// isolates says whether records that fail alone are parked, so that others go on. In a window, whose state is all records', they are not, nor
// with ExactlyOnce, where one call of a lane at most is ahead of the checkpoint.
func (s *settings) isolates() bool { return s.Isolate && s.TumblingWindow == 0 && !s.ExactlyOnce }

// newSettings makes the settings of a definition. What cannot be used any more is an error.
func newSettings(name string, d *definition, waits policy) (*settings, error) {
	s := &settings{Mapping: d.mapping(name), ID: d.ID, policy: waits, limits: limits{records: d.BatchSize, bytes: maxPayload}}
	s.policy.MaxAttempts, s.policy.Bisect, s.policy.Isolate = d.MaxAttempts, d.Bisect, d.Isolate
	s.target = s.Function + ":" + s.Qualifier
	s.keep = keepOf(d)
	var err error
	if len(d.Filters) > 0 {
		if s.filter, err = filter.Compile(d.Filters); err != nil {
			return s, err
		}
	}
	s.version, s.alias, err = runtime.ParseQualifier(d.Qualifier)
	return s, err
}

// keepOf is what the runtime is to keep of a mapping's invocations.
func keepOf(d *definition) *runtime.Keep {
	if d.Capsules == (Capsules{}) {
		return nil
	}
	text, err := json.Marshal(d)
	if err != nil { // it came from such a text
		text = nil
	}
	return &runtime.Keep{Failed: d.Capsules.Failed, Slow: d.Capsules.Slow, Sample: d.Capsules.Sample, Settings: text}
}

// runner is one mapping: its definition, and its pollers when it is at work.
type runner struct {
	name       string
	functions  Functions
	failures   Failures // nil = there are no destinations
	markers    Markers  // nil = there are none
	events     Events   // nil = no function takes Lambda's event
	entrance   entrance
	log        *slog.Logger
	retry      policy // the waits; the rest is each mapping's own
	batchSizes prometheus.Observer
	trial      *trial // what makes it the runner of a shadow; nil = it is one of a mapping

	source   Source // nil when the stream could not be opened
	settings atomic.Pointer[settings]

	mu     sync.Mutex
	def    stored
	state  State // Enabled or Disabled, or why no poller runs
	reason string
	crew   *crew   // at work, or the last that was; nil = there was none
	shadow *runner // nil = there is none
}

// stored is a definition and the revision that the catalog knows it by.
type stored struct {
	definition
	revision uint64
}

// set makes a definition the one in force. The pollers take it up with their next batch or attempt.
func (r *runner) set(def stored) {
	s, err := newSettings(r.name, &def.definition, r.retry)
	if r.events != nil {
		s.envelope = r.events(s.Mapping, def.StreamID)
	}
	if r.trial != nil {
		s.policy.Isolate = true
	}
	r.settings.Store(s)
	r.mu.Lock()
	r.def = def
	r.mu.Unlock()
	if err != nil {
		r.fail(err)
	}
}

// start finds the stream and begins to read its shards. A mapping that cannot run is left in the state Failed.
func (r *runner) start(streams Streams) {
	if err := r.open(streams); err != nil {
		r.fail(err)
		return
	}
	r.resume()
}

// resume begins to read behind the checkpoints, unless the mapping is disabled or cannot run. No poller must be running.
func (r *runner) resume() {
	r.mu.Lock()
	def, was, state := r.def, r.crew, r.state
	r.mu.Unlock()
	if state != Enabled && state != Disabled {
		return
	}
	r.mu.Lock()
	if r.state = Enabled; def.Disabled {
		r.state = Disabled
	}
	r.mu.Unlock()
	c := newCrew(r, def.consumer(), was, def.Disabled)
	r.mu.Lock()
	r.crew = c
	r.mu.Unlock()
}

// current is the crew at work, or the last that was.
func (r *runner) current() *crew {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.crew
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
	r.current().stop()
}

// drain waits until the runners' invocations have ended and their checkpoints are saved; when ctx is done it
// cuts them off. Their reading must have been stopped. Error: ErrDrain, with what was cut off.
func drain(ctx context.Context, runners []*runner) error {
	done := make(chan struct{})
	go func() {
		for _, r := range runners {
			r.current().wait()
		}
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	for _, r := range runners {
		r.current().cut()
	}
	<-done
	return lossOf(runners)
}

// lossOf is an ErrDrain that names what the runners, which have ended, had to leave unfinished; nil when that is nothing.
func lossOf(runners []*runner) error {
	const most = 10 // that are named
	var lost []string
	for _, r := range runners {
		pollers, _ := r.current().pollers()
		for _, p := range pollers {
			if what := p.progress.lost(); what != "" {
				lost = append(lost, fmt.Sprintf("mapping %s, %s: %s", r.name, p.shard, what))
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
	return move(ctx, source, consumer, source.Shards(), shards.Start{Kind: shards.Newest}, nil)
}

// status is the mapping as of now.
func (r *runner) status(now time.Time) Status {
	r.mu.Lock()
	s := Status{
		Mapping: r.def.mapping(r.name), ID: r.def.ID, Created: r.def.Created, Modified: r.def.Modified,
		State: r.state, Reason: r.reason,
	}
	shadow := r.shadow
	r.mu.Unlock()
	if shadow != nil {
		found := shadow.report(now)
		found.Differences = nil
		s.Shadow = &found
	}
	pollers, past := r.current().pollers()
	s.Past = past
	for _, p := range pollers {
		s.Shards = append(s.Shards, p.report(now))
	}
	if s.State != Enabled && s.State != Disabled {
		return s
	}
	serving, err := r.check(&s.Mapping)
	if err == nil && serving != nil && slices.Contains(serving.Config.Emit, s.Stream) {
		s.Warning = loopWarning(s.Stream)
	}
	if odd := r.settings.Load().filter.Warnings(); len(odd) > 0 {
		s.Warning = strings.TrimPrefix(s.Warning+"; "+strings.Join(odd, "; "), "; ")
	}
	if err == nil && !r.source.HasConsumer(s.Consumer) {
		err = noConsumer(s.Consumer)
	}
	if err != nil && s.State == Enabled {
		s.State, s.Reason = Blocked, err.Error()
	}
	return s
}

// loopWarning tells of a function that may emit to the stream that it reads. Some do so for good reason, and end by themselves.
func loopWarning(stream string) string {
	return fmt.Sprintf("the function may emit to %s, the stream that it reads: it is handed what it emits there, and goes on without end unless it stops by itself", field.Shown(stream))
}

// check makes sure that what a mapping calls is there, and what its shadow does. It gives the version that serves; nil for a shadow.
func (r *runner) check(m *Mapping) (*runtime.VersionDetail, error) {
	if r.trial != nil {
		s := r.trial.shadow()
		return nil, s.check(r.functions, m, r.events != nil)
	}
	return servingVersion(r.functions, m, r.events != nil)
}

// checkFunction is servingVersion for who wants no more than its error.
func checkFunction(functions Functions, m *Mapping, events bool) error {
	_, err := servingVersion(functions, m, events)
	return err
}

// servingVersion makes sure that the function exists, in the version that the mapping names, and handles what the mapping hands over. events
// says whether that can be Lambda's event.
func servingVersion(functions Functions, m *Mapping, events bool) (*runtime.VersionDetail, error) {
	f, err := functions.Get(m.Function)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil, field.Invalid("function", m.Function, "the name of a function that exists")
	}
	if err != nil {
		return nil, fmt.Errorf("function %q: %w", m.Function, err)
	}
	version, ok := detailOf(&f, m.Qualifier)
	if !ok {
		return nil, field.Invalid("qualifier", m.Qualifier, "the number of a version that the function has, the name of one of its aliases, or $LATEST")
	}
	kinds := version.Kinds
	switch through := doorOf(kinds); {
	case kinds == 0 && f.State == runtime.StatePending: // its first version is being compiled; calls wait for that
	case through == doorNone, through == doorLambda && !events:
		return nil, field.Invalid("function", m.Function, "the name of a function that handles stream batches")
	case through == doorSDK && m.TumblingWindow > 0 && !kinds.Has(runtime.KindWindowClose):
		return nil, field.Invalid("function", m.Function, "the name of a function that handles the end of a window")
	}
	return version, nil
}

// kindsOf is what the version that a qualifier leads to handles; false when the function has no such version or alias.
func kindsOf(f *runtime.Function, qualifier string) (runtime.Kinds, bool) {
	version, ok := detailOf(f, qualifier)
	if !ok {
		return 0, false
	}
	return version.Kinds, true
}

// detailOf is the version that a qualifier leads to, of an alias its first one; false when the function has no such version or alias.
func detailOf(f *runtime.Function, qualifier string) (*runtime.VersionDetail, bool) {
	number, alias, err := runtime.ParseQualifier(qualifier)
	if err != nil {
		return nil, false
	}
	if alias != "" {
		i := slices.IndexFunc(f.Aliases, func(a runtime.Alias) bool { return a.Name == alias })
		if i < 0 {
			return nil, false
		}
		number = f.Aliases[i].Version
	}
	if number == 0 {
		return &f.VersionDetail, true
	}
	i := slices.IndexFunc(f.Versions, func(v runtime.VersionDetail) bool { return v.Version == number })
	if i < 0 {
		return nil, false
	}
	return &f.Versions[i], true
}

func noConsumer(name string) error {
	return field.Invalid("consumer", name, "the name of a consumer that is registered with the stream")
}
