package shards

import "time"

// Status is whether a stream can be used.
type Status string

// The statuses of a stream.
const (
	StatusActive Status = "active"
	StatusFailed Status = "failed" // it could not be opened: Description.Reason says why
)

// ShardState is whether a shard takes records.
type ShardState string

// The states of a shard.
const (
	ShardOpen   ShardState = "open"
	ShardClosed ShardState = "closed" // it can still be read, as long as its records are retained
)

// Description is a stream as it is now.
type Description struct {
	Name           string
	ID             string // a ULID; another one for a stream that is created anew under the same name
	Created        time.Time
	Retention      time.Duration
	MaxRecordBytes int
	Status         Status
	Reason         string             // why Status is not active
	Shards         []ShardDescription // by ascending ID
}

// ShardDescription is a shard as it is now.
type ShardDescription struct {
	ID          ShardID
	Epoch       uint32
	State       ShardState
	StartHash   Hash // the hash keys that it takes, both ends included
	EndHash     Hash
	Parents     []ShardID // the shards it took over from; they may be gone already
	Created     time.Time
	Oldest      uint64    // sequence number of the oldest record that is served; equal to Next when there is none
	Next        uint64    // sequence number that its next record will get
	LastArrival time.Time // of its newest record; or somewhat later; zero when there is none
}
