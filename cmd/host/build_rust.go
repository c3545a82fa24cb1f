package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const adviceRust = "`rustup target add wasm32-wasip1` gets it, or with Debian's and Ubuntu's Rust: " +
	"apt-get install cargo rustc libstd-rust-dev-wasm32 lld"

// rustTargets are those that a function can be built for, the best first: with WASI its standard library can print and tell the
// time. wasm32-wasi is what wasm32-wasip1 was called before Rust 1.78.
var rustTargets = []string{"wasm32-wasip1", "wasm32-wasi", "wasm32-unknown-unknown"}

// rustToolchain is a cargo and a rustc that compile for a WebAssembly target.
type rustToolchain struct {
	cargo, rustc, target string
	linker               string // "": rustc has its own
}

// buildRust compiles the crate in folder dir. Symbols have a hash of where the crate lies, so that the module is the same
// for the same source and compiler only in the same folder.
func buildRust(ctx context.Context, dir, out string) error {
	tool, err := findRust(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tool.cargo, "build", "--release", "--quiet", "--target", tool.target, "--message-format", "json-render-diagnostics")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RUSTC="+tool.rustc)
	linker := "CARGO_TARGET_" + strings.ToUpper(strings.ReplaceAll(tool.target, "-", "_")) + "_LINKER"
	if tool.linker != "" && os.Getenv(linker) == "" {
		cmd.Env = append(cmd.Env, linker+"="+tool.linker)
	}
	var messages bytes.Buffer
	cmd.Stdout = &messages
	if said, err := runCompiler(cmd); err != nil {
		return compilerFailure(ctx, dir, said, err)
	}
	module, err := cargoModule(dir, messages.Bytes())
	if err != nil {
		return err
	}
	if err := copyFile(module, out); err != nil {
		return fmt.Errorf("build function: %w", err)
	}
	return nil
}

// cargoModule is the module that cargo says it made of the crate in dir.
func cargoModule(dir string, messages []byte) (string, error) {
	manifest, err := filepath.Abs(filepath.Join(dir, "Cargo.toml"))
	if err != nil {
		return "", fmt.Errorf("build function: %w", err)
	}
	found := ""
	for line := range bytes.Lines(messages) {
		var m struct {
			Manifest  string `json:"manifest_path"`
			Filenames []string
		}
		if json.Unmarshal(line, &m) != nil || m.Manifest != manifest {
			continue
		}
		if i := slices.IndexFunc(m.Filenames, func(name string) bool { return strings.HasSuffix(name, ".wasm") }); i >= 0 {
			found = m.Filenames[i]
		}
	}
	if found == "" {
		return "", &buildError{Dir: dir, Output: "the crate makes no module: it needs, in Cargo.toml, [lib] with crate-type = [\"cdylib\", \"rlib\"]"}
	}
	return found, nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o666)
}

// findRust looks for the first Rust on the PATH that has the standard library for one of the targets: there may be one of rustup
// and one of the system.
func findRust(ctx context.Context) (rustToolchain, error) {
	missing := "cargo, rustc and Rust's standard library for wasm32"
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		cargo, err := exec.LookPath(filepath.Join(folder, "cargo"))
		if err != nil {
			continue
		}
		rustc, err := exec.LookPath(filepath.Join(folder, "rustc"))
		if err != nil {
			continue
		}
		missing = fmt.Sprintf("Rust's standard library for wasm32, which %s does not have", rustc)
		if target, linker, ok := rustTarget(ctx, rustc); ok {
			return rustToolchain{cargo, rustc, target, linker}, nil
		}
	}
	if ctx.Err() != nil {
		return rustToolchain{}, fmt.Errorf("build function: %w", context.Cause(ctx))
	}
	return rustToolchain{}, &toolchainError{"a function in Rust", missing, adviceRust}
}

// rustTarget is the best target that a rustc has the standard library for, and the linker where it brings none.
func rustTarget(ctx context.Context, rustc string) (target, linker string, ok bool) {
	out, err := exec.CommandContext(ctx, rustc, "--print", "sysroot").Output()
	if err != nil {
		return "", "", false
	}
	lib := filepath.Join(strings.TrimSpace(string(out)), "lib", "rustlib")
	i := slices.IndexFunc(rustTargets, func(target string) bool {
		found, err := filepath.Glob(filepath.Join(escapeGlob(lib), target, "lib", "libcore-*.rlib"))
		return err == nil && len(found) > 0
	})
	if i < 0 {
		return "", "", false
	}
	version, err := exec.CommandContext(ctx, rustc, "-vV").Output()
	if err != nil {
		return "", "", false
	}
	host, llvm := lineOf(version, "host: "), lineOf(version, "LLVM version: ")
	if _, err := os.Stat(filepath.Join(lib, host, "bin", "rust-lld")); !errors.Is(err, os.ErrNotExist) {
		return rustTargets[i], "", true
	}
	// Debian's rustc links with the system's lld; one of another version may refuse its objects.
	major, _, _ := strings.Cut(llvm, ".")
	for _, name := range []string{"wasm-ld-" + major, "rust-lld", "wasm-ld"} {
		if path, err := exec.LookPath(name); err == nil {
			return rustTargets[i], path, true
		}
	}
	return "", "", false
}

// lineOf is what is behind a name at the beginning of a line.
func lineOf(text []byte, name string) string {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			return string(bytes.TrimSpace(rest))
		}
	}
	return ""
}
