package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

// goFunction writes a module with one main package that needs nothing but the standard library.
func goFunction(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "go.mod"), "module example.org/f\n\ngo 1.26\n")
	writeFile(t, filepath.Join(dir, "main.go"), source)
	return dir
}

const reactor = `package main

//go:wasmexport answer
func answer() int32 { return 42 }

func main() {}
`

func TestBuildFunction(t *testing.T) {
	dir, out := goFunction(t, reactor), filepath.Join(t.TempDir(), "f.wasm")
	if err := buildFunction(t.Context(), dir, out); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(first, []byte("\x00asm\x01\x00\x00\x00")) {
		t.Fatalf("not a WebAssembly module: % x", first[:8])
	}
	for _, want := range []string{"_initialize", "answer", "main.answer"} {
		if !bytes.Contains(first, []byte(want)) {
			t.Errorf("module does not contain %q", want)
		}
	}

	// The same source elsewhere gives the same bytes, so that deploying it makes no new version.
	elsewhere := filepath.Join(t.TempDir(), "g.wasm")
	if err := buildFunction(t.Context(), goFunction(t, reactor), elsewhere); err != nil {
		t.Fatal(err)
	}
	if again := readString(t, elsewhere); again != string(first) {
		t.Error("the same source gave different modules")
	}
}

func TestBuildFunctionFails(t *testing.T) {
	tests := []struct {
		name, source, says string
	}{
		{"syntax", "package main\n\nfunc main() { return 1 }\n", "main.go:3"},
		{"not main", "package f\n", "main package"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, out := goFunction(t, tt.source), filepath.Join(t.TempDir(), "f.wasm")
			writeFile(t, out, "the one before")
			err := buildFunction(t.Context(), dir, out)
			failed := (*buildError)(nil)
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v, want a build error that says %q", err, tt.says)
			}
			if got := readString(t, out); got != "the one before" {
				t.Errorf("the file was changed to %q", got)
			}
			if entries, _ := os.ReadDir(filepath.Dir(out)); len(entries) != 1 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
	t.Run("no folder", func(t *testing.T) {
		if err := buildFunction(t.Context(), filepath.Join(t.TempDir(), "none"), "f.wasm"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "f.go")
		writeFile(t, file, "")
		if err := buildFunction(t.Context(), file, "f.wasm"); err == nil || !strings.Contains(err.Error(), "not a folder") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no go", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		err := buildFunction(t.Context(), t.TempDir(), filepath.Join(t.TempDir(), "f.wasm"))
		if err == nil || !strings.Contains(err.Error(), "go.dev/dl") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no Node.js", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "asconfig.json"), "{}")
		t.Setenv("PATH", t.TempDir())
		missing := (*toolchainError)(nil)
		err := buildFunction(t.Context(), dir, filepath.Join(t.TempDir(), "f.wasm"))
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), "needs Node.js") {
			t.Errorf("got %v", err)
		}
		node := filepath.Join(t.TempDir(), "node")
		writeFile(t, node, "#!/bin/sh\n")
		if err := os.Chmod(node, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", filepath.Dir(node))
		err = buildFunction(t.Context(), dir, filepath.Join(t.TempDir(), "f.wasm"))
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), "npm install") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no Rust", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "Cargo.toml"), "")
		t.Setenv("PATH", t.TempDir())
		missing := (*toolchainError)(nil)
		err := buildFunction(t.Context(), dir, filepath.Join(t.TempDir(), "f.wasm"))
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), "a function in Rust needs cargo") || !strings.Contains(err.Error(), "rustup target add") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no clang", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "f.c"), "int f;")
		t.Setenv("PATH", t.TempDir())
		t.Setenv("WASI_SDK_PATH", "")
		missing := (*toolchainError)(nil)
		err := buildFunction(t.Context(), dir, filepath.Join(t.TempDir(), "f.wasm"))
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), "a function in C needs clang") || !strings.Contains(err.Error(), "apt-get install clang") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := buildFunction(ctx, goFunction(t, reactor), filepath.Join(t.TempDir(), "f.wasm"))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLanguageOf(t *testing.T) {
	for want, files := range map[string][]string{
		"Go":   {"main.go", "part.c"},
		"Rust": {"Cargo.toml", "build.c", "tool.go"},

		"AssemblyScript": {"asconfig.json", "package.json", "test.c"},
		"C":              {"f.c", "shardmill.h", "README.md"},
	} {
		dir := filepath.Join(t.TempDir(), "a[b]*c")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if got := languageOf(dir).name; got != "Go" {
			t.Errorf("an empty folder is taken for %s", got)
		}
		for _, name := range files {
			writeFile(t, filepath.Join(dir, name), "")
		}
		if got := languageOf(dir).name; got != want {
			t.Errorf("%v is taken for %s, want %s", files, got, want)
		}
	}
}

