package egress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/sdk/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errNot = errors.New("not allowed")

func TestFetch(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "elsewhere") }))
	defer elsewhere.Close()
	begun := make(chan struct{}, 8)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Was", r.Method+" "+r.Header.Get("X-A")+" "+r.UserAgent())
			w.WriteHeader(http.StatusTeapot)
			w.Write(body)
		case "/here":
			http.Redirect(w, r, "/echo", http.StatusTemporaryRedirect)
		case "/away":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/large":
			w.Write(make([]byte, abi.MaxResponseBody+1))
		case "/slow":
			io.Copy(io.Discard, r.Body) // only then the server notices that the client goes
			begun <- struct{}{}
			<-r.Context().Done()
		}
	}))
	defer s.Close()
	home, _ := url.Parse(s.URL)
	allowed := func(_ string, u *url.URL) error {
		if u.Host != home.Host {
			return errNot
		}
		return nil
	}
	host, err := ParseHost(home.Host)
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(Dialer{Hosts: []Host{host}, Setting: "--x"})
	defer c.Close()
	fetch := func(path string, timeout uint32) (*abi.HTTPResponse, error) {
		return c.Fetch(t.Context(), &abi.HTTPRequest{
			Method: "POST", URL: s.URL + path, Header: []abi.HTTPHeader{{Name: "x-a", Value: "1"}}, Body: []byte("body"), Timeout: timeout,
		}, allowed)
	}
	for _, path := range []string{"/echo", "/here"} {
		r, err := fetch(path, 0)
		if err != nil || r.Status != http.StatusTeapot || string(r.Body) != "body" {
			t.Fatalf("%s: %+v, %v", path, r, err)
		}
		was := ""
		for _, h := range r.Header {
			if h.Name == "X-Was" {
				was = h.Value
			}
		}
		if was != "POST 1 shardmill" {
			t.Errorf("%s: the server had %q", path, was)
		}
	}
	for path, want := range map[string]error{"/away": errNot, "/round": ErrRefused, "/large": ErrTooLarge} {
		if _, err := fetch(path, 0); !errors.Is(err, want) || strings.Contains(err.Error(), s.URL) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := fetch("/slow", 20); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: %v", err)
	}
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := c.Fetch(ctx, &abi.HTTPRequest{Method: "GET", URL: s.URL + "/slow"}, allowed); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	bare := NewClient(Dialer{Setting: "--x"})
	defer bare.Close()
	if _, err := bare.Fetch(t.Context(), &abi.HTTPRequest{Method: "GET", URL: s.URL + "/echo"}, allowed); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "(--x)") {
		t.Errorf("a private address that is not listed: %v", err)
	}
}
