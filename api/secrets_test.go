package api

import (
	"bytes"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestSecretsOverTheAPI walks a secret's life; its value is in no answer.
func TestSecretsOverTheAPI(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	s, created, err := h.SetSecret(ctx, "token", []byte("hunter2\x00"))
	if err != nil || !created || s.Name != "token" || s.Created.IsZero() {
		t.Fatalf("%+v, %v, %v", s, created, err)
	}
	if s, created, err = h.SetSecret(ctx, "token", []byte("hunter3")); err != nil || created || s.Modified.Before(s.Created) {
		t.Errorf("%+v, %v, %v", s, created, err)
	}
	if list, err := h.Secrets(ctx); err != nil || len(list) != 1 || list[0] != s {
		t.Errorf("%+v, %v", list, err)
	}
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
		want                     string
	}{
		{"PUT", "/v1/secrets/token", typeBytes, "hunter4", 200, `"name":"token"`},
		{"GET", "/v1/secrets", "", "", 200, `"secrets":[{"name":"token"`},
		{"GET", "/v1/secrets/token", "", "", 405, `"method-not-allowed"`},
		{"PUT", "/v1/secrets/token", typeJSON, `"hunter5"`, 415, `"field":"Content-Type"`},
		{"PUT", "/v1/secrets/token", typeBytes, "", 400, `"field":"value"`},
		{"PUT", "/v1/secrets/token", typeBytes, strings.Repeat("hunter6", 10_000), 413, `"field":"body"`},
		{"PUT", "/v1/secrets/" + strings.Repeat("n", 129), typeBytes, "hunter7", 400, `"field":"name"`},
		{"PUT", "/v1/secrets/token?value=hunter8", typeBytes, "hunter8", 400, `unknown-parameter`},
		{"DELETE", "/v1/secrets/none", "", "", 404, `There is no secret \"none\".`},
		{"DELETE", "/v1/secrets/token", "", "", 204, ``},
		{"GET", "/v1/secrets", "", "", 200, `"secrets":[]`},
	} {
		status, answer := h.send(t, c.method, c.path, c.kind, c.body)
		if status != c.status || !strings.Contains(strings.ReplaceAll(answer, "urn:shardmill:problem:", ""), c.want) || strings.Contains(answer, "hunter") {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, answer)
		}
	}
}

// TestGrantsOverTheAPI deploys with secrets and variables, and is told what a new version may do that the last one could not.
func TestGrantsOverTheAPI(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	env := Variables{"LEVEL": "debug", "ODD": "a=b&c, d"}
	f := h.deploy(t, "f", FunctionConfig{Emit: []string{"a"}, Secrets: []string{"token"}, Env: env})
	if f.Change == nil || f.Change.Against != 0 || f.Change.Lost != nil || len(f.Change.Gained) != 4 {
		t.Errorf("the first version: %+v", f.Change)
	}
	if !slices.Equal(f.Config.Secrets, []string{"token"}) || f.Config.Env["ODD"] != env["ODD"] || len(f.Config.Env) != 2 {
		t.Errorf("%+v", f.Config)
	}
	if f = h.deploy(t, "f", f.Config); f.Version != 1 || f.Change != nil {
		t.Errorf("the same again is version %d with the change %+v", f.Version, f.Change)
	}
	f = h.deploy(t, "f", FunctionConfig{Emit: []string{"a", "b"}, Env: Variables{"LEVEL": "info"}})
	if f.Change == nil || f.Change.Against != 1 ||
		!slices.Equal(f.Change.Gained, []string{`emit to stream "b"`, `see variable LEVEL as "info"`}) ||
		!slices.Equal(f.Change.Lost, []string{`read secret "token"`, `see variable LEVEL as "debug"`, `see variable ODD as "a=b&c, d"`}) {
		t.Errorf("the second version: %+v", f.Change)
	}
	if f, err := h.Rollback(ctx, "f", 1); err != nil || f.Version != 3 || f.Change == nil || f.Change.Against != 2 || f.Change.Gained[0] != `read secret "token"` {
		t.Errorf("rolled back: %+v, %v", f.Change, err)
	}
	if f, err := h.Rollback(ctx, "f", 3); err != nil || f.Version != 3 || f.Change != nil {
		t.Errorf("rolled back to itself: version %d, %+v, %v", f.Version, f.Change, err)
	}
	if f, err := h.Function(ctx, "f"); err != nil || f.Change != nil {
		t.Errorf("described: %+v, %v", f.Change, err)
	}
	for query, want := range map[string]string{
		"env=LEVEL":                         `"value":"LEVEL"`,
		"env=A=hunter2&env=A=hunter2":       `env is \"A\"; it must be NAME=VALUE, each name once`,
		"env=" + url.QueryEscape("1=2"):     `"value":"1"`,
		"secrets=" + url.QueryEscape("a b"): `"field":"secrets"`,
	} {
		status, answer := h.send(t, "PUT", "/v1/functions/g?"+query, typeModule, string(echoModule(t)))
		if status != 400 || !strings.Contains(answer, want) || strings.Contains(answer, "hunter") {
			t.Errorf("%s: %d %s", query, status, answer)
		}
	}
}

func TestVariables(t *testing.T) {
	var v Variables
	for _, text := range []string{"B=2", "A=", "C=x=y"} {
		if err := v.Add(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", "B", "B=3"} {
		if err := v.Add(text); !errors.Is(err, errVariables) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got := v.Pairs(); !slices.Equal(got, []string{"A=", "B=2", "C=x=y"}) {
		t.Errorf("%q", got)
	}
	if !bytes.Contains(openAPI(routes(), "test"), []byte(`"^[A-Za-z_][A-Za-z0-9_]*="`)) {
		t.Error("the document does not describe a variable in a query")
	}
}
