package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// reserveBytes must be free before a write begins. JetStream stops writing to a stream
	// for good once a write of it has failed; refusing first keeps a disk that is full for
	// a while from making the host unusable until it is restarted.
	reserveBytes = 16 << 20
	// reliefBytes must be free for a write that takes next to no space itself and may be
	// what makes space: a deletion, or an update that is as large as what it replaces.
	reliefBytes = 256 << 10
	// ballastBytes are written in advance, so that there is space to give back for such
	// writes when the disk has none at all; each gets ballastStep of it.
	ballastBytes = 1 << 20
	ballastStep  = 64 << 10
	ballastName  = "ballast"
	// alikeBytes is how much longer the value of an update may be that counts as as large.
	alikeBytes = 256
)

// space guards the disk of a directory. Its methods may be called from several goroutines.
type space struct {
	dir  string
	free func(dir string) (uint64, error) // bytes that are free

	mu sync.Mutex // held while the ballast changes
}

// freeBytes asks the system.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}

// forWrite refuses a write of n bytes when the disk may not have room for it. A write
// goes to JetStream and to the catalog's own copy, and either may rewrite.
func (s *space) forWrite(n int) error {
	free, err := s.free(s.dir)
	if err != nil {
		return err
	}
	need := uint64(reserveBytes) + 4*uint64(n)
	if free < need {
		return s.refusal(free, need)
	}
	if free >= need+ballastBytes {
		s.fillBallast()
	}
	return nil
}

// forRelief lets a write use the reserve, and on a full disk a step of the ballast.
func (s *space) forRelief() error {
	free, err := s.free(s.dir)
	if err != nil {
		return err
	}
	if free >= reliefBytes || s.stepBallast() {
		return nil
	}
	return s.refusal(free, reliefBytes)
}

func (s *space) refusal(free, need uint64) error {
	return fmt.Errorf("%w: %s has %d bytes free, this needs %d", ErrNoSpace, s.dir, free, need)
}

// fillBallast writes what has been given back of the ballast. Where that fails, the disk
// is full again, and there is nothing to be kept.
func (s *space) fillBallast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.dir, ballastName)
	if info, err := os.Stat(path); err == nil && info.Size() == ballastBytes {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return
	}
	_, err = f.Write(make([]byte, ballastBytes)) // written, because a hole holds no space
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path)
	}
}

// stepBallast gives a step of the ballast back, and says whether there was one.
func (s *space) stepBallast() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.dir, ballastName)
	info, err := os.Stat(path)
	if err != nil || info.Size() < ballastStep {
		return false
	}
	return os.Truncate(path, info.Size()-ballastStep) == nil
}
