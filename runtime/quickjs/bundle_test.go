package quickjs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong with a source is said with its place.
func TestCompileRefuses(t *testing.T) {
	for _, tt := range []struct {
		language     Language
		source, says string
	}{
		{JavaScript, "let a = ;\n", "function.js:1:9: Unexpected \";\""},
		{TypeScript, "\n\n  let a: number = = 1", "function.ts:3:19: "},
		{JavaScript, "let a: number = 1", "function.js:1:6: "},
		{TypeScript, `import { readFile } from "node:fs"; export default { batch() { readFile() } }`, `function.ts:1:26: it imports "node:fs", which is not there`},
		{JavaScript, `import x from "lodash"; x()`, `it imports "lodash"`},
		{JavaScript, `require("fs")`, `it imports "fs"`},
		{JavaScript, `await import("./other.js")`, `it imports the file "./other.js"`},
		{JavaScript, `import "/etc/passwd"`, `it imports the file "/etc/passwd"`},
		{JavaScript, `import "https://example.org/a.js"`, "which is not there"},
		{JavaScript, `export default await 1`, "Top-level await"},
		{JavaScript, `import { batch } from "shardmill"; export default { batch }`, "No matching export"},
		{JavaScript, "\x00asm\x01", "function.js:1:1"},
		{JavaScript, `const a = 1; a = 2`, "constant"},
	} {
		s, err := Compile([]byte(tt.source), tt.language)
		wrong := (*SourceError)(nil)
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: %v, %v, want %q", tt.source, s, err, tt.says)
		}
	}
}

func TestCompile(t *testing.T) {
	source := []byte("import type { Handlers } from \"shardmill\";\nenum E { A = 3 }\nexport default { invoke: () => E.A + \"\\u2028ü\" } satisfies Handlers;\n")
	first, err := Compile(source, TypeScript)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Compile(source, TypeScript)
	if err != nil || *first != *again {
		t.Errorf("compiled again it is another script: %v", err)
	}
	if strings.Contains(first.Text, "import") || !strings.HasSuffix(strings.TrimSpace(first.Text), scriptName) || !strings.Contains(first.Map, `"function.ts"`) {
		t.Errorf("%s\n%s", first.Text, first.Map)
	}
}

// Files, packages and what they import become one source, the same anywhere, whose places are those of the files.
func TestBundle(t *testing.T) {
	write := func(dir string, files map[string]string) {
		t.Helper()
		for name, text := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files := map[string]string{
		"index.ts":                            "import type { Handlers } from \"shardmill\";\nimport { one } from \"./lib/one\";\nimport two from \"two\";\nimport words from \"./words.json\";\nexport default { invoke: () => [one, two, words] } satisfies Handlers;\n",
		"lib/one.ts":                          "export const one: number = 1;\nexport const unused = 2;\n",
		"words.json":                          `["a"]`,
		"tsconfig.json":                       "this is not read",
		"node_modules/two/package.json":       `{"name":"two","main":"main.js","module":"module.js"}`,
		"node_modules/two/module.js":          "export default 2",
		"node_modules/two/main.js":            "throw new Error()",
		"node_modules/shardmill/package.json": "broken",
	}
	here, there := t.TempDir(), t.TempDir()
	write(here, files)
	write(there, files)
	bundle := func(dir string) []byte {
		entry, err := Entry(dir)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Bundle(entry)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := bundle(here)
	if !bytes.Equal(first, bundle(there)) {
		t.Error("the same files elsewhere give another bundle")
	}
	if strings.Contains(string(first), "unused") || !strings.Contains(string(first), "sourceMappingURL=data:") {
		t.Errorf("%s", first)
	}
	s, err := Compile(first, JavaScript)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.Map, `"index.ts"`) || !strings.Contains(s.Map, `"lib/one.ts"`) {
		t.Errorf("the map of the bundle is lost: %s", s.Map)
	}
	write(here, map[string]string{"lib/one.ts": "import fs from \"node:fs\";\nexport const one = fs;\n"})
	if _, err := Bundle(filepath.Join(here, "index.ts")); err == nil || !strings.Contains(err.Error(), `lib/one.ts:1:16: Could not resolve "node:fs": modules of Node do not exist here`) {
		t.Errorf("got %v", err)
	}
	if _, err := Bundle(filepath.Join(here, "none.ts")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := Entry(filepath.Join(here, "lib")); err == nil || !strings.Contains(err.Error(), "index.ts") {
		t.Errorf("got %v", err)
	}
}
