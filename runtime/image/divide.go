package image

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// Version changes with what Divide makes of a module, so that compiled code can be kept by it.
const Version = 1

// ExportStart is the module's start function, for the embedder to call. What Divide exports has names that begin with prefix.
const (
	ExportStart = prefix + "start"
	prefix      = "shardmill:image."
)

// Global is the export of the n-th mutable global.
func Global(n int) string { return prefix + strconv.Itoa(n) }

// Why a module cannot be divided. They are ends of sentences about it.
var (
	ErrTables   = errors.New("it changes its tables")
	ErrSegments = errors.New("it reads or drops its segments when it runs")
	ErrGlobals  = errors.New("it has a variable that is a vector or a reference")
	ErrImports  = errors.New("it imports more than functions")
	ErrMemory   = errors.New("it has no memory, or more than one")
	ErrOffsets  = errors.New("a data segment's place is computed")
	ErrStart    = errors.New("its start function is none")
)

// Plan is a module that was divided.
type Plan struct {
	Code    []byte // what is compiled in place of the module
	Start   bool   // Code exports the start function
	Globals int    // how many mutable globals it exports
	Pages   uint64 // of 64 KiB, that its memory has at first
	// HashesOnly is as the function of that name says.
	HashesOnly bool

	data []segment
	text []byte // of all of data
}

// segment is bytes of the memory: size of text, at an address. There may be many thousand.
type segment struct{ at, size uint32 }

// Fill writes the module's data into a memory that is all zero. The error is that of a module which has data outside of its memory; what
// lies before it is there then.
func (p *Plan) Fill(memory []byte) error {
	text := p.text
	for n, s := range p.data {
		if uint64(s.at)+uint64(s.size) > uint64(len(memory)) {
			return fmt.Errorf("data[%d]: out of bounds memory access", n)
		}
		copy(memory[s.at:], text[:s.size])
		text = text[s.size:]
	}
	return nil
}

