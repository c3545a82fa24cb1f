package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := buildFunction(ctx, goFunction(t, reactor), filepath.Join(t.TempDir(), "f.wasm"))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
