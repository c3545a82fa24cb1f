package api

import (
	"strings"
	"unicode/utf8"
)

// Limits of a key pointer.
const (
	maxPointerBytes  = 1024
	maxPointerTokens = 32
)

// pointer is a parsed JSON pointer (RFC 6901): the member names and array
// indexes on the way to a value.
type pointer struct {
	text   string
	tokens []pointerToken
}

// pointerToken is one step of a pointer. It is a member name where the value is
// an object, and an index where the value is an array and index is not -1.
type pointerToken struct {
	name  string
	index int
}

// parsePointer reads a JSON pointer. "" points at the whole value.
func parsePointer(text string) (pointer, *Problem) {
	p := pointer{text: text}
	if text == "" {
		return p, nil
	}
	const field = "key"
	switch {
	case len(text) > maxPointerBytes:
		return p, invalidField(field, text, "a JSON pointer of at most 1024 bytes")
	case text[0] != '/':
		return p, invalidField(field, text, "a JSON pointer that begins with a slash, such as /origin")
	case !utf8.ValidString(text):
		return p, invalidField(field, text, "a JSON pointer in UTF-8")
	}
	parts := strings.Split(text[1:], "/")
	if len(parts) > maxPointerTokens {
		return p, invalidField(field, text, "a JSON pointer of at most 32 steps")
	}
	for _, part := range parts {
		name, ok := unescapeToken(part)
		if !ok {
			return p, invalidField(field, text, "a JSON pointer in which ~ is followed by 0 or 1")
		}
		p.tokens = append(p.tokens, pointerToken{name: name, index: arrayIndex(part)})
	}
	return p, nil
}

// unescapeToken replaces ~1 by / and ~0 by ~.
func unescapeToken(part string) (string, bool) {
	if strings.IndexByte(part, '~') < 0 {
		return part, true
	}
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if part[i] != '~' {
			b.WriteByte(part[i])
			continue
		}
		if i++; i == len(part) || part[i] != '0' && part[i] != '1' {
			return "", false
		}
		b.WriteByte("~/"[part[i]-'0'])
	}
	return b.String(), true
}

// arrayIndex is the token as an index, -1 where it is none: digits without a
// leading zero, at most 9 of them.
func arrayIndex(part string) int {
	if part == "" || len(part) > 9 || part[0] == '0' && len(part) > 1 {
		return -1
	}
	n := 0
	for _, c := range []byte(part) {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}
