package journal

import (
	"bytes"
	"math"

	"github.com/shardmill/shardmill/sdk/record"
)

// found is one entry that a scan has met. For records, intact says whether the body checks; a control entry
// that does not check is not reported as found.
type found struct {
	header entryHeader
	stored stored
	body   []byte
	table  bool // it stands in the segment's table
}

// region is a stretch of a segment that does not check and whose content is not known.
type region struct {
	offset, size int64
	reason       string
}

// scan is what a segment holds, read group by group.
type scan struct {
	entries []found
	bad     []DamageError // entries whose header checks and whose body does not
	unknown []region
	table   bool // the segment's table is intact
	first   groupLink
	times   arrivals
	last    groupLink
	end     int64
	whole   bool // the segment's last group is the one that the next segment names
}

// scanner reads one segment's bytes.
type scanner struct {
	buf    []byte
	number uint64
	seed   uint32
	file   string
	stream string
	// acked is the offset up to which the segment is known to have been acknowledged, 0 for none.
	acked int64
	// stop is the offset of the segment's last group as the next segment names it; -1 when there is none.
	stop   int64
	broken bool // the group before could not be read, so that the next one's link to it says nothing
	out    scan
}

// required says that what lies at off was acknowledged, so that it cannot be a torn tail.
func (s *scanner) required(off int64) bool { return off < s.acked || off <= s.stop }

// run reads the segment from its first group on.
func (s *scanner) run() scan {
	off := int64(segmentHeaderSize)
	for s.stop < 0 || off <= s.stop {
		h, ok := s.header(off)
		if !ok {
			next := s.findGroup(off + 8)
			if next < 0 && !s.required(off) {
				break // clean end, or a torn tail
			}
			off = s.skip(off, next)
			continue
		}
		end := off + groupHeaderSize + int64(h.size)
		mark := len(s.out.entries)
		intact := s.entries(off+groupHeaderSize, min(end, int64(len(s.buf))), h) && end <= int64(len(s.buf))
		if !intact && !s.required(off) && s.findGroup(off+8) < 0 {
			s.out.entries = s.out.entries[:mark]
			s.undo(off)
			break // torn in the middle: never acknowledged
		}
		if end > int64(len(s.buf)) {
			from := max(off+groupHeaderSize, int64(len(s.buf)))
			s.out.unknown = append(s.out.unknown, region{from, end - from, "the file ends within a group"})
		}
		s.accept(off, h, intact)
		off = end
	}
	s.out.end = off
	s.out.whole = s.stop >= 0 && s.out.last.at == makePosition(s.number, s.stop)
	return s.out
}

// undo takes back what a torn group has left in the notes on damage.
func (s *scanner) undo(off int64) {
	for n := len(s.out.bad); n > 0 && s.out.bad[n-1].Offset >= off; n-- {
		s.out.bad = s.out.bad[:n-1]
	}
	for n := len(s.out.unknown); n > 0 && s.out.unknown[n-1].offset >= off; n-- {
		s.out.unknown = s.out.unknown[:n-1]
	}
}

// header decodes the group header at off when it can follow the last group seen.
func (s *scanner) header(off int64) (groupHeader, bool) {
	if off+groupHeaderSize > int64(len(s.buf)) {
		return groupHeader{}, false
	}
	h, ok := decodeGroupHeader(s.buf[off:], s.seed)
	// A group follows one of this segment or of an earlier one: what remains of a file's earlier life does not even say so.
	follows := h.prev.segment() < s.number || h.prev.segment() == s.number && h.prev.offset() < off
	return h, ok && follows && h.number > s.out.last.number && off+groupHeaderSize+int64(h.size) < math.MaxUint32
}

func (s *scanner) accept(off int64, h groupHeader, intact bool) {
	last := s.out.last
	if last.number > 0 && !s.broken && (h.number != last.number+1 || h.prev != last.at || h.prevChecksum != last.checksum) {
		s.out.unknown = append(s.out.unknown, region{off, 0, "a group does not follow the one before it"})
	}
	s.broken = false
	s.out.last = groupLink{number: h.number, at: makePosition(s.number, off), checksum: h.checksum}
	if s.out.first.number == 0 {
		s.out.first = groupLink{number: h.number, at: h.prev, checksum: h.prevChecksum}
		s.out.table = h.flags&groupIsTable != 0 && intact && off == segmentHeaderSize
	}
	s.out.times.note(h.time)
}

