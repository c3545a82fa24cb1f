package api

import (
	"bytes"
	"context"
	"errors"
	"mime/multipart"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// deploy deploys the echo function.
func (h *host) deploy(t testing.TB, name string, config FunctionConfig) Function {
	t.Helper()
	f, _, err := h.Deploy(t.Context(), name, bytes.NewReader(echoModule(t)), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := keepCompiled(h.cache()); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFunctions walks a function's life: deployed, deployed again, changed,
// listed, described, deleted.
func TestFunctions(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	module := echoModule(t)
	config := FunctionConfig{Timeout: Duration(2 * time.Second), Memory: 64 << 20, Concurrency: 2, Emit: []string{"a", "b"}}
	f, created, err := h.Deploy(ctx, "echo", bytes.NewReader(module), config)
	if err != nil || !created || f.Version != 1 || f.State != "active" || f.Size != Size(len(module)) || f.Config.Memory != config.Memory || len(f.Config.Emit) != 2 {
		t.Fatalf("created %v, %+v, %v", created, f, err)
	}
	if strings.Join(f.Handles, " ") != "batch windowClose transform invoke" {
		t.Errorf("handles %q", f.Handles)
	}
	if f, created, err = h.Deploy(ctx, "echo", bytes.NewReader(module), config); err != nil || created || f.Version != 1 {
		t.Errorf("the same again: created %v, version %d, %v", created, f.Version, err)
	}
	config.Timeout = Duration(time.Second)
	if f, created, err = h.Deploy(ctx, "echo", bytes.NewReader(module), config); err != nil || !created || f.Version != 2 {
		t.Errorf("another timeout: created %v, version %d, %v", created, f.Version, err)
	}
	list, err := h.Functions(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "echo" || list[0].Versions != nil {
		t.Errorf("list is %+v, %v", list, err)
	}
	if f, err = h.Function(ctx, "echo"); err != nil || len(f.Versions) != 2 || f.Versions[0].Config.Timeout != Duration(2*time.Second) {
		t.Errorf("%+v, %v", f, err)
	}
	if err := h.DeleteFunction(ctx, "echo", false); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{h.DeleteFunction(ctx, "echo", false), second(h.Function(ctx, "echo")), second(h.Invoke(ctx, "echo", "", nil))} {
		if p := asProblem(t, err); p.Status != 404 || p.Kind() != KindFunctionNotFound {
			t.Errorf("after its deletion: %+v", p)
		}
	}
}

// TestDeployForm deploys by multipart/form-data, with and without settings.
func TestDeployForm(t *testing.T) {
	t.Parallel()
	h := boot(t)
	form := func(parts ...[2]string) (kind, body string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for _, part := range parts {
			p, _ := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + part[0] + `"`}})
			p.Write([]byte(part[1]))
		}
		w.Close()
		return w.FormDataContentType(), b.String()
	}
	module := string(echoModule(t))
	kind, body := form([2]string{"config", `{"timeout":"5s","memory":"96MiB"}`}, [2]string{"wasm", module})
	if status, answer := h.send(t, "PUT", "/v1/functions/echo?wait=true", kind, body); status != 201 || !strings.Contains(answer, `"timeout":"5s"`) || !strings.Contains(answer, `"memory":100663296`) {
		t.Fatalf("%d %s", status, answer)
	}
	for name, c := range map[string]struct {
		path  string
		parts [][2]string
		want  string
	}{
		"no module":             {"", [][2]string{{"config", "{}"}}, `"field":"wasm"`},
		"an unknown part":       {"", [][2]string{{"code", module}}, `"title":"The multipart form is not the one this route takes"`},
		"an unknown setting":    {"", [][2]string{{"config", `{"timout":"1s"}`}, {"wasm", module}}, `"field":"timout"`},
		"two modules":           {"", [][2]string{{"wasm", module}, {"wasm", module}}, `wasm is there twice`},
		"settings twice":        {"", [][2]string{{"config", `{"timeout":"1s"}`}, {"config", "{}"}, {"wasm", module}}, `"field":"config"`},
		"settings in the query": {"?memory=1MiB", [][2]string{{"wasm", module}}, `"field":"config"`},
	} {
		kind, body := form(c.parts...)
		if status, answer := h.send(t, "PUT", "/v1/functions/echo"+c.path, kind, body); status != 400 || !strings.Contains(answer, c.want) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if status, answer := h.send(t, "PUT", "/v1/functions/echo", "multipart/form-data", "x"); status != 400 || !strings.Contains(answer, "malformed-form") {
		t.Errorf("no boundary: %d %s", status, answer)
	}
	if f, err := h.Function(t.Context(), "echo"); err != nil || f.Version != 1 {
		t.Errorf("after refused forms: version %d, %v", f.Version, err)
	}
}

// TestInvoke calls a function that answers, and one that fails in each way.
func TestInvoke(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.deploy(t, "echo", FunctionConfig{Timeout: Duration(time.Minute)}) // a machine under load answers late
	h.deploy(t, "loop", FunctionConfig{Timeout: Duration(time.Second)})
	for body, kind := range map[string]string{`{"a":1}`: typeJSON, "\x00\xff": typeBytes, "": typeBytes} {
		got, err := h.Invoke(ctx, "echo", "", []byte(body))
		if err != nil || string(got.Body) != body || got.ContentType != kind || got.Version != 1 || got.ID == "" {
			t.Errorf("%q: %+v, %v", body, got, err)
		}
	}
	for body, want := range map[string]FunctionFailure{
		"fail": {Kind: "error", Message: "asked to fail"},
		"exit": {Kind: "exit", ExitCode: new(3)},
		"loop": {Kind: "timeout"},
	} {
		name := "echo"
		if body == "loop" {
			name = "loop"
		}
		_, err := h.Invoke(ctx, name, "", []byte(body))
		p := asProblem(t, err)
		f := p.Function
		if p.Status != 502 || p.Kind() != KindFunctionFailed || f == nil || f.Kind != want.Kind || !reflect.DeepEqual(f.ExitCode, want.ExitCode) || !strings.Contains(f.Message, want.Message) || f.Invocation == "" || f.Version != 1 {
			t.Errorf("%s: %+v %+v", body, p, f)
		}
	}
	_, err := h.Invoke(ctx, "echo", "9", nil)
	if p := asProblem(t, err); p.Kind() != KindVersionNotFound || p.Field != "version" || p.Reason != "Function echo has no version 9." {
		t.Errorf("an unknown version: %+v", p)
	}
}

// TestTransform calls a transform as a delivery stream does.
func TestTransform(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.deploy(t, "echo", FunctionConfig{})
	records := []PutRecord{{PartitionKey: "a", Data: []byte("drop it")}, {PartitionKey: "b", JSON: jsontext.Value(`{"n":1}`)}, {PartitionKey: "c", Data: []byte("split x")}, {PartitionKey: "d", Data: []byte("reject broken")}}
	got, err := h.Transform(ctx, "echo", "1", records)
	if err != nil || len(got.Records) != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, want := range []string{
		`{"result":"dropped","reason":"it"}`, `{"result":"ok","records":[{"partitionKey":"b","json":{"n":1}}]}`,
		`{"result":"ok","replaced":true,"records":[{"partitionKey":"c","text":"split x"},{"partitionKey":"c","data":"/w=="}]}`,
		`{"result":"rejected","reason":"broken"}`,
	} {
		if b, err := json.Marshal(got.Records[i]); string(b) != want || err != nil {
			t.Errorf("record %d: %s, %v; want %s", i, b, err, want)
		}
	}
	if b := got.Records[2].Records[1].Bytes(); string(b) != "\xff" {
		t.Errorf("%q", b)
	}
	_, err = h.Transform(ctx, "echo", "", []PutRecord{{PartitionKey: "k", Data: []byte("fail now")}})
	if p := asProblem(t, err); p.Kind() != KindFunctionFailed || p.Function.Message != "now" {
		t.Errorf("%+v", p)
	}
	for body, want := range map[string]string{
		`{}`:             `"field":"records"`,
		`{"records":[]}`: "is empty",
		`{"records":[{"partitionKey":"k","text":"x"},{"partitionKey":"","text":"x"}]}`: `"field":"records[1].partitionKey"`,
		`{"records":[{"partitionKey":"k"}]}`:                                           `"field":"records[0].data"`,
	} {
		if status, answer := h.send(t, "POST", "/v1/functions/echo/transform", typeJSON, body); status != 400 || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	for query, want := range map[string]int{"version=9": 404, "alias=none": 404, "version=-1": 400, "version=1&alias=x": 400} {
		if status, answer := h.send(t, "POST", "/v1/functions/echo/transform?"+query, typeJSON, `{"records":[{"partitionKey":"k","text":"x"}]}`); status != want {
			t.Errorf("%s: %d %s", query, status, answer)
		}
	}
}

// TestFuelGoesWithADeploy has the limit in the version.
func TestFuelGoesWithADeploy(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.deploy(t, "echo", FunctionConfig{Fuel: 5_000_000})
	if f, err := h.Function(t.Context(), "echo"); err != nil || f.Config.Fuel != 5_000_000 {
		t.Errorf("%+v, %v", f.Config, err)
	}
}

// TestLogs reads what a function logged, and follows what it logs then.
func TestLogs(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.deploy(t, "echo", FunctionConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, err := h.Invoke(ctx, "echo", "", []byte("log"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line, err := range h.Logs(ctx, "echo", LogOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Invocation == first.ID && line.Function == "echo" && line.Version == 1 && time.Since(line.Time) < time.Minute {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d lines of the invocation, want 2", n)
	}
	n = 0
	for line, err := range h.Logs(ctx, "echo", LogOptions{Follow: true}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the follow ended with %v", err)
			}
			break
		}
		switch n++; {
		case n == 2:
			if _, err := h.Invoke(ctx, "echo", "", []byte("log")); err != nil {
				t.Fatal(err)
			}
		case n == 4:
			if line.Invocation == first.ID {
				t.Errorf("line 4 is of the first invocation")
			}
			cancel()
		}
	}
	for _, err := range h.Logs(t.Context(), "nobody", LogOptions{}) {
		if p := asProblem(t, err); p.Kind() != KindFunctionNotFound {
			t.Errorf("an unknown function: %+v", p)
		}
	}
}

// TestMappings walks a mapping's life, with records that it hands over.
func TestMappings(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 2)
	h.deploy(t, "echo", FunctionConfig{})
	config := MappingConfig{Stream: "s", Function: "echo", BatchSize: 10, BatchWindow: Duration(time.Millisecond), MaxAttempts: 3}
	m, created, err := h.PutMapping(ctx, "m", config)
	if err != nil || !created || m.Stream != "s" || m.BatchSize != 10 || m.StartingPosition != "oldest" || m.State != "enabled" {
		t.Fatalf("created %v, %+v, %v", created, m, err)
	}
	if _, created, err = h.PutMapping(ctx, "m", config); err != nil || created {
		t.Errorf("the same again: created %v, %v", created, err)
	}
	config.StartingPosition = "newest"
	_, _, err = h.PutMapping(ctx, "m", config)
	if p := asProblem(t, err); p.Status != 409 || p.Kind() != KindConflict || !strings.HasSuffix(p.Detail, "startingPosition cannot be changed; "+
		"delete the mapping and make it anew, or leave that setting as it is.") {
		t.Errorf("another starting position: %+v", p)
	}
	if _, err := h.PutLines(ctx, "s", strings.NewReader(strings.Repeat("{\"k\":1}\n", 25)), LineOptions{}); err != nil {
		t.Fatal(err)
	}
	// The function logs a line per batch: its log is how the test waits.
	for _, err := range h.Logs(ctx, "echo", LogOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if m, err = h.Mapping(ctx, "m"); err != nil {
			t.Fatal(err)
		}
		if m.Counts.Delivered == 25 {
			break
		}
	}
	if len(m.Shards) != 2 || m.Shards[0].Shard != "shardId-000000000000" || m.Shards[0].State == "" {
		t.Errorf("shards are %+v", m.Shards)
	}
	list, err := h.Mappings(ctx)
	if err != nil || len(list) != 1 || list[0].Shards != nil {
		t.Errorf("list is %+v, %v", list, err)
	}
	if err := h.DeleteMapping(ctx, "m"); err != nil {
		t.Fatal(err)
	}
	if p := asProblem(t, h.DeleteMapping(ctx, "m")); p.Kind() != KindMappingNotFound {
		t.Errorf("after its deletion: %+v", p)
	}
}

// TestDeployInTheBackground is answered before the module is compiled.
func TestDeployInTheBackground(t *testing.T) {
	t.Parallel()
	h := boot(t)
	ctx := t.Context()
	module := echoModule(t)
	settled := func(state string) (f Function) {
		for err := error(nil); f.State != state || f.Update != nil && f.Update.State == "pending"; {
			if f, err = h.Function(ctx, "echo"); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	status, answer := h.send(t, "PUT", "/v1/functions/echo", typeModule, string(module))
	if status != 202 || !strings.Contains(answer, `"state":"pending"`) || !strings.Contains(answer, `"update":{"version":1`) {
		t.Fatalf("%d %s", status, answer)
	}
	if _, err := h.Invoke(ctx, "echo", "", []byte("x")); err != nil {
		t.Errorf("a call waits for the first version: %v", err)
	}
	if f := settled("active"); f.Version != 1 || f.Update != nil {
		t.Errorf("compiled: %+v", f)
	}
	if status, answer := h.send(t, "PUT", "/v1/functions/echo", typeModule, string(module)); status != 200 {
		t.Errorf("the same again: %d %s", status, answer)
	}
	f, err := h.Submit(ctx, "echo", bytes.NewReader(module), FunctionConfig{Fuel: 5000}, Proof{})
	if err != nil || f.Version != 1 || f.Update == nil || f.Update.Version != 2 || f.Update.State != "pending" || f.Update.Config.Fuel != 5000 {
		t.Errorf("an update: %+v, %v", f, err)
	}
	if f = settled("active"); f.Version != 2 || f.Config.Fuel != 5000 {
		t.Errorf("updated: %+v", f)
	}
	if status, answer := h.send(t, "PUT", "/v1/functions/echo", typeModule, string(module[:len(module)/2])); status != 400 || !strings.Contains(answer, `"field":"code"`) {
		t.Errorf("half a module: %d %s", status, answer)
	}
}
