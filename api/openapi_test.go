package api

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documentOf decodes the OpenAPI document of the table.
func documentOf(t *testing.T) (doc struct {
	Paths map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Permission  string `json:"x-shardmill-permission"`
		Parameters  []struct {
			Name, In string
			Required bool
		}
		RequestBody struct{ Content map[string]any }
		Responses   map[string]struct{ Content map[string]any }
	}
	Components struct {
		Schemas map[string]struct {
			Properties           map[string]any
			AdditionalProperties any
		}
	}
},
) {
	t.Helper()
	if err := json.Unmarshal(openAPI(routes(), "test"), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestDocumentDescribesEveryRoute walks the table: each route is described with
// its parameters, the forms of its bodies and its permission, and nothing else is.
func TestDocumentDescribesEveryRoute(t *testing.T) {
	doc := documentOf(t)
	described := 0
	for _, path := range doc.Paths {
		described += len(path)
	}
	table := routes()
	if described != len(table) {
		t.Errorf("%d operations are described, the table has %d routes", described, len(table))
	}
	ids := map[string]bool{}
	for _, rt := range table {
		name := rt.method + " " + rt.path
		op, ok := doc.Paths[rt.path][strings.ToLower(rt.method)]
		if !ok {
			t.Errorf("%s is not described", name)
			continue
		}
		if ids[op.OperationID] || op.OperationID == "" {
			t.Errorf("%s: operation id %q", name, op.OperationID)
		}
		ids[op.OperationID] = true
		if op.Permission != rt.permission {
			t.Errorf("%s needs %q, described is %q", name, rt.permission, op.Permission)
		}
		var got []string
		for _, p := range op.Parameters {
			got = append(got, p.In+":"+p.Name)
		}
		var want []string
		for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(rt.path, -1) {
			want = append(want, "path:"+m[1])
		}
		for _, f := range queryFields(rt.action.query) {
			want = append(want, "query:"+f.Tag.Get("query"))
		}
		for _, h := range rt.action.takes {
			want = append(want, "header:"+h.name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has the parameters %v, described are %v", name, want, got)
		}
		for _, form := range rt.action.in {
			if op.RequestBody.Content[form.mediaType] == nil {
				t.Errorf("%s: its body as %s is not described", name, form.mediaType)
			}
		}
		for _, a := range rt.action.out {
			for _, form := range a.forms {
				if op.Responses[fmt.Sprint(a.status)].Content[form.mediaType] == nil {
					t.Errorf("%s: its answer %d as %s is not described", name, a.status, form.mediaType)
				}
			}
		}
		if op.Responses["default"].Content[typeProblem] == nil {
			t.Errorf("%s: its problems are not described", name)
		}
	}
}

// TestDocumentIsStrictAboutRequestsOnly checks which schemas refuse unknown members.
func TestDocumentIsStrictAboutRequestsOnly(t *testing.T) {
	schemas := documentOf(t).Components.Schemas
	for name, strict := range map[string]bool{
		"StreamConfig": true, "PutRecords": true, "PutRecord": true, "MappingConfig": true, "FunctionConfig": true,
		"AcceptDamage": true, "Stream": false, "Record": false, "Problem": false,
	} {
		s, ok := schemas[name]
		if !ok {
			t.Errorf("%s is not described", name)
			continue
		}
		if got := s.AdditionalProperties == false; got != strict {
			t.Errorf("%s: additionalProperties is %v", name, s.AdditionalProperties)
		}
		for member := range s.Properties {
			if member[0] < 'a' || member[0] > 'z' {
				t.Errorf("%s has a member %s", name, member)
			}
		}
	}
}

// TestDocumentTellsWhatIsTaken sends the examples of the document, and names as long as it says they may be, to a host: each
// is taken, and a longer name is not.
func TestDocumentTellsWhatIsTaken(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.stream(t, "s", 1)
	h.deploy(t, "f", FunctionConfig{})
	module := string(echoModule(t))
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Schema   struct {
					Examples []any
					Pattern  string
				}
			}
		}
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Examples []any }
			}
		}
	}
	if err := json.Unmarshal(openAPI(routes(), "test"), &doc); err != nil {
		t.Fatal(err)
	}
	send := func(path, kind, body string, taken bool) {
		t.Helper()
		if status, answer := h.send(t, "PUT", path, kind, body); (status < 300) != taken {
			t.Errorf("PUT %s: %d %s", path, status, answer)
		}
	}
	sent := 0
	for schema, to := range map[string]struct{ path, body string }{
		"StreamConfig": {"/v1/streams/", `{%q:%q}`}, "MappingConfig": {"/v1/mappings/", `{"stream":"s","function":"f",%q:%q}`},
	} {
		for member, property := range doc.Components.Schemas[schema].Properties {
			for _, example := range property.Examples {
				send(to.path+member, typeJSON, fmt.Sprintf(to.body, member, example), true)
				sent++
			}
		}
	}
	for path, body := range map[string]struct{ kind, body string }{
		"/v1/streams/{name}": {typeJSON, "{}"}, "/v1/functions/{name}": {typeModule, module}, "/v1/mappings/{name}": {typeJSON, `{"stream":"s","function":"f"}`},
	} {
		for _, p := range doc.Paths[path]["put"].Parameters {
			for _, example := range p.Schema.Examples {
				send(fmt.Sprintf("%s?%s=%s", strings.Replace(path, "{name}", p.Name, 1), p.Name, example), body.kind, body.body, true)
				sent++
			}
			if longest := 0; p.In == "path" {
				if _, err := fmt.Sscanf(p.Schema.Pattern, "^[a-zA-Z0-9_.-]{1,%d}$", &longest); err != nil {
					t.Fatalf("%s: pattern %s: %v", path, p.Schema.Pattern, err)
				}
				for n, taken := range map[int]bool{longest: true, longest + 1: false} {
					send(strings.Replace(path, "{name}", strings.Repeat("n", n), 1), body.kind, body.body, taken)
				}
			}
		}
	}
	if sent < 6 {
		t.Errorf("%d examples were sent", sent)
	}
}

