package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// NoShard is the shard of damage that cannot be told to belong to one: First and Last are then places in the journal,
// segment number << 32 | offset, and serve only to tell one damage from another.
const NoShard = ^uint32(0)

// DamageError names stored bytes that do not check, or records that are not there and should be.
type DamageError struct {
	Stream string
	Shard  uint32 // NoShard when unknown
	First  uint64 // sequence numbers that cannot be served
	Last   uint64
	File   string
	Offset int64
	Reason string
}

// Error names all fields.
func (d *DamageError) Error() string {
	if d.Shard == NoShard {
		return fmt.Sprintf("stream %q is damaged: %s (%s, offset %d)", d.Stream, d.Reason, d.File, d.Offset)
	}
	return fmt.Sprintf("stream %q shard %d is damaged at sequence numbers %d to %d: %s (%s, offset %d)",
		d.Stream, d.Shard, d.First, d.Last, d.Reason, d.File, d.Offset)
}

// loss is damage that an operator has accepted: readers pass over it.
type loss struct {
	first, last uint64
	reason      string
}

func (l loss) control(shard uint32) control {
	return control{kind: kindLost, shard: shard, first: l.first, body: append(le.AppendUint64(nil, l.last), l.reason...)}
}

func decodeLoss(h entryHeader, b []byte) loss {
	if len(b) < 8 {
		return loss{}
	}
	return loss{first: h.first, last: le.Uint64(b), reason: string(bytes.TrimRight(b[8:], "\x00"))}
}

func (l loss) covers(d *DamageError) bool { return l.first <= d.First && d.Last <= l.last }

// ledger is the damage of a journal. Its mutex guards it.
type ledger struct {
	found    []DamageError
	accepted []loss // of what belongs to no shard; the others are with their shards
}

// applyLoss notes an accepted loss. The caller holds j.mu or is opening the journal.
func (j *Journal) applyLoss(shard uint32, l loss) {
	if shard == NoShard {
		j.ledger.accepted = append(j.ledger.accepted, l)
	} else if s := j.shards[shard]; s != nil {
		s.lost = append(s.lost, l)
	}
	j.forgetAccepted()
}

func (j *Journal) accepted(d *DamageError) bool {
	lost := j.ledger.accepted
	if d.Shard != NoShard {
		lost = nil
		if s := j.shards[d.Shard]; s != nil {
			lost = s.lost
		}
	}
	return slices.ContainsFunc(lost, func(l loss) bool { return l.covers(d) })
}

// forgetAccepted takes accepted damage off the list. The caller holds j.mu or is opening the journal.
func (j *Journal) forgetAccepted() {
	j.ledger.found = slices.DeleteFunc(j.ledger.found, func(d DamageError) bool { return j.accepted(&d) })
}

// noteDamage puts damage on the list, once, and raises the alarm. The caller holds j.mu or is opening the journal.
func (j *Journal) noteDamage(d DamageError) {
	known := slices.ContainsFunc(j.ledger.found, func(k DamageError) bool {
		return k.Shard == d.Shard && k.First <= d.First && d.Last <= k.Last && k.Reason == d.Reason
	})
	if known || j.accepted(&d) {
		return
	}
	j.ledger.found = append(j.ledger.found, d)
	j.opt.Metric.damage.Inc()
	j.log.Error("the journal is damaged", "shard", int64(int32(d.Shard)), "first", d.First, "last", d.Last, "file", d.File, "offset", d.Offset, "reason", d.Reason)
}

// Damage lists the damage that has been found since the journal was opened and not been accepted.
func (j *Journal) Damage() []DamageError {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.ledger.found)
}

// AcceptDamage durably gives up what the listed damage of a shard (or of NoShard) has taken, so that readers pass over
// it, and returns what is lost. Errors: those of Append.
func (j *Journal) AcceptDamage(ctx context.Context, shard uint32) (lost []DamageError, err error) {
	err = j.submit(ctx, &request{control: func(*groupPlan) ([]control, error) {
		if shard != NoShard && j.shards[shard] == nil {
			return nil, fmt.Errorf("%w: %d", ErrShard, shard)
		}
		var controls []control
		for _, d := range j.Damage() {
			if d.Shard != shard {
				continue
			}
			l := loss{first: d.First, last: d.Last, reason: strings.ToValidUTF8(d.Reason, "?")}
			c := l.control(shard)
			c.apply = func() { j.applyLoss(shard, l) }
			controls = append(controls, c)
			lost = append(lost, d)
		}
		return controls, nil
	}})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

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
	return DamageError{Stream: j.opt.Name, Shard: NoShard, First: at, Last: at, File: seg.path, Offset: u.offset, Reason: u.reason}
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
				j.unreadable(sp, e, err)
				continue
			}
			if _, d := j.check(sp, e, buf); d != nil {
				if j.gone(seg) {
					return nil
				}
				j.mu.Lock()
				j.noteDamage(*d)
				j.mu.Unlock()
			}
		}
	}
	return nil
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
