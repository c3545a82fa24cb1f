package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

// recovery is the state of opening a journal.
type recovery struct {
	j            *Journal
	numbers      []uint64
	acked        acked
	scans        map[uint64]*scan  // of the segments that were read whole
	oldest       map[uint32]uint64 // by shard: where it began by the first word on it
	clear        bool              // an intact table has been met, so that the shards are known
	unknown      bool              // something was lost of which it is not known what it was
	damaged      uint64            // the oldest segment of which that is true
	lostSegments uint64            // missing at the journal's end
	found        []DamageError     // told at the end, when it is known what has been accepted
}

// recover reads the directory: footers of sealed segments, everything of the others, and the newest table. blind says that the
// journal may have had shards that it does not know any more.
func (j *Journal) recover(ctx context.Context) (blind bool, err error) {
	r := &recovery{j: j, scans: map[uint64]*scan{}, oldest: map[uint32]uint64{}}
	defer r.report()
	marked, damaged := false, false
	if r.acked, marked, damaged, err = j.acked.read(); err != nil {
		return false, err
	}
	if err := r.openSegments(); err != nil {
		return false, err
	}
	if len(j.segments) > 0 && (!marked || damaged) {
		now := uint64(micros()) // tells this damage from that of another start
		r.damage(DamageError{Shard: NoShard, First: now, Last: now, File: j.acked.path(),
			Reason: "the mark of what was acknowledged is missing or damaged; a loss at the journal's end would not be noticed"})
	}
	if err := r.read(ctx); err != nil {
		return false, err
	}
	r.replay()
	r.resume()
	if err := r.settleTail(); err != nil {
		return false, err
	}
	r.sealIntact()
	return (len(j.segments) > 0 || r.acked.group > 0) && (!r.clear || r.unknown), nil
}

// resume makes the last segment the one to go on with.
func (r *recovery) resume() {
	j := r.j
	if len(j.segments) == 0 {
		return
	}
	last := j.segments[len(j.segments)-1]
	last.began, last.limit = time.Now(), max(last.size.Load(), j.opt.Sizes.First)
	last.last.number = max(last.last.number, r.acked.group)
	j.writer.act = last
	j.acked.last = acked{group: last.last.number, end: makePosition(last.number, last.end), id: j.id}
}

// settleTail makes durable what lies behind the mark: it was written, perhaps not synced, and is about to be served. It is written
// again, because after a failed fdatasync the system takes it for clean.
func (r *recovery) settleTail() error {
	s := r.j.active()
	if s.number == 0 || s.sealed || s.poisoned {
		return nil
	}
	from := int64(segmentHeaderSize)
	if r.acked.end.segment() == s.number {
		from = r.acked.end.offset()
	}
	if from >= s.end {
		return nil
	}
	b := make([]byte, s.end-from)
	_, err := s.file.ReadAt(b, from)
	if err == nil {
		_, err = s.file.WriteAt(b, from)
	}
	if err == nil {
		err = s.file.Sync()
	}
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EBADF) { // a read-only disk: nothing can follow it either
		s.poisoned = true
		return nil
	}
	return err
}

// report raises the alarm for the damage that was found and has not been accepted.
func (r *recovery) report() {
	for _, d := range r.found {
		r.j.noteDamage(d)
	}
}

func (r *recovery) damage(d DamageError) {
	d.Stream = r.j.opt.Name
	r.found = append(r.found, d)
}

// openSegments lists the segment files and checks their headers and numbers.
func (r *recovery) openSegments() error {
	j := r.j
	names, err := j.opt.FS.ReadDir(j.opt.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			r.numbers = append(r.numbers, n)
		}
	}
	slices.Sort(r.numbers)
	j.id = r.acked.id
	for _, n := range r.numbers {
		if err := r.openSegment(n); err != nil {
			return err
		}
	}
	for i, s := range j.segments[:max(len(j.segments)-1, 0)] {
		if next := j.segments[i+1]; next.number != s.number+1 {
			r.missing(s.number+1, next.number-1)
		}
	}
	newest := uint64(0)
	if len(j.segments) > 0 {
		newest = j.segments[len(j.segments)-1].number
	}
	if acked := r.acked.end.segment(); acked > newest {
		r.missing(newest+1, acked)
		r.lostSegments = acked - newest
	}
	return nil
}

