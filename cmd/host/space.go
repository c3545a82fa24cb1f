package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// lowSpace is how many free bytes make a look at the disk's state enough to know that it takes writes. It is what the
	// catalog keeps in reserve.
	lowSpace = 16 << 20
	// probeBytes is written to find out about a disk that is nearly full: as much as the smallest segment of a journal.
	probeBytes = 64 << 10
)

// writable says why nothing can be made durable below dir, nil when it can. That is two calls of the system, and a file
// written only where less than low bytes are free.
func writable(dir string, low uint64) error {
	if err := unix.Access(dir, unix.W_OK); err != nil { // also of a file system that is read-only
		return fmt.Errorf("puts cannot be made durable: %s: %w", dir, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("puts cannot be made durable: %s: %w", dir, err)
	}
	if uint64(st.Bavail)*uint64(st.Bsize) >= low {
		return nil
	}
	if err := probe(dir); err != nil {
		return fmt.Errorf("puts cannot be made durable: %w", err)
	}
	return nil
}

// probe makes a small file durable and removes it. Several may run at once.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeBytes))
	if err == nil {
		err = syncData(f)
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}
