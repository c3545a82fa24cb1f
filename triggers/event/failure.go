package event

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/shardmill/shardmill/internal/sequence"
)

// Condition says why records were given up.
type Condition string

// The conditions.
const (
	RetryAttemptsExhausted Condition = "RetryAttemptsExhausted" // the function failed with them too often
	RecordAgeExceeded      Condition = "RecordAgeExceeded"      // they are older than the mapping wants them
	RecordExpired          Condition = "RecordExpired"          // the stream itself has dropped them, while they were tried again
)

// Failure tells of records of one shard that were given up.
type Failure struct {
	RequestID   string // of the last invocation; of the document, where there was none
	FunctionARN string
	Condition   Condition
	Invocations int // how often the function had them; what Lambda says is at least 1
	// ExecutedVersion is the version that ran: a number, or "$LATEST". "": no invocation failed, and the document has no responseContext.
	ExecutedVersion string
	// FunctionError is "Unhandled" when the function failed, "" when it replied and asked for the records again.
	FunctionError string
	Time          time.Time

	StreamARN                 string
	Numbers                   sequence.Numbering
	Shard                     uint32
	First, Last               uint64 // sequence numbers
	FirstArrival, LastArrival int64  // microseconds since 1970
	Records                   int

	Trace *Trace // nil: the document is Lambda's
}

// Trace says how the function failed. Lambda's documents have none.
type Trace struct {
	Kind     string // as of runtime.ErrorKind; "reply" where the function's reply failed the call, "rejected" where it gave up the records itself
	Message  string
	Type     string // of the error, in the function's language; "" = not known
	Version  int    // that ran
	ExitCode int    // where the kind is "exit"
	Stack    string // one frame a line, or the language's own trace; "" = not known
}

// MaxTraceBytes is the size of a Trace in a document without payload, where message, type and stack are cut. It leaves such a document below
// 4 KiB, names being as long as they can be.
const MaxTraceBytes = 2 << 10

// append appends the trace as an object. Of message, type and stack it appends no more than limit bytes together, the message and type having
// at most half of that, and marks where they were cut; 0 = all.
func (t *Trace) append(dst []byte, limit int) []byte {
	message, kind, stack := t.Message, t.Type, t.Stack
	if limit > 0 {
		kind = cut(kind, limit/8)
		message = cut(message, limit/2-textSize(kind))
		stack = cut(stack, limit-textSize(kind)-textSize(message))
	}
	dst = append(dst, `{"kind":`...)
	dst = appendText(dst, t.Kind)
	dst = append(dst, `,"message":`...)
	dst = appendText(dst, message)
	if kind != "" {
		dst = append(dst, `,"type":`...)
		dst = appendText(dst, kind)
	}
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendInt(dst, int64(t.Version), 10)
	if t.Kind == "exit" {
		dst = append(dst, `,"exitCode":`...)
		dst = strconv.AppendInt(dst, int64(t.ExitCode), 10)
	}
	if stack != "" {
		dst = append(dst, `,"stack":`...)
		dst = appendText(dst, stack)
	}
	return append(dst, '}')
}

// cut shortens a text so that it has at most limit bytes in a document, quotes included, and ends it with … then.
func cut(s string, limit int) string {
	if textSize(s) <= limit {
		return s
	}
	const mark = "…"
	left := limit - len(`""`) - len(mark)
	at := 0
	for at < len(s) {
		_, size := utf8.DecodeRuneInString(s[at:])
		n := textSize(s[at:at+size]) - len(`""`)
		if left -= n; left < 0 {
			break
		}
		at += size
	}
	return s[:at] + mark
}

// millisForm is how the document writes times, in UTC.
const millisForm = "2006-01-02T15:04:05.000Z"

// Append appends the document. payload is the event that holds the records, which becomes a text in it; nil: there is none, and the trace is cut
// to MaxTraceBytes.
func (f *Failure) Append(dst, payload []byte) []byte {
	dst = append(dst, `{"requestContext":{"requestId":`...)
	dst = appendText(dst, f.RequestID)
	dst = append(dst, `,"functionArn":`...)
	dst = appendText(dst, f.FunctionARN)
	dst = append(dst, `,"condition":`...)
	dst = appendText(dst, string(f.Condition))
	dst = append(dst, `,"approximateInvokeCount":`...)
	dst = strconv.AppendInt(dst, int64(max(1, f.Invocations)), 10)
	if f.ExecutedVersion != "" {
		dst = append(dst, `},"responseContext":{"statusCode":200,"executedVersion":`...)
		dst = appendText(dst, f.ExecutedVersion)
		dst = append(dst, `,"functionError":`...)
		if f.FunctionError == "" {
			dst = append(dst, `null`...)
		} else {
			dst = appendText(dst, f.FunctionError)
		}
	}
	dst = append(dst, `},"version":"1.0","timestamp":"`...)
	dst = f.Time.UTC().AppendFormat(dst, millisForm)
	dst = append(dst, `","KinesisBatchInfo":{"shardId":"`...)
	dst = appendShard(dst, f.Shard)
	dst = append(dst, `","startSequenceNumber":"`...)
	dst = f.Numbers.Append(dst, f.Shard, f.First)
	dst = append(dst, `","endSequenceNumber":"`...)
	dst = f.Numbers.Append(dst, f.Shard, f.Last)
	dst = append(dst, `","approximateArrivalOfFirstRecord":"`...)
	dst = time.UnixMicro(f.FirstArrival).UTC().AppendFormat(dst, millisForm)
	dst = append(dst, `","approximateArrivalOfLastRecord":"`...)
	dst = time.UnixMicro(f.LastArrival).UTC().AppendFormat(dst, millisForm)
	dst = append(dst, `","batchSize":`...)
	dst = strconv.AppendInt(dst, int64(f.Records), 10)
	dst = append(dst, `,"streamArn":`...)
	dst = appendText(dst, f.StreamARN)
	dst = append(dst, '}')
	if f.Trace != nil {
		dst = append(dst, `,"failure":`...)
		limit := 0
		if payload == nil {
			limit = MaxTraceBytes
		}
		dst = f.Trace.append(dst, limit)
	}
	if payload != nil {
		dst = append(dst, `,"payload":`...)
		dst = appendText(dst, payload)
	}
	return append(dst, '}')
}

// ObjectKey is the name of a document in a bucket, as Lambda lays it out. mapping is the mapping's UUID, and unique makes two documents
// of one second differ, a UUID too.
func ObjectKey(mapping string, shard uint32, at time.Time, unique string) string {
	at = at.UTC()
	name := append([]byte("aws/lambda/"), mapping...)
	name = appendShard(append(name, '/'), shard)
	name = at.AppendFormat(name, "/2006/01/02/2006-01-02T15.04.05-")
	return string(append(name, unique...))
}