// lose notes that a segment has lost something of which it is not known what it was.
func (r *recovery) lose(segment uint64) {
	if !r.unknown || segment < r.damaged {
		r.damaged = segment
	}
	r.unknown = true
}

func (r *recovery) missing(from, to uint64) {
	r.lose(from)
	r.damage(DamageError{
		Shard: NoShard, First: uint64(makePosition(from, 0)), Last: uint64(makePosition(to, 0)), File: r.j.segmentPath(from),
		Reason: fmt.Sprintf("%d segment files are missing", to-from+1),
	})
}

func (r *recovery) openSegment(number uint64) error {
	j := r.j
	s := &segment{number: number, path: j.segmentPath(number), end: segmentHeaderSize, spans: map[uint32]*span{}}
	f, err := j.opt.FS.Open(s.path)
	if err != nil {
		return err
	}
	s.file = f
	size, err := f.Size()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.size.Store(size)
	b := make([]byte, min(size, segmentHeaderSize))
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return errors.Join(err, f.Close())
	}
	h, newer, ok := decodeSegmentHeader(b)
	switch {
	case newer:
		return errors.Join(fmt.Errorf("%w: %s has format version %d, this version reads %d", ErrFormat, s.path, le.Uint32(b[8:]), formatVersion), f.Close())
	case ok && j.id == (journalID{}):
		j.id = h.id
	case ok && (h.id != j.id || h.number != number):
		return errors.Join(fmt.Errorf("%w: %s belongs to another journal or another place", ErrFormat, s.path), f.Close())
	case !ok && r.acked.end.segment() < number && number == r.numbers[len(r.numbers)-1] && r.holdsNothing(s):
		// Its making was interrupted before anything was written to it.
		return errors.Join(f.Close(), r.remove(s.path))
	case !ok && j.id == (journalID{}):
		return errors.Join(fmt.Errorf("%w: the header of %s is damaged and nothing else names the journal", ErrFormat, s.path), f.Close())
	case !ok:
		s.poisoned = true
		r.damage(j.headerDamage(s))
	}
	j.segments = append(j.segments, s)
	if number == r.numbers[len(r.numbers)-1] {
		return nil
	}
	sealed, err := s.readFooter(j.id.seed(number))
	if sealed {
		j.files.keepOpened(s) // from here on only the last ones stay open
	}
	return err
}

// holdsNothing says that no group is in a segment whose header does not check.
func (r *recovery) holdsNothing(s *segment) bool {
	buf := make([]byte, s.size.Load())
	if n, err := s.file.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) || n < len(buf) {
		return false
	}
	if r.j.id == (journalID{}) {
		return !bytes.Contains(buf, []byte(groupMagic))
	}
	sc := scanner{buf: buf, number: s.number, seed: r.j.id.seed(s.number), stop: -1}
	return sc.findGroup(0) < 0
}

// remove deletes a file that holds nothing. On a read-only disk it stays, and is written over when it is needed.
func (r *recovery) remove(path string) error {
	if err := r.j.opt.FS.Remove(path); err != nil && !errors.Is(err, syscall.EROFS) {
		return err
	}
	return nil
}

// read loads footers and scans the segments that need it: the last one, those without a footer, and, while no intact
// table has been met, the ones before.
func (r *recovery) read(ctx context.Context) error {
	j := r.j
	stop := int64(-1)
	needTable := true
	for i := len(j.segments) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := j.segments[i]
		if i == len(j.segments)-1 {
			if _, err := s.readFooter(j.id.seed(s.number)); err != nil {
				return err
			}
		}
		if s.sealed && !needTable {
			stop = r.stopOf(s)
			continue
		}
		sc, err := r.scan(s, stop)
		if err != nil {
			return err
		}
		if sc.first.number == 0 && len(sc.unknown) == 0 && i == len(j.segments)-1 && r.acked.end.segment() < s.number {
			// Made ahead of its first group, which never came.
			if err := errors.Join(s.file.Close(), r.remove(s.path)); err != nil {
				return err
			}
			j.segments = j.segments[:i]
			continue
		}
		r.scans[s.number] = sc
		if len(sc.unknown) > 0 {
			r.lose(s.number)
		}
		if err := j.files.pin(s); err != nil { // it may turn out not to be sealed
			return err
		}
		needTable = needTable && !sc.table
		stop = -1
		if sc.first.number > 0 && sc.first.at.segment() == s.number-1 {
			stop = sc.first.at.offset()
		}
	}
	return r.readFirstTable()
}

