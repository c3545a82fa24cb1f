package sequence

import (
	"math/bits"

	"github.com/oklog/ulid/v2"

	"github.com/shardmill/shardmill/sdk/record"
)

// Digits is how many digits every number has.
const Digits = 56

// End is the counter behind every record of a closed shard.
const End = 1<<63 - 1

const (
	maxEpoch   = 1<<19 - 2
	maxCounter = 1<<44 - 1
)

// Numbering turns the sequence numbers of one stream into decimal ones and back; doc.go draws them.
//
// The seconds take the stream's creation and not the shard's, plus the epoch: epochs grow from parents to children whatever
// the clock does, so children's numbers are above those of their parents also when the clock was set back.
type Numbering struct {
	created uint64 // seconds since 1970
}

// Of is the numbering of the stream with an ID, which holds the time of its creation.
func Of(streamID string) Numbering {
	id, err := ulid.ParseStrict(streamID)
	if err != nil {
		return Numbering{}
	}
	return Numbering{created: id.Time() / 1000}
}

// Append writes the number of a record. It allocates nothing when dst has room.
func (n Numbering) Append(dst []byte, shard uint32, sequence uint64) []byte {
	return n.AppendCounter(dst, shard, record.Epoch(sequence), record.Counter(sequence))
}

// Last is the EndingSequenceNumber of a closed shard.
func (n Numbering) Last(shard, epoch uint32) string {
	return string(n.AppendCounter(nil, shard, epoch, End))
}

// AppendCounter writes the number of a record, or, with the counter 0, the number before all records of the shard.
func (n Numbering) AppendCounter(dst []byte, shard, epoch uint32, counter uint64) []byte {
	second := n.created + uint64(epoch) - 1
	index := uint64(shard)
	return appendWide(dst, wide{
		2<<56 | second<<20 | index&15<<16 | counter>>48,
		counter<<16 | second>>28,
		second<<36 | index<<4 | 2,
	})
}

// wide is a number of 192 bits, the most significant word first.
type wide [3]uint64

// piece is the largest power of ten in a word: 19 digits.
const piece = 1e19

// appendWide writes w in decimal. The number is at least 10^38, and so has its digits in three pieces of 19.
func appendWide(dst []byte, w wide) []byte {
	var pieces [3]uint64
	for i := len(pieces) - 1; i >= 0; i-- {
		var rest uint64
		for j := range w {
			w[j], rest = bits.Div64(rest, w[j], piece)
		}
		pieces[i] = rest
	}
	var digits [57]byte
	for i, p := range pieces {
		for j := 18; j >= 0; j-- {
			digits[19*i+j] = byte('0' + p%10)
			p /= 10
		}
	}
	from := 0
	for digits[from] == '0' {
		from++
	}
	return append(dst, digits[from:]...)
}

// parseWide reads a number of exactly Digits digits; every such number fits.
func parseWide(s string) (w wide, ok bool) {
	if len(s) != Digits {
		return w, false
	}
	for at := 0; at < len(s); {
		end := min(at+18, len(s))
		var part, scale uint64 = 0, 1
		for ; at < end; at++ {
			digit := s[at] - '0'
			if digit > 9 {
				return wide{}, false
			}
			part, scale = part*10+uint64(digit), scale*10
		}
		for i := len(w) - 1; i >= 0; i-- {
			high, low := bits.Mul64(w[i], scale)
			sum, carry := bits.Add64(low, part, 0)
			w[i], part = sum, high+carry
		}
	}
	return w, true
}

// Number is a decimal number, taken apart.
type Number struct {
	Shard   uint32
	Epoch   uint32
	Counter uint64 // of the record; 0 before the first, End behind the last
}

// Parse reads a decimal number; false when it cannot be one of the stream. It allocates nothing.
func (n Numbering) Parse(s string) (Number, bool) {
	w, ok := parseWide(s)
	if !ok {
		return Number{}, false
	}
	second, index := w[0]>>20&(1<<36-1), w[2]>>4&(1<<32-1)
	num := Number{Shard: uint32(index), Counter: w[0]<<48 | w[1]>>16}
	if second < n.created || second-n.created > maxEpoch {
		return Number{}, false
	}
	num.Epoch = uint32(second-n.created) + 1
	var again [Digits + 1]byte
	if s != string(n.AppendCounter(again[:0], num.Shard, num.Epoch, num.Counter)) {
		return Number{}, false
	}
	return num, num.Counter <= maxCounter || num.Counter == End
}

// Sequence is the number as the log has it; that of the end is one that no record has.
func (num Number) Sequence() uint64 {
	return record.MakeSequence(num.Epoch, min(num.Counter, maxCounter))
}
