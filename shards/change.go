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
	return st, s.edit(ctx, st, edit)
}

// edit is change for a caller who holds the stream's name.
func (s *Store) edit(ctx context.Context, st *Stream, edit func(*definition) error) error {
	old, err := s.current(ctx, st)
	if err != nil {
		return err
	}
	def := old.def
	if err := edit(&def); err != nil {
		return err
	}
	if bytes.Equal(def.encode(), old.def.encode()) {
		return nil
	}
	return s.install(ctx, st, old, def)
}

// current is a stream's shape. When an earlier change that was given up has been written after all, it is put in place first.
func (s *Store) current(ctx context.Context, st *Stream) (*shape, error) {
	sh := st.shape.Load()
	e, err := s.defs.Get(st.name)
	if err != nil {
		return nil, ofCatalog(err)
	}
	if e.Revision == sh.revision {
		return sh, nil
	}
	def, err := decodeDefinition(e.Key, e.Value)
	if err != nil {
		return nil, err
	}
	if err := s.install(ctx, st, &shape{def: sh.def, revision: e.Revision}, def); err != nil {
		return nil, err
	}
	return st.shape.Load(), nil
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
