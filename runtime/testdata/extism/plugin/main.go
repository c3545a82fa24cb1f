// Plugin is what runtime/testdata/touch is, for extism: it looks at every record of a batch. It reads its input as extism's own kits for
// plugins do, eight bytes at a time.
package main

import (
	"encoding/binary"

	"github.com/shardmill/shardmill/sdk/record"
)

//go:wasmimport extism:host/env input_length
func inputLength() uint64

//go:wasmimport extism:host/env input_load_u64
func inputWord(at uint64) uint64

//go:wasmimport extism:host/env input_load_u8
func inputByte(at uint64) uint32

var sum uint64

//go:wasmexport touch
func touch() int32 {
	input := make([]byte, inputLength())
	at := 0
	for ; at+8 <= len(input); at += 8 {
		binary.LittleEndian.PutUint64(input[at:], inputWord(uint64(at)))
	}
	for ; at < len(input); at++ {
		input[at] = byte(inputByte(uint64(at)))
	}
	batch, err := record.Parse(input)
	if err != nil {
		return 1
	}
	for r := range batch.Run().All() {
		sum += uint64(len(r.Key)) + uint64(len(r.Data))
		if len(r.Data) > 0 {
			sum += uint64(r.Data[0]) + uint64(r.Data[len(r.Data)-1])
		}
	}
	return 0
}

func main() {}
