package event

import (
	"strconv"
	"time"

	"github.com/shardmill/shardmill/internal/sequence"
)

// Condition says why records were given up.
type Condition string

// The conditions.
const (
	RetryAttemptsExhausted Condition = "RetryAttemptsExhausted" // the function failed with them too often
	RecordAgeExceeded      Condition = "RecordAgeExceeded"      // they are older than the mapping wants them
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
}

// millisForm is how the document writes times, in UTC.
const millisForm = "2006-01-02T15:04:05.000Z"

// Append appends the document. payload is the event that holds the records, which becomes a text in it; nil: there is none.
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
