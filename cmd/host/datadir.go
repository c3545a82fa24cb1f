package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A data directory holds everything one host keeps:
//
//	VERSION    the format number, decimal, one line; written before anything else
//	LOCK       flock'd by the host that owns the directory; holds its process id
//	nats/      JetStream's store: the catalog and the functions' code
//	catalog/   the catalog's own checksummed snapshot
//	streams/   one folder of journal segments per stream
//	state/       what functions keep
//	secrets.key  the key that secrets are encrypted to, unless another is given
//	cache/     compiled functions; may be deleted while no host runs
const (
	versionFile = "VERSION"
	lockFile    = "LOCK"

	// dataFormat is the layout this binary writes and reads.
	dataFormat = 1
)

// What can be wrong with a data directory before a host may use it.
var (
	errDirLocked  = errors.New("data directory is in use")
	errDirNewer   = errors.New("data directory has a newer format")
	errDirForeign = errors.New("not a Shardmill data directory")
)

// dataDirMigrations brings a directory of format n to format n+1, by n. Each step must be safe to run again
// after a crash, because VERSION is rewritten only once it has returned.
var dataDirMigrations = map[int]func(path string) error{}

// dataDir is a locked data directory of the current format. It is locked until Close.
type dataDir struct {
	path string
	lock *os.File
	disk disk // that it is on
}

// openDataDir creates or opens the data directory at path, locks it against other hosts and brings it to the
// current format. The errors wrap errDirLocked, errDirNewer or errDirForeign and name the path.
func openDataDir(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := makeFolder(path, syncFolder); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	// Looked at before the lock, so that in somebody else's folder not even that is left.
	if _, err := usableFormat(path, dataFormat); err != nil {
		return nil, err
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.prepare(syncFolder); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// makeFolder makes a folder and those above it that are missing. sync is called with each folder that has a new one in it,
// and makes the names in a folder durable: what will be acknowledged is not to be lost with the name of a folder above it.
func makeFolder(path string, sync func(dir string) error) error {
	var changed []string
	for dir := path; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		changed = append(changed, filepath.Dir(dir))
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, dir := range changed {
		if err := sync(dir); err != nil {
			return err
		}
	}
	return nil
}

func (d *dataDir) prepare(sync func(dir string) error) error {
	if err := checkFormat(d.path, dataFormat, dataDirMigrations); err != nil {
		return err
	}
	for _, sub := range []string{d.nats(), d.catalog(), d.streams(), d.state(), d.cache()} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	if err := sync(d.path); err != nil { // always: a start before this one may have been cut short
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

func (d *dataDir) nats() string    { return filepath.Join(d.path, "nats") }
func (d *dataDir) catalog() string { return filepath.Join(d.path, "catalog") }
func (d *dataDir) streams() string { return filepath.Join(d.path, "streams") }
func (d *dataDir) state() string   { return filepath.Join(d.path, "state") }
func (d *dataDir) cache() string   { return filepath.Join(d.path, "cache") }

// secretsKey is the file with the key of the secrets, where no other is given.
func (d *dataDir) secretsKey() string { return filepath.Join(d.path, "secrets.key") }

// capsules has the invocations that are kept; all of them may be lost.
func (d *dataDir) capsules() string { return filepath.Join(d.path, "capsules") }

// Close gives the lock back. The LOCK file stays: removing it would let two hosts lock two files of one name.
func (d *dataDir) Close() error { return d.lock.Close() }

func lockDir(path string) (*os.File, error) {
	name := filepath.Join(path, lockFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s: lock: %w", path, err)
		}
		return nil, fmt.Errorf("%w: %s is held by process %s; stop that host or choose another --data-dir",
			errDirLocked, path, lockOwner(f))
	}
	if err := writeOwner(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("data directory %s: write %s: %w", path, lockFile, err)
	}
	return f, nil
}

// writeOwner writes our process id into the lock file.
func writeOwner(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// lockOwner reads the process id its holder wrote into the lock file.
func lockOwner(f *os.File) string {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return pid
	}
	return "(unknown)"
}

// usableFormat is the format of the directory at path, 0 when it is fresh. A newer or foreign one is refused.
func usableFormat(path string, want int) (int, error) {
	have, err := readFormat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, mustBeFresh(path)
	}
	if err != nil {
		return 0, err
	}
	if have > want {
		return 0, fmt.Errorf("%w: %s has format %d and this shardmill reads formats up to %d; use the newer shardmill that wrote it",
			errDirNewer, path, have, want)
	}
	return have, nil
}

// checkFormat makes the directory at path one of format want: a fresh directory gets its VERSION, an older one
// is migrated step by step, a newer or foreign one is refused and left as it is.
func checkFormat(path string, want int, migrations map[int]func(string) error) error {
	have, err := usableFormat(path, want)
	if err != nil {
		return err
	}
	if have == 0 {
		return writeFormat(path, want)
	}
	for ; have < want; have++ {
		step := migrations[have]
		if step == nil {
			return fmt.Errorf("data directory %s has format %d, which this shardmill cannot bring to format %d", path, have, want)
		}
		if err := step(path); err != nil {
			return fmt.Errorf("data directory %s: migrate from format %d to %d: %w", path, have, have+1, err)
		}
		if err := writeFormat(path, have+1); err != nil {
			return err
		}
	}
	return nil
}

func readFormat(path string) (int, error) {
	b, err := os.ReadFile(filepath.Join(path, versionFile))
	if err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%w: %s holds %.40q where a format number is expected",
			errDirForeign, filepath.Join(path, versionFile), b)
	}
	return n, nil
}

// mustBeFresh refuses a folder that has other people's files in it, such as a home directory given by mistake.
func mustBeFresh(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case lockFile, versionFile + ".new", "lost+found":
		default:
			return fmt.Errorf("%w: %s has no %s file and is not empty (it holds %s); give an empty or new folder",
				errDirForeign, path, versionFile, e.Name())
		}
	}
	return nil
}

// writeFormat replaces VERSION atomically and durably.
func writeFormat(path string, format int) error {
	name := filepath.Join(path, versionFile)
	if err := writeSynced(name+".new", strconv.Itoa(format)+"\n"); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := syncFolder(path); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(name, content string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Sync(), f.Close())
}
