package main

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lowSpace is how many free bytes make a look at the disk's state enough to know that it takes writes. It is what the
	// catalog keeps in reserve.
	lowSpace = 16 << 20
	// probeEvery is how long a disk that took a write is taken to be one that does, so that probes of readiness cost it next to nothing.
	probeEvery = time.Second
	// probeBytes is written to find out about a disk that is nearly full: as much as the smallest segment of a journal.
	probeBytes = 64 << 10
)

// disk is the disk below a folder, and whether it takes writes. Its zero value is ready.
type disk struct{ well atomic.Int64 } // when it last took one, ns since the Unix epoch

// check is writable, and besides makes a small file durable, at most once in probeEvery while that goes well: a disk may have room and fail at writing.
func (d *disk) check(dir string, low uint64) error {
	if err := writable(dir, low); err != nil {
		return err
	}
	now := time.Now()
	if since := now.UnixNano() - d.well.Load(); since >= 0 && since < int64(probeEvery) {
		return nil
	}
	if err := probe(dir); err != nil {
		return fmt.Errorf("puts cannot be made durable: %w", err)
	}
	d.well.Store(now.UnixNano())
	return nil
}

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
