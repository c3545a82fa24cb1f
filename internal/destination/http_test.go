package destination

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/egress"
)

// server is an HTTP server of a test; all says what it was asked.
func server(t *testing.T, h http.HandlerFunc) (at string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// hostOf is what the operator has to list for a URL.
func hostOf(t *testing.T, at string) egress.Host {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	h, err := egress.ParseHost(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// poster posts to the server at a URL, which is allowed.
func posting(t *testing.T, at string, timeout time.Duration) *Destinations {
	t.Helper()
	return open(t, Options{Hosts: []egress.Host{hostOf(t, at)}, Timeout: timeout})
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	type request struct{ method, path, id, kind, body string }
	var mu sync.Mutex
	var got []request
	at := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, request{r.Method, r.RequestURI, r.Header.Get("Idempotency-Key"), r.Header.Get("Content-Type"), string(body)})
		w.WriteHeader(http.StatusAccepted)
	})
	d := posting(t, at, 0)
	uri := at + "/hook?token=secret"
	if err := d.Check(t.Context(), uri); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", err, got)
	}
	doc := testDocument()
	if err := d.Deliver(t.Context(), uri, doc); err != nil {
		t.Fatal(err)
	}
	if want := (request{"POST", "/hook?token=secret", doc.ID, "application/json", string(doc.Whole)}); len(got) != 1 || got[0] != want {
		t.Errorf("%+v", got)
	}
}

// What the status says.
func TestHTTPStatus(t *testing.T) {
	t.Parallel()
	for status, lasts := range map[int]bool{
		300: true, 304: true, 400: true, 401: true, 403: true, 404: true, 408: false, 410: true, 413: true, 429: false, 500: false, 502: false, 503: false,
	} {
		at := server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "  because\xff ")
			_, _ = w.Write(make([]byte, 2*maxReason))
		})
		says := "answered " + http.StatusText(status)
		if status != http.StatusNotModified {
			says = `because`
		}
		wantFailure(t, posting(t, at, 0).Deliver(t.Context(), at+"/?token=secret", testDocument()), lasts, strings.TrimPrefix(says, "answered "))
	}
}

// A redirect is followed to the same server and as a POST; any other one is an answer that stores nothing.
func TestHTTPRedirects(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	bodies := map[string]string{}
	note := func(r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		bodies[r.Method+" "+r.Host+r.URL.Path] = string(body) + r.Header.Get("Idempotency-Key")
	}
	other := server(t, func(_ http.ResponseWriter, r *http.Request) { note(r) })
	at := server(t, func(w http.ResponseWriter, r *http.Request) {
		to, status := "/end", 0
		switch r.URL.Path {
		case "/permanent":
			status = http.StatusPermanentRedirect
		case "/temporary":
			status = http.StatusTemporaryRedirect
		case "/found":
			status = http.StatusFound
		case "/other":
			to, status = other+"/end?token=theirs", http.StatusTemporaryRedirect
		case "/scheme":
			to, status = "https://"+r.Host+"/end", http.StatusTemporaryRedirect
		case "/round":
			to, status = "/round", http.StatusTemporaryRedirect
		default:
			note(r)
			return
		}
		http.Redirect(w, r, to, status)
	})
	d := open(t, Options{Hosts: []egress.Host{{Name: "127.0.0.1"}}})
	doc := testDocument()
	for _, path := range []string{"/permanent", "/temporary"} {
		clear(bodies)
		if err := d.Deliver(t.Context(), at+path, doc); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if want := string(doc.Whole) + doc.ID; len(bodies) != 1 || bodies["POST "+strings.TrimPrefix(at, "http://")+"/end"] != want {
			t.Errorf("%s: %q", path, bodies)
		}
	}
	clear(bodies)
	for path, says := range map[string]string{
		"/found": "answered 302 Found to " + at + "/end", "/other": "answered 307 Temporary Redirect to " + other + "/end",
		"/scheme": "Redirect to https://", "/round": "Redirect to " + at + "/round",
	} {
		err := d.Deliver(t.Context(), at+path, doc)
		wantFailure(t, err, true, says)
		if strings.Contains(err.Error(), "theirs") {
			t.Errorf("a token is shown: %v", err)
		}
	}
	if len(bodies) != 0 {
		t.Errorf("what was redirected elsewhere went to %q", bodies)
	}
}

// A connection that breaks in the middle of the request or of the answer, and a server that does not answer, may work the next time.
func TestHTTPFaults(t *testing.T) {
	t.Parallel()
	var fault atomic.Value // of http.HandlerFunc
	at := server(t, func(w http.ResponseWriter, r *http.Request) { fault.Load().(http.HandlerFunc)(w, r) })
	doc := testDocument()
	doc.Whole = make([]byte, 4<<20)
	cut := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	d := posting(t, at, 0)
	uri := at + "/?token=secret"
	for name, f := range map[string]http.HandlerFunc{
		"within the request": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 100_000)
			cut(w)
		},
		"before the answer": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			cut(w)
		},
	} {
		fault.Store(f)
		err := d.Deliver(t.Context(), uri, doc)
		wantFailure(t, err, false, "")
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	fault.Store(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	slow := posting(t, at, 50*time.Millisecond)
	if err := slow.Deliver(t.Context(), uri, doc); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrMisconfigured) {
		t.Errorf("a server that does not answer: %v", err)
	}
	// An answer that says 2xx is one, whatever becomes of its body.
	fault.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	if err := d.Deliver(t.Context(), uri, doc); err != nil {
		t.Error(err)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	wantFailure(t, posting(t, gone.URL, 0).Deliver(t.Context(), gone.URL, doc), false, "connection refused")
}

// Whoever names a destination reaches no service of this machine or its network, by no spelling of it, unless the operator lists it, and those that
// hand out credentials in no case.
func TestHTTPInside(t *testing.T) {
	t.Parallel()
	at := server(t, func(http.ResponseWriter, *http.Request) { t.Error("it was posted to") })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(at, "http://"))
	doc := testDocument()
	d := open(t, Options{Hosts: []egress.Host{{Name: "localhost", Port: "1"}, {Name: "169.254.169.254"}, {Name: "hooks.internal"}}})
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1"} {
		uri := "http://" + host + ":" + port + "/"
		wantRefused(t, d, uri, "is no public address")
		wantFailure(t, d.Deliver(t.Context(), uri, doc), true, "is no public address, and its host is not listed by the operator (--failure-host)")
	}
	for _, host := range []string{"169.254.169.254", "[fd00:ec2::254]", "[::ffff:a9fe:a9fe]", "0.0.0.0:" + port, "[::]:" + port, "[64:ff9b::a9fe:a9fe]"} {
		uri := "http://" + host + "/latest/meta-data/"
		wantRefused(t, d, uri, "is an address that nothing is sent to")
		wantFailure(t, d.Deliver(t.Context(), uri, doc), true, "is an address that nothing is sent to")
	}
	wantRefused(t, d, "http://name.invalid/", "name.invalid")
}

// Settings of the environment do not put another server between.
func TestHTTPNoProxy(t *testing.T) {
	proxy := server(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") })
	t.Setenv("HTTP_PROXY", proxy)
	at := server(t, func(http.ResponseWriter, *http.Request) {})
	if err := posting(t, at, 0).Deliver(t.Context(), at, testDocument()); err != nil {
		t.Error(err)
	}
}
