package runtime

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/shardmill/shardmill/runtime/wasm"
)

const (
	maxFunctions    = 50_000          // RATIONALE.md has the numbers
	maxTableEntries = wasm.MaxEntries // of all tables together
	maxLocals       = 50_000          // of one function
	maxBody         = 7_654_321       // bytes of one function; browsers keep to the same number
)

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
	work        uint64            // bounds what compiling its functions takes in the worst case, see readCode
}

// inspect reads a whole module. It is there to keep harm from the host: the engine's decoder makes room for as
// many things as a module claims to have, and its instances for as many table entries and locals, so that a few
// bytes could ask for all the memory there is. Whether the code is valid otherwise is the engine's to say.
// The error is the end of a sentence, or a *FieldError where a limit is broken.
func inspect(code []byte) (*moduleInfo, error) {
	if len(code) < len(wasm.Header) || !bytes.Equal(code[:4], wasm.Header[:4]) {
		if other := otherFormat(code); other != "" {
			return nil, fmt.Errorf("is %s, not a WebAssembly module", other)
		}
		return nil, errors.New("is not a WebAssembly module: it does not begin with the bytes \\0asm")
	}
	if !bytes.Equal(code[4:8], wasm.Header[4:]) {
		return nil, errors.New("is not a core WebAssembly module of version 1 (a component must be built as a core module)")
	}
	m := &moduleReader{info: moduleInfo{exports: map[string]string{}}}
	for s, err := range wasm.Sections(code) {
		if err == nil {
			err = m.read(s)
		}
		if over := (*FieldError)(nil); errors.As(err, &over) {
			return nil, over
		}
		if err != nil {
			return nil, fmt.Errorf("is a damaged WebAssembly module: section %d at byte %d: %w", s.ID, s.Head, err)
		}
	}
	if m.growsTable && m.unbounded {
		return nil, fmt.Errorf("grows a table that has no declared maximum of at most %d entries", maxTableEntries)
	}
	return &m.info, nil
}

// otherFormats are what is uploaded by mistake, by how it begins: programs for processors, and what modules are packed in.
var otherFormats = []struct{ magic, what string }{
	{"\x7fELF", "a program for Linux (ELF)"}, {"MZ", "a program for Windows (PE)"},
	{"\xcf\xfa\xed\xfe", "a program for macOS (Mach-O)"}, {"\xca\xfe\xba\xbe", "a program for macOS or the JVM"},
	{"PK\x03\x04", "a zip"}, {"\x1f\x8b", "a gzip"}, {"\x28\xb5\x2f\xfd", "a zstd file"}, {"!<arch>\n", "a library of object files"},
}

// otherFormat is what the code is if it is one of those; else "".
func otherFormat(code []byte) string {
	for _, f := range otherFormats {
		if bytes.HasPrefix(code, []byte(f.magic)) {
			return f.what
		}
	}
	return ""
}

// badLimit is the refusal of a module that has more of something than it may.
func badLimit(what string, n, limit uint64) error {
	return badCode(fmt.Sprintf("has %d %s", n, what), fmt.Sprintf("a module with at most %d", limit))
}

// uninspected is the refusal for an error of inspect.
func uninspected(err error) error {
	if over := (*FieldError)(nil); errors.As(err, &over) {
		return over
	}
	return badCode(err.Error(), "")
}

// moduleReader collects moduleInfo from section to section.
type moduleReader struct {
	info       moduleInfo
	types      []string
	widest     int      // no type has more parameters and results
	functions  []uint32 // type index by function index, imports first
	tables     uint64   // entries of all tables
	unbounded  bool     // a table may grow without a limit worth the name
	growsTable bool     // there is code that grows one
}

func (m *moduleReader) read(s wasm.Section) error {
	r := &wasm.Reader{B: s.Bytes}
	switch s.ID {
	case wasm.SectionCustom:
		if r.Name() == "name" {
			readNames(r)
		} else {
			r.Skip(r.Left())
		}
	case wasm.SectionStart, wasm.SectionDataCount:
		r.SkipU32()
	default:
		if claimed := (&wasm.Reader{B: s.Bytes}).Count(); s.ID == wasm.SectionFunction && claimed > maxFunctions {
			return badLimit("functions", uint64(claimed), maxFunctions)
		}
		entry := m.entry(s.ID)
		if entry == nil {
			return errors.New("it is of a kind that is not supported")
		}
		r.Each(entry)
	}
	if r.Err == nil && r.Left() > 0 {
		r.Err = fmt.Errorf("it has %d bytes too many", r.Left())
	}
	return r.Err
}

// entry is how an entry of a section is read.
func (m *moduleReader) entry(id byte) func(*wasm.Reader) {
	switch id {
	case wasm.SectionType:
		return m.readType
	case wasm.SectionImport:
		return m.readImport
	case wasm.SectionFunction:
		return func(r *wasm.Reader) { m.functions = append(m.functions, r.U32()) }
	case wasm.SectionTable:
		return m.readTable
	case wasm.SectionMemory:
		return m.readMemory
	case wasm.SectionGlobal:
		return func(r *wasm.Reader) { r.Skip(2); r.Constant(nil) }
	case wasm.SectionExport:
		return m.readExport
	case wasm.SectionElement:
		return readElement
	case wasm.SectionCode:
		return m.readCode
	case wasm.SectionData:
		return readData
	}
	return nil
}

