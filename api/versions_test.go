package api

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/capsule"
)

// deployTwo deploys the echo function as the versions 1 and 2.
func (h *host) deployTwo(t testing.TB) {
	t.Helper()
	h.deploy(t, "echo", FunctionConfig{Timeout: Duration(2 * time.Second)})
	h.deploy(t, "echo", FunctionConfig{Timeout: Duration(time.Second)})
}

// TestAliases walks an alias's life and calls through it.
func TestAliases(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.deployTwo(t)
	a, created, err := h.PutAlias(ctx, "echo", "prod", AliasConfig{Version: 1, Description: "serves"})
	if err != nil || !created || a.Name != "prod" || a.Version != 1 || a.Created.IsZero() {
		t.Fatalf("created %v, %+v, %v", created, a, err)
	}
	for qualifier, want := range map[string]int{"": 2, "1": 1, "2": 2, "prod": 1} {
		if got, err := h.Invoke(ctx, "echo", qualifier, []byte("back")); err != nil || got.Version != want || string(got.Body) != "back" {
			t.Errorf("%q is version %d, answers %q, %v", qualifier, got.Version, got.Body, err)
		}
	}
	config := AliasConfig{Version: 1, Canary: 2, Share: 1}
	if a, created, err = h.PutAlias(ctx, "echo", "prod", config); err != nil || created || a.AliasConfig != config {
		t.Errorf("created %v, %+v, %v", created, a, err)
	}
	if got, err := h.Invoke(ctx, "echo", "prod", nil); err != nil || got.Version != 2 {
		t.Errorf("the canary has all calls, but version %d ran, %v", got.Version, err)
	}
	f, err := h.Function(ctx, "echo")
	if err != nil || len(f.Aliases) != 1 || f.Aliases[0].AliasConfig != config || f.Versions[0].Invocations != 2 || f.Versions[1].Invocations != 3 {
		t.Errorf("%+v, %v", f, err)
	}
	if got, err := h.Alias(ctx, "echo", "prod"); err != nil || got.AliasConfig != config {
		t.Errorf("%+v, %v", got, err)
	}
	if list, err := h.Functions(ctx); err != nil || list[0].Aliases != nil {
		t.Errorf("the list names aliases: %+v, %v", list, err)
	}
	if err := h.DeleteVersion(ctx, "echo", 1, false); err == nil || asProblem(t, err).Kind() != KindInUse {
		t.Errorf("a version with an alias was deleted: %v", err)
	}
	if err := h.DeleteAlias(ctx, "echo", "prod", false); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		h.DeleteAlias(ctx, "echo", "prod", false), second(h.Alias(ctx, "echo", "prod")), second(h.Invoke(ctx, "echo", "prod", nil)),
	} {
		if p := asProblem(t, err); p.Kind() != KindAliasNotFound || p.Status != 404 || p.Value != "prod" {
			t.Errorf("after its deletion: %+v", p)
		}
	}
	if err := h.DeleteVersion(ctx, "echo", 1, false); err != nil {
		t.Error(err)
	}
	if p := asProblem(t, second(h.Invoke(ctx, "echo", "1", nil))); p.Kind() != KindVersionNotFound {
		t.Errorf("a version that was deleted: %+v", p)
	}
}

