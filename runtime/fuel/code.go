package fuel

import "github.com/shardmill/shardmill/runtime/wasm"

// What of the binary format only the added code needs.
const (
	typeFunction = 0x60
	typeI32      = 0x7f
	typeI64      = 0x7e

	opI64Const = 0x42
	opI32GtU   = 0x4b
	opI32LeU   = 0x4d
	opI64GeS   = 0x59
	opI64GtU   = 0x56
	opI32Add   = 0x6a
	opI32Sub   = 0x6b
	opI32Or    = 0x72
	opI64Add   = 0x7c
	opI64Sub   = 0x7d
	opI64Shl   = 0x86
	opI64ShrU  = 0x88
	opExtendU  = 0xad // i64.extend_i32_u
)

// addedTypes stand behind the module's own: of the refill, of the measure, of fill and copy.
var addedTypes = [][]byte{
	{typeFunction, 0, 0},
	{typeFunction, 1, typeI32, 1, typeI32},
	{typeFunction, 3, typeI32, typeI32, typeI32, 0},
}

// helper is a function that is added to modules that need it.
type helper byte

const (
	helperMeasure helper = iota // (n) -> n: charges for the length n
	helperFill                  // memory.fill
	helperCopy                  // memory.copy
)

var helperNames = [...]string{"measure", "memory.fill", "memory.copy"}

func (h helper) typeAt() uint32 {
	if h == helperMeasure {
		return 1
	}
	return 2
}

// helper is the index of a helper, which from then on is part of the module.
func (m *rewriter) helper(h helper) uint32 {
	at := 0
	for at < len(m.helpers) && m.helpers[at] != h {
		at++
	}
	if at == len(m.helpers) {
		m.helpers = append(m.helpers, h)
	}
	return m.functions + 1 + uint32(at)
}

// charge takes weight from the counter.
func (l *layout) charge(b []byte, weight int64) []byte {
	if weight == 0 {
		return b
	}
	b = l.global(b, wasm.OpGlobalGet)
	b = wasm.AppendSLEB(append(b, opI64Const), weight)
	return l.global(append(b, opI64Sub), wasm.OpGlobalSet)
}

func (l *layout) global(b []byte, op byte) []byte {
	return wasm.AppendLEB(append(b, op), uint64(l.fuel()))
}

// checkLoop calls the host when the counter is below zero. It stands first in a loop without parameters, which begins again
// after the call. That is faster than to go on where the call is, though it looks longer: because the two ways do not meet, the engine's
// register allocator keeps what the call needs, its spills and reloads, out of the way of those who do not call, and the
// call itself goes to the end of the function. The empty branch comes first because the engine lets the first fall through.
func (l *layout) checkLoop(b []byte) []byte {
	b = append(l.global(b, wasm.OpGlobalGet), opI64Const, 0, opI64GeS, wasm.OpIf, wasm.BlockEmpty, wasm.OpElse)
	b = wasm.AppendLEB(append(b, wasm.OpCall), uint64(l.refill()))
	return append(b, wasm.OpBr, 1, wasm.OpEnd)
}

// check is checkLoop for where there is no such loop.
func (l *layout) check(b []byte) []byte {
	return append(l.checkLoop(append(b, wasm.OpLoop, wasm.BlockEmpty)), wasm.OpEnd)
}

// Filling and copying memory is done in pieces of chunk bytes, so that it can be stopped. What has a length costs 1 per 16 bytes or
// table entries.
const (
	chunk       = 1 << 20
	lengthShift = 4
)

