package sdk

import "unsafe"

// load64 reads 8 bytes of b, little-endian as WebAssembly memory is. The compiler does not combine byte loads
// into one for this architecture, which made them most of the cost of iterating.
func load64(b []byte, at int) uint64 { return *(*uint64)(unsafe.Pointer(&b[at : at+8][0])) }
