package shards

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
)

// ErrFiles: the process has nearly as many files open as it may. A stream keeps some twenty files of its journal open at most, however
// many it has; without some to spare the host could not even be reached to delete one.
var ErrFiles = errors.New("too many open files")

// openFiles says how many files this process has open, and how many it may. Its error is that of looking.
func openFiles() (open, most int, err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, 0, fmt.Errorf("limit of open files: %w", err)
	}
	most = int(min(limit.Cur, math.MaxInt32))
	names, err := os.ReadDir("/dev/fd") // the process's own descriptors, on Linux and macOS alike
	if errors.Is(err, syscall.EMFILE) {
		return most, most, nil
	}
	return len(names), most, err
}

// roomForFiles says whether a process that has so many files open, and may have most, has room for one more stream: an eighth is
// left to connections, to readers and to the segments that streams grow by.
func roomForFiles(open, most int) bool { return open < most-most/8 }

// checkFiles is ErrFiles when there is no room for one more stream. Where that cannot be told, the disk says so in its turn.
func (s *Store) checkFiles() error {
	if open, most, err := s.openFiles(); err == nil && !roomForFiles(open, most) {
		return fmt.Errorf("%w: %d, and the process may have %d", ErrFiles, open, most)
	}
	return nil
}
