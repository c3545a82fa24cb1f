package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWatchSource(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "main.go"), "package main")
	writeFile(t, filepath.Join(dir, ".git", "index"), "")
	ctx, cancel := context.WithCancel(t.Context())
	ready, changed, ended := make(chan struct{}), make(chan struct{}, 16), make(chan error, 1)
	go func() {
		ended <- watchSource(ctx, dir, 20*time.Millisecond, func() { close(ready) }, func() { changed <- struct{}{} })
	}()
	<-ready

	// What cannot change the function comes first: it must not have been reported by the time the real change is.
	for _, name := range []string{"main_test.go", ".main.go.swp", "main.go~", "delays.wasm", ".git/index", "4913"} {
		writeFile(t, filepath.Join(dir, name), "x")
	}
	if err := os.Chmod(filepath.Join(dir, "main.go"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "main.go"), "package main // changed")
	<-changed

	// A new folder, with a file that may be there before the watch on it.
	writeFile(t, filepath.Join(dir, "sub", "deep", "more.go"), "package sub")
	<-changed
	// Editors replace files by renaming.
	writeFile(t, filepath.Join(dir, ".new"), "package main // renamed")
	if err := os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "main.go")); err != nil {
		t.Fatal(err)
	}
	<-changed

	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestWatchSourceComesBack takes the folder away and brings it back, as a switch of branches does.
func TestWatchSourceComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "function")
	writeFile(t, filepath.Join(dir, "sub", "main.go"), "package main")
	ctx, cancel := context.WithCancel(t.Context())
	ready, changed, ended := make(chan struct{}), make(chan struct{}, 16), make(chan error, 1)
	go func() {
		ended <- watchSource(ctx, dir, 20*time.Millisecond, func() { close(ready) }, func() { changed <- struct{}{} })
	}()
	<-ready
	for _, away := range []func() error{
		func() error { return os.Rename(dir, dir+".away") },
		func() error { return os.RemoveAll(dir) },
	} {
		if err := away(); err != nil {
			t.Fatal(err)
		}
		<-changed // the builder says that there is nothing any more
		writeFile(t, filepath.Join(dir, "sub", "main.go"), "package main // back")
		<-changed
		for len(changed) > 0 {
			<-changed
		}
		writeFile(t, filepath.Join(dir, "sub", "main.go"), "package main // changed")
		<-changed
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestWatchSourceIsReplaced puts another folder in the place of the one that is watched, before anybody can see that it has gone.
func TestWatchSourceIsReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "function")
	file := filepath.Join(dir, "main.go")
	writeFile(t, file, "package main")
	ctx, cancel := context.WithCancel(t.Context())
	ready, changed, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- watchSource(ctx, dir, 20*time.Millisecond, func() { close(ready) }, func() {
			changed <- struct{}{}
			changed <- struct{}{}
		})
	}()
	<-ready
	writeFile(t, file, "package main // changed")
	<-changed // until it is received from again, nothing is looked at
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, "package main // another")
	<-changed
	for range 2 { // it has gone, and has come back; or both at once
		select {
		case <-changed:
			<-changed
		case err := <-ended:
			t.Fatal(err)
		}
		writeFile(t, file, "package main // and changed")
	}
	cancel()
	for {
		select {
		case <-changed:
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

func TestWatchSourceDebounces(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ready, changed, ended := make(chan struct{}), make(chan struct{}, 64), make(chan error, 1)
	go func() {
		ended <- watchSource(ctx, dir, 200*time.Millisecond, func() { close(ready) }, func() { changed <- struct{}{} })
	}()
	<-ready
	for i := range 50 {
		writeFile(t, filepath.Join(dir, "main.go"), string(rune('a'+i%26)))
	}
	<-changed
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := len(changed) + 1; n > 3 {
		t.Errorf("50 writes in a row were reported %d times", n)
	}
}

func TestWatchSourceNeedsTheFolder(t *testing.T) {
	err := watchSource(t.Context(), filepath.Join(t.TempDir(), "none"), time.Millisecond, func() {}, func() {})
	if err == nil {
		t.Error("a folder that does not exist was watched")
	}
}
