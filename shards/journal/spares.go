package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
)

// Spares keeps the files of dropped segments for new ones, up to a number of bytes: what has been written before need not
// be filled with zeros again. A file's old content is never read: every checksum is seeded by journal and segment. Several journals of
// one file system may share it; its methods may be called concurrently.
type Spares struct {
	fs    FS
	dir   string
	limit int64

	mu     sync.Mutex
	bytes  int64 // in files, and on their way there
	serial uint64
	files  []spare
}

type spare struct {
	path string
	size int64
}

const spareSuffix = ".spare"

// OpenSpares takes over what dir has of an earlier run, and makes dir when it is missing. fs nil means the operating system's.
func OpenSpares(fs FS, dir string, limit int64) (*Spares, error) {
	if fs == nil {
		fs = osFS{}
	}
	s := &Spares{fs: fs, dir: dir, limit: limit}
	if err := fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("spare segments: %w", err)
	}
	names, err := fs.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spare segments: %w", err)
	}
	for _, name := range names {
		var serial uint64
		if _, err := fmt.Sscanf(name, "%016x"+spareSuffix, &serial); err != nil {
			continue
		}
		path := filepath.Join(dir, name)
		size, err := sizeOf(fs, path)
		if err == nil && s.bytes+size > limit {
			err = fs.Remove(path)
		} else if err == nil {
			s.files = append(s.files, spare{path, size})
			s.bytes += size
		}
		if err != nil {
			return nil, fmt.Errorf("spare segments: %w", err)
		}
		s.serial = max(s.serial, serial)
	}
	return s, nil
}

func sizeOf(fs FS, path string) (int64, error) {
	f, err := fs.Open(path)
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	return size, errors.Join(err, f.Close())
}

// move renames a file into the folder when there is room for it. It can be used after add, which must wait until the
// folder it came from has been synced: else a crash could show it there again, with another's content.
func (s *Spares) move(path string, size int64) (moved spare, ok bool, err error) {
	s.mu.Lock()
	if s.bytes+size > s.limit {
		s.mu.Unlock()
		return spare{}, false, nil
	}
	s.bytes += size
	s.serial++
	moved = spare{filepath.Join(s.dir, fmt.Sprintf("%016x%s", s.serial, spareSuffix)), size}
	s.mu.Unlock()
	if err := s.fs.Rename(path, moved.path); err != nil {
		s.mu.Lock()
		s.bytes -= size
		s.mu.Unlock()
		return spare{}, false, err
	}
	return moved, true, nil
}

func (s *Spares) add(moved ...spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, moved...)
}

// take gives a file of at least min and at most max bytes to the caller.
func (s *Spares) take(min, max int64) (taken spare, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.files, func(f spare) bool { return min <= f.size && f.size <= max })
	if i < 0 {
		return spare{}, false
	}
	taken = s.files[i]
	s.files = slices.Delete(s.files, i, i+1)
	s.bytes -= taken.size
	return taken, true
}

// drop gives all spare files up.
func (s *Spares) drop(log *slog.Logger) {
	s.mu.Lock()
	files := s.files
	s.files = nil
	for _, f := range files {
		s.bytes -= f.size
	}
	s.mu.Unlock()
	for _, f := range files {
		if err := s.fs.Remove(f.path); err != nil {
			log.Warn("cannot remove a spare journal segment", "file", f.path, "error", err)
		}
	}
}

// Salvage takes the segments out of a folder whose journal is closed and is to be removed. What it cannot take stays there.
func (s *Spares) Salvage(dir string) error {
	names, err := s.fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("spare segments: %w", err)
	}
	var moved []spare
	for _, name := range names {
		if _, ok := parseSegmentName(name); !ok {
			continue
		}
		path := filepath.Join(dir, name)
		size, err := sizeOf(s.fs, path)
		if err != nil {
			return fmt.Errorf("spare segments: %w", err)
		}
		m, ok, err := s.move(path, size)
		if err != nil {
			return fmt.Errorf("spare segments: %w", err)
		}
		if ok {
			moved = append(moved, m)
		}
	}
	if err := s.fs.SyncDir(dir); err != nil {
		return fmt.Errorf("spare segments: %w", err)
	}
	s.add(moved...)
	return nil
}

// reuse makes a segment of a spare file: the header first, durable, and then the name, so that a crash never shows the file's
// former life under the segment's name.
func (j *Journal) reuse(s *segment, sync func(File) error) (ok bool, err error) {
	if j.opt.Spares == nil {
		return false, nil
	}
	taken, ok := j.opt.Spares.take(s.limit/2, 2*s.limit)
	if !ok {
		return false, nil
	}
	f, err := j.opt.FS.Open(taken.path)
	if err != nil {
		return false, errors.Join(err, j.opt.FS.Remove(taken.path))
	}
	if err := j.writeHeader(s, f, sync); err != nil {
		return false, errors.Join(err, f.Close(), j.opt.FS.Remove(taken.path))
	}
	if err := j.opt.FS.Rename(taken.path, s.path); err != nil {
		return false, errors.Join(err, f.Close(), j.opt.FS.Remove(taken.path))
	}
	s.file = f
	s.size.Store(taken.size)
	return true, j.opt.FS.SyncDir(j.opt.Dir)
}
