package aws

import (
	"math/big"
	"math/bits"

	"github.com/oklog/ulid/v2"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// endCounter is the counter behind every record of a closed shard.
const endCounter = 1<<63 - 1

// numbering turns the sequence numbers of one stream into AWS's decimal ones and back; doc.go draws them.
//
// The seconds take the stream's creation and not the shard's, plus the epoch: epochs grow from parents to children whatever
// the clock does, so children's numbers are above those of their parents also when the clock was set back.
type numbering struct {
	created uint64 // seconds since 1970
}

// numberingOf is that of the stream with an ID, which holds the time of its creation.
func numberingOf(streamID string) numbering {
	id, err := ulid.ParseStrict(streamID)
	if err != nil {
		return numbering{}
	}
	return numbering{created: id.Time() / 1000}
}

// append writes the number of a record.
func (n numbering) append(dst []byte, shard shards.ShardID, sequence uint64) []byte {
	return n.appendCounter(dst, shard, record.Epoch(sequence), record.Counter(sequence))
}

// last is the EndingSequenceNumber of a closed shard.
func (n numbering) last(shard shards.ShardID, epoch uint32) string {
	return string(n.appendCounter(nil, shard, epoch, endCounter))
}

func (n numbering) appendCounter(dst []byte, shard shards.ShardID, epoch uint32, counter uint64) []byte {
	second := n.created + uint64(epoch) - 1
	index := uint64(shard)
	return appendWide(dst, [3]uint64{
		2<<56 | second<<20 | index&15<<16 | counter>>48,
		counter<<16 | second>>28,
		second<<36 | index<<4 | 2,
	})
}

// appendWide writes 192 bits, the most significant first, in decimal. The number is at least 10^38, and so has its digits in
// three pieces of 19.
func appendWide(dst []byte, w [3]uint64) []byte {
	const piece = 1e19
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

// number is a decimal sequence number, taken apart.
type number struct {
	shard   shards.ShardID
	epoch   uint32
	counter uint64
}

// parse reads a decimal sequence number; false when it cannot be one of the stream.
func (n numbering) parse(s string) (number, bool) {
	wide, ok := new(big.Int).SetString(s, 10)
	if !ok || wide.Sign() < 0 || wide.BitLen() > 192 {
		return number{}, false
	}
	var b [24]byte
	wide.FillBytes(b[:])
	var w [3]uint64
	for i, c := range b {
		w[i/8] = w[i/8]<<8 | uint64(c)
	}
	second, index := w[0]>>20&(1<<36-1), w[2]>>4&(1<<32-1)
	num := number{shard: shards.ShardID(index), counter: w[0]<<48 | w[1]>>16}
	if second < n.created || second-n.created > maxEpoch {
		return number{}, false
	}
	num.epoch = uint32(second-n.created) + 1
	if s != string(n.appendCounter(nil, num.shard, num.epoch, num.counter)) {
		return number{}, false
	}
	return num, num.counter <= maxCounter || num.counter == endCounter
}

const (
	maxEpoch   = 1<<19 - 2
	maxCounter = 1<<44 - 1
)

// sequence is the number as the log has it; that of the end is one that no record has.
func (num number) sequence() uint64 {
	return record.MakeSequence(num.epoch, min(num.counter, maxCounter))
}
