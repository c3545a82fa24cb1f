package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// buildFunction compiles the Go function in folder dir to a WebAssembly reactor module at out. It is the one place
// that knows how a function is built. A failed build leaves out as it was and is a *buildError.
//
// The module is the same, byte for byte, for the same source and Go version: paths are trimmed and the state of
// version control is left out, so that deploying it again makes no new version. The name section stays: a trap's stack
// can then be read, and leaving it out would save 2 % of the module.
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
	partial := out + ".partial"
	defer os.Remove(partial)
	args := []string{"build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", partial}
	if text := lambdaInit(ctx, dir); text != nil {
		overlay, remove, err := overlayFile(dir, lambdaInitName, text)
		if err != nil {
			return fmt.Errorf("build function: %w", err)
		}
		defer remove()
		args = append(args, "-overlay", overlay)
	}
	cmd := goCommand(ctx, dir, append(args, ".")...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return goFailure(ctx, dir, said.String(), err)
	}
	if err := os.Rename(partial, out); err != nil {
		if errors.Is(err, os.ErrNotExist) { // go build writes nothing for a package that is not main
			return &buildError{Dir: dir, Output: "the package is not main: a function is a `package main`"}
		}
		return fmt.Errorf("build function: %w", err)
	}
	return nil
}

// goCommand is the go command in folder dir, for WebAssembly.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	cmd.WaitDelay = time.Second
	return cmd
}

// goFailure tells apart why `go build` came to nothing.
func goFailure(ctx context.Context, dir, said string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("build function %s: %w", dir, context.Cause(ctx))
	}
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("build function: no `go` on the PATH; install Go from https://go.dev/dl")
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
		Short: "Compile a function's Go source to WebAssembly",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Base(dir) + ".wasm"
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
	c.Flags().StringVarP(&out, "out", "o", "", "file to write (default: the folder's name with .wasm)")
	return c
}
