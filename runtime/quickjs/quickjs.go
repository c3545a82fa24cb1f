package quickjs

import (
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/shardmill/shardmill/sdk/abi"
	jssdk "github.com/shardmill/shardmill/sdk/js"
)

//go:generate wat2wasm glue.wat -o glue.wasm

//go:embed quickjs.wasm
var engineCode []byte

//go:embed glue.wasm
var glueCode []byte

var linked = sync.OnceValue(func() []byte {
	out, err := link(engineCode, glueCode, []string{
		abi.ExportInitialize, abi.ExportVersion, abi.ExportKinds, abi.ExportInput, abi.ExportHandle, abi.ExportRecord,
		ExportInterrupt, ExportWhere,
	})
	if err != nil {
		// Both modules are part of the program, and a test links them.
		panic(fmt.Sprintf("quickjs: %v", err))
	}
	return out
})

// ExportInterrupt is a function of the module, without parameters, that the host may call from within one of its own that the module has called: the
// script is stopped where it next calls something or jumps back. The instance then ends by a trap, and the address that was returned has the address
// and the length of the script's stack (u32 each, little-endian), for [Readable]; both are 0 where the script was not stopped so. An address of 0 means that there
// is no script yet.
const ExportInterrupt = "shardmill_interrupt"

// ExportWhere is likewise a function, without a result, for a script that has not come to such a place: the stack is told at once. Whatever the engine was at may
// be half done, so that nothing of the instance may be called or gone on with after that.
const ExportWhere = "shardmill_where"

// Module is the engine as a function of sdk/abi.md, the same for all scripts. It reads what it runs from stdin, once, in its
// _initialize: see [Script.Input]. The slice is shared and must not be changed.
func Module() []byte { return linked() }

// Digest names the module: "sha256:<hex>".
var Digest = sync.OnceValue(func() string {
	sum := sha256.Sum256(Module())
	return "sha256:" + hex.EncodeToString(sum[:])
})

// Script is what the engine runs.
type Script struct {
	Text string // one expression statement whose value is the module's exports
	Map  string // source map of Text
}

// Input is what the engine's module reads: the SDK's runtime, the script and the map, each as its length (u32, little-endian), the text, and
// a zero byte.
func (s *Script) Input() []byte {
	var b []byte
	for _, text := range []string{jssdk.Runtime, s.Text, s.Map} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
		b = append(append(b, text...), 0)
	}
	return b
}
