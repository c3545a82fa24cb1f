package fuel

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// Version changes with what Rewrite makes of a module, so that compiled code can be kept by it.
const Version = 3

// Names that a rewritten module has more than the original: a function that it imports, () -> (), and a global that it
// exports, a mutable i64.
const (
	ImportModule = "shardmill:meter"
	ImportName   = "refill"
	Export       = "shardmill:fuel"
)

// order is that of the sections of a module. Custom sections may stand anywhere.
var order = [...]byte{
	wasm.SectionType, wasm.SectionImport, wasm.SectionFunction, wasm.SectionTable, wasm.SectionMemory, wasm.SectionGlobal,
	wasm.SectionExport, wasm.SectionStart, wasm.SectionElement, wasm.SectionDataCount, wasm.SectionCode, wasm.SectionData,
}

// Rewrite returns the module that is to be compiled in place of code. The error is the end of a sentence about the
// module; code that the engine would take, and that does not export Export itself, has none.
func Rewrite(code []byte) ([]byte, error) {
	out, _, err := RewriteWithPlaces(code)
	return out, err
}

// RewriteWithPlaces is Rewrite that tells where code has come from, of a module that has lines of its source; nil of others.
func RewriteWithPlaces(code []byte) ([]byte, *Places, error) {
	if !bytes.HasPrefix(code, wasm.Header) {
		return nil, nil, errors.New("does not begin with the header of a module")
	}
	m := &rewriter{}
	err := m.divide(code)
	if err == nil {
		err = m.count()
	}
	out := append(make([]byte, 0, len(code)+len(code)/2), wasm.Header...)
	if err == nil {
		out, err = m.assemble(out)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot be metered: %w", err)
	}
	return out, m.places, nil
}

// rewriter is what is known of a module that is being rewritten.
type rewriter struct {
	layout
	sections [wasm.SectionDataCount + 1][]byte // bodies by identifier; nil where there is none
	names    []byte                            // the body of the name section, behind its name
	helpers  []helper                          // those used, in the order of their indices
	places   *Places                           // nil where nobody can use them
}

// layout says how many things a module has, and so where the added ones stand: each behind those of its kind. Only
// functions have to make room, because imported ones come before all others.
type layout struct {
	types, imported, functions, globals uint32 // imported and functions: functions that are imported, and all
}

// refill is the index of the imported function, fuel that of the global.
func (l *layout) refill() uint32 { return l.imported }
func (l *layout) fuel() uint32   { return l.globals }

// within makes an index that is out of its range the reader's error. The engine would refuse the original for it, but in the new module
// it could be that of something added: of the counter, say.
func within(r *wasm.Reader, what string, index int64, n uint32) {
	if index >= int64(n) {
		r.Fail(fmt.Errorf("there is no %s %d", what, index))
	}
}

// moved is the new index of a function.
func (l *layout) moved(function uint32) uint32 {
	if function < l.imported {
		return function
	}
	return function + 1
}

func (m *rewriter) divide(code []byte) error {
	next := 0
	for s, err := range wasm.Sections(code) {
		if err != nil {
			return err
		}
		if s.ID == wasm.SectionCustom {
			r := &wasm.Reader{B: s.Bytes}
			if name := r.Name(); r.Err != nil {
				return r.Err
			} else if name == "name" {
				m.names = s.Bytes[r.At:]
			} else if hasLines(name) {
				m.places = new(Places)
			}
			continue
		}
		for next < len(order) && order[next] != s.ID {
			next++
		}
		if next == len(order) {
			return fmt.Errorf("section %d is not known, or not in its place", s.ID)
		}
		next++
		m.sections[s.ID] = s.Bytes
	}
	return nil
}

func (m *rewriter) count() error {
	length := func(id byte) uint32 {
		r := wasm.Reader{B: m.sections[id]}
		if r.B == nil {
			return 0
		}
		return r.Count()
	}
	m.types, m.globals = length(wasm.SectionType), length(wasm.SectionGlobal)
	r := &wasm.Reader{B: m.sections[wasm.SectionImport]}
	if r.B != nil {
		r.Each(m.countImport)
	}
	m.functions = m.imported + length(wasm.SectionFunction)
	f := &wasm.Reader{B: m.sections[wasm.SectionFunction]}
	if f.B != nil {
		f.Each(func(f *wasm.Reader) { within(f, "type", int64(f.U32()), m.types) })
	}
	return errors.Join(r.Err, f.Err)
}

func (m *rewriter) countImport(r *wasm.Reader) {
	r.Bytes()
	r.Bytes()
	switch kind := r.Byte(); kind {
	case wasm.ExternFunction:
		within(r, "type", int64(r.U32()), m.types)
		m.imported++
	case wasm.ExternTable:
		r.Skip(1)
		r.Limits()
	case wasm.ExternMemory:
		r.Limits()
	case wasm.ExternGlobal:
		r.Skip(2)
		m.globals++
	default:
		r.Fail(fmt.Errorf("import kind %d is not supported", kind))
	}
}

// assemble appends the sections of the new module. The code comes first, because it tells which helpers there are.
func (m *rewriter) assemble(out []byte) ([]byte, error) {
	code, err := m.code()
	for _, id := range order {
		var body []byte
		if err == nil {
			body, err = m.section(id, code)
		}
		if err != nil {
			return nil, fmt.Errorf("section %d: %w", id, err)
		}
		if body != nil {
			out = append(wasm.AppendLEB(append(out, id), uint64(len(body))), body...)
		}
	}
	if m.places != nil {
		out = append(out, beacon()...)
	}
	names := m.nameSection()
	return append(wasm.AppendLEB(append(out, wasm.SectionCustom), uint64(len(names))), names...), nil
}

