package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// parts are bodies of sections by identifier, of which a module is made.
type parts map[byte][]byte

// build makes the module.
func (p parts) build() []byte {
	out := bytes.Clone(wasm.Header)
	for _, id := range []byte{
		wasm.SectionType, wasm.SectionImport, wasm.SectionFunction, wasm.SectionTable, wasm.SectionMemory, wasm.SectionGlobal,
		wasm.SectionExport, wasm.SectionStart, wasm.SectionElement, wasm.SectionDataCount, wasm.SectionCode, wasm.SectionData, wasm.SectionCustom,
	} {
		if body, ok := p[id]; ok {
			out = wasm.AppendBytes(append(out, id), body)
		}
	}
	return out
}

// with is p with one section more, or changed.
func (p parts) with(id byte, body ...byte) parts {
	out := parts{id: body}
	for other, body := range p {
		if other != id {
			out[other] = body
		}
	}
	return out
}

func function(instructions ...byte) []byte {
	return wasm.AppendBytes(nil, append(append([]byte{0}, instructions...), wasm.OpEnd))
}

// sample has a start function that adds 1 to its first global, a byte of data and a table; get answers the global.
//
//	(global (mut i32) 40) (global i64 7) (global (mut f64) 0)
//	(data (i32.const 8) "ab") (data (i32.const 12) "c")
var sample = parts{
	wasm.SectionType:     {2, 0x60, 0, 0, 0x60, 0, 1, 0x7f},
	wasm.SectionFunction: {2, 0, 1},
	wasm.SectionTable:    {1, 0x70, 0, 1},
	wasm.SectionMemory:   {1, 1, 1, 3},
	wasm.SectionGlobal: append(append([]byte{
		3, 0x7f, 1, wasm.OpI32Const, 40, wasm.OpEnd, 0x7e, 0, 0x42, 7, wasm.OpEnd, 0x7c, 1, 0x44},
		make([]byte, 8)...), wasm.OpEnd),
	wasm.SectionExport:  {2, 3, 'g', 'e', 't', wasm.ExternFunction, 1, 6, 'm', 'e', 'm', 'o', 'r', 'y', wasm.ExternMemory, 0},
	wasm.SectionStart:   {0},
	wasm.SectionElement: {1, 0, wasm.OpI32Const, 0, wasm.OpEnd, 1, 1},
	wasm.SectionCode: bytes.Join([][]byte{{2},
		function(wasm.OpGlobalGet, 0, wasm.OpI32Const, 1, 0x6a, wasm.OpGlobalSet, 0), function(wasm.OpGlobalGet, 0)}, nil),
	wasm.SectionData: {2, 0, wasm.OpI32Const, 8, wasm.OpEnd, 2, 'a', 'b', 2, 0, wasm.OpI32Const, 12, wasm.OpEnd, 1, 'c'},
}

