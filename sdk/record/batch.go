package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Errors of decoding, from Parse and ParseRun; they come wrapped with what was found.
var (
	ErrMalformed = errors.New("malformed record batch")
	ErrChecksum  = errors.New("record batch checksum does not match")
	ErrVersion   = errors.New("record batch version is not supported")
)

const (
	magic          = "SMRB"
	version        = 1
	flagNoChecksum = 1
	maxBatchBytes  = math.MaxUint32 &^ (alignment - 1)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is an encoded record batch: a header and its records, exactly.
type Batch []byte

// Parse checks that b begins with a well-formed batch with a matching checksum and returns that batch, a
// view of b; bytes behind it are left alone. Errors: ErrMalformed, ErrChecksum, ErrVersion.
func Parse(b []byte) (Batch, error) {
	if len(b) < HeaderSize {
		return nil, fmt.Errorf("record: %w: %d bytes, a header has %d", ErrMalformed, len(b), HeaderSize)
	}
	if string(b[:4]) != magic {
		return nil, fmt.Errorf("record: %w: it does not begin with %q", ErrMalformed, magic)
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != version {
		return nil, fmt.Errorf("record: %w: %d, this program reads %d", ErrVersion, v, version)
	}
	flags, length := binary.LittleEndian.Uint16(b[10:]), binary.LittleEndian.Uint32(b[12:])
	switch {
	case length < HeaderSize || length%alignment != 0 || uint64(length) > uint64(len(b)):
		return nil, fmt.Errorf("record: %w: length %d with %d bytes at hand", ErrMalformed, length, len(b))
	case flags&^flagNoChecksum != 0:
		return nil, fmt.Errorf("record: %w: unknown flags %#x", ErrMalformed, flags)
	case binary.LittleEndian.Uint32(b[20:]) != 0:
		return nil, fmt.Errorf("record: %w: reserved field is not 0", ErrMalformed)
	}
	batch := Batch(b[:length:length])
	if flags&flagNoChecksum == 0 {
		if got, want := checksum(batch), binary.LittleEndian.Uint32(b[4:]); got != want {
			return nil, fmt.Errorf("record: %w: stored %08x, computed %08x", ErrChecksum, want, got)
		}
	}
	if _, err := ParseRun(batch[HeaderSize:], batch.Len()); err != nil {
		return nil, err
	}
	return batch, nil
}

// ParseRun checks that b is exactly n well-formed records and returns them as a view of b. Error:
// ErrMalformed.
func ParseRun(b []byte, n int) (Run, error) {
	if n < 0 {
		return Run{}, fmt.Errorf("record: %w: %d records", ErrMalformed, n)
	}
	at := 0
	for i := range n {
		rest := b[at:]
		if len(rest) < RecordHeaderSize {
			return Run{}, fmt.Errorf("record: %w: record %d of %d begins %d bytes before the end", ErrMalformed, i+1, n, len(rest))
		}
		if rest[22]&^hashFlag != 0 || rest[23] != 0 {
			return Run{}, fmt.Errorf("record: %w: record %d has unknown flags", ErrMalformed, i+1)
		}
		// In 64 bits, so that a 32-bit guest cannot overflow.
		size := int64(RecordHeaderSize) + int64(binary.LittleEndian.Uint32(rest[16:])) +
			int64(binary.LittleEndian.Uint16(rest[20:])) + int64(rest[22]&hashFlag)*HashSize
		size = (size + alignment - 1) &^ (alignment - 1)
		if size > int64(len(rest)) {
			return Run{}, fmt.Errorf("record: %w: record %d has %d bytes with %d left", ErrMalformed, i+1, size, len(rest))
		}
		at += int(size)
	}
	if at != len(b) {
		return Run{}, fmt.Errorf("record: %w: %d bytes behind its %d records", ErrMalformed, len(b)-at, n)
	}
	return Run{b, n}, nil
}

// Len is the number of records that the header says.
func (b Batch) Len() int { return int(binary.LittleEndian.Uint32(b[16:])) }

// Run is the batch's records. The batch must have come from Parse, a Builder or PutHeader.
func (b Batch) Run() Run { return Run{b[HeaderSize:], b.Len()} }

// PutHeader writes the header of a batch into dst[:HeaderSize], for records that follow it or will. With
// checksum false the batch carries none, which Parse accepts: for memory that only one reader sees. With
// checksum true, dst must hold the whole batch: header and size bytes of records.
func PutHeader(dst []byte, n, size int, withChecksum bool) {
	length := HeaderSize + size
	copy(dst, magic)
	binary.LittleEndian.PutUint32(dst[4:], 0)
	binary.LittleEndian.PutUint16(dst[8:], version)
	binary.LittleEndian.PutUint16(dst[10:], flagNoChecksum)
	binary.LittleEndian.PutUint32(dst[12:], uint32(length))
	binary.LittleEndian.PutUint32(dst[16:], uint32(n))
	binary.LittleEndian.PutUint32(dst[20:], 0)
	if withChecksum {
		binary.LittleEndian.PutUint16(dst[10:], 0)
		binary.LittleEndian.PutUint32(dst[4:], checksum(dst[:length]))
	}
}

func checksum(b []byte) uint32 { return crc32.Checksum(b[8:], castagnoli) }

// Builder encodes records one behind the other. Its zero value is ready; Reset keeps its memory, so that a
// reused Builder allocates nothing.
type Builder struct {
	b []byte // header space and records; empty until the first append
	n int
}

// Append encodes r. On an error (ErrKeyTooLong, ErrDataTooLong, ErrHashSize, ErrBatchFull) nothing is added.
func (w *Builder) Append(r Record) error {
	if err := r.check(); err != nil {
		return err
	}
	size := r.Size()
	b, err := w.extend(size)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(b, r.Sequence)
	binary.LittleEndian.PutUint64(b[8:], uint64(r.Arrival))
	binary.LittleEndian.PutUint32(b[16:], uint32(len(r.Data)))
	binary.LittleEndian.PutUint16(b[20:], uint16(len(r.Key)))
	b[22], b[23] = 0, 0
	at := RecordHeaderSize
	if r.ExplicitHash != nil {
		b[22] = hashFlag
		at += copy(b[at:], r.ExplicitHash)
	}
	at += copy(b[at:], r.Key)
	at += copy(b[at:], r.Data)
	clear(b[at:])
	w.n++
	return nil
}

// AppendRun copies a run's records as they are. Error: ErrBatchFull.
func (w *Builder) AppendRun(r Run) error {
	b, err := w.extend(len(r.b))
	if err != nil {
		return err
	}
	copy(b, r.b)
	w.n += r.n
	return nil
}

// extend makes room for size more bytes and returns that room.
func (w *Builder) extend(size int) ([]byte, error) {
	at := max(len(w.b), HeaderSize)
	if uint64(at)+uint64(size) > maxBatchBytes {
		return nil, fmt.Errorf("record: %w", ErrBatchFull)
	}
	end := at + size
	if end > cap(w.b) {
		grown := make([]byte, at, max(2*cap(w.b), end, 512))
		copy(grown, w.b)
		w.b = grown
	}
	w.b = w.b[:end]
	return w.b[at:end:end], nil
}

// Len is the number of records appended since the last Reset.
func (w *Builder) Len() int { return w.n }

// Size is the number of encoded bytes of those records, without a header.
func (w *Builder) Size() int { return max(len(w.b)-HeaderSize, 0) }

// Run is a view of the records, valid until the next Append or Reset.
func (w *Builder) Run() Run {
	if w.n == 0 {
		return Run{}
	}
	return Run{w.b[HeaderSize:len(w.b):len(w.b)], w.n}
}

// Finish writes the header with its checksum and returns the batch, valid until the next Append or Reset.
func (w *Builder) Finish() Batch {
	if w.n == 0 {
		w.b = append(w.b[:0], make([]byte, HeaderSize)...)
	}
	PutHeader(w.b, w.n, len(w.b)-HeaderSize, true)
	return Batch(w.b)
}

// Reset empties the builder and keeps its memory.
func (w *Builder) Reset() { w.b, w.n = w.b[:0], 0 }
