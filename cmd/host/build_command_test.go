package main

import (
	"path/filepath"
	"testing"
)

// A program that knows nothing of Shardmill is a function: what comes on stdin, and goes to stdout.
func TestCommandFunction(t *testing.T) {
	t.Parallel()
	dir := goFunction(t, `package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	var in struct{ Name string }
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		fmt.Fprintln(os.Stderr, "cannot read:", err)
		os.Exit(2)
	}
	fmt.Printf("{\"hello\":%q}\n", in.Name)
}
`)
	wasm := filepath.Join(t.TempDir(), "f.wasm")
	play(t, testHost(t), map[string]string{"DIR": dir, "WASM": wasm}, []step{
		{line: "function build DIR -o WASM", stdout: `^built`},
		{line: "function deploy hello WASM", stdout: `Version: +1\n.*Handles: +invoke\n`},
		{line: "function deploy hello DIR", stdout: `Version: +1\n`},
		{line: `function invoke hello {"Name":"you"}`, stdout: `^{"hello":"you"}\n$`},
		{line: "function invoke hello nothing", status: exitFailure, stderr: `exited with code 2: cannot read: .*"shardmill function logs hello"`},
		{line: "function logs hello", stdout: `error  v1 .*cannot read: `},
		{line: "function invocations hello --failed", stdout: `exit +v1`},
	})
}
