package broker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// dropIndexes removes the indexes JetStream wrote when it was stopped, so that it reads
// its message blocks instead, and checks the checksum of every message while doing so.
//
// With an index, nats-server (2.15.2) does not look at a block before a message of it is
// wanted, and then believes the sequence numbers it finds: one flipped bit in a high
// byte of one makes it list the numbers in between as deleted, until the process has
// used up the machine's memory, at this start and at every later one.
func dropIndexes(dir string) error {
	indexes, err := filepath.Glob(filepath.Join(escape(dir), "jetstream", "*", "streams", "*", "msgs", "index.db"))
	if err != nil {
		return err
	}
	for _, path := range indexes {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// escape makes a path match itself only in a glob pattern.
func escape(path string) string {
	b := make([]byte, 0, len(path))
	for _, c := range []byte(path) {
		if c == '*' || c == '?' || c == '[' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return string(b)
}
