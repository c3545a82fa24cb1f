package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/shardmill/shardmill/runtime/image"
	"github.com/shardmill/shardmill/sdk/abi"
)

// engine makes programs. It holds what they have in common.
type engine struct {
	meter  meter
	cache  compileCache
	logger *slog.Logger
	turn   chan struct{} // held while compiling, so that uploads leave a processor to calls
	apart  compiler
	host   map[string]string // what modules may import: "module.name" → signature

	scripts scriptEngine
}

// settleVersion has the engine find its own version, which it keeps in a variable without synchronization: later makers of
// engines, who may be several at once, only read it.
var settleVersion = sync.OnceFunc(func() {
	ctx := context.Background()
	_ = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler()).Close(ctx) // it has nothing to close
})

func newEngine(ctx context.Context, m meter, cacheDir string, logger *slog.Logger) (*engine, error) {
	settleVersion()
	e := &engine{meter: m, cache: compileCache{root: cacheDir}, logger: logger, turn: make(chan struct{}, max(1, goruntime.GOMAXPROCS(0)-1))}
	e.scripts.turn = make(chan struct{}, 1)
	if err := e.cache.nameEngine(ctx); err != nil {
		logger.Warn("compiled code cannot be cached", "error", err)
	}
	e.apart = compiler{from: apartBytes, turn: make(chan struct{}, maxApart), rest: endedRest}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	e.host = map[string]string{}
	for name, builder := range hostModules(r) {
		module, err := builder.Compile(ctx)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare the host functions: %w", err), r.Close(ctx))
		}
		for f, definition := range module.ExportedFunctions() {
			e.host[name+"."+f] = signatureOf(definition)
		}
	}
	return e, r.Close(ctx)
}

// hostModules are the modules that guests may import from, by name.
func hostModules(r wazero.Runtime) map[string]wazero.HostModuleBuilder {
	return map[string]wazero.HostModuleBuilder{wasi_snapshot_preview1.ModuleName: wasiModule(r), abi.ImportModule: hostModule(r)}
}

func signatureOf(f api.FunctionDefinition) string {
	names := func(types []api.ValueType) (s string) {
		for i, t := range types {
			if i > 0 {
				s += ", "
			}
			s += api.ValueTypeName(t)
		}
		return s
	}
	results := names(f.ResultTypes())
	if results == "" {
		results = "()"
	}
	return "(" + names(f.ParamTypes()) + ") -> " + results
}

// exited is what a guest that calls proc_exit is stopped with. The engine's own way would lose the stack.
type exited struct{ code uint32 }

func (e *exited) Error() string { return fmt.Sprintf("exited with code %d", e.code) }

// wasiModule is WASI preview 1 as the engine has it, but for the way out.
func wasiModule(r wazero.Runtime) wazero.HostModuleBuilder {
	b := r.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	exit := api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
		panic(&exited{api.DecodeU32(stack[0])})
	})
	return b.NewFunctionBuilder().
		WithGoModuleFunction(exit, []api.ValueType{api.ValueTypeI32}, nil).WithName("proc_exit").Export("proc_exit")
}

// filesListeners note in a guest's visit that it changes what its files are. That they do not block, or append, none of them can be made.
var filesListeners = experimental.FunctionListenerFactoryFunc(func(f api.FunctionDefinition) experimental.FunctionListener {
	if !slices.Contains([]string{"fd_close", "fd_renumber"}, f.Name()) {
		return nil
	}
	return experimental.FunctionListenerFunc(func(ctx context.Context, _ api.Module, _ api.FunctionDefinition, _ []uint64, _ experimental.StackIterator) {
		if v, ok := ctx.Value(visitKey{}).(*visit); ok {
			v.files = true
		}
	})
})

// hostFailure marks an error of the engine itself.
type hostFailure struct{ error }

// recovered is the error for a panic that came out of the engine.
func recovered(r any) error {
	if r == errStopped {
		return errStopped
	}
	return hostFailure{fmt.Errorf("the engine failed: %v", r)}
}

// program is the compiled code of one version. It has an engine of its own, so that closing it gives back all
// that it took; its instances must be closed before.
type program struct {
	meter   meter
	runtime wazero.Runtime
	cache   wazero.CompilationCache
	module  wazero.CompiledModule
	command bool // it is run from its start by each call
	source  *source
	record  *atomic.Uint32 // where its instances say which record they work on; 0 = not known

	starts *starter

	input   []byte       // what each instance reads on stdin when it is made: a script
	release func() error // takes the place of closing what others use too
}

func (p *program) close() error {
	if p.starts != nil {
		p.starts.close()
	}
	if p.release != nil {
		return p.release()
	}
	ctx := context.Background()
	return errors.Join(p.runtime.Close(ctx), p.cache.Close(ctx))
}

// guestConfig is what every guest has: the clocks, random numbers, its output, and the variables in env.
func guestConfig(s *senses, env map[string]string, stdout, stderr io.Writer) wazero.ModuleConfig {
	config := wazero.NewModuleConfig().WithName("").WithStdout(output{s.watch, stdout}).WithStderr(output{s.watch, stderr}).
		WithRandSource(s).WithWalltime(s.walltime, clockResolution).WithNanotime(s.nanotime, clockResolution).WithNanosleep(s.sleep)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		config = config.WithEnv(name, env[name])
	}
	return config
}

const clockResolution = sys.ClockResolution(time.Microsecond)

// instantiate makes an instance of the program in memory, which begins with a snapshot where there is one, and calls those of the functions
// that it exports, under w. The instance is to be closed after an error too, where there is one.
func (p *program) instantiate(w *watch, memory *linearMemory, from *snapshot, config wazero.ModuleConfig, functions ...string) (m api.Module, err error) {
	defer func() {
		// The engine panics where the system refuses the first pages, and with errStopped as it is made to.
		if r := recover(); r != nil {
			err = recovered(r)
		}
	}()
	if m, err = p.runtime.InstantiateModule(p.meter.instantiation(w, memory), p.module, config.WithStartFunctions()); err != nil {
		return nil, err
	}
	if p.starts.plan != nil && from == nil {
		err = p.starts.plan.Fill(memory.reserved[:memory.size.Load()])
	} else if from != nil {
		err = p.starts.restore(m, from)
	}
	if err == nil {
		err = callAll(w, m, functions)
	}
	return m, err
}

// callAll calls functions without parameters and results, those that there are.
func callAll(w *watch, m api.Module, functions []string) error {
	for _, name := range functions {
		if f := m.ExportedFunction(name); f != nil {
			if err := f.CallWithStack(w, nil); err != nil {
				if name == image.ExportStart { // a name of ours
					return fmt.Errorf("the start function failed: %w", err)
				}
				return fmt.Errorf("function %s failed: %w", name, err)
			}
		}
	}
	return nil
}
