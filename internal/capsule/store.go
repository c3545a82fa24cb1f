package capsule

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
)

// Limits of a store.
const (
	MaxCapsules   = 1000
	MaxStoreBytes = 512 << 20

	suffix = ".capsule"
)

// ErrNotFound: there is no such capsule.
var ErrNotFound = errors.New("capsule not found")

// Store keeps capsules in a folder. Its methods may be called from several goroutines.
type Store struct {
	root   *os.Root
	logger *slog.Logger
	most   int   // capsules
	room   int64 // bytes

	mu    sync.Mutex
	known []Summary // by age, the oldest first
	bytes int64
}

// Open opens the store in folder dir, which is made when it is not there.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("capsules: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("capsules: %w", err)
	}
	s := &Store{root: root, logger: logger, most: MaxCapsules, room: MaxStoreBytes}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capsules: %w", err), root.Close())
	}
	for _, e := range entries {
		s.admit(e)
	}
	slices.SortFunc(s.known, func(a, b Summary) int { return cmp.Or(a.Made.Compare(b.Made), strings.Compare(a.ID, b.ID)) })
	return s, nil
}

// admit takes a file in, or removes what a crash has left half written.
func (s *Store) admit(e fs.DirEntry) {
	id, ok := strings.CutSuffix(e.Name(), suffix)
	if !ok {
		if strings.HasSuffix(e.Name(), suffix+".partial") {
			_ = s.root.Remove(e.Name()) // it is tried again at the next start
		}
		return
	}
	summary, err := s.readSummary(e.Name())
	if err == nil && summary.ID != id {
		err = errors.New("it has another's name")
	}
	if err != nil {
		s.logger.Warn("a capsule cannot be read and is left out", "file", e.Name(), "error", err)
		return
	}
	s.known = append(s.known, summary)
	s.bytes += summary.Bytes
}

func (s *Store) readSummary(name string) (Summary, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return Summary{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Summary{}, err
	}
	line, err := bufio.NewReaderSize(f, 64<<10).ReadSlice('\n')
	if err != nil {
		return Summary{}, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	summary, err := decodeSummary(line)
	summary.Bytes = info.Size()
	return summary, err
}

// Close closes the folder.
func (s *Store) Close() error { return s.root.Close() }

// Put stores a capsule; it is on disk when it returns. The oldest give way to it.
func (s *Store) Put(c *Capsule) error {
	file, err := c.Encode()
	if err != nil {
		return fmt.Errorf("capsule %s: %w", c.ID, err)
	}
	if len(file) > MaxBytes || !validID(c.ID) {
		return fmt.Errorf("capsule %q of %d bytes: %w", c.ID, len(file), ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(c.ID)
	for len(s.known) > 0 && (len(s.known) >= s.most || s.bytes+int64(len(file)) > s.room) {
		oldest := s.known[0].ID
		if err := s.root.Remove(oldest + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("capsule %s: make room: %w", c.ID, err)
		}
		s.forget(oldest)
	}
	if err := s.write(c.ID+suffix, file); err != nil {
		return fmt.Errorf("capsule %s: %w", c.ID, err)
	}
	c.Bytes = int64(len(file))
	s.known = append(s.known, c.Summary)
	s.bytes += c.Bytes
	return nil
}

// forget takes a capsule off the list; the lock must be held.
func (s *Store) forget(id string) {
	if i := slices.IndexFunc(s.known, func(k Summary) bool { return k.ID == id }); i >= 0 {
		s.bytes -= s.known[i].Bytes
		s.known = slices.Delete(s.known, i, i+1)
	}
}

func (s *Store) write(name string, file []byte) (err error) {
	partial := name + ".partial"
	f, err := s.root.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.root.Remove(partial))
		}
	}()
	_, err = f.Write(file)
	err = cmp.Or(err, f.Sync())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = s.root.Rename(partial, name); err != nil {
		return err
	}
	dir, err := s.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// List are the capsules of a mapping, or all with "", the newest first.
func (s *Store) List(mapping string) []Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Summary{}
	for _, k := range slices.Backward(s.known) {
		if mapping == "" || k.Mapping == mapping {
			out = append(out, k)
		}
	}
	return out
}

// Get is a capsule's file. Error: ErrNotFound.
func (s *Store) Get(id string) ([]byte, error) {
	if !validID(id) {
		return nil, fmt.Errorf("capsule %q: %w", id, ErrNotFound)
	}
	f, err := s.root.Open(id + suffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("capsule %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("capsule %s: %w", id, err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxBytes))
}

// Delete removes a capsule. Error: ErrNotFound.
func (s *Store) Delete(id string) error {
	if !validID(id) {
		return fmt.Errorf("capsule %q: %w", id, ErrNotFound)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.root.Remove(id + suffix)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("capsule %s: %w", id, err)
	}
	s.forget(id)
	return nil
}
