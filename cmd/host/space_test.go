package main

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A disk is written to when its last write is some time ago, and at once again when that failed.
func TestDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		dir := t.TempDir()
		if err := errors.Join(d.check(dir, 0), os.Remove(dir)); err != nil {
			t.Fatal(err)
		}
		if err := d.check(dir, 0); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a folder that is gone: %v", err)
		}
		file := filepath.Join(t.TempDir(), "file") // which a look takes for a folder, and a write does not
		writeFile(t, file, "")
		if err := d.check(file, 0); err != nil {
			t.Errorf("just after a write: %v", err)
		}
		time.Sleep(probeEvery)
		for range 2 {
			if err := d.check(file, 0); err == nil || !strings.Contains(err.Error(), "puts cannot be made durable: ") {
				t.Errorf("later: %v", err)
			}
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := d.check(dir, 0); err != nil {
			t.Errorf("when it is well again: %v", err)
		}
	})
}

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	for _, low := range []uint64{0, math.MaxUint64} { // a look, and a probe
		if err := writable(dir, low); err != nil {
			t.Error(err)
		}
		if left := listDir(t, dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		if err := writable(filepath.Join(dir, "none"), low); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a folder that is not there: %v", err)
		}
	}
}