func instantiate(t *testing.T, r wazero.Runtime, code []byte) api.Module {
	t.Helper()
	m, err := r.InstantiateWithConfig(t.Context(), code, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func answer(t *testing.T, m api.Module, name string) uint64 {
	t.Helper()
	results, err := m.ExportedFunction(name).Call(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(results) == 0 {
		return 0
	}
	return results[0]
}

// TestDivide makes of a divided module what its own instance begins with, and then another one of that.
func TestDivide(t *testing.T) {
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	defer r.Close(t.Context())
	whole := instantiate(t, r, sample.build())
	plan, err := Divide(sample.build())
	if err != nil {
		t.Fatal(err)
	}
	if !plan.Start || plan.Globals != 2 || plan.Pages != 1 || len(plan.text) != 3 || plan.HashesOnly {
		t.Errorf("%+v", plan)
	}
	m := instantiate(t, r, plan.Code)
	if got := answer(t, m, "get"); got != 40 {
		t.Errorf("the start function has run: %d", got)
	}
	memory, _ := m.Memory().Read(0, m.Memory().Size())
	if !bytes.Equal(memory, make([]byte, len(memory))) {
		t.Error("it has data of its own")
	}
	if err := plan.Fill(memory); err != nil {
		t.Fatal(err)
	}
	answer(t, m, ExportStart)
	want, _ := whole.Memory().Read(0, whole.Memory().Size())
	if !bytes.Equal(memory, want) || string(memory[8:13]) != "ab\x00\x00c" || answer(t, m, "get") != answer(t, whole, "get") {
		t.Errorf("%d and %q", answer(t, m, "get"), memory[:16])
	}

	other := instantiate(t, r, plan.Code)
	for n := range plan.Globals {
		other.ExportedGlobal(Global(n)).(api.MutableGlobal).Set(m.ExportedGlobal(Global(n)).Get())
	}
	if got := answer(t, other, "get"); got != 41 {
		t.Errorf("the copy has %d", got)
	}
}

func TestFillOutsideOfMemory(t *testing.T) {
	plan, err := Divide(sample.with(wasm.SectionData, 2, 0, wasm.OpI32Const, 0, wasm.OpEnd, 1, 'x', 0, wasm.OpI32Const, 0x7f, wasm.OpEnd, 1, 'y').build())
	if err != nil {
		t.Fatal(err)
	}
	memory := make([]byte, 65536)
	if err := plan.Fill(memory); err == nil || err.Error() != "data[1]: out of bounds memory access" || memory[0] != 'x' {
		t.Errorf("%v, %q", err, memory[0])
	}
	if err := (&Plan{}).Fill(nil); err != nil {
		t.Error(err)
	}
}

// TestRefuse has what keeps a module whole: each is state that Divide could not hand over, or that the engine has to refuse.
func TestRefuse(t *testing.T) {
	running := func(instructions ...byte) parts {
		return sample.with(wasm.SectionCode, bytes.Join([][]byte{{2}, function(instructions...), function(wasm.OpGlobalGet, 0)}, nil)...)
	}
	global := func(kind byte, init ...byte) parts {
		return sample.with(wasm.SectionGlobal, append(append([]byte{1, kind, 1}, init...), wasm.OpEnd)...)
	}
	for name, tt := range map[string]struct {
		module parts
		want   error
	}{
		"table.set":      {running(wasm.OpI32Const, 0, 0xd0, 0x70, wasm.OpTableSet, 0), ErrTables},
		"table.grow":     {running(0xd0, 0x70, wasm.OpI32Const, 1, wasm.OpBulk, wasm.SubTableGrow, 0, 0x1a), ErrTables},
		"table.fill":     {running(wasm.OpBulk, wasm.SubTableFill, 0), ErrTables},
		"table.copy":     {running(wasm.OpBulk, wasm.SubTableCopy, 0, 0), ErrTables},
		"table.init":     {running(wasm.OpBulk, wasm.SubTableInit, 0, 0), ErrTables},
		"memory.init":    {running(wasm.OpBulk, wasm.SubMemoryInit, 0, 0), ErrSegments},
		"data.drop":      {running(wasm.OpBulk, wasm.SubDataDrop, 0), ErrSegments},
		"elem.drop":      {running(wasm.OpBulk, wasm.SubElementDrop, 0), ErrSegments},
		"vector":         {global(0x7b, append([]byte{wasm.OpVector, 12}, make([]byte, 16)...)...), ErrGlobals},
		"reference":      {global(0x70, 0xd0, 0x70), ErrGlobals},
		"memory import":  {sample.with(wasm.SectionImport, 1, 1, 'a', 1, 'b', wasm.ExternMemory, 0, 1), ErrImports},
		"global import":  {sample.with(wasm.SectionImport, 1, 1, 'a', 1, 'b', wasm.ExternGlobal, 0x7f, 0), ErrImports},
		"no memory":      {sample.with(wasm.SectionMemory, 0), ErrMemory},
		"two memories":   {sample.with(wasm.SectionMemory, 2, 0, 1, 0, 1), ErrMemory},
		"other memory":   {sample.with(wasm.SectionData, 1, 2, 1, wasm.OpI32Const, 0, wasm.OpEnd, 0), ErrMemory},
		"computed place": {sample.with(wasm.SectionData, 1, 0, wasm.OpGlobalGet, 1, wasm.OpEnd, 0), ErrOffsets},
		"sum as place":   {sample.with(wasm.SectionData, 1, 0, wasm.OpI32Const, 1, wasm.OpI32Const, 1, 0x6a, wasm.OpEnd, 0), ErrOffsets},
		"long place":     {sample.with(wasm.SectionData, 1, 0, wasm.OpI32Const, 0xff, 0xff, 0xff, 0xff, 0x3f, wasm.OpEnd, 0), wasm.ErrNumber},
		"data count":     {sample.with(wasm.SectionDataCount, 3), ErrSegments},
		"start answers":  {sample.with(wasm.SectionStart, 1), ErrStart},
		"start of none":  {sample.with(wasm.SectionStart, 2), ErrStart},
		"short":          {sample.with(wasm.SectionData, 1, 0, wasm.OpI32Const, 0, wasm.OpEnd, 9), wasm.ErrShort},
		"bytes too many": {sample.with(wasm.SectionStart, 0, 0), nil},
		"data too many":  {sample.with(wasm.SectionData, 0, 0), nil},
		"its own name":   {sample.with(wasm.SectionExport, append([]byte{1}, append(wasm.AppendBytes(nil, ExportStart), 0, 0)...)...), nil},
	} {
		plan, err := Divide(tt.module.build())
		if err == nil || plan != nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := Divide([]byte("no module")); err == nil {
		t.Error("what is no module was divided")
	}
	without := sample.with(wasm.SectionExport)
	delete(without, wasm.SectionExport)
	if _, err := Divide(without.build()); err == nil {
		t.Error("a module without exports was divided")
	}
}

// TestWhatStays divides modules without a start function, and with what changes nothing.
func TestWhatStays(t *testing.T) {
	quiet := sample.with(wasm.SectionStart)
	delete(quiet, wasm.SectionStart)
	for name, module := range map[string]parts{
		"no start":     quiet,
		"data count":   sample.with(wasm.SectionDataCount, 2),
		"passive data": sample.with(wasm.SectionData, 1, 1, 2, 'x', 'y'),
		"named memory": sample.with(wasm.SectionData, 1, 2, 0, wasm.OpI32Const, 0, wasm.OpEnd, 1, 'x'),
		"high address": sample.with(wasm.SectionData, 1, 0, wasm.OpI32Const, 0x80, 0x80, 0x80, 0x80, 0x78, wasm.OpEnd, 0), // 2 GiB
	} {
		plan, err := Divide(module.build())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if plan.Start != (name != "no start") {
			t.Errorf("%s: start %t", name, plan.Start)
		}
		if name == "high address" && plan.data[0].at != 1<<31 {
			t.Errorf("%s is %#x", name, plan.data[0].at)
		}
		if _, err := Divide(plan.Code); err == nil {
			t.Errorf("%s: what was divided was divided again", name)
		}
	}
}

// TestHashesOnly builds Go programs: what they use of the run-time's generator is seen in the names of their functions.
func TestHashesOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("left out: it builds Go programs")
	}
	for source, want := range map[string]bool{
		"import (\"crypto/rand\"; own \"math/rand/v2\"); func main() { println(rand.Text(), own.New(own.NewPCG(1, 2)).Int()) }": true,
		`import "math/rand/v2"; func main() { println(rand.Int()) }`:                                                            false,
		`import "math/rand"; func main() { println(rand.Int()) }`:                                                               false,
	} {
		dir := t.TempDir()
		file, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "main.wasm")
		if err := os.WriteFile(file, []byte("package main\n"+source+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, file)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		code, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := Divide(code)
		if err != nil {
			t.Fatal(err)
		}
		if plan.HashesOnly != want {
			t.Errorf("%s: %t", source, plan.HashesOnly)
		}
	}
}

func TestHashesOnlyOfNames(t *testing.T) {
	names := func(names ...string) []byte {
		part := wasm.AppendLEB(nil, uint64(len(names)))
		for n, name := range names {
			part = wasm.AppendBytes(wasm.AppendLEB(part, uint64(n)), name)
		}
		return wasm.AppendBytes([]byte{1}, part)
	}
	for text, want := range map[string]bool{
		string(names("runtime.randinit", "main.main")): true,
		string(names("main", "malloc")):                false,
		string(names()):                                false,
		string(names("runtime.randinit", "math_rand_v2.runtimeSource.Uint64")):            false,
		string(names("runtime.randinit", "math_rand.__Rand_.Seed")):                       true,
		string(names("runtime.randinit", "runtime.fastrandn")):                            false,
		string(wasm.AppendBytes([]byte{0}, "module")) + string(names("runtime.randinit")): true,
		string(names("runtime.randinit"))[:10]:                                            false,
		"":                                                                                false,
	} {
		if HashesOnly([]byte(text)) != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
}

// FuzzDivide divides whatever bytes. What it makes of a module that the engine takes, the engine takes too, and the other way round.
func FuzzDivide(f *testing.F) {
	f.Add(sample.build())
	f.Add(sample.with(wasm.SectionDataCount, 2).build())
	f.Add(sample.with(wasm.SectionStart, 1).build())
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(16))
	f.Cleanup(func() { r.Close(ctx) })
	f.Fuzz(func(t *testing.T, code []byte) {
		plan, err := Divide(code)
		if err != nil {
			if plan != nil || strings.TrimSpace(err.Error()) == "" {
				t.Fatalf("%v with %v", plan, err)
			}
			return
		}
		if claims(code) {
			return
		}
		if _, err := r.CompileModule(ctx, plan.Code); err != nil {
			return
		}
		if _, err := r.CompileModule(ctx, code); err != nil {
			t.Errorf("the engine takes what was made of a module that it refuses: %v", err)
		}
	})
}

// claims is whether a module may claim to have so much of something that the engine's decoder makes room for too much of it.
func claims(code []byte) bool {
	for s := range wasm.Sections(code) {
		r := &wasm.Reader{B: s.Bytes}
		if s.ID != wasm.SectionCustom && s.ID != wasm.SectionStart && r.U32() > 1000 {
			return true
		}
	}
	return binary.Size(code) > 1<<16
}
