package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/sdk/record"
)

// MaxBytes is the most that an event may have: what Lambda takes in one invocation.
const MaxBytes = 6 << 20

// MaxStateBytes is the most that the state of a window may have. With more, the window ends early.
const MaxStateBytes = 1 << 20

// Envelope is what all records of an event share.
type Envelope struct {
	Region    string // as in the stream's ARN
	StreamARN string // of the stream, or of the registered consumer that the mapping reads
	Role      string // ARN of the function's role
	Numbers   sequence.Numbering
	Shard     uint32
	Window    *Window // nil: there is none
}

// Window is the tumbling window of an event.
type Window struct {
	Start, End time.Time
	State      []byte // a JSON object, see StateObject; empty: {}
	Final      bool   // the window's last call
	EndedEarly bool   // it ends before its time, because its state is too large
}

// StateObject is a window's state as an event has it. One that is no JSON object, as functions may have made it that do not take events, becomes one, with the
// bytes in base64 as its member "base64".
func StateObject(state []byte) []byte {
	if len(state) == 0 || json.Valid(state) && kindOf(bytes.TrimLeft(state, " \t\r\n")[0]) == "an object" {
		return state
	}
	object := append(make([]byte, 0, base64.StdEncoding.EncodedLen(len(state))+len(`{"base64":""}`)), `{"base64":"`...)
	return append(base64.StdEncoding.AppendEncode(object, state), '"', '}')
}

// The constant pieces of an event.
const (
	open        = `{"Records":[`
	recordOpen  = `{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":`
	beforeSeq   = `,"sequenceNumber":"`
	beforeData  = `","data":"`
	beforeTime  = `","approximateArrivalTimestamp":`
	beforeID    = `},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"`
	beforeRole  = `","eventName":"aws:kinesis:record","invokeIdentityArn":`
	beforePlace = `,"awsRegion":`
	beforeARN   = `,"eventSourceARN":`
	windowOpen  = `,"window":{"start":"`
	beforeEnd   = `","end":"`
	beforeState = `"},"state":`
	beforeShard = `,"shardId":"`
	beforeFinal = `,"isFinalInvokeForWindow":`
	beforeEarly = `,"isWindowTerminatedEarly":`

	shardPrefix = "shardId-"
	shardDigits = 12
	shardSize   = len(shardPrefix) + shardDigits

	recordFixed = len(recordOpen) + len(beforeSeq) + len(beforeData) + len(beforeTime) + len(beforeID) +
		shardSize + len(":") + 2*sequence.Digits
)

// Append appends the event of the records, which are runs one behind the other. It allocates nothing when dst has room; Size says
// how much that is.
func Append(dst []byte, e Envelope, records []record.Run) []byte {
	dst = append(dst, open...)
	var tail, number span
	first := true
	for _, run := range records {
		for r := range run.All() {
			if !first {
				dst = append(dst, ',')
			}
			dst = append(dst, recordOpen...)
			dst = appendText(dst, r.Key)
			dst = append(dst, beforeSeq...)
			number.from = len(dst)
			dst = e.Numbers.Append(dst, e.Shard, r.Sequence)
			number.to = len(dst)
			dst = append(dst, beforeData...)
			dst = appendBase64(dst, r.Data)
			dst = append(dst, beforeTime...)
			dst = appendSeconds(dst, r.Arrival)
			dst = append(dst, beforeID...)
			dst = appendShard(dst, e.Shard)
			dst = append(dst, ':')
			dst = append(dst, dst[number.from:number.to]...)
			if first {
				// What follows is the same for every record: it is made once.
				tail.from = len(dst)
				dst = e.appendTail(dst)
				tail.to, first = len(dst), false
				continue
			}
			dst = append(dst, dst[tail.from:tail.to]...)
		}
	}
	dst = append(dst, ']')
	if e.Window != nil {
		dst = e.appendWindow(dst)
	}
	return append(dst, '}')
}

// span is a piece of an event that was written already.
type span struct{ from, to int }

func (e *Envelope) appendTail(dst []byte) []byte {
	dst = append(dst, beforeRole...)
	dst = appendText(dst, e.Role)
	dst = append(dst, beforePlace...)
	dst = appendText(dst, e.Region)
	dst = append(dst, beforeARN...)
	dst = appendText(dst, e.StreamARN)
	return append(dst, '}')
}

func (e *Envelope) appendWindow(dst []byte) []byte {
	w := e.Window
	dst = append(dst, windowOpen...)
	dst = w.Start.UTC().AppendFormat(dst, time.RFC3339Nano) // of whole seconds, which all of Lambda's windows begin and end with, no fraction
	dst = append(dst, beforeEnd...)
	dst = w.End.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, beforeState...)
	if len(w.State) == 0 {
		dst = append(dst, '{', '}')
	}
	dst = append(dst, w.State...)
	dst = append(dst, beforeShard...)
	dst = appendShard(dst, e.Shard)
	dst = append(dst, '"')
	dst = append(dst, beforeARN...)
	dst = appendText(dst, e.StreamARN)
	dst = append(dst, beforeFinal...)
	dst = strconv.AppendBool(dst, w.Final)
	dst = append(dst, beforeEarly...)
	return strconv.AppendBool(dst, w.EndedEarly)
}

// Size is the length of the event of the records, in bytes.
func Size(e Envelope, records []record.Run) int {
	_, size := e.fit(records, int(^uint(0)>>1))
	return size
}

// Fit is how many of the records, from the first on, can be in one event of at most MaxBytes. 0 where there are records: the first one
// alone is too large, so that it can never be handed over.
func Fit(e Envelope, records []record.Run) int {
	n, _ := e.fit(records, MaxBytes)
	return n
}

// fit counts the records that an event of at most limit bytes holds, and the bytes of that event.
func (e *Envelope) fit(records []record.Run, limit int) (n, size int) {
	tail := len(beforeRole) + len(beforePlace) + len(beforeARN) + len("}") + textSize(e.Role) + textSize(e.Region) + textSize(e.StreamARN)
	size = len(open) + len("]}") + e.windowSize()
	for _, run := range records {
		for r := range run.All() {
			next := size + recordFixed + tail + textSize(r.Key) + base64.StdEncoding.EncodedLen(len(r.Data)) + secondsSize(r.Arrival)
			if n > 0 {
				next += len(",")
			}
			if next > limit {
				return n, size
			}
			n, size = n+1, next
		}
	}
	return n, size
}

func (e *Envelope) windowSize() int {
	w := e.Window
	if w == nil {
		return 0
	}
	times := len(w.Start.UTC().Format(time.RFC3339Nano)) + len(w.End.UTC().Format(time.RFC3339Nano))
	flags := boolSize(w.Final) + boolSize(w.EndedEarly)
	return len(windowOpen) + len(beforeEnd) + len(beforeState) + len(beforeShard) + len(`"`) + len(beforeARN) + len(beforeFinal) + len(beforeEarly) +
		times + max(len(w.State), len("{}")) + shardSize + textSize(e.StreamARN) + flags
}

func boolSize(b bool) int {
	if b {
		return len("true")
	}
	return len("false")
}
