package journal

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/shardmill/shardmill/sdk/record"
)

// Sizes and marks of the file format; doc.go draws it.
const (
	formatVersion = 1

	segmentMagic = "SMJS"
	groupMagic   = "SMJG"
	footerMagic  = "SMJF"
	ackedMagic   = "SMJA"

	segmentHeaderSize = 64
	groupHeaderSize   = 48
	entryHeaderSize   = 32
	shardRowSize      = 40
	storedSize        = 32
	trailerSize       = 64
	ackedSlotSize     = 64
	shardStateSize    = 24

	groupIsTable = 1
)

type entryKind uint8

const (
	kindRecords entryKind = 1 + iota
	kindCheckpoint
	kindShards
	kindLost
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// position is a place in the journal: segment number << 32 | offset in its file.
type position uint64

func makePosition(segment uint64, offset int64) position {
	return position(segment<<32 | uint64(offset))
}

func (p position) segment() uint64 { return uint64(p) >> 32 }
func (p position) offset() int64   { return int64(p & 0xffffffff) }

type journalID [16]byte

// seed is where the header checksums of one segment begin.
func (id journalID) seed(segment uint64) uint32 {
	b := slices.Concat(id[:], make([]byte, 8))
	le.PutUint64(b[16:], segment)
	return crc32.Checksum(b, castagnoli)
}

type segmentHeader struct {
	id      journalID
	number  uint64
	created int64
}

func (h segmentHeader) encode() []byte {
	b := make([]byte, segmentHeaderSize)
	copy(b, segmentMagic)
	le.PutUint32(b[8:], formatVersion)
	copy(b[16:], h.id[:])
	le.PutUint64(b[32:], h.number)
	le.PutUint64(b[40:], uint64(h.created))
	le.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// decodeSegmentHeader answers ok = false for anything but a whole header; newer says that it is one of a later version.
func decodeSegmentHeader(b []byte) (h segmentHeader, newer, ok bool) {
	if len(b) < segmentHeaderSize || string(b[:4]) != segmentMagic ||
		le.Uint32(b[4:]) != crc32.Checksum(b[8:segmentHeaderSize], castagnoli) {
		return h, false, false
	}
	copy(h.id[:], b[16:])
	h.number = le.Uint64(b[32:])
	h.created = int64(le.Uint64(b[40:]))
	return h, le.Uint32(b[8:]) > formatVersion, le.Uint32(b[8:]) == formatVersion
}

// groupHeader is the header of a group; checksum is its own, which the next group repeats.
type groupHeader struct {
	number       uint64
	prev         position
	prevChecksum uint32
	entriesCRC   uint32
	size         int // bytes of the entries
	flags        uint32
	time         int64
	checksum     uint32
}

// put writes the header in front of the group's entries and returns its checksum.
func (h groupHeader) put(b []byte, seed uint32) uint32 {
	copy(b, groupMagic)
	le.PutUint64(b[8:], h.number)
	le.PutUint64(b[16:], uint64(h.prev))
	le.PutUint32(b[24:], h.prevChecksum)
	le.PutUint32(b[28:], h.entriesCRC)
	le.PutUint32(b[32:], uint32(h.size))
	le.PutUint32(b[36:], h.flags)
	le.PutUint64(b[40:], uint64(h.time))
	sum := crc32.Update(seed, castagnoli, b[8:groupHeaderSize])
	le.PutUint32(b[4:], sum)
	return sum
}

func decodeGroupHeader(b []byte, seed uint32) (h groupHeader, ok bool) {
	if len(b) < groupHeaderSize || string(b[:4]) != groupMagic {
		return h, false
	}
	h = groupHeader{
		checksum:     le.Uint32(b[4:]),
		number:       le.Uint64(b[8:]),
		prev:         position(le.Uint64(b[16:])),
		prevChecksum: le.Uint32(b[24:]),
		entriesCRC:   le.Uint32(b[28:]),
		size:         int(le.Uint32(b[32:])),
		flags:        le.Uint32(b[36:]),
		time:         int64(le.Uint64(b[40:])),
	}
	return h, h.size%8 == 0 && h.checksum == crc32.Update(seed, castagnoli, b[8:groupHeaderSize])
}

// entryHeader is the header of an entry of a group.
type entryHeader struct {
	kind  entryKind
	shard uint32
	size  int // bytes of the body
	first uint64
	count uint32
	crc   uint32 // of the body
}

func (h entryHeader) put(b []byte, seed uint32) {
	le.PutUint32(b[4:], uint32(h.kind))
	le.PutUint32(b[8:], h.shard)
	le.PutUint32(b[12:], uint32(h.size))
	le.PutUint64(b[16:], h.first)
	le.PutUint32(b[24:], h.count)
	le.PutUint32(b[28:], h.crc)
	le.PutUint32(b, crc32.Update(seed, castagnoli, b[4:entryHeaderSize]))
}

func decodeEntryHeader(b []byte, seed uint32) (h entryHeader, ok bool) {
	if len(b) < entryHeaderSize || le.Uint32(b) != crc32.Update(seed, castagnoli, b[4:entryHeaderSize]) {
		return h, false
	}
	h = entryHeader{
		kind:  entryKind(b[4]),
		shard: le.Uint32(b[8:]),
		size:  int(le.Uint32(b[12:])),
		first: le.Uint64(b[16:]),
		count: le.Uint32(b[24:]),
		crc:   le.Uint32(b[28:]),
	}
	return h, h.size%8 == 0
}

// bodyCRC is the checksum that an entry header carries for its body. A record batch has one of its own,
// which is repeated, so that its bytes are summed once.
func bodyCRC(kind entryKind, body []byte) uint32 {
	if kind == kindRecords {
		return le.Uint32(body[4:])
	}
	return crc32.Checksum(body, castagnoli)
}

// checkBody says whether the body is what its header promises; for records it returns them.
func checkBody(h entryHeader, body []byte) (record.Run, bool) {
	if h.kind != kindRecords {
		return record.Run{}, crc32.Checksum(body, castagnoli) == h.crc
	}
	batch, err := record.Parse(body)
	if err != nil || le.Uint16(body[10:]) != 0 || // a batch on disk always carries its checksum
		len(batch) != len(body) || le.Uint32(body[4:]) != h.crc || batch.Len() != int(h.count) {
		return record.Run{}, false
	}
	run := batch.Run()
	return run, run.Len() > 0 && run.First().Sequence == h.first
}

// acked is one slot of the file of that name.
type acked struct {
	group uint64
	end   position
	id    journalID
}

func (a acked) encode() []byte {
	b := make([]byte, ackedSlotSize)
	copy(b, ackedMagic)
	le.PutUint64(b[8:], a.group)
	le.PutUint64(b[16:], uint64(a.end))
	copy(b[24:], a.id[:])
	le.PutUint32(b[4:], crc32.Checksum(b[8:ackedSlotSize], castagnoli))
	return b
}

func decodeAcked(b []byte) (a acked, ok bool) {
	if len(b) < ackedSlotSize || string(b[:4]) != ackedMagic || le.Uint32(b[4:]) != crc32.Checksum(b[8:ackedSlotSize], castagnoli) {
		return a, false
	}
	a.group = le.Uint64(b[8:])
	a.end = position(le.Uint64(b[16:]))
	copy(a.id[:], b[24:])
	return a, true
}

func align8(n int) int { return (n + 7) &^ 7 }