// section is the new body of a section, nil where there is none.
func (m *rewriter) section(id byte, code []byte) ([]byte, error) {
	switch id {
	case wasm.SectionType:
		return m.extended(id, addedTypes...)
	case wasm.SectionImport:
		return m.extended(id, m.refillImport())
	case wasm.SectionFunction:
		var types [][]byte
		for _, h := range m.helpers {
			types = append(types, wasm.AppendLEB(nil, uint64(m.types)+uint64(h.typeAt())))
		}
		return m.extended(id, types...)
	case wasm.SectionGlobal:
		global := []byte{typeI64, 1, opI64Const, 0, wasm.OpEnd}
		return m.copied(id, func(c *copier) { c.Skip(2); c.constant() }, global)
	case wasm.SectionExport:
		export := wasm.AppendLEB(append(wasm.AppendBytes(nil, Export), wasm.ExternGlobal), uint64(m.fuel()))
		return m.copied(id, (*copier).export, export)
	case wasm.SectionStart:
		return m.start()
	case wasm.SectionElement:
		return m.copied(id, (*copier).element)
	case wasm.SectionCode:
		return code, nil
	}
	return m.sections[id], nil
}

func (m *rewriter) refillImport() []byte {
	b := wasm.AppendBytes(wasm.AppendBytes(nil, ImportModule), ImportName)
	return wasm.AppendLEB(append(b, wasm.ExternFunction), uint64(m.types))
}

// extended is a section of entries that stay as they are, and more behind them.
func (m *rewriter) extended(id byte, more ...[]byte) ([]byte, error) {
	r := &wasm.Reader{B: m.sections[id]}
	var n uint32
	if r.B != nil {
		n = r.U32()
	} else if len(more) == 0 {
		return nil, nil
	}
	out := wasm.AppendLEB(nil, uint64(n)+uint64(len(more)))
	out = append(out, r.B[r.At:]...)
	return append(out, bytes.Join(more, nil)...), r.Err
}

// copied is a section of entries in which functions are named, and more behind them.
func (m *rewriter) copied(id byte, entry func(*copier), more ...[]byte) ([]byte, error) {
	c := &copier{Reader: wasm.Reader{B: m.sections[id]}, layout: &m.layout}
	var n uint32
	if c.B != nil {
		n = c.Count()
	} else if len(more) == 0 {
		return nil, nil
	}
	c.out, c.done = wasm.AppendLEB(nil, uint64(n)+uint64(len(more))), c.At
	for range n {
		entry(c)
	}
	c.keep(c.At)
	if c.Err == nil && c.Left() > 0 {
		c.Fail(errors.New("it has bytes too many"))
	}
	return append(c.out, bytes.Join(more, nil)...), c.Err
}

func (m *rewriter) start() ([]byte, error) {
	r := &wasm.Reader{B: m.sections[wasm.SectionStart]}
	if r.B == nil {
		return nil, nil
	}
	f := r.U32()
	within(r, "function", int64(f), m.functions)
	return wasm.AppendLEB(nil, uint64(m.moved(f))), r.Err
}

// copier copies what it reads, but for the indices of functions.
type copier struct {
	wasm.Reader
	*layout
	out  []byte
	done int // up to where it is copied
}

// keep copies what was not copied before, up to a place.
func (c *copier) keep(to int) {
	if c.Err == nil {
		c.out = append(c.out, c.B[c.done:to]...)
		c.done = to
	}
}

// function reads the index of a function and writes the new one.
func (c *copier) function() {
	c.keep(c.At)
	c.replace(c.U32())
}

// replace writes the new index of a function in place of what was read since the last keep.
func (c *copier) replace(function uint32) {
	within(&c.Reader, "function", int64(function), c.functions)
	if c.Err == nil {
		c.out = wasm.AppendLEB(c.out, uint64(c.moved(function)))
		c.done = c.At
	}
}

func (c *copier) constant() {
	c.Constant(func(i *wasm.Instruction) {
		switch i.Op {
		case wasm.OpRefFunc:
			c.keep(i.At + 1)
			c.replace(uint32(i.Index))
		case wasm.OpGlobalGet:
			within(&c.Reader, "global", i.Index, c.globals)
		}
	})
}

func (c *copier) export() {
	if string(c.Bytes()) == Export {
		c.Fail(fmt.Errorf("it exports %s, which is the host's", Export))
	}
	switch c.Byte() {
	case wasm.ExternFunction:
		c.function()
	case wasm.ExternGlobal:
		within(&c.Reader, "global", int64(c.U32()), c.globals)
	default:
		c.SkipU32()
	}
}

// element copies an element segment
// (https://webassembly.github.io/spec/core/binary/modules.html#element-section).
func (c *copier) element() {
	flags := c.U32()
	passive, explicit, expressions := flags&1 != 0, flags&2 != 0, flags&4 != 0
	if !passive {
		if explicit {
			c.SkipU32()
		}
		c.constant()
	}
	if passive || explicit {
		c.Skip(1)
	}
	for n := c.Count(); n > 0 && c.Err == nil; n-- {
		if expressions {
			c.constant()
		} else {
			c.function()
		}
	}
}
