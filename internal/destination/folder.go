package destination

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Folder stores files below a folder of an allowed one. Nothing in it, links included, leads out of the allowed one.
type Folder struct {
	root string // the allowed folder; it must exist
	sub  string // below it, made where it is missing; "." is the allowed folder itself
}

// folder finds the allowed folder that a URI's is below. Where several contain it the first counts.
func (d *Destinations) folder(t *target) (Folder, error) {
	for _, root := range d.opts.Folders {
		if sub, err := filepath.Rel(filepath.Clean(root), t.name); err == nil && filepath.IsLocal(sub) {
			return Folder{filepath.Clean(root), sub}, nil
		}
	}
	if len(d.opts.Folders) == 0 {
		return Folder{}, misconfiguredf("this host allows no folders (--failure-dir)")
	}
	return Folder{}, misconfiguredf("this host allows folders below %s", strings.Join(d.opts.Folders, ", "))
}

// Put stores a file under a key, a relative path with slashes, in place of what has that name. When it returns the file and its name are on disk;
// after an error the name has what it had before, or all of the body where only a folder could not be synced. A process that is killed may leave a file whose name begins with a dot and ends with .partial; Destinations.Sweep removes it. The content
// type is not kept. One Put of a key at a time.
func (f Folder) Put(ctx context.Context, key, _ string, body io.ReadSeeker) error {
	if !filepath.IsLocal(key) {
		return fmt.Errorf("key %q is no relative path", key)
	}
	root, err := os.OpenRoot(f.root) // each time: what is mounted there may change
	if err != nil {
		return ofFile(err)
	}
	defer func() { _ = root.Close() }()
	name := filepath.Join(f.sub, key)
	dir, base := filepath.Split(name)
	dir = filepath.Clean(dir)
	if err := root.MkdirAll(dir, 0o750); err != nil {
		return ofFile(err)
	}
	partial := filepath.Join(dir, "."+base+".partial")
	if err := write(ctx, root, partial, body); err != nil {
		return ofFile(errors.Join(err, drop(root, partial)))
	}
	if err := root.Rename(partial, name); err != nil {
		return ofFile(errors.Join(err, drop(root, partial)))
	}
	return ofFile(syncUp(root, dir))
}

// write makes a file with what body has from its start, and syncs it.
func write(ctx context.Context, root *os.Root, name string, body io.ReadSeeker) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func drop(root *os.Root, name string) error {
	if err := root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncUp syncs a folder and those above it, so that the whole path is on disk. Who made them does not matter: another Put may have, and not have
// synced them yet. A folder that has not changed costs next to nothing.
func syncUp(root *os.Root, dir string) error {
	for {
		f, err := root.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		if dir == "." {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// Check says why files cannot be stored, by making an empty one where the first would go and removing it.
func (f Folder) Check() error {
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return ofFile(err)
	}
	defer func() { _ = root.Close() }()
	dir := f.sub
	info, err := root.Stat(dir)
	for errors.Is(err, fs.ErrNotExist) && dir != "." {
		dir = filepath.Dir(dir)
		info, err = root.Stat(dir)
	}
	if err != nil {
		return ofFile(err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", filepath.Join(f.root, dir))
	}
	probe := filepath.Join(dir, ".probe-"+rand.Text())
	file, err := root.OpenFile(probe, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("cannot write to %s: %w", filepath.Join(f.root, dir), ofFile(err))
	}
	return errors.Join(file.Close(), root.Remove(probe))
}
