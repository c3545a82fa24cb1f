package runtime

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/runtime/quickjs"
)

// Defaults of Options.
const (
	DefaultMaxCodeBytes = 64 << 20
	DefaultKeepVersions = 10
	DefaultIdleTimeout  = 5 * time.Minute
	DefaultLogBytes     = 1 << 20
	DefaultAllIdleBytes = 4 << 30
)

// Options are what a Runtime works with.
type Options struct {
	Functions Definitions // required
	Code      Blobs       // required
	// Emitter takes the functions' output records; nil fails every call that emits any.
	Emitter Emitter
	// OnceEmitter takes those of calls that have a Once; nil fails such calls if they emit any.
	OnceEmitter OnceEmitter
	// Doors are what functions reach besides streams.
	Doors Doors
	// CacheDir is where compiled code is kept between starts; it is made when it is not there. "" keeps none. What is
	// in it can be removed at any time, and must not be written by others.
	CacheDir string
	// History keeps what is known of invocations over restarts; nil forgets it.
	History History
	// Capsules keeps what Call.Keep asks for; nil keeps nothing.
	Capsules   Capsules
	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing

	MaxCodeBytes int           // the largest module taken; 0 means 64 MiB
	KeepVersions int           // how many versions of a function are kept, the newest; 0 means 10
	IdleTimeout  time.Duration // an instance not used for so long is closed, and a program unloaded; 0 means 5 minutes
	IdleBytes    int64         // of memory that idle instances of all functions may hold, beside the one used last; 0 means 4 GiB
	LogBytes     int           // of log lines kept in memory per function; 0 means 1 MiB

	// Trust are the keys one of which must have signed code that is uploaded; none: it need not be signed. Versions that are
	// stored already serve in any case.
	Trust []ed25519.PublicKey

	// Pinned says that something outside needs a version, which is then kept beyond KeepVersions. It must not call the Runtime.
	// nil: nothing does.
	Pinned func(function string, version int) bool

	// CompileScript makes what the JavaScript engine runs of a source that stands alone; a source that is not taken is a
	// *quickjs.SourceError, and ErrCompilerEnded is as with CompileModule. It blocks, and is called from several goroutines. nil: quickjs.Compile, in this process,
	// which a hostile source can end.
	CompileScript func(ctx context.Context, source []byte, language Language) (*quickjs.Script, error)

	// FindLines is as the function FindLines: what it answers is of the places, in their order. Its errors are that of ctx and ErrBadLines. It blocks, and
	// is called from several goroutines. nil: FindLines, in this process, which a hostile module can end.
	FindLines func(ctx context.Context, code []byte, places []uint32) ([][]string, error)

	// CompileModule compiles a module into the folder dir, which is there and empty, as the function CompileModule does, with as many processors as it
	// likes. The module is what the host has made of the uploaded one; lines says that its machine code must tell places. Errors: a *ModuleError where the module is
	// at fault, that of ctx, ErrCompilerEnded, and any other where it could not be done: then, and where a module is small, or CacheDir is "", the module is compiled
	// in this process with one processor. It blocks, and is called from several goroutines. nil: all modules are compiled in this process.
	CompileModule func(ctx context.Context, code []byte, lines bool, dir string) error

	meter      meter
	apartBytes int // what is compiled by CompileModule; 0 means apartBytes
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxCodeBytes == 0 {
		o.MaxCodeBytes = DefaultMaxCodeBytes
	}
	if o.KeepVersions == 0 {
		o.KeepVersions = DefaultKeepVersions
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.LogBytes == 0 {
		o.LogBytes = DefaultLogBytes
	}
	if o.IdleBytes == 0 {
		o.IdleBytes = DefaultAllIdleBytes
	}
	if o.CompileScript == nil {
		o.CompileScript = compileHere
	}
	if o.Pinned == nil {
		o.Pinned = func(string, int) bool { return false }
	}
	return o
}

// Runtime keeps functions and runs them. Its methods may be called from several goroutines.
type Runtime struct {
	options Options
	engine  *engine
	metrics *metrics
	gauges  *gauges
	keeper  *keeper
	ids     *idMaker
	diary   *diary // nil without Options.History
	idle    idleMemory

	storing  chan struct{}                 // held by the one that changes what is stored
	updating chan struct{}                 // held by those that compile updates
	trying   chan struct{}                 // held by those that try them
	spawn    func(f func(context.Context)) // starts a goroutine that Close cancels and waits for
	stop     func()                        // does so
	calls    sync.WaitGroup                // of Invoke and Deploy

	mu        sync.RWMutex
	closed    bool
	functions map[string]*function
	uploads   []*upload // under way, as they arrived
}

// Open makes a runtime of what is stored. It does not wait for code to be compiled or read: that is done in the
// background, or by the first call. A definition that cannot be read is logged and left alone; it cannot be called, and
// a new upload under its name replaces it.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	if o.Functions == nil || o.Code == nil {
		return nil, errors.New("runtime: open: Options.Functions and Options.Code are required")
	}
	o = o.withDefaults()
	e, err := newEngine(ctx, o.meter, o.CacheDir, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("runtime: open: %w", err)
	}
	e.apart.into, e.apart.from = o.CompileModule, cmp.Or(o.apartBytes, apartBytes)
	rt := &Runtime{
		options: o, engine: e, metrics: newMetrics(),
		storing: make(chan struct{}, 1), updating: make(chan struct{}, maxUpdating), trying: make(chan struct{}, maxTrying), functions: map[string]*function{}, keeper: newKeeper(), ids: newIDs(),
	}
	rt.idle.limit, rt.idle.pools = o.IdleBytes, rt.pools
	rt.gauges = newGauges(rt)
	rt.diary = newDiary(rt)
	if err := rt.register(); err != nil {
		return nil, fmt.Errorf("runtime: open: %w", err)
	}
	rt.restore()
	rt.diary.remember(ctx)
	if err := e.cache.retain(rt.digests()); err != nil {
		o.Logger.Warn("old compiled code could not be removed", "error", err)
	}
	rt.background(ctx)
	return rt, nil
}

