package aggregate

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// Magic is what the data of an aggregated record begins with. Whether data that begins with it is one, Split knows.
	Magic = "\xf3\x89\x9a\xc2"

	overhead  = len(Magic) + md5.Size
	hashBytes = 16

	maxKeyChars = 256
	maxDigits   = 39 // of 2^128 - 1
)

// Field numbers of the two messages.
const (
	fieldKeys    protowire.Number = 1
	fieldHashes  protowire.Number = 2
	fieldRecords protowire.Number = 3

	fieldKeyIndex  protowire.Number = 1
	fieldHashIndex protowire.Number = 2
	fieldData      protowire.Number = 3
)

// Record is one user record. Key and Data are views of the aggregate, ExplicitHash is the Reader's own: it is valid until the next
// Split.
type Record struct {
	Index        int // among the aggregate's user records, from 0: the subsequence number
	Key          []byte
	ExplicitHash []byte // nil, or 16 bytes big-endian that take the place of the key's MD5
	Data         []byte
}

// Reader takes aggregates apart, one after the other. Its zero value is ready; it is used by one goroutine.
type Reader struct {
	keys   [][]byte
	hashes [][hashBytes]byte
	body   []byte // the protobuf message
	count  int
	mark   Mark
}

// Mark is a place between two user records of one aggregate. Its zero value is the place before the first.
type Mark struct {
	at   int // in body
	next int // the index of the user record that follows
}

// Index is the number of user records before the mark.
func (m Mark) Index() int { return m.next }

// Split tells whether data is an aggregated record, and if so places the Reader before its first user record. Else, and in
// any case before, the Reader holds no user records.
func (r *Reader) Split(data []byte) bool {
	r.Reset()
	if len(data) < overhead || string(data[:len(Magic)]) != Magic {
		return false
	}
	body := data[len(Magic) : len(data)-md5.Size]
	if sum := md5.Sum(body); !bytes.Equal(sum[:], data[len(data)-md5.Size:]) {
		return false
	}
	if !r.index(body) || !r.check(body) {
		r.Reset()
		return false
	}
	r.body = body
	return true
}

// Reset empties the Reader and keeps its memory, but no view of an aggregate.
func (r *Reader) Reset() {
	clear(r.keys)
	r.keys, r.hashes, r.body, r.count, r.mark = r.keys[:0], r.hashes[:0], nil, 0, Mark{}
}

// Len is the number of user records in the aggregate; at least 1 after Split was true.
func (r *Reader) Len() int { return r.count }

// Mark is the place before the user record that Next will yield.
func (r *Reader) Mark() Mark { return r.mark }

// Return goes back, or on, to a place that Mark has told since the last Split.
func (r *Reader) Return(to Mark) { r.mark = to }

// Next yields the next user record; false when there is none.
func (r *Reader) Next() (Record, bool) {
	for r.mark.at < len(r.body) {
		number, message, size := field(r.body[r.mark.at:])
		r.mark.at += size
		if number == fieldRecords && message != nil {
			record, _ := r.parse(message)
			record.Index = r.mark.next
			r.mark.next++
			return record, true
		}
	}
	return Record{}, false
}

// index fills the tables, which may stand anywhere in the message, and counts the user records.
func (r *Reader) index(body []byte) bool {
	for len(body) > 0 {
		number, value, size := field(body)
		if size < 0 {
			return false
		}
		body = body[size:]
		switch {
		case value == nil: // of another wire type than the field's: unknown
		case number == fieldKeys:
			if len(value) == 0 || !utf8.Valid(value) || utf8.RuneCount(value) > maxKeyChars {
				return false
			}
			r.keys = append(r.keys, value)
		case number == fieldHashes:
			hash, ok := parseHash(value)
			if !ok {
				return false
			}
			r.hashes = append(r.hashes, hash)
		case number == fieldRecords:
			r.count++
		}
	}
	return r.count > 0
}

// check parses every user record, so that Next need not expect anything.
func (r *Reader) check(body []byte) bool {
	for len(body) > 0 {
		number, message, size := field(body)
		body = body[size:]
		if number == fieldRecords && message != nil {
			if _, ok := r.parse(message); !ok {
				return false
			}
		}
	}
	return true
}

// field reads one field of a message. value is nil unless it is length-delimited; size is negative when the bytes are no field.
func field(b []byte) (number protowire.Number, value []byte, size int) {
	number, kind, tag := protowire.ConsumeTag(b)
	if tag < 0 {
		return 0, nil, tag
	}
	if kind != protowire.BytesType {
		n := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if n < 0 {
			return 0, nil, n
		}
		return number, nil, tag + n
	}
	value, n := protowire.ConsumeBytes(b[tag:])
	if n < 0 {
		return 0, nil, n
	}
	return number, value[:len(value):len(value)], tag + n
}

// parse reads one message Record. Of a field that is there twice the last counts.
func (r *Reader) parse(message []byte) (record Record, ok bool) {
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return Record{}, false
		}
		rest := message[tag:]
		var size int
		switch {
		case number == fieldKeyIndex && kind == protowire.VarintType:
			var i uint64
			if i, size = protowire.ConsumeVarint(rest); size < 0 || i >= uint64(len(r.keys)) {
				return Record{}, false
			}
			record.Key = r.keys[i]
		case number == fieldHashIndex && kind == protowire.VarintType:
			var i uint64
			if i, size = protowire.ConsumeVarint(rest); size < 0 || i >= uint64(len(r.hashes)) {
				return Record{}, false
			}
			record.ExplicitHash = r.hashes[i][:]
		case number == fieldData && kind == protowire.BytesType:
			if record.Data, size = protowire.ConsumeBytes(rest); size < 0 {
				return Record{}, false
			}
			record.Data = record.Data[:len(record.Data):len(record.Data)]
		default:
			if size = protowire.ConsumeFieldValue(number, kind, rest); size < 0 {
				return Record{}, false
			}
		}
		message = rest[size:]
	}
	return record, record.Key != nil && record.Data != nil
}

// parseHash reads a decimal number below 2^128, big-endian.
func parseHash(digits []byte) (hash [hashBytes]byte, ok bool) {
	if len(digits) == 0 || len(digits) > maxDigits {
		return hash, false
	}
	var high, low uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return hash, false
		}
		over, carried := bits.Mul64(low, 10)
		var carry uint64
		if low, carry = bits.Add64(carried, uint64(c-'0'), 0); carry > 0 {
			over++
		}
		overflow, scaled := bits.Mul64(high, 10)
		if high, carry = bits.Add64(scaled, over, 0); overflow > 0 || carry > 0 {
			return hash, false
		}
	}
	binary.BigEndian.PutUint64(hash[:8], high)
	binary.BigEndian.PutUint64(hash[8:], low)
	return hash, true
}
