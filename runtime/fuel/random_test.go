package fuel

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// Random modules: valid, ending by themselves, and with as much of what rewriting touches as there is room for. Every choice is a byte of
// the fuzzer's; when there are none left, the simplest is chosen.

const (
	typeF64   = 0x7c
	functions = 5 // each calls those before it, and the imported one; at its end any
	pages     = 2
	entries   = 8 // of the table
)

// The types of a random module. The first are those of blocks.
const (
	sigBlock   = iota // (i32) -> i32
	sigPair           // (i32, i64) -> (i64, i32)
	sigHost           // (i32) -> i32
	sigRun            // (i32, i64) -> i64
	signatures        // how many
)

var signatureTypes = [signatures][]byte{
	{typeFunction, 1, typeI32, 1, typeI32},
	{typeFunction, 2, typeI32, typeI64, 2, typeI64, typeI32},
	{typeFunction, 1, typeI32, 1, typeI32},
	{typeFunction, 2, typeI32, typeI64, 1, typeI64},
}

// The globals: what is left of the steps that loops and calls may take, and two to work with.
const (
	globalSteps = iota
	globalI32
	globalI64
	globals
)

// The locals of a function: parameters first.
const (
	localI32  = 0 // and 2, 3
	localI64  = 1 // and 4
	localF64  = 5
	localLoop = 6 // and the following: one counter per depth of loops
	locals    = localLoop + maxDepth
	maxDepth  = 5
)

type generator struct {
	choices []byte
	b       []byte
	labels  int // blocks around, the function's own not counted
	depth   int
	self    int // the function that is being made
}

func (g *generator) choose(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := int(g.choices[0]) % n
	g.choices = g.choices[1:]
	return c
}

func (g *generator) op(b ...byte) { g.b = append(g.b, b...) }

func (g *generator) constant(op byte, n int64) { g.b = wasm.AppendSLEB(append(g.b, op), n) }

// i32 makes instructions that leave an i32.
func (g *generator) i32(deep int) {
	choice := g.choose(16)
	if deep <= 0 {
		choice %= 3
	}
	switch choice {
	case 0:
		g.constant(wasm.OpI32Const, int64(int8(g.choose(256))))
	case 1:
		g.op(wasm.OpLocalGet, []byte{localI32, 2, 3}[g.choose(3)])
	case 2:
		g.op(wasm.OpGlobalGet, globalI32)
	case 3, 4:
		g.i32(deep - 1)
		g.i32(deep - 1)
		g.op([]byte{opI32Add, opI32Sub, 0x6c, 0x6d, 0x70, 0x71, 0x73, 0x74, 0x48, opI32GtU}[g.choose(10)])
	case 5:
		g.i64(deep - 1)
		g.op(0xa7)
	case 6:
		g.i32(deep - 1)
		g.op([]byte{0x28, 0x2c, 0x2f}[g.choose(3)], 0, byte(g.choose(100)))
	case 7:
		g.i32(deep - 1)
		g.op(wasm.OpLocalTee, 2)
	case 8:
		g.block(deep, sigBlock)
	case 9:
		g.i32(deep - 1)
		g.op(wasm.OpCall, 0) // of the host
	case 10:
		g.op([]byte{wasm.OpMemorySize, 0xfc}[g.choose(2)])
		if g.b[len(g.b)-1] == 0xfc {
			g.op(16)
		}
		g.op(0)
	case 11:
		g.i32(0)
		g.op([]byte{wasm.OpMemoryGrow, 0x45}[g.choose(2)])
		if g.b[len(g.b)-1] == wasm.OpMemoryGrow {
			g.op(0)
		}
	case 12:
		g.op(wasm.OpRefFunc, byte(1+g.choose(functions)))
		g.i32(0)
		g.op(0xfc, wasm.SubTableGrow, 0)
	case 13:
		g.i32(deep - 1)
		g.i32(deep - 1)
		g.i32(deep - 1)
		g.op(0x1b)
	case 14:
		g.i32(deep - 1)
		g.op(0xfd, 17, 0xfd, 27, byte(g.choose(4))) // splat and extract
	case 15:
		g.op(wasm.OpLocalGet, localF64, 0xfc, 2) // saturating
	}
}