// helperBody is the body of a helper.
func (m *rewriter) helperBody(h helper) []byte {
	b := []byte{0} // locals
	switch h {
	case helperMeasure:
		b = m.chargeLocal(b, 0, lengthShift)
		b = append(m.check(b), wasm.OpLocalGet, 0)
	case helperFill:
		b = append(b, greaterThanChunk...)
		b = append(b, wasm.OpIf, wasm.BlockEmpty)
		b = append(append(b, outside(0)...), wasm.OpIf, wasm.BlockEmpty)
		b = append(b, fill...)
		b = append(b, wasm.OpUnreachable, wasm.OpEnd, wasm.OpLoop, wasm.BlockEmpty)
		b = m.charge(m.checkLoop(b), chunk>>lengthShift)
		b = append(b, wasm.OpLocalGet, 0, wasm.OpLocalGet, 1)
		b = append(append(b, chunkConst...), wasm.OpBulk, wasm.SubMemoryFill, 0)
		b = advance(b, 0, opI32Add)
		b = advance(b, 2, opI32Sub)
		b = append(append(b, greaterThanChunk...), wasm.OpBrIf, 0, wasm.OpEnd, wasm.OpEnd)
		b = append(m.chargeLocal(b, 2, lengthShift), fill...)
	case helperCopy:
		b = append(b, greaterThanChunk...)
		b = append(b, wasm.OpIf, wasm.BlockEmpty)
		b = append(append(append(b, outside(0)...), outside(1)...), opI32Or, wasm.OpIf, wasm.BlockEmpty)
		b = append(b, copyAll...)
		b = append(b, wasm.OpUnreachable, wasm.OpEnd)
		b = append(b, wasm.OpLocalGet, 0, wasm.OpLocalGet, 1, opI32LeU, wasm.OpIf, wasm.BlockEmpty)
		b = append(m.forward(b), wasm.OpElse)
		b = append(m.backward(b), wasm.OpEnd, wasm.OpEnd)
		b = append(m.chargeLocal(b, 2, lengthShift), copyAll...)
	}
	return append(b, wasm.OpEnd)
}

// forward copies pieces from the lower end on; what is left is behind them.
func (l *layout) forward(b []byte) []byte {
	b = l.charge(l.checkLoop(append(b, wasm.OpLoop, wasm.BlockEmpty)), chunk>>lengthShift)
	b = append(b, wasm.OpLocalGet, 0, wasm.OpLocalGet, 1)
	b = append(append(b, chunkConst...), wasm.OpBulk, wasm.SubMemoryCopy, 0, 0)
	b = advance(b, 0, opI32Add)
	b = advance(b, 1, opI32Add)
	b = advance(b, 2, opI32Sub)
	return append(append(b, greaterThanChunk...), wasm.OpBrIf, 0, wasm.OpEnd)
}

// backward copies pieces from the upper end on; what is left is before them.
func (l *layout) backward(b []byte) []byte {
	b = l.charge(l.checkLoop(append(b, wasm.OpLoop, wasm.BlockEmpty)), chunk>>lengthShift)
	b = advance(b, 2, opI32Sub)
	b = append(b, wasm.OpLocalGet, 0, wasm.OpLocalGet, 2, opI32Add, wasm.OpLocalGet, 1, wasm.OpLocalGet, 2, opI32Add)
	b = append(append(b, chunkConst...), wasm.OpBulk, wasm.SubMemoryCopy, 0, 0)
	return append(append(b, greaterThanChunk...), wasm.OpBrIf, 0, wasm.OpEnd)
}

// chargeLocal takes what is in a local, an i32, from the counter, divided by a power of two.
func (l *layout) chargeLocal(b []byte, local, shift byte) []byte {
	b = append(l.global(b, wasm.OpGlobalGet), wasm.OpLocalGet, local, opExtendU, opI64Const, shift, opI64ShrU, opI64Sub)
	return l.global(b, wasm.OpGlobalSet)
}

// Parts of fill and copy: their parameters are where to, what or where from, and how many bytes.
var (
	chunkConst       = wasm.AppendSLEB([]byte{wasm.OpI32Const}, chunk)
	greaterThanChunk = append(append([]byte{wasm.OpLocalGet, 2}, chunkConst...), opI32GtU)
	arguments        = []byte{wasm.OpLocalGet, 0, wasm.OpLocalGet, 1, wasm.OpLocalGet, 2, wasm.OpBulk}
	fill             = append(arguments[:7:7], wasm.SubMemoryFill, 0)
	copyAll          = append(arguments[:7:7], wasm.SubMemoryCopy, 0, 0)
)

// outside leaves whether so many bytes from a parameter on are not all in the memory. Then the whole is left to the engine to
// refuse, because nothing may be written before.
func outside(local byte) []byte {
	return []byte{
		wasm.OpLocalGet, local, opExtendU, wasm.OpLocalGet, 2, opExtendU, opI64Add,
		wasm.OpMemorySize, 0, opExtendU, opI64Const, 16, opI64Shl, opI64GtU,
	}
}

func advance(b []byte, local, op byte) []byte {
	b = append(append(b, wasm.OpLocalGet, local), chunkConst...)
	return append(b, op, wasm.OpLocalSet, local)
}
