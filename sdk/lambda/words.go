package lambda

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Bytes are looked at in words of eight: in WebAssembly, bytes and strings look at them one by one.

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// starts tells whether b begins with prefix.
func starts(b, prefix []byte) bool {
	if len(b) < len(prefix) {
		return false
	}
	le := binary.LittleEndian
	for ; len(prefix) >= 32; b, prefix = b[32:], prefix[32:] {
		x, y := (*[32]byte)(b), (*[32]byte)(prefix)
		differ := (le.Uint64(x[0:]) ^ le.Uint64(y[0:])) | (le.Uint64(x[8:]) ^ le.Uint64(y[8:]))
		differ |= (le.Uint64(x[16:]) ^ le.Uint64(y[16:])) | (le.Uint64(x[24:]) ^ le.Uint64(y[24:]))
		if differ != 0 {
			return false
		}
	}
	for ; len(prefix) >= 8; b, prefix = b[8:], prefix[8:] {
		if le.Uint64(b) != le.Uint64(prefix) {
			return false
		}
	}
	for i, c := range prefix {
		if b[i] != c {
			return false
		}
	}
	return true
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
