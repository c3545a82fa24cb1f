package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is the disk as the journal sees it. Implementations are safe for concurrent use. An error that is
// syscall.ENOSPC, EDQUOT or EROFS underneath is reported to putters as ErrNoSpace or ErrReadOnly.
type FS interface {
	MkdirAll(dir string) error
	// ReadDir lists the names in dir in any order.
	ReadDir(dir string) ([]string, error)
	// Create makes a new, empty file, or empties the one that is there. Its name is durable after SyncDir.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing; fs.ErrNotExist when there is none.
	Open(name string) (File, error)
	Remove(name string) error
	// Rename moves a file within the file system, in place of one that is there. The new name is durable after SyncDir of its
	// folder.
	Rename(from, to string) error
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
}

// File is one open file of an FS. ReadAt and WriteAt may run concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes what was written durable, as fdatasync does.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// osFS is the operating system's file system.
type osFS struct{}

func (osFS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o755) }

func (osFS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) Create(name string) (File, error) {
	return wrap(os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644))
}

func (osFS) Open(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		// A read-only disk can still be read; the first write says what is wrong.
		return wrap(os.Open(name))
	}
	return wrap(f, err)
}

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func wrap(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return datasync(f.File, fdatasync) }

func (f osFile) syncYielding() error { return datasync(f.File, fdatasyncYielding) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
