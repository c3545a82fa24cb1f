package runtime

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmill/shardmill/runtime/quickjs"
	"github.com/shardmill/shardmill/runtime/wasm"
)

// apart has modules of any size compiled by into.
func apart(into func(ctx context.Context, code []byte, lines bool, dir string) error) func(*Options) {
	return func(o *Options) { o.CompileModule, o.apartBytes = into, 1 }
}

// tangled is a module of some kilobytes with a function of n locals, n loops in one another, and a way out of and back to each.
func tangled(n int) []byte {
	body := bytes.Repeat([]byte{wasm.OpLoop, 0x40}, n)
	for i := range n {
		at := wasm.AppendLEB(nil, uint64(i))
		body = cat(body, []byte{wasm.OpLocalGet}, at, i32Const(1), []byte{0x6a, wasm.OpLocalSet}, at)
	}
	body = append(body, bytes.Repeat([]byte{wasm.OpLocalGet, 0, wasm.OpBrIf, 0, wasm.OpEnd}, n)...)
	return fake{functions: [][]byte{code(n, cat(body, i32Const(0))...)}}.build()
}

// listing are the names of what is in a folder.
func listing(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What was compiled elsewhere is what the engine would have compiled here: it takes it from the cache, and compiles nothing.
func TestCompileModule(t *testing.T) {
	s, dir := newStores(), t.TempDir()
	var compiles atomic.Int32
	options := []func(*Options){func(o *Options) { o.CacheDir = dir }, apart(func(ctx context.Context, code []byte, lines bool, into string) error {
		compiles.Add(1)
		if names := listing(t, into); len(names) > 0 {
			t.Errorf("the folder has %q", names)
		}
		return CompileModule(ctx, code, lines, into)
	})}
	if err := os.Mkdir(filepath.Join(dir, "new-of-one-that-was-killed"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := reopen(t, s, options...)
	f := w.deploy(t, "f", constant(t, "x"), Config{})
	for range 2 {
		if got := w.mustAsk(t, "f", ""); got != "x" || compiles.Load() != 1 {
			t.Errorf("%q, compiled %d times", got, compiles.Load())
		}
		if whole, err := w.engine.cache.check(f.Digest); !whole || err != nil || len(listing(t, dir)) != 1 {
			t.Errorf("the cache has %q: whole %v, %v", listing(t, dir), whole, err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		w = reopen(t, s, options...)
	}
	if got := w.mustAsk(t, "f", ""); got != "x" || compiles.Load() != 1 { // loaded: a start does that in the background, and would find the damage too
		t.Errorf("%q, compiled %d times", got, compiles.Load())
	}
	if err := os.WriteFile(filepath.Join(w.engine.cache.dir(f.Digest), sealName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.deploy(t, "g", constant(t, "x"), Config{})
	if n := compiles.Load(); n != 2 {
		t.Errorf("after damage it was compiled %d times", n)
	}
}

func TestCompileModuleFails(t *testing.T) {
	err := CompileModule(t.Context(), broken(), false, t.TempDir())
	if wrong := (*ModuleError)(nil); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "function[2]") {
		t.Errorf("of a module that is not valid: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = CompileModule(t.Context(), constant(t, "x"), false, file)
	if wrong := (*ModuleError)(nil); err == nil || errors.As(err, &wrong) {
		t.Errorf("into a folder that is none: %v", err)
	}
}

// What ends in a process of its own is the module's fault, or the host compiles it itself.
func TestCompilerThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		into func(ctx context.Context, code []byte, lines bool, dir string) error
		want string // of the refusal; "" where it serves
	}{
		"the module is at fault": {func(context.Context, []byte, bool, string) error { return &ModuleError{"it is bad"} }, "code does not compile: it is bad"},
		"no process":             {func(context.Context, []byte, bool, string) error { return errors.New("no process") }, ""},
		"nothing is written":     {func(context.Context, []byte, bool, string) error { return nil }, ""},
		"no folder":              {func(_ context.Context, _ []byte, _ bool, dir string) error { return os.Remove(dir) }, ""},
		"another file": {func(ctx context.Context, code []byte, lines bool, dir string) error {
			return errors.Join(CompileModule(ctx, code, lines, dir), os.WriteFile(filepath.Join(dir, "more"), nil, 0o600))
		}, ""},
		"half a file": {func(ctx context.Context, code []byte, lines bool, dir string) error {
			err := CompileModule(ctx, code, lines, dir)
			files, _ := filepath.Glob(filepath.Join(dir, "wazero*", "*"))
			return errors.Join(err, os.Truncate(files[0], 100))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := open(t, func(o *Options) { o.CacheDir = dir }, apart(c.into))
			_, err := w.Deploy(t.Context(), "f", constant(t, "x"), Config{})
			if c.want != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) || len(listing(t, dir)) != 0 {
					t.Errorf("%v; the cache has %q", err, listing(t, dir))
				}
				return
			}
			if err != nil || w.mustAsk(t, "f", "") != "x" || len(listing(t, dir)) != 1 {
				t.Errorf("%v; the cache has %q", err, listing(t, dir))
			}
		})
	}
}

// While all turns of large modules are taken, small ones and those that are in the cache are compiled and loaded; a caller who gives up leaves nothing.
func TestCompilesApartTakeTurns(t *testing.T) {
	large := func(name string) []byte { return fake{sections: [][]byte{custom(name, make([]byte, 8<<10))}}.build() }
	begun := make(chan struct{}, maxApart)
	dir := t.TempDir()
	w := open(t, func(o *Options) { o.CacheDir = dir }, apart(CompileModule), func(o *Options) { o.apartBytes = 8 << 10 })
	w.deploy(t, "large", large("x"), Config{})
	w.engine.apart.into = func(ctx context.Context, _ []byte, _ bool, _ string) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for n := range maxApart + 1 {
		go func() {
			_, err := w.Deploy(ctx, "blocks", large(strings.Repeat("y", n+1)), Config{})
			ended <- err
		}()
	}
	for range maxApart {
		<-begun
	}
	w.deploy(t, "small", constant(t, "x"), Config{})
	w.deploy(t, "again", large("x"), Config{})
	cancel()
	for range maxApart + 1 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who gave up: %v", err)
		}
	}
	if names := listing(t, dir); len(names) != 2 {
		t.Errorf("the cache has %q", names)
	}
}

// What could take much is not compiled in the host's process, however small it is; what people write and is small is.
func TestTakes(t *testing.T) {
	c := compiler{into: CompileModule, from: apartBytes}
	wide := func(params, blocks int) []byte { // blocks with that many parameters
		m := fake{functions: [][]byte{code(0, cat(bytes.Repeat(cat([]byte{wasm.OpBlock, 0x40, wasm.OpEnd}), blocks), i32Const(0))...)}}.build()
		types := vec([]byte{0x60, 0, 1, i32}, []byte{0x60, 1, i32, 1, i32}, []byte{0x60, 3, i32, i32, i32, 1, i64}, []byte{0x60, 0, 0},
			cat([]byte{0x60}, wasm.AppendLEB(nil, uint64(params)), bytes.Repeat([]byte{i32}, params), []byte{0}))
		return replaced(m, wasm.SectionType, types)
	}
	for name, is := range map[string]struct {
		code []byte
		want bool
	}{
		"one that answers":  {constant(t, "x"), false},
		"in C":              {buildC(t, trapping, "-DSPIN=0"), false},
		"some locals":       {tangled(50), false},
		"locals and loops":  {tangled(500), true},
		"a thousand blocks": {wide(1, 1000), false},
		"with parameters":   {wide(900, 1000), true},
		"large":             {fake{sections: [][]byte{custom("x", make([]byte, apartBytes))}}.build(), true},
	} {
		if got := c.takes(is.code); got != is.want {
			t.Errorf("%s, %d bytes: %v", name, len(is.code), got)
		}
	}
	if c.into = nil; c.takes(tangled(500)) {
		t.Error("nobody is there to take it")
	}
}

// endedTimes is a compiler that is ended from outside so often before it does its work, and counts how often it was asked.
func endedTimes(times int32, asked *atomic.Int32) func(ctx context.Context, code []byte, lines bool, dir string) error {
	return func(ctx context.Context, code []byte, lines bool, dir string) error {
		if asked.Add(1) <= times {
			return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o600), ErrCompilerEnded)
		}
		return CompileModule(ctx, code, lines, dir)
	}
}

