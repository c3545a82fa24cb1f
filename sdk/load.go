//go:build !wasm

package sdk

import "encoding/binary"

// load64 reads 8 bytes of b, little-endian.
func load64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at : at+8]) }
