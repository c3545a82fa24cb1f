package runtime

import "github.com/shardmill/shardmill/runtime/wasm"

// A tiny assembler, for modules that no compiler makes.

const (
	i32 = 0x7f
	i64 = 0x7e
)

// vec is a vector of entries.
func vec(entries ...[]byte) []byte {
	out := wasm.AppendLEB(nil, uint64(len(entries)))
	for _, e := range entries {
		out = append(out, e...)
	}
	return out
}

func str(s string) []byte { return append(wasm.AppendLEB(nil, uint64(len(s))), s...) }

func cat(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func sec(id byte, body []byte) []byte {
	return cat([]byte{id}, wasm.AppendLEB(nil, uint64(len(body))), body)
}

func custom(name string, body []byte) []byte { return sec(wasm.SectionCustom, cat(str(name), body)) }

// code is the body of a function with that many i32 locals; end is added.
func code(locals int, instructions ...byte) []byte {
	head := vec()
	if locals > 0 {
		head = vec(cat(wasm.AppendLEB(nil, uint64(locals)), []byte{i32}))
	}
	body := cat(head, instructions, []byte{wasm.OpEnd})
	return cat(wasm.AppendLEB(nil, uint64(len(body))), body)
}

func i32Const(n int32) []byte { return append([]byte{0x41}, sleb(int64(n))...) }

func i64Const(n int64) []byte { return append([]byte{0x42}, sleb(n)...) }

func sleb(n int64) (out []byte) {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// fake is a function module made by hand; the zero value is one that answers 0 to every call.
type fake struct {
	marker     int32 // what shardmill_abi_v1 returns; 0 means 1
	kinds      int32 // what shardmill_kinds returns; 0 means that it is not exported
	input      []byte
	handle     []byte // instructions; nil returns 0
	initialize []byte // instructions of _initialize; nil means none
	start      []byte // instructions of the start function; nil means none
	pages      uint64 // 0 means 1
	data       []byte // at 1024
	imports    [][]byte
	resumed    []byte   // instructions of shardmill_resumed; nil means that it is not exported
	without    string   // an export to leave out
	sections   [][]byte // further sections, behind the code
	functions  [][]byte // further functions of type () -> i32, the first with index 7
}

// build assembles the module. Functions: 0 import (if any) … then 0 marker, 1 input, 2 handle, 3 kinds, 4 initialize,
// 5 start, 6 resumed, 7… further ones.
func (f fake) build() []byte {
	or := func(b, other []byte) []byte {
		if b == nil {
			return other
		}
		return b
	}
	types := vec([]byte{0x60, 0, 1, i32}, []byte{0x60, 1, i32, 1, i32}, []byte{0x60, 3, i32, i32, i32, 1, i64}, []byte{0x60, 0, 0}, []byte{0x60, 4, i32, i32, i32, i32, 1, i32})
	marker := f.marker
	if marker == 0 {
		marker = 1
	}
	indexes := []byte{0, 1, 2, 0, 3, 3, 3}
	bodies := [][]byte{
		code(0, i32Const(marker)...), code(0, or(f.input, i32Const(2048))...), code(2, or(f.handle, i64Const(0))...),
		code(0, i32Const(f.kinds)...), code(1, f.initialize...), code(1, f.start...), code(0, f.resumed...),
	}
	for _, b := range f.functions {
		indexes = append(indexes, 0)
		bodies = append(bodies, b)
	}
	first := byte(len(f.imports))
	var exports [][]byte
	export := func(name string, kind, index byte) {
		if name != f.without {
			exports = append(exports, cat(str(name), []byte{kind, index}))
		}
	}
	export("memory", wasm.ExternMemory, 0)
	export("shardmill_abi_v1", wasm.ExternFunction, first)
	export("shardmill_input", wasm.ExternFunction, first+1)
	export("shardmill_handle", wasm.ExternFunction, first+2)
	if f.kinds != 0 {
		export("shardmill_kinds", wasm.ExternFunction, first+3)
	}
	if f.initialize != nil {
		export("_initialize", wasm.ExternFunction, first+4)
	}
	if f.resumed != nil {
		export("shardmill_resumed", wasm.ExternFunction, first+6)
	}
	var functions [][]byte
	for _, index := range indexes {
		functions = append(functions, []byte{index})
	}
	parts := [][]byte{
		wasm.Header, sec(wasm.SectionType, types), sec(wasm.SectionImport, vec(f.imports...)), sec(wasm.SectionFunction, vec(functions...)),
		sec(wasm.SectionMemory, vec(cat([]byte{0}, wasm.AppendLEB(nil, max(f.pages, 1))))), sec(wasm.SectionExport, vec(exports...)),
	}
	if f.start != nil {
		parts = append(parts, sec(wasm.SectionStart, []byte{first + 5}))
	}
	parts = append(parts, sec(wasm.SectionCode, vec(bodies...)))
	if f.data != nil {
		parts = append(parts, sec(wasm.SectionData, vec(cat([]byte{0}, i32Const(1024), []byte{wasm.OpEnd}, str(string(f.data))))))
	}
	return cat(append(parts, f.sections...)...)
}

// replaced is a module with a section put in, or in place of its own.
func replaced(module []byte, id byte, body []byte) []byte {
	order := []byte{wasm.SectionType, wasm.SectionImport, wasm.SectionFunction, wasm.SectionTable, wasm.SectionMemory, wasm.SectionGlobal,
		wasm.SectionExport, wasm.SectionStart, wasm.SectionElement, wasm.SectionDataCount, wasm.SectionCode, wasm.SectionData, wasm.SectionCustom}
	sections := map[byte][]byte{}
	for s := range wasm.Sections(module) {
		sections[s.ID] = s.Bytes
	}
	sections[id] = body
	out := cat(wasm.Header)
	for _, id := range order {
		if body, ok := sections[id]; ok {
			out = cat(out, sec(id, body))
		}
	}
	return out
}

// functionImport imports a function of type 3, () -> ().
func functionImport(module, name string) []byte {
	return cat(str(module), str(name), []byte{wasm.ExternFunction, 3})
}

var (
	unreachable = []byte{0x00}
	spinning    = []byte{wasm.OpLoop, 0x40, 0x0c, 0x00, wasm.OpEnd} // loop br 0 end
	// growing asks for a page again and again and traps when it is refused.
	growing = cat([]byte{wasm.OpLoop, 0x40}, i32Const(1), []byte{0x40, 0x00}, i32Const(-1), []byte{0x46, 0x04, 0x40, 0x00, wasm.OpEnd, 0x0c, 0x00, wasm.OpEnd})
)

// packed is instructions that return a reply.
func packed(at, size uint32) []byte { return i64Const(int64(uint64(at)<<32 | uint64(size))) }
