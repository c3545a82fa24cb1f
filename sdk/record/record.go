package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// Sizes of the fixed parts, in bytes, and what a record can hold at most by its layout. (Streams set lower
// limits of their own.)
const (
	HeaderSize       = 24
	RecordHeaderSize = 24
	HashSize         = 16
	MaxKeyBytes      = 1<<16 - 1
	MaxDataBytes     = 1<<30 - 1

	alignment  = 8
	hashFlag   = 1
	counterLen = 44
	maxEpoch   = 1<<19 - 1
	maxCounter = 1<<counterLen - 1
)

// Errors of encoding: the record is not appended.
var (
	ErrKeyTooLong  = errors.New("partition key is longer than 65535 bytes")
	ErrDataTooLong = errors.New("data is longer than 1073741823 bytes")
	ErrHashSize    = errors.New("explicit hash key is not 16 bytes")
	ErrBatchFull   = errors.New("batch would be longer than 4294967288 bytes")
)

// Record is one record. As a value read from a batch, Key, Data and ExplicitHash are views into the batch.
// As a value to append, Sequence and Arrival may be 0: the log assigns them.
type Record struct {
	Sequence     uint64 // (epoch, counter); see MakeSequence
	Arrival      int64  // microseconds since the Unix epoch
	Key          []byte // partition key
	Data         []byte
	ExplicitHash []byte // nil, or 16 bytes big-endian that take the place of the key's MD5
}

// Size is the number of bytes that r takes when encoded; always a multiple of 8.
func (r *Record) Size() int {
	n := RecordHeaderSize + len(r.Key) + len(r.Data)
	if r.ExplicitHash != nil {
		n += HashSize
	}
	return align(n)
}

func (r *Record) check() error {
	switch {
	case len(r.Key) > MaxKeyBytes:
		return fmt.Errorf("record: %w (it has %d)", ErrKeyTooLong, len(r.Key))
	case len(r.Data) > MaxDataBytes:
		return fmt.Errorf("record: %w (it has %d)", ErrDataTooLong, len(r.Data))
	case r.ExplicitHash != nil && len(r.ExplicitHash) != HashSize:
		return fmt.Errorf("record: %w (it has %d)", ErrHashSize, len(r.ExplicitHash))
	}
	return nil
}

// MakeSequence is the sequence number of the counter-th record (from 1) of a shard with the given epoch.
// epoch is at most 524287 and counter at most 2^44-1; larger ones are a programming error and panic.
func MakeSequence(epoch uint32, counter uint64) uint64 {
	if epoch > maxEpoch || counter > maxCounter {
		panic(fmt.Sprintf("record: sequence (%d, %d) out of range", epoch, counter))
	}
	return uint64(epoch)<<counterLen | counter
}

// Epoch is the shard epoch in a sequence number.
func Epoch(sequence uint64) uint32 { return uint32(sequence >> counterLen) }

// Counter is the counter in a sequence number.
func Counter(sequence uint64) uint64 { return sequence & maxCounter }

func align(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// Run is a view of whole encoded records, one after the other, without a batch header. Its zero value is
// empty. The bytes belong to whoever made the run; its maker says how long they stay valid.
type Run struct {
	b []byte
	n int
}

// Len is the number of records.
func (r Run) Len() int { return r.n }

// Size is the number of encoded bytes.
func (r Run) Size() int { return len(r.b) }

// Bytes are the encoded records. They must not be changed.
func (r Run) Bytes() []byte { return r.b }

// All yields the records in order. Each is a view into the run; nothing is allocated.
func (r Run) All() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for b := r.b; len(b) >= RecordHeaderSize; {
			rec, size := decode(b)
			if !yield(rec) {
				return
			}
			b = b[size:]
		}
	}
}

// First is the first record; the zero Record for an empty run.
func (r Run) First() Record {
	if r.n == 0 {
		return Record{}
	}
	rec, _ := decode(r.b)
	return rec
}