// A compiler that is ended from outside is asked again, a few times. Then it is the machine's trouble and not the module's, and the host does not do what may have taken
// the machine's memory.
func TestCompilerThatIsEnded(t *testing.T) {
	for times, serves := range map[int32]bool{1: true, maxEnded - 1: true, maxEnded: false} {
		var asked atomic.Int32
		dir := t.TempDir()
		w := open(t, func(o *Options) { o.CacheDir = dir }, apart(endedTimes(times, &asked)))
		w.engine.apart.rest = time.Millisecond
		_, err := w.Deploy(t.Context(), "f", constant(t, "x"), Config{})
		if asked.Load() != min(times+1, maxEnded) || serves != (err == nil) {
			t.Fatalf("ended %d times, asked %d times: %v", times, asked.Load(), err)
		}
		if serves {
			if got := w.mustAsk(t, "f", ""); got != "x" || len(listing(t, dir)) != 1 {
				t.Errorf("%q; the cache has %q", got, listing(t, dir))
			}
			continue
		}
		if !errors.Is(err, ErrCompilerEnded) || errors.Is(err, ErrInvalid) || len(listing(t, dir)) != 0 {
			t.Errorf("%v; the cache has %q", err, listing(t, dir))
		}
		asked.Store(0)
		w.submit(t, "f", constant(t, "x"))
		f := w.settled(t, "f")
		if f.State != StateFailed || !strings.Contains(f.Problem, "the code is not at fault") || strings.Contains(f.Problem, "does not compile") || asked.Load() != maxEnded {
			t.Errorf("asked %d times, then it is %+v", asked.Load(), f)
		}
		asked.Store(times)
		w.submit(t, "f", constant(t, "x"))
		if f := w.settled(t, "f"); f.State != StateActive || w.mustAsk(t, "f", "") != "x" {
			t.Errorf("deployed again: %+v", f)
		}
	}
}

