package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestDataDirLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "data")
	for range 2 { // created, then opened
		d, err := openDataDir(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, sub := range []string{"nats", "catalog", "streams", "cache"} {
			info, err := os.Stat(filepath.Join(path, sub))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o700 {
				t.Errorf("%s has mode %v, want 0700", sub, info.Mode().Perm())
			}
		}
		if got := readString(t, filepath.Join(path, "VERSION")); got != "1\n" {
			t.Errorf("VERSION holds %q", got)
		}
		if got := readString(t, filepath.Join(path, "LOCK")); got != strconv.Itoa(os.Getpid())+"\n" {
			t.Errorf("LOCK holds %q, want our process id", got)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDataDirNamesAreDurable notes what was in each folder when it was synced for the last time: that is what a loss of power leaves.
func TestDataDirNamesAreDurable(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "new", "data")
	durable := map[string][]string{}
	sync := func(dir string) error {
		durable[dir] = listDir(t, dir)
		return nil
	}
	if err := makeFolder(path, sync); err != nil {
		t.Fatal(err)
	}
	d := &dataDir{path: path}
	for range 2 { // made, then opened by a host whose first start may have been cut short
		clear(durable)
		if err := d.prepare(sync); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(durable[path], " "); got != "VERSION cache catalog nats state streams" {
			t.Errorf("%s has %s", path, got)
		}
	}
	clear(durable)
	if err := makeFolder(filepath.Join(root, "other", "data"), sync); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(durable[root], durable[filepath.Join(root, "other")]); got != "[new other] [data]" {
		t.Errorf("the folders above have %s", got)
	}
	clear(durable)
	if err := makeFolder(path, sync); err != nil || len(durable) != 0 {
		t.Errorf("folders that are there: %v, %v", err, durable)
	}
}

func TestDataDirLock(t *testing.T) {
	path := t.TempDir()
	first, err := openDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openDataDir(path)
	if !errors.Is(err, errDirLocked) {
		t.Fatalf("second open: %v, want errDirLocked", err)
	}
	for _, want := range []string{path, strconv.Itoa(os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %q", err, want)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openDataDir(path)
	if err != nil {
		t.Fatalf("open after close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDataDirRefused(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  error
		says  string
	}{
		{"newer format", map[string]string{"VERSION": "2\n"}, errDirNewer, "format 2"},
		{"much newer format", map[string]string{"VERSION": "941"}, errDirNewer, "format 941"},
		{"not a number", map[string]string{"VERSION": "hello\n"}, errDirForeign, `"hello\n"`},
		{"empty version", map[string]string{"VERSION": ""}, errDirForeign, "format number"},
		{"format 0", map[string]string{"VERSION": "0\n"}, errDirForeign, "format number"},
		{"someone's folder", map[string]string{"thesis.tex": "x"}, errDirForeign, "thesis.tex"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir()
			for name, content := range tt.files {
				writeFile(t, filepath.Join(path, name), content)
			}
			_, err := openDataDir(path)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not say %q and the path", err, tt.says)
			}
			for name, content := range tt.files {
				if got := readString(t, filepath.Join(path, name)); got != content {
					t.Errorf("%s was changed to %q", name, got)
				}
			}
			if entries := listDir(t, path); len(entries) != len(tt.files) {
				t.Errorf("a refused directory was written to: %v", entries)
			}
			// The refusal must have given the lock back.
			if lock, err := lockDir(path); err != nil {
				t.Errorf("lock after refusal: %v", err)
			} else {
				lock.Close()
			}
		})
	}
}

func TestDataDirFreshAmongLeftovers(t *testing.T) {
	// What a crash before the first VERSION leaves behind, on a freshly made file system.
	path := t.TempDir()
	writeFile(t, filepath.Join(path, "VERSION.new"), "")
	if err := os.Mkdir(filepath.Join(path, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := openDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestFormatMigration(t *testing.T) {
	var ran []string
	step := func(n int) func(string) error {
		return func(path string) error {
			ran = append(ran, fmt.Sprintf("%d@%s", n, strings.TrimSpace(readString(t, filepath.Join(path, versionFile)))))
			return nil
		}
	}
	t.Run("step by step", func(t *testing.T) {
		path := t.TempDir()
		writeFile(t, filepath.Join(path, versionFile), "1\n")
		if err := checkFormat(path, 3, map[int]func(string) error{1: step(1), 2: step(2)}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(ran, " "); got != "1@1 2@2" {
			t.Errorf("steps ran as %q", got)
		}
		if got := readString(t, filepath.Join(path, versionFile)); got != "3\n" {
			t.Errorf("VERSION holds %q", got)
		}
	})
	t.Run("a failed step leaves its format", func(t *testing.T) {
		path := t.TempDir()
		writeFile(t, filepath.Join(path, versionFile), "1\n")
		broken := errors.New("broken")
		err := checkFormat(path, 3, map[int]func(string) error{1: step(1), 2: func(string) error { return broken }})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "from format 2 to 3") {
			t.Errorf("got %v", err)
		}
		if got := readString(t, filepath.Join(path, versionFile)); got != "2\n" {
			t.Errorf("VERSION holds %q", got)
		}
	})
	t.Run("no such step", func(t *testing.T) {
		path := t.TempDir()
		writeFile(t, filepath.Join(path, versionFile), "1\n")
		if err := checkFormat(path, 2, nil); err == nil || !strings.Contains(err.Error(), "format 1") {
			t.Errorf("got %v", err)
		}
	})
}

func TestDataDirUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	if _, err := openDataDir(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as data directory: %v", err)
	}
}

func readString(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
