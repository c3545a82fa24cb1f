package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime/quickjs"
)

// Language is what a function's code is written in; "" is a WebAssembly module.
type Language = quickjs.Language

// The languages of which the source is the function: it runs on a JavaScript engine that is a module of the host's own.
const (
	JavaScript = quickjs.JavaScript
	TypeScript = quickjs.TypeScript
)

// scriptEngine is the JavaScript engine's module, compiled once and shared by the programs of all scripts, for as long as there is any.
type scriptEngine struct {
	turn  chan struct{} // held by the one that looks at or changes the rest
	base  *program
	users int
}

// scriptModule is the engine's module, inspected.
var scriptModule = sync.OnceValues(func() (*moduleInfo, error) { return inspect(quickjs.Module()) })

// script makes the program of a script: the shared engine, and what each of its instances is to read.
func (e *engine) script(ctx context.Context, input []byte) (*program, error) {
	s := &e.scripts
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.base == nil {
		base, err := e.compile(ctx, quickjs.Module(), quickjs.Digest())
		if err != nil {
			return nil, fmt.Errorf("the JavaScript engine: %w", err)
		}
		s.base = base
	}
	s.users++
	p := *s.base
	p.input, p.starts = input, s.base.starts.script()
	p.release = func() error {
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
		if s.users--; s.users > 0 {
			return nil
		}
		base := s.base
		s.base = nil
		return base.close()
	}
	return &p, nil
}

// storedScript is a compiled script in the cache's folder of its source.
type storedScript struct {
	Compiler string   `json:"compiler"`
	Language Language `json:"language"`
	Text     string   `json:"text"`
	Map      string   `json:"map"`
}

const scriptName = "script.json"

// compileScript makes what the engine runs of a source, from the cache where it has it. It waits for its turn.
func (e *engine) compileScript(ctx context.Context, compile func(context.Context, []byte, Language) (*quickjs.Script, error), v *version, source []byte) (*quickjs.Script, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if e.cache.root == "" {
		return compile(ctx, source, v.language)
	}
	file := filepath.Join(e.cache.dir(v.digest), scriptName)
	whole, err := e.cache.check(v.digest)
	if err == nil && whole {
		var stored storedScript
		text, err := os.ReadFile(file)
		if err == nil && json.Unmarshal(text, &stored) == nil && stored.Compiler == quickjs.Compiler && stored.Language == v.language {
			return &quickjs.Script{Text: stored.Text, Map: stored.Map}, nil
		}
	}
	var s *quickjs.Script
	err = e.apart.insist(ctx, func() (err error) {
		s, err = compile(ctx, source, v.language)
		return err
	})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(storedScript{quickjs.Compiler, v.language, s.Text, s.Map})
	if err == nil {
		err = os.MkdirAll(e.cache.dir(v.digest), 0o700)
	}
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err == nil {
		err = e.cache.seal(e.cache.dir(v.digest))
	}
	if err != nil {
		e.logger.Warn("a compiled script is not cached", "digest", v.digest, "error", err)
	}
	return s, nil
}

// buildScript makes the program of a version that is a script. The error is a *quickjs.SourceError where the source is at fault.
func (rt *Runtime) buildScript(ctx context.Context, v *version, source []byte) (*program, error) {
	started := time.Now()
	script, err := rt.engine.compileScript(ctx, rt.options.CompileScript, v, source)
	if err != nil {
		return nil, err
	}
	p, err := rt.engine.script(ctx, script.Input())
	if err == nil {
		rt.metrics.compile.Observe(time.Since(started).Seconds())
	}
	return p, err
}

// examineScript is examine for a script.
func (rt *Runtime) examineScript(v *version, source []byte) (*moduleInfo, error) {
	if len(source) > quickjs.MaxSourceBytes {
		return nil, badCode(fmt.Sprintf("has %d bytes of source", len(source)), fmt.Sprintf("at most %d bytes (%d MiB)", quickjs.MaxSourceBytes, quickjs.MaxSourceBytes>>20))
	}
	info, err := scriptModule()
	if err != nil {
		return nil, fmt.Errorf("the JavaScript engine %w", err)
	}
	return info, info.admitMemory(&v.config)
}
