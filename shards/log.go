package shards

import (
	"context"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// Log keeps the records of one stream, and its checkpoints. The journal is the embedded one; every
// implementation passes the conformance suite in this package's tests. All methods may be called at the same
// time, and fail with ErrClosed once Close has been called.
type Log interface {
	// Append stores the parts, all of them or none, and returns when they are durable. Parts of one shard get
	// sequence numbers in the order of the calls; First and Arrival are set in each part. No part is empty, and
	// together they have at most MaxPutBytes. Arrival times do not decrease within a shard, unless the
	// machine's clock is set back. The records are copied before it returns. When it fails nothing is acknowledged.
	Append(ctx context.Context, parts []journal.Part) error
	// AppendOnce is Append of what a producer puts under a marker: both are stored or neither. When the producer's marker is that one
	// already, it stores nothing and put is false; it fails with journal.ErrMarker when that has a higher ordinal, or the same and another
	// note, and with journal.ErrMarkers when there is no room for it.
	AppendOnce(ctx context.Context, parts []journal.Part, m journal.Marker) (put bool, err error)
	// Marker is the newest one of a producer. Producers are the names of those whose name begins with a prefix, ascending, and
	// DeleteMarkers forgets theirs, of which there may be none. Markers belong to no shard, and Forget leaves them.
	Marker(producer string) (journal.Marker, bool)
	Producers(prefix string) []string
	DeleteMarkers(ctx context.Context, prefix string) error
	// Reader reads a shard from a sequence number on.
	Reader(shard uint32, from uint64) (LogReader, error)
	// Bounds are the sequence numbers of the oldest stored record and of the next one to come; they are equal
	// when the shard is empty.
	Bounds(shard uint32) (oldest, next uint64)
	// SequenceAt is the sequence number of the first stored record that arrived at or after a time, in
	// microseconds since the Unix epoch; that of the next record to come when there is none.
	SequenceAt(shard uint32, arrival int64) (uint64, error)
	// LastArrival is when the newest stored record of a shard arrived, in microseconds since the Unix epoch, or
	// somewhat later; 0 when there is none.
	LastArrival(shard uint32) int64
	// Trim drops what can be dropped as a whole of what arrived before a time, in microseconds since the Unix
	// epoch. Records that arrived later stay.
	Trim(ctx context.Context, before int64) (dropped int, err error)

	// AddShards opens the shards that are not known yet, durably. A shard that has been known keeps its sequence numbers.
	AddShards(ctx context.Context, shards []journal.Shard) error
	// Seal refuses appends to the shards with journal.ErrSealed from now on; when it returns, every earlier append has been
	// answered. It is not stored and lasts until Unseal. After an error the shards may be sealed.
	Seal(ctx context.Context, shards []uint32) error
	Unseal(shards []uint32)
	// End makes readers that are, or come, behind the last record of the sealed shards fail with journal.ErrEnd. It is not stored.
	End(shards []uint32)
	// Shards are the numbers of the shards that are known, ascending.
	Shards() []uint32
	// Forget deletes the checkpoints of shards, and the shards too where nothing is stored of them; it may be called again for the
	// others. Readers of a shard that is not known any more get journal.ErrEnd.
	Forget(ctx context.Context, shards []uint32) error

	// SaveCheckpoint stores a checkpoint durably if the one of the same consumer and shard has the revision
	// named, 0 for none; otherwise it fails with ErrRevision.
	SaveCheckpoint(ctx context.Context, c journal.Checkpoint) (revision uint64, err error)
	// SaveCheckpointBy is SaveCheckpoint, but need not be at once: it may wait a moment for an append to go with, until hurry is closed.
	SaveCheckpointBy(ctx context.Context, c journal.Checkpoint, hurry <-chan struct{}) (revision uint64, err error)
	// Checkpoint is the newest one of a consumer and shard.
	Checkpoint(consumer string, shard uint32) (journal.Checkpoint, bool)
	// Consumers are the names of those that have checkpoints, ascending; a marker is none.
	Consumers() []string
	// DeleteCheckpoints forgets those of a consumer, in all shards. There may be none.
	DeleteCheckpoints(ctx context.Context, consumer string) error

	// Damage lists the damage that is known and not accepted.
	Damage() []journal.DamageError
	// AcceptDamage gives a shard's damaged records up, so that readers go on behind them; it names them.
	AcceptDamage(ctx context.Context, shard uint32) (lost []journal.DamageError, err error)
	// Scrub reads and checks everything; what it finds is listed by Damage. Its error is not about damage. It
	// calls between now and then, which waits when the scrub is to be slow, and ends with its error.
	Scrub(ctx context.Context, between func(context.Context) error) error

	// Close ends the calls under way with ErrClosed, blocked readers included, and waits for its goroutines.
	Close() error
}

// LogReader reads one shard of a Log. It is for one goroutine at a time.
type LogReader interface {
	// Next returns the records from the position on, at least one, and moves the position behind them. It
	// blocks until there is one. A position that is no longer stored counts as the oldest that is. The run
	// stays valid and must not be changed. A *journal.DamageError leaves the position where it is.
	Next(ctx context.Context) (record.Run, error)
	// TryNext is Next without blocking: ok is false when there is no record yet.
	TryNext() (run record.Run, ok bool, err error)
	// Seek sets the position: the sequence number of the first record wanted.
	Seek(from uint64)
	// ReadAhead has what comes next be read beside its user, who reads for long.
	ReadAhead()
}

// openLog opens, and makes when it is new, the log of a stream.
type openLog func(ctx context.Context, dir string, d *definition) (Log, error)

// Definitions is the table of stream definitions, by stream name; *catalog.Table is one. A write that has
// returned is durable. Its errors are catalog.ErrExists, catalog.ErrConflict and catalog.ErrNotFound.
type Definitions interface {
	Get(key string) (catalog.Entry, error)
	List() []catalog.Entry
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string, revision uint64) error
}

// embedded is the journal as a Log: only the type of what Reader returns differs.
type embedded struct{ *journal.Journal }

func (l embedded) Reader(shard uint32, from uint64) (LogReader, error) {
	r, err := l.Journal.Reader(shard, from)
	if err != nil {
		return nil, err
	}
	return r, nil
}
