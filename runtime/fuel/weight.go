package fuel

import "github.com/shardmill/shardmill/runtime/wasm"

// Weights of instructions that are not 1.
const (
	weightDivide   = 8    // divisions, remainders and square roots
	weightCall     = 2    // of a function of the module
	weightIndirect = 4    // of one in a table
	weightHost     = 100  // of the host, whatever it does
	weightGrow     = 1000 // of memory, which is a system call
	weightBulk     = 10   // and what the length adds
)

var weights = func() (t [256]int64) {
	for op := range t {
		t[op] = 1
	}
	set := func(weight int64, ops ...int) {
		for _, op := range ops {
			t[op] = weight
		}
	}
	set(0, 0x01, wasm.OpBlock, wasm.OpLoop, wasm.OpElse, wasm.OpEnd, 0x1a)
	set(weightDivide, 0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82, 0x91, 0x95, 0x9f, 0xa3)
	set(weightIndirect, wasm.OpCallIndirect, wasm.OpReturnCallIndirect)
	set(weightGrow, wasm.OpMemoryGrow)
	return t
}()

func (l *layout) weight(i *wasm.Instruction) int64 {
	switch i.Op {
	case wasm.OpCall, wasm.OpReturnCall:
		if uint32(i.Index) < l.imported {
			return weightHost
		}
		return weightCall
	case wasm.OpBulk:
		if i.Sub >= wasm.SubMemoryInit {
			return weightBulk
		}
	}
	return weights[i.Op]
}
