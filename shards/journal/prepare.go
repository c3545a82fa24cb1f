package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// A commit into space that has been written before changes no metadata of its file, which makes its fdatasync several times
// faster than that of an append (RATIONALE.md). So segments are filled with zeros before they are written to: beside the
// writer, in a file of their own, because an fdatasync waits for everything that is unwritten in its file.

const (
	fillTarget = 10 * time.Second // a segment should last so long
	fillGrowth = 8                // but be at most so many times as large as the one before
	fillChunk  = 8 << 20          // filled and synced at once
)

// preparation is a segment being made and filled beside the writer.
type preparation struct {
	stop chan struct{} // closed when what is not begun need not be done
	done chan struct{}
	seg  *segment // after done; nil when it was not begun
	err  error    // after done
}

// prepareAhead starts making the next segment when half of the active one is used.
func (j *Journal) prepareAhead() {
	seg := j.active()
	if j.writer.preparing != nil || seg.poisoned || seg.end < seg.limit/2 {
		return
	}
	p := &preparation{stop: make(chan struct{}), done: make(chan struct{})}
	j.writer.preparing = p
	number, limit := seg.number+1, j.nextLimit()
	j.workers.Go(func() {
		defer close(p.done)
		if !j.opt.Traffic.take(p.stop) {
			return
		}
		p.seg, p.err = j.createSegment(number, limit, j.opt.Traffic.syncAhead)
		j.opt.Traffic.leave()
		if p.err == nil {
			p.err = j.fill(p.seg, limit, p.stop)
		}
	})
}

// takePrepared returns the segment that was made ahead, filled as far as it has come; nil when there is none, when its turn has not come,
// or when making it failed: then it is tried again, and fails in front of a putter.
func (j *Journal) takePrepared() (*segment, error) {
	p := j.writer.preparing
	if p == nil {
		return nil, nil
	}
	j.writer.preparing = nil
	close(p.stop)
	<-p.done
	if p.err == nil {
		return p.seg, nil
	}
	j.log.Warn("cannot prepare a journal segment ahead", "error", p.err)
	return nil, j.discard(p.seg)
}

// discard removes a segment that holds nothing.
func (j *Journal) discard(s *segment) error {
	if s == nil || s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	if removed := j.opt.FS.Remove(s.path); !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}

// nextLimit is how large the next segment is to be, by the rate at which the active one fills: an idle stream takes little
// space, a busy one begins a new segment seldom.
func (j *Journal) nextLimit() int64 {
	sizes, seg := j.opt.Sizes, j.active()
	limit := sizes.First
	if elapsed := time.Since(seg.began); seg.number > 0 && !seg.began.IsZero() {
		limit = int64(float64(seg.end) / max(elapsed.Seconds(), 1e-3) * fillTarget.Seconds())
		limit = min(limit, fillGrowth*seg.limit)
	}
	limit = max(limit, sizes.First, 8*int64(j.tableSize()))
	return min(limit, max(sizes.Segment, 2*int64(j.tableSize())))
}

// createSegment makes a segment file with its header, durable with its name; the header by sync.
func (j *Journal) createSegment(number uint64, limit int64, sync func(File) error) (*segment, error) {
	s := &segment{number: number, path: j.segmentPath(number), end: segmentHeaderSize, limit: limit, spans: map[uint32]*span{}}
	ok, err := j.reuse(s, sync)
	if err != nil {
		j.log.Warn("cannot use a spare journal segment again", "error", err)
		err = j.discard(s)
		ok = false
	}
	if ok || err != nil {
		return s, err
	}
	f, err := j.opt.FS.Create(s.path)
	if err != nil {
		return nil, err
	}
	s.file = f
	s.size.Store(segmentHeaderSize)
	if err := errors.Join(j.writeHeader(s, f, sync), j.opt.FS.SyncDir(j.opt.Dir)); err != nil {
		return nil, errors.Join(err, j.discard(s))
	}
	return s, nil
}

// writeHeader begins a segment's file, durably.
func (j *Journal) writeHeader(s *segment, f File, sync func(File) error) error {
	header := segmentHeader{id: j.id, number: s.number, created: micros()}.encode()
	if _, err := f.WriteAt(header, 0); err != nil {
		return err
	}
	return sync(f)
}

// errSync marks a failed sync: what the file holds is unknown from then on.
var errSync = errors.New("sync failed")

var zeros [1 << 20]byte

// fill writes zeros up to size and makes them durable, chunk by chunk. With stop, it works ahead, taking turns with others that do: until
// that is closed, or until the disk is full, which is no failure yet, because the segment can be used as far as it is filled.
func (j *Journal) fill(s *segment, size int64, stop <-chan struct{}) error {
	for s.size.Load() < size {
		if stop == nil {
			if err := j.fillNext(s, size, j.opt.Traffic.sync); err != nil {
				return err
			}
			continue
		}
		if !j.opt.Traffic.take(stop) {
			return nil
		}
		err := j.fillNext(s, size, j.opt.Traffic.syncAhead)
		j.opt.Traffic.leave()
		if errors.Is(err, errSync) {
			return err
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

// fillNext fills the next chunk. What it could not write leaves the segment as it was, unless that is errSync.
func (j *Journal) fillNext(s *segment, size int64, sync func(File) error) error {
	at := s.size.Load()
	end := min(at+fillChunk, size)
	for at < end {
		n := min(int64(len(zeros)), end-at)
		if _, err := s.file.WriteAt(zeros[:n], at); err != nil {
			return j.wrap("prepare segment", err)
		}
		at += n
	}
	if err := sync(s.file); err != nil {
		return fmt.Errorf("%w: %w", errSync, err)
	}
	s.size.Store(at)
	return nil
}
