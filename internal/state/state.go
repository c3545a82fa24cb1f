package state

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/shardmill/shardmill/internal/field"
)

// Limits.
const (
	MaxNameBytes  = 64  // of a table's name
	MaxKeyBytes   = 512 // of a key
	MaxValueBytes = 1 << 20
	MaxBatchKeys  = 4096
	MaxBatchBytes = 8 << 20
	MaxList       = 1000 // entries
	MaxListBytes  = 1 << 20

	DefaultTableBytes = 1 << 30
	DefaultTotalBytes = 8 << 30
	DefaultTrialBytes = 64 << 20
	maxTrials         = 16 // so many trials' bytes may all trials together hold

	entryOverhead = 16          // bytes that an entry counts besides key and value
	openTimeout   = time.Second // for the file's lock
)

// Errors. What breaks a rule is a *field.Error.
var (
	// ErrConflict: an entry is not as a change expected it.
	ErrConflict = errors.New("the entry has changed")
	// ErrFull: the table, or all tables together, would be larger than they may be.
	ErrFull = errors.New("the state is full")
	// ErrNoSpace: the disk has no room.
	ErrNoSpace = errors.New("the disk is full")
	// ErrDamaged: what is stored is not what was stored.
	ErrDamaged = errors.New("the stored state is damaged")
	// ErrFailed: a write has failed before; what was committed can be read.
	ErrFailed = errors.New("the state takes no changes since a write failed")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("the state is closed")
)

// Trials is what the Mapping of a table begins with that belongs to a trial, of which nothing is worth as much as any other table: the rest is the
// trial's name. Such tables have limits of their own, and do not count for those of the others together.
const Trials = "trial/"

// Table names a table: a shared one by its name, a private one by its owner as well.
type Table struct {
	Name   string
	Shared bool

	// Of a private table: the function, and the mapping and the shard for which it runs, "" and 0 without.
	Function, Mapping string
	Shard             uint32
}

// Size is how much a table holds.
type Size struct {
	Keys  int64
	Bytes int64 // of keys and values, with 16 more for each entry
}

// TableSize is a table and how much it holds.
type TableSize struct {
	Table
	Size
}

// Options are what a Store works with.
type Options struct {
	Dir        string // required; it has to be there
	TableBytes int64  // the most that one table may hold; 0: 1 GiB
	TotalBytes int64  // the most that all tables but those of trials may hold together; 0: 8 GiB
	TrialBytes int64  // the most that the tables of one trial may hold together; 0: 64 MiB. All trials: 16 times that, and not over TotalBytes

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing

	free func(dir string) (uint64, error) // bytes that are free on the disk
}

// Store has tables. Its methods may be called from several goroutines.
type Store struct {
	options Options
	db      *bolt.DB
	metrics *metrics

	mu      sync.Mutex
	waiting []*commit
	writing bool
	closed  bool
	failed  error            // why no more is written
	sizes   map[string]Size  // by id, of what is committed
	totals  map[string]int64 // bytes of all tables, by account
	writers sync.WaitGroup
}

var (
	bucketTables = []byte("tables")
	bucketSizes  = []byte("sizes")
	bucketFormat = []byte("format")
)

// Open opens the store in a directory, or makes it. Errors: ErrDamaged, those of the file.
func Open(o Options) (*Store, error) {
	o.TableBytes, o.TotalBytes = cmp.Or(o.TableBytes, DefaultTableBytes), cmp.Or(o.TotalBytes, DefaultTotalBytes)
	o.TrialBytes = cmp.Or(o.TrialBytes, min(DefaultTrialBytes, o.TotalBytes))
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.free == nil {
		o.free = freeBytes
	}
	s := &Store{options: o, sizes: map[string]Size{}, totals: map[string]int64{}}
	err := guarded(func() (err error) {
		s.db, err = bolt.Open(filepath.Join(o.Dir, "state.db"), 0o600, &bolt.Options{
			Timeout: openTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
		})
		if err == nil {
			err = s.restore()
		}
		return err
	})
	if err == nil {
		err = syncFolder(o.Dir)
	}
	if err == nil {
		s.metrics, err = newMetrics(s)
	}
	if err != nil {
		if s.db != nil {
			err = errors.Join(err, guarded(s.db.Close))
		}
		return nil, fmt.Errorf("state: open %s: %w", o.Dir, err)
	}
	return s, nil
}

