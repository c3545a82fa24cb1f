package api

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestUnreadAnswer asks for more than a connection holds and reads nothing: the
// host gives the connection up.
func TestUnreadAnswer(t *testing.T) {
	t.Parallel()
	h := bootWith(t, t.TempDir(), Limits{WriteIdle: 100 * time.Millisecond})
	h.stream(t, "s", 1)
	line := `"` + strings.Repeat("x", 100_000) + "\"\n"
	if _, err := h.PutLines(t.Context(), "s", strings.NewReader(strings.Repeat(line, 300)), LineOptions{}); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	server := httptest.NewUnstartedServer(h.handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v1/streams/s/records?follow=true HTTP/1.1\r\nHost: h\r\n\r\n")
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the host still waits for a client that reads nothing")
	}
}

// TestEveryRouteNeedsSomething checks the column of permissions.
func TestEveryRouteNeedsSomething(t *testing.T) {
	open := map[string]bool{"/v1/version": true, "/v1/openapi.json": true}
	for _, rt := range routes() {
		noun, verb, ok := strings.Cut(rt.permission, ":")
		if open[rt.path] {
			ok = rt.permission == ""
		} else {
			ok = ok && noun != "" && verb != ""
			read := verb == "read"
			ok = ok && read == (rt.method == http.MethodGet)
		}
		if !ok {
			t.Errorf("%s %s needs %q", rt.method, rt.path, rt.permission)
		}
		if !strings.HasPrefix(rt.path, "/v1/") || !strings.HasSuffix(rt.summary, ".") || rt.action.serve == nil {
			t.Errorf("%s %s: %+v", rt.method, rt.path, rt)
		}
	}
}
