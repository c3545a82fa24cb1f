package runtime

import (
	"bytes"
	"slices"
	"strings"
)

const (
	minMaskBytes   = 6   // what is shorter would be found in innocent text
	maxMasked      = 64  // values that one instance keeps in mind
	maxMaskedLines = 256 // of values that have several, beside these
	maskedText     = "[secret]"
)

// mask takes the secrets that an instance was given out of what it says to people.
type mask struct {
	values [][]byte // the longest first, so that one that begins with another goes whole
	whole  int      // how many of them are values, and not lines
}

// add has a value be taken out from now on, as text, and each of its lines, because logs are written line by line. Of very many the ones given
// first are forgotten last; a value with many lines pushes no other value out.
func (m *mask) add(value []byte) {
	if m.whole == maxMasked {
		return
	}
	whole := bytes.ToValidUTF8(value, []byte("\uFFFD")) // as what is logged is before it is looked at
	if m.one(whole) {
		m.whole++
	}
	for line := range bytes.Lines(whole) {
		if len(m.values)-m.whole < maxMaskedLines {
			m.one(bytes.TrimSpace(line))
		}
	}
}

// one adds a text unless it is there or too short; it says whether it did.
func (m *mask) one(value []byte) bool {
	same := func(v []byte) bool { return bytes.Equal(v, value) }
	if len(value) < minMaskBytes || slices.ContainsFunc(m.values, same) {
		return false
	}
	values := append(slices.Clone(m.values), bytes.Clone(value)) // replies may still have the old ones
	slices.SortFunc(values, func(a, b []byte) int { return len(b) - len(a) })
	m.values = values
	return true
}

// text is s without the values.
func (m *mask) text(s string) string {
	for _, v := range m.values {
		s = strings.ReplaceAll(s, string(v), maskedText)
	}
	return s
}

// failure takes the values out of all that an error says.
func (m *mask) failure(f *FunctionError) {
	if len(m.values) > 0 {
		f.Message, f.Type, f.Stack = m.text(f.Message), m.text(f.Type), m.text(f.Stack)
	}
}
