package shards

import (
	"errors"
	"fmt"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/shards/journal"
)

// Errors about what was asked for. They come wrapped with the operation and the names it concerns.
var (
	ErrInvalid     = field.ErrInvalid                                    // always a *FieldError, which names field and limit
	ErrNotFound    = errors.New("stream does not exist")                 // never existed, or was deleted
	ErrNoShard     = errors.New("shard does not exist")                  // the stream has no shard of that number, or no longer
	ErrNoConsumer  = errors.New("consumer does not exist")               // the stream has no registered consumer of that name
	ErrExists      = errors.New("exists already")                        // a stream with another shape than the one asked for; a consumer
	ErrShardClosed = errors.New("shard is closed")                       // what was asked for needs an open one
	ErrNotAdjacent = errors.New("shards are not adjacent")               // their hash keys do not make one range
	ErrBusy        = errors.New("stream is being resharded")             // by another call; it takes as long as one write of a definition
	ErrThrottled   = errors.New("rate exceeded")                         // of a shard under LimitsAWS; the record was not put
	ErrShardEnd    = errors.New("closed shard has been read to its end") // always a *ShardEndError, which names the children
)

// Errors of the log itself. All but ErrDamaged and ErrUnavailable are the journal's own.
var (
	ErrDamaged     = errors.New("stored records are damaged") // comes with a *DamageError
	ErrUnavailable = errors.New("stream could not be opened") // with the reason; the other streams are served
	ErrClosed      = journal.ErrClosed                        // the store has been closed
	ErrNoSpace     = journal.ErrNoSpace                       // the disk is full; nothing acknowledged is lost
	ErrReadOnly    = journal.ErrReadOnly                      // the disk cannot be written
	ErrDisk        = journal.ErrDisk                          // a write or fdatasync failed: what it covered is not acknowledged
	ErrRevision    = journal.ErrRevision                      // another owner saved the checkpoint: stop
	ErrMarker      = journal.ErrMarker                        // the producer has put something else under that ordinal, or a higher one
	ErrMarkers     = journal.ErrMarkers                       // no room for a marker beside the stream's checkpoints
)

// DamageError names damaged records: stream, shard, sequence numbers, file and offset.
type DamageError = journal.DamageError

// NoShard is the shard of damage that cannot be told to belong to one.
const NoShard ShardID = ShardID(journal.NoShard)

// FieldError says which field of a request is invalid and what its limit is. It is ErrInvalid.
type FieldError = field.Error

// ShardEndError is a reader's answer when a closed shard has no more records. It is ErrShardEnd.
type ShardEndError struct {
	Stream   string
	Shard    ShardID
	Children []ShardID // where the shard's hash keys went; read these next
}

// Error names the shard.
func (e *ShardEndError) Error() string {
	return fmt.Sprintf("shards: read %q %v: %v, its children are %v", e.Stream, e.Shard, ErrShardEnd, e.Children)
}

// Is makes every ShardEndError an ErrShardEnd.
func (e *ShardEndError) Is(target error) bool { return target == ErrShardEnd }

func invalid(name, value, limit string) error { return field.Invalid(name, value, limit) }
