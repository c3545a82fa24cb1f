package shards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
)

// changeTimeout is how long the write of a changed definition may take. It does not end with the caller, so that a
// caller who gives up leaves no doubt behind.
const changeTimeout = 30 * time.Second

// change edits the definition of a stream and puts it in place of the old one when it is durable. edit gets a copy
// whose slices and maps are still the old one's: it replaces them. When nothing changes nothing is written.
func (s *Store) change(ctx context.Context, name string, edit func(*definition) error) (*Stream, error) {
	done, err := s.begin(ctx, name)
	if err != nil {
		return nil, err
	}
	defer done()
	st, err := s.changeable(name)
	if err != nil {
		return nil, err
	}
	old := st.shape.Load()
	def := old.def
	if err := edit(&def); err != nil {
		return nil, err
	}
	if bytes.Equal(def.encode(), old.def.encode()) {
		return st, nil
	}
	next, err := newShape(def, 0)
	if err != nil {
		return nil, err
	}
	if next.revision, err = s.redefine(ctx, &def, old.revision); err != nil {
		return nil, err
	}
	st.shape.Store(next)
	return st, nil
}

// changeable is a stream that can be changed. The caller holds its name.
func (s *Store) changeable(name string) (*Stream, error) {
	s.mu.RLock()
	st, ok := s.streams[name]
	s.mu.RUnlock()
	if !ok {
		return nil, ErrNotFound
	}
	return st, st.usable()
}

// redefine writes a changed definition in place of the one of a revision. While it is not known whether the write
// happened it is tried again: a write that has happened makes the next try a conflict, and is found.
func (s *Store) redefine(ctx context.Context, def *definition, revision uint64) (uint64, error) {
	value := def.encode()
	if len(value) > catalog.MaxValueBytes {
		return 0, invalid("definition", fmt.Sprintf("%d bytes with all shards, consumers and tags", len(value)),
			fmt.Sprintf("at most %d bytes", catalog.MaxValueBytes))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	defer cancel()
	const tries = 3
	for try := 1; ; try++ {
		next, err := s.defs.Update(ctx, def.Name, value, revision)
		if try > 1 && errors.Is(err, catalog.ErrConflict) {
			if e, failed := s.defs.Get(def.Name); failed == nil && bytes.Equal(e.Value, value) {
				return e.Revision, nil
			}
		}
		if err == nil || try == tries || !errors.Is(err, catalog.ErrUnknownOutcome) {
			return next, ofCatalog(err)
		}
	}
}
