package aws

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// modelShape is an input as testdata/model.json has it: types and constraints of the service's model, as botocore 1.43 knows it
// (2026-08-07).
type modelShape struct {
	Type     string
	Min, Max *int64
	Pattern  string
	Enum     []string
	Required []string
	Members  map[string]modelShape
	Elem     *modelShape
	Key      *modelShape
	Value    *modelShape
}

func model(t testing.TB) map[string]modelShape {
	b, err := os.ReadFile("testdata/model.json")
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]modelShape
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// newer are members that the model of the file does not have yet.
var newer = []string{"DryRun"}

// looser are where we take more than the model: a partition key may be missing, the rest is checked by the stream.
var looser = []string{"PutRecord.PartitionKey required", "PutRecords.Records.PartitionKey required"}

// TestModel compares every input with the service's model.
func TestModel(t *testing.T) {
	known := model(t)
	for _, op := range operations() {
		if want, ok := known[op.name]; ok {
			compareShape(t, op.name, op.input, want)
			delete(known, op.name)
		}
	}
	for name := range known {
		t.Errorf("there is no operation %s", name)
	}
}

var kinds = map[string]kind{
	"structure": structure, "string": stringKind, "integer": intKind, "boolean": boolKind, "blob": blobKind,
	"timestamp": timeKind, "list": listKind, "map": mapKind, "double": floatKind,
}

func compareShape(t *testing.T, path string, s *shape, want modelShape) {
	t.Helper()
	if s.kind != kinds[want.Type] {
		t.Errorf("%s is of kind %d, want %s", path, s.kind, want.Type)
		return
	}
	minimum, maximum := int64(0), int64(0)
	if want.Min != nil {
		minimum = *want.Min
	}
	if want.Max != nil {
		maximum = *want.Max
	}
	if s.min != minimum || s.max != maximum {
		t.Errorf("%s has %d to %d, want %d to %d", path, s.min, s.max, minimum, maximum)
	}
	if s.form != want.Pattern {
		t.Errorf("%s has the pattern %s, want %s", path, s.form, want.Pattern)
	}
	if got := slices.Sorted(slices.Values(s.enum)); !slices.Equal(got, slices.Sorted(slices.Values(want.Enum))) {
		t.Errorf("%s can be %v, want %v", path, got, want.Enum)
	}
	switch s.kind {
	case listKind:
		compareShape(t, path, s.elem, *want.Elem)
	case mapKind:
		compareShape(t, path+" key", s.key, *want.Key)
		compareShape(t, path+" value", s.elem, *want.Value)
	case structure:
		compareMembers(t, path, s, want)
	}
}

func compareMembers(t *testing.T, path string, s *shape, want modelShape) {
	t.Helper()
	for i := range s.members {
		m := &s.members[i]
		at := path + "." + m.name
		w, ok := want.Members[m.name]
		if !ok {
			if !slices.Contains(newer, m.name) {
				t.Errorf("%s is not in the model", at)
			}
			continue
		}
		compareShape(t, at, &m.shape, w)
		if required := slices.Contains(want.Required, m.name); m.required != required && !slices.Contains(looser, at+" required") {
			t.Errorf("%s is required: %t, want %t", at, m.required, required)
		}
	}
	for name := range want.Members {
		if !slices.ContainsFunc(s.members, func(m member) bool { return m.name == name }) {
			t.Errorf("%s.%s is missing", path, name)
		}
	}
}

// valid is a document that satisfies a shape, as JSON would be read.
func (s *shape) valid() any {
	switch s.kind {
	case structure:
		m := map[string]any{}
		for i := range s.members {
			if s.members[i].required {
				m[s.members[i].name] = s.members[i].valid()
			}
		}
		return m
	case listKind:
		return []any{s.elem.valid()}
	case mapKind:
		return map[string]any{"k": s.elem.valid()}
	case intKind:
		return float64(max(s.min, 1))
	case boolKind:
		return true
	case timeKind:
		return float64(1)
	case blobKind:
		return "aGk="
	}
	switch {
	case s.enum != nil:
		return s.enum[0]
	case s.form == patterns["hash"], s.form == patterns["sequence"]:
		return "7"
	case s.form == patterns["stream"], s.form == patterns["resource"]:
		return "arn:aws:kinesis:us-east-1:000000000000:stream/nope"
	case s.form == patterns["consumer"]:
		return "arn:aws:kinesis:us-east-1:000000000000:stream/nope/consumer/c:1"
	case s.form == patterns["streamid"]:
		return strings.Repeat("a", 20) + "-aaa"
	}
	return "nope"
}

// TestEveryMember breaks each member of each operation by itself, and looks for the one error that says so.
func TestEveryMember(t *testing.T) {
	for _, op := range operations() {
		tree := op.input.valid()
		if err := op.input.validate(tree); err != nil {
			t.Errorf("%s: what should be valid is %v", op.name, err)
			continue
		}
		for i := range op.input.members {
			m := &op.input.members[i]
			for _, tt := range m.breaks() {
				broken := map[string]any{}
				for k, v := range tree.(map[string]any) {
					broken[k] = v
				}
				broken[m.name] = tt.value
				err := op.input.validate(broken)
				if err == nil || !strings.Contains(err.Error(), "'"+m.path+"' failed to satisfy constraint: "+tt.want) {
					t.Errorf("%s with %.40q as %s: %v, want %s", op.name, fmt.Sprint(tt.value), m.name, err, tt.want)
				}
			}
		}
	}
}

type broken struct {
	value any
	want  string
}

// breaks are values that break one constraint of a member each.
func (m *member) breaks() (all []broken) {
	if m.required {
		all = append(all, broken{nil, notNull})
	}
	if m.pattern != nil {
		all = append(all, broken{"!", m.matches()})
	}
	if m.enum != nil {
		all = append(all, broken{"!", m.among()})
	}
	switch m.kind {
	case stringKind:
		if m.max != 0 {
			all = append(all, broken{strings.Repeat("a", int(m.max)+1), m.most()})
		}
		if m.min > 0 {
			all = append(all, broken{"", m.least()})
		}
	case intKind:
		if m.max != 0 {
			all = append(all, broken{float64(m.max + 1), m.most()}, broken{1e300, m.most()})
		}
		if m.constraint {
			all = append(all, broken{float64(m.min - 1), m.least()})
		}
	case listKind:
		if m.max != 0 {
			all = append(all, broken{slices.Repeat([]any{m.elem.valid()}, int(m.max)+1), m.most()})
		}
		if m.min > 0 {
			all = append(all, broken{[]any{}, m.least()})
		}
	}
	return all
}

// TestBadTags checks that tags that make no sense are found when the table is made.
func TestBadTags(t *testing.T) {
	for _, rule := range []string{"no", "no=1", "len=a..b", "x.len=1..2"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("the rule %q is taken", rule)
				}
			}()
			new(shape).constrain(rule)
		}()
	}
}
