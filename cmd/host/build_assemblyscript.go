package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	assdk "github.com/shardmill/shardmill/sdk/assemblyscript"
)

// ascFlags make a reactor that imports nothing but WASI; names stay, for the stacks of traps.
var ascFlags = []string{
	"--config", "asconfig.json", "--exportStart", "_initialize", "--debug",
	"--use", "abort=shardmill_abort", "--use", "console=shardmill_console", "--use", "seed=shardmill_seed", "--use", "trace=shardmill_trace",
}

// buildAssemblyScript compiles what asconfig.json in folder dir names. The package shardmill is found in node_modules, or else it is
// this program's own.
func buildAssemblyScript(ctx context.Context, dir, out string) error {
	node, asc, err := findAsc(dir)
	if err != nil {
		return err
	}
	packages, err := os.MkdirTemp("", "shardmill-build-")
	if err != nil {
		return fmt.Errorf("build function: %w", err)
	}
	defer os.RemoveAll(packages)
	if err := os.CopyFS(filepath.Join(packages, assdk.PackageName), assdk.Package); err != nil {
		return fmt.Errorf("build function: %w", err)
	}
	args := append([]string{asc, "--path", packages, "--outFile", out}, ascFlags...)
	cmd := exec.CommandContext(ctx, node, args...)
	cmd.Dir = dir
	if said, err := runCompiler(cmd); err != nil {
		return compilerFailure(ctx, dir, said, err)
	}
	return nil
}

// findAsc is Node.js and the compiler: that of the function's own node_modules, of a folder above, or on the PATH.
func findAsc(dir string) (node, asc string, err error) {
	node, err = exec.LookPath("node")
	if err != nil {
		return "", "", &toolchainError{"a function in AssemblyScript", "Node.js", "install it from https://nodejs.org, or apt-get install nodejs npm"}
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", "", fmt.Errorf("build function: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		asc = filepath.Join(at, "node_modules", "assemblyscript", "bin", "asc.js")
		if _, err := os.Stat(asc); err == nil {
			return node, asc, nil
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	if path, err := exec.LookPath("asc"); err == nil {
		if asc, err = filepath.EvalSymlinks(path); err == nil {
			return node, asc, nil
		}
	}
	return "", "", &toolchainError{"a function in AssemblyScript", "its compiler, the npm package assemblyscript",
		"`npm install` in its folder gets it when its package.json names it, else `npm install --save-dev assemblyscript`"}
}
