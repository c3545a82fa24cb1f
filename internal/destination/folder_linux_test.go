package destination

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is a small disk of its own, in memory.
func disk(t *testing.T, flags uintptr) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size=256k"); err != nil {
		t.Skipf("NOT TESTED: full and read-only disks: only root can mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A full disk may have space again: it is no mistake of anybody, leaves nothing behind, and what is stored later is whole.
func TestFolderFullDisk(t *testing.T) {
	t.Parallel()
	root := disk(t, 0)
	d := open(t, Options{Folders: []string{root}})
	doc := testDocument()
	doc.Whole = bytes.Repeat([]byte("x"), 300<<10)
	err := d.Deliver(t.Context(), "file://"+root, doc)
	wantFailure(t, err, false, "no space left on device")
	if !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if left := files(t, root); len(left) != 0 {
		t.Errorf("left %d files", len(left))
	}
	doc.Whole = doc.Whole[:100<<10]
	if err := d.Deliver(t.Context(), "file://"+root, doc); err != nil {
		t.Fatal(err)
	}
	wantFile(t, root, testKey, strings.Repeat("x", 100<<10))
}

func TestFolderReadOnly(t *testing.T) {
	t.Parallel()
	root := disk(t, unix.MS_RDONLY)
	d := open(t, Options{Folders: []string{root}})
	wantRefused(t, d, "file://"+root+"/a/b", "read-only file system")
	wantFailure(t, d.Deliver(t.Context(), "file://"+root, testDocument()), true, "read-only file system")
}
