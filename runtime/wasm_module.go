package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
)

// Sections of a WebAssembly module
// (https://webassembly.github.io/spec/core/binary/modules.html).
const (
	sectionCustom    = 0
	sectionType      = 1
	sectionImport    = 2
	sectionFunction  = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12

	externFunction = 0
	externTable    = 1
	externMemory   = 2
	externGlobal   = 3

	maxTableEntries = maxEntries // of all tables together
	maxLocals       = 50_000     // of one function
)

var wasmHeader = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// moduleImport is one import; kind is the spec's external kind.
type moduleImport struct {
	module, name string
	kind         byte
	signature    string // of a function
}

// moduleInfo is what a module says about itself, read without compiling it.
type moduleInfo struct {
	imports     []moduleImport
	exports     map[string]string // functions: name → signature like "(i32) -> i32"; a memory: "memory"; others: ""
	memoryPages uint64            // declared minimum
	guards      []int             // where in the code guardCalls puts a guard: first instructions of functions
}

// inspect reads a whole module. It is there to keep harm from the host: the engine's decoder makes room for as
// many things as a module claims to have, and its instances for as many table entries and locals, so that a few
// bytes could ask for all the memory there is. Whether the code is valid otherwise is the engine's to say.
// The error is the end of a sentence.
func inspect(code []byte) (*moduleInfo, error) {
	if len(code) < len(wasmHeader) || !bytes.Equal(code[:4], wasmHeader[:4]) {
		return nil, errors.New("is not a WebAssembly module: it does not begin with the bytes \\0asm")
	}
	if !bytes.Equal(code[4:8], wasmHeader[4:]) {
		return nil, errors.New("is not a core WebAssembly module of version 1 (a component must be built as a core module)")
	}
	m := &moduleReader{info: moduleInfo{exports: map[string]string{}}}
	for s, err := range moduleSections(code) {
		if err == nil {
			err = m.read(s)
		}
		if err != nil {
			return nil, fmt.Errorf("is a damaged WebAssembly module: section %d at byte %d: %w", s.id, s.head, err)
		}
	}
	if m.growsTable && m.unbounded {
		return nil, fmt.Errorf("grows a table that has no declared maximum of at most %d entries", maxTableEntries)
	}
	return &m.info, nil
}

// moduleSection is one section; its body stands behind the identifier and the size that begin at head.
type moduleSection struct {
	id         byte
	head, body int
	bytes      []byte
}

// moduleSections yields the sections in order; an error is the last thing that it yields.
func moduleSections(code []byte) iter.Seq2[moduleSection, error] {
	return func(yield func(moduleSection, error) bool) {
		for at := len(wasmHeader); at < len(code); {
			r := reader{b: code, at: at + 1}
			s := moduleSection{id: code[at], head: at}
			s.bytes = r.bytes()
			s.body = r.at - len(s.bytes)
			if !yield(s, r.err) || r.err != nil {
				return
			}
			at = r.at
		}
	}
}

// moduleReader collects moduleInfo from section to section.
type moduleReader struct {
	info       moduleInfo
	types      []string
	functions  []uint32 // type index by function index, imports first
	tables     uint64   // entries of all tables
	unbounded  bool     // a table may grow without a limit worth the name
	growsTable bool     // there is code that grows one
	base       int      // where in the module the section's body begins
}

func (m *moduleReader) read(s moduleSection) error {
	r := &reader{b: s.bytes}
	m.base = s.body
	switch s.id {
	case sectionCustom:
		if r.name() == "name" {
			readNames(r)
		} else {
			r.skip(r.left())
		}
	case sectionStart, sectionDataCount:
		r.skipU32()
	default:
		entry := m.entry(s.id)
		if entry == nil {
			return errors.New("it is of a kind that is not supported")
		}
		r.each(entry)
	}
	if r.err == nil && r.left() > 0 {
		r.err = fmt.Errorf("it has %d bytes too many", r.left())
	}
	return r.err
}

// entry is how an entry of a section is read.
func (m *moduleReader) entry(id byte) func(*reader) {
	switch id {
	case sectionType:
		return m.readType
	case sectionImport:
		return m.readImport
	case sectionFunction:
		return func(r *reader) { m.functions = append(m.functions, r.u32()) }
	case sectionTable:
		return m.readTable
	case sectionMemory:
		return m.readMemory
	case sectionGlobal:
		return func(r *reader) { r.skip(2); r.constant() }
	case sectionExport:
		return m.readExport
	case sectionElement:
		return readElement
	case sectionCode:
		return m.readCode
	case sectionData:
		return readData
	}
	return nil
}

