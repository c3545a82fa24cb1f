package shards

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

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
	Mode           Mode
	Limits         Limits
	Tags           map[string]string          // nil when there are none
	Attributes     map[string]json.RawMessage // what an edge keeps with the stream, see Change; nil when there are none
	Consumers      []Consumer                 // registered ones, by name
	Status         Status
	Reason         string             // why Status is not active
	Shards         []ShardDescription // by ascending ID; the open ones divide the hash keys between them
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
	Closed      time.Time // when State is closed
	Last        uint64    // the last sequence number that a closed shard will ever have; with the counter 0 when it never had a record
	Oldest      uint64    // sequence number of the oldest record that is served; equal to Next when there is none
	Next        uint64    // sequence number that its next record will get
	LastArrival time.Time // of its newest record; or somewhat later; zero when there is none
}

// describe is the stream as it is now.
func (st *Stream) describe() Description {
	def := st.def()
	d := Description{
		Name: def.Name, ID: def.ID, Created: def.Created, Retention: def.retention(), MaxRecordBytes: def.MaxRecordBytes,
		Mode: def.Mode, Limits: def.Limits, Tags: maps.Clone(def.Tags), Attributes: maps.Clone(def.Attributes),
		Status: StatusActive, Shards: make([]ShardDescription, len(def.Shards)),
	}
	for _, c := range def.Consumers {
		c.Tags = maps.Clone(c.Tags)
		d.Consumers = append(d.Consumers, c)
	}
	if st.failure != nil {
		d.Status, d.Reason = StatusFailed, st.failure.Error()
	}
	for i := range def.Shards {
		d.Shards[i] = st.describeShard(&def.Shards[i])
	}
	return d
}

func (st *Stream) describeShard(s *shardDefinition) ShardDescription {
	d := ShardDescription{
		ID: s.ID, Epoch: s.Epoch, State: s.State, StartHash: s.StartHash, EndHash: s.EndHash,
		Parents: slices.Clone(s.Parents), Created: s.Created, Last: s.Last,
	}
	if s.Closed != nil {
		d.Closed = *s.Closed
	}
	if st.failure != nil {
		return d
	}
	d.Oldest, d.Next = st.trimPoint(uint32(s.ID))
	if at := st.log.LastArrival(uint32(s.ID)); at != 0 && d.Oldest < d.Next {
		d.LastArrival = time.UnixMicro(at).UTC()
	}
	return d
}