// TestRollbackAndReserve goes back to an older version, and stops a function.
func TestRollbackAndReserve(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.deployTwo(t)
	f, err := h.Rollback(ctx, "echo", 1)
	if err != nil || f.Version != 3 || f.Config.Timeout != Duration(2*time.Second) {
		t.Errorf("%+v, %v", f, err)
	}
	none, some := 0, 7
	if f, err = h.Reserve(ctx, "echo", &none); err != nil || f.Reserved == nil || *f.Reserved != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	if p := asProblem(t, second(h.Invoke(ctx, "echo", "", nil))); p.Status != 429 || p.Kind() != KindNothingReserved || !strings.Contains(p.Detail, "reserved concurrency is 0: it does not run until") || strings.Contains(p.Detail, "again in a moment") {
		t.Errorf("a function that is stopped: %+v", p)
	}
	if f, err = h.Reserve(ctx, "echo", &some); err != nil || *f.Reserved != 7 {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err = h.Reserve(ctx, "echo", nil); err != nil || f.Reserved != nil {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := h.Invoke(ctx, "echo", "", nil); err != nil {
		t.Error(err)
	}
}

// TestDownload gets the very bytes that were uploaded.
func TestDownload(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.deployTwo(t)
	f, err := h.Function(ctx, "echo")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{0, 1, 2} {
		code, err := h.Code(ctx, "echo", version)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(code.Bytes, echoModule(t)) || code.Digest != f.Digest || code.Language != "" {
			t.Errorf("version %d: %d bytes of digest %s, language %q", version, len(code.Bytes), code.Digest, code.Language)
		}
	}
}

// TestDeleteUsed refuses to delete a function that a mapping uses, unless it is forced to.
func TestDeleteUsed(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.deployTwo(t)
	if _, _, err := h.CreateStream(ctx, "s", StreamConfig{Shards: 1}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.PutMapping(ctx, "m", MappingConfig{Stream: "s", Function: "echo"}); err != nil {
		t.Fatal(err)
	}
	p := asProblem(t, h.DeleteFunction(ctx, "echo", false))
	if p.Kind() != KindInUse || p.Status != 409 || !strings.Contains(p.Detail, `"m"`) {
		t.Errorf("%+v", p)
	}
	if _, err := h.Invoke(ctx, "echo", "", nil); err != nil {
		t.Errorf("the refusal changed something: %v", err)
	}
	if err := h.DeleteFunction(ctx, "echo", true); err != nil {
		t.Error(err)
	}
}

// TestVersionsRefused sends the routes what they must refuse: each names its field, and nothing is changed.
func TestVersionsRefused(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.deployTwo(t)
	if _, _, err := h.PutAlias(ctx, "echo", "prod", AliasConfig{Version: 1}); err != nil {
		t.Fatal(err)
	}
	before, err := h.Function(ctx, "echo")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		kind               Kind
		field              string
	}{
		{"PUT", "/v1/functions/echo/aliases/12", `{}`, 400, KindInvalidField, "alias"},
		{"PUT", "/v1/functions/echo/aliases/$LATEST", `{}`, 400, KindInvalidField, "alias"},
		{"PUT", "/v1/functions/echo/aliases/" + strings.Repeat("a", 129), `{}`, 400, KindInvalidField, "alias"},
		{"PUT", "/v1/functions/echo/aliases/prod", `{"version":9}`, 404, KindVersionNotFound, "version"},
		{"PUT", "/v1/functions/echo/aliases/prod", `{"version":1,"canary":9,"share":0.5}`, 404, KindVersionNotFound, "canary"},
		{"PUT", "/v1/functions/echo/aliases/prod", `{"version":1,"canary":2,"share":2}`, 400, KindInvalidField, "share"},
		{"PUT", "/v1/functions/echo/aliases/prod", `{"version":1,"weight":2}`, 400, KindUnknownField, "weight"},
		{"PUT", "/v1/functions/nope/aliases/prod", `{}`, 404, KindFunctionNotFound, "name"},
		{"GET", "/v1/functions/echo/aliases/nope", "", 404, KindAliasNotFound, "alias"},
		{"POST", "/v1/functions/echo/rollback", `{}`, 400, KindInvalidField, "version"},
		{"POST", "/v1/functions/echo/rollback", `{"version":0}`, 400, KindInvalidField, "version"},
		{"POST", "/v1/functions/echo/rollback", `{"version":9}`, 404, KindVersionNotFound, "version"},
		{"PUT", "/v1/functions/echo/concurrency", `{"reserved":-1}`, 400, KindInvalidField, "reserved"},
		{"PUT", "/v1/functions/echo/concurrency", `{"reserved":1001}`, 400, KindInvalidField, "reserved"},
		{"PUT", "/v1/functions/echo/concurrency", `{"reserved":"many"}`, 400, KindInvalidField, "reserved"},
		{"GET", "/v1/functions/echo/code?version=9", "", 404, KindVersionNotFound, "version"},
		{"GET", "/v1/functions/echo/code?version=-1", "", 400, KindInvalidField, "version"},
		{"DELETE", "/v1/functions/echo/versions/2", "", 409, KindInUse, ""},
		{"DELETE", "/v1/functions/echo/versions/x", "", 400, KindInvalidField, "version"},
		{"DELETE", "/v1/functions/echo/versions/9", "", 404, KindVersionNotFound, "version"},
		{"DELETE", "/v1/functions/echo?force=maybe", "", 400, KindInvalidField, "force"},
		{"POST", "/v1/functions/echo/invoke?version=1&alias=prod", "", 400, KindInvalidField, "alias"},
		{"POST", "/v1/functions/echo/invoke?alias=nope", "", 404, KindAliasNotFound, "alias"},
	} {
		kind := ""
		if tt.body != "" {
			kind = "application/json"
		}
		status, text := h.send(t, tt.method, tt.path, kind, tt.body)
		var p Problem
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatalf("%s %s: %s: %v", tt.method, tt.path, text, err)
		}
		if status != tt.status || p.Kind() != tt.kind || p.Field != tt.field {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, status, text)
		}
	}
	after, err := h.Function(ctx, "echo")
	if err != nil || len(after.Versions) != 2 || len(after.Aliases) != 1 || after.Aliases[0] != before.Aliases[0] || after.Reserved != nil {
		t.Errorf("what was refused changed it: %+v, %v", after, err)
	}
}

