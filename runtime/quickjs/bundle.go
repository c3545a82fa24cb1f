package quickjs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// Compiler names what makes scripts of sources. What it made before is of no use when it changes.
const Compiler = "esbuild 0.28.2, 1"

// Language is what a source is written in.
type Language string

// The languages.
const (
	JavaScript Language = "javascript"
	TypeScript Language = "typescript"
)

// Extension is that of files of the language.
func (l Language) Extension() string {
	if l == TypeScript {
		return ".ts"
	}
	return ".js"
}

// MaxSourceBytes bounds one source, and a bundle of many.
const MaxSourceBytes = 4 << 20

// SourceError is a source that is not taken: what is wrong, a line each, with file:line:column.
type SourceError struct{ Problems []string }

// Error is all problems, a line each.
func (e *SourceError) Error() string { return strings.Join(e.Problems, "\n") }

// scriptName is what a bundle's value is bound to.
const scriptName = "__shardmill"

// Compile makes a script of one source that stands alone. Errors, and stacks where the source has no source map of its own, call it
// function.js or function.ts. The error is a *SourceError.
//
// It trusts the source to be written by people: hostile ones of some hundred kilobytes use up the stack of the process, which ends it, or
// minutes of time. For those, run it in a process of its own.
func Compile(source []byte, language Language) (*Script, error) {
	o := options(api.FormatIIFE)
	o.GlobalName, o.Footer = scriptName, map[string]string{"js": scriptName}
	o.Sourcemap = api.SourceMapExternal
	o.Stdin = &api.StdinOptions{Contents: string(source), Sourcefile: "function" + language.Extension(), Loader: loaderOf(language)}
	o.Plugins = []api.Plugin{alone}
	r, err := build(o)
	if err != nil {
		return nil, err
	}
	s := &Script{}
	for _, f := range r.OutputFiles {
		if strings.HasSuffix(f.Path, ".map") {
			s.Map = string(f.Contents)
		} else {
			s.Text = string(f.Contents)
		}
	}
	return s, nil
}

func loaderOf(language Language) api.Loader {
	if language == TypeScript {
		return api.LoaderTS
	}
	return api.LoaderJS
}

// Bundle makes one source in JavaScript of the file entry and all that it imports, packages in node_modules included, with the source map at its
// end. Paths in the map are relative to the entry's folder, so that the same files give the same bundle anywhere. The error is a
// *SourceError, or of the file system.
func Bundle(entry string) ([]byte, error) {
	entry, err := filepath.Abs(entry)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if _, err := os.Stat(entry); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	o := options(api.FormatESModule)
	o.AbsWorkingDir = filepath.Dir(entry)
	o.EntryPoints = []string{entry}
	o.Outfile = filepath.Join(o.AbsWorkingDir, "function.js")
	o.Sourcemap = api.SourceMapInline
	o.MainFields = []string{"module", "main"}
	o.Conditions = []string{"shardmill", "worker", "import"}
	o.Plugins = []api.Plugin{types}
	r, err := build(o)
	if err != nil {
		return nil, err
	}
	if len(r.OutputFiles) != 1 {
		return nil, &SourceError{[]string{fmt.Sprintf("it makes %d files; it must be one", len(r.OutputFiles))}}
	}
	return r.OutputFiles[0].Contents, nil
}

func options(format api.Format) api.BuildOptions {
	return api.BuildOptions{
		Bundle: true, Write: false, Format: format, Platform: api.PlatformNeutral, Target: api.ES2023,
		Charset: api.CharsetUTF8, SourcesContent: api.SourcesContentExclude, LegalComments: api.LegalCommentsNone,
		TsconfigRaw: "{}", LogLevel: api.LogLevelSilent, LogLimit: 10, Outfile: "function.js",
	}
}

func build(o api.BuildOptions) (api.BuildResult, error) {
	r := api.Build(o)
	if len(r.Errors) == 0 {
		return r, nil
	}
	e := &SourceError{}
	for _, m := range r.Errors {
		text, node := strings.CutSuffix(m.Text, " (use \"platform: 'node'\" when building for node)")
		if node || strings.HasPrefix(text, `Could not resolve "node:`) {
			text += ": modules of Node do not exist here"
		}
		if m.Location != nil {
			text = fmt.Sprintf("%s:%d:%d: %s", m.Location.File, m.Location.Line, m.Location.Column+1, text)
		}
		e.Problems = append(e.Problems, text)
	}
	return r, e
}

// sdkModule is the name that functions import the SDK's types by.
const sdkModule = "shardmill"

// sdkLoad gives the SDK's module, of which nothing is left when a script runs: it has types only.
func sdkLoad(b api.PluginBuild) {
	b.OnResolve(api.OnResolveOptions{Filter: "^" + sdkModule + "$"}, func(api.OnResolveArgs) (api.OnResolveResult, error) {
		return api.OnResolveResult{Path: sdkModule, Namespace: sdkModule}, nil
	})
	b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: sdkModule}, func(api.OnLoadArgs) (api.OnLoadResult, error) {
		empty := "export {}"
		return api.OnLoadResult{Contents: &empty}, nil
	})
}

var types = api.Plugin{Name: "types", Setup: sdkLoad}

// alone refuses imports, so that nothing is read from the host's disk.
var alone = api.Plugin{Name: "alone", Setup: func(b api.PluginBuild) {
	sdkLoad(b)
	b.OnResolve(api.OnResolveOptions{Filter: ".*"}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
		switch {
		case a.Kind == api.ResolveEntryPoint:
			return api.OnResolveResult{}, nil
		case strings.HasPrefix(a.Path, ".") || path.IsAbs(a.Path):
			return api.OnResolveResult{}, fmt.Errorf("it imports the file %q: a source that is uploaded stands alone; "+
				"`shardmill function build` makes one of many files", a.Path)
		}
		return api.OnResolveResult{}, fmt.Errorf("it imports %q, which is not there: modules of Node do not exist, "+
			"and packages are bundled by `shardmill function build`", a.Path)
	})
}}

// Entry finds the file that a folder's function begins in: index or main, in TypeScript or JavaScript.
func Entry(dir string) (string, error) {
	for _, name := range []string{"index", "main"} {
		for _, extension := range []string{".ts", ".mts", ".js", ".mjs"} {
			file := filepath.Join(dir, name+extension)
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
				return file, nil
			}
		}
	}
	return "", errors.New("there is no index.ts, main.ts, index.js or main.js")
}
