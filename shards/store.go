package shards

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/shards/journal"
)

// Store is all streams of a host. It is safe for use by many goroutines.
type Store struct {
	dir     string
	defs    Definitions
	openLog openLog
	logger  *slog.Logger
	// openFiles says how many files the process has open, and how many it may have.
	openFiles func() (open, most int, err error)

	metrics *metrics
	spares  *journal.Spares    // nil: none are kept
	stop    context.CancelFunc // ends the trimmer, the scrubber and the scaler
	upkeep  sync.WaitGroup     // those three

	mu      sync.RWMutex // guards the rest
	streams map[string]*Stream
	busy    map[string]chan struct{} // names being created, changed or deleted; closed when that is over
	closed  bool
	changes sync.WaitGroup // creations, changes and deletions under way; none is added once closed is set
}

// Create makes a stream and returns when it is durable and takes records. When there is one of that name
// and shape already, it is returned and created is false; of another shape, the error is ErrExists. A
// value out of its limits is ErrInvalid; a process that can hardly open more files is ErrFiles.
func (s *Store) Create(ctx context.Context, c Config) (d Description, created bool, err error) {
	if c, err = c.normalized(); err != nil {
		return Description{}, false, fmt.Errorf("shards: create: %w", err)
	}
	done, err := s.begin(ctx, c.Name)
	if err != nil {
		return Description{}, false, fmt.Errorf("shards: create %q: %w", c.Name, err)
	}
	defer done()
	if st, err := s.Stream(c.Name); err == nil {
		if differ := st.def().differences(c); len(differ) > 0 {
			return Description{}, false, fmt.Errorf("shards: stream %q %w with %s", c.Name, ErrExists, strings.Join(differ, ", "))
		}
		return st.describe(), false, nil
	}
	if err := s.checkFiles(); err != nil {
		return Description{}, false, fmt.Errorf("shards: create %q: %w", c.Name, err)
	}
	st, err := s.create(ctx, c)
	if err != nil {
		return Description{}, false, fmt.Errorf("shards: create %q: %w", c.Name, err)
	}
	s.mu.Lock()
	s.streams[c.Name] = st
	s.mu.Unlock()
	return st.describe(), true, nil
}

// create writes the definition, makes the log, and marks the definition active. A crash in between leaves a
// definition in creation, which open completes; an error takes back what was done.
func (s *Store) create(ctx context.Context, c Config) (*Stream, error) {
	def := newDefinition(c, time.Now())
	revision, err := s.defs.Create(ctx, def.Name, def.encode())
	if err != nil {
		return nil, ofCatalog(err)
	}
	st, err := s.open(ctx, def, revision)
	if err == nil {
		return st, nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if failed := s.defs.Delete(undo, def.Name, 0); failed != nil {
		return nil, errors.Join(err, failed) // the definition may stand, and then its folder must
	}
	return nil, errors.Join(err, os.RemoveAll(s.folder(def.ID)))
}

// undoTimeout is how long a failed creation may take to remove its definition.
const undoTimeout = 10 * time.Second

// open opens the log of a stream. The folder of one in creation is made; one that is active must have it.
func (s *Store) open(ctx context.Context, def definition, revision uint64) (*Stream, error) {
	dir := s.folder(def.ID)
	if def.State == stateActive {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("its folder is lost: %w", err)
		}
	}
	log, err := s.openLog(ctx, dir, &def)
	if err != nil {
		return nil, err
	}
	for i := range def.Shards {
		// Records behind its end are in a closed shard when its definition was written, and this was not heard of. They are served.
		if shard := &def.Shards[i]; shard.State == ShardClosed {
			_, next := log.Bounds(uint32(shard.ID))
			shard.Last = max(shard.Last, next-1)
		}
	}
	if def.State == stateCreating {
		def.State = stateActive
		if revision, err = s.defs.Update(ctx, def.Name, def.encode(), revision); err != nil {
			return nil, errors.Join(ofCatalog(err), log.Close())
		}
	}
	return newStream(def, revision, log, s.metrics), nil
}

func (s *Store) folder(id string) string { return filepath.Join(s.dir, id) }

