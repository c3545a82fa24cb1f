package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestAdmin asks the admin handler for everything it has.
func TestAdmin(t *testing.T) {
	registry := prometheus.NewRegistry()
	New(Options{Registerer: registry}).metrics.observe(routes()[0], 0, 0)
	var broken error
	admin := NewAdmin(AdminOptions{
		Gatherer: registry,
		Checks:   []Check{{"catalog", func() error { return nil }}, {"streams", func() error { return broken }}},
	})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	for path, want := range map[string]string{
		"/livez":                         "ok",
		"/readyz":                        `{"ready":true,"checks":[{"name":"catalog","ready":true},{"name":"streams","ready":true}]}`,
		"/metrics":                       `shardmill_http_requests_total{method="GET",route="/v1/streams",status="200"} 1`,
		"/debug/pprof/":                  "goroutine",
		"/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/cmdline":           "api",
	} {
		if status, body := get(path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.200s", path, status, body)
		}
	}
	broken = errors.New("the disk is gone")
	if status, body := get("/readyz"); status != 503 || !strings.Contains(body, `{"name":"streams","ready":false,"error":"the disk is gone"}`) {
		t.Errorf("not ready: %d %s", status, body)
	}
	if status, body := get("/v1/streams"); status != 404 || !strings.Contains(body, "no-route") {
		t.Errorf("a path of the other listener: %d %s", status, body)
	}
}

// TestServerSpeaksHTTP2 calls the surface over HTTP/2 without TLS, and follows.
func TestServerSpeaksHTTP2(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 1)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	client, err := NewClient(h.url, ClientOptions{HTTP: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	resp, err := client.http.Get(h.url + "/v1/version")
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatalf("%+v, %v", resp, err)
	}
	resp.Body.Close()
	if a, err := client.PutLines(t.Context(), "s", strings.NewReader(strings.Repeat("{\"a\":1}\n", 10_000)), LineOptions{}); err != nil || a.Put != 10_000 {
		t.Fatalf("%+v, %v", a, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err := range client.Records(ctx, "s", ReadOptions{Follow: true}) {
		if err != nil {
			break
		}
		if n++; n == 10_000 {
			cancel()
		}
	}
	if n != 10_000 {
		t.Errorf("%d records", n)
	}
	_, err = client.PutLines(t.Context(), "s", strings.NewReader("{"), LineOptions{})
	if p := asProblem(t, err); p.Kind() != KindMalformedLine {
		t.Errorf("%+v", p)
	}
}

// TestServerGuards checks that a listener is not open to slow headers.
func TestServerGuards(t *testing.T) {
	for _, s := range []*http.Server{NewServer(New(Options{}), nil), NewAdminServer(NewAdmin(AdminOptions{}), nil)} {
		if s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 || s.ReadTimeout != 0 || s.WriteTimeout != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// TestVersion asks for the version.
func TestVersion(t *testing.T) {
	h := boot(t)
	v, err := h.Version(t.Context())
	if err != nil || v.Version != "test" || !strings.HasPrefix(v.Go, "go1.") || v.OS == "" || v.Arch == "" {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestClientErrors is about hosts that are none.
func TestClientErrors(t *testing.T) {
	for _, endpoint := range []string{"", "ftp://host", "http://", "http://a b"} {
		if _, err := NewClient(endpoint, ClientOptions{}); err == nil {
			t.Errorf("%q is taken for an endpoint", endpoint)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	c, err := NewClient(address, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Version(t.Context()); err == nil || errors.As(err, new(*Problem)) || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("nobody listens: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Version(ended); err != context.Canceled {
		t.Errorf("a call that was given up: %v", err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	if c, err = NewClient(other.URL, ClientOptions{}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Version(t.Context()); asProblem(t, err).Status != 404 || asProblem(t, err).Kind() != "" {
		t.Errorf("another server: %v", err)
	}
}

// TestPanicIsCaught has a handler panic: the connection ends, the host goes on.
func TestPanicIsCaught(t *testing.T) {
	h := New(Options{}) // without engines every handler panics
	s := httptest.NewServer(h)
	defer s.Close()
	if resp, err := s.Client().Get(s.URL + "/v1/streams"); err == nil {
		t.Errorf("answered %s", resp.Status)
	}
	resp, err := s.Client().Get(s.URL + "/v1/version")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}
