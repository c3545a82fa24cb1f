package shards

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/shards/journal"
)

const (
	tableName  = "streams"
	openAtOnce = 8       // logs opened or closed at the same time
	keptPrefix = "kept-" // of folders without a definition that are not removed

	sparesFolder = ".spares" // files of dropped segments, to be used again
)

// Open opens every stream of the catalog. A stream that cannot be opened does not keep the others from
// being served: it is listed as failed, with the reason. Creations that a crash interrupted are completed.
// Folders that belong to no stream any more are removed, with a line in the log; when the catalog has raised
// an alarm, and so may have lost a definition, they are renamed to kept-… instead.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Dir == "" || o.Catalog == nil {
		return nil, errors.New("shards: open: Options.Dir and Options.Catalog are needed")
	}
	table, err := o.Catalog.Table(ctx, tableName)
	if err != nil {
		return nil, fmt.Errorf("shards: open: %w", err)
	}
	spares, err := journal.OpenSpares(nil, filepath.Join(o.Dir, sparesFolder), cmp.Or(o.SpareBytes, defaultSpareBytes))
	if err != nil {
		return nil, fmt.Errorf("shards: open: %w", err)
	}
	s, err := openStore(ctx, o, table, journalOpener(o, spares), mayHaveForgotten(o.Catalog.Alarms()))
	if err != nil {
		return nil, err
	}
	s.spares = spares
	return s, nil
}

// journalOpener opens journals that share one cache, one set of metrics and the spare files.
func journalOpener(o Options, spares *journal.Spares) openLog {
	cache := journal.NewCache(cmp.Or(o.CacheBytes, defaultCacheBytes))
	metrics, traffic := journal.NewMetrics(o.Registerer), journal.NewTraffic()
	return func(ctx context.Context, dir string, d *definition) (Log, error) {
		j, err := journal.Open(ctx, journal.Options{
			Dir: dir, Name: d.Name, Shards: d.journalShards(), Cache: cache, Traffic: traffic, Spares: spares, Logger: o.Logger, Metric: metrics,
			Sizes: journal.SegmentSizing{Segment: o.SegmentBytes},
		})
		if err != nil {
			return nil, err
		}
		return embedded{j}, nil
	}
}

// mayHaveForgotten says whether alarms of a catalog leave it possible that a definition is lost.
func mayHaveForgotten(alarms []catalog.Alarm) bool {
	return slices.ContainsFunc(alarms, func(a catalog.Alarm) bool {
		return a.Kind != catalog.AlarmBlobRestored && a.Kind != catalog.AlarmBlobLost
	})
}

// openStore is Open with its parts at hand. keepFolders is whether folders without a definition are kept.
func openStore(ctx context.Context, o Options, defs Definitions, openLog openLog, keepFolders bool) (*Store, error) {
	s := &Store{
		dir: o.Dir, defs: defs, openLog: openLog, logger: o.Logger, openFiles: openFiles,
		streams: make(map[string]*Stream), busy: make(map[string]chan struct{}),
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("shards: open: %w", err)
	}
	s.metrics = newMetrics(o.Registerer, s.count)
	named, err := s.openStreams(ctx)
	if err == nil {
		err = s.sweep(named, keepFolders)
	}
	upkeep, stop := context.WithCancel(context.Background())
	s.stop = stop
	if err != nil {
		return nil, errors.Join(fmt.Errorf("shards: open: %w", err), s.Close())
	}
	s.upkeep.Go(func() { s.trim(upkeep, cmp.Or(o.TrimInterval, defaultTrimInterval)) })
	if sc := o.Scaling.withDefaults(); sc.Interval > 0 {
		s.upkeep.Go(func() { s.scaler(upkeep, sc) })
	}
	if interval := cmp.Or(o.ScrubInterval, defaultScrubInterval); interval > 0 {
		s.upkeep.Go(func() { s.scrub(upkeep, interval) })
	}
	return s, nil
}

// openStreams opens the streams of all definitions, and returns the IDs that they name. Its error is the
// context's only.
func (s *Store) openStreams(ctx context.Context) (named map[string]bool, err error) {
	entries := s.defs.List()
	named = make(map[string]bool, len(entries))
	var opening errgroup.Group
	opening.SetLimit(openAtOnce)
	for _, e := range entries {
		opening.Go(func() error {
			def, err := decodeDefinition(e.Key, e.Value)
			var st *Stream
			if err == nil {
				st, err = s.open(ctx, def, e.Revision)
			}
			if ctx.Err() != nil {
				if st != nil {
					return errors.Join(ctx.Err(), st.log.Close())
				}
				return ctx.Err()
			}
			if err != nil {
				def.Name = e.Key
				s.logger.Error("stream cannot be opened", "stream", e.Key, "id", def.ID, "error", err)
				st = newFailedStream(def, err, s.metrics)
			}
			s.mu.Lock() // also because metrics are read already
			defer s.mu.Unlock()
			s.streams[e.Key] = st
			named[def.ID] = true
			return nil
		})
	}
	return named, opening.Wait()
}

// sweep clears the folder of what deletions left behind. It touches nothing but folders named by an ID that
// no definition names; and while there is a definition that cannot be read, none at all.
func (s *Store) sweep(named map[string]bool, keep bool) error {
	if named[""] {
		return nil
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := e.Name()
		if named[id] || id == sparesFolder || strings.HasPrefix(id, keptPrefix) {
			continue
		}
		if _, err := ulid.ParseStrict(id); err != nil || !e.IsDir() {
			s.logger.Warn("unknown file in the folder of streams", "file", s.folder(id))
			continue
		}
		if keep {
			err = os.Rename(s.folder(id), s.folder(keptPrefix+id))
			s.logger.Error("folder of records has no stream and the catalog was damaged: it is kept", "folder", s.folder(keptPrefix+id))
		} else {
			err = os.RemoveAll(s.folder(id))
			s.logger.Info("removed the files of a deleted stream", "id", id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// count is the number of streams and of open shards.
func (s *Store) count() (streams, shards int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, st := range s.streams {
		shards += len(st.shape.Load().routing.slots)
	}
	return len(s.streams), shards
}