// TestDocumentNamesHeaders has the headers that a route reads, by the code, and answers with, by an answer, in the document.
func TestDocumentNamesHeaders(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.deploy(t, "echo", FunctionConfig{})
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
			Responses  map[string]struct{ Headers map[string]any }
		}
	}
	if err := json.Unmarshal(openAPI(routes(), "test"), &doc); err != nil {
		t.Fatal(err)
	}
	resp, err := h.Client.http.Post(h.url+"/v1/functions/echo/invoke", "", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	var answered, described []string
	for name := range resp.Header {
		if strings.HasPrefix(name, "Shardmill-") {
			answered = append(answered, name)
		}
	}
	for name := range doc.Paths["/v1/functions/{name}/invoke"]["post"].Responses["200"].Headers {
		described = append(described, name)
	}
	slices.Sort(answered)
	slices.Sort(described)
	if len(answered) == 0 || !slices.Equal(answered, described) {
		t.Errorf("an invocation's answer has %v, described are %v", answered, described)
	}
	reads := doc.Paths["/v1/streams/{name}/records"]["get"].Parameters
	if p := reads[len(reads)-1]; p.In != "header" || p.Name != "Last-Event-ID" {
		t.Errorf("the last parameter of a read is %+v", p)
	}
}

// TestDocumentIsServed asks the surface for the document.
func TestDocumentIsServed(t *testing.T) {
	h := boot(t)
	got, err := h.OpenAPI(t.Context())
	if err != nil || string(got) != string(openAPI(routes(), "test")) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestDocumentIsValid has openapi-spec-validator check the document; "pip
// install openapi-spec-validator" provides it.
func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err == nil {
		err = exec.Command(python, "-c", "import openapi_spec_validator").Run()
	}
	if err != nil {
		t.Skipf("SKIPPED: the OpenAPI document is not validated: python3 with openapi-spec-validator is not here (%v); pip install openapi-spec-validator", err)
	}
	file := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(file, openAPI(routes(), "test"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command(python, "-m", "openapi_spec_validator", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}
