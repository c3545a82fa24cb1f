package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watchSource watches the source in folder dir and its subfolders until ctx ends. changed is called, one call at a
// time, each time the source has been changed and then left alone for the length of quiet; changes that come while it
// runs lead to one more call. ready is called once, when no later change can be missed. A folder that goes, as with a switch of
// branches, is a change, and so is its return, which is looked for every now and then. It returns nil when ctx ends.
func watchSource(ctx context.Context, dir string, quiet time.Duration, ready, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	defer w.Close()
	if err := watchTree(w, dir); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	ready()
	settled := time.NewTimer(quiet)
	settled.Stop()
	defer settled.Stop()
	back := time.NewTicker(10 * quiet)
	back.Stop()
	defer back.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			if !ok {
				return nil
			}
			if e.Op == fsnotify.Chmod {
				continue
			}
			// Before it is looked at, because another one may have taken its place already.
			if e.Name == filepath.Clean(dir) && (e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)) {
				for _, path := range w.WatchList() {
					_ = w.Remove(path) // many have gone by themselves
				}
				settled.Reset(quiet)
				back.Reset(10 * quiet)
				continue
			}
			if info, err := os.Stat(e.Name); err == nil && info.IsDir() {
				if e.Has(fsnotify.Create) && !skipFolder(e.Name) {
					// Files may have come with the folder before the watch on it began.
					if watchTree(w, e.Name) == nil {
						settled.Reset(quiet)
					}
				}
				continue
			}
			if isSource(e.Name) {
				settled.Reset(quiet)
			}
		case <-back.C:
			if watchTree(w, dir) == nil {
				back.Stop()
				settled.Reset(quiet)
			}
		case err := <-w.Errors:
			return fmt.Errorf("watch %s: %w", dir, err)
		case <-settled.C:
			changed()
		}
	}
}

func watchTree(w *fsnotify.Watcher, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if path != root && skipFolder(path) {
			return filepath.SkipDir
		}
		return w.Add(path)
	})
}

// skipFolder leaves out what the go tool leaves out as well, and where other languages' tools put what they make or fetch.
func skipFolder(path string) bool {
	name := filepath.Base(path)
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") ||
		name == "testdata" || name == "target" || name == "node_modules"
}

// isSource says whether a change of this file can change the function. Any kind of file may be embedded; tests,
// editors' own files and build results cannot matter.
func isSource(path string) bool {
	name := filepath.Base(path)
	switch {
	case strings.HasPrefix(name, "."), strings.HasPrefix(name, "#"), strings.HasSuffix(name, "~"),
		strings.HasSuffix(name, "_test.go"), isCTest(name), strings.HasSuffix(name, ".wasm"), strings.HasSuffix(name, ".partial"),
		name == "4913": // the file vim creates to see whether it may
		return false
	}
	return true
}
