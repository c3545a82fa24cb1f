package shards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// memDisk is what survives when in-memory logs are closed: by folder, what they hold.
type memDisk struct {
	perSegment int // appends that share a segment; 0: 1
	mu         sync.Mutex
	logs       map[string]*memLog
}

// open is an openLog. It makes the folder too, because a store looks whether it is there.
func (d *memDisk) open(_ context.Context, dir string, def *definition) (Log, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if d.logs == nil {
		d.logs = make(map[string]*memLog)
	}
	next := newMemLog(def.Name, def.journalShards(), d.perSegment)
	if old := d.logs[dir]; old != nil {
		next.takeOver(old)
	}
	d.logs[dir] = next
	return next, nil
}

// memLog is a Log in memory. Its segments are given numbers of appends.
type memLog struct {
	name       string
	perSegment int

	mu          sync.Mutex
	changed     chan struct{} // closed and made anew by whatever a reader may wait for
	closed      bool
	shards      map[uint32]*memShard
	appends     int
	arrival     int64
	checkpoints map[memConsumer]journal.Checkpoint
	appendErr   error // what Append fails with, if set
	scrubs      int   // calls of Scrub
}

type memConsumer struct {
	name  string
	shard uint32
}

type memShard struct {
	next   uint64
	stored []memStored // ascending
	damage []journal.DamageError

	sealed, ended bool
}

type memStored struct {
	segment int
	arrival int64
	first   uint64
	run     record.Run
}

func (m memStored) end() uint64 { return m.first + uint64(m.run.Len()) }

func newMemLog(name string, shards []journal.Shard, perSegment int) *memLog {
	l := &memLog{
		name: name, perSegment: max(perSegment, 1), changed: make(chan struct{}),
		shards: make(map[uint32]*memShard), checkpoints: make(map[memConsumer]journal.Checkpoint),
	}
	l.addShards(shards)
	return l
}

func (l *memLog) addShards(shards []journal.Shard) {
	for _, s := range shards {
		if l.shards[s.ID] == nil {
			l.shards[s.ID] = &memShard{next: max(record.MakeSequence(s.Epoch, 1), s.Next)}
		}
	}
}

func (l *memLog) AddShards(_ context.Context, shards []journal.Shard) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return journal.ErrClosed
	}
	l.addShards(shards)
	return nil
}

func (l *memLog) Seal(_ context.Context, shards []uint32) error {
	l.mark(shards, func(s *memShard) { s.sealed = true })
	return nil
}

func (l *memLog) Unseal(shards []uint32) { l.mark(shards, func(s *memShard) { s.sealed = false }) }

func (l *memLog) End(shards []uint32) { l.mark(shards, func(s *memShard) { s.ended = true }) }

func (l *memLog) mark(shards []uint32, set func(*memShard)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range shards {
		if s := l.shards[id]; s != nil {
			set(s)
		}
	}
	l.wake()
}

func (l *memLog) Shards() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.shards))
}

func (l *memLog) Forget(_ context.Context, shards []uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return journal.ErrClosed
	}
	for _, id := range shards {
		if s := l.shards[id]; s != nil && len(s.stored) == 0 {
			delete(l.shards, id)
		}
		maps.DeleteFunc(l.checkpoints, func(c memConsumer, _ journal.Checkpoint) bool { return c.shard == id })
	}
	return nil
}

func (l *memLog) takeOver(old *memLog) {
	old.mu.Lock()
	defer old.mu.Unlock()
	for id, s := range old.shards {
		s.sealed, s.ended = false, false
		l.shards[id] = s
	}
	l.appends, l.arrival, l.checkpoints = old.appends, old.arrival, old.checkpoints
}

func (l *memLog) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *memLog) Append(ctx context.Context, parts []journal.Part) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return journal.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case l.appendErr != nil:
		return l.appendErr
	}
	for _, p := range parts {
		if s := l.shards[p.Shard]; s == nil {
			return fmt.Errorf("no shard %d", p.Shard)
		} else if s.sealed {
			return journal.ErrSealed
		}
	}
	l.appends++
	l.arrival = max(l.arrival, time.Now().UnixMicro())
	for i := range parts {
		p := &parts[i]
		s := l.shards[p.Shard]
		p.First, p.Arrival = s.next, l.arrival
		run, err := record.ParseRun(bytes.Clone(p.Records.Bytes()), p.Records.Len())
		if err != nil {
			return err
		}
		record.Stamp(run, p.First, p.Arrival)
		if run.Len() > 0 {
			s.stored = append(s.stored, memStored{l.appends / l.perSegment, l.arrival, s.next, run})
			s.next += uint64(run.Len())
		}
	}
	l.wake()
	return nil
}

