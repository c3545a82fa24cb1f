package filter

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict is what one pattern says of a record.
type Verdict struct {
	Pattern int    // from 0 on
	Match   bool   // it matches
	Why     string // what decided: the first field that did not match, or the fields that did
}

// Explain says of each pattern whether it matches a record, and why. It is for people: Match is the fast one.
func (f *Filter) Explain(r *Record) []Verdict {
	t := tapes.Get().(*tape)
	defer t.release()
	root, whole := f.read(t, r)
	verdicts := make([]Verdict, len(f.patterns))
	for i, p := range f.patterns {
		v := Verdict{Pattern: i}
		if !whole && p.mentions(fieldData) {
			v.Why = "data is not JSON, and the pattern looks into it"
		} else {
			v.Match, v.Why = p.explain(t, root, "")
		}
		verdicts[i] = v
	}
	return verdicts
}

func (o *object) explain(t *tape, at int, path string) (bool, string) {
	var matched []string
	for i := range o.fields {
		f := &o.fields[i]
		ok, why := f.explain(t, at, join(path, f.name))
		if !ok {
			return false, why
		}
		matched = append(matched, why)
	}
	for _, alternatives := range o.ors {
		var missed []string
		found := false
		for _, a := range alternatives {
			ok, why := a.explain(t, at, path)
			if ok {
				matched, found = append(matched, why), true
				break
			}
			missed = append(missed, why)
		}
		if !found {
			return false, "no object of $or matches: " + strings.Join(missed, "; ")
		}
	}
	return true, strings.Join(matched, "; ")
}

func (f *field) explain(t *tape, object int, path string) (bool, string) {
	at := t.member(object, f.name)
	if f.below != nil && at >= 0 && t.nodes[at].kind == kindObject {
		return f.below.explain(t, at, path)
	}
	what := "is absent"
	switch {
	case at >= 0:
		what = "is " + t.shown(at)
	case path == f.name && !slices.Contains(recordFields, f.name): // at the top
		what = "is absent (the fields of a record are " + knownFields + ")"
	}
	asked := f.asks()
	if f.match(t, object) {
		return true, fmt.Sprintf("%s %s, which %s allows", path, what, asked)
	}
	return false, fmt.Sprintf("%s %s, which %s does not allow", path, what, asked)
}

// asks is what a field asks, as it stands in the pattern.
func (f *field) asks() string {
	if f.below != nil {
		return "a pattern for an object"
	}
	sources := make([]string, len(f.entries))
	for i := range f.entries {
		sources[i] = f.entries[i].source
	}
	return "[" + strings.Join(sources, ", ") + "]"
}

// shown is a value as an explanation shows it.
func (t *tape) shown(at int) string {
	switch n := &t.nodes[at]; n.kind {
	case kindObject:
		return "an object"
	case kindArray:
		elements := 0
		for i := at + 1; i < n.end; i = t.nodes[i].end {
			elements++
		}
		if elements == 1 {
			return "an array of " + t.shown(at+1)
		}
		return fmt.Sprintf("an array of %d", elements)
	case kindText:
		return shown([]byte(`"` + string(n.value) + `"`))
	default:
		return shown(n.value)
	}
}
