package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/runtime/quickjs"
	"github.com/shardmill/shardmill/runtime/wasm"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// mold makes instances of one module.
type mold struct {
	*program
	version *version
}

func newMold(t testing.TB, code []byte, script string) *mold {
	t.Helper()
	e, err := newEngine(t.Context(), meter{}, compiled, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	config, err := Config{Timeout: time.Minute, Secrets: []string{"token"}}.normalize()
	if err != nil {
		t.Fatal(err)
	}
	m := &mold{version: newVersion(identity{function: "f", number: 1, config: config})}
	if script != "" {
		compiledScript, err := quickjs.Compile([]byte(script), JavaScript)
		if err != nil {
			t.Fatal(err)
		}
		m.program, err = e.script(t.Context(), compiledScript.Input())
		if err != nil {
			t.Fatal(err)
		}
	} else if m.program, err = e.compile(t.Context(), code, digestOf(code)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// make makes an instance as calls do; plain one as if there were no snapshots.
func (m *mold) make(t testing.TB) *instance {
	t.Helper()
	return m.made(t, func(log *capture) (*instance, error) {
		return newInstance(context.Background(), m.program, &m.version.identity, log, &Doors{})
	})
}

func (m *mold) plain(t testing.TB) *instance {
	t.Helper()
	return m.made(t, func(log *capture) (*instance, error) {
		return newTapedInstance(context.Background(), m.program, &m.version.identity, log, &Doors{}, new(senses))
	})
}

func (m *mold) made(t testing.TB, make func(*capture) (*instance, error)) *instance {
	t.Helper()
	i, err := make(newCapture(&m.version.identity, newLogRing(1<<20), nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.close)
	return i
}

func (m *mold) mustStart(t testing.TB, want Start, says string) {
	t.Helper()
	if start, reason, _ := m.starts.status(); start != want || !strings.Contains(reason, says) {
		t.Errorf("it starts from %q (%s), want %q (%s)", start, reason, want, says)
	}
}

// state is memory and globals of an instance.
func (m *mold) state(i *instance) (memory []byte, globals []uint64) {
	for _, name := range m.starts.names {
		globals = append(globals, i.module.ExportedGlobal(name).Get())
	}
	return slices.Clone(i.memory.reserved[:i.memory.size.Load()]), globals
}

// invoke makes a call, and gives all that came of it but its duration.
func invokeOn(t testing.TB, i *instance, call Call) string {
	t.Helper()
	reply := Reply{Invocation: "i"}
	if _, err := i.invoke(context.Background(), &call, &reply); err != nil {
		return err.Error()
	}
	reply.read()
	return fmt.Sprintf("%q %q %v fuel %d memory %d", reply.raw, reply.Body, reply.Outcomes, reply.Fuel, reply.MemoryPeak)
}

const counting = `let calls = 0; const early = { when: "top level" };
export default { invoke(body, ctx) { calls++; return [calls, early, body.text, new Array(1000).fill(calls).length] } };`

// TestSnapshotIsTheInstance compares instances from a snapshot with the one that was initialized: before and after calls.
func TestSnapshotIsTheInstance(t *testing.T) {
	reply := okReply(t)
	grown := fake{
		data: reply, handle: packed(1024, uint32(len(reply))), start: cat(i32Const(2000), i32Const(77), []byte{0x36, 2, 0}),
		initialize: cat(i32Const(2), []byte{wasm.OpMemoryGrow, 0, 0x1a}, i32Const(150_000), i32Const(88), []byte{0x36, 2, 0}, i64Const(-5), []byte{wasm.OpGlobalSet, 1}),
	}.build()
	globals := vec(cat([]byte{i32, 1}, i32Const(1), []byte{wasm.OpEnd}), cat([]byte{i64, 1}, i64Const(2), []byte{wasm.OpEnd}), cat([]byte{i32, 0}, i32Const(3), []byte{wasm.OpEnd}))
	for name, m := range map[string]*mold{
		"handmade": newMold(t, replaced(grown, wasm.SectionGlobal, globals), ""),
		"go":       newMold(t, guests["touch"], ""),
		"script":   newMold(t, nil, counting),
	} {
		t.Run(name, func(t *testing.T) {
			m.mustStart(t, StartUnknown, "")
			first := m.make(t)
			m.mustStart(t, StartSnapshot, "")
			second, third := m.make(t), m.make(t)
			memory, globals := m.state(first)
			for _, i := range []*instance{second, third} {
				if other, values := m.state(i); !bytes.Equal(memory, other) || !slices.Equal(globals, values) {
					t.Errorf("an instance from the snapshot has %d bytes, globals %v; the one it was taken of %d, %v", len(other), values, len(memory), globals)
				}
				if i.module.Memory().Size() != first.module.Memory().Size() || i.highWater != first.highWater {
					t.Error("the sizes differ")
				}
			}
			call := Call{Kind: KindInvoke, Body: []byte("hello")}
			if name == "go" {
				call = Call{Kind: KindBatch, Records: []record.Run{records(t, "k", "a", "bcd", strings.Repeat("x", 100_000))}}
			}
			for range 3 {
				want := invokeOn(t, first, call)
				if got := invokeOn(t, second, call); got != want || !strings.Contains(want, "fuel ") {
					t.Errorf("a call comes to\n%s, in the one that was initialized to\n%s", got, want)
				}
			}
			if other, _ := m.state(third); !bytes.Equal(memory, other) {
				t.Error("calls of one instance have changed another")
			}
		})
	}
}

// wasiImport imports a function of WASI, of a type by its index.
func wasiImport(name string, kind byte) []byte {
	return cat(str("wasi_snapshot_preview1"), str(name), []byte{wasm.ExternFunction, kind})
}

// TestWhatStartsPlainly has what no snapshot can be taken of, each with the reason; it runs all the same.
func TestWhatStartsPlainly(t *testing.T) {
	reply := okReply(t)
	sound := fake{data: reply, handle: packed(1024, uint32(len(reply)))}
	with := func(change func(*fake)) fake { f := sound; change(&f); return f }
	twoToOne := vec([]byte{0x60, 0, 1, i32}, []byte{0x60, 1, i32, 1, i32}, []byte{0x60, 3, i32, i32, i32, 1, i64}, []byte{0x60, 0, 0}, []byte{0x60, 2, i32, i32, 1, i32})
	drawing := cat(i32Const(8), i32Const(4), []byte{wasm.OpCall, 0, 0x1a})
	reading := func(clock int32) []byte { // which it does when it is initialized
		f := with(func(f *fake) {
			f.imports, f.initialize = [][]byte{wasiImport("clock_time_get", 4)}, cat(i32Const(clock), i64Const(1), i32Const(8), []byte{wasm.OpCall, 0, 0x1a})
		})
		return replaced(f.build(), wasm.SectionType, vec([]byte{0x60, 0, 1, i32}, []byte{0x60, 1, i32, 1, i32}, []byte{0x60, 3, i32, i32, i32, 1, i64}, []byte{0x60, 0, 0}, []byte{0x60, 3, i32, i64, i32, 1, i32}))
	}
	table := vec([]byte{0x70, 1, 1, 9})
	for name, tt := range map[string]struct {
		code   []byte
		reason string
	}{
		"sound": {sound.build(), ""},
		"a table grows": {replaced(with(func(f *fake) {
			f.initialize = cat([]byte{0xd0, 0x70}, i32Const(1), []byte{wasm.OpBulk, wasm.SubTableGrow, 0, 0x1a})
		}).build(), wasm.SectionTable, table), "it changes its tables"},
		"an entry of a table is set": {replaced(with(func(f *fake) {
			f.initialize = cat(i32Const(0), []byte{0xd0, 0x70, wasm.OpTableSet, 0})
		}).build(), wasm.SectionTable, table), "it changes its tables"},
		"data is dropped": {replaced(with(func(f *fake) { f.initialize = []byte{wasm.OpBulk, wasm.SubDataDrop, 0} }).build(), wasm.SectionDataCount, []byte{1}),
			"it reads or drops its segments when it runs"},
		"stdout is closed": {with(func(f *fake) {
			f.imports, f.initialize = [][]byte{wasiImport("fd_close", 1)}, cat(i32Const(1), []byte{wasm.OpCall, 0, 0x1a})
		}).build(), "it changes its files when it is initialized"},
		"random numbers": {replaced(with(func(f *fake) {
			f.imports, f.initialize = [][]byte{wasiImport("random_get", 4)}, drawing
		}).build(), wasm.SectionType, twoToOne), "it draws random numbers when it is initialized"},
		"the time of day":     {reading(0), "it reads the time of day when it is initialized"},
		"the monotonic clock": {reading(1), ""},
		"too much memory":     {with(func(f *fake) { f.pages = maxImageBytes/wasmPage + 1 }).build(), "its initialization takes 256 MiB of memory, more than 256"},
		"math/rand":           {guests["probe"], "it draws random numbers when it is initialized (in Go math/rand does)"},
	} {
		w := open(t)
		f := w.deploy(t, "f", tt.code, Config{MemoryBytes: 512 << 20})
		w.mustAsk(t, "f", "echo")
		f, err := w.Get("f")
		want := StartPlain
		if tt.reason == "" {
			want = StartSnapshot
		}
		if err != nil || f.Start != want || !strings.Contains(f.StartReason, tt.reason) {
			t.Errorf("%s: it starts from %q (%s), want %q (%s); %v", name, f.Start, f.StartReason, want, tt.reason, err)
		}
	}
}

// TestResumed has a module that says it takes care of what it drew: it is told of every instance that does not begin by itself.
func TestResumed(t *testing.T) {
	reply := okReply(t)
	module := fake{
		data: reply, handle: packed(1024, uint32(len(reply))), imports: [][]byte{wasiImport("random_get", 4)},
		initialize: cat(i32Const(8), i32Const(4), []byte{wasm.OpCall, 0, 0x1a}), resumed: cat(i32Const(8), i32Const(4), []byte{wasm.OpCall, 0, 0x1a}),
	}
	types := vec([]byte{0x60, 0, 1, i32}, []byte{0x60, 1, i32, 1, i32}, []byte{0x60, 3, i32, i32, i32, 1, i64}, []byte{0x60, 0, 0}, []byte{0x60, 2, i32, i32, 1, i32})
	m := newMold(t, replaced(module.build(), wasm.SectionType, types), "")
	seen := map[string]bool{}
	for range 5 {
		memory, _ := m.state(m.make(t))
		seen[string(memory[8:12])] = true
	}
	m.mustStart(t, StartSnapshot, "")
	if len(seen) < 4 || seen["\x00\x00\x00\x00"] {
		t.Errorf("five instances have drawn %v", seen)
	}

	module.resumed = unreachable
	w := open(t)
	w.deploy(t, "f", replaced(module.build(), wasm.SectionType, types), Config{})
	_, err := w.ask(t.Context(), "f", "")
	if f := failure(t, err, FailTrap); !strings.Contains(f.Message, "while the instance was made: function shardmill_resumed failed") {
		t.Error(f.Message)
	}
	module.resumed = spinning
	w.deploy(t, "f", replaced(module.build(), wasm.SectionType, types), Config{Timeout: 20 * time.Millisecond})
	_, err = w.ask(t.Context(), "f", "")
	failure(t, err, FailTimeout)
}

// TestIsolation has a function whose calls have nothing in common, but what they were granted.
func TestIsolation(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := open(t, func(o *Options) { o.Registerer = registry })
	f := w.deploy(t, "f", guests["outside"], Config{Isolation: IsolateInvocation, Timeout: 30 * time.Second, Secrets: []string{"token"}})
	seen := map[string]bool{}
	for range 4 {
		text, calls, _ := strings.Cut(w.mustAsk(t, "f", "random"), " ")
		if calls != "1" || seen[text] {
			t.Errorf("call %s in this instance says %s", calls, text)
		}
		seen[text] = true
	}
	if n := w.instances("f"); n != 0 {
		t.Errorf("%d instances are left", n)
	}
	if got := w.mustAsk(t, "f", "early"); got != fmt.Sprint(int(abi.StatusNoCall)) {
		t.Errorf("a door answered %s before the call", got)
	}
	if f, _ = w.Get("f"); f.Start != StartSnapshot || f.Config.Isolation != IsolateInvocation {
		t.Errorf("%+v", f.VersionDetail)
	}
	if starts, held := counter(t, registry, "shardmill_function_starts_total"), counter(t, registry, "shardmill_function_snapshot_bytes"); starts != 5 || held < 1<<20 || held > 8<<20 {
		t.Errorf("%v starts, %v bytes", starts, held)
	}
	if discarded := counter(t, registry, "shardmill_function_instances_discarded_total"); discarded != 0 {
		t.Errorf("%v instances count as discarded", discarded)
	}

	// After a restart the first instance is initialized again, and the setting is there.
	w = reopen(t, w.stores)
	if _, calls, _ := strings.Cut(w.mustAsk(t, "f", "random"), " "); calls != "1" || w.instances("f") != 0 {
		t.Errorf("after a restart it is call %s, and %d instances are left", calls, w.instances("f"))
	}

	if f = w.deploy(t, "f", guests["outside"], Config{Isolation: IsolateInstance, Timeout: 30 * time.Second, Secrets: []string{"token"}}); f.Version != 2 || f.Config.Isolation != IsolateNone {
		t.Errorf("%+v", f.VersionDetail)
	}
	w.mustAsk(t, "f", "random")
	if _, calls, _ := strings.Cut(w.mustAsk(t, "f", "random"), " "); calls != "2" {
		t.Errorf("without isolation it is call %s", calls)
	}
	_, err := w.Deploy(t.Context(), "f", guests["outside"], Config{Isolation: "process"})
	if refused := (*FieldError)(nil); !errors.As(err, &refused) || refused.Field != "isolation" {
		t.Error(err)
	}
}

// TestScriptsAreFresh has scripts whose instances begin alike and do not draw alike.
func TestScriptsAreFresh(t *testing.T) {
	w := open(t)
	w.deployScript(t, "f", `export default { invoke() { return [Math.random(), crypto.randomUUID()].join() } };`, Config{Isolation: IsolateInvocation, Timeout: time.Minute})
	seen := map[string]bool{}
	for range 4 {
		seen[w.mustAsk(t, "f", "")] = true
	}
	if f, _ := w.Get("f"); len(seen) != 4 || f.Start != StartSnapshot {
		t.Errorf("%s: %v", f.Start, seen)
	}
	w.deployScript(t, "g", `const id = Math.random(); export default { invoke() { return id } };`, Config{Timeout: time.Minute})
	if g, _ := w.Get("g"); g.Start != StartPlain || !strings.Contains(g.StartReason, "random") {
		t.Errorf("one that draws at its top level starts from %q (%s)", g.Start, g.StartReason)
	}
}

// TestInitializationIsLoggedOnce has what was written while the first instance was made, in the trial of the upload or, after a restart, for a call.
func TestInitializationIsLoggedOnce(t *testing.T) {
	w := open(t)
	w.deployScript(t, "f", `console.log("begun"); export default { invoke() { console.log("called") } };`, Config{Isolation: IsolateInvocation, Timeout: time.Minute})
	for range 2 {
		for range 2 {
			w.mustAsk(t, "f", "")
		}
		if lines := w.logsOf(t, "f"); !slices.Equal(lines, []string{"info begun", "info called", "info called"}) {
			t.Errorf("%q", lines)
		}
		lines := w.lines(t, "f")
		if lines[0].Version != 1 || lines[0].Function != "f" || lines[0].Invocation != "" || lines[1].Invocation == "" {
			t.Errorf("%+v", lines)
		}
		w = reopen(t, w.stores)
	}
}

// TestCommandFromItsData has a command begin with its data, which its start function has not touched yet.
func TestCommandFromItsData(t *testing.T) {
	w := open(t)
	w.deploy(t, "c", guests["command"], Config{Secrets: []string{"token"}, Timeout: 30 * time.Second})
	if f, _ := w.Get("c"); f.Start != StartUnknown {
		t.Errorf("before a call it starts from %q", f.Start)
	}
	for range 2 {
		if got := w.mustAsk(t, "c", "calls"); got != "1" {
			t.Errorf("calls: %s", got)
		}
	}
	if f, _ := w.Get("c"); f.Start != StartSnapshot {
		t.Errorf("it starts from %q (%s)", f.Start, f.StartReason)
	}
	// The start function traps when it finds what it leaves behind.
	once := cat(i32Const(1024), []byte{0x2d, 0, 0}, i32Const('a'), []byte{0x47, 0x04, 0x40, 0x00, wasm.OpEnd}, i32Const(1024), i32Const(0), []byte{0x3a, 0, 0})
	program := fake{data: []byte("a"), start: once, initialize: []byte{0x01}}.build()
	program = replaced(program, wasm.SectionExport, vec(cat(str("memory"), []byte{wasm.ExternMemory, 0}), cat(str("_start"), []byte{wasm.ExternFunction, 4})))
	w.deploy(t, "s", program, Config{})
	for range 3 {
		w.mustAsk(t, "s", "")
	}
	outside := fake{data: make([]byte, wasmPage), initialize: []byte{0x01}}.build()
	outside = replaced(outside, wasm.SectionExport, vec(cat(str("memory"), []byte{wasm.ExternMemory, 0}), cat(str("_start"), []byte{wasm.ExternFunction, 4})))
	w.deploy(t, "o", outside, Config{})
	_, err := w.ask(t.Context(), "o", "")
	if f := failure(t, err, FailTrap); !strings.Contains(f.Message, "out of bounds memory access") {
		t.Error(f.Message)
	}
}

// TestImageThatCannotBeMapped is no failure of the command that should have begun with it.
func TestImageThatCannotBeMapped(t *testing.T) {
	m := newMold(t, guests["command"], "")
	m.starts.snapshot, m.starts.taking = &snapshot{memory: &memoryImage{size: 1 << 30}}, true
	log := newCapture(&m.version.identity, newLogRing(0), nil)
	i, err := emptyInstance(&m.version.identity, log, &Doors{}, new(senses))
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	err = i.execute(t.Context(), m.program, &Call{Kind: KindInvoke}, new(Reply))
	if failed := (*FunctionError)(nil); err == nil || errors.As(err, &failed) {
		t.Errorf("it is a failure of the function: %v", err)
	}
}

// TestSnapshotIsDropped has one that was not used given up, and another one taken of the next instance.
func TestSnapshotIsDropped(t *testing.T) {
	m := newMold(t, guests["touch"], "")
	first := m.make(t)
	m.starts.drop(time.Now().Add(-time.Hour))
	if m.starts.snapshot == nil {
		t.Fatal("one that is used is dropped")
	}
	m.starts.drop(time.Now().Add(time.Hour))
	if _, _, held := m.starts.status(); m.starts.snapshot != nil || held != 0 {
		t.Fatal("it is not dropped")
	}
	m.mustStart(t, StartSnapshot, "")
	second := m.make(t)
	if second.senses.drawn == 0 || m.starts.snapshot == nil {
		t.Error("the next instance was not initialized, or no snapshot was taken of it")
	}
	if third := m.make(t); third.senses.drawn != 0 {
		t.Error("the one after that was initialized")
	}
	call := Call{Kind: KindBatch, Records: []record.Run{records(t, "k", "a")}}
	if got, want := invokeOn(t, first, call), invokeOn(t, second, call); got != want {
		t.Errorf("%s and %s", got, want)
	}
}

// TestStartsAtOnce makes, uses and drops at the same time.
func TestStartsAtOnce(t *testing.T) {
	m := newMold(t, guests["touch"], "")
	call := Call{Kind: KindBatch, Records: []record.Run{records(t, "k", "a", "b")}}
	want := invokeOn(t, m.plain(t), call)
	var makers sync.WaitGroup
	for n := range 4 {
		makers.Go(func() {
			for range 5 {
				i, err := newInstance(context.Background(), m.program, &m.version.identity, newCapture(&m.version.identity, newLogRing(0), nil), &Doors{})
				if err != nil {
					t.Error(err)
					return
				}
				if n == 0 {
					m.starts.drop(time.Now().Add(time.Hour))
				}
				if got := invokeOn(t, i, call); strings.Split(got, " fuel")[0] != strings.Split(want, " fuel")[0] {
					t.Errorf("%s, want %s", got, want)
				}
				i.close()
			}
		})
	}
	makers.Wait()
}

// TestNothingIsLeftOfSnapshots counts the images that this process has mapped or open.
func TestNothingIsLeftOfSnapshots(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("left out: /proc tells what is mapped on Linux only")
	}
	images := func() (n int) {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			target, _ := os.Readlink("/proc/self/fd/" + f.Name()) // it may be the one that lists them
			n += strings.Count(target, "shardmill-image")
		}
		return n + bytes.Count(maps, []byte("shardmill-image"))
	}
	before := images()
	w := open(t)
	w.deploy(t, "f", guests["touch"], Config{Isolation: IsolateInvocation, Timeout: 30 * time.Second})
	w.deploy(t, "g", guests["touch"], Config{Timeout: 30 * time.Second})
	w.deploy(t, "g", guests["touch"], Config{Timeout: 31 * time.Second})
	w.deploy(t, "c", guests["command"], Config{Timeout: 30 * time.Second, Secrets: []string{"token"}})
	var reply Reply
	for _, name := range []string{"f", "g", "g", "f"} {
		if err := w.Invoke(t.Context(), Call{Function: name, Kind: KindBatch, Records: []record.Run{records(t, "k", "a")}}, &reply); err != nil {
			t.Fatal(err)
		}
	}
	w.mustAsk(t, "c", "")
	if images() <= before {
		t.Error("no instance began with an image")
	}
	if err := w.Delete(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := images() - before; left != 0 {
		t.Errorf("%d images are left", left)
	}
}
