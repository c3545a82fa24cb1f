package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"
)

// recovery reads the files of a journal that is being opened.
type recovery struct {
	j        *Journal
	numbers  []uint64
	acked    acked
	scans    map[uint64]*scan // of the segments that were read whole
	findings findings
}

// recover reads the directory: footers of sealed segments, everything of the others, and the newest table. blind says that the
// journal may have had shards that it does not know any more.
func (j *Journal) recover(ctx context.Context) (blind bool, err error) {
	r := &recovery{j: j, scans: map[uint64]*scan{}, findings: findings{j: j}}
	defer r.findings.report()
	marked := false
	if r.acked, marked, err = j.acked.read(); err != nil {
		return false, err
	}
	if err := r.openSegments(); err != nil {
		return false, err
	}
	if len(j.segments) > 0 && !marked {
		now := uint64(micros()) // tells this damage from that of another start
		r.findings.damage(DamageError{Shard: NoShard, First: now, Last: now, File: j.acked.path(),
			Reason: "the mark of what was acknowledged is missing or damaged; a loss at the journal's end would not be noticed"})
	}
	if err := r.read(ctx); err != nil {
		return false, err
	}
	p := &replay{j: j, scans: r.scans, findings: &r.findings, oldest: map[uint32]uint64{}}
	p.run()
	r.resume()
	if err := r.settleTail(); err != nil {
		return false, err
	}
	r.sealIntact()
	return (len(j.segments) > 0 || r.acked.group > 0) && (!p.clear || r.findings.unknown), nil
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
		err = r.j.opt.Traffic.sync(s.file)
	}
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EBADF) { // a read-only disk: nothing can follow it either
		s.poisoned = true
		return nil
	}
	return err
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
			r.findings.missing(s.number+1, next.number-1)
		}
	}
	newest := uint64(0)
	if len(j.segments) > 0 {
		newest = j.segments[len(j.segments)-1].number
	}
	if acked := r.acked.end.segment(); acked > newest {
		r.findings.missing(newest+1, acked)
		r.findings.lostSegments = acked - newest
	}
	return nil
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
		clear(b) // a bad sector: a damaged header
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
		r.findings.damage(j.headerDamage(s))
	}
	j.segments = append(j.segments, s)
	if number == r.numbers[len(r.numbers)-1] {
		return nil
	}
	if s.readFooter(j.id.seed(number)) {
		j.files.keepOpened(s) // from here on only the last ones stay open
	}
	return nil
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
			s.readFooter(j.id.seed(s.number))
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
			r.findings.lose(s.number)
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
	if !r.findings.unknown || len(r.j.segments) == 0 || r.scans[r.j.segments[0].number] != nil {
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
		r.findings.damage(r.j.unknownDamage(s, region{from, size, fmt.Sprintf("stored bytes cannot be read: %v", err)}))
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

// sealIntact writes the index of segments that lost theirs and are otherwise whole. Where it is not known that nothing follows the
// last group, the file is left as it is.
func (r *recovery) sealIntact() {
	j := r.j
	for i, s := range j.segments {
		if sc := r.scans[s.number]; i < len(j.segments)-1 && !s.sealed && !s.poisoned && sc != nil && sc.whole {
			j.seal(s)
		}
	}
}
