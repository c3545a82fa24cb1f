package event

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/sdk/record"
)

func exhausted() Failure {
	return Failure{
		RequestID: "c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5", FunctionARN: "arn:aws:lambda:us-east-1:123456789012:function:my-function",
		Condition: RetryAttemptsExhausted, Invocations: 4, ExecutedVersion: "$LATEST", FunctionError: "Unhandled",
		Time:      time.Date(2019, 11, 14, 0, 38, 6, 21_900_000, time.FixedZone("", 3600)),
		StreamARN: streamARN, Numbers: sequence.Of(streamID), Shard: 1, First: record.MakeSequence(1, 1), Last: record.MakeSequence(1, 3),
		FirstArrival: 1_573_691_884_835_999, LastArrival: 1_573_691_885_000_000, Records: 3,
	}
}

// TestFailureGolden holds the bytes of the documents.
func TestFailureGolden(t *testing.T) {
	f := exhausted()
	golden(t, "failure.json", f.Append(nil, nil))
	payload := Append(nil, envelope(), three(t))
	withPayload := f.Append(nil, payload)
	golden(t, "failure-payload.json", withPayload)
	var doc struct{ Payload string }
	if err := json.Unmarshal(withPayload, &doc); err != nil || doc.Payload != string(payload) {
		t.Errorf("the payload is\n%s, %v, want\n%s", doc.Payload, err, payload)
	}

	// The function replied, and asked for the records again.
	f.FunctionError = ""
	golden(t, "failure-partial.json", f.Append(nil, nil))

	// Too old before it was ever invoked.
	f.Condition, f.Invocations, f.ExecutedVersion = RecordAgeExceeded, 0, ""
	golden(t, "failure-age.json", f.Append(nil, nil))
}

// A trace is told in full beside the records, and cut where the document has to be small.
func TestFailureTrace(t *testing.T) {
	f := exhausted()
	plain := f.Append(nil, nil)
	f.Trace = &Trace{Kind: "trap", Message: "unreachable", Version: 7, Stack: "crash.parse\ncrash.handle"}
	golden(t, "failure-trace.json", f.Append(nil, nil))
	f.Trace = &Trace{Kind: "exit", Message: "exited with code 3", Version: 7, ExitCode: 3}
	golden(t, "failure-exit.json", f.Append(nil, []byte("{}")))

	const names = 1300 // more than those of the sample may have
	for name, long := range map[string]string{"plain": strings.Repeat("x", 300<<10), "escaped": strings.Repeat("\n\x01", 100<<10), "wide": strings.Repeat("é\xff", 1<<10)} {
		f.Trace = &Trace{Kind: "error", Message: long, Type: long, Version: 7, Stack: long}
		var doc struct{ Failure Trace }
		brief := f.Append(nil, nil)
		if err := json.Unmarshal(brief, &doc); err != nil || len(brief)+names-len(plain) > 4<<10-100 || len(brief)-len(plain) < MaxTraceBytes-20 {
			t.Errorf("%s: %v, %d bytes on top of %d", name, err, len(brief)-len(plain), len(plain))
		}
		for _, text := range []string{doc.Failure.Message, doc.Failure.Type, doc.Failure.Stack} {
			kept, marked := strings.CutSuffix(text, "…")
			if whole := strings.ToValidUTF8(strings.ReplaceAll(long, "\xff", "\ufffd"), ""); !marked || !strings.HasPrefix(whole, kept) || len(kept) < 30 {
				t.Errorf("%s: cut to %q", name, text)
			}
		}
		whole := f.Append(nil, []byte("{}"))
		if err := json.Unmarshal(whole, &doc); err != nil || len(doc.Failure.Stack) < len(long) || len(doc.Failure.Message) < len(long) {
			t.Errorf("%s: with its payload, %v, a document has %d bytes of stack", name, err, len(doc.Failure.Stack))
		}
	}
	f.Trace = &Trace{Kind: "error", Message: "short", Stack: "a\nb"}
	if got := f.Append(nil, nil); !strings.Contains(string(got), `"message":"short","version":0,"stack":"a\nb"}`) {
		t.Errorf("%s", got)
	}
}

// TestFailureShape compares the document with Lambda's example.
func TestFailureShape(t *testing.T) {
	const example = `{"requestContext":{"requestId":"c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5","functionArn":"arn:aws:lambda:us-east-2:123456789012:function:myfunction",
		"condition":"RetryAttemptsExhausted","approximateInvokeCount":1},
		"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},
		"version":"1.0","timestamp":"2019-11-14T00:38:06.021Z",
		"KinesisBatchInfo":{"shardId":"shardId-000000000001","startSequenceNumber":"49601189658422359378836298521827638475320189012309704722",
		"endSequenceNumber":"49601189658422359378836298522902373528957594348623495186","approximateArrivalOfFirstRecord":"2019-11-14T00:38:04.835Z",
		"approximateArrivalOfLastRecord":"2019-11-14T00:38:05.580Z","batchSize":500,"streamArn":"arn:aws:kinesis:us-east-2:123456789012:stream/mystream"}}`
	f := exhausted()
	got, want := shapeOf(t, f.Append(nil, nil)), shapeOf(t, []byte(example))
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for path, kind := range want {
		if got[path] != kind {
			t.Errorf("%s is %q, want %q", path, got[path], kind)
		}
	}
}

func TestObjectKey(t *testing.T) {
	got := ObjectKey("4f9d2c1e-0000-4000-8000-000000000001", 5, time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)), "7b-unique")
	const want = "aws/lambda/4f9d2c1e-0000-4000-8000-000000000001/shardId-000000000005/2026/01/02/2026-01-02T02.04.05-7b-unique"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
