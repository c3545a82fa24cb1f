package runtime

import "fmt"

// codeTraits is what a walk over a function's instructions notes.
type codeTraits struct {
	calls      bool // it calls something
	checked    bool // it passes a loop header before anything else can happen
	branched   bool // control may have left the straight line
	growsTable bool
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
	types    // of a typed select
	prefixFC // a second opcode: saturating conversions, bulk memory, tables
	prefixFD // a second opcode: vectors
)

// Opcodes with a meaning for guards.
const (
	opBlock  = 0x02
	opLoop   = 0x03
	opElse   = 0x05
	opEnd    = 0x0b
	opBranch = 0x0c // the first of br, br_if, br_table, return
	opReturn = 0x0f
	opCall   = 0x10 // the first of the calls
	opCalls  = 0x13 // the last of them
)

// immediates is indexed by opcode (https://webassembly.github.io/spec/core/binary/instructions.html).
var immediates = func() (t [256]immediate) {
	set := func(form immediate, first, last int) {
		for op := first; op <= last; op++ {
			t[op] = form
		}
	}
	set(none, 0x00, 0x01)
	set(blockType, 0x02, 0x04)
	set(none, opElse, opElse)
	set(none, opEnd, opEnd)
	set(index, 0x0c, 0x0d)
	set(labels, 0x0e, 0x0e)
	set(none, opReturn, opReturn)
	set(index, opCall, opCall)
	set(indexes, 0x11, 0x11)
	set(index, 0x12, 0x12)
	set(indexes, opCalls, opCalls)
	set(none, 0x1a, 0x1b)
	set(types, 0x1c, 0x1c)
	set(index, 0x20, 0x26)
	set(memarg, 0x28, 0x3e)
	set(index, 0x3f, 0x40)
	set(number32, 0x41, 0x41)
	set(number64, 0x42, 0x42)
	set(raw4, 0x43, 0x43)
	set(raw8, 0x44, 0x44)
	set(none, 0x45, 0xc4)
	set(number32, 0xd0, 0xd0)
	set(none, 0xd1, 0xd1)
	set(index, 0xd2, 0xd2)
	set(prefixFC, 0xfc, 0xfc)
	set(prefixFD, 0xfd, 0xfd)
	return t
}()

// instruction reads one instruction and notes what it does.
func (r *reader) instruction(seen *codeTraits) {
	op := r.byte()
	seen.note(op)
	switch immediates[op] {
	case none:
	case index:
		r.skipU32()
	case indexes:
		r.skipU32()
		r.skipU32()
	case blockType, number32:
		r.leb(5)
	case labels:
		r.each((*reader).skipU32)
		r.skipU32()
	case memarg:
		r.memarg()
	case number64:
		r.leb(10)
	case raw4:
		r.skip(4)
	case raw8:
		r.skip(8)
	case types:
		r.each(func(r *reader) { r.skip(1) })
	case prefixFC:
		r.instructionFC(seen)
	case prefixFD:
		r.instructionFD()
	default:
		r.fail(fmt.Errorf("instruction %#x is not supported", op))
	}
}

func (c *codeTraits) note(op byte) {
	switch {
	case op == opLoop:
		c.checked = c.checked || !c.branched
	case op >= opCall && op <= opCalls:
		c.calls = true
		c.branched = true
	case op == 0x00 || op > opBlock && op <= opReturn:
		c.branched = true
	}
}

func (r *reader) memarg() {
	if r.u32()&0x40 != 0 { // more than one memory
		r.skipU32()
	}
	r.leb(10)
}

func (r *reader) instructionFC(seen *codeTraits) {
	switch op := r.u32(); {
	case op <= 7:
	case op == 8, op == 10, op == 12, op == 14:
		r.skipU32()
		r.skipU32()
	case op <= 17:
		r.skipU32()
		seen.growsTable = seen.growsTable || op == 15
	default:
		r.fail(fmt.Errorf("instruction 0xfc %d is not supported", op))
	}
}

func (r *reader) instructionFD() {
	switch op := r.u32(); {
	case op <= 11, op == 92, op == 93:
		r.memarg()
	case op == 12, op == 13:
		r.skip(16)
	case op >= 21 && op <= 34:
		r.skip(1)
	case op >= 84 && op <= 91:
		r.memarg()
		r.skip(1)
	case op > 0xff:
		r.fail(fmt.Errorf("instruction 0xfd %d is not supported", op))
	}
}

// constant reads a constant expression. It has no blocks, so it ends with the first end.
func (r *reader) constant() {
	var seen codeTraits
	for r.err == nil {
		end := r.left() > 0 && r.b[r.at] == opEnd
		r.instruction(&seen)
		if end {
			return
		}
	}
}

// guard is a loop without a body: the engine looks at its header whether the guest is to stop.
var guard = []byte{opLoop, 0x40, opEnd}

// guardCalls makes the module that is compiled in place of the uploaded one: with a guard in front of each function
// that calls others and could do so without passing a loop, and without custom sections but the names, of which the
// debugging information would not fit the moved code. code has passed inspect, with guards as it found them.
func guardCalls(code []byte, guards []int) []byte {
	out := append(make([]byte, 0, len(code)+len(guards)*(len(guard)+1)+8), wasmHeader...)
	for s := range moduleSections(code) {
		r := &reader{b: s.bytes}
		switch {
		case s.id == sectionCustom && r.name() != "name":
		case s.id == sectionCode && len(guards) > 0:
			body := guardSection(s, guards)
			out = append(appendLEB(append(out, s.id), uint64(len(body))), body...)
		default:
			out = append(out, code[s.head:s.body+len(s.bytes)]...)
		}
	}
	return out
}

func guardSection(s moduleSection, guards []int) []byte {
	r := &reader{b: s.bytes}
	out := appendLEB(make([]byte, 0, len(s.bytes)+len(guards)*(len(guard)+1)+8), uint64(r.u32()))
	for r.err == nil && r.left() > 0 {
		body := r.bytes()
		end := s.body + r.at
		if len(guards) == 0 || guards[0] >= end {
			out = append(appendLEB(out, uint64(len(body))), body...)
			continue
		}
		at := guards[0] - (end - len(body))
		guards = guards[1:]
		out = appendLEB(out, uint64(len(body)+len(guard)))
		out = append(out, body[:at]...)
		out = append(out, guard...)
		out = append(out, body[at:]...)
	}
	return out
}
