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
	skipWithoutLinker(t)
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

// skipWithoutLinker skips the test where no program can be made: cargo finds a rustc, rustc a C compiler to link with, and doc tests rustdoc on the PATH.
func skipWithoutLinker(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"rustc", "rustdoc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("LEFT OUT: no %s on the PATH", tool)
		}
	}
	rustc := exec.Command("rustc", "-o", filepath.Join(t.TempDir(), "program"), "-")
	rustc.Stdin = strings.NewReader("fn main() {}")
	if text, err := rustc.CombinedOutput(); err != nil {
		t.Skipf("LEFT OUT: rustc makes no programs here, for which it needs a C compiler to link with: %s", text)
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
