package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	csdk "github.com/shardmill/shardmill/sdk/c"
)

const adviceC = "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32, or set WASI_SDK_PATH to a wasi-sdk " +
	"(https://github.com/WebAssembly/wasi-sdk)"

// cFlags make a reactor of what every engine of today runs. Names and lines stay, for the stacks of traps.
//
// The compiler proper is told how much to optimize, and not the driver, which would have a wasm-opt that is on the PATH go over the module and take out names and
// lines. The code is the same.
var cFlags = []string{
	"--target=wasm32-wasi", "-mexec-model=reactor", "-std=c11", "-Xclang", "-O2", "-Wall",
	"-mbulk-memory", "-msign-ext", "-mnontrapping-fptoint", "-g1",
}

// buildC compiles the *.c files of folder dir. shardmill.h is found there, or else it is this program's own.
func buildC(ctx context.Context, dir, out string) error {
	clang, err := findClang(ctx)
	if err != nil {
		return err
	}
	sources, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.c"))
	if err != nil {
		return fmt.Errorf("build function %s: %w", dir, err)
	}
	include, err := os.MkdirTemp("", "shardmill-build-")
	if err != nil {
		return fmt.Errorf("build function: %w", err)
	}
	defer os.RemoveAll(include)
	if err := os.WriteFile(filepath.Join(include, csdk.HeaderName), csdk.Header, 0o600); err != nil {
		return fmt.Errorf("build function: %w", err)
	}
	args := append([]string{"-I", include, "-o", out}, cFlags...)
	if here, err := filepath.Abs(dir); err == nil { // folders of this machine are nobody's business
		args = append(args, "-ffile-prefix-map="+here+"=.", "-ffile-prefix-map="+include+"=shardmill")
	}
	for _, source := range sources {
		if !isCTest(source) {
			args = append(args, "./"+filepath.Base(source))
		}
	}
	cmd := exec.CommandContext(ctx, clang, args...)
	cmd.Dir = dir
	if said, err := runCompiler(cmd); err != nil {
		return compilerFailure(ctx, dir, said, err)
	}
	return nil
}

// isCTest says whether a source file is no part of the function: name_test.c, as in Go, or test.c.
func isCTest(path string) bool {
	name := filepath.Base(path)
	return name == "test.c" || strings.HasSuffix(name, "_test.c")
}

// findClang is a clang that has all it needs for WebAssembly.
func findClang(ctx context.Context) (string, error) {
	var names []string
	if sdk := os.Getenv("WASI_SDK_PATH"); sdk != "" {
		names = append(names, filepath.Join(sdk, "bin", "clang"))
	}
	names = append(names, "clang")
	for version := 24; version >= 14; version-- {
		names = append(names, fmt.Sprintf("clang-%d", version))
	}
	missing := ""
	for _, name := range names {
		clang, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		lacks := clangLacks(ctx, clang)
		if lacks == "" {
			return clang, nil
		}
		missing = cmp.Or(missing, fmt.Sprintf("%s (%s is here)", lacks, clang))
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("build function: %w", context.Cause(ctx))
	}
	return "", &toolchainError{"a function in C", cmp.Or(missing, "clang, lld, wasi-libc and the compiler's run-time library for wasm32"), adviceC}
}

// clangLacks is what a clang does not find that it needs for WebAssembly; "" when nothing.
func clangLacks(ctx context.Context, clang string) string {
	ask := func(question string) string {
		out, err := exec.CommandContext(ctx, clang, "--target=wasm32-wasi", question).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	there := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil && filepath.IsAbs(path)
	}
	// Where clang knows no path for the linker, it takes the one of its own version from the PATH.
	major, _, _ := strings.Cut(ask("-dumpversion"), ".")
	_, err := exec.LookPath("wasm-ld")
	_, versionErr := exec.LookPath("wasm-ld-" + major)
	switch {
	case err != nil && versionErr != nil && !there(ask("-print-prog-name=wasm-ld")):
		return "lld (wasm-ld)"
	case !there(ask("-print-file-name=crt1-reactor.o")):
		return "wasi-libc"
	case !there(ask("-print-libgcc-file-name")):
		return "the compiler's run-time library for wasm32"
	}
	return ""
}
