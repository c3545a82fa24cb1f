package shards

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/shardmill/shardmill/shards/journal"
)

// Stream is a handle on one stream. It is safe for use by many goroutines, and lasts: once the stream has
// been deleted its methods fail with ErrNotFound, also when another one has been created under its name.
type Stream struct {
	name, id string
	shape    atomic.Pointer[shape] // as it is now

	log     Log   // nil when failure is set
	failure error // why the stream could not be opened
	metrics streamMetrics
	gone    atomic.Bool // the definition has been deleted

	reshaping atomic.Bool                   // its shards are being changed
	pause     atomic.Pointer[chan struct{}] // while shards are sealed: closed when that is over; else nil
}

// newStream is a stream of a checked definition.
func newStream(def definition, revision uint64, log Log, m *metrics) *Stream {
	st := &Stream{name: def.Name, id: def.ID, log: log, metrics: m.stream(def.Name)}
	sh, err := newShape(def, revision, nil)
	st.failure = err
	st.shape.Store(sh)
	return st
}

// newFailedStream is the place that a stream keeps when it cannot be opened.
func newFailedStream(def definition, reason error, m *metrics) *Stream {
	st := &Stream{name: def.Name, id: def.ID, failure: reason, metrics: m.stream(def.Name)}
	st.shape.Store(&shape{def: def})
	return st
}

// Name is the stream's name.
func (st *Stream) Name() string { return st.name }

// ID is the stream's ID, a ULID that no other stream has or will have.
func (st *Stream) ID() string { return st.id }

// Shards are the IDs of the stream's shards, open and closed, ascending.
func (st *Stream) Shards() []ShardID {
	shards := st.def().Shards
	ids := make([]ShardID, len(shards))
	for i := range shards {
		ids[i] = shards[i].ID
	}
	return ids
}

// Parents are the shards that a shard took over from, none or up to two; they may have left the stream. None of a shard that the
// stream does not have.
func (st *Stream) Parents(shard ShardID) []ShardID {
	if s, ok := st.def().shard(shard); ok {
		return slices.Clone(s.Parents)
	}
	return nil
}

// ShardOf is the open shard that records with a partition key go to when they carry no explicit hash key.
func (st *Stream) ShardOf(key []byte) (ShardID, error) {
	if err := st.usable(); err != nil {
		return 0, st.fail("route in", err)
	}
	sh := st.shape.Load()
	return sh.def.Shards[sh.routing.slot(HashKey(key))].ID, nil
}

func (st *Stream) usable() error {
	switch {
	case st.gone.Load():
		return ErrNotFound
	case st.failure != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, st.failure)
	}
	return nil
}

// def is the definition as it is now; it is never changed.
func (st *Stream) def() *definition { return &st.shape.Load().def }

// shard is a shard of a stream that can be used, as it is now; it is not to be changed.
func (st *Stream) shard(op string, id ShardID) (*shardDefinition, error) {
	if err := st.usable(); err != nil {
		return nil, st.fail(op, err)
	}
	s, ok := st.def().shard(id)
	if !ok {
		return nil, fmt.Errorf("shards: %s %q %v: %w", op, st.name, id, ErrNoShard)
	}
	return s, nil
}

// fail wraps what an operation came to. A log that was closed under a deleted stream is a stream not found.
func (st *Stream) fail(op string, err error) error {
	var damage *DamageError
	switch {
	case st.gone.Load() && errors.Is(err, ErrClosed):
		err = ErrNotFound
	case errors.As(err, &damage):
		return fmt.Errorf("shards: %s %q: %w: %w", op, st.name, ErrDamaged, err)
	}
	return fmt.Errorf("shards: %s %q: %w", op, st.name, err)
}

// Retention is how long the stream keeps records. It can be changed.
func (st *Stream) Retention() time.Duration { return st.def().retention() }

// cutoff is the arrival time, in microseconds since the Unix epoch, before which records are not served.
func (st *Stream) cutoff() int64 { return time.Now().Add(-st.Retention()).UnixMicro() }

// trimPoint is the sequence number of the oldest record of a shard that is served: records that are past the
// retention are not, even while their segment stands. Where the log cannot say, it is the oldest stored.
func (st *Stream) trimPoint(shard uint32) (oldest, next uint64) {
	oldest, next = st.log.Bounds(shard)
	if oldest == next {
		return oldest, next
	}
	if at, err := st.log.SequenceAt(shard, st.cutoff()); err == nil {
		oldest = min(max(oldest, at), next)
	}
	return oldest, next
}

// Checkpoint is a consumer's position in a shard: the sequence number of the last record that is settled, a
// small state and a revision that grows with each save.
type Checkpoint = journal.Checkpoint

// MaxConsumerLength is the limit of a consumer's name, in bytes.
const MaxConsumerLength = 256

// MaxCheckpointState is the limit of a checkpoint's state, in bytes: a tumbling window's, and which window that is.
const MaxCheckpointState = 1<<20 + 1<<10

