package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// object is a pattern for an object: every field has to match, and one object of each $or.
type object struct {
	fields []field
	ors    [][]*object
}

// field is what a pattern asks of one member: below of an object, or else one of entries of a value.
type field struct {
	name    string
	below   *object
	entries []entry
}

// compile reads one pattern.
func compile(source string) (*object, *Error) {
	raw := jsontext.Value(source)
	if !raw.IsValid(lenient) || raw.Kind() != '{' {
		return nil, &Error{Value: shown(raw), Limit: `a JSON object such as {"data": {"city": ["Oslo"]}}`}
	}
	root, err := compileObject(raw, "")
	if err != nil {
		return nil, err
	}
	for i := range root.fields {
		if f := &root.fields[i]; f.name == fieldData && f.below == nil && !f.existsOnly() {
			return nil, &Error{Path: fieldData, Value: "an array", Limit: `an object that names fields of the data, such as {"city": ["Oslo"]}`}
		}
	}
	return root, nil
}

// existsOnly is whether a field only asks whether there is a value.
func (f *field) existsOnly() bool {
	return !slices.ContainsFunc(f.entries, func(e entry) bool { return e.op != opExists && e.op != opAbsent })
}

const orKey = "$or"

func compileObject(raw jsontext.Value, path string) (*object, *Error) {
	members, err := membersOf(raw)
	if err != nil {
		return nil, &Error{Path: path, Value: shown(raw), Limit: "JSON"}
	}
	if len(members) == 0 {
		return nil, &Error{Path: path, Value: "{}", Limit: "an object with at least one field"}
	}
	o := new(object)
	for _, m := range members {
		at := join(path, m.name)
		switch {
		case m.name == orKey:
			alternatives, err := compileOr(m.value, at)
			if err != nil {
				return nil, err
			}
			o.ors = append(o.ors, alternatives)
		case m.value.Kind() == '{':
			below, err := compileObject(m.value, at)
			if err != nil {
				return nil, err
			}
			o.fields = append(o.fields, field{name: m.name, below: below})
		case m.value.Kind() == '[':
			entries, err := compileEntries(m.value, at)
			if err != nil {
				return nil, err
			}
			o.fields = append(o.fields, field{name: m.name, entries: entries})
		default:
			return nil, &Error{Path: at, Value: shown(m.value), Limit: fmt.Sprintf("an array, such as [%s]", shown(m.value))}
		}
	}
	return o, nil
}

func compileOr(raw jsontext.Value, path string) (alternatives []*object, _ *Error) {
	elements, err := elementsOf(raw)
	if err != nil || len(elements) < 2 {
		return nil, &Error{Path: path, Value: shown(raw), Limit: "an array of two or more objects"}
	}
	for i, e := range elements {
		at := fmt.Sprintf("%s[%d]", path, i)
		if e.Kind() != '{' {
			return nil, &Error{Path: at, Value: shown(e), Limit: "an object"}
		}
		o, err := compileObject(e, at)
		if err != nil {
			return nil, err
		}
		alternatives = append(alternatives, o)
	}
	return alternatives, nil
}

func compileEntries(raw jsontext.Value, path string) (entries []entry, _ *Error) {
	elements, err := elementsOf(raw)
	if err != nil || len(elements) == 0 {
		return nil, &Error{Path: path, Value: shown(raw), Limit: "an array with at least one entry"}
	}
	for i, e := range elements {
		at := fmt.Sprintf("%s[%d]", path, i)
		entry, err := compileEntry(e, at)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// mentions is whether a pattern asks something of a member at its top.
func (o *object) mentions(name string) bool {
	for i := range o.fields {
		if o.fields[i].name == name {
			return true
		}
	}
	for _, alternatives := range o.ors {
		if slices.ContainsFunc(alternatives, func(a *object) bool { return a.mentions(name) }) {
			return true
		}
	}
	return false
}

// named is a member of a pattern.
type namedValue struct {
	name  string
	value jsontext.Value
}

// membersOf reads an object; of two members of one name the last counts.
func membersOf(raw jsontext.Value) (members []namedValue, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(raw), lenient)
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		m := namedValue{key, value.Clone()}
		if i := slices.IndexFunc(members, func(m namedValue) bool { return m.name == key }); i >= 0 {
			members[i] = m
		} else {
			members = append(members, m)
		}
	}
	return members, nil
}

func elementsOf(raw jsontext.Value) (elements []jsontext.Value, err error) {
	if raw.Kind() != '[' {
		return nil, fmt.Errorf("is no array")
	}
	d := jsontext.NewDecoder(bytes.NewReader(raw), lenient)
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	for d.PeekKind() != ']' {
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		elements = append(elements, value.Clone())
	}
	return elements, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// maxShown is how many bytes of a value an error shows.
const maxShown = 60

// shown is a value as an error shows it.
func shown(raw []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		b.Reset()
		b.Write(raw)
	}
	if b.Len() > maxShown {
		return string(bytes.ToValidUTF8(b.Bytes()[:maxShown], nil)) + "…"
	}
	if b.Len() == 0 {
		return "nothing"
	}
	return b.String()
}
