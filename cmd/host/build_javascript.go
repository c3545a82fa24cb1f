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
	"strings"
	"time"

	"github.com/shardmill/shardmill/api"
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
	extension := filepath.Ext(path)
	return extension == ".js" || extension == ".ts"
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

// compileVerb makes this program a compiler of one script, from stdin to stdout: a process of its own, because a hostile source makes the compiler
// use up its stack or minutes of time.
const compileVerb = "compile-script"

// What a compiler of a script may take.
const (
	compileTimeout = 10 * time.Second
	compileMemory  = "GOMEMLIMIT=1GiB"
	compileStack   = 256 << 20 // bytes, which is some thirty thousand expressions in one another
)

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
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("compile a script: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, compileTimeout)
	defer cancel()
	cmd := exec.CommandContext(limited, self, compileVerb, string(language))
	cmd.Env = []string{compileMemory, "GOTRACEBACK=none"}
	cmd.Stdin = bytes.NewReader(source)
	var out bytes.Buffer
	cmd.Stdout = &out
	said, err := runCompiler(cmd)
	switch exit := (*exec.ExitError)(nil); {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("compile a script: %w", context.Cause(ctx))
	case limited.Err() != nil:
		return nil, &quickjs.SourceError{Problems: []string{fmt.Sprintf("it takes longer than %s to compile", shortDuration(compileTimeout))}}
	case errors.As(err, &exit) && strings.Contains(said, "stack"):
		return nil, &quickjs.SourceError{Problems: []string{"it is nested too deeply"}}
	case err != nil:
		return nil, fmt.Errorf("compile a script: %w: %s", err, strings.TrimSpace(said))
	}
	var answer compiledScript
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return nil, fmt.Errorf("compile a script: %w", err)
	}
	if answer.Script == nil {
		return nil, &quickjs.SourceError{Problems: answer.Problems}
	}
	return answer.Script, nil
}
