package aws

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// maxDepth is how deeply lists and maps of a request may nest.
const maxDepth = 64

// cborReader reads CBOR (RFC 8949) from its position i on. Its methods say false where b is malformed, and leave i there.
type cborReader struct {
	b    []byte
	i    int
	left int // values that tree may still read
}

// The major types.
const (
	cborUint  = 0
	cborNeg   = 1
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
	cborTag   = 6
	cborOther = 7
)

// indefinite is the argument of an item whose end is marked by a break.
const indefinite = math.MaxUint64

// head reads the beginning of an item: its major type, the five bits of its additional information, and its argument.
func (r *cborReader) head() (major, info byte, n uint64, ok bool) {
	if r.i >= len(r.b) {
		return 0, 0, 0, false
	}
	c := r.b[r.i]
	major, info = c>>5, c&31
	rest := r.b[r.i+1:]
	size := 0
	switch {
	case info < 24:
		n = uint64(info)
	case info < 28 && len(rest) >= 1<<(info-24):
		size = 1 << (info - 24)
		var wide [8]byte
		copy(wide[8-size:], rest[:size])
		n = binary.BigEndian.Uint64(wide[:])
	case info == 31 && major >= cborBytes && major <= cborMap:
		r.i++
		return major, info, indefinite, true
	default:
		return major, info, 0, false
	}
	if n == indefinite && major >= cborBytes && major <= cborMap { // nothing can be that long
		return major, info, 0, false
	}
	r.i += 1 + size
	return major, info, n, true
}

// atBreak moves past the mark at the end of an indefinite item, if it is next.
func (r *cborReader) atBreak() bool {
	if r.i < len(r.b) && r.b[r.i] == 0xff {
		r.i++
		return true
	}
	return false
}

// more says whether another element follows, after i of n elements have been read.
func (r *cborReader) more(i, n uint64) bool {
	if n == indefinite {
		return !r.atBreak()
	}
	return i < n
}

// take is the next n bytes.
func (r *cborReader) take(n uint64) ([]byte, bool) {
	if n > uint64(len(r.b)-r.i) {
		return nil, false
	}
	b := r.b[r.i : r.i+int(n) : r.i+int(n)]
	r.i += int(n)
	return b, true
}

// str is the rest of a text or byte string of which the head has been read: a view of b, unless it came in chunks.
func (r *cborReader) str(major byte, n uint64) ([]byte, bool) {
	if n != indefinite {
		b, ok := r.take(n)
		return b, ok && (major == cborBytes || utf8.Valid(b))
	}
	all := []byte{}
	for !r.atBreak() {
		m, _, n, ok := r.head()
		if !ok || m != major || n == indefinite {
			return nil, false
		}
		chunk, ok := r.str(major, n)
		if !ok {
			return nil, false
		}
		all = append(all, chunk...)
	}
	return all, true
}

// tree reads one item, see codec.decode. Text strings and byte strings are copies.
func (r *cborReader) tree(depth int) (any, bool) {
	if r.left--; depth > maxDepth || r.left < 0 {
		return nil, false
	}
	major, info, n, ok := r.head()
	if !ok {
		return nil, false
	}
	switch major {
	case cborUint:
		if n > math.MaxInt64 {
			return float64(n), true
		}
		return int64(n), true
	case cborNeg:
		if n > math.MaxInt64 {
			return -1 - float64(n), true
		}
		return -1 - int64(n), true
	case cborBytes:
		b, ok := r.str(major, n)
		return append([]byte{}, b...), ok
	case cborText:
		b, ok := r.str(major, n)
		return string(b), ok
	case cborArray:
		return r.list(n, depth)
	case cborMap:
		return r.dictionary(n, depth)
	case cborTag:
		return r.tagged(n, depth)
	}
	return simple(info, n)
}

func (r *cborReader) list(n uint64, depth int) (any, bool) {
	list := []any{}
	for i := uint64(0); r.more(i, n); i++ {
		v, ok := r.tree(depth + 1)
		if !ok {
			return nil, false
		}
		list = append(list, v)
	}
	return list, true
}

func (r *cborReader) dictionary(n uint64, depth int) (any, bool) {
	m := map[string]any{}
	for i := uint64(0); r.more(i, n); i++ {
		major, _, size, ok := r.head()
		if !ok || major != cborText {
			return nil, false
		}
		name, ok := r.str(major, size)
		if !ok {
			return nil, false
		}
		v, ok := r.tree(depth + 1)
		if !ok {
			return nil, false
		}
		m[string(name)] = v
	}
	return m, true
}

// tagged reads what a tag stands before. Tag 1 with a whole number is a time in milliseconds, as the Java SDKs write it; with a
// fraction it is one in seconds. Other tags change nothing.
func (r *cborReader) tagged(tag uint64, depth int) (any, bool) {
	v, ok := r.tree(depth + 1)
	if tag != 1 || !ok {
		return v, ok
	}
	switch n := v.(type) {
	case int64:
		return instant(n), true
	case float64:
		return millisOf(n)
	}
	return v, true
}

// millisOf is a time in seconds with a fraction.
func millisOf(seconds float64) (instant, bool) {
	return instant(math.Round(seconds * 1000)), math.Abs(seconds) < 1<<42
}

// simple is a value of major type 7: false, true, null, undefined, or a float.
func simple(info byte, n uint64) (any, bool) {
	switch info {
	case 20, 21:
		return info == 21, true
	case 22, 23:
		return nil, true
	case 25:
		return half(uint16(n)), true
	case 26:
		return float64(math.Float32frombits(uint32(n))), true
	case 27:
		return math.Float64frombits(n), true
	}
	return nil, false
}

// half is a float of 16 bits.
func half(h uint16) float64 {
	exponent, fraction := int(h>>10&31), float64(h&1023)
	var f float64
	switch exponent {
	case 0:
		f = math.Ldexp(fraction, -24)
	case 31:
		f = math.Inf(1)
		if fraction != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(fraction+1024, exponent-25)
	}
	if h&0x8000 != 0 {
		f = -f
	}
	return f
}
