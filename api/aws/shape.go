package aws

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A shape is what the service's model says about a value: its type and its constraints. Shapes are made from Go types: a
// field's name is its member's, and its tag "aws" holds the constraints, separated by semicolons:
//
//	required          the member must be there
//	len=1..128        characters of a string, bytes of a blob, elements of a list
//	range=1..10000    of a number
//	pattern=stream    one of patterns
//	enum=A,B          the values, in the order in which AWS lists them
//	elem.X            constraint X of a list's elements
//	key.X, value.X    constraint X of a map's keys and values
type shape struct {
	kind       kind
	typ        reflect.Type
	required   bool
	min, max   int64 // of length or value; max 0 is none
	pattern    *regexp.Regexp
	form       string // the pattern as AWS writes it
	enum       []string
	members    []member // of a structure
	elem       *shape   // of a list, and the values of a map
	key        *shape   // of a map
	constraint bool     // min and max are set
}

// member is one of a structure's.
type member struct {
	shape
	name  string
	path  string // its name in messages
	index []int
}

type kind int

const (
	structure kind = iota
	stringKind
	intKind
	boolKind
	blobKind
	timeKind
	listKind
	mapKind
	anyKind
	floatKind
)

// anything is a member of which only counts whether it was given, and not empty.
type anything bool

// patterns are the model's, by the name that tags use.
var patterns = map[string]string{
	"name":      `[a-zA-Z0-9_.-]+`,
	"hash":      `0|([1-9]\d{0,38})`,
	"sequence":  `0|([1-9]\d{0,128})`,
	"stream":    `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`,
	"consumer":  `^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+`,
	"resource":  `arn:aws.*:kinesis:.*:\d{12}:.*stream/\S+`,
	"role":      `arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`,
	"statement": `([a-zA-Z0-9-_]+)`,
	"action":    `(lambda:[*]|lambda:[a-zA-Z]+|[*])`,
	"principal": `[^\s]+`,
	"streamid":  `[a-z0-9]{20}-[a-z0-9]{3}`,
}

// shapeOf makes the shape of an input. Types and tags that make no sense are a programming error and panic.
func shapeOf(t reflect.Type) *shape {
	s := &shape{typ: t}
	switch {
	case t == reflect.TypeFor[anything]():
		s.kind = anyKind
	case t == reflect.TypeFor[instant]():
		s.kind = timeKind
	case t == reflect.TypeFor[[]byte]():
		s.kind = blobKind
	case t.Kind() == reflect.Pointer:
		return shapeOf(t.Elem())
	case t.Kind() == reflect.String:
		s.kind = stringKind
	case t.Kind() == reflect.Int:
		s.kind = intKind
	case t.Kind() == reflect.Float64:
		s.kind = floatKind
	case t.Kind() == reflect.Bool:
		s.kind = boolKind
	case t.Kind() == reflect.Slice:
		s.kind, s.elem = listKind, shapeOf(t.Elem())
	case t.Kind() == reflect.Map:
		s.kind, s.key, s.elem = mapKind, shapeOf(t.Key()), shapeOf(t.Elem())
	case t.Kind() == reflect.Struct:
		s.addMembers(t, nil)
	default:
		panic(fmt.Sprintf("aws: no shape for %v", t))
	}
	return s
}

// addMembers adds the fields of a struct, those of embedded ones too.
func (s *shape) addMembers(t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int{}, index...), i)
		if f.Anonymous {
			s.addMembers(f.Type, at)
			continue
		}
		m := member{shape: *shapeOf(f.Type), name: f.Name, path: lowerFirst(f.Name), index: at}
		for rule := range strings.SplitSeq(f.Tag.Get("aws"), ";") {
			m.constrain(rule)
		}
		s.members = append(s.members, m)
	}
}

// constrain adds one rule of a tag.
func (s *shape) constrain(rule string) {
	name, arg, _ := strings.Cut(rule, "=")
	switch name {
	case "":
	case "required":
		s.required = true
	case "len", "range":
		from, to, _ := strings.Cut(arg, "..")
		s.min, s.max, s.constraint = bound(from), bound(to), true
	case "pattern":
		s.form = patterns[arg]
		s.pattern = regexp.MustCompile("^(?:" + s.form + ")$")
	case "enum":
		s.enum = strings.Split(arg, ",")
	default:
		if part, rest, ok := strings.Cut(rule, "."); ok && part == "key" {
			s.key.constrain(rest)
		} else if ok && (part == "elem" || part == "value") {
			s.elem.constrain(rest)
		} else {
			panic(fmt.Sprintf("aws: unknown constraint %q", rule))
		}
	}
}

func bound(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("aws: constraint with %q", s))
	}
	return n
}

// lowerFirst is a member's name as messages have it: streamName, but shardId.
func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}

// upperFirst is a structure's name as messages have it.
func upperFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
