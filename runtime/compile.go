package runtime

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/shardmill/shardmill/runtime/image"
)

// A module is compiled by Options.CompileModule from a size on, because what a second processor saves of a smaller one is less than what a process costs; and
// smaller ones that may take more work than they should: a module of 16 KB can take half a minute and gigabytes. RATIONALE.md has the numbers.
const (
	apartBytes = 256 << 10
	apartWork  = 600_000 // moduleInfo.work
)

// maxApart is how many modules are compiled by Options.CompileModule at once, each with all processors.
const maxApart = 2

// ModuleError says that a module is at fault that could not be compiled.
type ModuleError struct{ Problem string }

// Error is the problem, a sentence without its end.
func (e *ModuleError) Error() string { return e.Problem }

// compiler compiles large modules somewhere else. Its zero value does not.
type compiler struct {
	into func(ctx context.Context, code []byte, lines bool, dir string) error // Options.CompileModule
	from int                                                                  // the size from which on it is asked in any case
	turn chan struct{}                                                        // held while it works
	rest time.Duration                                                        // before it is asked again after ErrCompilerEnded
}

// How often a compiler is asked that is ended from outside, and how long it rests in between, at first.
const (
	maxEnded  = 3
	endedRest = 2 * time.Second
)

// insist does what is ended from outside again, a few times.
func (c *compiler) insist(ctx context.Context, work func() error) error {
	for n := 1; ; n++ {
		err := work()
		if !errors.Is(err, ErrCompilerEnded) || n == maxEnded {
			return err
		}
		rest := time.NewTimer(c.rest * time.Duration(n))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return ctx.Err()
		}
	}
}

// takes says whether a module, which has passed inspect, is compiled there.
func (c *compiler) takes(code []byte) bool {
	if c.into == nil || len(code) >= c.from {
		return c.into != nil
	}
	info, err := inspect(code)
	return err != nil || info.work > apartWork
}

// compile makes a program of code that inspect has passed, from the cache where it has it. It waits for its turn. Where
// the cache fails, it goes without, and says so in the log. An error that is neither ctx's nor ErrCompilerEnded means that the code is
// not valid.
func (e *engine) compile(ctx context.Context, code []byte, digest string) (*program, error) {
	turn := e.turn
	apart := e.cache.root != "" && e.apart.takes(code)
	if apart && !e.cache.sealed(digest) {
		turn = e.apart.turn // so that what is served, or is small, need not wait for what others upload
	}
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	code, places, err := e.meter.prepare(code)
	if err != nil {
		return nil, err
	}
	plan, problem := image.Divide(code) // which leaves the code where it is
	if plan != nil {
		code = plan.Code
	}
	p, err := e.make(ctx, code, digest, places != nil, apart)
	if err != nil {
		return nil, err
	}
	p.starts = newStarter(plan, problem)
	if places != nil {
		p.source = &source{places: places}
	}
	return p, err
}

// make compiles what is prepared. lines says whether it has debug information.
func (e *engine) make(ctx context.Context, code []byte, digest string, lines, apart bool) (*program, error) {
	if e.cache.root == "" {
		return e.open(ctx, code, wazero.NewCompilationCache(), lines)
	}
	p, err := e.compileCached(ctx, code, digest, lines, apart)
	if wrong := (*ModuleError)(nil); err == nil || ctx.Err() != nil || errors.As(err, &wrong) || errors.Is(err, ErrCompilerEnded) {
		return p, err
	}
	// Either the code is wrong or the directory is: without it the answer is certain.
	p, plain := e.open(ctx, code, wazero.NewCompilationCache(), lines)
	if plain != nil {
		return nil, plain
	}
	e.logger.Warn("compiled code is not cached", "digest", digest, "error", err)
	return p, nil
}

func (e *engine) compileCached(ctx context.Context, code []byte, digest string, lines, apart bool) (*program, error) {
	whole, err := e.cache.check(digest)
	if err != nil {
		return nil, err
	}
	if !whole && apart {
		if whole, err = e.compileApart(ctx, code, digest, lines); err != nil {
			return nil, err
		}
	}
	cache, err := wazero.NewCompilationCacheWithDir(e.cache.dir(digest))
	if err != nil {
		return nil, err
	}
	p, err := e.open(ctx, code, cache, lines)
	if err != nil {
		return nil, errors.Join(err, e.cache.remove(digest))
	}
	if !whole {
		if err := e.cache.seal(e.cache.dir(digest)); err != nil {
			e.logger.Warn("compiled code is not cached", "digest", digest, "error", err)
		}
	}
	return p, nil
}

// compileApart has the cache filled by somebody else. Where that does not work for a reason that is neither the module's nor that it was ended from outside, it is
// not filled, and the module is compiled here. Errors: *ModuleError, ErrCompilerEnded, and that of ctx.
func (e *engine) compileApart(ctx context.Context, code []byte, digest string, lines bool) (filled bool, err error) {
	err = e.apart.insist(ctx, func() error {
		dir, err := e.cache.stage()
		if err == nil {
			if err = e.apart.into(ctx, code, lines, dir); err == nil {
				err = e.cache.adopt(dir, digest)
			}
			err = errors.Join(err, e.cache.unstage(dir))
		}
		return err
	})
	wrong := (*ModuleError)(nil)
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.As(err, &wrong):
		return false, wrong
	case errors.Is(err, ErrCompilerEnded): // it may be what took the memory: here it would be the host that is ended
		return false, err
	}
	e.logger.Warn("a module is compiled in the host's own process", "digest", digest, "error", err)
	return false, nil
}

// CompileModule does what Options.CompileModule asks for, in this process, which a hostile module can end: its processors share the work in goroutines where
// a panic cannot be caught.
func CompileModule(ctx context.Context, code []byte, lines bool, dir string) error {
	settleVersion()
	e := new(engine)
	open := func(cache wazero.CompilationCache) error {
		p, err := e.open(experimental.WithCompilationWorkers(ctx, goruntime.GOMAXPROCS(0)), code, cache, lines)
		if err != nil {
			return err
		}
		return p.close()
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err == nil {
		err = open(cache)
	}
	if err == nil {
		return compileCache{}.seal(dir)
	}
	// Either the code is wrong or the folder is: without it the answer is certain.
	if wrong := open(wazero.NewCompilationCache()); wrong != nil {
		return &ModuleError{wrong.Error()}
	}
	return fmt.Errorf("keep compiled code: %w", err)
}

// open compiles. The program owns the cache from here on. It compiles in its own goroutine and not in several of the
// engine's, unless ctx says so: there a module that makes the compiler panic ends the process.
func (e *engine) open(ctx context.Context, code []byte, cache wazero.CompilationCache, lines bool) (made *program, err error) {
	config := e.meter.configure(wazero.NewRuntimeConfigCompiler()).WithCompilationCache(cache).WithDebugInfoEnabled(lines)
	p := &program{record: new(atomic.Uint32), meter: e.meter, runtime: wazero.NewRuntimeWithConfig(ctx, config), cache: cache}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the compiler failed: %v", r)
		}
		if err != nil {
			made, err = nil, errors.Join(err, p.close())
		}
	}()
	for _, builder := range hostModules(p.runtime) {
		if _, err = builder.Instantiate(experimental.WithFunctionListenerFactory(ctx, filesListeners)); err != nil {
			return p, err
		}
	}
	if err = e.meter.install(ctx, p.runtime); err != nil {
		return p, err
	}
	p.module, err = p.runtime.CompileModule(ctx, code)
	return p, err
}
