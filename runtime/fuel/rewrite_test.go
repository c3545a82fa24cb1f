package fuel

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// module is a module of functions, of which the last is exported as "run", with a memory, a table of all functions, and an imported
// function host.f, which has index 0. Types are those of signatureTypes and () -> (), which all functions have.
type module struct {
	bodies [][]byte // instructions, without the end
	pages  byte
	extra  []byte // sections behind the code
}

const sigNone = signatures

func (m module) build() []byte {
	out := append([]byte(nil), wasm.Header...)
	section := func(id byte, body []byte) { out = wasm.AppendBytes(append(out, id), body) }
	var declared, bodies, references [][]byte
	for n, b := range m.bodies {
		declared = append(declared, []byte{sigNone})
		bodies = append(bodies, wasm.AppendBytes(nil, append(append([]byte{1, 2, typeI32}, b...), wasm.OpEnd)))
		references = append(references, []byte{byte(n + 1)})
	}
	last := byte(len(m.bodies))
	section(wasm.SectionType, vector(append(signatureTypes[:len(signatureTypes):len(signatureTypes)], []byte{typeFunction, 0, 0})...))
	section(wasm.SectionImport, vector(append(wasm.AppendBytes(wasm.AppendBytes(nil, "host"), "f"), wasm.ExternFunction, sigHost)))
	section(wasm.SectionFunction, vector(declared...))
	section(wasm.SectionTable, vector([]byte{0x70, 1, entries, entries}))
	section(wasm.SectionMemory, vector([]byte{1, max(m.pages, 1), max(m.pages, 1) + 1}))
	section(wasm.SectionExport, vector(
		append(wasm.AppendBytes(nil, "run"), wasm.ExternFunction, last), append(wasm.AppendBytes(nil, "memory"), wasm.ExternMemory, 0)))
	section(wasm.SectionElement, vector(append([]byte{0, wasm.OpI32Const, 0, wasm.OpEnd}, vector(references...)...)))
	section(wasm.SectionCode, vector(bodies...))
	return append(out, m.extra...)
}

