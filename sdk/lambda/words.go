package lambda

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// Bytes are looked at in words of eight: in WebAssembly, bytes and strings look at them one by one.

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// starts tells whether b begins with prefix.
func starts(b, prefix []byte) bool {
	return len(b) >= len(prefix) && same(unsafe.Pointer(unsafe.SliceData(b)), unsafe.Pointer(unsafe.SliceData(prefix)), uintptr(len(prefix)))
}

// same tells whether n bytes are the same at p and at q. The last word of eight may begin within the one before it.
func same(p, q unsafe.Pointer, n uintptr) bool {
	if n < 8 {
		return string(unsafe.Slice((*byte)(p), n)) == string(unsafe.Slice((*byte)(q), n))
	}
	differ := differs(p, q, n-8)
	for ; n > 64; n -= 64 {
		differ |= differs(p, q, 0) | differs(p, q, 8) | differs(p, q, 16) | differs(p, q, 24)
		differ |= differs(p, q, 32) | differs(p, q, 40) | differs(p, q, 48) | differs(p, q, 56)
		p, q = unsafe.Add(p, 64), unsafe.Add(q, 64)
	}
	if n > 32 {
		differ |= differs(p, q, 0) | differs(p, q, 8) | differs(p, q, 16) | differs(p, q, 24)
		p, q, n = unsafe.Add(p, 32), unsafe.Add(q, 32), n-32
	}
	if n > 16 {
		differ |= differs(p, q, 0) | differs(p, q, 8)
		p, q, n = unsafe.Add(p, 16), unsafe.Add(q, 16), n-16
	}
	if n > 8 {
		differ |= differs(p, q, 0)
	}
	return differ == 0
}

// differs has the bits in which the words differ that are so many bytes behind p and q.
func differs(p, q unsafe.Pointer, at uintptr) uint64 {
	return *(*uint64)(unsafe.Add(p, at)) ^ *(*uint64)(unsafe.Add(q, at))
}

// quoteAt is where the first byte below '+' is in b, if that is a quotation mark; else -1. Base64 has no such byte.
func quoteAt(b []byte) int {
	const lowest = ones * '+'
	le, n := binary.LittleEndian, 0
	for ; len(b)-n >= 64; n += 64 {
		x := (*[64]byte)(b[n:])
		low := (le.Uint64(x[0:]) - lowest) | (le.Uint64(x[8:]) - lowest) | (le.Uint64(x[16:]) - lowest) | (le.Uint64(x[24:]) - lowest)
		low |= (le.Uint64(x[32:]) - lowest) | (le.Uint64(x[40:]) - lowest) | (le.Uint64(x[48:]) - lowest) | (le.Uint64(x[56:]) - lowest)
		if low&highs != 0 {
			break
		}
	}
	for ; len(b)-n >= 8 && (le.Uint64(b[n:])-lowest)&highs == 0; n += 8 {
	}
	for n < len(b) && b[n] >= '+' {
		n++
	}
	if n == len(b) || b[n] != '"' {
		return -1
	}
	return n
}

// plainLen is how many bytes at the front of b are printable ASCII, and neither a quotation mark nor a backslash.
func plainLen(b []byte) int {
	n := 0
	for ; len(b)-n >= 32; n += 32 {
		le, x := binary.LittleEndian, (*[32]byte)(b[n:])
		if special(le.Uint64(x[0:]))|special(le.Uint64(x[8:]))|special(le.Uint64(x[16:]))|special(le.Uint64(x[24:])) != 0 {
			break
		}
	}
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		if m := special(x); m != 0 {
			return n + bits.TrailingZeros64(m)/8
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] < utf8.RuneSelf && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// special has the highest bit of the first byte in x, counted from the lowest, that is not plain. Bytes behind it may have theirs too.
func special(x uint64) uint64 {
	quote, escape := x^ones*'"', x^ones*'\\'
	return (x | (x - ones*' ') | (quote - ones) | (escape - ones)) & highs
}