// findGroup is the offset of the next group header that checks, -1 when there is none.
func (s *scanner) findGroup(from int64) int64 {
	for off := from; off+groupHeaderSize <= int64(len(s.buf)); off += 8 {
		i := bytes.Index(s.buf[off:], []byte(groupMagic))
		if i < 0 {
			return -1
		}
		off += int64(i) &^ 7
		if _, ok := s.header(off); ok && i%8 == 0 {
			return off
		}
	}
	return -1
}

// skip passes over a place without a group header that checks, up to the next group or the acknowledged end, and saves
// the entries in between that check.
func (s *scanner) skip(off, next int64) (end int64) {
	end = next
	if next < 0 {
		end = max(s.acked, min(off+groupHeaderSize, int64(len(s.buf))))
		if s.stop >= off { // up to the last group of a segment that is not the last, whose length went with its header
			end = max(end, s.stop+groupHeaderSize, int64(len(bytes.TrimRight(s.buf, "\x00"))+7)&^7)
		}
	}
	s.broken = true
	// Entries that check are saved, and those that do not are noted, so that the header itself costs nothing.
	s.out.unknown = append(s.out.unknown, region{off, 0, "a group's header does not match its checksum"})
	have := int64(len(s.buf))
	s.entries(min(off+groupHeaderSize, end), min(end, have), groupHeader{})
	if have < end {
		from := max(off, have)
		s.out.unknown = append(s.out.unknown, region{from, end - from, "the file ends before what was acknowledged"})
	}
	return end
}

// entries reads the entries between two offsets and reports whether all of them check.
func (s *scanner) entries(from, to int64, group groupHeader) (intact bool) {
	intact = true
	for at := from; at < to; {
		h, ok := decodeEntryHeader(s.buf[at:to], s.seed)
		if !ok {
			next := at + 8
			for next+entryHeaderSize <= to {
				if h, ok := decodeEntryHeader(s.buf[next:to], s.seed); ok && next+entryHeaderSize+int64(h.size) <= to {
					break
				}
				next += 8
			}
			if next+entryHeaderSize > to {
				next = to
			}
			s.out.unknown = append(s.out.unknown, region{at, next - at, "an entry's header does not match its checksum"})
			at, intact = next, false
			continue
		}
		end := at + entryHeaderSize + int64(h.size)
		whole := end <= to && s.entry(at, h, group)
		if !whole {
			s.damaged(at, h, group)
			intact = false
		}
		at = min(end, to)
	}
	return intact
}

// entry notes the entry at an offset when its body checks.
func (s *scanner) entry(at int64, h entryHeader, group groupHeader) bool {
	body := s.buf[at+entryHeaderSize : at+entryHeaderSize+int64(h.size)]
	run, ok := checkBody(h, body)
	if !ok {
		return false
	}
	f := found{header: h, table: group.flags&groupIsTable != 0}
	if h.kind == kindRecords {
		f.stored = s.stored(at, h, run.First().Arrival)
	} else {
		f.body = bytes.Clone(body)
	}
	s.out.entries = append(s.out.entries, f)
	return true
}

func (s *scanner) stored(at int64, h entryHeader, arrival int64) stored {
	return stored{first: h.first, arrival: arrival, offset: uint32(at), size: uint32(entryHeaderSize + h.size), count: h.count}
}

// damaged notes an entry whose header is good and whose body is not. Records keep their place in the index, so
// that a reader meets the damage there.
func (s *scanner) damaged(at int64, h entryHeader, group groupHeader) {
	d := DamageError{Stream: s.stream, Shard: h.shard, File: s.file, Offset: at, Reason: "stored bytes do not match their checksum"}
	switch h.kind {
	case kindRecords:
		d.First, d.Last = h.first, h.first+uint64(h.count)-1
		if h.count == 0 || h.size < record.HeaderSize {
			return
		}
		s.out.entries = append(s.out.entries, found{header: h, stored: s.stored(at, h, group.time)})
	case kindCheckpoint:
		d.Reason = "a saved checkpoint does not match its checksum; its consumer may begin at an older one"
		d.Shard, d.First, d.Last = NoShard, uint64(makePosition(s.number, at)), uint64(makePosition(s.number, at))
	default:
		s.out.unknown = append(s.out.unknown, region{at, entryHeaderSize + int64(h.size), "an entry does not match its checksum"})
		return
	}
	s.out.bad = append(s.out.bad, d)
}
