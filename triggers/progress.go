package triggers

import (
	"cmp"
	"sync"
	"time"
)

// progress is what others may see of a poller. The poller's goroutine writes it, its lanes' and its saver's.
type progress struct {
	mu         sync.Mutex
	reader     Reader
	waiting    int64       // arrival of the oldest record that was read and is in no lane, µs since the Unix epoch; 0 = none
	status     ShardStatus // what is not of one lane
	lanes      []laneProgress
	saveErr    string
	unfinished string // what the end of the drain time cut off; "" = nothing
}

// laneProgress is one lane's. Its zero value has nothing in hand.
type laneProgress struct {
	state   ShardState // why what is in hand is not settled yet; "" = it is being delivered for the first time
	err     string     // with state
	attempt int        // 0 = nothing has been delivered
	oldest  int64      // arrival of the oldest record in hand, µs since the Unix epoch; 0 = none
}

func (p *progress) update(f func(s *ShardStatus)) {
	p.mu.Lock()
	f(&p.status)
	p.mu.Unlock()
}

// lane is that of a number. The lock must be held.
func (p *progress) lane(number int) *laneProgress {
	for len(p.lanes) <= number {
		p.lanes = append(p.lanes, laneProgress{})
	}
	return &p.lanes[number]
}

// opened notes that the shard can be read, which may wait for its next record after this.
func (p *progress) opened(r Reader) {
	p.mu.Lock()
	p.reader = r
	if p.status.State == ShardBlocked {
		p.status.State, p.status.LastError = ShardRunning, ""
	}
	p.mu.Unlock()
}

// read notes what has been looked at, and the arrival of what has been read and is in no lane.
func (p *progress) read(polled, filtered uint64, waiting int64) {
	p.mu.Lock()
	p.status.Counts.Polled += polled
	p.status.Counts.Filtered += filtered
	p.waiting = waiting
	p.mu.Unlock()
}

// holding notes the arrival of the oldest record that a lane has in hand.
func (p *progress) holding(lane int, arrival int64) {
	p.mu.Lock()
	p.lane(lane).oldest = arrival
	p.mu.Unlock()
}

// rearranged notes that other lanes follow, which have nothing in hand.
func (p *progress) rearranged() {
	p.mu.Lock()
	clear(p.lanes)
	p.mu.Unlock()
}

func (p *progress) running() {
	p.update(func(s *ShardStatus) { s.State, s.LastError = ShardRunning, "" })
}

func (p *progress) blocked(state ShardState, err error) {
	p.update(func(s *ShardStatus) { s.State, s.LastError = state, shorten(err.Error()) })
}

func (p *progress) ended(state ShardState, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.lanes)
	p.waiting = 0
	if p.status.State = state; err != nil {
		p.status.LastError = shorten(err.Error())
	}
}

// cutOff notes what the end of the drain time has left unfinished; the first counts.
func (p *progress) cutOff(what string) {
	p.mu.Lock()
	p.unfinished = cmp.Or(p.unfinished, what)
	p.mu.Unlock()
}

func (p *progress) lost() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unfinished
}

func (p *progress) skipped(n uint64) {
	p.update(func(s *ShardStatus) { s.Counts.Skipped += n })
}

// another notes that a lane goes on with something else than what it attempted before.
func (p *progress) another(lane int) {
	p.mu.Lock()
	p.lane(lane).attempt = 0
	p.mu.Unlock()
}

// parked notes that one lane has taken over the record that held up another, and the arrivals of what they now have; left is 0 when that is
// nothing.
func (p *progress) parked(from, to int, arrival, left int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lane(max(from, to))
	p.lanes[to] = p.lanes[from]
	p.lanes[to].oldest = arrival
	p.lanes[from] = laneProgress{oldest: left}
}

// invoking notes that a lane begins an attempt.
func (p *progress) invoking(lane, attempt int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lane(lane)
	if l.attempt > 0 {
		p.status.Counts.Retries++
	}
	l.attempt = attempt
}

func (p *progress) settled(n settled) {
	p.update(func(s *ShardStatus) {
		s.Counts.Dropped += uint64(n.Dropped)
		s.Counts.Rejected += uint64(n.Rejected)
	})
}

