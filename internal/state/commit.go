package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

const (
	// reserveBytes are left on the disk for others: streams and definitions are worth more than state.
	reserveBytes = 64 << 20
	// reliefBytes must be free even for what makes space.
	reliefBytes = 1 << 20

	maxGroup      = 256      // batches of one transaction
	maxGroupBytes = 32 << 20 // of their changes
)

// commit is one batch, or the tables to drop, on its way to the disk.
type commit struct {
	batch *Batch
	drop  []string // ids
	err   error
	done  chan struct{}
}

// submit waits until c is on disk, or refused.
func (s *Store) submit(c *commit) error {
	err := s.queue(c)
	s.metrics.outcomes.WithLabelValues(outcomeOf(err)).Inc()
	return err
}

// queue has c written. The one that finds nobody writing writes; when others wait behind it, a goroutine goes on.
func (s *Store) queue(c *commit) error {
	c.done = make(chan struct{})
	s.mu.Lock()
	if err := s.refusal(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.waiting = append(s.waiting, c)
	lead := !s.writing
	if lead {
		s.writing = true
		s.writers.Add(1)
	}
	s.mu.Unlock()
	if lead && s.writeGroup() {
		go func() {
			for s.writeGroup() {
			}
		}()
	}
	<-c.done
	return c.err
}

// refusal is why nothing is written; the caller holds mu.
func (s *Store) refusal() error {
	switch {
	case s.closed:
		return ErrClosed
	case s.failed != nil:
		return fmt.Errorf("%w: %w", ErrFailed, s.failed)
	}
	return nil
}

// writeGroup writes what waits, as far as it fits into one transaction, and says whether there is more; when there is none, nobody is
// writing any more.
func (s *Store) writeGroup() (more bool) {
	s.mu.Lock()
	n, size := 0, 0
	for n < len(s.waiting) && n < maxGroup {
		if b := s.waiting[n].batch; b != nil {
			if size += b.bytes; n > 0 && size > maxGroupBytes {
				break
			}
		}
		n++
	}
	group := s.waiting[:n:n]
	s.waiting = s.waiting[n:]
	failed := s.failed
	s.mu.Unlock()

	if failed == nil {
		begin := time.Now()
		s.write(group)
		s.metrics.observe(len(group), time.Since(begin))
	}
	for _, c := range group {
		if failed != nil {
			c.err = fmt.Errorf("%w: %w", ErrFailed, failed)
		}
		close(c.done)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) > 0 {
		return true
	}
	s.waiting, s.writing = nil, false
	s.writers.Done()
	return false
}

// write makes one transaction of a group. Each commit is refused by itself; what goes wrong with the file fails all that were not.
func (s *Store) write(group []*commit) {
	var g grouped
	err := guarded(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			g = grouped{store: s, tables: tx.Bucket(bucketTables), stored: tx.Bucket(bucketSizes), sizes: map[string]Size{}, added: map[string]int64{}}
			for _, c := range group {
				if c.err = s.room(c); c.err == nil {
					c.err = g.take(c)
				}
				if c.err != nil && !refused(c.err) {
					return c.err
				}
			}
			return g.saveSizes()
		})
	})
	if err == nil {
		s.settle(&g)
		return
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	} else {
		s.poison(err)
	}
	for _, c := range group {
		if c.err == nil || !refused(c.err) {
			c.err = err
		}
	}
}

// refused is whether an error is about one commit, and not about the file.
func refused(err error) bool {
	return errors.Is(err, ErrConflict) || errors.Is(err, ErrFull) || errors.Is(err, ErrNoSpace) || errors.Is(err, errEntry)
}

// errEntry marks the damage of one entry that a commit had to compare with.
var errEntry = errors.New("it has to be put without expecting anything, or deleted")

func (s *Store) poison(err error) {
	s.options.Logger.Error("the state of functions takes no more changes until the host is started again", "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
}

// settle takes over the sizes of what is on disk.
func (s *Store) settle(g *grouped) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, size := range g.sizes {
		s.totals[account(id)] += size.Bytes - s.sizes[id].Bytes
		if s.totals[account(id)] == 0 {
			delete(s.totals, account(id))
		}
		if size == (Size{}) {
			delete(s.sizes, id)
		} else {
			s.sizes[id] = size
		}
	}
}

// room refuses what the disk may not have room for.
func (s *Store) room(c *commit) error {
	free, err := s.options.free(s.options.Dir)
	if err != nil {
		return err
	}
	need := uint64(reliefBytes)
	if c.batch != nil && c.batch.puts() {
		need = reserveBytes + 4*uint64(c.batch.bytes)
	}
	if free < need {
		return fmt.Errorf("%w: %s has %d bytes free, this needs %d", ErrNoSpace, s.options.Dir, free, need)
	}
	return nil
}

func (b *Batch) puts() bool {
	for _, keys := range b.changes {
		for _, c := range keys {
			if c.value != nil {
				return true
			}
		}
	}
	return false
}