// What a compiler says of the source comes out as it said it, and a header of the function's own goes before the one in the binary.
func TestBuildC(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "f.wasm")
	writeFile(t, filepath.Join(dir, "f.c"), "#include \"shardmill.h\"\nint broken( {\n")
	writeFile(t, filepath.Join(dir, "f_test.c"), "not C")
	err := buildFunction(t.Context(), dir, out)
	skipMissing(t, err)
	failed := (*buildError)(nil)
	if !errors.As(err, &failed) || !strings.Contains(failed.Output, "f.c:2:") {
		t.Errorf("got %v, want what clang says of line 2", err)
	}
	writeFile(t, filepath.Join(dir, "shardmill.h"), "#error my own header\n")
	if err = buildFunction(t.Context(), dir, out); !errors.As(err, &failed) || !strings.Contains(failed.Output, "my own header") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a build that failed left a file")
	}
}

// What rustc says of the source comes out as it said it; a crate that makes no module is told how to.
func TestBuildRust(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "f.wasm")
	manifest := filepath.Join(dir, "Cargo.toml")
	source := filepath.Join(dir, "lib.rs")
	const crate = "[package]\nname = \"f\"\nversion = \"0.1.0\"\n\n[lib]\npath = \"lib.rs\"\n"
	writeFile(t, manifest, crate)
	writeFile(t, source, "pub fn f() {}\n\nfn broken( {\n")
	err := buildFunction(t.Context(), dir, out)
	skipMissing(t, err)
	failed := (*buildError)(nil)
	if !errors.As(err, &failed) || !strings.Contains(failed.Output, "lib.rs:3") {
		t.Errorf("got %v, want what rustc says of line 3", err)
	}
	writeFile(t, source, "pub fn f() {}\n")
	if err = buildFunction(t.Context(), dir, out); !errors.As(err, &failed) || !strings.Contains(failed.Output, "crate-type") {
		t.Errorf("got %v, want that the crate needs a crate-type", err)
	}
	writeFile(t, manifest, crate+"crate-type = [\"cdylib\"]\n")
	if err = buildFunction(t.Context(), dir, out); err != nil {
		t.Error(err)
	}
}

// What asc says of the source comes out as it said it.
func TestBuildAssemblyScript(t *testing.T) {
	_, asc, err := findAsc("testdata")
	skipMissing(t, err)
	dir := t.TempDir()
	modules := filepath.Dir(filepath.Dir(filepath.Dir(asc)))
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "asconfig.json"), `{"entries": ["index.ts"]}`)
	writeFile(t, filepath.Join(dir, "index.ts"), "export function f(): i32 {\n  return g();\n}\n")
	err = buildFunction(t.Context(), dir, filepath.Join(t.TempDir(), "f.wasm"))
	failed := (*buildError)(nil)
	if !errors.As(err, &failed) || !strings.Contains(failed.Output, "index.ts(2,") {
		t.Errorf("got %v, want what asc says of line 2", err)
	}
}

// The header needs no C library: linked without one, it runs on memory that it grows itself.
func TestFreestandingC(t *testing.T) {
	clang, err := findClang(t.Context())
	skipMissing(t, err)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "f.c"), `
#define SHARDMILL_IMPLEMENTATION
#include "shardmill.h"
static int copy(shardmill_call *c) {
    shardmill_record r;
    for (int i = 0; i < 3; i++)
        for (shardmill_rewind(c); shardmill_next(c, &r);) {
            shardmill_emit_record(c, i == 1 ? SHARDMILL_TEXT("b") : SHARDMILL_TEXT("a"), &r);
            shardmill_drop(c, r.index, r.key);
        }
    return 0;
}
SHARDMILL_FUNCTION(.batch = copy)
`)
	out := filepath.Join(dir, "f.wasm")
	cmd := exec.Command(clang, "--target=wasm32", "-ffreestanding", "-nostdlib", "-Wl,--no-entry", "-O2", "-mbulk-memory",
		"-I", filepath.Join("..", "..", "sdk", "c"), filepath.Join(dir, "f.c"), "-o", out)
	if said, err := runCompiler(cmd); err != nil {
		t.Fatal(said)
	}
	g := deployGuest(t, []byte(readString(t, out)), "a", "b")
	for _, size := range []int{0, 100_000, 10, 3_000_000, 70_000} {
		data := bytes.Repeat([]byte("z"), size)
		s := g.call(t, batchCall(t, record.Record{Key: []byte("k"), Data: data}, record.Record{Key: []byte("l")}))
		if s.Failed != "" || len(s.Emitted["a"]) != 4 || len(s.Emitted["b"]) != 2 || !slices.Equal(s.Outcomes, []string{"0 dropped k", "1 dropped l"}) {
			t.Errorf("%d bytes: %+v", size, s)
		}
	}
}

// A wasm-opt on the PATH, which clang would run by itself, has no part in what is built: it takes out the names that stacks need.
func TestBuildCWithoutWasmOpt(t *testing.T) {
	_, err := findClang(t.Context())
	skipMissing(t, err)
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "wasm-opt"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", os.Getenv("PATH")+string(filepath.ListSeparator)+bin)
	code, err := buildModule(t.Context(), filepath.Join("testdata", "touch", "c"))
	if err != nil || !bytes.Contains(code, []byte("shardmill_next")) {
		t.Errorf("%d bytes, without names; %v", len(code), err)
	}
}
