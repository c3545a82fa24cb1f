package aws

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/shards"
)

// writer writes the documents of the hot paths by hand, member by member. open says how many members an object is going to have,
// list how many elements; before each element of a list element is called.
type writer interface {
	open(members int)
	close()
	list(name string, elements int)
	element()
	closeList()
	text(name, value string)
	key(name string, value []byte) // UTF-8
	blob(name string, value []byte)
	integer(name string, value int64)
	time(name string, millis int64)
	sequence(name string, numbers sequence.Numbering, shard shards.ShardID, number uint64)
	shard(name string, id shards.ShardID)
	value(name string, v any) // anything that codec.encode takes; it cannot fail
	bytes() []byte
}

// jsonWriter writes compact JSON. A comma stands before every member and element but the first.
type jsonWriter struct{ b []byte }

func (jsonCodec) writer(into []byte) writer { return &jsonWriter{into[:0]} }

func (w *jsonWriter) comma() {
	if n := len(w.b); n > 0 && w.b[n-1] != '{' && w.b[n-1] != '[' {
		w.b = append(w.b, ',')
	}
}

// name writes a member's, which needs no escapes.
func (w *jsonWriter) name(name string) {
	w.comma()
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

func (w *jsonWriter) open(int)                { w.b = append(w.b, '{') }
func (w *jsonWriter) close()                  { w.b = append(w.b, '}') }
func (w *jsonWriter) list(name string, _ int) { w.name(name); w.b = append(w.b, '[') }
func (w *jsonWriter) element()                { w.comma() }
func (w *jsonWriter) closeList()              { w.b = append(w.b, ']') }
func (w *jsonWriter) bytes() []byte           { return w.b }

func (w *jsonWriter) text(name, value string) { w.key(name, []byte(value)) }

func (w *jsonWriter) key(name string, value []byte) {
	w.name(name)
	for _, c := range value {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			// What is not UTF-8 is replaced, as in every other JSON.
			w.b, _ = jsontext.AppendQuote(w.b, value)
			return
		}
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, value...)
	w.b = append(w.b, '"')
}

func (w *jsonWriter) blob(name string, value []byte) {
	w.name(name)
	w.b = append(w.b, '"')
	w.b = base64.StdEncoding.AppendEncode(w.b, value)
	w.b = append(w.b, '"')
}

func (w *jsonWriter) integer(name string, value int64) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, value, 10)
}

func (w *jsonWriter) time(name string, millis int64) {
	w.name(name)
	w.b = appendSeconds(w.b, millis)
}

func (w *jsonWriter) sequence(name string, numbers sequence.Numbering, shard shards.ShardID, number uint64) {
	w.name(name)
	w.b = append(w.b, '"')
	w.b = numbers.Append(w.b, uint32(shard), number)
	w.b = append(w.b, '"')
}

func (w *jsonWriter) shard(name string, id shards.ShardID) {
	w.name(name)
	w.b = append(w.b, '"')
	w.b = appendShard(w.b, id)
	w.b = append(w.b, '"')
}

func (w *jsonWriter) value(name string, v any) {
	w.name(name)
	b, err := jsonCodec{}.encode(v)
	if err != nil {
		panic("aws: encode " + name + ": " + err.Error())
	}
	w.b = append(w.b, b...)
}

// appendShard writes shardId-000000000012.
func appendShard(dst []byte, id shards.ShardID) []byte {
	dst = append(dst, "shardId-000000000000"...)
	for i, n := len(dst)-1, uint32(id); n > 0; i, n = i-1, n/10 {
		dst[i] = byte('0' + n%10)
	}
	return dst
}

// cborWriter writes CBOR with definite lengths.
type cborWriter struct{ b []byte }

func (cborCodec) writer(into []byte) writer { return &cborWriter{into[:0]} }

// head begins an item.
func (w *cborWriter) head(major byte, n uint64) {
	switch {
	case n < 24:
		w.b = append(w.b, major<<5|byte(n))
	case n <= math.MaxUint8:
		w.b = append(w.b, major<<5|24, byte(n))
	case n <= math.MaxUint16:
		w.b = binary.BigEndian.AppendUint16(append(w.b, major<<5|25), uint16(n))
	case n <= math.MaxUint32:
		w.b = binary.BigEndian.AppendUint32(append(w.b, major<<5|26), uint32(n))
	default:
		w.b = binary.BigEndian.AppendUint64(append(w.b, major<<5|27), n)
	}
}

func (w *cborWriter) name(name string) {
	w.head(cborText, uint64(len(name)))
	w.b = append(w.b, name...)
}

func (w *cborWriter) open(members int) { w.head(cborMap, uint64(members)) }
func (w *cborWriter) close()           {}
func (w *cborWriter) element()         {}
func (w *cborWriter) closeList()       {}
func (w *cborWriter) bytes() []byte    { return w.b }

func (w *cborWriter) list(name string, elements int) {
	w.name(name)
	w.head(cborArray, uint64(elements))
}

func (w *cborWriter) text(name, value string) {
	w.name(name)
	w.name(value)
}

func (w *cborWriter) key(name string, value []byte) {
	w.name(name)
	w.head(cborText, uint64(len(value)))
	w.b = append(w.b, value...)
}

func (w *cborWriter) blob(name string, value []byte) {
	w.name(name)
	w.head(cborBytes, uint64(len(value)))
	w.b = append(w.b, value...)
}

func (w *cborWriter) integer(name string, value int64) {
	w.name(name)
	w.number(value)
}

func (w *cborWriter) number(value int64) {
	if value < 0 {
		w.head(cborNeg, uint64(-1-value))
		return
	}
	w.head(cborUint, uint64(value))
}

// time writes tag 1 and whole milliseconds, as the Java SDKs read it.
func (w *cborWriter) time(name string, millis int64) {
	w.name(name)
	w.head(cborTag, 1)
	w.number(millis)
}

func (w *cborWriter) sequence(name string, numbers sequence.Numbering, shard shards.ShardID, number uint64) {
	w.name(name)
	var room [64]byte
	digits := numbers.Append(room[:0], uint32(shard), number)
	w.head(cborText, uint64(len(digits)))
	w.b = append(w.b, digits...)
}

func (w *cborWriter) shard(name string, id shards.ShardID) {
	w.name(name)
	w.head(cborText, uint64(len("shardId-000000000000")))
	w.b = appendShard(w.b, id)
}

func (w *cborWriter) value(name string, v any) {
	w.name(name)
	w.b = append(w.b, mustCBOR(v)...)
}