func (m *moduleReader) readType(r *wasm.Reader) {
	if form := r.Byte(); form != 0x60 {
		r.Fail(fmt.Errorf("type form %#x is not supported", form))
		return
	}
	from := r.At
	params, results := r.ValueTypes(), r.ValueTypes()
	if results == "" {
		results = "()"
	}
	m.widest = max(m.widest, r.At-from) // a type is a byte, and there are two lengths
	m.types = append(m.types, "("+params+") -> "+results)
}

func (m *moduleReader) readImport(r *wasm.Reader) {
	i := moduleImport{module: r.Name(), name: r.Name(), kind: r.Byte()}
	switch i.kind {
	case wasm.ExternFunction:
		index := r.U32()
		i.signature = m.signature(index)
		m.functions = append(m.functions, index)
	case wasm.ExternTable:
		m.readTable(r)
	case wasm.ExternMemory:
		m.readMemory(r)
	case wasm.ExternGlobal:
		r.Skip(2)
	default:
		r.Fail(fmt.Errorf("import kind %d is not supported", i.kind))
	}
	if r.Err == nil {
		m.info.imports = append(m.info.imports, i)
	}
}

func (m *moduleReader) readTable(r *wasm.Reader) {
	if element := r.Byte(); wasm.ValueTypeNames[element] == "" {
		r.Fail(fmt.Errorf("table type %#x is not supported", element))
	}
	low, high, bounded := r.Limits()
	if m.tables += low; low > maxTableEntries || m.tables > maxTableEntries {
		r.Fail(badLimit("entries in its tables", max(low, m.tables), maxTableEntries))
	}
	if !bounded || high > maxTableEntries {
		m.unbounded = true
	}
}

func (m *moduleReader) readMemory(r *wasm.Reader) {
	const wide = 4 // in the flags of its limits
	if r.Left() > 0 && r.B[r.At]&wide != 0 {
		r.Fail(badCode("has a memory of 64 bits", "a module for wasm32"))
	}
	m.info.memoryPages, _, _ = r.Limits()
}

func (m *moduleReader) readExport(r *wasm.Reader) {
	name, kind, index := r.Name(), r.Byte(), r.U32()
	what := ""
	switch {
	case kind == wasm.ExternFunction && int64(index) < int64(len(m.functions)):
		what = m.signature(m.functions[index])
	case kind == wasm.ExternMemory:
		what = "memory"
	}
	if r.Err == nil {
		m.info.exports[name] = what
	}
}

func (m *moduleReader) signature(index uint32) string {
	if int64(index) < int64(len(m.types)) {
		return m.types[index]
	}
	return "a type that is not declared"
}

// readCode reads one function's locals and instructions. What the compiler does with it can be as much as the values there are, for each way from block to
// block: of these there are not more than bytes in the instructions that make them.
func (m *moduleReader) readCode(r *wasm.Reader) {
	body := r.Bytes()
	f := &wasm.Reader{B: body}
	if len(body) > maxBody {
		r.Fail(badLimit("bytes of code in a function", uint64(len(body)), maxBody))
		return
	}
	var locals uint64
	f.Each(func(f *wasm.Reader) {
		locals += uint64(f.U32())
		f.Skip(1)
	})
	if locals > maxLocals {
		f.Fail(badLimit("locals in a function", locals, maxLocals))
	}
	var i wasm.Instruction
	ways := 1
	for f.Err == nil && f.Left() > 0 {
		from := f.At
		f.Instruction(&i)
		if i.Op >= wasm.OpBlock && i.Op <= wasm.OpBrTable && i.Op != wasm.OpEnd {
			ways += f.At - from
		}
		m.growsTable = m.growsTable || i.Op == wasm.OpBulk && i.Sub == wasm.SubTableGrow
	}
	const rarely = 64 // a value that is no local lives in so few blocks that it counts as little
	m.info.work += uint64(ways) * (locals + uint64(m.widest) + uint64(len(body))/rarely)
	r.Fail(f.Err)
}

func readElement(r *wasm.Reader) {
	flags := r.U32()
	passive, explicit, expressions := flags&1 != 0, flags&2 != 0, flags&4 != 0
	if flags > 7 {
		r.Fail(fmt.Errorf("element kind %d is not supported", flags))
	}
	if !passive {
		if explicit {
			r.SkipU32()
		}
		r.Constant(nil)
	}
	if passive || explicit {
		r.Skip(1)
	}
	if expressions {
		r.Each(func(r *wasm.Reader) { r.Constant(nil) })
	} else {
		r.Each((*wasm.Reader).SkipU32)
	}
}

func readData(r *wasm.Reader) {
	switch flags := r.U32(); flags {
	case 0:
		r.Constant(nil)
	case 1:
	case 2:
		r.SkipU32()
		r.Constant(nil)
	default:
		r.Fail(fmt.Errorf("data kind %d is not supported", flags))
	}
	r.Bytes()
}

// readNames reads the name section, of which only the names of the module, the functions and the locals have a
// form that the engine reads.
func readNames(r *wasm.Reader) {
	pair := func(r *wasm.Reader) { r.SkipU32(); r.Bytes() }
	for r.Err == nil && r.Left() > 0 {
		id := r.Byte()
		sub := &wasm.Reader{B: r.Bytes()}
		switch id {
		case 0:
			sub.Bytes()
		case 1:
			sub.Each(pair)
		case 2:
			sub.Each(func(r *wasm.Reader) { r.SkipU32(); r.Each(pair) })
		default:
			sub.Skip(sub.Left())
		}
		if sub.Left() > 0 {
			sub.Fail(wasm.ErrShort)
		}
		r.Fail(sub.Err)
	}
}
