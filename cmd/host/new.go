package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/sdk"
	assdk "github.com/shardmill/shardmill/sdk/assemblyscript"
	csdk "github.com/shardmill/shardmill/sdk/c"
	jssdk "github.com/shardmill/shardmill/sdk/js"
	rustsdk "github.com/shardmill/shardmill/sdk/rust"
)

// templates has a folder per language: the files of a project, whose names end in .tmpl so that nothing takes them for what they
// are to become.
//
//go:embed templates
var templates embed.FS

// project is what there is to know of a language's new projects.
type project struct {
	sdk   fs.FS  // goes along, so that the project builds without a registry
	under string // the folder it goes to
	test  string // the command that runs the project's test
}

var projects = map[string]project{
	"go":             {sdk.Source, "shardmill/sdk", "go test"},
	"rust":           {rustsdk.Crate, "shardmill", "cargo test"},
	"c":              {csdk.Headers, ".", "make test"},
	"typescript":     {jssdk.Package, "shardmill", "npm test"},
	"assemblyscript": {assdk.Package, "shardmill", "npm install && npm test"},
}

// projectName is what every language's tools take for a name.
var projectName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$`)

// newProject writes a project that builds, with a test, into the folder called name, which must not be there or be empty. It
// returns the files' paths below that folder, without those of the SDK. An error leaves nothing behind.
func newProject(language, name string) (files []string, err error) {
	p, known := projects[language]
	switch {
	case !known:
		return nil, usagef("--lang is %s; it must be %s", field.Shown(language), strings.Join(projectLanguages(), ", "))
	case !projectName.MatchString(name):
		return nil, usagef("NAME is %s; it must be 1 to 64 of a-z, 0-9 and '-', a letter first and no '-' at the end", field.Shown(name))
	}
	if err := os.Mkdir(name, 0o777); err != nil {
		if entries, readErr := os.ReadDir(name); readErr != nil || len(entries) > 0 {
			return nil, fmt.Errorf("new function: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("new function: %w", err), os.RemoveAll(name))
		}
	}()
	if err := writeSDK(p, name); err != nil {
		return nil, err
	}
	from, err := fs.Sub(templates, path.Join("templates", language))
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(from, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		to := strings.TrimSuffix(file, ".tmpl")
		if to == "gitignore" {
			to = ".gitignore"
		}
		files = append(files, to)
		return writeTemplate(from, file, filepath.Join(name, filepath.FromSlash(to)), name)
	})
	return files, err
}

func projectLanguages() []string { return slices.Sorted(maps.Keys(projects)) }

// writeSDK writes the language's SDK into a project, without what only this repository needs of it.
func writeSDK(p project, name string) error {
	return fs.WalkDir(p.sdk, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(file, "_test.go") {
			return err
		}
		b, err := fs.ReadFile(p.sdk, file)
		if err != nil {
			return err
		}
		return writeNew(filepath.Join(name, filepath.FromSlash(path.Join(p.under, file))), b)
	})
}

func writeTemplate(from fs.FS, file, to, name string) error {
	t, err := template.ParseFS(from, file)
	if err != nil {
		return err
	}
	var out strings.Builder
	goVersion := strings.Join(strings.SplitN(strings.TrimPrefix(goruntime.Version(), "go"), ".", 3)[:2], ".")
	if err := t.Execute(&out, map[string]string{"Name": name, "Go": goVersion}); err != nil {
		return err
	}
	return writeNew(to, []byte(out.String()))
}

// writeNew writes a file that is not there yet, and the folders on the way to it.
func writeNew(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// newResult is what `function new` shows.
type newResult struct {
	Folder   string   `json:"folder"`
	Language string   `json:"language"`
	Files    []string `json:"files"`
	Test     string   `json:"test"` // the command that runs the test, in the folder
}

func newFunctionNew(a *app) *cobra.Command {
	var language string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a new function's project, with a test, into a folder of that name",
		Long: "Write a project that builds, and a test that runs, into a folder called NAME. The language's SDK goes along, as this\n" +
			"program has it, so that nothing of it has to be fetched.",
		Example: "  shardmill function new hello --lang go",
		Args:    arguments,
		RunE: func(_ *cobra.Command, args []string) error {
			if language == "" {
				return usagef("--lang is needed: %s", strings.Join(projectLanguages(), ", "))
			}
			files, err := newProject(language, args[0])
			if err != nil {
				return err
			}
			made := newResult{args[0], language, files, projects[language].test}
			if a.output == outputJSON {
				return a.printJSON(made)
			}
			_, err = fmt.Fprintf(a.out, "wrote %s: %s\n\n  cd %s\n  %s\n  shardmill function build .\n  shardmill dev . --stream input\n",
				made.Folder, strings.Join(files, ", "), made.Folder, made.Test)
			return err
		},
	}
	c.Flags().StringVar(&language, "lang", "", "the language: "+strings.Join(projectLanguages(), ", "))
	return c
}
