package journal

import (
	"context"
	"errors"
	"io/fs"
)

// Trim drops the segments whose records all arrived before a time (microseconds since the Unix epoch), oldest first, and
// returns how many. An active segment of which that is true is ended first. A time that a machine's wrong clock gave to some
// records does not hold up the rest: a segment is as old as the oldest that follows it. Errors: those of Append; what was dropped
// stays dropped.
func (j *Journal) Trim(ctx context.Context, before int64) (dropped int, err error) {
	if err := j.begin(); err != nil {
		return 0, j.wrap("trim", err)
	}
	defer j.workers.Done()
	if j.activeExpired(before) {
		err := j.submit(ctx, &request{control: func(*groupPlan) ([]control, error) { return nil, j.roll() }})
		if err != nil {
			return 0, err
		}
	}
	for _, s := range j.expired(before) {
		if err := errors.Join(j.files.drop(s), j.remove(s)); err != nil {
			return dropped, j.wrap("trim", err)
		}
		dropped++
	}
	return dropped, nil
}

// remove takes a segment's file out of the folder, durably before the next one, so that a crash leaves no hole between segments. It
// is kept as a spare when there is room.
func (j *Journal) remove(s *segment) error {
	var moved spare
	var kept bool
	if j.opt.Spares != nil && !s.poisoned {
		var err error
		if moved, kept, err = j.opt.Spares.move(s.path, s.size.Load()); err != nil {
			j.log.Warn("cannot keep a journal segment as a spare", "file", s.path, "error", err)
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
		j.opt.Spares.add(moved)
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
	return len(s.spans) > 0 && s.arrivals.last < before
}

// expired takes the old segments off the journal's list.
func (j *Journal) expired(before int64) []*segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, youngest := 0, micros()
	for i := len(j.segments) - 1; i >= 0; i-- {
		youngest = min(youngest, j.segments[i].arrivals.last)
		if i < len(j.segments)-1 && youngest < before {
			n = i + 1
			break
		}
	}
	gone := append([]*segment(nil), j.segments[:n]...)
	j.segments = append([]*segment(nil), j.segments[n:]...)
	if n == 0 {
		return nil
	}
	for _, s := range j.shards {
		if s.floor.segment < j.segments[0].number {
			s.floor = lostFront{}
		}
		keep := 0
		for keep < len(s.spans) && s.spans[keep].seg.number < j.segments[0].number {
			keep++
		}
		s.spans = append([]*span(nil), s.spans[keep:]...)
	}
	j.ledger.found = j.damageFrom(j.segments[0].number)
	return gone
}

// damageFrom is the listed damage without what lay in dropped segments. The caller holds j.mu.
func (j *Journal) damageFrom(segment uint64) []DamageError {
	var kept []DamageError
	for _, d := range j.ledger.found {
		s := j.shards[d.Shard]
		if d.Shard == NoShard && position(d.First).segment() < segment || s != nil && d.Last < s.oldest() {
			continue
		}
		kept = append(kept, d)
	}
	return kept
}
