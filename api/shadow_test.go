package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestShadow walks a shadow's life: tried, compared, shown, promoted.
func TestShadow(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 2)
	h.deployTwo(t)
	if _, _, err := h.PutMapping(ctx, "m", MappingConfig{Stream: "s", Function: "echo", Qualifier: "1"}); err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{
		"show":    func() error { return second(h.Shadow(ctx, "m")) },
		"delete":  func() error { return h.DeleteShadow(ctx, "m") },
		"promote": func() error { return second(h.PromoteShadow(ctx, "m", "")) },
	} {
		p := asProblem(t, try())
		if p.Kind() != KindShadowNotFound || p.Status != 404 || !strings.Contains(p.Detail, "has no shadow") || !strings.Contains(p.Detail, "PUT /v1/mappings/{name}/shadow") {
			t.Errorf("%s: %+v", what, p)
		}
	}
	s, created, err := h.PutShadow(ctx, "m", ShadowConfig{Qualifier: "2", StartingPosition: "oldest"})
	if err != nil || !created || s.State != "enabled" || s.Function != "echo" || s.Identical != 1 || len(s.Shards) != 2 {
		t.Fatalf("%+v, created %v, %v", s, created, err)
	}
	if again, created, err := h.PutShadow(ctx, "m", s.ShadowConfig); err != nil || created || again.ID != s.ID {
		t.Errorf("%+v, created %v, %v", again, created, err)
	}
	if status, body := h.send(t, "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"partitionKey":"k","text":"one"`)); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	deadline := time.Now().Add(30 * time.Second)
	for s.Records == 0 && time.Now().Before(deadline) {
		if s, err = h.Shadow(ctx, "m"); err != nil {
			t.Fatal(err)
		}
	}
	if s.Records != 1 || s.Calls != 1 || s.SameCalls != 1 || s.Identical != 1 || s.Serving.Version != 1 || s.Candidate.Version != 2 || s.Candidate.Fuel == 0 ||
		s.Candidate.FuelPerRecord != float64(s.Candidate.Fuel) || s.Candidate.Mean == 0 || s.Candidate.P50 == 0 || s.Candidate.P99 < s.Candidate.P50 {
		t.Errorf("%+v", s)
	}
	m, err := h.Mapping(ctx, "m")
	if err != nil || m.Shadow == nil || m.Shadow.ID != s.ID || m.Shadow.Shards != nil || m.Shadow.Records != 1 || m.Qualifier != "1" {
		t.Errorf("%+v, %v", m.Shadow, err)
	}
	if err := h.DeleteFunction(ctx, "echo", false); err == nil || asProblem(t, err).Kind() != KindInUse {
		t.Errorf("a function that a mapping uses was deleted: %v", err)
	}
	if _, err := h.PromoteShadow(ctx, "m", "another"); err == nil || asProblem(t, err).Kind() != KindConflict {
		t.Errorf("another shadow was promoted: %v", err)
	}
	if m, err = h.PromoteShadow(ctx, "m", s.ID); err != nil || m.Qualifier != "2" || m.Shadow != nil || m.State != "enabled" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, _, err := h.PutShadow(ctx, "m", ShadowConfig{Qualifier: "1"}); err != nil {
		t.Fatal(err)
	}
	if err := h.DeleteVersion(ctx, "echo", 1, false); err == nil || asProblem(t, err).Kind() != KindInUse {
		t.Errorf("a version that is tried was deleted: %v", err)
	}
	if err := h.DeleteShadow(ctx, "m"); err != nil {
		t.Fatal(err)
	}
	if m, err = h.Mapping(ctx, "m"); err != nil || m.Shadow != nil || m.Qualifier != "2" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestBadShadows(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 1)
	h.deployTwo(t)
	if _, _, err := h.PutMapping(ctx, "m", MappingConfig{Stream: "s", Function: "echo", Qualifier: "1"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mapping, body string
		status        int
		kind          Kind
		field, limit  string
	}{
		{"none", `{"qualifier":"2"}`, 404, KindMappingNotFound, "name", "exists"},
		{"m", `{"qualifier":"1"}`, 400, KindInvalidField, "qualifier", "another version"},
		{"m", `{"qualifier":"3"}`, 400, KindInvalidField, "qualifier", "a version that the function has"},
		{"m", `{"qualifier":"a b"}`, 400, KindInvalidField, "qualifier", ""},
		{"m", `{"qualifier":2}`, 400, KindInvalidField, "qualifier", ""},
		{"m", `{"function":"none"}`, 400, KindInvalidField, "function", "exists"},
		{"m", `{"qualifier":"2","startingPosition":"middle"}`, 400, KindInvalidField, "startingPosition", "oldest"},
		{"m", `{"qualifier":"2","startingPosition":"timestamp"}`, 400, KindInvalidField, "startingTime", "a time"},
		{"m", `{"qualifier":"2","startingPosition":"timestamp","startingTime":"2999-01-01T00:00:00Z"}`, 400, KindInvalidField, "startingTime", "not in the future"},
		{"m", `{"qualifier":"2","http":"yes"}`, 400, KindInvalidField, "http", ""},
		{"m", `{"qualifier":"2","shadow":"x"}`, 400, KindUnknownField, "shadow", ""},
		{"m", `{"qualifier"`, 400, KindMalformedJSON, "qualifier", ""},
	} {
		status, body := h.send(t, "PUT", "/v1/mappings/"+c.mapping+"/shadow", typeJSON, c.body)
		var p Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Errorf("%s: %d %q is no problem: %v", c.body, status, body, err)
		}
		if status != c.status || p.Kind() != c.kind || p.Field != c.field || !strings.Contains(p.Limit, c.limit) {
			t.Errorf("%s: %d %+v", c.body, status, p)
		}
	}
}