// i64 makes instructions that leave an i64.
func (g *generator) i64(deep int) {
	choice := g.choose(8)
	if deep <= 0 {
		choice %= 3
	}
	switch choice {
	case 0:
		g.constant(opI64Const, int64(g.choose(256))<<g.choose(56))
	case 1:
		g.op(wasm.OpLocalGet, []byte{localI64, 4}[g.choose(2)])
	case 2:
		g.op(wasm.OpGlobalGet, globalI64)
	case 3:
		g.i64(deep - 1)
		g.i64(deep - 1)
		g.op([]byte{opI64Add, opI64Sub, 0x7e, 0x7f, 0x85, 0x89}[g.choose(6)])
	case 4:
		g.i32(deep - 1)
		g.op(opExtendU)
	case 5:
		g.i32(deep - 1)
		g.op(0x29, 0, byte(g.choose(100)))
	case 6, 7:
		g.call(deep)
	}
}

// call makes a call, where there are steps left: of a function made before, or of any through the table.
func (g *generator) call(deep int) {
	g.step()
	g.op(wasm.OpIf, typeI64)
	g.labels++
	g.i32(deep - 1)
	g.i64(deep - 1)
	if g.self > 0 && g.choose(3) > 0 {
		g.op(wasm.OpCall, byte(1+g.choose(g.self)))
	} else {
		g.i32(0)
		g.op(wasm.OpCallIndirect, byte(sigRun), 0)
	}
	g.op(wasm.OpElse)
	g.i64(0)
	g.op(wasm.OpEnd)
	g.labels--
}

// tailCall makes a call in place of the rest of the function, where there are steps left: of any function, the same one too, or through the table.
func (g *generator) tailCall(deep int) {
	g.step()
	g.op(wasm.OpIf, wasm.BlockEmpty)
	g.labels++
	g.i32(deep - 1)
	g.i64(deep - 1)
	if g.choose(3) > 0 {
		g.op(wasm.OpReturnCall, byte(1+g.choose(functions)))
	} else {
		g.i32(0)
		g.op(wasm.OpReturnCallIndirect, sigRun, 0)
	}
	g.op(wasm.OpEnd)
	g.labels--
}

// step takes a step and leaves whether there was one.
func (g *generator) step() {
	g.op(wasm.OpGlobalGet, globalSteps, wasm.OpI32Const, 1, opI32Sub, wasm.OpGlobalSet, globalSteps)
	g.op(wasm.OpGlobalGet, globalSteps, wasm.OpI32Const, 0, 0x4a)
}

// block makes a block with a parameter and a result.
func (g *generator) block(deep int, signature byte) {
	g.i32(deep - 1)
	op := []byte{wasm.OpBlock, wasm.OpLoop, wasm.OpIf}[g.choose(3)]
	if op == wasm.OpIf {
		g.i32(deep - 1)
	}
	g.op(op, signature)
	g.labels++
	g.op(wasm.OpLocalSet, 3)
	g.statements(deep - 1)
	g.i32(deep - 1)
	if op != wasm.OpLoop && g.choose(2) > 0 {
		g.i32(deep - 1)
		g.op(wasm.OpBrIf, 0)
	}
	if op == wasm.OpLoop {
		g.step()
		g.op(wasm.OpBrIf, 0) // the value goes round
	}
	if op == wasm.OpIf {
		g.op(wasm.OpElse, wasm.OpI32Const, 1, opI32Add)
	}
	g.op(wasm.OpEnd)
	g.labels--
}

func (g *generator) statements(deep int) {
	for range 1 + g.choose(4) {
		g.statement(deep)
	}
}

// statement makes instructions that leave nothing.
func (g *generator) statement(deep int) {
	choice := g.choose(16)
	if deep <= 0 || g.depth >= maxDepth {
		choice %= 6
	}
	switch choice {
	case 0:
		g.i32(deep)
		g.op(wasm.OpLocalSet, []byte{localI32, 2, 3}[g.choose(3)])
	case 1:
		g.i64(deep)
		g.op(wasm.OpLocalSet, []byte{localI64, 4}[g.choose(2)])
	case 2:
		g.i32(deep)
		g.op(wasm.OpGlobalSet, globalI32)
	case 3:
		g.i64(deep)
		g.op(wasm.OpGlobalSet, globalI64)
	case 4:
		g.i32(deep)
		g.i32(deep)
		g.op(0x36, 0, byte(g.choose(100)))
	case 5:
		g.i64(deep)
		g.op(0xb9, wasm.OpLocalSet, localF64)
	case 6, 7, 8:
		g.loop(deep)
	case 9, 10:
		g.branch(deep)
	case 11:
		g.table(deep)
	case 12, 13:
		g.bulk(deep)
	case 14:
		g.leave(deep)
	case 15:
		g.i32(deep - 1)
		g.i64(deep - 1)
		g.op(wasm.OpBlock, sigPair, 0x1a, 0x1a)
		g.i64(0)
		g.i32(0)
		g.op(wasm.OpEnd, 0x1a, wasm.OpLocalSet, 4)
	}
}

