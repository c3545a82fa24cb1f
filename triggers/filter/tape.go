package filter

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// kind is what a JSON value is.
type kind byte

const (
	kindNull kind = iota
	kindTrue
	kindFalse
	kindNumber
	kindText // node.value has its characters, without quotes
	kindQuoted
	kindArray
	kindObject
)

// node is one JSON value on a tape. The members of an object and the elements of an array follow it, each with all that is below it.
type node struct {
	kind  kind
	name  []byte // of a member, without quotes; with its escapes when nameQuoted
	value []byte // of a scalar; of kindQuoted with quotes and escapes
	end   int    // index behind all that is below it

	nameQuoted bool // name has its quotes and escapes
}

// tape is a JSON value laid out as a list of nodes, in the order of its text. It is made once and used again.
type tape struct {
	nodes   []node
	scratch []byte
	reader  bytes.Buffer
	decoder *jsontext.Decoder
}

// maxKeptNodes bounds what a tape keeps between uses.
const maxKeptNodes = 1 << 14

func newTape() *tape {
	t := new(tape)
	t.decoder = jsontext.NewDecoder(&t.reader, lenient)
	return t
}

// lenient takes two members of one name: the last counts.
var lenient = jsontext.AllowDuplicateNames(true)

// release empties the tape and gives it back.
func (t *tape) release() {
	if cap(t.nodes) > maxKeptNodes {
		t.nodes = nil
	}
	clear(t.nodes)
	t.nodes = t.nodes[:0]
	t.reader = bytes.Buffer{}
	tapes.Put(t)
}

// open begins an object or array and gives its index.
func (t *tape) open(k kind) int {
	t.nodes = append(t.nodes, node{kind: k})
	return len(t.nodes) - 1
}

// close ends what open began.
func (t *tape) close(i int) { t.nodes[i].end = len(t.nodes) }

func (t *tape) mark() int       { return len(t.nodes) }
func (t *tape) rewind(mark int) { t.nodes = t.nodes[:mark] }

// text appends a member that is text.
func (t *tape) text(name string, value []byte) { t.scalar(name, kindText, value) }

// number appends a member that is a number.
func (t *tape) number(name string, value []byte) { t.scalar(name, kindNumber, value) }

func (t *tape) scalar(name string, k kind, value []byte) {
	t.nodes = append(t.nodes, node{kind: k, name: nameBytes[name], value: value, end: len(t.nodes) + 1})
}

// nameBytes are the names of a record's own fields.
var nameBytes = map[string][]byte{
	fieldData: []byte(fieldData), fieldPartitionKey: []byte(fieldPartitionKey), fieldSequence: []byte(fieldSequence),
	fieldArrival: []byte(fieldArrival), fieldSchema: []byte(fieldSchema),
}

// parse appends a member whose value is JSON text; false when it is none.
func (t *tape) parse(name string, data []byte) bool {
	t.reader = *bytes.NewBuffer(data)
	t.decoder.Reset(&t.reader, lenient)
	first := len(t.nodes)
	if !t.value() {
		return false
	}
	t.nodes[first].name = nameBytes[name]
	return t.decoder.PeekKind() == 0 && len(bytes.TrimLeft(data[t.decoder.InputOffset():], " \t\r\n")) == 0
}

// value appends the decoder's next value with all that is below it.
func (t *tape) value() bool {
	var open []int
	var stack [16]int // most JSON is not deeper, and then nothing is allocated
	open = stack[:0]
	for {
		var n node
		if len(open) > 0 && t.nodes[open[len(open)-1]].kind == kindObject && t.decoder.PeekKind() == '"' {
			name, err := t.decoder.ReadValue()
			if err != nil {
				return false
			}
			n.name, n.nameQuoted = unquoted(name)
		}
		switch k := t.decoder.PeekKind(); k {
		case '{', '[':
			if _, err := t.decoder.ReadToken(); err != nil {
				return false
			}
			n.kind = kindObject
			if k == '[' {
				n.kind = kindArray
			}
			open = append(open, len(t.nodes))
			t.nodes = append(t.nodes, n)
			continue
		case '}', ']':
			if _, err := t.decoder.ReadToken(); err != nil {
				return false
			}
			t.close(open[len(open)-1])
			open = open[:len(open)-1]
		default:
			raw, err := t.decoder.ReadValue()
			if err != nil {
				return false
			}
			n.kind, n.value = scalarOf(raw)
			n.end = len(t.nodes) + 1
			t.nodes = append(t.nodes, n)
		}
		if len(open) == 0 {
			return true
		}
	}
}

// unquoted takes the quotes off a JSON text that has no escapes.
func unquoted(raw []byte) (text []byte, quoted bool) {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return raw, true
	}
	return raw[1 : len(raw)-1], false
}

func scalarOf(raw []byte) (kind, []byte) {
	switch raw[0] {
	case 'n':
		return kindNull, raw
	case 't':
		return kindTrue, raw
	case 'f':
		return kindFalse, raw
	case '"':
		text, quoted := unquoted(raw)
		if quoted {
			return kindQuoted, text
		}
		return kindText, text
	}
	return kindNumber, raw
}

// named is whether a member has a name.
func (n *node) named(name string) bool {
	if !n.nameQuoted {
		return string(n.name) == name
	}
	plain, err := jsontext.AppendUnquote(nil, n.name)
	return err == nil && string(plain) == name
}

// characters are those of a text; ok is false for other kinds.
func (n *node) characters() (text []byte, ok bool) {
	switch n.kind {
	case kindText:
		return n.value, true
	case kindQuoted:
		plain, err := jsontext.AppendUnquote(nil, n.value)
		return plain, err == nil
	}
	return nil, false
}

// member is the index of the last member of that name below an object, -1 when there is none.
func (t *tape) member(object int, name string) int {
	found := -1
	for i := object + 1; i < t.nodes[object].end; i = t.nodes[i].end {
		if t.nodes[i].named(name) {
			found = i
		}
	}
	return found
}
