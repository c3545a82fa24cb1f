package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The layout is drawn in doc.go.
const (
	fileMagic     = "SMCATLG\x01"
	fileVersion   = 1
	headerBytes   = 64
	recordMagic   = 0x72634d53 // "SMcr" in a file
	recordBytes   = 32
	alignment     = 8
	maxTableBytes = 128
	// maxFileBytes bounds what a decoder reads into memory. It is far above what
	// definitions of a full host need.
	maxFileBytes = 1 << 30
)

type operation uint8

const (
	opPut    operation = 1
	opDelete operation = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// change is one change of a table as JetStream numbered it, and one record of the
// snapshot file.
type change struct {
	id       id
	op       operation
	value    []byte
	revision uint64
}

// fileHeader is the fixed start of a snapshot file.
type fileHeader struct {
	capacity   uint64 // length of the file; it never grows or shrinks
	generation uint64 // random; seeds the checksums of the file's records
	last       uint64 // revision up to which the base of the file tells everything
	base       uint64 // offset behind the base
}

func (h fileHeader) put(b []byte) {
	copy(b, fileMagic)
	binary.LittleEndian.PutUint32(b[8:], fileVersion)
	binary.LittleEndian.PutUint32(b[12:], headerBytes)
	binary.LittleEndian.PutUint64(b[16:], h.capacity)
	binary.LittleEndian.PutUint64(b[24:], h.generation)
	binary.LittleEndian.PutUint64(b[32:], h.last)
	binary.LittleEndian.PutUint64(b[40:], h.base)
	clear(b[48:60])
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

func parseHeader(b []byte) (fileHeader, error) {
	if len(b) < headerBytes {
		return fileHeader{}, fmt.Errorf("the file has %d bytes, less than its header", len(b))
	}
	if string(b[:len(fileMagic)]) != fileMagic {
		return fileHeader{}, errors.New("the file does not begin with the magic number")
	}
	if got, want := crc32.Checksum(b[:60], castagnoli), binary.LittleEndian.Uint32(b[60:]); got != want {
		return fileHeader{}, fmt.Errorf("the header's checksum is %08x, not %08x", got, want)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != fileVersion {
		return fileHeader{}, fmt.Errorf("%w: its format version is %d, this program knows %d", ErrVersion, v, fileVersion)
	}
	h := fileHeader{
		capacity:   binary.LittleEndian.Uint64(b[16:]),
		generation: binary.LittleEndian.Uint64(b[24:]),
		last:       binary.LittleEndian.Uint64(b[32:]),
		base:       binary.LittleEndian.Uint64(b[40:]),
	}
	return h, nil
}

// seed makes the checksum of a record depend on the file it was written to, so that a
// block of an older file that a disk gives back does not pass.
func seed(generation uint64) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], generation)
	return crc32.Checksum(b[:], castagnoli)
}

// encodedSize is the length of a change in the file.
func encodedSize(c change) int {
	return align(recordBytes + len(c.id.table) + len(c.id.key) + len(c.value))
}