func (l *memLog) AppendOnce(ctx context.Context, parts []journal.Part, m journal.Marker) (bool, error) {
	have, ok := l.Marker(m.Producer)
	switch {
	case ok && have.Ordinal == m.Ordinal && bytes.Equal(have.Note, m.Note):
		return false, nil
	case ok && have.Ordinal >= m.Ordinal:
		return false, journal.ErrMarker
	}
	if err := l.Append(ctx, parts); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := memConsumer{m.Producer, journal.NoShard}
	l.checkpoints[key] = journal.Checkpoint{Consumer: m.Producer, Shard: key.shard, Sequence: m.Ordinal, State: bytes.Clone(m.Note), Revision: 1}
	return true, nil
}

func (l *memLog) Marker(producer string) (journal.Marker, bool) {
	c, ok := l.Checkpoint(producer, journal.NoShard)
	return journal.Marker{Producer: c.Consumer, Ordinal: c.Sequence, Note: c.State}, ok
}

func (l *memLog) Producers(prefix string) (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.checkpoints {
		if key.shard == journal.NoShard && strings.HasPrefix(key.name, prefix) {
			names = append(names, key.name)
		}
	}
	slices.Sort(names)
	return names
}

func (l *memLog) DeleteMarkers(ctx context.Context, prefix string) error {
	for _, name := range l.Producers(prefix) {
		if err := l.DeleteCheckpoints(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (l *memLog) Reader(shard uint32, from uint64) (LogReader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, journal.ErrClosed
	}
	s := l.shards[shard]
	if s == nil {
		return nil, fmt.Errorf("no shard %d", shard)
	}
	return &memReader{log: l, shard: shard, position: from}, nil
}

func (l *memLog) Bounds(shard uint32) (oldest, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shards[shard]
	if s == nil {
		return 0, 0
	}
	if len(s.stored) == 0 {
		return s.next, s.next
	}
	return s.stored[0].first, s.next
}

func (l *memLog) SequenceAt(shard uint32, arrival int64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shards[shard]
	if s == nil {
		return 0, fmt.Errorf("no shard %d", shard)
	}
	for _, b := range s.stored {
		if b.arrival >= arrival {
			return b.first, nil
		}
	}
	return s.next, nil
}

func (l *memLog) Trim(ctx context.Context, before int64) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, journal.ErrClosed
	}
	keep := l.appends / l.perSegment // the segment that is written to stays
	for _, s := range l.shards {
		for _, b := range s.stored {
			if b.arrival >= before {
				keep = min(keep, b.segment)
			}
		}
	}
	dropped := make(map[int]bool)
	for _, s := range l.shards {
		s.stored = slices.DeleteFunc(s.stored, func(b memStored) bool {
			if b.segment < keep {
				dropped[b.segment] = true
			}
			return b.segment < keep
		})
	}
	return len(dropped), nil
}

func (l *memLog) SaveCheckpoint(ctx context.Context, c journal.Checkpoint) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, journal.ErrClosed
	}
	key := memConsumer{c.Consumer, c.Shard}
	if l.checkpoints[key].Revision != c.Revision {
		return 0, journal.ErrRevision
	}
	c.Revision++
	c.State = bytes.Clone(c.State)
	l.checkpoints[key] = c
	return c.Revision, nil
}

func (l *memLog) SaveCheckpointBy(ctx context.Context, c journal.Checkpoint, _ <-chan struct{}) (uint64, error) {
	return l.SaveCheckpoint(ctx, c)
}

func (l *memLog) Checkpoint(consumer string, shard uint32) (journal.Checkpoint, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.checkpoints[memConsumer{consumer, shard}]
	return c, ok
}

func (l *memLog) Consumers() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := map[string]bool{}
	for key := range l.checkpoints {
		if key.shard != journal.NoShard {
			names[key.name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (l *memLog) DeleteCheckpoints(ctx context.Context, consumer string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return journal.ErrClosed
	}
	for key := range l.checkpoints {
		if key.name == consumer {
			delete(l.checkpoints, key)
		}
	}
	return nil
}

// damage makes the stored records of a shard from first to last unreadable.
func (l *memLog) damage(shard uint32, first, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shards[shard]
	s.damage = append(s.damage, journal.DamageError{
		Stream: l.name, Shard: shard, First: first, Last: last, File: "memory", Offset: 7, Reason: "made by a test",
	})
}

func (l *memLog) Damage() (list []journal.DamageError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.shards {
		list = append(list, s.damage...)
	}
	return list
}

func (l *memLog) AcceptDamage(ctx context.Context, shard uint32) ([]journal.DamageError, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, journal.ErrClosed
	}
	s := l.shards[shard]
	lost := s.damage
	s.damage = nil
	s.stored = slices.DeleteFunc(s.stored, func(b memStored) bool {
		return slices.ContainsFunc(lost, func(d journal.DamageError) bool { return d.First < b.end() && d.Last >= b.first })
	})
	l.wake()
	return lost, nil
}

func (l *memLog) Scrub(ctx context.Context, between func(context.Context) error) error {
	l.mu.Lock()
	closed := l.closed
	l.scrubs++
	l.mu.Unlock()
	switch {
	case closed:
		return journal.ErrClosed
	case between != nil:
		return between(ctx)
	}
	return ctx.Err()
}

func (l *memLog) LastArrival(shard uint32) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shards[shard]
	if s == nil || len(s.stored) == 0 {
		return 0
	}
	return s.stored[len(s.stored)-1].arrival
}