// start makes an instance on an engine of its own.
func start(t *testing.T, code []byte, slice int64, most int) (*engine, func() error, []byte) {
	t.Helper()
	ctx := context.Background()
	e := newEngine(t, wazero.NewRuntimeConfigCompiler(), slice)
	e.most = most
	host := func(_ context.Context, n uint32) uint32 { return n + 1 }
	if _, err := e.NewHostModuleBuilder("host").NewFunctionBuilder().WithFunc(host).Export("f").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := e.start(code, "")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := m.Memory().Read(0, m.Memory().Size())
	return e, func() error {
		_, err := m.ExportedFunction("run").Call(ctx)
		if g := m.ExportedGlobal(Export); g != nil {
			e.granted -= int64(g.Get()) // now it is what was used
		}
		return err
	}, b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func i32Const(n int64) []byte { return wasm.AppendSLEB([]byte{wasm.OpI32Const}, n) }

// Whatever does not end by itself calls the host again and again.
func TestEndlessCodeIsStopped(t *testing.T) {
	call := func(f byte) []byte { return []byte{wasm.OpCall, f} }
	for name, bodies := range map[string][][]byte{
		"a short loop":          {{wasm.OpLoop, 0x40, wasm.OpI32Const, 1, wasm.OpBrIf, 0, wasm.OpEnd}},
		"an empty loop":         {{wasm.OpLoop, wasm.BlockEmpty, wasm.OpBr, 0, wasm.OpEnd}},
		"a loop in a loop":      {{wasm.OpLoop, 0x40, wasm.OpLoop, 0x40, wasm.OpI32Const, 0, wasm.OpBrIf, 0, wasm.OpBr, 1, wasm.OpEnd, wasm.OpEnd}},
		"a loop by a table":     {{wasm.OpLoop, 0x40, wasm.OpI32Const, 5, wasm.OpBrTable, 1, 0, 0, wasm.OpEnd}},
		"a loop with a value":   {{wasm.OpI32Const, 1, wasm.OpLoop, sigBlock, wasm.OpBr, 0, wasm.OpEnd, 0x1a}},
		"a loop behind an if":   {{wasm.OpI32Const, 1, wasm.OpIf, 0x40, wasm.OpLoop, 0x40, wasm.OpBr, 0, wasm.OpEnd, wasm.OpEnd}},
		"calls without a loop":  doubling(40),
		"calls before a loop":   append(doubling(40), join(call(41), []byte{wasm.OpLoop, 0x40, wasm.OpI32Const, 0, wasm.OpBrIf, 0, wasm.OpEnd})),
		"calls through a table": {{0x01}, {wasm.OpLoop, 0x40, wasm.OpI32Const, 0, wasm.OpCallIndirect, sigNone, 0, wasm.OpBr, 0, wasm.OpEnd}},
		"a tail call of itself": {{wasm.OpReturnCall, 1}},
		"tail calls in turn":    {{wasm.OpReturnCall, 2}, {wasm.OpReturnCall, 3}, {wasm.OpReturnCall, 1}},
		"tail calls by a table": {{wasm.OpI32Const, 0, wasm.OpReturnCallIndirect, sigNone, 0}},
		"tail calls behind ifs": {{wasm.OpI32Const, 0, wasm.OpIf, 0x40, wasm.OpReturn, wasm.OpEnd, wasm.OpI32Const, 1, wasm.OpIf, 0x40, wasm.OpReturnCall, 1, wasm.OpEnd}},
		"calls of the host":     {{wasm.OpLoop, 0x40, wasm.OpI32Const, 1, wasm.OpCall, 0, 0x1a, wasm.OpBr, 0, wasm.OpEnd}},
		"growing memory":        {{wasm.OpLoop, 0x40, wasm.OpI32Const, 1, wasm.OpMemoryGrow, 0, 0x1a, wasm.OpBr, 0, wasm.OpEnd}},
		"filling memory":        {join([]byte{wasm.OpLoop, 0x40, wasm.OpI32Const, 0, wasm.OpI32Const, 0}, i32Const(1<<16), []byte{0xfc, 11, 0, wasm.OpBr, 0, wasm.OpEnd})},
	} {
		t.Run(name, func(t *testing.T) {
			code := rewrite(t, module{bodies: bodies}.build())
			e, run, _ := start(t, code, 10_000, 50)
			if err := run(); err == nil || !strings.Contains(err.Error(), stopped) {
				t.Errorf("it was not stopped after %d slices: %v", e.refills, err)
			}
		})
	}
}

// doubling is functions that each call the one before twice.
func doubling(n int) [][]byte {
	bodies := [][]byte{{0x01}}
	for f := range n {
		bodies = append(bodies, []byte{wasm.OpCall, byte(f + 1), wasm.OpCall, byte(f + 1)})
	}
	return bodies
}

// Endless recursion ends with the stack, or with the fuel.
func TestRecursion(t *testing.T) {
	code := rewrite(t, module{bodies: [][]byte{{wasm.OpCall, 1}}}.build())
	_, run, _ := start(t, code, 1<<40, 0)
	if err := run(); err == nil || !strings.Contains(err.Error(), "stack overflow") {
		t.Errorf("%v", err)
	}
	_, run, _ = start(t, code, 100, 100)
	if err := run(); err == nil || !strings.Contains(err.Error(), stopped) {
		t.Errorf("%v", err)
	}
}

// What is charged is the number of instructions, in a straight line, in a branch, in a loop.
func TestWhatIsCharged(t *testing.T) {
	pairs := func(n int) []byte { return bytes.Repeat([]byte{wasm.OpI32Const, 0, wasm.OpLocalSet, 0}, n) }
	loop := func(turns int64, body []byte) []byte {
		return join(i32Const(turns), []byte{wasm.OpLocalSet, 1, wasm.OpLoop, 0x40}, body,
			[]byte{wasm.OpLocalGet, 1, wasm.OpI32Const, 1, opI32Sub, wasm.OpLocalTee, 1, wasm.OpBrIf, 0, wasm.OpEnd})
	}
	branch := func(condition byte, then, otherwise []byte) []byte {
		return join([]byte{wasm.OpI32Const, condition, wasm.OpIf, 0x40}, then, []byte{wasm.OpElse}, otherwise, []byte{wasm.OpEnd})
	}
	for name, c := range map[string]struct {
		bodies [][]byte
		want   int64
	}{
		"nothing":              {[][]byte{{0x01}}, 0},
		"a line":               {[][]byte{pairs(100)}, 200},
		"a loop":               {[][]byte{loop(1000, pairs(10))}, 2 + 1000*25},
		"its last round alone": {[][]byte{loop(999, pairs(10))}, 2 + 1000*25},
		"longer rounds":        {[][]byte{loop(999, pairs(30))}, 2 + 999*65},
		"a branch taken":       {[][]byte{branch(1, pairs(100), pairs(500))}, 2 + 200},
		"the other":            {[][]byte{branch(0, pairs(100), pairs(500))}, 2 + 1000},
		"short branches":       {[][]byte{branch(0, pairs(10), pairs(20))}, 2 + 20 + 40},
		"left early":           {[][]byte{join([]byte{wasm.OpBlock, 0x40, wasm.OpI32Const, 1, wasm.OpBrIf, 0}, pairs(300), []byte{wasm.OpEnd})}, 2},
		"behind a return":      {[][]byte{join(pairs(10), []byte{wasm.OpReturn}, pairs(300))}, 21},
		"a call":               {[][]byte{pairs(30), {wasm.OpCall, 1}}, weightCall + 60},
		"a tail call":          {[][]byte{pairs(30), join(pairs(10), []byte{wasm.OpReturnCall, 1}, pairs(300))}, 20 + weightCall + 60},
		"one by a table":       {[][]byte{pairs(30), {wasm.OpI32Const, 0, wasm.OpReturnCallIndirect, sigNone, 0}}, 1 + weightIndirect + 60},
		"a call of the host":   {[][]byte{{wasm.OpI32Const, 1, wasm.OpCall, 0, 0x1a}}, 1 + weightHost},
		"growing":              {[][]byte{{wasm.OpI32Const, 1, wasm.OpMemoryGrow, 0, 0x1a}}, 1 + weightGrow},
		"filling":              {[][]byte{join([]byte{wasm.OpI32Const, 0, wasm.OpI32Const, 0}, i32Const(6400), []byte{0xfc, 11, 0})}, 3 + weightBulk + 400},
		"dividing":             {[][]byte{{wasm.OpI32Const, 1, wasm.OpI32Const, 1, 0x6d, 0x1a}}, 2 + weightDivide},
		"a loop passed once":   {[][]byte{join([]byte{wasm.OpLoop, 0x40}, pairs(10), []byte{wasm.OpEnd})}, 20},
		"a loop never passed":  {[][]byte{join([]byte{wasm.OpReturn}, loop(5, pairs(10)))}, 1},
	} {
		e, run, _ := start(t, rewrite(t, module{bodies: c.bodies}.build()), 1000, 0)
		if err := run(); err != nil || e.granted != c.want {
			t.Errorf("%s: %d, want %d; %v", name, e.granted, c.want, err)
		}
	}
}

// Memory is filled and copied in pieces, and nothing of that can be seen but the price.
func TestLargeFillsAndCopies(t *testing.T) {
	const pages, size = 50, 50 << 16
	fill := func(at, n int64) []byte {
		return join(i32Const(at), i32Const(0x5a), i32Const(n), []byte{0xfc, wasm.SubMemoryFill, 0})
	}
	move := func(to, from, n int64) []byte {
		return join(i32Const(to), i32Const(from), i32Const(n), []byte{0xfc, wasm.SubMemoryCopy, 0, 0})
	}
	for name, body := range map[string][]byte{
		"fill":                        fill(100, 2<<20+5),
		"fill one piece":              fill(100, chunk),
		"fill to the end":             fill(size-3*chunk, 3*chunk),
		"fill beyond the end":         fill(size-2*chunk, 2*chunk+1),
		"fill 4 GiB":                  fill(0, -1),
		"copy apart":                  move(0, 30<<16, 20<<16),
		"copy down":                   move(100, 200, 2<<20),
		"copy down by more":           move(100, 100+chunk+1, 1<<20+1<<19),
		"copy up":                     move(200, 100, 2<<20),
		"copy up by more":             move(100+chunk+1, 100, 1<<20+1<<19),
		"copy in place":               move(0, 0, 3<<20),
		"copy from beyond the end":    move(0, size-chunk, chunk+1),
		"copy to beyond the end":      move(size-chunk, 0, chunk+1),
		"copy from beyond everything": move(0, -2, 2<<20),
	} {
		t.Run(name, func(t *testing.T) {
			code := module{bodies: [][]byte{body}, pages: pages}.build()
			_, plain, want := start(t, code, 0, 0)
			e, rewritten, got := start(t, rewrite(t, code), 10_000, 0)
			for i := range want {
				want[i] = byte(i * 7 >> 3)
				got[i] = want[i]
			}
			a, b := plain(), rewritten()
			if reason(a) != reason(b) || !bytes.Equal(want, got) {
				t.Errorf("plain %v, rewritten %v, same memory: %v", a, b, bytes.Equal(want, got))
			}
			if a == nil && e.granted < chunk>>lengthShift {
				t.Errorf("it costs %d", e.granted)
			}
		})
	}
}

// A stack trace names functions as the original's does.
func TestNamesInTraces(t *testing.T) {
	bodies := [][]byte{{wasm.OpUnreachable}, {wasm.OpCall, 1}, {wasm.OpCall, 2}}
	named := func(index byte, name string) []byte { return wasm.AppendBytes([]byte{index}, name) }
	section := func(parts ...[]byte) []byte {
		return wasm.AppendBytes([]byte{wasm.SectionCustom}, join(wasm.AppendBytes(nil, "name"), join(parts...)))
	}
	functions := join([]byte{namesFunctions}, wasm.AppendBytes(nil, vector(named(0, "imported"), named(1, "inner"), named(3, "outer"))))
	for name, extra := range map[string][]byte{
		"names":     section(join([]byte{namesModule}, wasm.AppendBytes(nil, wasm.AppendBytes(nil, "mod"))), functions),
		"no module": section(functions),
		"none":      nil,
		"and more": join(wasm.AppendBytes([]byte{wasm.SectionCustom}, wasm.AppendBytes(nil, ".debug_info")),
			section(functions, []byte{2}, wasm.AppendBytes(nil, vector([]byte{1, 0})))),
	} {
		code := module{bodies: bodies, extra: extra}.build()
		_, plain, _ := start(t, code, 0, 0)
		_, rewritten, _ := start(t, rewrite(t, code), 1000, 0)
		if a, b := plain(), rewritten(); a == nil || b == nil || a.Error() != b.Error() {
			t.Errorf("%s: plain %v\nrewritten %v", name, a, b)
		}
	}
}

// An upload cannot reach what was added to it.
func TestWhatIsAddedCannotBeReached(t *testing.T) {
	code := module{bodies: [][]byte{{wasm.OpI32Const, 0, wasm.OpI32Const, 0, wasm.OpI32Const, 0, 0xfc, 11, 0}}}.build()
	for name, body := range map[string][]byte{
		"the counter is read":    {wasm.OpGlobalGet, 0, 0x1a},
		"the counter is written": {opI64Const, 0, wasm.OpGlobalSet, 0},
		"unreachable write":      {wasm.OpUnreachable, opI64Const, 0, wasm.OpGlobalSet, 0},
		"a helper is called":     {wasm.OpCall, 2},
		"a helper is referred":   {wasm.OpRefFunc, 2, 0x1a},
		"a type is used":         {wasm.OpI32Const, 0, wasm.OpCallIndirect, sigNone + 1, 0},
		"a type of a block":      {wasm.OpBlock, sigNone + 1, wasm.OpEnd},
	} {
		if _, err := Rewrite(module{bodies: [][]byte{body}}.build()); err == nil {
			t.Errorf("%s, and it is rewritten", name)
		}
	}
	for name, change := range map[string][2]string{
		"the counter's name is taken": {"\x03run\x00\x01", "\x0e" + Export + "\x00\x01"},
		"a helper is exported":        {"\x03run\x00\x01", "\x03run\x00\x02"},
		"the counter is exported":     {"\x03run\x00\x01", "\x03run\x03\x00"},
		"a helper is in the table":    {"\x01\x00\x41\x00\x0b\x01\x01", "\x01\x00\x41\x00\x0b\x01\x02"},
	} {
		changed := strings.Replace(string(code), change[0], change[1], 1)
		if changed == string(code) {
			t.Fatalf("%s: nothing to replace", name)
		}
		if len(changed) != len(code) { // the section has become longer
			changed = strings.Replace(changed, "\x07\x10\x02", "\x07\x1b\x02", 1)
		}
		if _, err := Rewrite([]byte(changed)); err == nil {
			t.Errorf("%s, and it is rewritten", name)
		}
	}
}

// No end of a module that is cut off, and no changed byte of it, makes Rewrite panic.
func TestDamagedModules(t *testing.T) {
	code := (&generator{choices: bytes.Repeat([]byte("a module with some of everything"), 20)}).module()
	for n := range code {
		_, _ = Rewrite(code[:n])
		for _, b := range []byte{0, 0xff, code[n] + 1} {
			changed := bytes.Clone(code)
			changed[n] = b
			_, _ = Rewrite(changed)
		}
	}
}

// The time that rewriting takes grows with the code and not faster: for chains of branches, calls and blocks in one function too.
func TestLargeFunctions(t *testing.T) {
	const n = 300_000
	for name, body := range map[string][]byte{
		"branches and calls in a loop": join([]byte{wasm.OpLoop, 0x40}, bytes.Repeat([]byte{wasm.OpI32Const, 0, wasm.OpBrIf, 0, wasm.OpCall, 1}, n), []byte{wasm.OpEnd}),
		"nested blocks":                join(bytes.Repeat([]byte{wasm.OpBlock, 0x40, wasm.OpCall, 1}, n), bytes.Repeat([]byte{wasm.OpEnd}, n)),
		"nested loops":                 join(bytes.Repeat([]byte{wasm.OpLoop, 0x40, wasm.OpI32Const, 0, wasm.OpBrIf, 0}, n), bytes.Repeat([]byte{wasm.OpEnd}, n)),
		"one block after the other":    bytes.Repeat([]byte{wasm.OpBlock, 0x40, wasm.OpI32Const, 0, wasm.OpBrIf, 0, wasm.OpEnd}, n),
	} {
		began := time.Now()
		out := rewrite(t, module{bodies: [][]byte{body}}.build())
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: %v for %d bytes, which became %d", name, took, len(body), len(out))
		}
	}
}

// FuzzDamage looks for bytes that make Rewrite panic.
func FuzzDamage(f *testing.F) {
	f.Add((&generator{choices: bytes.Repeat([]byte("a module with some of everything"), 20)}).module())
	f.Add(module{bodies: doubling(3), pages: 3}.build())
	f.Fuzz(func(_ *testing.T, code []byte) { _, _ = Rewrite(code) })
}
