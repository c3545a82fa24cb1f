package runtime

import (
	"bytes"
	"slices"
	"strings"
)

const (
	minMaskBytes = 6  // what is shorter would be found in innocent text
	maxMasked    = 64 // values, and lines of values, that one instance keeps in mind
	maskedText   = "[secret]"
)

// mask takes the secrets that an instance was given out of what it says to people.
type mask struct {
	values [][]byte // the longest first, so that one that begins with another goes whole
}

// add has a value be taken out from now on, and each of its lines, because logs are written line by line. Of very many the ones given first are
// forgotten last.
func (m *mask) add(value []byte) {
	m.one(value)
	for line := range bytes.Lines(value) {
		m.one(bytes.TrimSpace(line))
	}
}

func (m *mask) one(value []byte) {
	same := func(v []byte) bool { return bytes.Equal(v, value) }
	if len(value) < minMaskBytes || len(m.values) == maxMasked || slices.ContainsFunc(m.values, same) {
		return
	}
	values := append(slices.Clone(m.values), bytes.Clone(value)) // replies may still have the old ones
	slices.SortFunc(values, func(a, b []byte) int { return len(b) - len(a) })
	m.values = values
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
