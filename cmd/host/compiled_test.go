package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// compiled has the compiled code of modules that tests have deployed, so that each is compiled once and not by every host. Hosts share
// the files by hard links, which are never written to again.
var compiled struct {
	sync.Mutex
	dir string // "" keeps none
}

// lendCompiled gives a host what others have compiled. It is called when the host has started, because that removes what it does not know.
func lendCompiled(t testing.TB, cache string) {
	t.Helper()
	compiled.Lock()
	defer compiled.Unlock()
	if compiled.dir != "" {
		if err := linkSealed(compiled.dir, cache); err != nil {
			t.Log(err) // it compiles itself what it has not got
		}
	}
}

// keepCompiled takes what a host has compiled.
func keepCompiled(t testing.TB, cache string) {
	t.Helper()
	compiled.Lock()
	defer compiled.Unlock()
	if compiled.dir != "" {
		if err := linkSealed(cache, compiled.dir); err != nil {
			t.Log(err) // it compiles itself what it has not got
		}
	}
}

// linkSealed links the modules of a cache that are whole into another that has them not.
func linkSealed(from, to string) error {
	modules, err := filepath.Glob(filepath.Join(from, "*", "SEAL"))
	if err != nil {
		return err
	}
	for _, seal := range modules {
		dir := filepath.Dir(seal)
		target := filepath.Join(to, filepath.Base(dir))
		if _, err := os.Stat(target); err == nil {
			continue
		}
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			if d.IsDir() {
				return os.MkdirAll(filepath.Join(target, rel), 0o755)
			}
			return os.Link(path, filepath.Join(target, rel))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
