package triggers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/shardmill/shardmill/shards"
)

// Comparison is what a shadow has found, in numbers.
type Comparison struct {
	Calls     uint64 `json:"calls"`     // compared
	SameCalls uint64 `json:"sameCalls"` // of these, without any difference
	Records   uint64 `json:"records"`   // source records of the calls that were compared

	// Results, see What.
	Same    uint64 `json:"same"`
	Changed uint64 `json:"changed"`
	Missing uint64 `json:"missing"`
	Extra   uint64 `json:"extra"`
}

// Identical is the share of results that are the same; 1 when there are none.
func (c *Comparison) Identical() float64 {
	all := c.Same + c.Changed + c.Missing + c.Extra
	if all == 0 {
		return 1
	}
	return float64(c.Same) / float64(all)
}

func (c *Comparison) add(o Comparison) {
	c.Calls += o.Calls
	c.SameCalls += o.SameCalls
	c.Records += o.Records
	c.Same += o.Same
	c.Changed += o.Changed
	c.Missing += o.Missing
	c.Extra += o.Extra
}

// Side is what the calls of one of the two versions took. Calls that were divided afterwards count, on both sides.
type Side struct {
	Version  int           `json:"version"` // that ran last; 0 = none has
	Calls    uint64        `json:"calls"`
	Failed   uint64        `json:"failed"`
	Records  uint64        `json:"records"`
	Duration time.Duration `json:"duration"` // in the guest, of all calls
	Fuel     uint64        `json:"fuel"`
	Buckets  []uint32      `json:"buckets"` // calls by their duration: see bucketOf
}

func (s *Side) add(o *Side) {
	s.Version = max(s.Version, o.Version)
	s.Calls += o.Calls
	s.Failed += o.Failed
	s.Records += o.Records
	s.Duration += o.Duration
	s.Fuel += o.Fuel
	for len(s.Buckets) < len(o.Buckets) {
		s.Buckets = append(s.Buckets, 0)
	}
	for i, n := range o.Buckets {
		s.Buckets[i] += n
	}
}

// bucketOf is the bucket of a duration: four for each doubling, from 1 µs on.
func bucketOf(d time.Duration) int {
	us := uint64(max(1, d.Microseconds()))
	octave := bits.Len64(us) - 1
	within := 0
	if octave >= 2 {
		within = int(us>>(octave-2)) & 3
	} else {
		within = int(us<<(2-octave)) & 3
	}
	return 4*octave + within
}

// endOf is the shortest duration beyond a bucket.
func endOf(bucket int) time.Duration {
	return time.Duration(math.Ldexp(1+float64(bucket%4+1)/4, bucket/4) * float64(time.Microsecond))
}

// Quantile is a duration that the part q of the calls did not exceed, to within 25 %; 0 when there were none.
func (s *Side) Quantile(q float64) time.Duration {
	left := uint64(math.Ceil(q * float64(s.Calls)))
	if left == 0 {
		return 0
	}
	for i, n := range s.Buckets {
		if uint64(n) >= left {
			return endOf(i)
		}
		left -= uint64(n)
	}
	return 0
}

func (s *Side) ran(a *attempt, records int) {
	s.Version = a.reply.Version
	s.Calls++
	s.Records += uint64(records)
	s.Duration += a.reply.Duration
	s.Fuel += uint64(max(0, a.reply.Fuel))
	if a.err != nil {
		s.Failed++
	}
	at := bucketOf(a.reply.Duration)
	for len(s.Buckets) <= at {
		s.Buckets = append(s.Buckets, 0)
	}
	s.Buckets[at]++
}

// tally is what a shadow has found in one shard. It is kept in a checkpoint of its own.
type tally struct {
	saving chan struct{} // holds a token while it is saved

	mu       sync.Mutex
	found    tallied
	revision uint64    // of the checkpoint
	rests    time.Time // when it is to be saved again, at the earliest
	dirty    bool      // something is not saved
	failing  bool      // the last save failed
	calls    uint64    // that were made, of both sides
}

// tallied is a tally as its checkpoint has it, in JSON.
type tallied struct {
	Format int `json:"format"` // 1
	Comparison
	Sides       [2]Side      `json:"sides"`
	Differences []Difference `json:"differences"` // the oldest first
}

const (
	tallyFormat = 1
	tallyEvery  = 2 * time.Second
	tallyRate   = 10 << 10         // bytes a second, that a shard's tally is written at most: with many differences it is larger, and saved less often
	tallyRests  = 10 * time.Second // what a crash loses of the numbers at most
)

// load takes up what is kept of a shard.
func (t *trial) load(source Source, shard shards.ShardID, log *slog.Logger) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tallies[shard] != nil {
		return
	}
	y := &tally{saving: make(chan struct{}, 1), found: tallied{Format: tallyFormat}}
	if cp, ok := source.Checkpoint(t.reporter(), shard); ok {
		y.revision = cp.Revision
		if found, err := parseTally(cp.State); err == nil {
			y.found = found
		} else {
			log.Warn("what the shadow had found before cannot be read; it counts from zero", "error", err)
		}
	}
	t.tallies[shard] = y
}

func parseTally(state []byte) (found tallied, err error) {
	if err := json.Unmarshal(state, &found); err != nil {
		return tallied{}, err
	}
	if found.Format != tallyFormat {
		return tallied{}, fmt.Errorf("its format is %d; it must be %d", found.Format, tallyFormat)
	}
	return found, nil
}

