package triggers

import (
	"time"

	"github.com/shardmill/shardmill/shards"
)

// State is what a mapping as a whole does.
type State string

// The states of a mapping.
const (
	Enabled  State = "enabled"  // its shards are read
	Disabled State = "disabled" // paused: nothing runs, and the checkpoints stay
	Blocked  State = "blocked"  // its function is missing or handles no batches; goes on by itself when it is back
	Failed   State = "failed"   // its stream is gone or its definition unreadable: nothing runs until it is deleted
	Deleting State = "deleting" // the invocations under way are being waited for
	Stopped  State = "stopped"  // Close has been called
)

// ShardState is what the poller of one shard does.
type ShardState string

// The states of a shard.
const (
	ShardWaiting  ShardState = "waiting"  // a shard that it came from has not been read to its end
	ShardRunning  ShardState = "running"  // reading, or waiting for records
	ShardRetrying ShardState = "retrying" // a batch is to be delivered again: the function failed or was throttled
	ShardBlocked  ShardState = "blocked"  // the host cannot read, invoke or save the checkpoint; tried again
	ShardDamaged  ShardState = "damaged"  // the next records are damaged; goes on when the damage has been accepted
	ShardStopped  ShardState = "stopped"  // not read any more, see LastError
	ShardEnded    ShardState = "ended"    // the shard is closed, and everything in it settled
)

// Result is how the last invocation of a shard ended.
type Result string

// The results. The zero value means that there was none yet.
const (
	ResultOK        Result = "ok"
	ResultPartial   Result = "partial"   // the function asked for records again
	ResultFailed    Result = "failed"    // the function's own failure
	ResultThrottled Result = "throttled" // no instance was free
	ResultRefused   Result = "refused"   // the host could not invoke the function or put what it emitted
)

// Counts are totals since the host started.
type Counts struct {
	OK, Partial, Failed, Throttled, Refused uint64 // invocations by result

	Delivered uint64 // records handed to the function; each delivery counts
	Settled   uint64 // records the function settled, in any way
	Dropped   uint64 // of these, as dropped
	Rejected  uint64 // of these, as rejected
	GivenUp   uint64 // records given up: attempts exhausted, or too old
	Lost      uint64 // of these, what no on-failure destination has
	Sent      uint64 // records that were delivered to the on-failure destination: given up or rejected
	Skipped   uint64 // records that had expired or been lost before they could be delivered
	Retries   uint64 // deliveries beyond a batch's first
	Saves     uint64 // checkpoints saved

	Polled    uint64 // records that were read, user records where aggregates are taken apart
	Filtered  uint64 // of these, what no filter pattern matched: the function never has them
	Unhandled uint64 // records of invocations that failed or asked for records again; each delivery counts
}

func (c *Counts) add(o Counts) {
	c.OK += o.OK
	c.Partial += o.Partial
	c.Failed += o.Failed
	c.Throttled += o.Throttled
	c.Refused += o.Refused
	c.Delivered += o.Delivered
	c.Settled += o.Settled
	c.Dropped += o.Dropped
	c.Rejected += o.Rejected
	c.GivenUp += o.GivenUp
	c.Lost += o.Lost
	c.Sent += o.Sent
	c.Skipped += o.Skipped
	c.Retries += o.Retries
	c.Saves += o.Saves
	c.Polled += o.Polled
	c.Filtered += o.Filtered
	c.Unhandled += o.Unhandled
}

// Invocations is their number, of every result.
func (c *Counts) Invocations() uint64 {
	return c.OK + c.Partial + c.Failed + c.Throttled + c.Refused
}

// events are Lambda's event counts (its EventCount metrics), by the names that the metrics have here. What is dropped was given up, and
// not stored at an on-failure destination; rejected records are settled, but count as delivered there.
func (c *Counts) events() map[string]uint64 {
	return map[string]uint64{
		"polled":               c.Polled,
		"filtered_out":         c.Filtered,
		"invoked":              c.Delivered,
		"failed_invoke":        c.Unhandled,
		"dropped":              c.Lost,
		"on_failure_delivered": c.Sent,
	}
}

// GivenUp tells of records that were given up.
type GivenUp struct {
	First, Last uint64 // sequence numbers
	Records     int
	Attempts    int // that counted, of the batch they were in
	Reason      Reason
	Error       string // of the last attempt; "" when there was none
	Time        time.Time
}

// ShardStatus is one shard of a mapping.
type ShardStatus struct {
	Shard       shards.ShardID
	State       ShardState
	Checkpoint  uint64        // sequence number of the last settled record that has been saved; 0 = none
	IteratorAge time.Duration // age of the oldest record that is not settled; 0 = there is none
	Attempt     int           // number of the delivery under way or to be repeated; 0 = no batch in hand
	LastResult  Result
	LastError   string    // why the state is not running, or the last invocation was not ok; "" = it was
	LastTime    time.Time // when the last invocation ended
	LastGivenUp *GivenUp  // nil = none since the host started
	Counts      Counts
}

// Status is a mapping and what became of it.
type Status struct {
	Mapping
	ID       string // a UUID, given when the mapping was made
	Created  time.Time
	Modified time.Time
	State    State
	Reason   string // why the state is not Enabled; "" = it is
	Warning  string // what about the mapping may not be meant so; "" = nothing
	Shards   []ShardStatus
	Past     Counts        // of shards that have passed the retention, since the host started
	Shadow   *ShadowStatus // without its differences; nil = there is none
}

// LastResult is the result of the invocation that ended last on any shard.
func (s *Status) LastResult() Result {
	var last ShardStatus
	for _, shard := range s.Shards {
		if shard.LastTime.After(last.LastTime) {
			last = shard
		}
	}
	return last.LastResult
}

// Counts are the totals of all shards, those that are gone included.
func (s *Status) Counts() Counts {
	c := s.Past
	for i := range s.Shards {
		c.add(s.Shards[i].Counts)
	}
	return c
}
