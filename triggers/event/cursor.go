package event

import (
	"encoding/json"
	"iter"
)

// cursor walks over a JSON document that json.Valid has found good, so that it need not check anything itself. Values come as they are written.
type cursor struct {
	b  []byte
	at int
}

// space passes over white space.
func (c *cursor) space() {
	for c.at < len(c.b) {
		switch c.b[c.at] {
		case ' ', '\t', '\n', '\r':
			c.at++
		default:
			return
		}
	}
}

// peek is the first byte of the next value, 0 at the end.
func (c *cursor) peek() byte {
	c.space()
	if c.at == len(c.b) {
		return 0
	}
	return c.b[c.at]
}

// value passes over the next value and returns it. It is empty at the end.
func (c *cursor) value() []byte {
	c.space()
	from, depth := c.at, 0
	for c.at < len(c.b) {
		switch c.b[c.at] {
		case '"':
			c.text()
		case '{', '[':
			depth++
			c.at++
		case '}', ']':
			depth--
			c.at++
		default:
			c.at++
			if depth == 0 && !c.inWord() {
				return c.b[from:c.at]
			}
			continue
		}
		if depth == 0 {
			break
		}
	}
	return c.b[from:c.at]
}

// inWord says whether the number or the word goes on.
func (c *cursor) inWord() bool {
	if c.at == len(c.b) {
		return false
	}
	switch c.b[c.at] {
	case ' ', '\t', '\n', '\r', ',', '}', ']', ':':
		return false
	}
	return true
}

// text passes over a string.
func (c *cursor) text() {
	for c.at++; c.b[c.at] != '"'; c.at++ {
		if c.b[c.at] == '\\' {
			c.at++
		}
	}
	c.at++
}

// members yields the names of the object that is next. The caller passes over the value of each.
func (c *cursor) members() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for range c.items() {
			name := unquote(c.value())
			c.space()
			c.at++ // the colon
			if !yield(name) {
				return
			}
		}
	}
}

// items yields the number of each item of the list, or member of the object, that is next. The caller passes over each.
func (c *cursor) items() iter.Seq[int] {
	return func(yield func(int) bool) {
		c.space()
		c.at++
		for i := 0; ; i++ {
			switch c.peek() {
			case ']', '}':
				c.at++
				return
			case ',':
				c.at++
			}
			if !yield(i) {
				return
			}
		}
	}
}

// unquote is the text of a string as it is written.
func unquote(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	for _, c := range inner {
		if c == '\\' {
			var s string
			_ = json.Unmarshal(quoted, &s) // it is valid
			return []byte(s)
		}
	}
	return inner
}