// Checkpoint is a consumer's newest checkpoint in a shard; false when it has none or the stream is gone.
func (st *Stream) Checkpoint(consumer string, shard ShardID) (Checkpoint, bool) {
	if _, ok := st.def().shard(shard); !ok || st.usable() != nil {
		return Checkpoint{}, false
	}
	return st.log.Checkpoint(consumer, uint32(shard))
}

// SaveCheckpoint stores c durably if its Revision is that of the checkpoint that is there, 0 when there is
// none, and returns the new revision. ErrRevision says that another owner has saved since: stop. Sequence
// is 0 (nothing settled yet) or below the shard's next one.
func (st *Stream) SaveCheckpoint(ctx context.Context, c Checkpoint) (uint64, error) {
	return st.saveCheckpoint(c, func() (uint64, error) { return st.log.SaveCheckpoint(ctx, c) })
}

// SaveCheckpointBy is SaveCheckpoint of one that may wait: when the disk is busy it is written with the stream's next put, after 250 ms at
// the latest, or when hurry is closed.
func (st *Stream) SaveCheckpointBy(ctx context.Context, c Checkpoint, hurry <-chan struct{}) (uint64, error) {
	return st.saveCheckpoint(c, func() (uint64, error) { return st.log.SaveCheckpointBy(ctx, c, hurry) })
}

// saveCheckpoint checks c before save saves it.
func (st *Stream) saveCheckpoint(c Checkpoint, save func() (uint64, error)) (uint64, error) {
	const op = "save checkpoint in"
	shard, err := st.shard(op, ShardID(c.Shard))
	if err != nil {
		return 0, err
	}
	_, next := st.log.Bounds(c.Shard)
	switch {
	case c.Consumer == "" || len(c.Consumer) > MaxConsumerLength:
		err = invalid("consumer", c.Consumer, fmt.Sprintf("1 to %d bytes", MaxConsumerLength))
	case len(c.State) > MaxCheckpointState:
		err = invalid("state", fmt.Sprintf("%d bytes", len(c.State)), fmt.Sprintf("at most %d bytes", MaxCheckpointState))
	case c.Sequence != 0:
		err = checkSequence(c.Sequence, shard.Epoch, next-1)
	}
	if err != nil {
		return 0, st.fail(op, err)
	}
	revision, err := save()
	if err != nil {
		return 0, st.fail(op, err)
	}
	return revision, nil
}

// DeleteCheckpoints forgets a consumer's checkpoints in all shards. There may be none.
func (st *Stream) DeleteCheckpoints(ctx context.Context, consumer string) error {
	const op = "delete checkpoints in"
	if err := st.usable(); err != nil {
		return st.fail(op, err)
	}
	if err := st.log.DeleteCheckpoints(ctx, consumer); err != nil {
		return st.fail(op, err)
	}
	return nil
}

// DeleteCheckpoints durably forgets, in all streams that can be used, the checkpoints of the consumers that left picks out of those that
// have any. Streams go on after one that fails.
func (s *Store) DeleteCheckpoints(ctx context.Context, left func(consumer string) bool) error {
	var failed []error
	for _, st := range s.each() {
		if st.usable() != nil {
			continue
		}
		for _, consumer := range st.log.Consumers() {
			if !left(consumer) {
				continue
			}
			if err := st.DeleteCheckpoints(ctx, consumer); err != nil && !errors.Is(err, ErrNotFound) {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

// Damage lists the damaged records that have been found and not been accepted, in all shards.
func (st *Stream) Damage() ([]DamageError, error) {
	if err := st.usable(); err != nil {
		return nil, st.fail("list damage of", err)
	}
	return st.log.Damage(), nil
}

// AcceptDamage gives up the damaged records of a shard, or those of NoShard, for good and says which they were. Readers that
// stand before them go on behind them, counting them in Reader.Skipped.
func (st *Stream) AcceptDamage(ctx context.Context, shard ShardID) (lost []DamageError, err error) {
	const op = "accept damage of"
	if err := st.usable(); err != nil {
		return nil, st.fail(op, err)
	}
	if _, ok := st.def().shard(shard); !ok && shard != NoShard {
		return nil, fmt.Errorf("shards: %s %q %v: %w", op, st.name, shard, ErrNoShard)
	}
	if lost, err = st.log.AcceptDamage(ctx, uint32(shard)); err != nil {
		return lost, st.fail(op, err)
	}
	return lost, nil
}

// Scrub reads all that the stream stores and checks it, as fast as it can. What it finds damaged is listed by
// Damage.
func (st *Stream) Scrub(ctx context.Context) error {
	if err := st.usable(); err != nil {
		return st.fail("scrub", err)
	}
	if err := st.log.Scrub(ctx, nil); err != nil {
		return st.fail("scrub", err)
	}
	return nil
}
