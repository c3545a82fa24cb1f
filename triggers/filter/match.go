package filter

import (
	"bytes"
	"net/netip"
	"strconv"
)

// match is whether an object of a tape matches.
func (o *object) match(t *tape, at int) bool {
	for i := range o.fields {
		if !o.fields[i].match(t, at) {
			return false
		}
	}
	for _, alternatives := range o.ors {
		if !matchAny(alternatives, t, at) {
			return false
		}
	}
	return true
}

func matchAny(alternatives []*object, t *tape, at int) bool {
	for _, a := range alternatives {
		if a.match(t, at) {
			return true
		}
	}
	return false
}

// match is whether a member of an object does what the field asks.
func (f *field) match(t *tape, object int) bool {
	at := t.member(object, f.name)
	if f.below != nil {
		return at >= 0 && f.below.matchWithin(t, at) || at < 0 && f.below.matchNothing()
	}
	for i := range f.entries {
		e := &f.entries[i]
		if e.op == opAbsent {
			if at < 0 || !t.hasValue(at) {
				return true
			}
		} else if at >= 0 && e.matchWithin(t, at) {
			return true
		}
	}
	return false
}

// matchWithin is whether an object matches, or one in an array.
func (o *object) matchWithin(t *tape, at int) bool {
	switch n := &t.nodes[at]; n.kind {
	case kindObject:
		return o.match(t, at)
	case kindArray:
		for i := at + 1; i < n.end; i = t.nodes[i].end {
			if o.matchWithin(t, i) {
				return true
			}
		}
		return false
	}
	return o.matchNothing()
}

// matchNothing is whether the pattern matches where there is no object: when all it asks is that fields are absent.
func (o *object) matchNothing() bool {
	for i := range o.fields {
		if !o.fields[i].matchNothing() {
			return false
		}
	}
	for _, alternatives := range o.ors {
		one := false
		for _, a := range alternatives {
			one = one || a.matchNothing()
		}
		if !one {
			return false
		}
	}
	return true
}

func (f *field) matchNothing() bool {
	if f.below != nil {
		return f.below.matchNothing()
	}
	for i := range f.entries {
		if f.entries[i].op == opAbsent {
			return true
		}
	}
	return false
}

// hasValue is whether there is something other than objects and empty arrays.
func (t *tape) hasValue(at int) bool {
	switch n := &t.nodes[at]; n.kind {
	case kindObject:
		return false
	case kindArray:
		for i := at + 1; i < n.end; i = t.nodes[i].end {
			if t.hasValue(i) {
				return true
			}
		}
		return false
	}
	return true
}

// matchWithin is whether a value matches, or one in an array.
func (e *entry) matchWithin(t *tape, at int) bool {
	n := &t.nodes[at]
	switch n.kind {
	case kindObject:
		return false
	case kindArray:
		for i := at + 1; i < n.end; i = t.nodes[i].end {
			if e.matchWithin(t, i) {
				return true
			}
		}
		return false
	}
	return e.match(n)
}

// match is whether a scalar matches.
func (e *entry) match(n *node) bool {
	switch e.op {
	case opNumber:
		return n.kind == kindNumber && bytes.Equal(n.value, e.text)
	case opLiteral:
		return n.kind == e.literal
	case opExists:
		return true
	case opNumeric:
		return e.matchNumber(n)
	case opNone:
		return e.matchNone(n)
	}
	text, ok := n.characters()
	return ok && e.matchText(text)
}

func (e *entry) matchNumber(n *node) bool {
	if n.kind != kindNumber {
		return false
	}
	v, err := strconv.ParseFloat(string(n.value), 64) // does not escape: the conversion costs no allocation
	if err != nil {
		return false
	}
	for _, b := range e.bounds {
		if !b.holds(v) {
			return false
		}
	}
	return true
}

// matchNone is anything-but: no text or number of its list. An operator within it is about text, and text alone matches it.
func (e *entry) matchNone(n *node) bool {
	for i := range e.below {
		b := &e.below[i]
		if b.match(n) {
			return false
		}
		if plain := (b.op == opText && !b.fold) || b.op == opNumber; !plain && n.kind != kindText && n.kind != kindQuoted {
			return false
		}
	}
	return true
}

func (e *entry) matchText(text []byte) bool {
	switch e.op {
	case opPrefix:
		if e.fold {
			return hasPrefixFold(text, e.text)
		}
		return bytes.HasPrefix(text, e.text)
	case opSuffix:
		if e.fold {
			return hasSuffixFold(text, e.text)
		}
		return bytes.HasSuffix(text, e.text)
	case opWildcard:
		return matchWildcard(text, e.parts)
	case opCIDR:
		addr, err := netip.ParseAddr(string(text))
		return err == nil && e.prefix.Contains(addr.Unmap())
	}
	if e.fold {
		return bytes.EqualFold(text, e.text)
	}
	return bytes.Equal(text, e.text)
}

// hasPrefixFold tries every beginning of text: letters that are the same but for their case may differ in length.
func hasPrefixFold(text, prefix []byte) bool {
	for n := range len(text) + 1 {
		if bytes.EqualFold(text[:n], prefix) {
			return true
		}
		if n > 3*len(prefix) {
			return false
		}
	}
	return false
}

func hasSuffixFold(text, suffix []byte) bool {
	for n := range len(text) + 1 {
		if bytes.EqualFold(text[len(text)-n:], suffix) {
			return true
		}
		if n > 3*len(suffix) {
			return false
		}
	}
	return false
}

// matchWildcard is whether text is the parts in order, with anything between them.
func matchWildcard(text []byte, parts [][]byte) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return bytes.Equal(text, first)
	}
	if len(text) < len(first)+len(last) || !bytes.HasPrefix(text, first) || !bytes.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := bytes.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}
