package journal

import (
	"context"
	"errors"
	"io/fs"
)

// trimmer lets one Trim work at a time.
type trimmer struct {
	turn    chan struct{} // holds one while somebody works
	dropped *segment      // taken off the journal, and its file could not be removed yet
	moved   []spare       // its file, moved to the spares: not durably yet, so that it must not be used
}

// Trim drops the segments whose records all arrived before a time (microseconds since the Unix epoch), oldest first, and
// returns how many. An active segment of which that is true is ended, and dropped too. A time later than now is a wrong clock's:
// such a segment counts as old as the one that follows it. Errors: those of Append; what was dropped stays dropped, and the rest
// follows with the next Trim.
func (j *Journal) Trim(ctx context.Context, before int64) (dropped int, err error) {
	if err := j.begin(); err != nil {
		return 0, j.wrap("trim", err)
	}
	defer j.workers.Done()
	select {
	case j.trimmer.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-j.trimmer.turn }()

	if dropped, err = j.dropExpired(before); err != nil || !j.activeExpired(before) {
		return dropped, j.wrap("trim", err)
	}
	// What is dropped first makes the space that the new segment needs.
	err = j.submit(ctx, &request{control: func(*groupPlan) ([]control, error) { return nil, j.roll() }})
	if err != nil {
		j.giveBackSpares(err)
		return dropped, err
	}
	more, err := j.dropExpired(before)
	return dropped + more, j.wrap("trim", err)
}

// dropExpired drops one segment after the other: the next is taken only when the one before is durably gone, so that a
// crash leaves no hole between segments.
func (j *Journal) dropExpired(before int64) (dropped int, err error) {
	for {
		if s := j.trimmer.dropped; s != nil {
			if err := errors.Join(j.files.drop(s), j.remove(s)); err != nil {
				return dropped, err
			}
			j.trimmer.dropped = nil
			dropped++
		}
		if j.trimmer.dropped = j.takeExpired(before); j.trimmer.dropped == nil {
			return dropped, nil
		}
	}
}

// remove takes a segment's file out of the folder, durably. It is kept as a spare when there is room.
func (j *Journal) remove(s *segment) error {
	kept := len(j.trimmer.moved) > 0
	if j.opt.Spares != nil && !s.poisoned && !kept {
		moved, ok, err := j.opt.Spares.move(s.path, s.size.Load())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			j.log.Warn("cannot keep a journal segment as a spare", "file", s.path, "error", err)
		}
		if kept = ok; ok {
			j.trimmer.moved = []spare{moved}
		}
	}
	if !kept {
		if err := j.opt.FS.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := j.opt.FS.SyncDir(j.opt.Dir); err != nil {
		return err
	}
	if kept {
		j.opt.Spares.add(j.trimmer.moved...)
		j.trimmer.moved = nil
	}
	return nil
}

// activeExpired says whether the active segment holds records and all of them are old.
func (j *Journal) activeExpired(before int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segments) == 0 {
		return false
	}
	s := j.segments[len(j.segments)-1]
	return len(s.spans) > 0 && s.arrivals.greatest < before
}

// takeExpired takes the oldest segment off the journal when all of its records are old; nil when not, or when it is the active one.
func (j *Journal) takeExpired(before int64) *segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segments) < 2 || j.age(0) >= before {
		return nil
	}
	gone := j.segments[0]
	j.segments = append([]*segment(nil), j.segments[1:]...)
	for _, s := range j.shards {
		if s.floor.segment < j.segments[0].number {
			s.floor = lostFront{}
		}
		if len(s.spans) > 0 && s.spans[0].seg == gone {
			s.spans = append([]*span(nil), s.spans[1:]...)
		}
	}
	j.forgetDamage(j.segments[0].number)
	return gone
}

// age is the time of a segment's youngest record. When that is not known, or is later than now, it is the following segment's. The
// caller holds j.mu.
func (j *Journal) age(i int) int64 {
	now := micros()
	for ; i < len(j.segments); i++ {
		if t := j.segments[i].arrivals.greatest; t > 0 && t <= now {
			return t
		}
	}
	return now
}

// forgetDamage takes what lay in dropped segments off the lists. The caller holds j.mu.
func (j *Journal) forgetDamage(oldest uint64) {
	for shard, list := range j.ledger {
		switch s := j.shards[shard]; {
		case shard == NoShard:
			j.setDamage(shard, list.from(uint64(makePosition(oldest, 0))))
		case s != nil:
			j.setDamage(shard, list.from(s.oldest()))
		}
	}
	for _, s := range j.shards {
		s.lost = s.lost.from(s.oldest())
	}
}
