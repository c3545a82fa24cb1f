package sdk

import (
	"math"
	"os"
	"unsafe"

	"github.com/shardmill/shardmill/sdk/abi"
)

// guest serves the calls of this module. Handlers are registered in init, so it takes them at its first export.
var guest *Guest

func theGuest() *Guest {
	if guest == nil {
		guest = NewGuest(registered).Poisoned(os.Getenv(PoisonVariable) == "1")
	}
	return guest
}

//go:wasmexport shardmill_abi_v1
func exportVersion() uint32 { return abi.Version }

//go:wasmexport shardmill_kinds
func exportKinds() uint32 { return theGuest().Kinds() }

//go:wasmexport shardmill_input
func exportInput(size uint32) uint32 {
	if size > maxInput {
		return 0
	}
	return address(theGuest().Input(int(size)))
}

//go:wasmexport shardmill_handle
func exportHandle(kind, ptr, size uint32) uint64 {
	g := theGuest()
	var call []byte // left empty, it is refused as a bad call
	base, end := uint64(address(g.input)), uint64(ptr)+uint64(size)
	if uint64(ptr) >= base && end <= base+uint64(len(g.input)) {
		call = g.input[uint64(ptr)-base : end-base]
	}
	reply := g.Handle(abi.Kind(min(kind, math.MaxUint8)), call)
	return abi.Pack(address(reply), uint32(len(reply)))
}

// marked is the position of the record that the handler works on, from 1, for the host to look at; 0 is none.
var marked uint32

func mark(record int) { marked = uint32(record) }

//go:wasmexport shardmill_record
func exportRecord() uint32 { return uint32(uintptr(unsafe.Pointer(&marked))) }

// maxInput is how large an input area may be, in bytes: half of all that a guest can address.
const maxInput = 1 << 31

// address is where b lies in the guest's memory. Go does not move what is on its heap.
func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
