package main

import (
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/shardmill/shardmill/api"
)

// client speaks to the host at --endpoint.
func (a *app) client() (*api.Client, error) {
	c, err := api.NewClient(a.endpoint, api.ClientOptions{UserAgent: "shardmill/" + buildVersion().Version})
	if err != nil {
		return nil, usagef("--endpoint is %q; it must be a URL such as %s", a.endpoint, defaultEndpoint)
	}
	a.clients = append(a.clients, c)
	return c, nil
}

// textValue is a flag of a type that reads itself from text, such as api.Size.
type textValue[T any] interface {
	*T
	encoding.TextUnmarshaler
	fmt.Stringer
}

// textFlag defines a flag that fills p; its zero value is shown as no default. Where limit is not "", it says what the flag may be when
// it is given, and zero is refused: only leaving it out means the default.
func textFlag[T comparable, P textValue[T]](flags *pflag.FlagSet, p P, name, kind, limit, usage string) {
	if limit != "" {
		usage += ", " + limit
	}
	flags.Var(&text[T, P]{p, kind, limit}, name, usage)
}

type text[T comparable, P textValue[T]] struct {
	value P
	kind  string
	limit string
}

func (t *text[T, P]) Set(s string) error {
	if err := t.value.UnmarshalText([]byte(s)); err != nil {
		return err
	}
	if t.zero() && t.limit != "" {
		return errors.New(t.limit)
	}
	return nil
}

func (t *text[T, P]) zero() bool {
	var zero T
	return t.value == nil || *t.value == zero
}

func (t *text[T, P]) Type() string { return t.kind }
func (t *text[T, P]) String() string {
	if t.zero() {
		return ""
	}
	return t.value.String()
}

// countFlag defines a flag for a number of one or more; 0 is shown as no default.
func countFlag(flags *pflag.FlagSet, p *int, name, limit, usage string) {
	flags.Var(&count{p, limit}, name, usage+", "+limit)
}

type count struct {
	value *int
	limit string
}

func (c *count) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return errors.New(c.limit)
	}
	*c.value = n
	return nil
}

func (c *count) Type() string { return "count" }
func (c *count) String() string {
	if c.value == nil || *c.value == 0 {
		return ""
	}
	return strconv.Itoa(*c.value)
}

// keyPointer turns the name of a top-level field into a JSON pointer (RFC 6901); a pointer stays as it is.
func keyPointer(key string) string {
	if key == "" || strings.HasPrefix(key, "/") {
		return key
	}
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// parseWhen reads a point in time: RFC 3339, or how long ago ("15m").
func parseWhen(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	var ago api.Duration
	if err := ago.UnmarshalText([]byte(s)); err != nil || ago < 0 {
		return time.Time{}, usagef("%q is neither a time (2026-01-02T15:04:05Z) nor how long ago (15m)", s)
	}
	return now.Add(-time.Duration(ago)), nil
}

// openInput opens a file to read, or standard input for "-". size is -1 when it is not known.
func (a *app) openInput(name string) (r io.ReadCloser, size int64, err error) {
	if name == "-" {
		return io.NopCloser(a.in), -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	if info.IsDir() {
		f.Close()
		return nil, 0, fmt.Errorf("%s is a folder; give a file", name)
	}
	if !info.Mode().IsRegular() {
		return f, -1, nil
	}
	return f, info.Size(), nil
}
