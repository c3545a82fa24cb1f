package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/runtime/quickjs"
)

// The compiler's process takes what the compiler takes, and ends at what would end the host.
func TestCompileScript(t *testing.T) {
	t.Parallel()
	compile := func(source string) error {
		_, err := compileScript(t.Context(), []byte(source), quickjs.TypeScript)
		return err
	}
	s, err := compileScript(t.Context(), []byte("export default { invoke: (a: any) => 1 }"), quickjs.TypeScript)
	if err != nil {
		t.Fatal(err)
	}
	if here, err := quickjs.Compile([]byte("export default { invoke: (a: any) => 1 }"), quickjs.TypeScript); err != nil || *here != *s {
		t.Errorf("in a process of its own it is another script: %v", err)
	}
	for source, says := range map[string]string{
		"let a = ;":                        "function.ts:1:9: ",
		strings.Repeat("a=>", 400_000):     "nested too deeply",
		strings.Repeat("({a:", 400_000):    "nested too deeply",
		`import "node:fs"`:                 `it imports "node:fs"`,
		strings.Repeat("[", 1000) + "\x00": "function.ts:1:",
	} {
		wrong := (*quickjs.SourceError)(nil)
		err := compile(source)
		if says == "nested too deeply" && err != nil && strings.Contains(err.Error(), "longer than") {
			continue // a busy machine's process has not come to its end before its time was up: the same to who uploads it
		}
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.20q…: %.200v, want %q", source, err, says)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := compileScript(ctx, nil, quickjs.TypeScript); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A source goes up as it is, over HTTP; a file and what it imports as one bundle, with the verb.
func TestDeployScript(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	c := cli{env: map[string]string{"SHARDMILL_ENDPOINT": "http://" + h.addr()}}
	put := func(kind, source string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+h.addr()+"/v1/functions/up?wait=true", strings.NewReader(source))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	const source = "export default { invoke: (b) => ({ got: b.json() }) }"
	for _, tt := range []struct {
		kind, source string
		status       int
		says         string
	}{
		{"text/javascript", source, 201, `"language":"javascript"`},
		{"application/javascript; charset=utf-8", source, 200, `"version":1`},
		{"text/typescript", source, 201, `"language":"typescript"`},
		{"application/typescript", "let a: = 1", 400, "function.ts:1:8: "},
		{"text/javascript", `import "fs"`, 400, `it imports \"fs\"`},
		{"text/plain", source, 415, "text/typescript"},
	} {
		if status, body := put(tt.kind, tt.source); status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: %d %s, want %d and %s", tt.kind, status, body, tt.status, tt.says)
		}
	}
	if r := c.run(t.Context(), "function", "invoke", "up", "[1]"); r.status != 0 || strings.TrimSpace(r.stdout) != `{"got":[1]}` {
		t.Errorf("%+v", r)
	}

	dir := t.TempDir()
	client, err := api.NewClient(h.addr(), api.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for version, extension := range map[int]string{1: ".js", 2: ".ts"} {
		if code, err := client.Code(t.Context(), "up", version); err != nil || extensionOf(code.Language) != extension || string(code.Bytes) != source {
			t.Errorf("version %d is %+v, %v", version, code, err)
		}
	}
	writeFile(t, filepath.Join(dir, "main.ts"), "import { two } from \"./two\";\nexport default { invoke() { return two() } };\n")
	writeFile(t, filepath.Join(dir, "two.ts"), "export function two(): number {\n\tthrow new Error(\"not today\");\n}\n")
	if r := c.run(t.Context(), "function", "deploy", "file", filepath.Join(dir, "main.ts")); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	r := c.run(t.Context(), "function", "invoke", "file", "1")
	if r.status == 0 || !strings.Contains(r.stderr, "not today") || !strings.Contains(r.stderr, "two.ts:2:") || !strings.Contains(r.stderr, "main.ts:2:") {
		t.Errorf("%+v", r)
	}
	out := filepath.Join(dir, "out.js")
	if r := c.run(t.Context(), "function", "download", "file", "-o", out); r.status != 0 {
		t.Errorf("%+v", r)
	}
	built := filepath.Join(dir, "built.js")
	if r := c.run(t.Context(), "function", "build", dir, "-o", built); r.status != 0 {
		t.Errorf("%+v", r)
	}
	if down, up := readString(t, out), readString(t, built); down != up {
		t.Errorf("what is stored is not what was built:\n%s\n%s", down, up)
	}
	for name, says := range map[string]string{"f.zip": "a zip, not a WebAssembly module", "f": "a program for Linux (ELF)"} {
		writeFile(t, filepath.Join(dir, name), map[string]string{"f.zip": "PK\x03\x04\x14\x00", "f": "\x7fELF\x02\x01\x01\x00"}[name])
		if r := c.run(t.Context(), "function", "deploy", "odd", filepath.Join(dir, name)); r.status == 0 || !strings.Contains(r.stderr, says) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	writeFile(t, filepath.Join(dir, "one.mts"), "import { two } from \"./two\";\nexport default { invoke(body: any): unknown { return two } };\n")
	if r := c.run(t.Context(), "function", "deploy", "odd", filepath.Join(dir, "one.mts")); r.status != 0 {
		t.Errorf("%+v", r)
	}
	writeFile(t, filepath.Join(dir, "two.ts"), "export function two() { return 1\n")
	if r := c.run(t.Context(), "function", "deploy", "file", dir); r.status == 0 || !strings.Contains(r.stderr, "two.ts:2:1: ") {
		t.Errorf("%+v", r)
	}
	if err := os.Remove(filepath.Join(dir, "main.ts")); err != nil {
		t.Fatal(err)
	}
	if r := c.run(t.Context(), "function", "deploy", "file", dir); r.status == 0 || !strings.Contains(r.stderr, "index.ts") {
		t.Errorf("%+v", r)
	}
}

// Neither a build nor a download writes over a script's source that it was not told to.
func TestSourceIsKept(t *testing.T) {
	h := testHost(t)
	c := cli{env: map[string]string{"SHARDMILL_ENDPOINT": "http://" + h.addr()}}
	t.Chdir(t.TempDir())
	const source = "export default { invoke: () => 1 } // mine\n"
	writeFile(t, "index/index.js", source)
	t.Chdir("index")
	if r := c.run(t.Context(), "function", "build", "."); r.status == 0 || !strings.Contains(r.stderr, "index.js is its source") {
		t.Errorf("%+v", r)
	}
	if r := c.run(t.Context(), "function", "deploy", "index", "."); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	if r := c.run(t.Context(), "function", "download", "index"); r.status == 0 || !strings.Contains(r.stderr, "index.js is there already; -o index.js writes over it") {
		t.Errorf("%+v", r)
	}
	if got := readString(t, "index.js"); got != source {
		t.Errorf("the source is now %q", got)
	}
	if r := c.run(t.Context(), "function", "download", "index", "-o", "index.js"); r.status != 0 || readString(t, "index.js") == source {
		t.Errorf("%+v", r)
	}
}

// dev needs nothing installed for a script: not even a PATH.
func TestDevScript(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := cli{}.run(t.Context(), "dev", example("delays-typescript"), "--stream", "flights", "--key", "origin", "--once", "--listen", freePort,
		"--feed", filepath.Join(example("delays"), "testdata", "flights.ndjson.gz"), "--output", "json")
	if r.status != 0 {
		t.Fatalf("%+v", r)
	}
	if !strings.Contains(r.stdout, `"DFW"`) || strings.Count(r.stdout, "\n") < 200 {
		t.Errorf("%.1000s\n%s", r.stdout, r.stderr)
	}
}

func TestProofOf(t *testing.T) {
	for code, want := range map[string]string{"": "", "\x00asm": "", "\x00asm\x01": "", "\x00as": "", "export": "javascript", "x": "javascript"} {
		if got := proofOf([]byte(code)).Language; got != want {
			t.Errorf("%q is %q, want %q", code, got, want)
		}
	}
	if err := compileMain("typescript", bytes.NewReader([]byte("x")), io.Discard); err != nil {
		t.Error(err)
	}
}
