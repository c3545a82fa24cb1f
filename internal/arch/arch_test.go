package arch

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImports checks this module.
func TestImports(t *testing.T) {
	found, err := Check(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

const module = "example.org/mill"

// tree writes a module whose files import what is given, and checks it.
func tree(t *testing.T, files map[string][]string) []Violation {
	t.Helper()
	sources := map[string]string{}
	for name, imports := range files {
		var b strings.Builder
		b.WriteString("package x\n")
		for _, i := range imports {
			alias, p, ok := strings.Cut(i, "=")
			if !ok {
				alias, p = "_", i
			}
			if rest, ours := strings.CutPrefix(p, "./"); ours {
				p = module + "/" + rest
			}
			if alias == "-" {
				alias = ""
			}
			fmt.Fprintf(&b, "import %s %q\n", alias, p)
		}
		sources[name] = b.String()
	}
	return checkTree(t, sources)
}

func checkTree(t *testing.T, sources map[string]string) []Violation {
	t.Helper()
	found, err := Check(writeTree(t, sources))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func writeTree(t *testing.T, sources map[string]string) string {
	t.Helper()
	root := t.TempDir()
	if _, ok := sources["go.mod"]; !ok {
		sources["go.mod"] = "// a comment\nmodule " + module + "\n\ngo 1.26\n"
	}
	for name, text := range sources {
		p := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestAllowed(t *testing.T) {
	found := tree(t, map[string][]string{
		"cmd/host/main.go":                      {"./api", "./api/aws", "./triggers", "./shards", "./runtime", "./internal/broker", "./sdk/record", "github.com/spf13/cobra", "github.com/nats-io/nats.go", "net/http"},
		"api/api.go":                            {"./shards", "./runtime", "./triggers", "./api/auth", "net/http", "github.com/go-chi/chi/v5", "github.com/danielgtaylor/huma/v2"},
		"triggers/t.go":                         {"./shards", "./runtime", "./sdk/record", "github.com/prometheus/client_golang/prometheus"},
		"delivery/d.go":                         {"./shards", "net/http"},
		"shards/s.go":                           {"./shards/journal", "./internal/catalog", "./sdk/record"},
		"shards/s_test.go":                      {"./internal/broker", "./runtime", "./shards", "net/http/httptest", "github.com/google/go-cmp/cmp"},
		"shards/journal/j.go":                   {"./sdk/record", "golang.org/x/sys/unix"},
		"runtime/r.go":                          {"./sdk", "./sdk/abi", "github.com/tetratelabs/wazero/api", "goruntime=runtime", "-=runtime/debug"},
		"runtime/r_test.go":                     {"github.com/tetratelabs/wazero", "net/http"},
		"internal/broker/b.go":                  {"github.com/nats-io/nats-server/v2/server", "github.com/nats-io/nats.go"},
		"internal/catalog/c.go":                 {"github.com/nats-io/nats.go/jetstream"},
		"internal/catalog/c_test.go":            {"./internal/broker"},
		"sdk/s.go":                              {"./sdk/record", "./sdk/abi", "unsafe", "encoding/json"},
		"sdk/s_test.go":                         {"pgregory.net/rapid"},
		"sdk/sdktest/t.go":                      {"./sdk", "testing"},
		"functions/examples/delays/main.go":     {"./sdk", "encoding/json"},
		"functions/examples/delays/d_test.go":   {"./sdk/sdktest", "./sdk/abi"},
		"runtime/testdata/guest/main.go":        {"./cmd/host", "C"},
		"tools/nested/main.go":                  {"github.com/tetratelabs/wazero"},
		"_attic/main.go":                        {"C"},
		"shards/_draft.go":                      {"C"},
		"shards/.hidden.go":                     {"C"},
		"functions/examples/delays/.git/x/x.go": {"C"},
	})
	// The folder tools/nested is a row of nothing: it would have to be a module.
	if len(found) != 1 || found[0].File != "tools/nested" {
		t.Errorf("violations: %v", found)
	}
}

// TestViolations has a file break the table in one way each.
func TestViolations(t *testing.T) {
	tests := []struct {
		file, imports string
		reason        string // part of it
	}{
		{"shards/s.go", "./runtime", "siblings"},
		{"runtime/r.go", "./shards", "siblings"},
		{"triggers/t.go", "./delivery", "siblings"},
		{"delivery/d.go", "./triggers", "siblings"},
		{"api/a.go", "./api/aws", "siblings"},
		{"api/aws/a.go", "./api", "siblings"},
		{"internal/catalog/c.go", "./internal/broker", "siblings"},
		{"shards/journal/j.go", "./internal/catalog", "siblings"},
		{"sdk/record/r.go", "./sdk", "siblings"},
		{"sdk/abi/a.go", "./sdk", "siblings"},
		{"shards/s.go", "./triggers", "imports go down"},
		{"internal/catalog/c.go", "./shards", "imports go down"},
		{"sdk/s.go", "./runtime", "imports go down"},
		{"triggers/t.go", "./api", "imports go down"},
		{"api/a.go", "./cmd/host", "nothing imports cmd/host"},
		{"api/a_test.go", "./cmd/host", "nothing imports cmd/host"},
		{"triggers/t.go", "./shards/journal", "does not name it"},
		{"shards/s.go", "./sdk", "does not name it"},
		{"shards/s.go", "./internal/broker", "does not name it"},
		{"functions/examples/delays/main.go", "./sdk/record", "does not name it"},
		{"functions/examples/delays/main.go", "./shards", "both are on level 2"},
		{"shards/s_test.go", "./triggers", "a test on level 2"},
		{"internal/catalog/c_test.go", "./shards", "a test on level 1"},
		{"shards/s.go", "./elsewhere", "not in the import table"},
		{"shards/s.go", "net/http", "must never import net/http"},
		{"shards/s.go", "net/http/pprof", "must never import net/http"},
		{"runtime/r.go", "net/http", "must never"},
		{"triggers/t.go", "net/http", "must never"},
		{"triggers/t.go", "github.com/nats-io/nats.go", "only internal/broker"},
		{"internal/catalog/c.go", "github.com/nats-io/nats-server/v2/server", "only internal/broker may"},
		{"internal/catalog/c_test.go", "github.com/nats-io/nats-server/v2/server", "only internal/broker may"},
		{"cmd/host/main.go", "github.com/nats-io/nats-server/v2/server", "only internal/broker may"},
		{"cmd/host/main.go", "github.com/tetratelabs/wazero", "only runtime, runtime/fuel, runtime/image may"},
		{"api/a.go", "github.com/tetratelabs/wazero/api", "only runtime, runtime/fuel, runtime/image may"},
		{"delivery/d.go", "github.com/go-chi/chi/v5", "only api"},
		{"api/a.go", "github.com/spf13/cobra", "only cmd/host"},
		{"sdk/s.go", "golang.org/x/sys/unix", "standard library only"},
		{"sdk/record/r.go", "github.com/google/go-cmp/cmp", "standard library only"},
		{"functions/examples/delays/main.go", "github.com/bytedance/sonic", "standard library only"},
		{"shards/s.go", "C", "without cgo"},
		{"runtime/r.go", "-=runtime", "goruntime"},
		{"runtime/r_test.go", "rt=runtime", "goruntime"},
	}
	for _, tc := range tests {
		t.Run(tc.file+" "+tc.imports, func(t *testing.T) {
			found := tree(t, map[string][]string{tc.file: {"fmt", tc.imports}})
			if len(found) != 1 || !strings.Contains(found[0].Reason, tc.reason) {
				t.Fatalf("violations: %v; want one: %s", found, tc.reason)
			}
			if v := found[0]; v.File != tc.file || v.Line != 3 || !strings.HasPrefix(v.String(), tc.file+":3: imports ") {
				t.Errorf("the violation is not located: %v", v)
			}
		})
	}
}

// TestEveryFileIsParsed hides an import in the places where one can be overlooked.
func TestEveryFileIsParsed(t *testing.T) {
	bad := "github.com/tetratelabs/wazero"
	for name, text := range map[string]string{
		"for another system":  "//go:build plan9\n\npackage x\n\nimport _ \"" + bad + "\"\n",
		"never built":         "//go:build ignore\n\npackage main\n\nimport _ \"" + bad + "\"\n",
		"in a block":          "package x\n\nimport (\n\t\"fmt\"\n\n\tw \"" + bad + "\"\n)\n\nvar _ = fmt.Sprint(w.X)\n",
		"as a raw string":     "package x\n\nimport _ `" + bad + "`\n",
		"in a second block":   "package x\n\nimport \"fmt\"\nimport (\n\t. \"" + bad + "\"\n)\n",
		"an external test":    "package x_test\n\nimport _ \"" + bad + "\"\n",
		"code does not parse": "package x\n\nimport _ \"" + bad + "\"\n\nfunc {{{\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := "shards/x.go"
			if name == "an external test" {
				file = "shards/x_test.go"
			}
			if found := checkTree(t, map[string]string{file: text}); len(found) != 1 || found[0].Import != bad {
				t.Errorf("violations: %v", found)
			}
		})
	}
}

func TestUnknownFolder(t *testing.T) {
	found := tree(t, map[string][]string{"internal/util/a.go": {"fmt"}, "internal/util/b.go": {"fmt"}, "main.go": {"fmt"}})
	if len(found) != 2 || found[0].File != "internal/util" || found[1].File != "." {
		t.Errorf("violations: %v", found)
	}
}

func TestNestedModuleIsSkipped(t *testing.T) {
	found := checkTree(t, map[string]string{
		"e2e/go.mod":  "module example.org/mill/e2e\n",
		"e2e/main.go": "package main\n\nimport \"C\"\n",
	})
	if len(found) != 0 {
		t.Errorf("violations: %v", found)
	}
}

func TestErrors(t *testing.T) {
	if _, err := Check(t.TempDir()); err == nil {
		t.Error("a folder without go.mod is checked")
	}
	if _, err := Check(writeTree(t, map[string]string{"go.mod": "go 1.26\n"})); err == nil {
		t.Error("a go.mod without a module is accepted")
	}
	if _, err := Check(writeTree(t, map[string]string{"shards/s.go": "packag x"})); err == nil {
		t.Error("a file that does not parse is accepted")
	}
}

// TestTable checks the table itself: imports go strictly down, exceptions stay on their
// level and are never mutual, and every name is a row.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table {
		if seen[r.path] {
			t.Errorf("%s has two rows", r.path)
		}
		seen[r.path] = true
		for _, p := range r.below {
			if target, ok := find(p); !ok || target.level >= r.level {
				t.Errorf("%s on level %d may import %s, which is not below it", r.path, r.level, p)
			}
		}
		for _, p := range r.beside {
			target, ok := find(p)
			if !ok || target.level != r.level || p == r.path {
				t.Errorf("%s on level %d excepts %s, which is not beside it", r.path, r.level, p)
			}
			if reaches(p, r.path) {
				t.Errorf("%s and %s may import each other", r.path, p)
			}
		}
		if r.standardOnly {
			for _, p := range slices.Concat(r.below, r.beside) {
				if target, _ := find(p); !target.standardOnly {
					t.Errorf("%s is compiled by guests and may import %s, which is not", r.path, p)
				}
			}
		}
	}
	for _, o := range owners {
		for _, p := range o.packages {
			if !seen[p] {
				t.Errorf("%s is owned by %s, which is no row", o.library, p)
			}
		}
	}
	for _, r := range table {
		if r.level < 1 || r.level > topLevel || r.everything != (r.level == topLevel) {
			t.Errorf("%s is on level %d, everything is %t", r.path, r.level, r.everything)
		}
		if path.Clean(r.path) != r.path {
			t.Errorf("%q is not a clean path", r.path)
		}
	}
}

// reaches says whether from may import to, by exceptions.
func reaches(from, to string) bool {
	r, _ := find(from)
	return slices.ContainsFunc(r.beside, func(p string) bool { return p == to || reaches(p, to) })
}
