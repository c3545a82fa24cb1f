package filter

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// op is what an entry of a pattern asks of a value.
type op byte

const (
	opText     op = iota // the same characters
	opNumber             // a number spelled the same
	opLiteral            // null, true or false
	opPrefix             // begins with text
	opSuffix             // ends with text
	opWildcard           // parts, with anything between them
	opNumeric            // all of bounds
	opCIDR               // an address in prefix
	opNone               // none of below: anything-but
	opExists             // there is a value
	opAbsent             // there is none
)

// entry is one entry of an array of a pattern.
type entry struct {
	op       op
	source   string // as it stands in the pattern
	text     []byte // of opText, opNumber, opPrefix, opSuffix
	fold     bool   // in any case
	literal  kind
	parts    [][]byte // of opWildcard: what is between the asterisks, one more than there are of them
	bounds   []bound
	prefix   netip.Prefix
	below    []entry // of opNone
	explicit bool    // of opNone: a list of its own, not a nested entry
}

// bound is one comparison of {"numeric": [...]}.
type bound struct {
	operator string
	value    float64
}

func (b bound) holds(v float64) bool {
	switch b.operator {
	case "=":
		return v == b.value
	case "<":
		return v < b.value
	case "<=":
		return v <= b.value
	case ">":
		return v > b.value
	}
	return v >= b.value
}

func compileEntry(raw jsontext.Value, path string) (e entry, _ *Error) {
	e.source = shown(raw)
	switch raw.Kind() {
	case '"':
		e.op, e.text = opText, plain(raw)
	case '0':
		e.op, e.text = opNumber, bytes.Clone(raw)
	case 'n', 't', 'f':
		e.op = opLiteral
		e.literal, _ = scalarOf(raw)
	case '{':
		members, err := membersOf(raw)
		if err != nil || len(members) != 1 {
			return e, &Error{Path: path, Value: shown(raw), Limit: "an object with one operator, such as {\"prefix\": \"us-\"}"}
		}
		made, failed := compileOperator(members[0].name, members[0].value, join(path, members[0].name))
		made.source = e.source
		return made, failed
	default:
		return e, &Error{Path: path, Value: shown(raw), Limit: "text, a number, true, false, null or an object with an operator"}
	}
	return e, nil
}

const operators = "one of anything-but, cidr, equals-ignore-case, exists, numeric, prefix, suffix, wildcard"

func compileOperator(name string, raw jsontext.Value, path string) (entry, *Error) {
	switch name {
	case "equals-ignore-case", "prefix", "suffix", "wildcard", "cidr":
		return compileText(name, raw, path)
	case "numeric":
		return compileNumeric(raw, path)
	case "anything-but":
		return compileNone(raw, path)
	case "exists":
		switch raw.Kind() {
		case 't':
			return entry{op: opExists}, nil
		case 'f':
			return entry{op: opAbsent}, nil
		}
		return entry{}, &Error{Path: path, Value: shown(raw), Limit: "true or false"}
	}
	return entry{}, &Error{Path: path, Value: strconv.Quote(name), Limit: operators}
}

// compileText compiles the operators that take text.
func compileText(name string, raw jsontext.Value, path string) (e entry, _ *Error) {
	if (name == "prefix" || name == "suffix") && raw.Kind() == '{' {
		members, err := membersOf(raw)
		if err != nil || len(members) != 1 || members[0].name != "equals-ignore-case" {
			return e, &Error{Path: path, Value: shown(raw), Limit: `text or {"equals-ignore-case": text}`}
		}
		e.fold, raw, path = true, members[0].value, join(path, members[0].name)
	}
	if raw.Kind() != '"' {
		return e, &Error{Path: path, Value: shown(raw), Limit: "text"}
	}
	e.text = plain(raw)
	switch name {
	case "equals-ignore-case":
		e.op, e.fold = opText, true
	case "prefix":
		e.op = opPrefix
	case "suffix":
		e.op = opSuffix
	case "wildcard":
		e.op, e.parts = opWildcard, wildcardParts(e.text)
		if slices.ContainsFunc(e.parts[1:max(1, len(e.parts)-1)], func(p []byte) bool { return len(p) == 0 }) {
			return e, &Error{Path: path, Value: shown(raw), Limit: "text without two asterisks side by side"}
		}
	case "cidr":
		prefix, err := netip.ParsePrefix(string(e.text))
		if err != nil {
			return e, &Error{Path: path, Value: shown(raw), Limit: "a range of IP addresses such as 10.0.0.0/24"}
		}
		e.op, e.prefix = opCIDR, prefix.Masked()
	}
	if len(e.text) == 0 && e.op != opText {
		return e, &Error{Path: path, Value: `""`, Limit: "text of at least one character"}
	}
	return e, nil
}

