package wasm

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of a Reader. They are the end of a sentence.
var (
	ErrShort  = errors.New("it ends early")
	ErrNumber = errors.New("a number in it is too long")
)

// MaxEntries bounds every vector of a module; tools and browsers keep to the same number.
const MaxEntries = 1_000_000

// Reader reads the primitive forms of WebAssembly's binary format from bytes of unknown origin. After the first
// error every method returns zero and moves nothing.
type Reader struct {
	B   []byte
	At  int // the next byte
	Err error
}

// Left is how many bytes there are still.
func (r *Reader) Left() int { return len(r.B) - r.At }

// Fail sets the error unless there is one.
func (r *Reader) Fail(err error) {
	if r.Err == nil {
		r.Err = err
	}
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if r.Err != nil || r.Left() < 1 {
		r.Fail(ErrShort)
		return 0
	}
	r.At++
	return r.B[r.At-1]
}

// Skip moves over n bytes.
func (r *Reader) Skip(n int) {
	if r.Err != nil || n < 0 || n > r.Left() {
		r.Fail(ErrShort)
		return
	}
	r.At += n
}

// LEB reads an unsigned LEB128 number of at most that many bytes; of a signed one only the length is right.
func (r *Reader) LEB(most int) (n uint64) {
	for i := range most {
		b := r.Byte()
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return n
		}
	}
	r.Fail(ErrNumber)
	return 0
}

// U32 reads an index, a size or another unsigned number of 32 bits.
func (r *Reader) U32() uint32 {
	n := r.LEB(5)
	if n > 1<<32-1 {
		r.Fail(ErrNumber)
		return 0
	}
	return uint32(n)
}

// Count reads the length of a vector. Each entry has at least one byte, so a length that cannot be true is found
// here, before anyone makes room for it.
func (r *Reader) Count() uint32 {
	n := r.U32()
	switch {
	case int64(n) > int64(r.Left()):
		r.Fail(ErrShort)
	case n > MaxEntries:
		r.Fail(fmt.Errorf("it has %d entries, more than %d", n, MaxEntries))
	}
	if r.Err != nil {
		return 0
	}
	return n
}

// Each reads a vector.
func (r *Reader) Each(entry func(*Reader)) {
	for n := r.Count(); n > 0 && r.Err == nil; n-- {
		entry(r)
	}
}

// Bytes reads a vector of bytes, which may be as long as the module.
func (r *Reader) Bytes() []byte {
	n, from := int(r.U32()), r.At
	r.Skip(n)
	if r.Err != nil {
		return nil
	}
	return r.B[from : from+n]
}

// Name reads a name, of whatever bytes.
func (r *Reader) Name() string { return string(r.Bytes()) }

// SkipU32 is U32 for what is not needed.
func (r *Reader) SkipU32() { r.U32() }

// Limits reads the limits of a table or memory.
func (r *Reader) Limits() (low, high uint64, bounded bool) {
	flags := r.Byte()
	low = r.LEB(10)
	if bounded = flags&1 != 0; bounded {
		high = r.LEB(10)
	}
	return low, high, bounded
}

// ValueTypeNames are the types that values can have, by the byte that stands for them.
var ValueTypeNames = map[byte]string{
	0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64", 0x7b: "v128", 0x70: "funcref", 0x6f: "externref",
}

// ValueTypes reads a vector of value types. Its text is cut after a few: nothing the host has takes more.
func (r *Reader) ValueTypes() string {
	const most = 10
	var names []string
	r.Each(func(r *Reader) {
		name := ValueTypeNames[r.Byte()]
		switch {
		case name == "":
			r.Fail(errors.New("it has a value type that is not supported"))
		case len(names) < most:
			names = append(names, name)
		case len(names) == most:
			names = append(names, "…")
		}
	})
	return strings.Join(names, ", ")
}

// AppendLEB appends an unsigned LEB128 number.
func AppendLEB(b []byte, n uint64) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// AppendBytes appends a vector of bytes, a name for instance.
func AppendBytes[T string | []byte](b []byte, bytes T) []byte {
	return append(AppendLEB(b, uint64(len(bytes))), bytes...)
}

// AppendSLEB appends a signed LEB128 number.
func AppendSLEB(b []byte, n int64) []byte {
	for {
		low := byte(n & 0x7f)
		n >>= 7
		if n == 0 && low&0x40 == 0 || n == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}
