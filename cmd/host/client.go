package main

import (
	"encoding"
	"fmt"
	"io"
	"os"
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

// textFlag defines a flag that fills p; its zero value is shown as no default.
func textFlag[T comparable, P textValue[T]](flags *pflag.FlagSet, p P, name, kind, usage string) {
	flags.Var(&text[T, P]{p, kind}, name, usage)
}

type text[T comparable, P textValue[T]] struct {
	value P
	kind  string
}

func (t *text[T, P]) Set(s string) error { return t.value.UnmarshalText([]byte(s)) }
func (t *text[T, P]) Type() string       { return t.kind }
func (t *text[T, P]) String() string {
	var zero T
	if t.value == nil || *t.value == zero {
		return ""
	}
	return t.value.String()
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
