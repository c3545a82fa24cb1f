package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// buildError is a function whose source does not build. Output is what the compiler said.
type buildError struct {
	Dir    string
	Output string
}

func (e *buildError) Error() string {
	return fmt.Sprintf("%s does not build:\n%s", e.Dir, strings.TrimRight(e.Output, "\n"))
}

// toolchainError is a compiler that is not on this machine. Missing says what, Advice how to get it.
type toolchainError struct {
	Language string
	Missing  string
	Advice   string
}

func (e *toolchainError) Error() string {
	return fmt.Sprintf("build function: %s needs %s; %s", e.Language, e.Missing, e.Advice)
}

// language is one that functions can be written in.
type language struct {
	name string
	// mark is a pattern of the files that a folder with such a function has.
	mark string
	// build compiles the function in folder dir to a module at out, which is not there before.
	build func(ctx context.Context, dir, out string) error
}

// scriptLanguage is the language of which a built function is a source, too.
const scriptLanguage = "JavaScript or TypeScript"

// languages in the order in which their marks are looked for: a folder with a manifest of a language may have files of others.
var languages = []language{
	{"Rust", "Cargo.toml", buildRust},
	{"AssemblyScript", "asconfig.json", buildAssemblyScript},
	{"Go", "*.go", buildGo},
	{"C", "*.c", buildC},
	{scriptLanguage, "*.[jt]s", buildJavaScript},
}

// languageOf is the language of the function in folder dir; Go where nothing says so, whose compiler then says what is missing.
func languageOf(dir string) language {
	for _, l := range languages {
		if found, err := filepath.Glob(filepath.Join(escapeGlob(dir), l.mark)); err == nil && len(found) > 0 {
			return l
		}
	}
	return languages[slices.IndexFunc(languages, func(l language) bool { return l.name == "Go" })]
}

// escapeGlob is path as a pattern that matches nothing but path.
func escapeGlob(path string) string {
	if filepath.Separator == '\\' {
		return path
	}
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// buildFunction compiles the function in folder dir to a WebAssembly reactor module at out, whose folder it makes, or bundles its source there. It is the
// one place that knows how a function is built, in any language. A failed build leaves out as it was and is a *buildError; where the compiler is missing, it is a
// *toolchainError.
func buildFunction(ctx context.Context, dir, out string) error {
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("build function: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("build function: %s is not a folder", dir)
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return fmt.Errorf("build function: %w", err)
	}
	if writesOverSource(dir, out) {
		return &buildError{Dir: dir, Output: out + " is its source; name another file (-o)"}
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o777); err != nil { // -o build/function.mjs of a fresh checkout
		return fmt.Errorf("build function: %w", err)
	}
	partial := out + ".partial"
	defer os.Remove(partial)
	if err := languageOf(dir).build(ctx, dir, partial); err != nil {
		return err
	}
	if err := os.Rename(partial, out); err != nil {
		return fmt.Errorf("build function: %w", err)
	}
	return nil
}

// buildGo compiles a Go function. The module is the same, byte for byte, for the same source and Go version: paths are trimmed and the state of
// version control is left out, so that deploying it again makes no new version. The name section stays: a trap's stack
// can then be read, and leaving it out would save 2 % of the module.
//
// A program that neither imports the SDK nor exports anything itself is a command: each call runs its main.
func buildGo(ctx context.Context, dir, out string) error {
	packages := goPackages(ctx, dir)
	mode := "c-shared"
	if isGoCommand(dir, packages) {
		mode = "exe"
	}
	args := []string{"build", "-buildmode=" + mode, "-trimpath", "-buildvcs=false", "-o", out}
	if text := lambdaInit(packages); text != nil {
		overlay, remove, err := overlayFile(dir, lambdaInitName(dir), text)
		if err != nil {
			return fmt.Errorf("build function: %w", err)
		}
		defer remove()
		args = append(args, "-overlay", overlay)
	}
	cmd := goCommand(ctx, dir, append(args, ".")...)
	said, err := runCompiler(cmd)
	if errors.Is(err, exec.ErrNotFound) && ctx.Err() == nil {
		return &toolchainError{"a function in Go", "the `go` command", "install Go from https://go.dev/dl"}
	}
	if err != nil {
		return compilerFailure(ctx, dir, said, err)
	}
	if _, err := os.Stat(out); errors.Is(err, os.ErrNotExist) { // go build writes nothing for a package that is not main
		return &buildError{Dir: dir, Output: "the package is not main: a function is a `package main`"}
	}
	return nil
}

// packageMain is what goPackages has of the program itself.
const packageMain = "package main"

// goPackages are the packages that the program in folder dir is made of, its own as "package NAME"; none where the go command cannot
// list them: building then says why.
func goPackages(ctx context.Context, dir string) []string {
	out, err := goCommand(ctx, dir, "list", "-e", "-deps", "-f", "{{if not .DepOnly}}package {{.Name}}{{else}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		return nil
	}
	return strings.Split(string(out), "\n")
}

// isGoCommand is whether nothing in a program makes a reactor of it.
func isGoCommand(dir string, packages []string) bool {
	if !slices.Contains(packages, packageMain) || slices.Contains(packages, sdkPackage) {
		return false
	}
	files, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.go"))
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && bytes.Contains(text, []byte("\n//go:wasmexport "))
	})
}

const sdkPackage = "github.com/shardmill/shardmill/sdk"

// runCompiler runs a compiler and returns what it said.
func runCompiler(cmd *exec.Cmd) (said string, err error) {
	var text bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &text
	}
	cmd.Stderr = &text
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	return text.String(), err
}

// goCommand is the go command in folder dir, for WebAssembly.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	cmd.WaitDelay = time.Second
	return cmd
}

// compilerFailure tells apart why a compiler came to nothing.
func compilerFailure(ctx context.Context, dir, said string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("build function %s: %w", dir, context.Cause(ctx))
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && said != "" {
		return &buildError{Dir: dir, Output: said}
	}
	return fmt.Errorf("build function %s: %w", dir, err)
}

// buildResult is what `function build` shows.
type buildResult struct {
	File    string  `json:"file"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

func newFunctionBuild(a *app) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "build DIR",
		Short: "Compile a function's source to WebAssembly, or bundle it to one file of JavaScript",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Base(dir) + ".wasm"
				if languageOf(dir).name == scriptLanguage {
					out = filepath.Base(dir) + ".js"
				}
			}
			start := time.Now()
			if err := buildFunction(cmd.Context(), args[0], out); err != nil {
				return err
			}
			info, err := os.Stat(out)
			if err != nil {
				return err
			}
			took := time.Since(start)
			if a.output == outputJSON {
				return a.printJSON(buildResult{File: out, Bytes: info.Size(), Seconds: took.Seconds()})
			}
			_, err = fmt.Fprintf(a.out, "built %s (%s) in %s\n", out, byteSize(info.Size()), shortDuration(took))
			return err
		},
	}
	c.Flags().StringVarP(&out, "out", "o", "", "file to write (default: the folder's name with .wasm, or .js)")
	return c
}