// loop makes a loop of a few turns, which ends also when there are no steps left.
func (g *generator) loop(deep int) {
	counter := byte(localLoop + g.depth)
	g.op(wasm.OpI32Const, byte(g.choose(20)), wasm.OpLocalSet, counter, wasm.OpLoop, wasm.BlockEmpty)
	g.labels++
	g.depth++
	g.statements(deep - 1)
	g.depth--
	g.op(wasm.OpLocalGet, counter, wasm.OpI32Const, 1, opI32Sub, wasm.OpLocalTee, counter, wasm.OpI32Const, 0, 0x4a)
	g.step()
	g.op(0x71, wasm.OpBrIf, 0, wasm.OpEnd)
	g.labels--
}

func (g *generator) branch(deep int) {
	g.i32(deep - 1)
	g.op(wasm.OpIf, wasm.BlockEmpty)
	g.labels++
	g.statements(deep - 1)
	if g.choose(2) > 0 {
		g.op(wasm.OpElse)
		g.statements(deep - 1)
	}
	g.op(wasm.OpEnd)
	g.labels--
}

// table makes a few blocks and a table of branches to their ends.
func (g *generator) table(deep int) {
	n := 1 + g.choose(4)
	for range n {
		g.op(wasm.OpBlock, wasm.BlockEmpty)
		g.labels++
	}
	g.i32(deep - 1)
	g.op(wasm.OpBrTable, byte(n))
	for range n + 1 {
		g.op(byte(g.choose(n)))
	}
	for range n {
		g.op(wasm.OpEnd)
		g.labels--
		g.statements(deep - 2)
	}
}

// leave makes a block that is left early, with code behind that cannot be reached.
func (g *generator) leave(deep int) {
	g.op(wasm.OpBlock, wasm.BlockEmpty)
	g.labels++
	g.i32(deep - 1)
	g.op(wasm.OpBrIf, 0)
	g.statements(deep - 1)
	switch g.choose(5) {
	case 0:
		g.op(wasm.OpBr, 0)
	case 1:
		g.i64(deep - 1)
		g.op(wasm.OpReturn)
	case 2:
		g.op(wasm.OpUnreachable)
	case 3:
		g.i64(0)
		g.op(wasm.OpBr, byte(g.labels)) // out of the function
	case 4:
		g.tailCall(deep)
	}
	if g.choose(2) > 0 {
		g.statements(deep - 1)
	}
	g.op(wasm.OpEnd)
	g.labels--
}

// bulk makes an operation on many bytes or table entries. Those of most lengths trap.
func (g *generator) bulk(deep int) {
	sub := []byte{wasm.SubMemoryFill, wasm.SubMemoryCopy, wasm.SubMemoryInit, wasm.SubTableCopy, wasm.SubTableInit, wasm.SubTableFill, 9, 13}[g.choose(8)]
	if sub == 9 || sub == 13 {
		g.op(0xfc, sub, 0) // data.drop, elem.drop
		return
	}
	g.i32(deep - 1)
	if sub == wasm.SubTableFill {
		g.op(wasm.OpRefFunc, byte(1+g.choose(functions)))
	} else {
		g.i32(deep - 1)
	}
	g.i32(0)
	g.op(wasm.OpI32Const, 7, 0x71, 0xfc, sub, 0)
	if sub != wasm.SubMemoryFill && sub != wasm.SubTableFill {
		g.op(0)
	}
}

// body is a function's, as it stands in the code section.
func (g *generator) body(self int) []byte {
	g.self, g.labels, g.depth = self, 0, 0
	g.b = []byte{3, 2, typeI32, 1, typeI64, 1, typeF64}
	g.b[0] = 4
	g.b = append(g.b, locals-localLoop, typeI32)
	g.statements(4)
	g.i64(4)
	g.op(wasm.OpEnd)
	return wasm.AppendBytes(nil, g.b)
}

func vector(items ...[]byte) []byte {
	b := wasm.AppendLEB(nil, uint64(len(items)))
	for _, i := range items {
		b = append(b, i...)
	}
	return b
}

