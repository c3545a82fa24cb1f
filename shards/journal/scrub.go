package journal

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
)

// Scrub reads everything that is stored and checks it. What does not check goes on the list of Damage; it is an error only
// when the disk cannot be read or ctx ends. between is called after each segment: to be slow, it waits; nil means at once.
func (j *Journal) Scrub(ctx context.Context, between func(context.Context) error) error {
	j.mu.Lock()
	segments := slices.Clone(j.segments)
	j.mu.Unlock()
	for _, s := range segments {
		if err := j.scrubSegment(ctx, s); err != nil {
			return j.wrap("scrub", err)
		}
		if between != nil {
			if err := between(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// scrubSegment reads a segment whole: its header, its groups with their checkpoints and tables, and its records. Where the disk does
// not give it whole, it reads the records one stored batch at a time.
func (j *Journal) scrubSegment(ctx context.Context, seg *segment) error {
	j.mu.Lock()
	buf := make([]byte, seg.end)
	j.mu.Unlock()
	if _, err := j.readAt(seg, buf, 0); errors.Is(err, errGone) {
		return nil
	} else if err != nil && !errors.Is(err, io.EOF) {
		return j.scrubBatches(ctx, seg)
	}
	sc := scanner{buf: buf, number: seg.number, seed: j.id.seed(seg.number), file: seg.path, stream: j.opt.Name, acked: int64(len(buf)), stop: -1}
	out := sc.run()
	found := out.bad
	for _, u := range out.unknown {
		found = append(found, j.unknownDamage(seg, u))
	}
	if _, _, ok := decodeSegmentHeader(buf); !ok {
		found = append(found, j.headerDamage(seg))
	}
	if len(found) == 0 || j.gone(seg) {
		return ctx.Err()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, d := range found {
		j.noteDamage(d)
	}
	return ctx.Err()
}

// unknownDamage is a stretch of a segment of which it is not known what it held.
func (j *Journal) unknownDamage(seg *segment, u region) DamageError {
	at := uint64(makePosition(seg.number, u.offset))
	return DamageError{Stream: j.opt.Name, Shard: NoShard, First: at, Last: at + uint64(max(u.size, 1)) - 1, File: seg.path, Offset: u.offset, Reason: u.reason}
}

func (j *Journal) headerDamage(seg *segment) DamageError {
	at := uint64(makePosition(seg.number, 0))
	return DamageError{Stream: j.opt.Name, Shard: NoShard, First: at, Last: at, File: seg.path, Reason: "the segment's header does not match its checksum"}
}

func (j *Journal) scrubBatches(ctx context.Context, seg *segment) error {
	for _, sp := range j.spansOf(seg) {
		list, err := j.list(sp)
		if errors.Is(err, errGone) {
			return nil
		}
		var d *DamageError
		if errors.As(err, &d) {
			j.note(d)
			continue
		}
		if err != nil {
			return err
		}
		var buf []byte
		for _, e := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			buf = slices.Grow(buf[:0], int(e.size))[:e.size]
			if _, err := j.readAt(seg, buf, int64(e.offset)); err != nil && !errors.Is(err, io.EOF) {
				if errors.Is(err, errGone) {
					return nil
				}
				j.note(j.unreadable(sp, e, err))
				continue
			}
			if _, d := j.check(sp, e, buf); d != nil {
				if j.gone(seg) {
					return nil
				}
				j.note(d)
			}
		}
	}
	return nil
}

func (j *Journal) note(d *DamageError) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.noteDamage(*d)
}

func (j *Journal) spansOf(seg *segment) []*span {
	j.mu.Lock()
	defer j.mu.Unlock()
	spans := make([]*span, 0, len(seg.spans))
	for _, sp := range seg.spans {
		spans = append(spans, sp)
	}
	return spans
}

// errGone: the segment has been dropped by retention.
var errGone = errors.New("segment is gone")

// gone says that a segment has been dropped, or everything closed. Its file may then be another segment's already: whoever has read
// from it and found nothing that checks asks again before crying damage.
func (j *Journal) gone(seg *segment) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.goneLocked(seg)
}

func (j *Journal) goneLocked(seg *segment) bool {
	return j.closed || len(j.segments) == 0 || seg.number < j.segments[0].number
}

// readAt reads from a segment, opening a sealed one's file when needed.
func (j *Journal) readAt(seg *segment, b []byte, off int64) (int, error) {
	for {
		f, err := j.fileOf(seg)
		n := 0
		if err == nil {
			n, err = f.ReadAt(b, off)
		}
		switch {
		case err == nil:
			return n, nil
		case j.gone(seg):
			return 0, errGone
		case !errors.Is(err, os.ErrClosed): // that is: let go of by handles between the two calls
			return n, err
		}
	}
}

func (j *Journal) fileOf(seg *segment) (File, error) {
	j.mu.Lock()
	if j.goneLocked(seg) {
		j.mu.Unlock()
		return nil, errGone
	}
	sealed, file := seg.sealed, File(nil)
	if !sealed {
		file = seg.file
	}
	j.mu.Unlock()
	if !sealed {
		return file, nil
	}
	return j.files.keep(seg)
}