// Divide divides a module. The error says what there is in it that does not allow that.
func Divide(code []byte) (*Plan, error) {
	if !bytes.HasPrefix(code, wasm.Header) {
		return nil, errors.New("it does not begin with the header of a module")
	}
	d := &divider{counted: -1, start: -1}
	for s, err := range wasm.Sections(code) {
		if err != nil {
			return nil, err
		}
		r := &wasm.Reader{B: s.Bytes}
		if d.read(s.ID, r); r.Err != nil {
			return nil, r.Err
		}
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	d.plan.Code = d.assemble(code)
	return &d.plan, nil
}

// divider is what is known of a module.
type divider struct {
	plan      Plan
	types     []bool   // which of them are () -> ()
	functions []uint32 // their types, imported ones first
	globals   uint32
	mutable   []uint32 // indices of globals
	memories  int
	exported  bool
	start     int64 // the start function, or -1
	segments  int64 // of data
	counted   int64 // how many of those the module announces, or -1
}

func (d *divider) read(id byte, r *wasm.Reader) {
	switch id {
	case wasm.SectionCustom:
		if r.Name() == "name" {
			d.plan.HashesOnly = HashesOnly(r.B[r.At:])
		}
	case wasm.SectionType:
		r.Each(d.functionType)
	case wasm.SectionImport:
		r.Each(d.imported)
	case wasm.SectionFunction:
		r.Each(func(r *wasm.Reader) { d.functions = append(d.functions, r.U32()) })
	case wasm.SectionMemory:
		r.Each(func(r *wasm.Reader) { d.memories++; d.plan.Pages, _, _ = r.Limits() })
	case wasm.SectionGlobal:
		r.Each(d.global)
	case wasm.SectionExport:
		d.exported = true
		r.Each(d.export)
	case wasm.SectionStart:
		d.start = int64(r.U32())
		whole(r)
	case wasm.SectionDataCount:
		d.counted = int64(r.U32())
		whole(r)
	case wasm.SectionCode:
		r.Each(body)
	case wasm.SectionData:
		r.Each(d.segment)
		whole(r)
	}
}

// whole makes bytes that are left over an error, in what the engine will not see.
func whole(r *wasm.Reader) {
	if r.Err == nil && r.Left() > 0 {
		r.Fail(fmt.Errorf("a section has %d bytes too many", r.Left()))
	}
}

func (d *divider) functionType(r *wasm.Reader) {
	r.Skip(1)
	params := r.Bytes()
	results := r.Bytes()
	d.types = append(d.types, len(params) == 0 && len(results) == 0)
}

func (d *divider) imported(r *wasm.Reader) {
	r.Bytes()
	r.Bytes()
	if r.Byte() != wasm.ExternFunction {
		r.Fail(ErrImports)
	}
	d.functions = append(d.functions, r.U32())
}

func (d *divider) global(r *wasm.Reader) {
	const i32, f64, mutable = 0x7f, 0x7c, 1
	kind, how := r.Byte(), r.Byte()
	r.Constant(nil)
	if how == mutable {
		if kind < f64 || kind > i32 {
			r.Fail(ErrGlobals)
		}
		d.mutable = append(d.mutable, d.globals)
	}
	d.globals++
}

func (d *divider) export(r *wasm.Reader) {
	if name := r.Name(); strings.HasPrefix(name, prefix) {
		r.Fail(fmt.Errorf("it exports %.80q, which is the host's", name))
	}
	r.Skip(1)
	r.SkipU32()
}

// body refuses what has an effect on tables and segments.
func body(r *wasm.Reader) {
	f := &wasm.Reader{B: r.Bytes()}
	f.Each(func(f *wasm.Reader) { f.SkipU32(); f.Skip(1) })
	var i wasm.Instruction
	for f.Err == nil && f.Left() > 0 {
		f.Instruction(&i)
		switch {
		case i.Op == wasm.OpTableSet:
			f.Fail(ErrTables)
		case i.Op != wasm.OpBulk:
		case i.Sub == wasm.SubTableInit, i.Sub == wasm.SubTableCopy, i.Sub == wasm.SubTableGrow, i.Sub == wasm.SubTableFill:
			f.Fail(ErrTables)
		case i.Sub == wasm.SubMemoryInit, i.Sub == wasm.SubDataDrop, i.Sub == wasm.SubElementDrop:
			f.Fail(ErrSegments)
		}
	}
	r.Fail(f.Err)
}

// segment reads a data segment. One that is not put anywhere at the start is of no use without an instruction that reads it.
func (d *divider) segment(r *wasm.Reader) {
	const passive, indexed = 1, 2
	d.segments++
	flags := r.U32()
	if flags == passive {
		r.Bytes()
		return
	}
	if flags > indexed || flags == indexed && r.U32() != 0 {
		r.Fail(ErrMemory)
	}
	if r.Byte() != wasm.OpI32Const {
		r.Fail(ErrOffsets)
	}
	at := uint32(r.S32())
	if r.Byte() != wasm.OpEnd {
		r.Fail(ErrOffsets)
	}
	text := r.Bytes()
	d.plan.data = append(d.plan.data, segment{at, uint32(len(text))})
	d.plan.text = append(d.plan.text, text...)
}

// check is for what only the whole module tells.
func (d *divider) check() error {
	switch {
	case d.memories != 1:
		return ErrMemory
	case !d.exported:
		return errors.New("it exports nothing")
	case d.counted >= 0 && d.counted != d.segments:
		return ErrSegments
	}
	if d.start < 0 {
		return nil
	}
	if d.start >= int64(len(d.functions)) || int64(d.functions[d.start]) >= int64(len(d.types)) || !d.types[d.functions[d.start]] {
		return ErrStart
	}
	d.plan.Start = true
	return nil
}

// assemble copies the module but for what it begins with.
func (d *divider) assemble(code []byte) []byte {
	out := append(make([]byte, 0, len(code)-len(d.plan.text)), wasm.Header...)
	for s := range wasm.Sections(code) {
		switch s.ID {
		case wasm.SectionStart, wasm.SectionDataCount, wasm.SectionData:
		case wasm.SectionExport:
			out = wasm.AppendBytes(append(out, s.ID), d.exports(s.Bytes))
		default:
			out = wasm.AppendBytes(append(out, s.ID), s.Bytes)
		}
	}
	return out
}

func (d *divider) exports(old []byte) []byte {
	r := wasm.Reader{B: old}
	n := uint64(r.U32()) + uint64(len(d.mutable))
	var more []byte
	for at, global := range d.mutable {
		more = append(wasm.AppendBytes(more, Global(at)), wasm.ExternGlobal)
		more = wasm.AppendLEB(more, uint64(global))
	}
	d.plan.Globals = len(d.mutable)
	if d.plan.Start {
		n++
		more = append(wasm.AppendBytes(more, ExportStart), wasm.ExternFunction)
		more = wasm.AppendLEB(more, uint64(d.start))
	}
	return append(append(wasm.AppendLEB(nil, n), old[r.At:]...), more...)
}
