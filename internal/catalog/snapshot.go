package catalog

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const (
	snapshotName = "tables.snap"
	damagedName  = "tables.snap.damaged"
	minFileBytes = 64 << 10
)

// snapshot is the catalog's own copy of all tables: a file of a fixed length that is a
// base (every live entry when the file was made), then one record a change, then zeros.
// Changes are written into the zeros and synced, so that a commit never changes the
// file's length. When the zeros are used up the file is made anew, beside the old one,
// and renamed over it.
//
// It belongs to one goroutine at a time: Open, then the keeper.
type snapshot struct {
	dir        string
	file       *os.File // nil: no file that can be appended to; the next commit makes one
	seed       uint32
	end        int // offset of the next record
	capacity   int
	last       uint64
	live       map[id]change
	liveBytes  int    // encoded size of live
	buf        []byte // encoding buffer, reused
	generation uint64
}

// readSaved reads the snapshot file of dir.
func readSaved(dir string) (saved, error) {
	path := filepath.Join(dir, snapshotName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return saved{}, nil
	}
	if err == nil && info.Size() > maxFileBytes {
		err = fmt.Errorf("%s has %d bytes, over the limit of %d", path, info.Size(), maxFileBytes)
	}
	if err != nil {
		return saved{}, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		// A sector the disk cannot read is damage like any other.
		s := saved{live: map[id]change{}, deleted: map[id]uint64{}}
		s.damage(err.Error())
		return s, nil
	}
	s, err := decodeSaved(b)
	if err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// newSnapshot makes a snapshot in dir that holds live; no file is touched yet.
func newSnapshot(dir string, live map[id]change, last uint64) *snapshot {
	s := &snapshot{dir: dir, live: live, last: last}
	for _, c := range live {
		s.liveBytes += encodedSize(c)
	}
	return s
}

// resume opens the file s was read from for appending behind its last record.
func (s *snapshot) resume(from saved) error {
	f, err := os.OpenFile(filepath.Join(s.dir, snapshotName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s.file, s.end, s.capacity = f, from.end, int(from.header.capacity)
	s.generation, s.seed = from.header.generation, seed(from.header.generation)
	return nil
}

// commit makes the changes durable. Their revisions ascend and are above s.last. After
// an error they are held in memory, and a later commit that succeeds makes them durable
// as well.
func (s *snapshot) commit(changes []change) error {
	s.buf = s.buf[:0]
	for _, c := range changes {
		s.buf = appendChange(s.buf, c, s.seed)
		s.apply(c)
	}
	if s.file == nil || s.end+len(s.buf) > s.capacity {
		return s.rewrite()
	}
	err := s.write()
	if err == nil {
		return nil
	}
	// A file that failed a write or a sync is never trusted again: what its pages
	// hold is unknown. The old file stays in place until a new one is complete.
	s.abandon()
	if again := s.rewrite(); again != nil {
		return errors.Join(err, again)
	}
	return nil
}

func (s *snapshot) write() error {
	if _, err := s.file.WriteAt(s.buf, int64(s.end)); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.end += len(s.buf)
	return nil
}

func (s *snapshot) apply(c change) {
	if old, ok := s.live[c.id]; ok {
		s.liveBytes -= encodedSize(old)
	}
	s.last = c.revision
	if c.op == opDelete {
		delete(s.live, c.id)
		return
	}
	s.live[c.id] = c
	s.liveBytes += encodedSize(c)
}

// rewrite replaces the file by one that holds live as its base: written beside the old
// one, synced, renamed over it, and the directory synced.
func (s *snapshot) rewrite() error {
	image, err := s.image()
	if err != nil {
		return err
	}
	s.abandon()
	f, err := replaceFile(s.dir, snapshotName, image)
	if err != nil {
		return err
	}
	s.file = f
	s.capacity = len(image)
	return nil
}

// image is the content of a new file. It gives the file twice the room its base needs,
// so that the cost of rewriting is spread over as many changes as there are entries.
func (s *snapshot) image() ([]byte, error) {
	var g [8]byte
	if _, err := rand.Read(g[:]); err != nil {
		return nil, err
	}
	s.generation = binary.LittleEndian.Uint64(g[:])
	s.seed = seed(s.generation)
	size := max(minFileBytes, align(headerBytes+2*s.liveBytes))
	if size > maxFileBytes {
		return nil, fmt.Errorf("the tables need %d bytes; the limit of a snapshot is %d", s.liveBytes, maxFileBytes/2)
	}
	b := make([]byte, headerBytes, size)
	for _, c := range sortedByRevision(s.live) {
		b = appendChange(b, c, s.seed)
	}
	s.end = len(b)
	fileHeader{capacity: uint64(size), generation: s.generation, last: s.last, base: uint64(s.end)}.put(b)
	return b[:size], nil
}

func sortedByRevision(live map[id]change) []change {
	all := make([]change, 0, len(live))
	for _, c := range live {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.revision, b.revision), compareIDs(a.id, b.id))
	})
	return all
}

// abandon closes the file without a word: nothing that matters is unsynced.
func (s *snapshot) abandon() {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}

// bytes is the length of the file.
func (s *snapshot) bytes() int { return s.capacity }

// keepDamaged puts the damaged file aside, where an operator can look at it.
func keepDamaged(dir string) error {
	err := os.Rename(filepath.Join(dir, snapshotName), filepath.Join(dir, damagedName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(dir)
}

// replaceFile writes dir/name so that after a crash there is the old file or the new
// one, whole. It returns the new file, open.
func replaceFile(dir, name string, content []byte) (*os.File, error) {
	temp := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(dir, name))
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(temp)
		return nil, err
	}
	return f, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