// While its compiler rests, an upload is pending, and a host that stops does not wait for it.
func TestRestOfACompiler(t *testing.T) {
	asked := make(chan struct{}, 1)
	w := open(t, apart(func(context.Context, []byte, bool, string) error {
		asked <- struct{}{}
		return ErrCompilerEnded
	}))
	w.engine.apart.rest = time.Hour
	w.submit(t, "f", constant(t, "x"))
	<-asked
	if f, err := w.Get("f"); err != nil || f.State != StatePending || f.Update == nil || f.Update.State != StatePending {
		t.Errorf("%+v: %v", f, err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A script's compiler is asked again, too.
func TestScriptCompilerThatIsEnded(t *testing.T) {
	asked := 0
	w := open(t, func(o *Options) {
		o.CompileScript = func(ctx context.Context, source []byte, language Language) (*quickjs.Script, error) {
			if asked++; asked == 1 {
				return nil, ErrCompilerEnded
			}
			return compileHere(ctx, source, language)
		}
	})
	w.engine.apart.rest = time.Millisecond
	if _, err := w.DeployProven(t.Context(), "f", []byte(`export default { invoke: () => "x" }`), Config{}, Proof{Language: JavaScript}); err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// A function that is deleted, or uploaded anew, is not compiled to the end, and neither is one that is loaded.
func TestCompilesOfWhatIsGoneEnd(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error)
	blocks := func(ctx context.Context, _ []byte, _ bool, _ string) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}
	gone := func() {
		t.Helper()
		if err := <-ended; !errors.Is(err, errDropped) {
			t.Errorf("it was ended because of: %v", err)
		}
	}
	dir := t.TempDir()
	w := open(t, func(o *Options) { o.CacheDir = dir }, apart(blocks))
	w.submit(t, "f", constant(t, "x"))
	<-begun
	if err := w.Delete(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	gone()
	w.submit(t, "f", constant(t, "x"))
	<-begun
	w.submit(t, "f", constant(t, "y"))
	gone()
	<-begun
	w.submit(t, "f", constant(t, "x")) // as before, but another upload
	gone()
	<-begun
	go func() { <-ended }()
	if err := w.Close(t.Context()); err != nil { // goes on with the next start
		t.Fatal(err)
	}
	for _, f := range w.List() {
		if f.Update == nil || f.Update.State != StatePending {
			t.Errorf("%+v", f)
		}
	}

	s := newStores()
	w = reopen(t, s)
	w.deploy(t, "f", constant(t, "x"), Config{})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, s, func(o *Options) { o.CacheDir = dir }, apart(blocks))
	<-begun
	if err := w.Delete(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	gone()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names := listing(t, dir); len(names) != 0 {
		t.Errorf("the cache has %q", names)
	}
}

// After another version of the engine, and where the cache was emptied, code is compiled as an upload is.
func TestCacheOfAnotherEngine(t *testing.T) {
	s, dir := newStores(), t.TempDir()
	var asked atomic.Int32
	options := []func(*Options){func(o *Options) { o.CacheDir = dir }, apart(endedTimes(0, &asked))}
	w := reopen(t, s, options...)
	f := w.deploy(t, "f", constant(t, "x"), Config{})
	for n, change := range []func() error{
		func() error { return os.RemoveAll(dir) },
		func() error {
			at := w.engine.cache.dir(f.Digest)
			return os.Rename(at, strings.TrimSuffix(at, w.engine.cache.engine)+"0123abcd")
		},
	} {
		if err := errors.Join(w.Close(t.Context()), change()); err != nil {
			t.Fatal(err)
		}
		w = reopen(t, s, options...)
		if got := w.mustAsk(t, "f", ""); got != "x" || asked.Load() != int32(n+2) {
			t.Errorf("%q, compiled %d times", got, asked.Load())
		}
		if whole, err := w.engine.cache.check(f.Digest); !whole || err != nil || len(listing(t, dir)) != 1 {
			t.Errorf("the cache has %q: whole %v, %v", listing(t, dir), whole, err)
		}
	}
	unnamed := compileCache{root: dir} // as where the disk was full at the start
	if err := unnamed.retain(nil); err != nil || len(listing(t, dir)) != 1 {
		t.Errorf("the cache has %q: %v", listing(t, dir), err)
	}
	other := compileCache{root: t.TempDir()}
	if err := other.nameEngine(t.Context()); err != nil || other.engine != w.engine.cache.engine || len(other.engine) != 8 || len(listing(t, other.root)) != 0 {
		t.Errorf("the engine is %q and %q: %v", other.engine, w.engine.cache.engine, err)
	}
}