// Delete removes a stream with all its records and checkpoints, and returns when the definition is durably
// gone. Putters and readers under way get ErrNotFound.
func (s *Store) Delete(ctx context.Context, name string) error {
	done, err := s.begin(ctx, name)
	if err != nil {
		return fmt.Errorf("shards: delete %q: %w", name, err)
	}
	defer done()
	st, err := s.Stream(name)
	if err != nil {
		return fmt.Errorf("shards: delete %q: %w", name, ErrNotFound)
	}
	if err := s.undefine(ctx, name); err != nil {
		return fmt.Errorf("shards: delete %q: %w", name, ofCatalog(err))
	}
	st.gone.Store(true)
	s.mu.Lock()
	delete(s.streams, name)
	s.mu.Unlock()
	s.metrics.forget(name)
	// The stream is gone now. Files that cannot be removed are removed at the next Open.
	if st.log != nil {
		if err := st.log.Close(); err != nil {
			s.logger.Warn("closing a deleted stream", "stream", name, "id", st.id, "error", err)
		}
	}
	if st.id == "" { // its definition could not be read
		return nil
	}
	if s.spares != nil && roomy(s.dir) {
		if err := s.spares.Salvage(s.folder(st.id)); err != nil {
			s.logger.Warn("keeping a deleted stream's files for new ones", "stream", name, "id", st.id, "error", err)
		}
	}
	if err := os.RemoveAll(s.folder(st.id)); err != nil {
		s.logger.Warn("removing a deleted stream's files; the next start tries again", "stream", name, "id", st.id, "error", err)
	}
	return nil
}

// undefine deletes a definition, which may be gone already. Who has changed it meanwhile wins.
func (s *Store) undefine(ctx context.Context, name string) error {
	entry, err := s.defs.Get(name)
	if err == nil {
		err = s.defs.Delete(ctx, name, entry.Revision)
	}
	if errors.Is(err, catalog.ErrNotFound) {
		return nil
	}
	return err
}

// ofCatalog gives an error of the catalog the name that it has in this package too.
func ofCatalog(err error) error {
	switch {
	case errors.Is(err, catalog.ErrExists):
		return fmt.Errorf("%w: %w", ErrExists, err)
	case errors.Is(err, catalog.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case errors.Is(err, catalog.ErrClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}

// begin waits until nobody else creates, changes or deletes a stream of that name. The caller calls done.
func (s *Store) begin(ctx context.Context, name string) (done func(), err error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, ErrClosed
		}
		other, taken := s.busy[name]
		if !taken {
			break
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer s.mu.Unlock()
	mine := make(chan struct{})
	s.busy[name] = mine
	s.changes.Add(1)
	return func() {
		s.mu.Lock()
		delete(s.busy, name)
		s.mu.Unlock()
		close(mine)
		s.changes.Done()
	}, nil
}

// Stream is a handle on a stream. Error: ErrNotFound. That of a stream that could not be opened is handed
// out too; its methods fail with ErrUnavailable and the reason.
func (s *Store) Stream(name string) (*Stream, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if st, ok := s.streams[name]; ok {
		return st, nil
	}
	if s.closed {
		return nil, fmt.Errorf("shards: stream %q: %w", name, ErrClosed)
	}
	return nil, fmt.Errorf("shards: stream %q: %w", name, ErrNotFound)
}

// Describe is a stream as it is now. It may read the disk. Errors: ErrNotFound, the context's.
func (s *Store) Describe(ctx context.Context, name string) (Description, error) {
	st, err := s.Stream(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Description{}, err
	}
	return st.describe(), nil
}

// List is all streams as they are now, by name.
func (s *Store) List() []Description {
	all := s.all()
	list := make([]Description, len(all))
	for i, st := range all {
		list[i] = st.describe()
	}
	return list
}

// all is the streams by name.
func (s *Store) all() []*Stream {
	all := s.each()
	slices.SortFunc(all, func(a, b *Stream) int { return cmp.Compare(a.name, b.name) })
	return all
}

// each is the streams in no order.
func (s *Store) each() []*Stream {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.streams))
}

// Damage lists the damaged records of all streams that have been found and not been accepted.
func (s *Store) Damage() []DamageError {
	var list []DamageError
	for _, st := range s.all() {
		if st.usable() == nil {
			list = append(list, st.log.Damage()...)
		}
	}
	return list
}

// Close ends all calls under way with ErrClosed, blocked readers included, and waits until every goroutine
// of the store has ended. It closes what it opened, not the catalog.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.changes.Wait()
	s.stop()
	s.upkeep.Wait()
	var closing errgroup.Group
	closing.SetLimit(openAtOnce)
	for _, st := range s.all() {
		if st.log == nil {
			continue
		}
		closing.Go(func() error {
			if err := st.log.Close(); err != nil {
				return fmt.Errorf("shards: close %q: %w", st.name, err)
			}
			return nil
		})
	}
	err := closing.Wait()
	s.metrics.unregister()
	return err
}
