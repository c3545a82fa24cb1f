package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"

	"github.com/shardmill/shardmill/api/aws"
	"github.com/shardmill/shardmill/internal/destination"
	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
	lambda "github.com/shardmill/shardmill/triggers/event"
)

// failures stores what mappings give up as Lambda's on-failure documents.
type failures struct {
	to      *destination.Destinations
	streams *shards.Store

	settings        aws.Settings // what the AWS surface keeps of functions
	region, account string       // of the ARNs in documents; "" = the defaults
}

// Check refuses a destination that cannot work.
func (f failures) Check(ctx context.Context, uri string) error { return f.to.Check(ctx, uri) }

// Deliver returns when the document is stored. The same failure has the same document at every try.
func (f failures) Deliver(ctx context.Context, uri string, failure triggers.Failure) error {
	stream, err := f.streams.Stream(failure.Source.Stream)
	if err != nil {
		return err
	}
	return f.to.Deliver(ctx, uri, f.document(&failure, stream.ID()))
}

// place of ARNs: the settings, else what the AWS surface takes without them.
func (f failures) place() (region, account string) {
	return cmp.Or(f.region, aws.DefaultRegion), cmp.Or(f.account, aws.DefaultAccount)
}

// document is the failure's, with the event that the function had: the records, and the window with its state.
func (f failures) document(failure *triggers.Failure, streamID string) destination.Document {
	from := &failure.Source
	numbers := sequence.Of(streamID)
	region, account := f.place()
	streamARN := sourceARN(f.streams, region, account, from.Stream, "")
	envelope := lambda.Envelope{Region: region, StreamARN: sourceARN(f.streams, region, account, from.Stream, failure.Consumer), Role: aws.RoleARN(f.settings, account, failure.Function), Numbers: numbers, Shard: from.Shard, Window: windowIn(failure)}
	id := documentID(failure)
	doc := lambda.Failure{
		RequestID: cmp.Or(failure.Invocation, id), FunctionARN: f.functionARN(failure), Condition: lambda.Condition(failure.Reason),
		Invocations: failure.Attempts, Time: failure.Time, StreamARN: streamARN, Numbers: numbers, Shard: from.Shard,
		First: from.First, Last: from.Last, FirstArrival: failure.FirstArrival.UnixMicro(), LastArrival: failure.LastArrival.UnixMicro(),
		Records: failure.Count,
	}
	if failure.Reason != triggers.AgeExceeded && failure.Version != 0 {
		doc.ExecutedVersion = executedVersion(failure)
		if failure.Failed != nil {
			doc.FunctionError = "Unhandled"
		}
	}
	if failure.Traced {
		doc.Trace = traceOf(failure)
	}
	payload := lambda.Append(make([]byte, 0, lambda.Size(envelope, failure.Records)), envelope, failure.Records)
	return destination.Document{
		ID: id, Key: lambda.ObjectKey(failure.MappingID, from.Shard, failure.Time, id), Shard: shards.ShardID(from.Shard).String(),
		Whole: doc.Append(nil, payload), Brief: doc.Append(nil, nil),
	}
}

// windowIn is the tumbling window that the records, or the failed call for its end, were in; nil: none.
func windowIn(f *triggers.Failure) *lambda.Window {
	if f.Window.End.IsZero() {
		return nil
	}
	return &lambda.Window{Start: f.Window.Start, End: f.Window.End, State: lambda.StateObject(f.State), Final: f.Count == 0, EndedEarly: f.Window.EndedEarly}
}

// traceOf says how the function failed; nil where it did not.
func traceOf(failure *triggers.Failure) *lambda.Trace {
	switch f := failure.Failed; {
	case f != nil:
		return &lambda.Trace{Kind: string(f.Kind), Message: f.Message, Type: f.Type, Version: f.Version, ExitCode: f.ExitCode, Stack: f.Stack}
	case failure.Reason == triggers.RecordRejected:
		return &lambda.Trace{Kind: "rejected", Message: failure.Err, Version: failure.Version}
	case failure.Version != 0:
		return &lambda.Trace{Kind: "reply", Message: failure.Err, Version: failure.Version}
	}
	return nil
}

// executedVersion is what Lambda would say ran: the version that an alias led to, and $LATEST where the mapping names neither.
func executedVersion(failure *triggers.Failure) string {
	if failure.Qualifier == "" || failure.Qualifier == "$LATEST" {
		return "$LATEST"
	}
	return strconv.Itoa(failure.Version)
}

func (f failures) functionARN(failure *triggers.Failure) string {
	region, account := f.place()
	arn := "arn:aws:lambda:" + region + ":" + account + ":function:" + failure.Function
	if failure.Qualifier != "" {
		arn += ":" + failure.Qualifier
	}
	return arn
}

// documentID is a UUID (version 8) that is the same for the same failure, however often it is delivered, and differs for another one, also of the
// same records after the mapping has gone back.
func documentID(f *triggers.Failure) string {
	h := sha256.New()
	for _, s := range [...]string{
		f.MappingID, f.Source.Stream, strconv.FormatUint(uint64(f.Source.Shard), 10), strconv.FormatUint(f.Source.First, 10),
		strconv.FormatUint(f.Source.Last, 10), strconv.Itoa(f.Count), string(f.Reason), strconv.FormatInt(f.Time.UnixNano(), 10), f.Err,
	} {
		_, _ = h.Write(append([]byte(s), 0))
	}
	b := h.Sum(nil)
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