// readFirstTable scans the oldest segment too when something unknown was lost: its table says where every shard begins.
func (r *recovery) readFirstTable() error {
	if !r.unknown || len(r.j.segments) == 0 || r.scans[r.j.segments[0].number] != nil {
		return nil
	}
	s := r.j.segments[0]
	sc, err := r.scan(s, -1)
	if err != nil {
		return err
	}
	r.scans[s.number] = sc
	return r.j.files.pin(s)
}

// readPieces reads a file that the disk does not give whole, and names the places that are missing: they do not check then, like
// any other damage.
func (r *recovery) readPieces(s *segment, buf []byte) {
	readPieces(buf, func(b []byte, off int64) (int, error) { return r.readAt(s, b, off) }, func(from, size int64, err error) {
		r.damage(r.j.unknownDamage(s, region{from, size, fmt.Sprintf("stored bytes cannot be read: %v", err)}))
	})
}

// readPieces reads what can be read of a file, with zeros for the rest, of which it tells.
func readPieces(buf []byte, readAt func([]byte, int64) (int, error), lost func(from, size int64, err error)) {
	const piece = 4096
	for from := 0; from < len(buf); from += piece {
		b := buf[from:min(from+piece, len(buf))]
		if n, err := readAt(b, int64(from)); err != nil && n < len(b) {
			clear(b[n:])
			lost(int64(from), int64(len(b)), err)
		}
	}
}

// readAt reads from a segment, of which only the sealed ones' files may be closed.
func (r *recovery) readAt(s *segment, b []byte, off int64) (int, error) {
	f := s.file
	if s.sealed {
		var err error
		if f, err = r.j.files.keep(s); err != nil {
			return 0, err
		}
	}
	return f.ReadAt(b, off)
}

// stopOf reads from a sealed segment's first group where the segment before it ends.
func (r *recovery) stopOf(s *segment) int64 {
	b := make([]byte, groupHeaderSize)
	if _, err := r.readAt(s, b, segmentHeaderSize); err != nil {
		return -1
	}
	h, ok := decodeGroupHeader(b, r.j.id.seed(s.number))
	if !ok || h.prev.segment() != s.number-1 {
		return -1
	}
	return h.prev.offset()
}

func (r *recovery) scan(s *segment, stop int64) (*scan, error) {
	j := r.j
	size := s.size.Load()
	if s.sealed { // its index is behind the groups
		size = s.end
	}
	buf := make([]byte, size)
	if n, err := r.readAt(s, buf, 0); err != nil && !(errors.Is(err, io.EOF) && int64(n) == size) {
		r.readPieces(s, buf)
	}
	sc := scanner{buf: buf, number: s.number, seed: j.id.seed(s.number), file: s.path, stream: j.opt.Name, stop: stop}
	if r.acked.end.segment() == s.number {
		sc.acked = r.acked.end.offset()
	}
	if s.sealed {
		sc.acked = s.end
	}
	out := sc.run()
	return &out, nil
}

// replay builds the journal's state from what was read, oldest segment first.
func (r *recovery) replay() {
	var before *segment
	for _, s := range r.j.segments {
		if sc := r.scans[s.number]; sc == nil {
			r.replayFooter(s)
		} else {
			r.follows(before, s, sc)
			r.replayScan(s, sc)
		}
		before = s
	}
	for _, s := range r.j.shards {
		// No segment holds more records than this, so that no number of a lost one is given again.
		s.next += r.lostSegments * (math.MaxUint32 / record.RecordHeaderSize)
	}
	for _, known := range r.j.opt.Shards {
		if s := r.j.shards[known.ID]; s != nil {
			s.next = max(s.next, known.Next)
		}
	}
	for _, s := range r.j.shards {
		r.setFloor(s)
		r.gaps(s)
	}
}