// Last is the last record; the zero Record for an empty run. It walks the run.
func (r Run) Last() Record {
	if r.n == 0 {
		return Record{}
	}
	_, last := r.Split(r.n - 1)
	return last.First()
}

// Split divides the run after its first n records; n beyond its ends counts as that end.
func (r Run) Split(n int) (head, tail Run) {
	if n <= 0 {
		return Run{}, r
	}
	if n >= r.n {
		return r, Run{}
	}
	at := 0
	for range n {
		at += encodedSize(r.b[at:])
	}
	return Run{r.b[:at:at], n}, Run{r.b[at:], r.n - n}
}

// SplitSize divides the run so that the head holds as many whole records as fit in size bytes.
func (r Run) SplitSize(size int) (head, tail Run) {
	if len(r.b) <= size {
		return r, Run{}
	}
	at, n := 0, 0
	for n < r.n {
		next := at + encodedSize(r.b[at:])
		if next > size {
			break
		}
		at, n = next, n+1
	}
	return Run{r.b[:at:at], n}, Run{r.b[at:], r.n - n}
}

// AnyPrefix tells whether the data of any record begins with prefix. It is quicker than All for passing over records.
func (r Run) AnyPrefix(prefix string) bool {
	for b := r.b; len(b) >= RecordHeaderSize; {
		at := RecordHeaderSize + int(binary.LittleEndian.Uint16(b[20:])) + int(b[22]&hashFlag)*HashSize
		end := at + int(binary.LittleEndian.Uint32(b[16:]))
		if end-at >= len(prefix) && string(b[at:at+len(prefix)]) == prefix {
			return true
		}
		b = b[align(end):]
	}
	return false
}

// From is the part of the run from the first record on whose sequence number is at least sequence. The
// run's numbers must grow by one from record to record, as those of a stored batch do.
func (r Run) From(sequence uint64) Run {
	if r.n == 0 {
		return r
	}
	first := binary.LittleEndian.Uint64(r.b)
	if sequence <= first {
		return r
	}
	if sequence-first >= uint64(r.n) {
		return Run{}
	}
	_, tail := r.Split(int(sequence - first))
	return tail
}

// Stamp writes sequence numbers and one arrival time (microseconds since the Unix epoch) into the run's
// bytes in place: first, first+1 and so on. The caller must own the bytes.
func Stamp(r Run, first uint64, arrival int64) {
	for b := r.b; len(b) >= RecordHeaderSize; first++ {
		binary.LittleEndian.PutUint64(b, first)
		binary.LittleEndian.PutUint64(b[8:], uint64(arrival))
		b = b[encodedSize(b):]
	}
}

// encodedSize reads the size of the record at the start of b, which must be well formed.
func encodedSize(b []byte) int {
	_ = b[RecordHeaderSize-1]
	n := RecordHeaderSize + int(binary.LittleEndian.Uint32(b[16:])) + int(binary.LittleEndian.Uint16(b[20:]))
	n += int(b[22]&hashFlag) * HashSize
	return align(n)
}

// decode reads the record at the start of b, which must be well formed.
func decode(b []byte) (Record, int) {
	_ = b[RecordHeaderSize-1]
	dataLen := int(binary.LittleEndian.Uint32(b[16:]))
	keyLen := int(binary.LittleEndian.Uint16(b[20:]))
	rec := Record{
		Sequence: binary.LittleEndian.Uint64(b),
		Arrival:  int64(binary.LittleEndian.Uint64(b[8:])),
	}
	at := RecordHeaderSize
	if b[22]&hashFlag != 0 {
		rec.ExplicitHash = b[at : at+HashSize : at+HashSize]
		at += HashSize
	}
	rec.Key = b[at : at+keyLen : at+keyLen]
	at += keyLen
	rec.Data = b[at : at+dataLen : at+dataLen]
	return rec, align(at + dataLen)
}
