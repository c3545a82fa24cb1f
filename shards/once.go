package shards

import (
	"bytes"
	"context"
	"fmt"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// Marker says what a producer has put last: its name, an ordinal that grows by each put, and a note.
type Marker = journal.Marker

// claim is the marker that a put is under, and whether it was put.
type claim struct {
	marker Marker
	put    bool
}

// PutOnce puts all records of a run under a producer's marker, in one piece: after a crash both are there or neither, whichever shards the
// records go to. When the producer's marker is this one already, whatever the records are, nothing is put and put is false. A producer
// has one put at a time. Errors: those of PutRun without results; ErrMarker, ErrMarkers.
func (st *Stream) PutOnce(ctx context.Context, run record.Run, m Marker) (put bool, err error) {
	if have, ok := st.Marker(m.Producer); ok && have.Ordinal == m.Ordinal && bytes.Equal(have.Note, m.Note) {
		return false, nil
	}
	once := claim{marker: m}
	_, err = st.putRunAs(ctx, run, nil, &once)
	return once.put && err == nil, err
}

// CheckRun says whether the stream takes the records of a run, as it is set now: the first that it does not is a *FieldError.
func (st *Stream) CheckRun(run record.Run) error {
	if err := st.usable(); err != nil {
		return st.fail("put to", err)
	}
	if run.Size() > MaxPutBytes {
		return st.fail("put to", invalid("records", fmt.Sprintf("%d encoded bytes", run.Size()), fmt.Sprintf("at most %d", MaxPutBytes)))
	}
	limit, n := st.MaxRecordBytes(), 0
	for r := range run.All() {
		n++
		if err := checkRecord(&r, limit); err != nil {
			return st.fail("put to", fmt.Errorf("record %d of %d: %w", n, run.Len(), err))
		}
	}
	return nil
}

// Marker is the newest marker of a producer in the stream. Its Note must not be changed.
func (st *Stream) Marker(producer string) (Marker, bool) {
	if st.usable() != nil {
		return Marker{}, false
	}
	return st.log.Marker(producer)
}

// Marker is the newest marker of a producer in any stream, that of the highest ordinal. It does not block.
func (s *Store) Marker(producer string) (newest Marker, ok bool) {
	for _, st := range s.each() {
		if m, there := st.Marker(producer); there && m.Ordinal >= newest.Ordinal {
			newest, ok = m, true
		}
	}
	return newest, ok
}

// Producers are the names of those that have a marker in some stream and whose names begin with a prefix, each once.
func (s *Store) Producers(prefix string) map[string]bool {
	names := map[string]bool{}
	for _, st := range s.each() {
		if st.usable() != nil {
			continue
		}
		for _, name := range st.log.Producers(prefix) {
			names[name] = true
		}
	}
	return names
}

// DeleteMarkers durably forgets, in all streams, the markers of the producers whose names begin with a prefix.
func (s *Store) DeleteMarkers(ctx context.Context, prefix string) error {
	for _, st := range s.each() {
		if st.usable() != nil || len(st.log.Producers(prefix)) == 0 {
			continue
		}
		if err := st.log.DeleteMarkers(ctx, prefix); err != nil && !st.gone.Load() {
			return st.fail("delete markers in", err)
		}
	}
	return nil
}
