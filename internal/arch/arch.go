package arch

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Violation is one import that the table does not allow, or one folder it does not know.
type Violation struct {
	File   string // below the root, with slashes; a folder where Line is 0
	Line   int
	Import string // empty for a folder
	Reason string
}

// String gives file:line, the import and the reason on one line.
func (v Violation) String() string {
	if v.Line == 0 {
		return v.File + ": " + v.Reason
	}
	return fmt.Sprintf("%s:%d: imports %s: %s", v.File, v.Line, v.Import, v.Reason)
}

// Check parses the Go files of the module whose go.mod is in root and returns where they
// break the table, ordered by file. An error is a tree that cannot be read or parsed.
func Check(root string) ([]Violation, error) {
	module, err := modulePath(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("arch: %w", err)
	}
	c := checker{module: module}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && skipped(name, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || hidden(d.Name()) {
			return nil
		}
		return c.file(name, rel)
	})
	if err != nil {
		return nil, fmt.Errorf("arch: %w", err)
	}
	return c.found, nil
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") }

// skipped says whether the go command takes a folder for no part of the module.
func skipped(folder, name string) bool {
	if name == "testdata" || hidden(name) {
		return true
	}
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil
}

func modulePath(goMod string) (string, error) {
	f, err := os.Open(goMod)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.TrimSpace(rest), nil
		}
	}
	return "", fmt.Errorf("%s names no module", goMod)
}

// checker checks file after file.
type checker struct {
	module string
	found  []Violation
}

func (c *checker) file(name, rel string) error {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	folder := path.Dir(rel)
	r, ok := find(folder)
	if !ok {
		v := Violation{File: folder, Reason: "is not in the import table of internal/arch"}
		if !slices.Contains(c.found, v) {
			c.found = append(c.found, v)
		}
		return nil
	}
	s := source{row: r, folder: folder, test: strings.HasSuffix(rel, "_test.go")}
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if reason := c.judge(s, imported, spec.Name); reason != "" {
			c.found = append(c.found, Violation{
				File: rel, Line: set.Position(spec.Pos()).Line, Import: imported, Reason: reason,
			})
		}
	}
	return nil
}

// find returns the row of a folder; an exact one goes before a pattern.
func find(folder string) (row, bool) {
	for _, r := range table {
		if r.path == folder {
			return r, true
		}
	}
	for _, r := range table {
		if parent, ok := strings.CutSuffix(r.path, "/*"); ok && path.Dir(folder) == parent {
			return r, true
		}
	}
	return row{}, false
}

// source is the file that imports.
type source struct {
	row    row
	folder string
	test   bool
}

// judge says why an import is not allowed, "" when it is.
func (c *checker) judge(s source, imported string, name *ast.Ident) string {
	if imported == c.module {
		return "the module's root holds no package"
	}
	if ours, ok := strings.CutPrefix(imported, c.module+"/"); ok {
		return judgeOurs(s, ours)
	}
	if imported == "C" {
		return "the binary is built without cgo"
	}
	if imported == "runtime" && (name == nil || name.Name != "goruntime") {
		return `the standard runtime is imported as goruntime, to keep it apart from ours`
	}
	for _, o := range owners {
		if within(imported, o.library) && !slices.Contains(o.packages, s.folder) {
			return "only " + strings.Join(o.packages, ", ") + " may import it"
		}
	}
	if s.test {
		return ""
	}
	if s.row.standardOnly && !standard(imported) {
		return s.folder + " is compiled by guests and imports the standard library only"
	}
	for _, n := range s.row.never {
		if within(imported, n) {
			return s.folder + " must never import " + n
		}
	}
	return ""
}

func judgeOurs(s source, ours string) string {
	target, ok := find(ours)
	switch {
	case !ok:
		return "it is not in the import table of internal/arch"
	case s.test && ours == s.folder:
		return ""
	case target.level == topLevel:
		return "nothing imports " + ours
	case s.test && target.level > s.row.level:
		return fmt.Sprintf("a test on level %d imports nothing from level %d", s.row.level, target.level)
	case s.test:
		return ""
	case s.row.everything, slices.Contains(s.row.below, ours), slices.Contains(s.row.beside, ours):
		return ""
	case target.level == s.row.level:
		return fmt.Sprintf("both are on level %d; siblings never import each other", target.level)
	case target.level > s.row.level:
		return fmt.Sprintf("it is on level %d, above level %d; imports go down", target.level, s.row.level)
	}
	return "the row of " + s.row.path + " does not name it"
}

// within says whether an import path is p or below it.
func within(imported, p string) bool {
	return imported == p || strings.HasPrefix(imported, p+"/")
}

// standard says whether a path is of the standard library: its first element has no dot.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}
