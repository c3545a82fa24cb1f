package jssdk

import (
	"io/fs"
	"os/exec"
	"strings"
	"testing"
)

// What testing.mjs gives handlers, under Node.js.
func TestTesting(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("LEFT OUT: no Node.js on the PATH")
	}
	if text, err := exec.Command(node, "--test", "testdata/testing.test.mjs").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// A project that is made of what is embedded has the whole package, and types for all that the runtime gives a handler.
func TestEmbedded(t *testing.T) {
	for _, name := range []string{"package.json", "README.md", "index.d.ts", "testing.mjs"} {
		if b, err := fs.ReadFile(Package, name); err != nil || len(b) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	types, err := fs.ReadFile(Package, "index.d.ts")
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"env", "secret", "secretBytes", "table", "fetch", "log", "emit", "drop", "retry", "reject", "setState", "remaining"} {
		if !strings.Contains(Runtime, " "+member+"(") || !strings.Contains(string(types), " "+member+"(") && !strings.Contains(string(types), " "+member+":") {
			t.Errorf("%s is missing in runtime.js or index.d.ts", member)
		}
	}
}