func align(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

func appendChange(dst []byte, c change, seed uint32) []byte {
	start := len(dst)
	var head [recordBytes]byte
	binary.LittleEndian.PutUint32(head[0:], recordMagic)
	binary.LittleEndian.PutUint64(head[8:], c.revision)
	head[16] = byte(c.op)
	binary.LittleEndian.PutUint16(head[18:], uint16(len(c.id.table)))
	binary.LittleEndian.PutUint16(head[20:], uint16(len(c.id.key)))
	binary.LittleEndian.PutUint32(head[24:], uint32(len(c.value)))
	dst = append(dst, head[:]...)
	dst = append(dst, c.id.table...)
	dst = append(dst, c.id.key...)
	dst = append(dst, c.value...)
	for (len(dst)-start)%alignment != 0 {
		dst = append(dst, 0)
	}
	sum := crc32.Update(seed, castagnoli, dst[start+8:])
	binary.LittleEndian.PutUint32(dst[start+4:], sum)
	return dst
}

// parseChange reads the record at the start of b and gives its length. The value is a
// view into b.
func parseChange(b []byte, seed uint32) (c change, size int, ok bool) {
	if len(b) < recordBytes || binary.LittleEndian.Uint32(b) != recordMagic {
		return change{}, 0, false
	}
	table := int(binary.LittleEndian.Uint16(b[18:]))
	key := int(binary.LittleEndian.Uint16(b[20:]))
	value := int(binary.LittleEndian.Uint32(b[24:]))
	if table == 0 || table > maxTableBytes || key == 0 || key > MaxKeyBytes || value > MaxValueBytes {
		return change{}, 0, false
	}
	size = align(recordBytes + table + key + value)
	if size > len(b) {
		return change{}, 0, false
	}
	if crc32.Update(seed, castagnoli, b[8:size]) != binary.LittleEndian.Uint32(b[4:]) {
		return change{}, 0, false
	}
	c.op = operation(b[16])
	if c.op != opPut && c.op != opDelete {
		return change{}, 0, false
	}
	c.revision = binary.LittleEndian.Uint64(b[8:])
	rest := b[recordBytes:]
	c.id = id{string(rest[:table]), string(rest[table : table+key])}
	c.value = rest[table+key : table+key+value : table+key+value]
	return c, size, true
}

// saveState says how much of a snapshot file can be believed.
type saveState int

const (
	saveAbsent  saveState = iota // there is no file
	saveWhole                    // every byte is accounted for
	saveTail                     // whole up to its end, then bytes that are no record: a write cut short, or damage there
	saveDamaged                  // something before valid records is damaged, or the header, or the length
)

// saved is what a snapshot file tells.
type saved struct {
	state   saveState
	reason  string // why the state is not saveWhole
	header  fileHeader
	end     int    // offset behind the last record of the undamaged beginning
	last    uint64 // highest revision seen; everything up to it is told when the state is saveWhole or saveTail
	live    map[id]change
	deleted map[id]uint64 // deletions among the records: revision of each
}

// decodeSaved reads a whole snapshot file. It never fails: what cannot be believed is
// the state and the reason of what it returns. A version of the format it does not
// know is the one exception, because rewriting that file would destroy it.
func decodeSaved(b []byte) (saved, error) {
	s := saved{live: map[id]change{}, deleted: map[id]uint64{}}
	h, err := parseHeader(b)
	switch {
	case errors.Is(err, ErrVersion):
		return s, err
	case err != nil:
		s.damage(err.Error())
		return s, nil // without the generation no record can be checked
	}
	s.header, s.last, s.state = h, h.last, saveWhole
	sum := seed(h.generation)
	s.end = s.readRecords(b, headerBytes, sum)
	if h.capacity != uint64(len(b)) {
		s.damage(fmt.Sprintf("the file has %d bytes, not %d as its header says", len(b), h.capacity))
	}
	if uint64(s.end) < h.base {
		s.damage(fmt.Sprintf("the base ends at offset %d, not %d", s.end, h.base))
	}
	s.readRest(b, sum)
	return s, nil
}

// readRecords applies the records that follow each other from offset on.
func (s *saved) readRecords(b []byte, offset int, sum uint32) int {
	previous := uint64(0)
	for {
		c, size, ok := parseChange(b[offset:], sum)
		if !ok || c.revision <= previous {
			return offset
		}
		previous = c.revision
		s.apply(c)
		offset += size
	}
}

// readRest looks at what is behind the last record of the undamaged beginning: zeros
// when all is well. Records that can still be checked are applied, and prove damage in
// front of them.
func (s *saved) readRest(b []byte, sum uint32) {
	dirty := false
	for at := s.end; at < len(b); {
		c, size, ok := parseChange(b[at:], sum)
		if ok {
			s.apply(c)
			s.damage(fmt.Sprintf("the bytes from offset %d up to the record at %d are damaged", s.end, at))
			at += size
			continue
		}
		next := min(at+alignment, len(b))
		for _, x := range b[at:next] {
			dirty = dirty || x != 0
		}
		at = next
	}
	if dirty && s.state == saveWhole {
		s.state = saveTail
		s.reason = fmt.Sprintf("the bytes from offset %d on are not a record", s.end)
	}
}

// damage notes the first reason for which the file is not whole.
func (s *saved) damage(reason string) {
	if s.state != saveDamaged {
		s.state, s.reason = saveDamaged, reason
	}
}

// apply takes a record in; of the records of an entry the one with the highest revision
// counts, in whatever order a damaged file gives them.
func (s *saved) apply(c change) {
	s.last = max(s.last, c.revision)
	if c.revision < max(s.live[c.id].revision, s.deleted[c.id]) {
		return
	}
	if c.op == opDelete {
		delete(s.live, c.id)
		s.deleted[c.id] = c.revision
		return
	}
	delete(s.deleted, c.id)
	s.live[c.id] = c
}
