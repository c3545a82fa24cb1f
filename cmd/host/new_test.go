package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

// linkModules has a folder find the npm packages of this repository, as `npm install` would; a machine without them skips the test.
func linkModules(t *testing.T, dir string) {
	t.Helper()
	_, asc, err := findAsc(filepath.Join(startDir, "testdata"))
	skipMissing(t, err)
	modules := filepath.Join(dir, "node_modules")
	if err := os.Mkdir(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]string{
		"assemblyscript": filepath.Dir(filepath.Dir(asc)), "shardmill": filepath.Join(dir, "shardmill"),
		".bin/asc": asc,
	} {
		link := filepath.Join(modules, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(at, link); err != nil {
			t.Fatal(err)
		}
	}
}

// startDir is where the tests are run.
var startDir, _ = os.Getwd()

// projectTests are the commands that run a project's test here, without a network.
var projectTests = map[string][]string{
	"go":             {"go", "test", "./..."},
	"rust":           {"cargo", "test", "--offline"},
	"c":              {"make", "test"},
	"assemblyscript": {"npm", "test"},
	"typescript":     {"node", "--test"}, // npm test builds before, with a shardmill on the PATH: see npmBuild
}

// npmBuild runs what package.json of a project runs before its tests. There is no shardmill on the PATH here.
func npmBuild(t *testing.T, dir string) {
	t.Helper()
	var manifest struct{ Scripts map[string]string }
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err == nil {
		err = json.Unmarshal(text, &manifest)
	}
	if err != nil || manifest.Scripts["pretest"] != "npm run build" {
		t.Fatalf("%+v, %v", manifest, err)
	}
	args, found := strings.CutPrefix(manifest.Scripts["build"], "shardmill ")
	if !found {
		t.Fatalf("npm run build is %q", manifest.Scripts["build"])
	}
	t.Chdir(dir)
	if res := (cli{}).run(t.Context(), strings.Fields(args)...); res.status != exitOK {
		t.Fatalf("%+v", res)
	}
}

// A new project of every language passes its own test, builds, and does the same as the others.
func TestNewProjects(t *testing.T) {
	if got := projectLanguages(); len(got) != len(projectTests) {
		t.Errorf("there are projects in %v", got)
	}
	for language, command := range projectTests {
		t.Run(language, func(t *testing.T) {
			t.Chdir(t.TempDir())
			res := cli{}.run(t.Context(), "function", "new", "hello-1", "--lang", language)
			if res.status != exitOK || !strings.Contains(res.stdout, "wrote hello-1: ") || !strings.Contains(res.stdout, "README.md") {
				t.Fatalf("%+v", res)
			}
			dir, err := filepath.Abs("hello-1")
			if err != nil {
				t.Fatal(err)
			}
			if language == "assemblyscript" {
				linkModules(t, dir)
			}
			code := built(t, dir) // skips where there is no compiler
			if language == "typescript" {
				npmBuild(t, dir)
			}
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Skipf("LEFT OUT: no %s", command[0])
			}
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off")
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %v\n%s", command, err, text)
			}
			m, err := readManifest(dir)
			if err != nil || !slices.Equal(m.config.Emit, []string{"copies"}) {
				t.Fatalf("%+v, %v", m, err)
			}
			s := deployGuest(t, code, m.config.Emit...).call(t, batchCall(t, record.Record{Key: []byte("a"), Data: []byte("1")}, record.Record{Key: []byte("b")}))
			if !slices.Equal(s.Outcomes, []string{"1 rejected no data"}) || !slices.Equal(s.Emitted["copies"], []string{"a  1"}) || s.Failed != "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Nothing that is there is written over, and what is refused leaves nothing.
func TestNewProjectRefusals(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "file", "")
	if err := os.MkdirAll("full/part", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"hello"}, exitUsage, "--lang is needed: assemblyscript, c, go, rust, typescript"},
		{[]string{"hello", "--lang", "cobol"}, exitUsage, `--lang is "cobol"; it must be assemblyscript, c, go, rust, typescript`},
		{[]string{"Hello", "--lang", "go"}, exitUsage, `NAME is "Hello"; it must be 1 to 64 of a-z`},
		{[]string{"../hello", "--lang", "go"}, exitUsage, `NAME is "../hello"`},
		{[]string{strings.Repeat("a", 65), "--lang", "go"}, exitUsage, "NAME is "},
		{[]string{"file", "--lang", "go"}, exitFailure, "file exists"},
		{[]string{"full", "--lang", "go"}, exitFailure, "file exists"},
	} {
		res := cli{}.run(t.Context(), append([]string{"function", "new"}, c.args...)...)
		if res.status != c.status || !strings.Contains(res.stderr, c.says) {
			t.Errorf("%q: %d %s", c.args, res.status, res.stderr)
		}
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := os.Mkdir("empty", 0o755); err != nil {
		t.Fatal(err)
	}
	res := cli{}.run(t.Context(), "function", "new", "empty", "--lang", "c", "--output", "json")
	var made newResult
	if err := json.Unmarshal([]byte(res.stdout), &made); err != nil || made.Folder != "empty" || made.Test != "make test" || !slices.Contains(made.Files, ".gitignore") {
		t.Errorf("%+v, %v", res, err)
	}
}
