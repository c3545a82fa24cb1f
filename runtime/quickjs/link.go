package quickjs

import (
	"fmt"
	"slices"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// link makes one module of the engine and the glue: the engine's memory, table, globals, code and data with the glue's table entries, globals
// and code behind them. What each imports of the other is bound; what is left are imports of WASI and of the host. The module exports the engine's memory
// and what the glue exports under the names in exports.
func link(engine, glue []byte, exports []string) ([]byte, error) {
	e, err := parse(engine)
	if err != nil {
		return nil, fmt.Errorf("link: the engine: %w", err)
	}
	g, err := parse(glue)
	if err != nil {
		return nil, fmt.Errorf("link: the glue: %w", err)
	}
	l := &linker{engine: e, glue: g}
	l.collectImports()
	if err := l.bind(); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	out, err := l.write(exports)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return out, nil
}

// The names that the two modules import each other by.
const (
	engineModule = "engine" // what the glue calls the engine
	hostModule   = "env"    // what the engine calls its embedder, which is the glue
	linkerModule = "glue"   // what the glue calls what the linker knows
	firstNative  = "first_native"
)

// importEntry is an import of a function or of a global; memories are not kept.
type importEntry struct {
	module, name string
	typ          uint32
}

// module is a module's parts, as far as linking them needs.
type module struct {
	types     []byte // entries, without their number
	typeCount int
	imports   []importEntry // of functions
	constants int           // imported globals
	functions []uint32      // type by defined function
	tableMin  uint32
	memory    []byte // section body
	globals   []byte // entries
	globalLen int
	exports   map[string]uint32 // of functions
	elements  []uint32          // the functions of the one active segment
	elementAt int64
	bodies    [][]byte
	dataCount []byte // section body
	data      []byte // section body
}

func parse(code []byte) (*module, error) {
	m := &module{exports: map[string]uint32{}}
	for s, err := range wasm.Sections(code) {
		if err != nil {
			return nil, err
		}
		r := &wasm.Reader{B: s.Bytes}
		m.section(s.ID, r)
		if r.Err != nil {
			return nil, fmt.Errorf("section %d: %w", s.ID, r.Err)
		}
	}
	if len(m.bodies) != len(m.functions) {
		return nil, fmt.Errorf("it has %d functions and %d bodies", len(m.functions), len(m.bodies))
	}
	return m, nil
}

func (m *module) section(id byte, r *wasm.Reader) {
	switch id {
	case wasm.SectionType:
		m.typeCount, m.types = entries(r)
	case wasm.SectionImport:
		r.Each(m.importEntry)
	case wasm.SectionFunction:
		r.Each(func(r *wasm.Reader) { m.functions = append(m.functions, r.U32()) })
	case wasm.SectionTable:
		r.Each(func(r *wasm.Reader) {
			r.Skip(1)
			low, _, _ := r.Limits()
			m.tableMin = uint32(low)
		})
	case wasm.SectionMemory:
		m.memory = r.B
	case wasm.SectionGlobal:
		m.globalLen, m.globals = entries(r)
	case wasm.SectionExport:
		r.Each(func(r *wasm.Reader) {
			name, kind, index := r.Name(), r.Byte(), r.U32()
			if kind == wasm.ExternFunction {
				m.exports[name] = index
			}
		})
	case wasm.SectionElement:
		r.Each(m.element)
	case wasm.SectionCode:
		r.Each(func(r *wasm.Reader) { m.bodies = append(m.bodies, r.Bytes()) })
	case wasm.SectionDataCount:
		m.dataCount = r.B
	case wasm.SectionData:
		m.data = r.B
	}
}

// entries are a vector's length and its bytes.
func entries(r *wasm.Reader) (n int, bytes []byte) {
	n = int(r.U32())
	return n, r.B[r.At:]
}

func (m *module) importEntry(r *wasm.Reader) {
	i := importEntry{module: r.Name(), name: r.Name()}
	switch kind := r.Byte(); kind {
	case wasm.ExternFunction:
		i.typ = r.U32()
		m.imports = append(m.imports, i)
	case wasm.ExternMemory:
		r.Limits()
	case wasm.ExternGlobal:
		r.Skip(2)
		m.constants++
		if i.module != linkerModule || i.name != firstNative {
			r.Fail(fmt.Errorf("it imports a global %s.%s", i.module, i.name))
		}
	default:
		r.Fail(fmt.Errorf("it imports something of kind %d", kind))
	}
}

func (m *module) element(r *wasm.Reader) {
	if flags := r.U32(); flags != 0 || m.elements != nil {
		r.Fail(fmt.Errorf("it has more than one active segment of functions"))
	}
	r.Constant(func(i *wasm.Instruction) {
		if i.Op == wasm.OpI32Const {
			m.elementAt = i.Index
		}
	})
	r.Each(func(r *wasm.Reader) { m.elements = append(m.elements, r.U32()) })
}

// linker puts two modules together. Functions are numbered anew: imports, the engine's, the glue's.
type linker struct {
	engine, glue         *module
	imports              []importEntry // with types of the engine, or, from engine.typeCount on, of the glue
	engineIndex          []uint32      // by the engine's number of a function, its new one
	glueIndex            []uint32
	engineBase, glueBase uint32 // new numbers of the first functions that each defines
}

// collectImports lists what is left to import, each once.
func (l *linker) collectImports() {
	add := func(i importEntry) {
		same := func(o importEntry) bool { return o.module == i.module && o.name == i.name }
		if !slices.ContainsFunc(l.imports, same) {
			l.imports = append(l.imports, i)
		}
	}
	for _, i := range l.engine.imports {
		if i.module != hostModule {
			add(i)
		}
	}
	for _, i := range l.glue.imports {
		if i.module != engineModule {
			i.typ += uint32(l.engine.typeCount)
			add(i)
		}
	}
	l.engineBase = uint32(len(l.imports))
	l.glueBase = l.engineBase + uint32(len(l.engine.functions))
}

// bind finds the new number of every function.
func (l *linker) bind() error {
	defined := func(m *module, base uint32, name string) (uint32, error) {
		index, ok := m.exports[name]
		if !ok || int(index) < len(m.imports) {
			return 0, fmt.Errorf("nothing is there for the import %q", name)
		}
		return base + index - uint32(len(m.imports)), nil
	}
	number := func(m, other *module, otherName string, base, otherBase uint32) (out []uint32, err error) {
		for _, i := range m.imports {
			at := uint32(slices.IndexFunc(l.imports, func(o importEntry) bool { return o.module == i.module && o.name == i.name }))
			if i.module == otherName {
				if at, err = defined(other, otherBase, i.name); err != nil {
					return nil, err
				}
			}
			out = append(out, at)
		}
		for n := range m.functions {
			out = append(out, base+uint32(n))
		}
		return out, nil
	}
	var err error
	if l.engineIndex, err = number(l.engine, l.glue, hostModule, l.engineBase, l.glueBase); err != nil {
		return err
	}
	l.glueIndex, err = number(l.glue, l.engine, engineModule, l.glueBase, l.engineBase)
	return err
}

// write puts the sections together.
func (l *linker) write(exports []string) ([]byte, error) {
	e, g := l.engine, l.glue
	out := slices.Clone(wasm.Header)
	section := func(id byte, count int, body []byte) {
		b := append(wasm.AppendLEB(nil, uint64(count)), body...)
		out = wasm.AppendBytes(append(out, id), b)
	}
	section(wasm.SectionType, e.typeCount+g.typeCount, slices.Concat(e.types, g.types))
	var b []byte
	for _, i := range l.imports {
		b = wasm.AppendBytes(wasm.AppendBytes(b, i.module), i.name)
		b = wasm.AppendLEB(append(b, wasm.ExternFunction), uint64(i.typ))
	}
	section(wasm.SectionImport, len(l.imports), b)
	b = nil
	for _, typ := range e.functions {
		b = wasm.AppendLEB(b, uint64(typ))
	}
	for _, typ := range g.functions {
		b = wasm.AppendLEB(b, uint64(typ)+uint64(e.typeCount))
	}
	section(wasm.SectionFunction, len(e.functions)+len(g.functions), b)
	section(wasm.SectionTable, 1, wasm.AppendLEB([]byte{0x70, 0}, uint64(e.tableMin)+uint64(len(g.elements))))
	out = wasm.AppendBytes(append(out, wasm.SectionMemory), e.memory)
	natives := append(wasm.AppendSLEB([]byte{0x7f, 0, wasm.OpI32Const}, int64(e.tableMin)), wasm.OpEnd)
	section(wasm.SectionGlobal, e.globalLen+g.constants+g.globalLen, slices.Concat(e.globals, natives, g.globals))
	b = append(wasm.AppendBytes(nil, "memory"), wasm.ExternMemory, 0)
	for _, name := range exports {
		index, ok := g.exports[name]
		if !ok {
			return nil, fmt.Errorf("the glue has no %q", name)
		}
		b = wasm.AppendLEB(append(wasm.AppendBytes(b, name), wasm.ExternFunction), uint64(l.glueIndex[index]))
	}
	section(wasm.SectionExport, len(exports)+1, b)
	b = appendElements(nil, e.elementAt, e.elements, l.engineIndex)
	b = appendElements(b, int64(e.tableMin), g.elements, l.glueIndex)
	section(wasm.SectionElement, 2, b)
	out = wasm.AppendBytes(append(out, wasm.SectionDataCount), e.dataCount)
	b, err := l.code()
	if err != nil {
		return nil, err
	}
	section(wasm.SectionCode, len(e.bodies)+len(g.bodies), b)
	return wasm.AppendBytes(append(out, wasm.SectionData), e.data), nil
}

func appendElements(b []byte, at int64, functions, index []uint32) []byte {
	b = append(wasm.AppendSLEB(append(b, 0, wasm.OpI32Const), at), wasm.OpEnd)
	b = wasm.AppendLEB(b, uint64(len(functions)))
	for _, f := range functions {
		b = wasm.AppendLEB(b, uint64(index[f]))
	}
	return b
}

// code is all functions with their new numbers. The engine keeps its globals' numbers, the glue's follow.
func (l *linker) code() (out []byte, err error) {
	for _, body := range l.engine.bodies {
		if out, err = appendBody(out, body, l.engineIndex, 0); err != nil {
			return nil, err
		}
	}
	for _, body := range l.glue.bodies {
		if out, err = appendBody(out, body, l.glueIndex, int64(l.engine.globalLen)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// appendBody appends one function, with functions and globals numbered anew. The glue's types would have to be as well, where code names
// them: none does.
func appendBody(out, body []byte, index []uint32, globals int64) ([]byte, error) {
	r := &wasm.Reader{B: body}
	r.Each(func(r *wasm.Reader) { r.SkipU32(); r.Skip(1) }) // locals
	made := make([]byte, 0, len(body)+8)
	copied := 0
	var i wasm.Instruction
	for r.Err == nil && r.Left() > 0 {
		r.Instruction(&i)
		number := i.Index
		switch i.Op {
		case wasm.OpCall, wasm.OpReturnCall, wasm.OpRefFunc:
			if number >= int64(len(index)) {
				return nil, fmt.Errorf("a call of function %d, which is not there", number)
			}
			number = int64(index[number])
		case wasm.OpGlobalGet, wasm.OpGlobalSet:
			number += globals
		case wasm.OpCallIndirect, wasm.OpReturnCallIndirect:
			if globals > 0 {
				return nil, fmt.Errorf("the glue names a type")
			}
		}
		if r.Err == nil && number != i.Index {
			made = append(append(made, body[copied:i.At]...), i.Op)
			made = wasm.AppendLEB(made, uint64(number))
			copied = r.At
		}
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return wasm.AppendBytes(out, append(made, body[copied:]...)), nil
}