func (l *memLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.wake()
	}
	return nil
}

type memReader struct {
	log      *memLog
	shard    uint32
	position uint64
}

func (r *memReader) Seek(from uint64) { r.position = from }

func (r *memReader) ReadAhead() {}

func (r *memReader) Next(ctx context.Context) (record.Run, error) {
	for {
		run, changed, err := r.stored()
		if err != nil || run.Len() > 0 {
			return run, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return record.Run{}, ctx.Err()
		}
	}
}

func (r *memReader) TryNext() (record.Run, bool, error) {
	run, _, err := r.stored()
	return run, run.Len() > 0, err
}

// stored is the first stored batch from the position on, or the channel that says when there may be one.
func (r *memReader) stored() (record.Run, <-chan struct{}, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if r.log.closed {
		return record.Run{}, nil, journal.ErrClosed
	}
	s := r.log.shards[r.shard]
	if s == nil {
		return record.Run{}, nil, journal.ErrEnd
	}
	for _, b := range s.stored {
		if b.end() <= r.position {
			continue
		}
		for _, d := range s.damage {
			if d.First < b.end() && d.Last >= b.first {
				return record.Run{}, nil, &d
			}
		}
		run := b.run.From(r.position)
		r.position = b.end()
		return run, nil, nil
	}
	if s.ended {
		return record.Run{}, nil, journal.ErrEnd
	}
	return record.Run{}, r.log.changed, nil
}

// memTable is Definitions in memory.
type memTable struct {
	mu       sync.Mutex
	entries  map[string]catalog.Entry
	revision uint64
}

func (t *memTable) List() []catalog.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []catalog.Entry
	for _, e := range t.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b catalog.Entry) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	return list
}

func (t *memTable) Get(key string) (catalog.Entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[key]
	if !ok {
		return e, catalog.ErrNotFound
	}
	return e, nil
}

func (t *memTable) Create(_ context.Context, key string, value []byte) (uint64, error) {
	return t.write(key, value, func(_ catalog.Entry, ok bool) error {
		if ok {
			return catalog.ErrExists
		}
		return nil
	})
}

func (t *memTable) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return t.write(key, value, func(e catalog.Entry, ok bool) error { return expect(e, ok, revision) })
}

func (t *memTable) Delete(_ context.Context, key string, revision uint64) error {
	_, err := t.write(key, nil, func(e catalog.Entry, ok bool) error {
		if revision == 0 {
			revision = e.Revision
		}
		return expect(e, ok, revision)
	})
	return err
}

func expect(e catalog.Entry, ok bool, revision uint64) error {
	if !ok {
		return catalog.ErrNotFound
	}
	if e.Revision != revision {
		return catalog.ErrConflict
	}
	return nil
}

// write stores a value, or deletes the key when it is nil, unless check objects.
func (t *memTable) write(key string, value []byte, check func(catalog.Entry, bool) error) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.entries[key]
	if err := check(old, ok); err != nil {
		return 0, err
	}
	t.revision++
	if value == nil {
		delete(t.entries, key)
		return t.revision, nil
	}
	if t.entries == nil {
		t.entries = make(map[string]catalog.Entry)
	}
	t.entries[key] = catalog.Entry{Key: key, Value: bytes.Clone(value), Revision: t.revision}
	return t.revision, nil
}

func TestMemLogConforms(t *testing.T) {
	testLog(t, func(t *testing.T, shards []journal.Shard) func() Log {
		disk := memDisk{perSegment: 2}
		dir := t.TempDir()
		def := definition{Name: "conformance"}
		for _, s := range shards {
			def.Shards = append(def.Shards, shardDefinition{ID: ShardID(s.ID), Epoch: s.Epoch})
		}
		return func() Log {
			l, err := disk.open(t.Context(), dir, &def)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	})
}

var errDisk = errors.New("the disk says no")