// invoked notes how a lane's invocation of n records ended; err says why it was not ok.
func (p *progress) invoked(lane int, o outcome, n int, err error) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	s, l := &p.status, p.lane(lane)
	c := &s.Counts
	c.Delivered += uint64(n)
	s.LastTime, s.LastError = now, ""
	if err != nil {
		s.LastError = shorten(err.Error())
	}
	l.err = s.LastError
	switch {
	case o.Class == replied && o.RetryFrom >= n:
		s.LastResult, l.state = ResultOK, ""
		c.OK++
		return
	case o.Class == replied:
		s.LastResult, l.state = ResultPartial, ShardRetrying
		c.Partial++
	case o.Class == failed:
		s.LastResult, l.state = ResultFailed, ShardRetrying
		c.Failed++
	case o.Class == throttled:
		s.LastResult, l.state = ResultThrottled, ShardRetrying
		c.Throttled++
	default:
		s.LastResult, l.state = ResultRefused, ShardBlocked
		c.Refused++
	}
	c.Unhandled += uint64(n)
}

// advanced notes that records left a lane's batch. oldest is the arrival of the oldest that the lane has in hand; 0 = none, and its
// batch is done.
func (p *progress) advanced(lane int, settle int, oldest int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Counts.Settled += uint64(settle)
	if l := p.lane(lane); oldest == 0 {
		*l = laneProgress{}
	} else {
		l.oldest = oldest
	}
}

// gaveUp notes records that were given up, and whether a destination has them. What the stream itself has dropped does not count as lost, as on AWS.
func (p *progress) gaveUp(g GivenUp, stored bool) {
	p.update(func(s *ShardStatus) {
		if s.Counts.GivenUp += uint64(g.Records); !stored && g.Reason != RecordExpired {
			s.Counts.Lost += uint64(g.Records)
		}
		s.LastGivenUp = &g
	})
}

// lastError is what a lane's last attempt came to; "" when there were none.
func (p *progress) lastError(lane, attempts int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if attempts == 0 {
		return ""
	}
	return p.lane(lane).err
}

// undelivered notes that the on-failure destination did not take records.
func (p *progress) undelivered(lane int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lane(lane)
	l.state, l.err = ShardBlocked, "the on-failure destination does not take records: "+shorten(err.Error())
}

func (p *progress) sent(n int) {
	p.update(func(s *ShardStatus) { s.Counts.Sent += uint64(n) })
}

func (p *progress) saveFailed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saveErr = ""
	if err != nil {
		p.saveErr = "the checkpoint cannot be saved: " + shorten(err.Error())
	}
}

// carry takes over from the poller that read the shard before, and is not running any more, what does not begin anew.
func (p *progress) carry(before *poller) {
	counts := before.counts()
	was, _, _ := before.progress.view()
	p.update(func(s *ShardStatus) {
		s.Counts, s.LastGivenUp = counts, was.LastGivenUp
		s.LastResult, s.LastTime = was.LastResult, was.LastTime
	})
}

// counts are the shard's.
func (p *poller) counts() Counts {
	s, _, _ := p.progress.view()
	_, saves := p.saver.checkpoint()
	s.Counts.Saves += saves
	return s.Counts
}

// view is the status, what the lanes have in hand included, the arrival of the oldest record in hand, and the reader.
func (p *progress) view() (s ShardStatus, oldest int64, reader Reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, oldest = p.status, p.waiting
	for _, l := range p.lanes {
		s.Attempt = max(s.Attempt, l.attempt)
		if l.oldest != 0 && (oldest == 0 || l.oldest < oldest) {
			oldest = l.oldest
		}
		if l.state != "" && (s.State == ShardRunning || s.State == ShardRetrying) {
			s.State, s.LastError = l.state, l.err
		}
	}
	if p.saveErr != "" && s.State != ShardStopped {
		s.State, s.LastError = ShardBlocked, p.saveErr
	}
	return s, oldest, p.reader
}

// report is the shard's status as of now.
func (p *poller) report(now time.Time) ShardStatus {
	s, oldest, reader := p.progress.view()
	cp, saves := p.saver.checkpoint()
	s.Shard, s.Checkpoint = p.shard, cp.Sequence
	s.Counts.Saves += saves
	switch {
	case oldest != 0:
		s.IteratorAge = max(0, now.Sub(time.UnixMicro(oldest)))
	case reader != nil && s.State != ShardStopped && s.State != ShardEnded:
		s.IteratorAge = reader.Behind()
	}
	return s
}
