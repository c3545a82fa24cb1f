// Package field has the one way in which a value from outside is refused: an Error names the field, what was given and what is allowed.
//
// The engines make Errors; the API turns their parts into members of a problem and their sentence into its detail.
package field

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrInvalid is what every Error is, for errors.Is.
var ErrInvalid = errors.New("invalid value")

// Error says which field of a request is refused, and why.
type Error struct {
	Field   string // as it is spelled in the API: "name", "partitionKey", "batchSize"
	Value   string // what was given, or its size: "17 bytes"; not quoted
	Limit   string // what it may be: "1 to 1000 records"; "" where Problem says it all
	Problem string // what is wrong, where that is more than a value outside a limit: "does not export memory"
	Shown   string // the value in the sentence, where Shown(Value) would mislead: "\"4\"" where a number is wanted; "" is Shown(Value)
}

// Error is the sentence for people, without its full stop: "field is value; it must be limit", where Problem can stand for "is value".
func (e *Error) Error() string {
	switch {
	case e.Problem != "" && e.Limit != "":
		return e.Field + " " + e.Problem + "; it must be " + e.Limit
	case e.Problem != "":
		return e.Field + " " + e.Problem
	}
	return fmt.Sprintf("%s is %s; it must be %s", e.Field, cmp.Or(e.Shown, Shown(e.Value)), e.Limit)
}

// Is makes every Error an ErrInvalid.
func (e *Error) Is(target error) bool { return target == ErrInvalid }

// Invalid is the Error of a value outside its limit.
func Invalid(field, value, limit string) *Error {
	return &Error{Field: field, Value: Cut(value), Limit: limit}
}

// maxShown is how many bytes of a value are repeated.
const maxShown = 100

// Cut shortens a value from outside to what is repeated of it.
func Cut(value string) string {
	if len(value) <= maxShown {
		return value
	}
	return strings.ToValidUTF8(value[:maxShown], "") + "…"
}

// Shown is a value as it stands in a sentence: cut, and in quotes unless it is a number, alone or with a unit.
func Shown(value string) string {
	value = Cut(value)
	if isMeasure(value) {
		return value
	}
	return strconv.Quote(value)
}

// isMeasure is whether a value is a number, alone or with a word behind it, or a duration.
func isMeasure(value string) bool {
	rest := strings.TrimPrefix(value, "-")
	if rest == "" || rest[0] < '0' || rest[0] > '9' || !utf8.ValidString(rest) {
		return false
	}
	if _, err := time.ParseDuration(value); err == nil {
		return true
	}
	if strings.Trim(strings.TrimSuffix(rest, "d"), "0123456789") == "" {
		return true // days
	}
	number, unit, _ := strings.Cut(rest, " ")
	return strings.Trim(number, "0123456789.") == "" && strings.Trim(unit, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ") == ""
}

// day is the longest unit that Duration writes.
const day = 24 * time.Hour

// Duration is a duration as people write it: 1h, 24h, 365d, 1m30s.
func Duration(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
