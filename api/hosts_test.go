package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestGuardHosts(t *testing.T) {
	served := GuardHosts(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), []string{"mill.example"})
	for host, want := range map[string]int{
		"localhost": 204, "LOCALHOST:4780": 204, "localhost.:4780": 204, "kinesis.localhost:4780": 204, "127.0.0.1:4780": 204, "127.1.2.3": 204, "[::1]:4780": 204,
		"[::ffff:127.0.0.1]:4780": 204, "": 204, "mill.example:4780": 204, "Mill.Example": 204,
		"evil.example": 421, "evil.example:4780": 421, "localhost.evil.example": 421, "10.0.0.1": 421, "[::2]": 421, "127.0.0.1.evil.example:80": 421, "a mill.example": 421,
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/version", nil)
		r.Host = host
		w := httptest.NewRecorder()
		served.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q is answered %d, want %d", host, w.Code, want)
		}
		if want == 204 {
			continue
		}
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Kind() != KindForeignHost || p.Field != "Host" {
			t.Errorf("Host %q: %s, %v", host, w.Body, err)
		}
	}
}
