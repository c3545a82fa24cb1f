package api

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deeply arrays and objects of a line may nest.
const maxDepth = 1000

// valueKind is what a pointer was found to point at.
type valueKind byte

const (
	absent valueKind = iota
	stringValue
	numberValue
	boolValue
	nullValue
	objectValue
	arrayValue
)

// found is the place of the value a pointer points at: b[start:end] is its text,
// quotes included; escaped tells whether a string holds escapes.
type found struct {
	kind       valueKind
	escaped    bool
	start, end int
}

// scanner checks one JSON text (RFC 8259, UTF-8 required) and finds the value
// at a pointer in the same pass. It builds nothing: no maps, no strings. Where
// a member name occurs more than once the last one counts, as in most parsers.
// The zero value is ready; a scanner is used by one goroutine at a time.
type scanner struct {
	b     []byte
	i     int
	depth int
	path  []pointerToken
	found found
	name  []byte // scratch for names that hold escapes
}

// scan checks b and finds the value at path. When b is not valid JSON, ok is
// false and s.i is the offset of the first byte that cannot be.
func (s *scanner) scan(b []byte, path []pointerToken) (f found, ok bool) {
	s.b, s.i, s.depth, s.path, s.found = b, 0, 0, path, found{}
	s.space()
	ok = s.value(0)
	if ok {
		s.space()
		ok = s.i == len(b)
	}
	s.b, s.path = nil, nil
	return s.found, ok
}

// validJSON tells whether b is one JSON text in UTF-8.
func validJSON(b []byte) bool {
	var s scanner
	_, ok := s.scan(b, nil)
	return ok
}

// space moves past white space.
func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// value moves past one value. level is how many tokens of the path led here, -1
// when the value is beside the path.
func (s *scanner) value(level int) bool {
	if s.i >= len(s.b) {
		return false
	}
	f := found{start: s.i}
	var ok bool
	switch c := s.b[s.i]; c {
	case '"':
		f.kind = stringValue
		f.escaped, ok = s.text()
	case '{':
		f.kind = objectValue
		ok = s.object(level)
	case '[':
		f.kind = arrayValue
		ok = s.array(level)
	case 't':
		f.kind, ok = boolValue, s.literal("true")
	case 'f':
		f.kind, ok = boolValue, s.literal("false")
	case 'n':
		f.kind, ok = nullValue, s.literal("null")
	default:
		f.kind, ok = numberValue, s.number()
	}
	if level == len(s.path) {
		f.end = s.i
		s.found = f
	}
	return ok
}

// enter counts one more level of nesting and moves past its opening byte.
func (s *scanner) enter() bool {
	s.depth++
	if s.depth > maxDepth {
		return false
	}
	s.i++
	s.space()
	return true
}

// next moves past the comma between two elements, or past the closing byte.
func (s *scanner) next(closing byte) (more, ok bool) {
	s.space()
	if s.i >= len(s.b) {
		return false, false
	}
	switch s.b[s.i] {
	case ',':
		s.i++
		s.space()
		return true, true
	case closing:
		s.i++
		s.depth--
		return false, true
	}
	return false, false
}

// object moves past an object.
func (s *scanner) object(level int) bool {
	if !s.enter() {
		return false
	}
	if s.i < len(s.b) && s.b[s.i] == '}' {
		s.i++
		s.depth--
		return true
	}
	for more := true; more; {
		if s.i >= len(s.b) || s.b[s.i] != '"' {
			return false
		}
		start := s.i + 1
		escaped, ok := s.text()
		if !ok {
			return false
		}
		name := s.b[start : s.i-1]
		s.space()
		if s.i >= len(s.b) || s.b[s.i] != ':' {
			return false
		}
		s.i++
		s.space()
		if !s.value(s.step(level, name, escaped)) {
			return false
		}
		if more, ok = s.next('}'); !ok {
			return false
		}
	}
	return true
}

// step is the level of the member called name in an object at level.
func (s *scanner) step(level int, name []byte, escaped bool) int {
	if level < 0 || level >= len(s.path) {
		return -1
	}
	if escaped {
		s.name = appendUnescaped(s.name[:0], name)
		name = s.name
	}
	if string(name) != s.path[level].name {
		return -1
	}
	s.found = found{}
	return level + 1
}

// array moves past an array.
func (s *scanner) array(level int) bool {
	if !s.enter() {
		return false
	}
	if s.i < len(s.b) && s.b[s.i] == ']' {
		s.i++
		s.depth--
		return true
	}
	want := -1
	if level >= 0 && level < len(s.path) {
		want = s.path[level].index
	}
	for n, more := 0, true; more; n++ {
		child := -1
		if n == want {
			child = level + 1
		}
		if !s.value(child) {
			return false
		}
		var ok bool
		if more, ok = s.next(']'); !ok {
			return false
		}
	}
	return true
}

// literal moves past true, false or null.
func (s *scanner) literal(word string) bool {
	if !bytes.HasPrefix(s.b[s.i:], []byte(word)) {
		return false
	}
	s.i += len(word)
	return true
}

// number moves past a number: -? int frac? exp?
func (s *scanner) number() bool {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		return s.digits()
	}
	return true
}

// digits moves past one or more digits.
func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > start
}

// text moves past a string. Eight bytes at a time are looked at for one that
// is a quote, a backslash, a control character or not ASCII.
func (s *scanner) text() (escaped, ok bool) {
	s.i++
	for b := s.b; ; {
		i := s.i
		if len(b)-i >= 8 {
			const ones, tops = 0x0101010101010101, 0x8080808080808080
			v := binary.LittleEndian.Uint64(b[i:])
			special := ((v - ' '*ones) | ((v ^ '"'*ones) - ones) | ((v ^ '\\'*ones) - ones) | v) & tops
			if special == 0 {
				s.i += 8
				continue
			}
			i += bits.TrailingZeros64(special) / 8
		}
		s.i = i
		if i >= len(b) {
			return escaped, false
		}
		switch c := b[i]; {
		case c == '"':
			s.i++
			return escaped, true
		case c == '\\':
			n := escape(b[i:])
			if n == 0 {
				return escaped, false
			}
			escaped = true
			s.i += n
		case c < ' ':
			return escaped, false
		case c < utf8.RuneSelf:
			s.i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return escaped, false
			}
			s.i += n
		}
	}
}

// escape is the length of the escape b begins with, 0 when it is none.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendUnescaped appends what a valid JSON string's inner text stands for. An
// escaped half of a surrogate pair that stands alone becomes U+FFFD.
func appendUnescaped(dst, text []byte) []byte {
	for len(text) > 0 {
		n := bytes.IndexByte(text, '\\')
		if n < 0 {
			return append(dst, text...)
		}
		dst, text = append(dst, text[:n]...), text[n:]
		if text[1] != 'u' {
			dst = append(dst, unescapedByte(text[1]))
			text = text[2:]
			continue
		}
		r, _ := hex4(text[2:])
		text = text[6:]
		if utf16.IsSurrogate(r) {
			pair := rune(utf8.RuneError)
			if len(text) >= 6 && text[0] == '\\' && text[1] == 'u' {
				low, _ := hex4(text[2:])
				pair = utf16.DecodeRune(r, low)
			}
			if r = pair; r != utf8.RuneError {
				text = text[6:]
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// unescapedByte is the byte that a backslash and c stand for.
func unescapedByte(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}
