package api

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// Duration is a time.Duration that is a Go-style string on the wire: "3s",
// "24h", "1m30s".
type Duration time.Duration

// String is the shortest Go-style form: "24h", not "24h0m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText gives the string form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a Go-style duration, or days as in "365d".
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return errDuration
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return errDuration
	}
	*d = Duration(v)
	return nil
}

// Schema is the type's place in the OpenAPI document.
func (Duration) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Examples: []any{"24h"}, Description: "A duration with its unit: 3s, 500ms, 24h, 7d."}
}

// Size is a number of bytes: a plain number on the wire, or a string with a
// unit ("128MiB", "1KiB", "2GB").
type Size int64

// Each error of a scalar says what it must be; it becomes the limit of a problem.
var (
	errDuration = errors.New("a duration with its unit, such as 500ms, 3s, 24h or 7d")
	errSize     = errors.New("a number of bytes, alone or with a unit, such as 1048576, 512KiB or 128MiB")
)

// sizeUnits are the units a size may carry, the longest suffix first.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9},
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30},
	{"B", 1},
}

// ParseSize reads "128MiB", "1kB" or a plain number of bytes. Fractions and
// signs are refused.
func ParseSize(s string) (Size, error) {
	number, unit := strings.TrimSpace(s), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n > uint64(math.MaxInt64/unit) {
		return 0, errSize
	}
	return Size(int64(n) * unit), nil
}

// String is the size in the largest binary unit that holds it exactly.
func (s Size) String() string {
	for i, suffix := range []string{"GiB", "MiB", "KiB"} {
		unit := Size(1) << (30 - 10*i)
		if s >= unit && s%unit == 0 {
			return strconv.FormatInt(int64(s/unit), 10) + suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalJSON gives the plain number of bytes.
func (s Size) MarshalJSON() ([]byte, error) { return strconv.AppendInt(nil, int64(s), 10), nil }

// UnmarshalJSON takes a number or a string.
func (s *Size) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		unquoted, err := jsontext.AppendUnquote(nil, b)
		if err != nil {
			return errSize
		}
		text = string(unquoted)
	}
	return s.UnmarshalText([]byte(text))
}

// UnmarshalText takes the forms of ParseSize.
func (s *Size) UnmarshalText(text []byte) error {
	v, err := ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = v
	return nil
}

// Schema is the type's place in the OpenAPI document.
func (Size) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		OneOf:       []*huma.Schema{{Type: huma.TypeInteger, Format: "int64"}, {Type: huma.TypeString}},
		Examples:    []any{"8MiB"},
		Description: "A number of bytes, or a string with a unit: 512KiB, 128MiB, 1GiB. Answers give the number.",
	}
}

// Variables are environment variables by name: an object in JSON, in a query NAME=VALUE, repeatable.
type Variables map[string]string

// errVariables says what a variable in a query must be.
var errVariables = errors.New("NAME=VALUE, each name once")

// Add takes one NAME=VALUE in.
func (v *Variables) Add(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if _, twice := (*v)[name]; !ok || twice {
		return errVariables
	}
	if *v == nil {
		*v = Variables{}
	}
	(*v)[name] = value
	return nil
}

// Pairs are the variables as NAME=VALUE, by name.
func (v Variables) Pairs() (list []string) {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		list = append(list, name+"="+v[name])
	}
	return list
}

// Sequence is a record's sequence number within its shard. It is a decimal
// string on the wire; 0 is none and is left out.
type Sequence uint64

// String is the decimal form.
func (s Sequence) String() string { return strconv.FormatUint(uint64(s), 10) }

// MarshalText gives the decimal form.
func (s Sequence) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(s), 10), nil }

// UnmarshalText reads the decimal form.
func (s *Sequence) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return fmt.Errorf("a sequence number: a decimal number below 2^64")
	}
	*s = Sequence(v)
	return nil
}

// Schema is the type's place in the OpenAPI document.
func (Sequence) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: "^[0-9]{1,128}$", Examples: []any{"17592186044417"}, Description: "A sequence number: a decimal string that grows within its shard."}
}
