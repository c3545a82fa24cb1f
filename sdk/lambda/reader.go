package lambda

import (
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"
	"unsafe"
)

// reader takes what it expects from the front of b.
type reader struct {
	b      []byte
	pairs  *pairs
	bytes  slab // of data
	texts  slab // of IDs
	failed bool

	arrived secondsEpochTime // the last arrival that was read
	written []byte           // as it was written

	shortest int // characters of data that a record had; 0: not known
}

// fail ends the reading.
func (r *reader) fail() { r.failed, r.b = true, nil }

// literal passes over what must come next.
func (r *reader) literal(s []byte) {
	if !starts(r.b, s) {
		r.fail()
		return
	}
	r.b = r.b[len(s):]
}

// plain is what comes before the next quotation mark, which is passed over. It must be printable ASCII without escapes.
func (r *reader) plain() []byte {
	end := plainLen(r.b)
	if end == len(r.b) || r.b[end] != '"' {
		r.fail()
		return nil
	}
	s := r.b[:end]
	r.b = r.b[end+1:]
	return s
}

// text is a string up to the next quotation mark that is not escaped.
func (r *reader) text() string {
	for end := plainLen(r.b); end < len(r.b); end++ {
		switch r.b[end] {
		case '\\':
			end++
		case '"':
			s := r.b[:end]
			r.b = r.b[end+1:]
			return r.unescape(s)
		}
	}
	r.fail()
	return ""
}

// unescape is the text that is written as s.
func (r *reader) unescape(s []byte) (text string) {
	switch {
	case plainLen(s) == len(s):
		return string(s)
	case !utf8.Valid(s): // encoding/json would put U+FFFD there, which the host does itself
		r.fail()
	case json.Unmarshal([]byte(`"`+string(s)+`"`), &text) != nil:
		r.fail()
	}
	return text
}

// data is bytes in base64 up to the next quotation mark, and how many characters they have. It passes over nothing.
func (r *reader) data(b []byte) (data []byte, end int, ok bool) {
	// No quotation mark is looked for where all records before had none: were there one, it would not be decoded.
	from := min(r.shortest, len(b))
	if end = quoteAt(b[from:]); end >= 0 {
		end += from
		data, ok = r.pairs.decode(b[:end], &r.bytes)
	}
	if !ok && from > 0 {
		if end = quoteAt(b); end >= 0 {
			data, ok = r.pairs.decode(b[:end], &r.bytes)
		}
	}
	if ok && (end < r.shortest || r.shortest == 0) {
		r.shortest = end
	}
	return data, end, ok
}

// seconds is the time that b begins with, in seconds with three decimals, as events.SecondsEpochTime reads it, and how many bytes it has.
// With 0 bytes there is none.
func seconds(b []byte) (t secondsEpochTime, n int) {
	const most = 11 // digits before the point, of a number that float64 holds to the millisecond
	millis := int64(0)
	for n < len(b) && n <= most && b[n]-'0' <= 9 {
		millis = millis*10 + int64(b[n]-'0')
		n++
	}
	if n < 1 || n > most || len(b) < n+4 || b[n] != '.' || b[0] == '0' && n > 1 {
		return t, 0
	}
	tenths, hundredths, thousandths := b[n+1]-'0', b[n+2]-'0', b[n+3]-'0'
	if max(tenths, hundredths, thousandths) > 9 {
		return t, 0
	}
	millis = millis*1000 + int64(tenths)*100 + int64(hundredths)*10 + int64(thousandths)
	epoch := float64(millis) / 1000
	whole := int64(epoch)
	return secondsEpochTime{time.Unix(whole, int64((epoch-float64(whole))*1e9))}, n + 4
}

// arrival is seconds, of a record that came together with the one before it more often than not.
func (r *reader) arrival(b []byte) (t secondsEpochTime, n int) {
	// Whether the number ends here is seen by what must come behind it.
	if n = len(r.written); n > 0 && starts(b, r.written) {
		return r.arrived, n
	}
	if t, n = seconds(b); n > 0 {
		r.arrived, r.written = t, b[:n]
	}
	return t, n
}

// What stands between the values of a record, with the quotation marks.
var (
	eventOpen    = []byte(`{"Records":[`)
	beforeKey    = []byte(`{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"`)
	beforeNumber = []byte(`","sequenceNumber":"`)
	beforeData   = []byte(`","data":"`)
	beforeTime   = []byte(`","approximateArrivalTimestamp":`)
	beforeID     = []byte(`},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"`)
	beforeRole   = []byte(`","eventName":"aws:kinesis:record","invokeIdentityArn":"`)
	beforeRegion = []byte(`","awsRegion":"`)
	beforeARN    = []byte(`","eventSourceARN":"`)
	recordClose  = []byte(`"}`)
	eventClose   = []byte(`]`)
	nextMember   = []byte(`,"`)
)