// TestInvocations shows what became of calls: the latest, those that failed, and one with its log lines.
func TestInvocations(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.deploy(t, "echo", FunctionConfig{})
	first, err := h.Invoke(ctx, "echo", "", []byte("log"))
	if err != nil {
		t.Fatal(err)
	}
	p := asProblem(t, second(h.Invoke(ctx, "echo", "", []byte("fail"))))
	var all, failed []Invocation
	for i, err := range h.Invocations(ctx, "echo", InvocationOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, i)
	}
	for i, err := range h.Invocations(ctx, "echo", InvocationOptions{Failed: true}) {
		if err != nil {
			t.Fatal(err)
		}
		failed = append(failed, i)
	}
	if len(all) != 2 || all[0].ID != first.ID || all[0].Outcome != "ok" || all[0].Kind != "invoke" || all[0].Duration <= 0 || all[0].Source != nil {
		t.Errorf("all are %+v", all)
	}
	if len(failed) != 1 || failed[0].ID != p.Function.Invocation || failed[0].Outcome != p.Function.Kind || failed[0].Message != p.Function.Message {
		t.Errorf("failed are %+v, the caller had %+v", failed, p.Function)
	}
	one, err := h.Invocation(ctx, "echo", first.ID)
	if err != nil || one.ID != first.ID || len(one.Logs) == 0 || one.Logs[0].Invocation != first.ID {
		t.Errorf("one is %+v, %v", one, err)
	}
	for i, err := range h.Invocations(ctx, "echo", InvocationOptions{Logs: true}) {
		if err != nil || i.LogLines == 0 || len(i.Logs) != i.LogLines {
			t.Errorf("with its log it is %+v, %v", i, err)
		}
	}
	if p := asProblem(t, second(h.Invocation(ctx, "echo", "none"))); p.Kind() != KindInvocationNotFound || p.Value != "none" {
		t.Errorf("one that is not kept: %+v", p)
	}
	if p := asProblem(t, second(h.Invocation(ctx, "none", "x"))); p.Kind() != KindFunctionNotFound {
		t.Errorf("of no function: %+v", p)
	}
	following, end := context.WithCancel(ctx)
	seen := 0
	for i, err := range h.Invocations(following, "echo", InvocationOptions{Follow: true}) {
		if err != nil {
			break // it was ended
		}
		if seen++; seen == 2 {
			if _, err := h.Invoke(ctx, "echo", "", []byte("back")); err != nil {
				t.Error(err)
			}
		}
		if seen == 3 {
			if i.Version != 1 || i.Outcome != "ok" {
				t.Errorf("it goes on with %+v", i)
			}
			end()
		}
	}
	end()
	if seen != 3 {
		t.Errorf("%d were seen", seen)
	}
}

// TestCapsules lists, downloads and deletes what is kept.
func TestCapsules(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	for i, mapping := range []string{"m", "n"} {
		err := h.capsules.Put(&capsule.Capsule{Summary: capsule.Summary{
			ID: "c" + mapping, Made: time.Unix(int64(i), 0), Why: capsule.Failed, Function: "f", Version: 2, Mapping: mapping, Stream: "s", Shard: 3, First: 7, Last: 9,
			Records: 3, Outcome: "trap", Message: "unreachable", Reproduced: true,
		}, Limits: capsule.Limits{TimeoutMs: 1, MemoryBytes: 1 << 20}})
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := h.Client.Capsules(ctx, "")
	if err != nil || len(list) != 2 || list[0].ID != "cn" || list[1].Shard != "shardId-000000000003" || list[1].First != 7 || list[1].Size == 0 || !list[1].Reproduced {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := h.Client.Capsules(ctx, "m"); err != nil || len(list) != 1 || list[0].ID != "cm" {
		t.Errorf("of m: %+v, %v", list, err)
	}
	file, err := h.Capsule(ctx, "cm")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := capsule.Decode(file); err != nil || c.ID != "cm" || c.Outcome != "trap" {
		t.Errorf("%+v, %v", c, err)
	}
	if err := h.DeleteCapsule(ctx, "cm"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{h.DeleteCapsule(ctx, "cm"), second(h.Capsule(ctx, "cm"))} {
		if p := asProblem(t, err); p.Kind() != KindCapsuleNotFound || p.Status != 404 || p.Value != "cm" {
			t.Errorf("one that is gone: %+v", p)
		}
	}
}

// TestCapsuleSettings are a mapping's, and are refused out of their limits.
func TestCapsuleSettings(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.deploy(t, "echo", FunctionConfig{})
	h.stream(t, "s", 1)
	config := MappingConfig{Stream: "s", Function: "echo", Capsules: &CapsuleConfig{Failed: true, Slow: Duration(time.Second), Sample: 0.25}}
	m, _, err := h.PutMapping(ctx, "m", config)
	if err != nil || m.Capsules == nil || *m.Capsules != *config.Capsules {
		t.Errorf("%+v, %v", m.Capsules, err)
	}
	for field, bad := range map[string]CapsuleConfig{"capsules.slow": {Slow: Duration(time.Hour)}, "capsules.sample": {Sample: 1.5}} {
		config.Capsules = &bad
		if _, _, err := h.PutMapping(ctx, "m", config); asProblem(t, err).Field != field {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	config.Capsules = nil
	if m, _, err = h.PutMapping(ctx, "m", config); err != nil || m.Capsules != nil {
		t.Errorf("%+v, %v", m.Capsules, err)
	}
}