func (m *moduleReader) readType(r *reader) {
	if form := r.byte(); form != 0x60 {
		r.fail(fmt.Errorf("type form %#x is not supported", form))
		return
	}
	params, results := r.valueTypes(), r.valueTypes()
	if results == "" {
		results = "()"
	}
	m.types = append(m.types, "("+params+") -> "+results)
}

func (m *moduleReader) readImport(r *reader) {
	i := moduleImport{module: r.name(), name: r.name(), kind: r.byte()}
	switch i.kind {
	case externFunction:
		index := r.u32()
		i.signature = m.signature(index)
		m.functions = append(m.functions, index)
	case externTable:
		m.readTable(r)
	case externMemory:
		m.readMemory(r)
	case externGlobal:
		r.skip(2)
	default:
		r.fail(fmt.Errorf("import kind %d is not supported", i.kind))
	}
	if r.err == nil {
		m.info.imports = append(m.info.imports, i)
	}
}

func (m *moduleReader) readTable(r *reader) {
	if element := r.byte(); valueTypeNames[element] == "" {
		r.fail(fmt.Errorf("table type %#x is not supported", element))
	}
	low, high, bounded := r.limits()
	if m.tables += low; low > maxTableEntries || m.tables > maxTableEntries {
		r.fail(fmt.Errorf("tables of %d entries, at most %d are allowed", m.tables, maxTableEntries))
	}
	if !bounded || high > maxTableEntries {
		m.unbounded = true
	}
}

func (m *moduleReader) readMemory(r *reader) {
	m.info.memoryPages, _, _ = r.limits()
}

func (m *moduleReader) readExport(r *reader) {
	name, kind, index := r.name(), r.byte(), r.u32()
	what := ""
	switch {
	case kind == externFunction && int64(index) < int64(len(m.functions)):
		what = m.signature(m.functions[index])
	case kind == externMemory:
		what = "memory"
	}
	if r.err == nil {
		m.info.exports[name] = what
	}
}

func (m *moduleReader) signature(index uint32) string {
	if int64(index) < int64(len(m.types)) {
		return m.types[index]
	}
	return "a type that is not declared"
}

// readCode reads one function's locals and instructions.
func (m *moduleReader) readCode(r *reader) {
	body := r.bytes()
	f := &reader{b: body}
	var locals uint64
	f.each(func(f *reader) {
		locals += uint64(f.u32())
		f.skip(1)
	})
	if locals > maxLocals {
		f.fail(fmt.Errorf("a function has %d locals, at most %d are allowed", locals, maxLocals))
	}
	first := f.at
	var seen codeTraits
	for f.err == nil && f.left() > 0 {
		f.instruction(&seen)
	}
	r.fail(f.err)
	m.growsTable = m.growsTable || seen.growsTable
	if seen.calls && !seen.checked {
		m.info.guards = append(m.info.guards, m.base+r.at-len(body)+first)
	}
}

func readElement(r *reader) {
	flags := r.u32()
	passive, explicit, expressions := flags&1 != 0, flags&2 != 0, flags&4 != 0
	if flags > 7 {
		r.fail(fmt.Errorf("element kind %d is not supported", flags))
	}
	if !passive {
		if explicit {
			r.skipU32()
		}
		r.constant()
	}
	if passive || explicit {
		r.skip(1)
	}
	if expressions {
		r.each((*reader).constant)
	} else {
		r.each((*reader).skipU32)
	}
}

func readData(r *reader) {
	switch flags := r.u32(); flags {
	case 0:
		r.constant()
	case 1:
	case 2:
		r.skipU32()
		r.constant()
	default:
		r.fail(fmt.Errorf("data kind %d is not supported", flags))
	}
	r.bytes()
}

// readNames reads the name section, of which only the names of the module, the functions and the locals have a
// form that the engine reads.
func readNames(r *reader) {
	pair := func(r *reader) { r.skipU32(); r.bytes() }
	for r.err == nil && r.left() > 0 {
		id := r.byte()
		sub := &reader{b: r.bytes()}
		switch id {
		case 0:
			sub.bytes()
		case 1:
			sub.each(pair)
		case 2:
			sub.each(func(r *reader) { r.skipU32(); r.each(pair) })
		default:
			sub.skip(sub.left())
		}
		if sub.left() > 0 {
			sub.fail(errShort)
		}
		r.fail(sub.err)
	}
}