// follows checks that a segment begins where the one before it ends.
func (r *recovery) follows(before, s *segment, sc *scan) {
	if before == nil || before.number+1 != s.number || sc.first.number == 0 || before.last.number == 0 {
		return
	}
	if l := before.last; l.at != sc.first.at || l.checksum != sc.first.checksum {
		r.lose(before.number)
		at := uint64(makePosition(before.number, before.end))
		r.damage(DamageError{Shard: NoShard, First: at, Last: at, File: before.path, Offset: before.end,
			Reason: "the segment does not end where the next one says"})
	}
}

func (r *recovery) shard(id uint32, next uint64) *shardState {
	s := r.j.shards[id]
	if s == nil {
		s = &shardState{id: id, next: next}
		r.j.shards[id] = s
	}
	return s
}

func (r *recovery) replayFooter(seg *segment) {
	for _, sp := range seg.spans {
		s := r.shard(sp.shard, sp.first)
		r.missed(s, seg, sp.first)
		s.spans = append(s.spans, sp)
		s.next = sp.next
	}
}

func (r *recovery) replayScan(seg *segment, sc *scan) {
	j := r.j
	wasSealed := seg.sealed
	seg.sealed = false
	seg.spans = map[uint32]*span{}
	seg.end, seg.last, seg.arrivals = sc.end, sc.last, sc.times
	if sc.table {
		clear(j.checkpoints)
		j.checkpointBytes = 0
		j.accepted = nil
		for _, s := range j.shards {
			s.lost = nil
		}
		r.clear = true
	}
	for _, f := range sc.entries {
		switch f.header.kind {
		case kindRecords:
			r.replayRecords(seg, f)
		case kindShards:
			r.replayShards(seg, f)
		case kindCheckpoint:
			j.applyCheckpoint(decodeCheckpoint(f.header.shard, f.body))
		case kindLost:
			j.applyLoss(decodeLoss(f.header, f.body))
		}
	}
	if sc.table {
		r.forgetUnlisted(sc)
	}
	for _, d := range sc.bad {
		r.damage(d)
	}
	for _, u := range sc.unknown {
		r.damage(j.unknownDamage(seg, u))
	}
	if len(sc.unknown) > 0 || len(sc.bad) > 0 {
		seg.poisoned = true
		r.skipAhead(seg, sc)
	} else if wasSealed {
		// Its footer stands; only its table was wanted.
		seg.sealed = true
		for _, sp := range seg.spans {
			list := sp.live
			sp.sealed.Store(&list)
		}
	}
}

func (r *recovery) replayShards(seg *segment, f found) {
	for b := f.body; len(b) >= shardStateSize; b = b[shardStateSize:] {
		id, next, oldest := le.Uint32(b), le.Uint64(b[8:]), le.Uint64(b[16:])
		if next == 0 {
			r.forget(id)
			continue
		}
		s := r.shard(id, next)
		r.bornAgain(s, next)
		if f.table {
			r.missed(s, seg, next)
			s.next = next
		}
		if seg == r.j.segments[0] {
			oldest = next // what the segments before had is gone
		}
		if _, ok := r.oldest[id]; !ok {
			r.oldest[id] = oldest
		}
	}
}

// forget takes a shard out that was forgotten when no segment had records of it. One of which there are records again, because a
// dropped segment could not be removed, is forgotten anew after the next Trim.
func (r *recovery) forget(id uint32) {
	if s := r.j.shards[id]; s != nil && len(s.spans) == 0 {
		delete(r.j.shards, id)
		delete(r.oldest, id)
	}
}

// bornAgain makes a shard another one when its sequence numbers are of another epoch: the one before was forgotten, in a segment of
// which only the index was read, and its number given again.
func (r *recovery) bornAgain(s *shardState, next uint64) {
	if e := record.Epoch(next); e != record.Epoch(s.next) && len(s.spans) == 0 {
		s.next, s.floor = record.MakeSequence(e, 1), lostFront{}
		delete(r.oldest, s.id)
	}
}

// forgetUnlisted takes out the shards that an intact table does not list: they were forgotten in a segment of which only the
// index was read.
func (r *recovery) forgetUnlisted(sc *scan) {
	listed := map[uint32]bool{}
	for _, f := range sc.entries {
		for b := f.body; f.header.kind == kindShards && len(b) >= shardStateSize; b = b[shardStateSize:] {
			listed[le.Uint32(b)] = true
		}
	}
	for id := range r.j.shards {
		if !listed[id] {
			r.forget(id)
		}
	}
}

