package rustsdk

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The crate's own tests run here too, so that they need not be remembered: with the first cargo on the PATH that works, and offline, since
// the crate has no dependencies.
func TestCrate(t *testing.T) {
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		t.Skip("LEFT OUT: no cargo on the PATH")
	}
	if text, err := exec.Command(cargo, "--version").CombinedOutput(); err != nil {
		t.Skipf("LEFT OUT: cargo does not run: %s", text)
	}
	target := filepath.Join(t.TempDir(), "target")
	for _, args := range [][]string{
		{"test", "--offline", "--target-dir", target},
		{"build", "--offline", "--target-dir", target, "--no-default-features"},
	} {
		if text, err := exec.Command(cargo, args...).CombinedOutput(); err != nil || strings.Contains(string(text), "warning:") {
			t.Errorf("cargo %s: %v\n%s", strings.Join(args, " "), err, text)
		}
	}
}

// A project that is made of what is embedded has the whole crate.
func TestEmbedded(t *testing.T) {
	files, err := filepath.Glob("src/*.rs")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range append(files, "Cargo.toml", "README.md") {
		if b, err := Crate.ReadFile(filepath.ToSlash(name)); err != nil || len(b) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