// restore makes the buckets of a new file, and reads the sizes of an old one.
func (s *Store) restore() error {
	fresh := false
	err := s.db.View(func(tx *bolt.Tx) error {
		format := tx.Bucket(bucketFormat)
		if fresh = format == nil; fresh {
			return nil
		}
		if f := format.Get(bucketFormat); string(f) != "1" {
			return fmt.Errorf("it has format %.20q, this program reads 1", f)
		}
		tables, sizes := tx.Bucket(bucketTables), tx.Bucket(bucketSizes)
		if tables == nil || sizes == nil {
			return fmt.Errorf("%w: a bucket is missing", ErrDamaged)
		}
		return sizes.ForEach(func(id, v []byte) error {
			size, ok := decodeSize(v)
			if _, known := decodeTable(string(id)); !ok || !known {
				return fmt.Errorf("%w: the size of table %q", ErrDamaged, id)
			}
			s.sizes[string(id)] = size
			s.totals[account(string(id))] += size.Bytes
			return nil
		})
	})
	if err != nil || !fresh {
		return err
	}
	return s.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketTables, bucketSizes} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		format, err := tx.CreateBucketIfNotExists(bucketFormat)
		if err != nil {
			return err
		}
		return format.Put(bucketFormat, []byte("1"))
	})
}

// Close waits for commits under way and closes the file. A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.writers.Wait()
	s.metrics.unregister(s.options.Registerer)
	return guarded(s.db.Close)
}

// Err is why the store takes no changes, nil while it does: a write has failed before, or it is closed.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusal()
}

// Tables are the tables that hold something, shared ones first, by name and owner.
func (s *Store) Tables() []TableSize {
	s.mu.Lock()
	list := make([]TableSize, 0, len(s.sizes))
	for id, size := range s.sizes {
		if t, ok := decodeTable(id); ok && size.Keys > 0 {
			list = append(list, TableSize{t, size})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b TableSize) int {
		if a.Shared != b.Shared {
			if a.Shared {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Function, b.Function), strings.Compare(a.Mapping, b.Mapping), cmp.Compare(a.Shard, b.Shard))
	})
	return list
}

// Drop removes the tables that match, with all they hold, and says how many those were. Errors: ErrNoSpace, ErrFailed, ErrClosed, ErrDamaged.
func (s *Store) Drop(match func(Table) bool) (int, error) {
	s.mu.Lock()
	var ids []string
	for id := range s.sizes {
		if t, ok := decodeTable(id); ok && match(t) {
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	if len(ids) == 0 {
		return 0, nil
	}
	if err := s.submit(&commit{drop: ids}); err != nil {
		return 0, fmt.Errorf("state: drop %d tables: %w", len(ids), err)
	}
	return len(ids), nil
}

// view runs f in a read of the file.
func (s *Store) view(f func(tables *bolt.Bucket) error) error {
	err := guarded(func() error {
		return s.db.View(func(tx *bolt.Tx) error { return f(tx.Bucket(bucketTables)) })
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	if errors.Is(err, ErrDamaged) {
		s.metrics.damaged.Inc()
	}
	return err
}

// guarded runs what reads the file, whose pages are trusted by what reads them: where they are damaged it panics, or reads outside of the
// file's memory.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return f()
}

// CheckName refuses what can be no name of a table. The error is a *field.Error of "table".
func CheckName(name string) error {
	bad := name == "" || len(name) > MaxNameBytes || strings.Trim(name, ".") == "" || strings.IndexFunc(name, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && r != '-' && r != '_' && r != '.'
	}) >= 0
	if bad {
		return field.Invalid("table", name, fmt.Sprintf("1 to %d letters, digits, '-', '_' or '.', and not only dots", MaxNameBytes))
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