// wildcardParts divides text at its asterisks; \* and \\ are themselves.
func wildcardParts(text []byte) (parts [][]byte) {
	part := []byte{}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == '*' || text[i+1] == '\\'):
			i++
			part = append(part, text[i])
		case text[i] == '*':
			parts, part = append(parts, part), []byte{}
		default:
			part = append(part, text[i])
		}
	}
	return append(parts, part)
}

// maxNumber is the greatest number that a range may name, as in EventBridge.
const maxNumber = 5e9

func compileNumeric(raw jsontext.Value, path string) (e entry, _ *Error) {
	e.op = opNumeric
	const limit = `one or two comparisons such as ["=", 100] or [">", 10, "<=", 20]`
	elements, err := elementsOf(raw)
	if err != nil || (len(elements) != 2 && len(elements) != 4) {
		return e, &Error{Path: path, Value: shown(raw), Limit: limit}
	}
	for i := 0; i < len(elements); i += 2 {
		operator := string(plain(elements[i]))
		if elements[i].Kind() != '"' || !slices.Contains([]string{"=", "<", "<=", ">", ">="}, operator) {
			return e, &Error{Path: fmt.Sprintf("%s[%d]", path, i), Value: shown(elements[i]), Limit: `one of "=", "<", "<=", ">", ">="`}
		}
		v, err := strconv.ParseFloat(string(elements[i+1]), 64)
		if elements[i+1].Kind() != '0' || err != nil || v < -maxNumber || v > maxNumber {
			return e, &Error{Path: fmt.Sprintf("%s[%d]", path, i+1), Value: shown(elements[i+1]), Limit: "a number from -5e9 to 5e9"}
		}
		e.bounds = append(e.bounds, bound{operator, v})
	}
	if len(e.bounds) == 2 && !isRange(e.bounds[0], e.bounds[1]) {
		return e, &Error{Path: path, Value: shown(raw), Limit: "a lower bound below an upper one, in this order, as in [\">\", 10, \"<=\", 20]"}
	}
	return e, nil
}

func isRange(low, high bound) bool {
	return low.operator[0] == '>' && high.operator[0] == '<' && low.value < high.value
}

func compileNone(raw jsontext.Value, path string) (e entry, _ *Error) {
	e.op = opNone
	switch raw.Kind() {
	case '[':
		entries, err := compileEntries(raw, path)
		if err != nil {
			return e, err
		}
		for i, b := range entries {
			if b.op != opText && b.op != opNumber {
				return e, &Error{Path: fmt.Sprintf("%s[%d]", path, i), Value: b.source, Limit: "text or a number"}
			}
		}
		e.below, e.explicit = entries, true
		return e, nil
	case '{':
		return compileNoneOf(raw, path)
	}
	one, err := compileEntry(raw, path)
	if err == nil && one.op != opText && one.op != opNumber {
		err = &Error{Path: path, Value: one.source, Limit: "text, a number, a list of them or an object with an operator"}
	}
	e.below = []entry{one}
	return e, err
}

// compileNoneOf compiles {"anything-but": {"prefix": "a"}}, where the operator also takes a list.
func compileNoneOf(raw jsontext.Value, path string) (e entry, _ *Error) {
	e.op = opNone
	members, err := membersOf(raw)
	if err != nil || len(members) != 1 || !slices.Contains([]string{"prefix", "suffix", "equals-ignore-case", "wildcard"}, members[0].name) {
		return e, &Error{Path: path, Value: shown(raw), Limit: "an object with one of prefix, suffix, equals-ignore-case, wildcard"}
	}
	name, value := members[0].name, members[0].value
	path = join(path, name)
	texts := []jsontext.Value{value}
	if value.Kind() == '[' {
		if texts, err = elementsOf(value); err != nil || len(texts) == 0 {
			return e, &Error{Path: path, Value: shown(value), Limit: "text or a list with at least one text"}
		}
	}
	for _, text := range texts {
		one, failed := compileText(name, text, path)
		if failed != nil {
			return e, failed
		}
		e.below = append(e.below, one)
	}
	return e, nil
}

// plain is a JSON text without quotes and escapes.
func plain(raw jsontext.Value) []byte {
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return bytes.Clone(raw)
	}
	return text
}