// background starts the goroutines that last as long as the runtime.
func (rt *Runtime) background(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var tasks sync.WaitGroup
	rt.spawn = func(f func(context.Context)) { tasks.Go(func() { f(ctx) }) }
	rt.stop = func() { cancel(); tasks.Wait() }
	rt.spawn(rt.preload)
	rt.resume()
	rt.spawn(rt.janitor)
	if rt.diary != nil {
		rt.spawn(rt.diary.keep)
	}
}

func (rt *Runtime) register() error {
	if rt.options.Registerer == nil {
		return nil
	}
	for _, c := range append(rt.metrics.collectors(), rt.gauges) {
		if err := rt.options.Registerer.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (rt *Runtime) unregister() {
	if rt.options.Registerer == nil {
		return
	}
	for _, c := range append(rt.metrics.collectors(), rt.gauges) {
		rt.options.Registerer.Unregister(c)
	}
}

// restore takes the stored functions in.
func (rt *Runtime) restore() {
	for _, entry := range rt.options.Functions.List() {
		f, err := decodeDefinition(entry.Key, entry.Value)
		if err != nil {
			rt.options.Logger.Error("a function is not served", "function", shorten(entry.Key), "error", err)
			continue
		}
		f.logs, f.past, f.costs, f.metrics = newLogRing(rt.options.LogBytes), newPast(), newCosts(), rt.metrics.function(f.name)
		for _, v := range f.all() {
			v.share(&rt.idle)
		}
		rt.mu.Lock() // metrics are read already
		rt.functions[f.name] = f
		rt.mu.Unlock()
	}
}

// digests are those of all versions.
func (rt *Runtime) digests() map[string]bool {
	digests := map[string]bool{}
	for _, f := range rt.all() {
		for _, v := range f.all() {
			digests[v.digest] = true
			if v.language != "" {
				digests[quickjs.Digest()] = true
			}
		}
	}
	return digests
}

// preloadBytes bounds the code that is loaded before anybody calls it: a program of Go takes eight times as much memory.
const preloadBytes = 128 << 20

// preload loads the newest versions of functions, those called last first, so that first calls need not wait.
func (rt *Runtime) preload(ctx context.Context) {
	all := rt.all()
	called := map[*function]time.Time{}
	for _, f := range all {
		called[f] = f.past.last()
	}
	slices.SortStableFunc(all, func(a, b *function) int { return called[b].Compare(called[a]) })
	size := 0
	for _, f := range all {
		v := f.latest()
		if f.coming.is(v) {
			continue
		}
		if size += v.size; size > preloadBytes {
			v.code.leave()
			continue
		}
		if _, err := rt.use(ctx, v); err == nil {
			rt.done(v)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// idleTicks is how often the janitor looks in Options.IdleTimeout.
const idleTicks = 4

// janitor closes instances that are not used, gives up snapshots that no instance was made of, and unloads programs that nobody calls: old versions'
// when they have no instances left.
func (rt *Runtime) janitor(ctx context.Context) {
	tick := time.NewTicker(max(rt.options.IdleTimeout/idleTicks, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, f := range rt.all() {
			for _, v := range f.versions {
				since := time.Now().Add(-rt.options.IdleTimeout)
				v.pool.dropIdle(since)
				v.trials.dropIdle(since)
				if s := v.code.starter(); s != nil {
					s.drop(since)
				}
				times := idleTicks
				if n, _ := v.usage(); n == 0 && v != f.latest() && !f.named(v.number) {
					times = 1
				}
				rt.unloaded(v, v.code.rest(times))
			}
		}
	}
}

// use returns the version's program, loading it first where needed; done must be called afterwards.
func (rt *Runtime) use(ctx context.Context, v *version) (*program, error) {
	return v.code.use(ctx, func() {
		rt.spawn(func(ctx context.Context) {
			ctx, stop := v.code.while(ctx)
			defer stop()
			v.code.finish(rt.load(ctx, v))
		})
	})
}

func (rt *Runtime) done(v *version) { rt.unloaded(v, v.code.done()) }

// unloaded closes a program that was taken out of its version.
func (rt *Runtime) unloaded(v *version, p *program) {
	if err := v.close(p); err != nil {
		rt.options.Logger.Error("code could not be unloaded", "function", v.function, "version", v.number, "error", err)
	}
}

// load reads and compiles a version's code.
func (rt *Runtime) load(ctx context.Context, v *version) (*program, error) {
	code, err := rt.options.Code.Get(ctx, v.digest)
	switch {
	case err != nil:
	case v.language != "":
		var p *program
		if p, err = rt.buildScript(ctx, v, code); err == nil {
			return p, nil
		}
	default:
		var info *moduleInfo
		if info, err = inspect(code); err == nil {
			return rt.compile(ctx, code, info, v.digest)
		}
	}
	if ctx.Err() == nil {
		rt.options.Logger.Error("a function's code cannot be loaded", "function", v.function, "version", v.number, "error", err)
	}
	return nil, err
}

func (rt *Runtime) compile(ctx context.Context, code []byte, info *moduleInfo, digest string) (*program, error) {
	started := time.Now()
	p, err := rt.engine.compile(ctx, code, digest)
	if err == nil {
		p.command = info.command()
		if p.source != nil {
			p.source.code = func(ctx context.Context) ([]byte, error) { return rt.options.Code.Get(ctx, digest) }
			p.source.read = rt.options.FindLines
		}
		rt.metrics.compile.Observe(time.Since(started).Seconds())
	}
	return p, err
}

// enter counts a call, which Close waits for; leave must be called when it succeeded.
func (rt *Runtime) enter() error {
	rt.mu.RLock()
	defer rt.mu.RUnlock()
	if rt.closed {
		return ErrClosed
	}
	rt.calls.Add(1)
	return nil
}

func (rt *Runtime) leave() { rt.calls.Done() }

// enterFor is enter and function at once, for calls.
func (rt *Runtime) enterFor(operation, name string) (*function, error) {
	rt.mu.RLock()
	f, closed := rt.functions[name], rt.closed
	if f != nil && !closed {
		rt.calls.Add(1)
	}
	rt.mu.RUnlock()
	return found(f, closed, operation, name)
}

// function finds a function; the error is wrapped with the operation.
func (rt *Runtime) function(operation, name string) (*function, error) {
	rt.mu.RLock()
	f, closed := rt.functions[name], rt.closed
	rt.mu.RUnlock()
	return found(f, closed, operation, name)
}

// found is f, or the error that says why there is none.
func found(f *function, closed bool, operation, name string) (*function, error) {
	switch {
	case closed:
		return nil, fmt.Errorf("runtime: %s %q: %w", operation, shorten(name), ErrClosed)
	case f == nil:
		return nil, fmt.Errorf("runtime: %s %q: %w", operation, shorten(name), ErrNotFound)
	}
	return f, nil
}

// all are the functions by name.
func (rt *Runtime) all() []*function {
	rt.mu.RLock()
	defer rt.mu.RUnlock()
	out := make([]*function, 0, len(rt.functions))
	for _, f := range rt.functions {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *function) int { return strings.Compare(a.name, b.name) })
	return out
}

// pools are those of all versions.
func (rt *Runtime) pools() (out []*pool) {
	for _, f := range rt.all() {
		for _, v := range f.versions {
			out = append(out, &v.pool, &v.trials)
		}
	}
	return out
}

// Close refuses new calls and waits for those under way. When ctx ends first, it stops the guests; it still waits for
// calls that are in the Emitter, which end when that does. A second Close does nothing.
func (rt *Runtime) Close(ctx context.Context) error {
	rt.mu.Lock()
	again := rt.closed
	rt.closed = true
	rt.mu.Unlock()
	if again {
		return nil
	}
	idle := make(chan struct{})
	go func() { rt.calls.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
		rt.kill(idle)
	}
	rt.stop()
	var errs []error
	for _, f := range rt.all() {
		f.logs.close()
		f.past.close(false)
		for _, v := range f.all() {
			errs = append(errs, v.close(v.code.doom()))
		}
	}
	rt.unregister()
	return errors.Join(errs...)
}

// kill stops guests until none runs: a call that waited for an instance may still start one.
func (rt *Runtime) kill(idle <-chan struct{}) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		for _, f := range rt.all() {
			for _, v := range f.versions {
				v.pool.kill()
				v.trials.kill()
			}
		}
		select {
		case <-idle:
			return
		case <-again.C:
		}
	}
}
