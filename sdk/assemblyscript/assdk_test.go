package assdk

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The golden bytes and testing.mjs, under Node.js, with a module that is built as README.md says for those who do without the build verb.
func TestPackage(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("LEFT OUT: no Node.js on the PATH")
	}
	asc := filepath.Join(root, "node_modules", "assemblyscript", "bin", "asc.js")
	if _, err := os.Stat(asc); err != nil {
		t.Skip("LEFT OUT: no AssemblyScript; sdk/install gets it")
	}
	packages := t.TempDir()
	if err := os.CopyFS(filepath.Join(packages, PackageName), Package); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"golden", "outside"} {
		wasm := filepath.Join(t.TempDir(), name+".wasm")
		build := exec.Command(node, asc, name+".ts", "--config", "asconfig.json", "--path", packages, "--outFile", wasm)
		build.Dir = "testdata"
		if text, err := build.CombinedOutput(); err != nil || len(text) > 0 {
			t.Fatalf("%v\n%s", err, text)
		}
		run := exec.Command(node, "--test", "testdata/"+name+".test.mjs")
		run.Env = append(os.Environ(), strings.ToUpper(name)+"_WASM="+wasm)
		if text, err := run.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// A project that is made of what is embedded has the whole package.
func TestEmbedded(t *testing.T) {
	for _, folder := range []string{".", "assembly"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.ts"))
		if err != nil || len(files) < 2 {
			t.Fatal(files, err)
		}
		for _, name := range files {
			if _, err := fs.Stat(Package, filepath.ToSlash(name)); err != nil {
				t.Error(err)
			}
		}
	}
}