// setFloor notes where a shard should begin when something unknown was lost, so that its first records are not taken for
// dropped by retention when they are missing.
func (r *recovery) setFloor(s *shardState) {
	if !r.unknown {
		return
	}
	floor, ok := r.oldest[s.id]
	if !ok {
		floor = record.MakeSequence(record.Epoch(s.next), 1)
	}
	if floor < s.oldest() {
		s.floor = lostFront{floor, r.damaged}
	}
}

func (r *recovery) replayRecords(seg *segment, f found) {
	s := r.shard(f.header.shard, f.header.first)
	r.disown(s, f.stored.first)
	if f.stored.first < s.next {
		r.damage(DamageError{Shard: s.id, First: f.stored.first, Last: f.stored.next() - 1, File: seg.path, Offset: int64(f.stored.offset),
			Reason: "records stand twice in the journal; the first are served"})
		return
	}
	r.missed(s, seg, f.stored.first)
	seg.spanOf(s).add(f.stored)
	s.next = f.stored.next()
}

// disown takes back batches that a later one of the same numbers stands for: their group was refused, and what began the next segment
// in its place no longer says so.
func (r *recovery) disown(s *shardState, first uint64) {
	for n := len(s.spans); n > 0 && s.next > first; n = len(s.spans) {
		sp := s.spans[n-1]
		if len(sp.live) == 0 || sp.live[len(sp.live)-1].first < first {
			return
		}
		sp.live = sp.live[:len(sp.live)-1]
		s.next = first
		if len(sp.live) > 0 {
			sp.next = sp.live[len(sp.live)-1].next()
			s.next = sp.next
			continue
		}
		delete(sp.seg.spans, s.id)
		s.spans = s.spans[:n-1]
		if n > 1 {
			s.next = s.spans[n-2].next
		}
	}
}

// missed notes that a shard of which no record has been met should have had some before a segment.
func (r *recovery) missed(s *shardState, seg *segment, next uint64) {
	r.bornAgain(s, next)
	if len(s.spans) == 0 && s.next < next && s.floor.sequence == 0 {
		s.floor = lostFront{s.next, seg.number - 1}
	}
}

// skipAhead moves the next sequence numbers of the shards past what may have been lost behind their last stored batch,
// so that no acknowledged number is given again. A later table knows better and overrules it.
func (r *recovery) skipAhead(seg *segment, sc *scan) {
	for _, s := range r.j.shards {
		last := int64(0)
		if sp := seg.spans[s.id]; sp != nil {
			last = int64(sp.live[len(sp.live)-1].offset)
		}
		lost := int64(0)
		for _, u := range sc.unknown {
			if u.offset > last {
				lost += u.size
			}
		}
		if lost > 0 {
			s.next += uint64(lost)/record.RecordHeaderSize + 1
		}
	}
}

// gaps names the sequence numbers of a shard that no segment has.
func (r *recovery) gaps(s *shardState) {
	next := s.oldest()
	if len(s.spans) == 0 {
		if n := len(r.j.segments); n > 0 {
			r.gap(s.id, next, s.next, r.j.segments[n-1])
		}
		return
	}
	for _, sp := range s.spans {
		for _, e := range sp.live {
			r.gap(s.id, next, e.first, sp.seg)
			next = e.next()
		}
		if len(sp.live) == 0 {
			r.gap(s.id, next, sp.first, sp.seg)
			next = sp.next
		}
	}
	r.gap(s.id, next, s.next, s.spans[len(s.spans)-1].seg)
}

func (r *recovery) gap(shard uint32, from, to uint64, seg *segment) {
	if from < to {
		r.damage(DamageError{Shard: shard, First: from, Last: to - 1, File: seg.path, Reason: "records are missing"})
	}
}

// sealIntact writes the index of segments that lost theirs and are otherwise whole.
func (r *recovery) sealIntact() {
	j := r.j
	for i, s := range j.segments {
		if i < len(j.segments)-1 && !s.sealed && !s.poisoned {
			j.seal(s)
		}
	}
}
