package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmill/shardmill/sdk/abi"
)

// web answers requests as their path says.
type web struct{}

func (web) Fetch(ctx context.Context, r *abi.HTTPRequest, allowed func(string, *url.URL) error) (*abi.HTTPResponse, error) {
	u, _ := url.Parse(r.URL)
	switch u.Path {
	case "/slow":
		<-ctx.Done()
		return nil, ctx.Err()
	case "/refused":
		return nil, fmt.Errorf("%w: a private address", ErrFetchDenied)
	case "/redirect":
		return nil, fmt.Errorf("%w: %w", ErrFetchDenied, allowed("GET", &url.URL{Scheme: "https", Host: "other.example"}))
	case "/broken":
		return nil, errors.New("connection refused")
	}
	return &abi.HTTPResponse{Status: 201, Header: []abi.HTTPHeader{{Name: "X-B", Value: r.Header[0].Value}}, Body: append([]byte(r.Method+" "), r.Body...)}, nil
}

func TestFetch(t *testing.T) {
	w := open(t, func(o *Options) { o.Doors.HTTP = web{} })
	w.deploy(t, "f", guests["fetch"], Config{HTTP: []string{"GET,POST https://a.example", "http://[::1]:8080/"}})
	for in, want := range map[string]string{
		"POST https://a.example/x":       "201 1 POST sent",
		"GET https://A.example.:443/x":   "201 1 GET sent",
		"HEAD http://[::1]:8080/":        "201 1 HEAD sent",
		"PUT https://a.example/x":        `not granted | fetch: not granted: it asked for "PUT" of "https://a.example:443", which`,
		"GET http://a.example/x":         "not granted",
		"GET https://a.example:444/x":    "not granted",
		"GET https://a.example.evil/x":   "not granted",
		"GET https://u:p@a.example/x":    "invalid",
		"GET ftp://a.example/x":          "invalid",
		"GET /x":                         "invalid",
		"GET https://a.example/refused":  "not granted | fetch: not granted: the request is refused: a private address",
		"GET https://a.example/redirect": `it asked for "GET" of "https://other.example:443"`,
		"GET https://a.example/broken":   "unavailable | fetch: unavailable: no answer from https://a.example:443: connection refused",
	} {
		if got := w.mustAsk(t, "f", in); !strings.Contains(got, want) {
			t.Errorf("%s: %s", in, got)
		}
	}
	lines, err := w.Logs(t.Context(), "f", time.Time{}, false)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for l := range lines {
		if strings.HasPrefix(l.Message, "denied: ") {
			n++
		}
	}
	if n != 6 {
		t.Errorf("%d lines tell of what was denied", n)
	}
}

// A guest that waits for an answer ends with its timeout, and its instance is not used again.
func TestFetchEndsWithTheCall(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := open(t, func(o *Options) { o.Doors.HTTP, o.Registerer = web{}, registry })
	w.deploy(t, "f", guests["fetch"], Config{HTTP: []string{"https://a.example"}, Timeout: time.Second})
	begin := time.Now()
	_, err := w.ask(t.Context(), "f", "GET https://a.example/slow")
	failure(t, err, FailTimeout)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := w.mustAsk(t, "f", "GET https://a.example/"); got != "201 1 GET sent" {
		t.Errorf("the next call: %s", got)
	}
	for range 2 {
		w.mustAsk(t, "f", "GET https://other.example/")
		w.mustAsk(t, "f", "GET https://a.example/broken")
		w.mustAsk(t, "f", "GET /x")
	}
	want := `
# HELP shardmill_function_door_calls_total Calls of the host's functions for secrets, state and HTTP, by what came of them.
# TYPE shardmill_function_door_calls_total counter
shardmill_function_door_calls_total{door="http_fetch",function="f",outcome="2xx"} 1
shardmill_function_door_calls_total{door="http_fetch",function="f",outcome="denied"} 2
shardmill_function_door_calls_total{door="http_fetch",function="f",outcome="invalid"} 2
shardmill_function_door_calls_total{door="http_fetch",function="f",outcome="stopped"} 1
shardmill_function_door_calls_total{door="http_fetch",function="f",outcome="unavailable"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "shardmill_function_door_calls_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "shardmill_function_door_seconds"); n != 1 || err != nil {
		t.Errorf("%d histograms, %v", n, err)
	}
	if err := w.Delete(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry, "shardmill_function_door_calls_total", "shardmill_function_door_seconds"); n != 0 || err != nil {
		t.Errorf("the deleted function has %d series, %v", n, err)
	}
}

func TestFetchGrants(t *testing.T) {
	for text, want := range map[string]string{
		"https://A.example":              "GET,HEAD https://a.example:443",
		"POST http://a.example/":         "POST http://a.example:80",
		"PUT,GET,PUT http://10.0.0.1:81": "GET,PUT http://10.0.0.1:81",
		"http://[::1]":                   "GET,HEAD http://[::1]:80",
	} {
		got, err := Config{HTTP: []string{text, text}}.normalize()
		if err != nil || !slices.Equal(got.HTTP, []string{want}) {
			t.Errorf("%s: %q, %v", text, got.HTTP, err)
		}
		if again, err := got.normalize(); err != nil || !again.equal(got) || got.equal(Config{}) {
			t.Errorf("%s again: %q, %v", text, again.HTTP, err)
		}
	}
	for _, text := range []string{
		"", "a.example", "ftp://a.example", "https://", "https://a.example/path", "https://a.example?q", "https://u@a.example", "https://*.example",
		"get https://a.example", "CONNECT https://a.example", ", https://a.example", "https://a.example:0", "https://a.example:x", "GET https://a b",
	} {
		var field *FieldError
		if got, err := (Config{HTTP: []string{text}}).normalize(); !errors.As(err, &field) || field.Field != "http" {
			t.Errorf("%q: %q, %v", text, got.HTTP, err)
		}
	}
	many := make([]string, MaxHTTP+1)
	for i := range many {
		many[i] = fmt.Sprintf("https://a.example:%d", i+1)
	}
	if _, err := (Config{HTTP: many}).normalize(); err == nil {
		t.Error("too many servers were taken")
	}
	if c := (Config{HTTP: []string{"GET https://a:443"}}).Against(Config{}); c.Gained[0] != "call GET https://a:443" {
		t.Errorf("%+v", c)
	}
	if _, err := open(t).Deploy(t.Context(), "f", guests["fetch"], Config{}); err == nil || !strings.Contains(err.Error(), "imports shardmill.http_fetch") {
		t.Errorf("%v", err)
	}
}