// constants sets what every record has.
func (k *kinesisRecord) constants() {
	k.EventName, k.EventSource, k.EventVersion = "aws:kinesis:record", "aws:kinesis", "1.0"
	k.Kinesis.KinesisSchemaVersion = "1.0"
}

// records are those of an event, up to and with the bracket behind the last.
func (r *reader) records() []kinesisRecord {
	begun := len(r.b)
	r.literal(eventOpen)
	all := make([]kinesisRecord, 1)
	like := r.first(&all[0])
	if r.failed {
		return nil
	}
	all = slices.Grow(all, len(r.b)/(begun-len(r.b))) // about as many as there are
	for len(r.b) > 0 && r.b[0] == ',' {
		r.b = r.b[1:]
		if len(all) == cap(all) {
			all = slices.Grow(all, 1)
		}
		all = all[:len(all)+1]
		if next := &all[len(all)-1]; !r.next(next, &all[0], &like) {
			r.first(next)
		}
	}
	r.literal(eventClose)
	if r.failed {
		return nil
	}
	return all
}

// likeness is how the records of an event are written alike.
type likeness struct {
	beforeNumber []byte // from behind the time to the number in the event's ID
	afterNumber  []byte // from behind that number to the record's end
	shard        int    // how many bytes of the ID come before the number
}

// first reads a record without knowing another one, and finds how others will be like it.
func (r *reader) first(to *kinesisRecord) (like likeness) {
	to.constants()
	k := &to.Kinesis
	r.literal(beforeKey)
	k.PartitionKey = r.text()
	r.literal(beforeNumber[1:])
	number := r.plain()
	r.literal(beforeData[1:])
	data, n, ok := r.data(r.b)
	if !ok {
		r.fail()
		return like
	}
	k.Data, r.b = data, r.b[n:]
	r.literal(beforeTime)
	if k.ApproximateArrivalTimestamp, n = seconds(r.b); n == 0 {
		r.fail()
		return like
	}
	r.b = r.b[n:]
	like.beforeNumber = r.b
	r.literal(beforeID)
	rest := r.b
	id := r.plain()
	// The event's number ends with the record's: one string is enough.
	if like.shard = len(id) - len(number); r.failed || like.shard < 0 || !starts(id[like.shard:], number) {
		r.fail()
		return like
	}
	to.EventID = string(id)
	k.SequenceNumber = to.EventID[like.shard:]
	like.beforeNumber = like.beforeNumber[:len(beforeID)+like.shard]

	r.literal(beforeRole[1:])
	to.InvokeIdentityArn = r.text()
	r.literal(beforeRegion[1:])
	to.AwsRegion = r.text()
	r.literal(beforeARN[1:])
	to.EventSourceArn = r.text()
	r.literal(recordClose[1:])
	like.afterNumber = rest[len(id) : len(rest)-len(r.b)]
	return like
}

// next reads a record that is written like the first one. Where it is not, it is false, and nothing is passed over.
func (r *reader) next(to, first *kinesisRecord, like *likeness) bool {
	b := r.b
	if !starts(b, beforeKey) {
		return false
	}
	b = b[len(beforeKey):]
	key := b[:plainLen(b)]
	if b = b[len(key):]; !starts(b, beforeNumber) {
		return false
	}
	b = b[len(beforeNumber):]
	number := b[:plainLen(b)]
	if b = b[len(number):]; !starts(b, beforeData) {
		return false
	}
	b = b[len(beforeData):]
	data, end, ok := r.data(b)
	if !ok || !starts(b[end:], beforeTime) {
		return false
	}
	b = b[end+len(beforeTime):]
	arrival, n := r.arrival(b)
	if b = b[n:]; n == 0 || !starts(b, like.beforeNumber) {
		return false
	}
	id := b[len(like.beforeNumber)-like.shard:]
	if b = id[like.shard:]; !starts(b, number) || !starts(b[len(number):], like.afterNumber) {
		return false
	}
	r.b = b[len(number)+len(like.afterNumber):]

	*to = *first
	to.EventID = r.texts.text(id[:like.shard+len(number)])
	k := &to.Kinesis
	if len(key) != len(k.PartitionKey) || !starts(key, unsafe.Slice(unsafe.StringData(k.PartitionKey), len(key))) {
		k.PartitionKey = string(key) // memory of its own: keys are what functions keep
	}
	k.SequenceNumber, k.Data, k.ApproximateArrivalTimestamp = to.EventID[like.shard:], data, arrival
	return true
}
