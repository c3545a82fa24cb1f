package aws

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxListed is how many errors of validation are listed at most.
const maxListed = 10

// validate checks a document that bind has taken. Its error is a ValidationException that lists what is wrong.
func (s *shape) validate(tree any) error {
	var v violations
	s.check(tree, "", &v)
	return v.err()
}

// violations are what is wrong with a document, as far as they are listed.
type violations []string

// err is the ValidationException, nil when there is nothing to list.
func (v violations) err() error {
	if len(v) == 0 {
		return nil
	}
	noun := "error"
	if len(v) > 1 {
		noun = "errors"
	}
	return faultf(codeValidation, "%d validation %s detected: %s", len(v), noun, strings.Join(v, "; "))
}

// add lists one more.
func (v *violations) add(value, path, constraint string) {
	if len(*v) < maxListed {
		*v = append(*v, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, path, constraint))
	}
}

const notNull = "Member must not be null"

// check lists what is wrong with one value.
func (s *shape) check(tree any, path string, v *violations) {
	if tree == nil {
		if s.required {
			v.add("null", path, notNull)
		}
		return
	}
	if s.kind == anyKind {
		return
	}
	for _, wrong := range s.broken(tree) {
		v.add(quoted(s, tree), path, wrong)
	}
	switch t := tree.(type) {
	case map[string]any:
		if s.kind == mapKind {
			s.checkMap(t, path, v)
			return
		}
		for i := range s.members {
			m := &s.members[i]
			m.check(t[m.name], join(path, m.path), v)
		}
	case []any:
		s.checkList(t, path, v)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// checkList checks the elements: structures each by itself, scalars together, as AWS does. null is no element: no list of the model
// is sparse, and bind would make an empty value of it.
func (s *shape) checkList(list []any, path string, v *violations) {
	if s.elem.kind == structure {
		for i, e := range list {
			at := path + "." + strconv.Itoa(i+1) + ".member"
			if e == nil {
				v.add("null", at, notNull)
			}
			s.elem.check(e, at, v)
		}
		return
	}
	for _, e := range list {
		if e == nil || len(s.elem.broken(e)) > 0 {
			constraints := s.elem.all()
			if constraints == nil {
				constraints = []string{notNull}
			}
			v.add(quoted(s, list), path, "Member must satisfy constraint: ["+strings.Join(constraints, ", ")+"]")
			return
		}
	}
}

// checkMap checks keys and values, in the order of the keys.
func (s *shape) checkMap(m map[string]any, path string, v *violations) {
	keys := sortedKeys(m)
	for _, k := range keys {
		if len(s.key.broken(k)) > 0 {
			v.add(quoted(s, m), path, "Map keys must satisfy constraint: ["+strings.Join(s.key.all(), ", ")+"]")
			break
		}
	}
	for _, k := range keys {
		if m[k] != nil && len(s.elem.broken(m[k])) > 0 {
			v.add(quoted(s, m), path, "Map value must satisfy constraint: ["+strings.Join(s.elem.all(), ", ")+"]")
			break
		}
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// broken are the constraints of its own that a value does not satisfy.
func (s *shape) broken(tree any) []string {
	var wrong []string
	if s.constraint {
		if n := s.measure(tree); s.max != 0 && n > s.max {
			wrong = append(wrong, s.most())
		} else if n < s.min {
			wrong = append(wrong, s.least())
		}
	}
	text, isText := tree.(string)
	if isText && s.pattern != nil && !s.pattern.MatchString(text) {
		wrong = append(wrong, s.matches())
	}
	if isText && s.enum != nil && !slices.Contains(s.enum, text) {
		wrong = append(wrong, s.among())
	}
	return wrong
}

// all are the value's constraints in words, broken or not.
func (s *shape) all() []string {
	var all []string
	if s.constraint {
		if s.max != 0 {
			all = append(all, s.most())
		}
		all = append(all, s.least())
	}
	if s.pattern != nil {
		all = append(all, s.matches())
	}
	if s.enum != nil {
		all = append(all, s.among())
	}
	return all
}

// measure is what len and range are about.
func (s *shape) measure(tree any) int64 {
	switch t := tree.(type) {
	case string:
		if s.kind == blobKind {
			return int64(blobSize(t))
		}
		return int64(utf8.RuneCountInString(t))
	case []byte:
		return int64(len(t))
	case []any:
		return int64(len(t))
	case map[string]any:
		return int64(len(t))
	case int64:
		return t
	case float64:
		return int64(max(min(t, math.MaxInt32), math.MinInt32))
	}
	return 0
}

// blobSize is how many bytes valid base64 stands for.
func blobSize(s string) int { return len(s)/4*3 - strings.Count(s[max(len(s)-2, 0):], "=") }

func (s *shape) most() string {
	return "Member must have " + s.measured() + " less than or equal to " + strconv.FormatInt(s.max, 10)
}

func (s *shape) least() string {
	return "Member must have " + s.measured() + " greater than or equal to " + strconv.FormatInt(s.min, 10)
}

func (s *shape) measured() string {
	if s.kind == intKind {
		return "value"
	}
	return "length"
}

func (s *shape) matches() string { return "Member must satisfy regular expression pattern: " + s.form }

func (s *shape) among() string {
	return "Member must satisfy enum value set: [" + strings.Join(s.enum, ", ") + "]"
}

// quoted is a value as messages show it, cut where it is long.
func quoted(s *shape, tree any) string { return "'" + cut(shown(s, tree)) + "'" }

// maxShown is how many elements of a list are shown at most.
const maxShown = 512

func shown(s *shape, tree any) string {
	switch t := tree.(type) {
	case string:
		if s.kind == blobKind {
			return fmt.Sprintf("java.nio.HeapByteBuffer[pos=0 lim=%[1]d cap=%[1]d]", blobSize(t))
		}
		return t
	case []byte:
		return fmt.Sprintf("java.nio.HeapByteBuffer[pos=0 lim=%[1]d cap=%[1]d]", len(t))
	case []any:
		var parts []string
		for _, e := range t[:min(len(t), maxShown)] {
			parts = append(parts, shown(s.elem, e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		if s.kind == structure {
			return upperFirst(s.typ.Name())
		}
		var parts []string
		for _, k := range sortedKeys(t)[:min(len(t), maxShown)] {
			parts = append(parts, k+"="+shown(s.elem, t[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case float64:
		return strconv.FormatInt(int64(max(min(t, math.MaxInt32), math.MinInt32)), 10)
	case nil:
		return "null"
	}
	return fmt.Sprint(tree)
}
