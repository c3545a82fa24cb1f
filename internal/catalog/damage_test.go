package catalog

import (
	"os"
	"testing"
)

// damageSnapshot flips a bit of the snapshot file; a negative offset counts from its end.
func damageSnapshot(t testing.TB, dir string, offset int64) {
	t.Helper()
	flip(t, snapshotFile(dir), offset)
}

func flip(t testing.TB, path string, offset int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if offset < 0 {
		offset += int64(len(b))
	}
	b[offset] ^= 1
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
}
