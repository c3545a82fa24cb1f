package triggers

import (
	"context"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// Streams finds streams; FromStore makes one from a *shards.Store. Open does not block, is safe for concurrent
// use and fails with shards.ErrNotFound when there is no such stream.
type Streams interface {
	Open(name string) (Source, error)
}

// Source is one stream to read and to keep checkpoints in. It is safe for concurrent use. After the stream
// has been deleted its calls fail with shards.ErrNotFound, whether there is a new one of that name or not.
type Source interface {
	// ID tells the stream from others that have had or will have its name.
	ID() string
	// Shards are the stream's shards; the slice is the caller's.
	Shards() []shards.ShardID
	// Parents are the shards that a shard came from by resharding; they may be gone. They do not change. None of an unknown shard.
	Parents(shard shards.ShardID) []shards.ShardID
	// Retention is how long the stream keeps records. It can change.
	Retention() time.Duration
	// HasConsumer tells whether a consumer is registered with the stream; of "" it is true.
	HasConsumer(name string) bool
	// Reader starts to read a shard. It may read from disk to find a time.
	Reader(shard shards.ShardID, start shards.Start) (Reader, error)
	Checkpoints
}

// Checkpoints keeps named positions. SaveCheckpoint blocks until the checkpoint is on disk; it replaces the
// one that has the revision given (0: there is none) or fails with shards.ErrRevision and changes nothing.
// Checkpoint does not block and sees what has been saved.
type Checkpoints interface {
	Checkpoint(consumer string, shard shards.ShardID) (shards.Checkpoint, bool)
	SaveCheckpoint(ctx context.Context, c shards.Checkpoint) (revision uint64, err error)
	// SaveCheckpointBy is SaveCheckpoint of one that may wait a moment, if that makes it cheaper, until hurry is closed.
	SaveCheckpointBy(ctx context.Context, c shards.Checkpoint, hurry <-chan struct{}) (revision uint64, err error)
	DeleteCheckpoints(ctx context.Context, consumer string) error
}

// Leftovers deletes checkpoints that nobody will look at again; a *shards.Store is one.
type Leftovers interface {
	// DeleteCheckpoints blocks until those are durably gone, in all streams, whose consumers left picks. It asks about each consumer that has any,
	// of whatever kind, and writes nothing when none is picked.
	DeleteCheckpoints(ctx context.Context, left func(consumer string) bool) error
}

// Reader reads one shard in order. Next is called by one goroutine at a time; the others may be called
// beside it.
type Reader interface {
	// Next returns the next records, at least one. Only when there are none does it look at ctx, and blocks
	// until there are or ctx is done; then it may be called again. The records are views that stay valid and
	// must not be changed. Errors that end the shard or tell of damage: shards.ErrShardEnd,
	// *shards.DamageError; after the latter Next may be called again, and goes on once the damage has been
	// accepted.
	Next(ctx context.Context) (record.Run, error)
	// Position is the sequence number of the record that Next will return first, if it is still there then.
	Position() uint64
	// Behind is the age of the oldest record that Next has not returned; 0 when there is none.
	Behind() time.Duration
}

// Functions runs functions; a *runtime.Runtime is one. It is safe for concurrent use.
type Functions interface {
	// Get does not block. Error: runtime.ErrNotFound.
	Get(name string) (runtime.Function, error)
	// Invoke blocks until the function has returned and what it emitted is durable. It only reads the
	// records, and does not keep them. A *runtime.FunctionError is the function's failure, every other error
	// the host's; runtime.ErrThrottled and runtime.ErrNotFound are told apart.
	Invoke(ctx context.Context, call runtime.Call, reply *runtime.Reply) error
	// KeepTrials durably removes what calls with a Trial have kept, but for the names of tables that keep wants.
	KeepTrials(keep func(tables string) bool) error
}

// Definitions is the table of mappings by name; a *catalog.Table is one. Writes block until they are
// durable and compare the revision; errors: catalog.ErrExists, ErrConflict, ErrNotFound.
type Definitions interface {
	List() []catalog.Entry
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string, revision uint64) error
}

// FromStore makes Streams of the host's own log.
func FromStore(s *shards.Store) Streams { return store{s} }

type store struct{ *shards.Store }

func (s store) Open(name string) (Source, error) {
	stream, err := s.Stream(name)
	if err != nil {
		return nil, err
	}
	return source{stream}, nil
}

type source struct{ *shards.Stream }

func (s source) Reader(shard shards.ShardID, start shards.Start) (Reader, error) {
	r, err := s.Stream.Reader(shard, start)
	if err != nil {
		return nil, err
	}
	r.ReadAhead()
	return r, nil
}

func (s source) HasConsumer(name string) bool { return name == "" || s.Stream.HasConsumer(name) }

var (
	_ Functions   = (*runtime.Runtime)(nil)
	_ Definitions = (*catalog.Table)(nil)
)
