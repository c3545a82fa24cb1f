package messages

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/shards"
)

// Rule says into which stream the messages of some MQTT topics go, and what their partition keys are.
type Rule struct {
	filter []string // the topic filter, level by level
	stream string
	key    keySource
	level  int              // counted from 1, with keyLevel
	path   jsontext.Pointer // with keyJSON
}

// keySource is where a partition key comes from.
type keySource byte

const (
	keyTopic keySource = iota // the whole topic
	keyLevel                  // one level of it
	keyJSON                   // a value in the payload
)

// ruleForm is the limit that a rule which has not this form is told.
const ruleForm = "FILTER=STREAM, or FILTER=STREAM;key=topic, key=level:N or key=json:/POINTER"

// ErrNoKey says that a message has no partition key where its rule looks for one.
var ErrNoKey = errors.New("the message has no partition key")

// errNoRule says that no rule's filter matches a topic.
var errNoRule = errors.New("no rule matches the topic")

// ParseRule reads a rule:
//
//	FILTER=STREAM[;key=topic|;key=level:N|;key=json:/POINTER]
//
// FILTER is an MQTT topic filter. Left out, the key is the whole topic. Levels are counted from 1. An error is a
// *shards.FieldError of the field "mqtt-rule".
func ParseRule(text string) (Rule, error) {
	front, key, keyed := strings.Cut(text, ";")
	at := strings.LastIndexByte(front, '=')
	if at < 0 {
		return Rule{}, ruleError(text, ruleForm)
	}
	filter := front[:at]
	r := Rule{filter: strings.Split(filter, "/"), stream: front[at+1:]}
	if limit := filterFault(filter, r.filter); limit != "" {
		return Rule{}, ruleError(text, limit)
	}
	if !streamName(r.stream) {
		return Rule{}, ruleError(text, fmt.Sprintf("a stream's name behind the last =: 1 to %d of a-z A-Z 0-9 _ . -", shards.MaxNameLength))
	}
	if !keyed {
		return r, nil
	}
	source, ok := strings.CutPrefix(key, "key=")
	if !ok {
		return Rule{}, ruleError(text, ruleForm)
	}
	return r, r.parseKey(text, source)
}

// parseKey reads what follows "key=".
func (r *Rule) parseKey(text, source string) error {
	kind, detail, detailed := strings.Cut(source, ":")
	switch {
	case kind == "topic" && !detailed:
		return nil
	case kind == "level" && detailed:
		n, err := strconv.ParseUint(detail, 10, 16)
		open := r.filter[len(r.filter)-1] == "#"
		if err != nil || n == 0 || int(n) > len(r.filter) && !open {
			return ruleError(text, fmt.Sprintf("a level from 1 to %d, which the filter has", len(r.filter)))
		}
		r.key, r.level = keyLevel, int(n)
		return nil
	case kind == "json" && detailed:
		r.key, r.path = keyJSON, jsontext.Pointer(detail)
		if detail == "" || !r.path.IsValid() || !utf8.ValidString(detail) {
			return ruleError(text, "a JSON pointer that begins with a slash, such as key=json:/device/id")
		}
		return nil
	}
	return ruleError(text, ruleForm)
}

func ruleError(text, limit string) error {
	return &shards.FieldError{Field: "mqtt-rule", Value: text, Limit: limit}
}

// filterFault says what a topic filter must be that is not (section 4.7 of MQTT 5.0).
func filterFault(filter string, levels []string) string {
	if filter == "" || len(filter) > maxTopicBytes || !utf8.ValidString(filter) || strings.IndexByte(filter, 0) >= 0 {
		return "a topic filter of 1 to 65535 bytes of UTF-8 before the ="
	}
	for i, level := range levels {
		switch {
		case strings.Contains(level, "#") && (level != "#" || i < len(levels)-1):
			return "a topic filter in which # is the whole last level"
		case strings.Contains(level, "+") && level != "+":
			return "a topic filter in which + is a whole level"
		}
	}
	return ""
}

// streamName says whether a stream can have that name.
func streamName(s string) bool {
	if s == "" || len(s) > shards.MaxNameLength || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-') {
			return false
		}
	}
	return true
}

// Matches says whether a topic is one of the rule's. A wildcard does not match a first level that begins with $.
func (r *Rule) Matches(topic string) bool {
	if topic != "" && topic[0] == '$' && (r.filter[0] == "+" || r.filter[0] == "#") {
		return false
	}
	rest, more := topic, true
	for _, want := range r.filter {
		if want == "#" {
			return true // also of the level above it
		}
		if !more {
			return false
		}
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if want != "+" && want != level {
			return false
		}
	}
	return !more
}

// keyOf is a message's partition key. Error: ErrNoKey.
func (r *Rule) keyOf(topic string, payload []byte) ([]byte, error) {
	switch r.key {
	case keyLevel:
		rest := topic
		for n := 1; ; n++ {
			level, behind, more := strings.Cut(rest, "/")
			switch {
			case n == r.level && level != "":
				return []byte(level), nil
			case n == r.level, !more:
				return nil, fmt.Errorf("%w: topic %.100q has nothing at level %d", ErrNoKey, topic, r.level)
			}
			rest = behind
		}
	case keyJSON:
		return keyAt(payload, r.path)
	}
	return []byte(topic), nil
}