// module is a random module.
func (g *generator) module() []byte {
	out := append([]byte(nil), wasm.Header...)
	section := func(id byte, body []byte) { out = wasm.AppendBytes(append(out, id), body) }
	var declared, bodies, references [][]byte
	for f := range functions {
		declared = append(declared, []byte{sigRun})
		bodies = append(bodies, g.body(f))
		references = append(references, []byte{byte(1 + f)})
	}
	export := func(name string, kind, index byte) []byte { return append(wasm.AppendBytes(nil, name), kind, index) }
	section(wasm.SectionType, vector(signatureTypes[:]...))
	section(wasm.SectionImport, vector(append(wasm.AppendBytes(wasm.AppendBytes(nil, "host"), "f"), wasm.ExternFunction, sigHost)))
	section(wasm.SectionFunction, vector(declared...))
	section(wasm.SectionTable, vector([]byte{0x70, 1, entries, 3 * entries}))
	section(wasm.SectionMemory, vector([]byte{1, pages, pages + 2}))
	section(wasm.SectionGlobal, vector(
		[]byte{typeI32, 1, wasm.OpI32Const, 0xe4, 0, wasm.OpEnd}, []byte{typeI32, 1, wasm.OpI32Const, 3, wasm.OpEnd},
		[]byte{typeI64, 1, opI64Const, 5, wasm.OpEnd}))
	section(wasm.SectionExport, vector(
		export("run", wasm.ExternFunction, functions), export("first", wasm.ExternFunction, 1), export("memory", wasm.ExternMemory, 0),
		export("a", wasm.ExternGlobal, globalI32), export("b", wasm.ExternGlobal, globalI64)))
	section(wasm.SectionElement, vector(
		append([]byte{1, 0}, vector(references...)...),
		append([]byte{0, wasm.OpI32Const, 1, wasm.OpEnd}, vector(references...)...)))
	section(wasm.SectionDataCount, []byte{1})
	section(wasm.SectionCode, vector(bodies...))
	section(wasm.SectionData, vector(append([]byte{1}, wasm.AppendBytes(nil, "some bytes")...)))
	return out
}

// outcome is everything that can be seen of a run.
func outcome(t *testing.T, code []byte, slice int64, rewritten bool) (seen string, used int64) {
	t.Helper()
	ctx := context.Background()
	e := newEngine(t, wazero.NewRuntimeConfigCompiler(), slice)
	defer e.Close(ctx)
	host := func(_ context.Context, n uint32) uint32 { return n*7 + 1 }
	if _, err := e.NewHostModuleBuilder("host").NewFunctionBuilder().WithFunc(host).Export("f").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := e.start(code, "")
	if err != nil {
		t.Fatalf("the module is not valid: %v", err)
	}
	for _, name := range []string{"run", "first", "run"} {
		results, err := m.ExportedFunction(name).Call(ctx, 11, 22)
		seen += fmt.Sprintf("%s: %v %s; ", name, results, reason(err))
	}
	b, _ := m.Memory().Read(0, m.Memory().Size())
	seen += fmt.Sprintf("%d bytes %x, %d, %d", len(b), crc32.ChecksumIEEE(b), m.ExportedGlobal("a").Get(), m.ExportedGlobal("b").Get())
	if rewritten {
		used = e.used(m)
	}
	return seen, used
}

// compare runs a random module plain and rewritten, with small and with large slices.
func compare(t *testing.T, choices []byte) {
	t.Helper()
	code := (&generator{choices: choices}).module()
	plain, _ := outcome(t, code, 0, false)
	changed := rewrite(t, code)
	few, usedFew := outcome(t, changed, 500, true)
	many, usedMany := outcome(t, changed, 1<<30, true)
	if few != plain || many != plain {
		t.Errorf("plain:     %s\nrewritten: %s\nor:        %s", plain, few, many)
	}
	if usedFew != usedMany || usedFew <= 0 {
		t.Errorf("used %d in small slices, %d in large ones", usedFew, usedMany)
	}
}

func TestRandomModules(t *testing.T) {
	n := 150
	if testing.Short() {
		n = 10
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		choices := make([]byte, 200+r.IntN(2000))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		compare(t, choices)
	}
}

// FuzzRewrite looks for a random module that does something else when it is rewritten.
func FuzzRewrite(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("the quick brown fox jumps over the lazy dog, again and again and again"))
	f.Fuzz(func(t *testing.T, choices []byte) { compare(t, choices[:min(len(choices), 3000)]) })
}
