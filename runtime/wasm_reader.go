package runtime

import (
	"errors"
	"fmt"
	"strings"
)

var (
	errShort  = errors.New("it ends early")
	errNumber = errors.New("a number in it is too long")
)

// maxEntries bounds every vector of a module; tools and browsers keep to the same number.
const maxEntries = 1_000_000

// reader reads the primitive forms of WebAssembly's binary format from bytes of unknown origin. After the first
// error every method returns zero and moves nothing.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) left() int { return len(r.b) - r.at }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) byte() byte {
	if r.err != nil || r.left() < 1 {
		r.fail(errShort)
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *reader) skip(n int) {
	if r.err != nil || n < 0 || n > r.left() {
		r.fail(errShort)
		return
	}
	r.at += n
}

// leb reads an unsigned LEB128 number of at most that many bytes; of a signed one only the length is right.
func (r *reader) leb(most int) (n uint64) {
	for i := range most {
		b := r.byte()
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return n
		}
	}
	r.fail(errNumber)
	return 0
}

func (r *reader) u32() uint32 {
	n := r.leb(5)
	if n > 1<<32-1 {
		r.fail(errNumber)
		return 0
	}
	return uint32(n)
}

// count reads the length of a vector. Each entry has at least one byte, so a length that cannot be true is found
// here, before anyone makes room for it.
func (r *reader) count() uint32 {
	n := r.u32()
	switch {
	case int64(n) > int64(r.left()):
		r.fail(errShort)
	case n > maxEntries:
		r.fail(fmt.Errorf("it has %d entries, more than %d", n, maxEntries))
	}
	if r.err != nil {
		return 0
	}
	return n
}

// each reads a vector.
func (r *reader) each(entry func(*reader)) {
	for n := r.count(); n > 0 && r.err == nil; n-- {
		entry(r)
	}
}

// bytes reads a vector of bytes, which may be as long as the module.
func (r *reader) bytes() []byte {
	n, from := int(r.u32()), r.at
	r.skip(n)
	if r.err != nil {
		return nil
	}
	return r.b[from : from+n]
}

func (r *reader) name() string { return string(r.bytes()) }

func (r *reader) skipU32() { r.u32() }

// limits reads the limits of a table or memory.
func (r *reader) limits() (low, high uint64, bounded bool) {
	flags := r.byte()
	low = r.leb(10)
	if bounded = flags&1 != 0; bounded {
		high = r.leb(10)
	}
	return low, high, bounded
}

var valueTypeNames = map[byte]string{
	0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64", 0x7b: "v128", 0x70: "funcref", 0x6f: "externref",
}

// valueTypes reads a vector of value types. Its text is cut after a few: nothing the host has takes more.
func (r *reader) valueTypes() string {
	const most = 10
	var names []string
	r.each(func(r *reader) {
		name := valueTypeNames[r.byte()]
		switch {
		case name == "":
			r.fail(errors.New("it has a value type that is not supported"))
		case len(names) < most:
			names = append(names, name)
		case len(names) == most:
			names = append(names, "…")
		}
	})
	return strings.Join(names, ", ")
}

// appendLEB appends an unsigned LEB128 number.
func appendLEB(b []byte, n uint64) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}
