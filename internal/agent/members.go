package agent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/internal/field"
)

// members reads the members of one JSON object by name. The first thing that is wrong is kept; what nobody has asked for is
// unknown.
type members struct {
	path   string // of the object, for errors: "", "flows[0]."
	values map[string]jsontext.Value
	idle   map[string]bool // names that are accepted and have no meaning here
	err    *error          // shared by all objects of a file
}

func (m *members) fail(name, value, limit string) {
	if *m.err == nil {
		*m.err = field.Invalid(m.path+name, value, limit)
	}
}

// take removes a member and returns it; null is as good as nothing, as the Amazon Kinesis Agent has it.
func (m *members) take(name string) jsontext.Value {
	v := m.values[name]
	delete(m.values, name)
	if v.Kind() == 'n' {
		return nil
	}
	return v
}

// scalar is a member as text, whether it was written as a string, a number or a boolean: the Amazon Kinesis Agent converts.
func (m *members) scalar(name, limit string) (text string, given bool) {
	v := m.take(name)
	switch v.Kind() {
	case 0:
		return "", false
	case '"':
		unquoted, _ := jsontext.AppendUnquote(nil, v)
		return string(unquoted), true
	case '0', 't', 'f':
		return string(v), true
	}
	m.fail(name, string(v), limit)
	return "", false
}

func (m *members) text(name, otherwise string) string {
	if s, given := m.scalar(name, "a string"); given {
		return s
	}
	return otherwise
}

func (m *members) number(name string, otherwise, least, most int64) int64 {
	limit := fmt.Sprintf("%d to %d", least, most)
	s, given := m.scalar(name, limit)
	if !given {
		return otherwise
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < least || n > most {
		m.fail(name, s, limit)
	}
	return n
}

func (m *members) millis(name string, otherwise, least, most time.Duration) time.Duration {
	return time.Duration(m.number(name, otherwise.Milliseconds(), least.Milliseconds(), most.Milliseconds())) * time.Millisecond
}

func (m *members) choice(name, otherwise string, of ...string) string {
	s := m.text(name, otherwise)
	if !slices.Contains(of, s) && s != otherwise {
		m.fail(name, s, "one of "+strings.Join(of, ", "))
	}
	return s
}

func (m *members) texts(name string) []string {
	v := m.take(name)
	if v == nil {
		return nil
	}
	var list []string
	if json.Unmarshal(v, &list) != nil || list == nil {
		m.fail(name, string(v), "a list of strings")
	}
	return list
}

// objects are the elements of a list; idle are the names without meaning in each.
func (m *members) objects(name string, idle ...string) []*members {
	v := m.take(name)
	if v == nil {
		return nil
	}
	var list []map[string]jsontext.Value
	if err := json.Unmarshal(v, &list); err != nil {
		m.fail(name, string(v), "a list of objects")
		return nil
	}
	var all []*members
	for i, values := range list {
		all = append(all, &members{path: fmt.Sprintf("%s%s[%d].", m.path, name, i), values: values, idle: set(idle), err: m.err})
	}
	return all
}

// end refuses the members that are left, but for those without meaning, which it returns.
func (m *members) end() (ignored []string) {
	for _, name := range slices.Sorted(maps.Keys(m.values)) {
		if !m.idle[name] {
			if *m.err == nil {
				*m.err = &field.Error{Field: m.path + name, Value: field.Cut(string(m.values[name])), Problem: "is not a setting of the agent"}
			}
			continue
		}
		ignored = append(ignored, m.path+name)
	}
	return ignored
}

func set(names []string) map[string]bool {
	all := make(map[string]bool, len(names))
	for _, name := range names {
		all[name] = true
	}
	return all
}
