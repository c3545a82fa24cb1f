package catalog

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// reserveBytes must be free before a write begins. JetStream stops writing to a stream
// for good once a write of it has failed; refusing first keeps a disk that is full for
// a while from making the host unusable until it is restarted.
const reserveBytes = 16 << 20

// checkSpace refuses a write of n bytes when the disk of dir may not have room for it.
// A write goes to JetStream and to the catalog's own copy, and either may rewrite.
func checkSpace(dir string, n int) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	return enough(dir, uint64(fs.Bavail)*uint64(fs.Bsize), n)
}

func enough(dir string, free uint64, n int) error {
	need := uint64(reserveBytes) + 4*uint64(n)
	if free < need {
		return fmt.Errorf("%w: %s has %d bytes free, the catalog keeps %d in reserve", ErrNoSpace, dir, free, need)
	}
	return nil
}
