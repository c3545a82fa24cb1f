package wasm

import "fmt"

// Opcodes that mean something to those who walk code.
const (
	OpUnreachable        = 0x00
	OpBlock              = 0x02
	OpLoop               = 0x03
	OpIf                 = 0x04
	OpElse               = 0x05
	OpEnd                = 0x0b
	OpBr                 = 0x0c
	OpBrIf               = 0x0d
	OpBrTable            = 0x0e
	OpReturn             = 0x0f
	OpCall               = 0x10
	OpCallIndirect       = 0x11
	OpReturnCall         = 0x12
	OpReturnCallIndirect = 0x13
	OpLocalGet           = 0x20
	OpLocalSet           = 0x21
	OpLocalTee           = 0x22
	OpGlobalGet          = 0x23
	OpGlobalSet          = 0x24
	OpTableSet           = 0x26
	OpMemorySize         = 0x3f
	OpMemoryGrow         = 0x40
	OpI32Const           = 0x41
	OpRefFunc            = 0xd2
	OpBulk               = 0xfc // Sub tells which one
	OpVector             = 0xfd // Sub tells which one

	SubMemoryInit  = 8
	SubDataDrop    = 9
	SubMemoryCopy  = 10
	SubMemoryFill  = 11
	SubTableInit   = 12
	SubElementDrop = 13
	SubTableCopy   = 14
	SubTableGrow   = 15
	SubTableFill   = 17
)

// BlockEmpty is the type of a block that takes and leaves nothing.
const BlockEmpty = 0x40

// Instruction is one instruction and what it is about.
type Instruction struct {
	Op  byte
	Sub uint32 // the second opcode of OpBulk and OpVector
	// Index is the first index that follows: of a label, a function, a type, a local, a global, a table … For
	// OpI32Const it is the number if that is not negative, else -1; for a block the type, which is negative unless it is an
	// index; for OpBrTable where its vector of labels begins.
	Index int64
	At    int // its first byte
}

// immediate is the form of what follows an opcode.
type immediate byte

const (
	invalid   immediate = iota
	none                // nothing
	index               // one index
	indexes             // two of them
	blockType           // an empty type, a value type or a type index
	labels              // of br_table
	memarg              // alignment and offset
	number32            // a signed LEB128 number
	number64
	raw4 // a float
	raw8
	types   // of a typed select
	bulk    // a second opcode: saturating conversions, bulk memory, tables
	vectors // a second opcode
)

// immediates is indexed by opcode (https://webassembly.github.io/spec/core/binary/instructions.html).
var immediates = func() (t [256]immediate) {
	set := func(form immediate, first, last int) {
		for op := first; op <= last; op++ {
			t[op] = form
		}
	}
	set(none, 0x00, 0x01)
	set(blockType, OpBlock, OpIf)
	set(none, OpElse, OpElse)
	set(none, OpEnd, OpEnd)
	set(index, OpBr, OpBrIf)
	set(labels, OpBrTable, OpBrTable)
	set(none, OpReturn, OpReturn)
	set(index, OpCall, OpCall)
	set(indexes, OpCallIndirect, OpCallIndirect)
	set(index, OpReturnCall, OpReturnCall)
	set(indexes, OpReturnCallIndirect, OpReturnCallIndirect)
	set(none, 0x1a, 0x1b)
	set(types, 0x1c, 0x1c)
	set(index, 0x20, 0x26)
	set(memarg, 0x28, 0x3e)
	set(index, OpMemorySize, OpMemoryGrow)
	set(number32, OpI32Const, OpI32Const)
	set(number64, 0x42, 0x42)
	set(raw4, 0x43, 0x43)
	set(raw8, 0x44, 0x44)
	set(none, 0x45, 0xc4)
	set(blockType, 0xd0, 0xd0) // ref.null and its type
	set(none, 0xd1, 0xd1)
	set(index, OpRefFunc, OpRefFunc)
	set(bulk, OpBulk, OpBulk)
	set(vectors, OpVector, OpVector)
	return t
}()

// Instruction reads one instruction into i, which is reused because there are many. It knows the instructions of
// WebAssembly 2.0 and tail calls; every other is an error.
func (r *Reader) Instruction(i *Instruction) {
	i.At = r.At
	i.Op = r.Byte()
	i.Sub, i.Index = 0, -1
	switch immediates[i.Op] {
	case none:
	case index:
		i.Index = int64(r.U32())
	case indexes:
		i.Index = int64(r.U32())
		r.SkipU32()
	case blockType:
		i.Index = r.signed(5)
	case number32:
		i.Index = max(-1, r.signed(5))
	case labels:
		i.Index = int64(r.At)
		r.Each((*Reader).SkipU32)
		r.SkipU32()
	case memarg:
		r.memarg()
	case number64:
		r.LEB(10)
	case raw4:
		r.Skip(4)
	case raw8:
		r.Skip(8)
	case types:
		r.Each(func(r *Reader) { r.Skip(1) })
	case bulk:
		r.bulk(i)
	case vectors:
		r.vectors(i)
	default:
		r.Fail(fmt.Errorf("instruction %#x is not supported", i.Op))
	}
}

// signed reads a signed LEB128 number of at most that many bytes.
func (r *Reader) signed(most int) int64 {
	from := r.At
	n := int64(r.LEB(most))
	if r.Err == nil && r.B[r.At-1]&0x40 != 0 {
		n -= 1 << (7 * (r.At - from))
	}
	return n
}

// S32 reads a signed number of 32 bits.
func (r *Reader) S32() int32 {
	n := r.signed(5)
	if n != int64(int32(n)) {
		r.Fail(ErrNumber)
		return 0
	}
	return int32(n)
}

func (r *Reader) memarg() {
	if r.U32()&0x40 != 0 { // more than one memory
		r.SkipU32()
	}
	r.LEB(10)
}

func (r *Reader) bulk(i *Instruction) {
	switch i.Sub = r.U32(); {
	case i.Sub <= 7:
	case i.Sub == SubMemoryInit, i.Sub == SubMemoryCopy, i.Sub == SubTableInit, i.Sub == SubTableCopy:
		i.Index = int64(r.U32())
		r.SkipU32()
	case i.Sub <= SubTableFill:
		i.Index = int64(r.U32())
	default:
		r.Fail(fmt.Errorf("instruction 0xfc %d is not supported", i.Sub))
	}
}

func (r *Reader) vectors(i *Instruction) {
	switch i.Sub = r.U32(); {
	case i.Sub <= 11, i.Sub == 92, i.Sub == 93:
		r.memarg()
	case i.Sub == 12, i.Sub == 13:
		r.Skip(16)
	case i.Sub >= 21 && i.Sub <= 34:
		r.Skip(1)
	case i.Sub >= 84 && i.Sub <= 91:
		r.memarg()
		r.Skip(1)
	case i.Sub > 0xff:
		r.Fail(fmt.Errorf("instruction 0xfd %d is not supported", i.Sub))
	}
}

// Constant reads a constant expression and shows each of its instructions to visit, which may be nil. It has no blocks, so it
// ends with the first end.
func (r *Reader) Constant(visit func(*Instruction)) {
	var i Instruction
	for r.Err == nil {
		r.Instruction(&i)
		if visit != nil {
			visit(&i)
		}
		if i.Op == OpEnd {
			return
		}
	}
}
