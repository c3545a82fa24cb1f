package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/runtime/quickjs"
)

// buildJavaScript bundles the function in folder dir to one source in JavaScript. Nothing has to be installed for it.
func buildJavaScript(_ context.Context, dir, out string) error {
	entry, err := quickjs.Entry(dir)
	if err != nil {
		return &buildError{Dir: dir, Output: err.Error()}
	}
	bundle, err := bundleScript(entry)
	if err != nil {
		return err
	}
	return os.WriteFile(out, bundle, 0o666)
}

// writesOverSource is whether out is the script that folder dir is built from: `function build .` in a folder named index would write over index.js.
func writesOverSource(dir, out string) bool {
	entry, err := quickjs.Entry(dir)
	if err != nil || languageOf(dir).name != scriptLanguage {
		return false
	}
	source, err := os.Stat(entry)
	if err != nil {
		return false
	}
	target, err := os.Stat(out)
	return err == nil && os.SameFile(source, target)
}

// bundleScript is the file and all that it imports as one source.
func bundleScript(file string) ([]byte, error) {
	bundle, err := quickjs.Bundle(file)
	if wrong := (*quickjs.SourceError)(nil); errors.As(err, &wrong) {
		return nil, &buildError{Dir: file, Output: wrong.Error()}
	}
	return bundle, err
}

// isScript is whether a file's name is that of a source in JavaScript or TypeScript.
func isScript(path string) bool {
	return slices.Contains([]string{".js", ".ts", ".mjs", ".mts"}, filepath.Ext(path))
}

// proofOf says what code is: a module, or a bundle in JavaScript.
func proofOf(code []byte) api.Proof {
	if bytes.HasPrefix(code, []byte("\x00asm")) || bytes.HasPrefix([]byte("\x00asm"), code) {
		return api.Proof{}
	}
	return api.Proof{Language: string(quickjs.JavaScript)}
}

// extensionOf is that of files of code in a language, "" being WebAssembly.
func extensionOf(language string) string {
	if language == "" {
		return ".wasm"
	}
	return quickjs.Language(language).Extension()
}

// compileApart compiles one script, in the language that is its argument. A hostile source makes the compiler use up its stack or minutes of time.
var compileApart = &apart{
	verb: "compile-script", timeout: 10 * time.Second,
	env: []string{"GOMEMLIMIT=1GiB", "GOTRACEBACK=none"},
	main: func(language string, in io.Reader, out io.Writer) error {
		debug.SetMaxStack(256 << 20) // some thirty thousand expressions in one another
		return compileMain(language, in, out)
	},
}

// compiledScript is what the compiler's process answers.
type compiledScript struct {
	Script   *quickjs.Script `json:"script,omitempty"`
	Problems []string        `json:"problems,omitempty"`
}

// compileMain is the compiler's process.
func compileMain(language string, in io.Reader, out io.Writer) error {
	source, err := io.ReadAll(io.LimitReader(in, quickjs.MaxSourceBytes))
	if err != nil {
		return err
	}
	var answer compiledScript
	answer.Script, err = quickjs.Compile(source, quickjs.Language(language))
	if wrong := (*quickjs.SourceError)(nil); errors.As(err, &wrong) {
		answer.Problems, err = wrong.Problems, nil
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(answer)
}

// compileScript compiles a source in a process of its own.
func compileScript(ctx context.Context, source []byte, language quickjs.Language) (*quickjs.Script, error) {
	out, err := compileApart.run(ctx, string(language), source)
	switch exit := (*exec.ExitError)(nil); {
	case errors.Is(err, errTooLong):
		return nil, &quickjs.SourceError{Problems: []string{fmt.Sprintf("it takes longer than %s to compile", shortDuration(compileApart.timeout))}}
	case errors.Is(err, errEnded):
		return nil, fmt.Errorf("%w (%w)", runtime.ErrCompilerEnded, err)
	case errors.As(err, &exit) && strings.Contains(err.Error(), "stack"):
		return nil, &quickjs.SourceError{Problems: []string{"it is nested too deeply"}}
	case err != nil:
		return nil, fmt.Errorf("compile a script: %w", err)
	}
	var answer compiledScript
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("compile a script: %w", err)
	}
	if answer.Script == nil {
		return nil, &quickjs.SourceError{Problems: answer.Problems}
	}
	return answer.Script, nil
}
