package triggers

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shardmill/shardmill/shards"
)

// maxAhead is how many settled batches may wait for their checkpoint to be saved. It is what a crash can
// deliver again at most, beside the batch under way.
const maxAhead = 64

// pace is how far apart saves begin while batches are settled faster than they are saved, or less where a save takes less than a sixteenth of it: each takes
// the disk and a processor from whoever reads and runs functions. Nobody waits for it: who waits for a save hastens it.
const pace = 5 * time.Millisecond

// saver saves one shard's checkpoint beside the poller, so that the next batch is read and invoked while
// the checkpoint rides on the journal's group commit. Settled positions that come while a save is under
// way are saved by the next one, the newest of them only. A save may take its time, to go with
// a put, while nobody waits for it. No goroutine exists while there is nothing to save.
type saver struct {
	store Checkpoints
	retry backoff
	// report is told every save that did not succeed, and nil when one does after that. It must not block.
	report func(error)

	mu      sync.Mutex
	changed sync.Cond // on mu: saved, running or err has changed
	cp      shards.Checkpoint
	settled mark
	saved   mark
	ahead   int // batches settled and not saved
	running bool
	waiting int           // how many wait for saves
	hurry   chan struct{} // of the save under way, closed when it is to take no time; nil when it is closed
	err     error         // why there will be no more saves
	saves   uint64
}

// mark is what is to be saved: the sequence number of the last settled record, and the window's state, which is not changed any more.
// The generation grows with each other state, and of two marks the one with the higher generation is later.
type mark struct {
	sequence   uint64
	state      []byte
	generation uint64
}

func newSaver(store Checkpoints, cp shards.Checkpoint, retry backoff, report func(error)) *saver {
	s := &saver{store: store, retry: retry, report: report, cp: cp, settled: mark{sequence: cp.Sequence, state: cp.State}}
	s.changed.L = &s.mu
	return s
}

// settle notes that everything up to a mark is settled, and sees to it that this is saved; never does the position go back, and with 0 it
// stays. A mark of an earlier generation than one before has come too late, and says nothing new. It blocks only while too many batches wait. ctx bounds the saving. Errors: shards.ErrRevision when another owner has
// moved the checkpoint, shards.ErrNotFound, shards.ErrClosed, the context's; there are no saves after one.
func (s *saver) settle(ctx context.Context, to mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to.generation < s.settled.generation {
		return s.err
	}
	to.sequence = max(to.sequence, s.settled.sequence)
	if to.sequence == s.settled.sequence && to.generation == s.settled.generation {
		return s.err
	}
	s.settled = to
	s.ahead++
	if !s.running && s.err == nil {
		s.running = true
		go s.run(ctx)
	}
	if s.ahead >= maxAhead/2 {
		s.hasten()
	}
	for s.ahead >= maxAhead && s.err == nil {
		s.changed.Wait()
	}
	return s.err
}

// wait blocks until no save is under way and returns the error that ended them, if any.
func (s *saver) wait() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.impatient()()
	for s.running {
		s.changed.Wait()
	}
	return s.err
}

// await is wait for no longer than until a mark of the generation is saved, or a later one.
func (s *saver) await(generation uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.impatient()()
	for s.running && s.saved.generation < generation {
		s.changed.Wait()
	}
	return s.err
}

// impatient hastens the save under way, and those to come until what it returns is called. The caller holds mu in both.
func (s *saver) impatient() (done func()) {
	s.waiting++
	s.hasten()
	return func() { s.waiting-- }
}

// hasten makes the save under way take no more time than it must.
func (s *saver) hasten() {
	if s.hurry != nil {
		close(s.hurry)
		s.hurry = nil
	}
}

// begin is what hurries the save that is about to begin.
func (s *saver) begin() <-chan struct{} {
	if s.hurry == nil {
		s.hurry = make(chan struct{})
	}
	hurry := s.hurry
	if s.waiting > 0 || s.ahead >= maxAhead/2 {
		s.hasten()
	}
	return hurry
}

// run saves until the newest settled position is saved.
func (s *saver) run(ctx context.Context) {
	s.mu.Lock()
	var next time.Time // when the next save may begin
	for s.err == nil && (s.cp.Sequence != s.settled.sequence || s.saved.generation != s.settled.generation) {
		hurry := s.begin()
		if left := time.Until(next); left > 0 {
			s.mu.Unlock()
			sleepUntil(ctx, left, hurry)
			s.mu.Lock()
		}
		began := time.Now()
		cp, ahead, to := s.cp, s.ahead, s.settled
		cp.Sequence, cp.State = to.sequence, to.state
		s.mu.Unlock()
		revision, err := s.save(ctx, cp, hurry)
		next = began.Add(min(pace, 16*time.Since(began)))
		s.mu.Lock()
		if err == nil {
			s.cp, s.cp.Revision, s.saved = cp, revision, to
			s.ahead -= ahead
			s.saves++
		}
		s.err = err
		s.changed.Broadcast()
	}
	if s.running = false; s.err == nil {
		s.ahead = 0
	}
	s.changed.Broadcast()
	s.mu.Unlock()
}

// sleepUntil waits for d, or until ctx is done or what is waited for is hurried.
func sleepUntil(ctx context.Context, d time.Duration, hurry <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-hurry:
	case <-ctx.Done():
	}
}

// save tries until it succeeds, ctx is done or trying is of no use.
func (s *saver) save(ctx context.Context, cp shards.Checkpoint, hurry <-chan struct{}) (uint64, error) {
	for n := 1; ; n++ {
		revision, err := s.store.SaveCheckpointBy(ctx, cp, hurry)
		if n > 1 && errors.Is(err, shards.ErrRevision) && s.was(&cp) {
			revision, err = cp.Revision, nil
		}
		if err != nil && !errors.Is(err, shards.ErrNoShard) || n > 1 {
			s.report(err)
		}
		switch {
		case err == nil:
			return revision, nil
		case errors.Is(err, shards.ErrNoShard): // it has passed the retention as a whole, and its checkpoints went with it
			return cp.Revision, nil
		case errors.Is(err, shards.ErrRevision), errors.Is(err, shards.ErrNotFound), errors.Is(err, shards.ErrClosed):
			return 0, err
		}
		if !sleep(ctx, s.retry.delay(n)) {
			return 0, err
		}
	}
}

// was tells whether an earlier try of saving cp, though it returned an error, did succeed; then cp gets
// the revision that it was given.
func (s *saver) was(cp *shards.Checkpoint) bool {
	now, ok := s.store.Checkpoint(cp.Consumer, shards.ShardID(cp.Shard))
	if ok && now.Sequence == cp.Sequence && bytes.Equal(now.State, cp.State) {
		cp.Revision = now.Revision
		return true
	}
	return false
}

// checkpoint is what has been saved, and how many saves that took.
func (s *saver) checkpoint() (shards.Checkpoint, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cp, s.saves
}
