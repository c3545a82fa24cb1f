package triggers

import (
	"sync"
	"time"

	"github.com/shardmill/shardmill/shards"
)

// State is what a mapping as a whole does.
type State string

// The states of a mapping.
const (
	Enabled  State = "enabled"  // its shards are read
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
	Skipped   uint64 // records that had expired or been lost before they could be delivered
	Retries   uint64 // deliveries beyond a batch's first
	Saves     uint64 // checkpoints saved
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
	c.Skipped += o.Skipped
	c.Retries += o.Retries
	c.Saves += o.Saves
}

// Invocations is their number, of every result.
func (c *Counts) Invocations() uint64 {
	return c.OK + c.Partial + c.Failed + c.Throttled + c.Refused
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
	Shards   []ShardStatus
	Past     Counts // of shards that have passed the retention, since the host started
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

// progress is what others may see of a poller. The poller's goroutine writes it, and its saver's.
type progress struct {
	mu      sync.Mutex
	reader  Reader
	oldest  int64 // arrival of the oldest record in hand, µs since the Unix epoch; 0 = none
	status  ShardStatus
	saveErr string
}

func (p *progress) update(f func(s *ShardStatus)) {
	p.mu.Lock()
	f(&p.status)
	p.mu.Unlock()
}

func (p *progress) opened(r Reader) {
	p.mu.Lock()
	p.reader = r
	p.mu.Unlock()
}

func (p *progress) holding(arrival int64) {
	p.mu.Lock()
	p.oldest = arrival
	p.mu.Unlock()
}

func (p *progress) running() {
	p.update(func(s *ShardStatus) { s.State, s.LastError = ShardRunning, "" })
}

func (p *progress) blocked(state ShardState, err error) {
	p.update(func(s *ShardStatus) { s.State, s.LastError = state, shorten(err.Error()) })
}

func (p *progress) ended(state ShardState, err error) {
	p.update(func(s *ShardStatus) {
		if s.State, s.Attempt = state, 0; err != nil {
			s.LastError = shorten(err.Error())
		}
	})
}

func (p *progress) skipped(n uint64) {
	p.update(func(s *ShardStatus) { s.Counts.Skipped += n })
}

func (p *progress) invoking(attempt int) {
	p.update(func(s *ShardStatus) {
		if s.Attempt > 0 {
			s.Counts.Retries++
		}
		s.Attempt = attempt
	})
}

func (p *progress) settled(n settled) {
	p.update(func(s *ShardStatus) {
		s.Counts.Dropped += uint64(n.Dropped)
		s.Counts.Rejected += uint64(n.Rejected)
	})
}

// invoked notes how an invocation of n records ended; err says why it was not ok.
func (p *progress) invoked(o outcome, n int, err error) {
	now := time.Now()
	p.update(func(s *ShardStatus) {
		c := &s.Counts
		c.Delivered += uint64(n)
		s.LastTime, s.LastError = now, ""
		if err != nil {
			s.LastError = shorten(err.Error())
		}
		switch {
		case o.Class == replied && o.RetryFrom >= n:
			s.LastResult, s.State = ResultOK, ShardRunning
			c.OK++
		case o.Class == replied:
			s.LastResult, s.State = ResultPartial, ShardRetrying
			c.Partial++
		case o.Class == failed:
			s.LastResult, s.State = ResultFailed, ShardRetrying
			c.Failed++
		case o.Class == throttled:
			s.LastResult, s.State = ResultThrottled, ShardRetrying
			c.Throttled++
		default:
			s.LastResult, s.State = ResultRefused, ShardBlocked
			c.Refused++
		}
	})
}

// advanced notes that records left the batch; oldest is the arrival of the oldest one still in hand.
func (p *progress) advanced(d decision, remaining int, oldest int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.oldest = oldest
	p.status.Counts.Settled += uint64(d.Settle)
	if remaining == 0 {
		p.status.Attempt, p.status.State = 0, ShardRunning
	}
}

// gaveUp returns the error of the last attempt.
func (p *progress) gaveUp(g GivenUp) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.Attempts > 0 {
		g.Error = p.status.LastError
	}
	p.status.Counts.GivenUp += uint64(g.Records)
	p.status.LastGivenUp = &g
	return g.Error
}

func (p *progress) saveFailed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saveErr = ""
	if err != nil {
		p.saveErr = "the checkpoint cannot be saved: " + shorten(err.Error())
	}
}

// counts are the shard's, of a poller that is not running.
func (p *poller) counts() Counts {
	p.progress.mu.Lock()
	defer p.progress.mu.Unlock()
	return p.progress.status.Counts
}

// report is the shard's status as of now.
func (p *poller) report(now time.Time) ShardStatus {
	p.progress.mu.Lock()
	s, oldest, reader, saveErr := p.progress.status, p.progress.oldest, p.progress.reader, p.progress.saveErr
	p.progress.mu.Unlock()
	cp, saves := p.saver.checkpoint()
	s.Shard, s.Checkpoint, s.Counts.Saves = p.shard, cp.Sequence, saves
	switch {
	case oldest != 0:
		s.IteratorAge = max(0, now.Sub(time.UnixMicro(oldest)))
	case reader != nil && s.State != ShardStopped && s.State != ShardEnded:
		s.IteratorAge = reader.Behind()
	}
	if saveErr != "" && s.State != ShardStopped {
		s.State, s.LastError = ShardBlocked, saveErr
	}
	return s
}