// freeBytes asks the system.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}

// grouped is a transaction under way.
type grouped struct {
	store          *Store
	tables, stored *bolt.Bucket
	sizes          map[string]Size  // of the tables that it changes
	added          map[string]int64 // bytes, by account
}

func (g *grouped) size(id string) Size {
	if z, ok := g.sizes[id]; ok {
		return z
	}
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	return g.store.sizes[id]
}

// take applies a commit, or refuses it and has changed nothing.
func (g *grouped) take(c *commit) error {
	for _, id := range c.drop {
		if err := g.tables.DeleteBucket([]byte(id)); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
			return err
		}
		g.added[account(id)] -= g.size(id).Bytes
		g.sizes[id] = Size{}
	}
	if c.batch == nil {
		return nil
	}
	if err := c.batch.check(g.tables); errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: %w", err, errEntry)
	} else if err != nil {
		return err
	}
	sizes, err := g.grown(c.batch)
	if err != nil {
		return err
	}
	revision, err := g.tables.NextSequence()
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(c.batch.changes)) {
		if err := g.apply(id, c.batch.changes[id], revision); err != nil {
			return err
		}
		g.added[account(id)] += sizes[id].Bytes - g.size(id).Bytes
		g.sizes[id] = sizes[id]
	}
	c.batch.stored = int64(revision)
	return nil
}

// grown is how large the tables of a batch are with it; one that becomes larger than it may be is an ErrFull.
func (g *grouped) grown(b *Batch) (map[string]Size, error) {
	sizes := map[string]Size{}
	added := map[string]int64{}
	for id, keys := range b.changes {
		before := g.size(id)
		z := before
		bucket := g.tables.Bucket([]byte(id))
		for key, c := range keys {
			if bucket != nil {
				if old := bucket.Get([]byte(key)); old != nil {
					z.Keys--
					z.Bytes -= entryOverhead + int64(len(key)+max(0, len(old)-entryHeader))
				}
			}
			if c.value != nil {
				z.Keys++
				z.Bytes += entryOverhead + int64(len(key)+len(c.value))
			}
		}
		if limit := g.store.options.TableBytes; z.Bytes > before.Bytes && z.Bytes > limit {
			t, _ := decodeTable(id)
			if account(id) != "" {
				t.Mapping = "" // both sides of a comparison are told the same
			}
			return nil, fmt.Errorf("%w: table %s would have %d bytes; it may have %d", ErrFull, t, z.Bytes, limit)
		}
		added[account(id)] += z.Bytes - before.Bytes
		sizes[id] = z
	}
	return sizes, g.within(added)
}

// account is what the bytes of a table count for: a trial, or "" for all that belong to none.
func account(id string) string {
	if t, ok := decodeTable(id); ok && strings.HasPrefix(t.Mapping, Trials) {
		return t.Mapping
	}
	return ""
}

// within refuses to add what brings an account over its limit. Whose it is, and how much it would be, is not told of trials: their calls are compared,
// and what they are told with them.
func (g *grouped) within(added map[string]int64) error {
	o := &g.store.options
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	for account, n := range added {
		after := g.store.totals[account] + g.added[account] + n
		switch trials := min(maxTrials*o.TrialBytes, o.TotalBytes); {
		case n <= 0:
		case account == "" && after > o.TotalBytes:
			return fmt.Errorf("%w: all tables together would have %d bytes; they may have %d", ErrFull, after, o.TotalBytes)
		case account == "":
		case after > o.TrialBytes:
			return fmt.Errorf("%w: the tables of either version of a shadow may have %d bytes together", ErrFull, o.TrialBytes)
		case g.tried()+n > trials:
			return fmt.Errorf("%w: the tables of all shadows may have %d bytes together", ErrFull, trials)
		}
	}
	return nil
}

// tried is how much all trials have; the store's lock must be held.
func (g *grouped) tried() (sum int64) {
	for _, bytes := range []map[string]int64{g.store.totals, g.added} {
		for account, n := range bytes {
			if account != "" {
				sum += n
			}
		}
	}
	return sum
}

// apply changes the entries of one table, in the order of their keys, which is the cheapest for the file.
func (g *grouped) apply(id string, keys map[string]*change, revision uint64) error {
	bucket, err := g.tables.CreateBucketIfNotExists([]byte(id))
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		c := keys[key]
		if c.value == nil {
			err = bucket.Delete([]byte(key))
		} else {
			err = bucket.Put([]byte(key), appendEntry(nil, id, []byte(key), revision, c.value))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *grouped) saveSizes() error {
	for id, size := range g.sizes {
		var err error
		if size == (Size{}) {
			err = g.stored.Delete([]byte(id))
			if b := g.tables.Bucket([]byte(id)); err == nil && b != nil {
				err = g.tables.DeleteBucket([]byte(id)) // an empty table is none
			}
		} else {
			err = g.stored.Put([]byte(id), size.encode())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