// tally is that of a shard which load was called for.
func (t *trial) tally(shard shards.ShardID) *tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tallies[shard]
}

// turn says which side is to be called first: each has its turn, so that neither always finds the records in the processor's caches.
func (y *tally) turn() [2]int {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.calls++; y.calls%2 == 0 {
		return [2]int{candidate, serving}
	}
	return [2]int{serving, candidate}
}

// ran notes what the calls of both sides took.
func (y *tally) ran(pair *[2]attempt, records int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for side := range pair {
		y.found.Sides[side].ran(&pair[side], records)
	}
	y.dirty = true
}

// compared notes what the comparison of a call of n records has found.
func (y *tally) compared(f *findings, n int, shard shards.ShardID, now time.Time) {
	c := Comparison{
		Calls: 1, Records: uint64(n),
		Same: uint64(f.same), Changed: uint64(f.changed), Missing: uint64(f.missing), Extra: uint64(f.extra),
	}
	if !f.differs() {
		c.SameCalls = 1
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.dirty = true
	y.found.add(c)
	for _, d := range f.list {
		d.Time, d.Shard = now.UTC(), shard
		y.found.Differences = append(y.found.Differences, d)
	}
	if over := len(y.found.Differences) - maxDifferences; over > 0 {
		y.found.Differences = slices.Clone(y.found.Differences[over:])
	}
}

// due is the state to be saved; nil when nothing has changed since it was last, or, unless it is for the last time, when that was too short a while ago.
func (y *tally) due(now time.Time, last bool) (state []byte, revision uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.dirty || !last && now.Before(y.rests) {
		return nil, 0
	}
	state, err := json.Marshal(y.found)
	if err != nil || len(state) > shards.MaxCheckpointState { // it has numbers, texts and bytes only, and a bound
		return nil, 0
	}
	y.dirty, y.rests = false, now.Add(min(tallyRests, time.Duration(len(state))*time.Second/tallyRate))
	return state, y.revision
}

// keepTallies saves what is found, now and then, until reading ends; then each poller saves its own for the last time.
func (c *crew) keepTallies(read, work context.Context) {
	tick := time.NewTicker(tallyEvery)
	defer tick.Stop()
	for {
		select {
		case <-read.Done():
			return
		case <-tick.C:
		}
		pollers, _ := c.pollers()
		for _, p := range pollers {
			p.keepTally(work, false)
		}
	}
}

// keepTally saves what was found in a shard, if it has changed. What fails is tried again with the next save, and said once.
func (p *poller) keepTally(ctx context.Context, last bool) {
	y := p.r.trial.tally(p.shard)
	y.saving <- struct{}{}
	defer func() { <-y.saving }()
	state, revision := y.due(time.Now(), last)
	if state == nil {
		return
	}
	at, _ := p.saver.checkpoint()
	cp := shards.Checkpoint{Consumer: p.r.trial.reporter(), Shard: uint32(p.shard), Sequence: at.Sequence, State: state, Revision: revision}
	revision, err := p.r.source.SaveCheckpoint(ctx, cp)
	first := y.saved(revision, err)
	gone := errors.Is(err, shards.ErrNoShard) || errors.Is(err, shards.ErrNotFound) || errors.Is(err, shards.ErrClosed)
	if first && !gone && ctx.Err() == nil {
		p.log.Warn("what the shadow has found could not be saved; it is tried again", "error", err)
	}
}

// saved notes how a save has ended, and says whether it is the first that failed.
func (y *tally) saved(revision uint64, err error) (first bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	first = err != nil && !y.failing
	if y.failing = err != nil; err != nil {
		y.dirty = true
		return first
	}
	y.revision = revision
	return false
}

// ShadowStatus is a shadow and what it has found.
type ShadowStatus struct {
	Shadow
	ID      string // a UUID; another shadow has another one
	Created time.Time
	State   State
	Reason  string // why the state is not Enabled; "" = it is
	Shards  []ShardStatus
	Comparison
	Serving, Candidate Side
	Refused            uint64       // HTTP requests of both that were not made, since the host started
	Differences        []Difference // the newest first; those of all shards
}

// report is the shadow that a runner is of, with all it has found.
func (r *runner) report(now time.Time) ShadowStatus {
	s, t := r.status(now), r.trial
	out := ShadowStatus{
		Shadow: t.shadow(), ID: t.ID, Created: t.Created, State: s.State, Reason: s.Reason, Shards: s.Shards,
		Refused: t.refused[serving].Load() + t.refused[candidate].Load(),
	}
	t.mu.Lock()
	tallies := make([]*tally, 0, len(t.tallies))
	for _, y := range t.tallies {
		tallies = append(tallies, y)
	}
	t.mu.Unlock()
	for _, y := range tallies {
		y.mu.Lock()
		out.Comparison.add(y.found.Comparison)
		out.Serving.add(&y.found.Sides[serving])
		out.Candidate.add(&y.found.Sides[candidate])
		out.Differences = append(out.Differences, y.found.Differences...)
		y.mu.Unlock()
	}
	slices.SortStableFunc(out.Differences, func(a, b Difference) int {
		if c := b.Time.Compare(a.Time); c != 0 {
			return c
		}
		return cmp.Compare(a.First, b.First)
	})
	return out
}
