package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What a disk answers comes through, also to one who has given his processor away.
func TestSyncsThatFail(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	gone, err := os.Create(filepath.Join(t.TempDir(), "closed"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(osFile{gone}.Sync(), osFile{gone}.syncYielding(), gone.Close()); err != nil {
		t.Fatal(err)
	}
	for name, sync := range map[string]func(osFile) error{"plain": osFile.Sync, "yielding": osFile.syncYielding} {
		var failed *fs.PathError
		if err := sync(osFile{w}); !errors.Is(err, syscall.EINVAL) || !errors.As(err, &failed) || failed.Op != "fdatasync" {
			t.Errorf("%s: a pipe, which cannot be synced: %v", name, err)
		}
		if err := sync(osFile{gone}); err == nil {
			t.Errorf("%s: a closed file was synced", name)
		}
	}
}
