package main

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
)

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
