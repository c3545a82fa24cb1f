package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// streamDestinations are the streams of a rig; the host has package internal/destination in their place.
type streamDestinations struct{ store *shards.Store }

func (d streamDestinations) Check(_ context.Context, uri string) error {
	if _, err := d.store.Stream(strings.TrimPrefix(uri, streamURI)); err != nil {
		return field.Invalid("onFailure", uri, "a stream that exists")
	}
	return nil
}

func (d streamDestinations) Deliver(ctx context.Context, uri string, doc Document) error {
	st, err := d.store.Stream(strings.TrimPrefix(uri, streamURI))
	if err != nil {
		return errors.Join(ErrMisconfigured, err)
	}
	results, err := st.Put(ctx, []record.Record{{Key: []byte(doc.ID), Data: doc.Whole}}, nil)
	if err == nil {
		err = results[0].Err
	}
	return err
}

// document waits for the first document of a stream.
func (l *lambdaRig) document(stream string) (d invocationDocument) {
	l.t.Helper()
	r := ok(ok(l.store.Stream(stream))(l.t).Reader(0, shards.Start{}))(l.t)
	rec := ok(r.Next(l.ctx))(l.t).First()
	if err := json.Unmarshal(rec.Data, &d); err != nil {
		l.t.Fatalf("%v: %s", err, rec.Data)
	}
	if string(rec.Key) != d.Request.ID || len(d.Request.ID) != 36 {
		l.t.Errorf("the key is %s, the invocation %s", rec.Key, d.Request.ID)
	}
	return d
}

// TestDocuments holds every kind of document against what AWS has been seen to write.
func TestDocuments(t *testing.T) {
	const (
		front  = `{"version":"1.0","timestamp":"2026-01-02T03:04:05.678Z","requestContext":{"requestId":"i-1","functionArn":"arn","condition":`
		failed = `"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},"responsePayload":{"errorMessage":"<bad>","errorType":"errorString","stackTrace":["main.f"]}}`
	)
	bad := &runtime.FunctionError{Kind: runtime.FailError, Type: "*errors.errorString", Message: "<bad>", Stack: "main.f"}
	call := runtime.Call{Function: "f", ID: "i-1", Body: []byte(`{"n": 1.50, "t":"<&"}`)}
	alias, text := call, call
	alias.Alias, alias.Version, text.Body = "live", 0, []byte("not \"JSON\"")
	for name, tt := range map[string]struct {
		ending ending
		want   string
		brief  string
	}{
		"a success": {
			ending{call: call, condition: conditionSuccess, calls: 2, version: 7, answer: []byte(`["a"]`)},
			front + `"Success","approximateInvokeCount":2},"requestPayload":{"n":1.50,"t":"<&"},"responseContext":{"statusCode":200,"executedVersion":"$LATEST"},"responsePayload":["a"]}`,
			front + `"Success","approximateInvokeCount":2},"responseContext":{"statusCode":200,"executedVersion":"$LATEST"}}`,
		},
		"an alias's, without an answer": {
			ending{call: alias, condition: conditionSuccess, calls: 1, version: 7},
			front + `"Success","approximateInvokeCount":1},"requestPayload":{"n":1.50,"t":"<&"},"responseContext":{"statusCode":200,"executedVersion":"7"},"responsePayload":null}`, "",
		},
		"payloads that are no JSON": {
			ending{call: text, condition: conditionSuccess, calls: 1, version: 7, answer: []byte("\xff<")},
			front + `"Success","approximateInvokeCount":1},"requestPayload":"not \"JSON\"","responseContext":{"statusCode":200,"executedVersion":"$LATEST"},"responsePayload":"` + "\ufffd" + `<"}`, "",
		},
		"a failure": {
			ending{call: call, condition: conditionRetries, calls: 3, version: 7, failed: bad},
			front + `"RetriesExhausted","approximateInvokeCount":3},"requestPayload":{"n":1.50,"t":"<&"},` + failed,
			front + `"RetriesExhausted","approximateInvokeCount":3},"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"}}`,
		},
		"too old after a failure": {
			ending{call: call, condition: conditionAge, calls: 1, version: 7, failed: bad},
			front + `"EventAgeExceeded","approximateInvokeCount":1},"requestPayload":{"n":1.50,"t":"<&"},` + failed, "",
		},
		"too old, and never called": {
			ending{call: call, condition: conditionAge},
			front + `"EventAgeExceeded","approximateInvokeCount":0},"requestPayload":{"n":1.50,"t":"<&"}}`, front + `"EventAgeExceeded","approximateInvokeCount":0}}`,
		},
	} {
		tt.ending.at = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
		d := tt.ending.document("arn")
		// Failures have < and > as escapes.
		if got := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\ufffd`, "\ufffd").Replace(string(d.Whole)); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tt.want)
		}
		if tt.brief != "" && string(d.Brief) != tt.brief {
			t.Errorf("%s in brief:\n%s\nwant\n%s", name, d.Brief, tt.brief)
		}
		if d.ID != "i-1" || d.Key != "aws/lambda/async/f/2026/01/02/2026-01-02T03.04.05-i-1" || !json.Valid(d.Whole) {
			t.Errorf("%s is %s at %s", name, d.ID, d.Key)
		}
	}
}

// TestOutcomes has the documents of real invocations in streams: of a success, and of a failure beside the payload in the dead-letter stream; an alias has its own
// configuration and no other.
func TestOutcomes(t *testing.T) {
	l := newLambdaRig(t)
	for _, name := range []string{"dead", "good", "bad"} {
		l.stream(name, 1)
	}
	l.createFunction("f", guest{body: `{"done":true}`}, func(in *awslambda.CreateFunctionInput) { in.Publish = true })
	ok(l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: aws.String("f"), Name: aws.String("live"), FunctionVersion: aws.String("1")}))(t)
	ok(l.putAsync("f:live", func(in *awslambda.PutFunctionEventInvokeConfigInput) {
		in.DestinationConfig = successesTo(streamsAt + "good")
	}))(t)
	l.invokeLater(`"not this one"`)
	ok(l.lambda.Invoke(l.ctx, &awslambda.InvokeInput{FunctionName: aws.String("f:live"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{"a":1}`)}))(t)
	d := l.document("good")
	if d.Request.FunctionARN != lambdaARN+"function:f:live" || d.Request.Condition != conditionSuccess || d.Request.Calls != 1 || string(d.RequestPayload) != `{"a":1}` ||
		*d.Response != (responseContext{200, "1", ""}) || string(d.ResponsePayload) != `{"done":true}` {
		t.Errorf("document %+v", d)
	}

	l.createFunction("fails", guest{fail: "no"}, func(in *awslambda.CreateFunctionInput) {
		in.DeadLetterConfig = &types.DeadLetterConfig{TargetArn: aws.String(streamsAt + "dead")}
	})
	ok(l.putAsync("fails", func(in *awslambda.PutFunctionEventInvokeConfigInput) {
		in.MaximumRetryAttempts, in.DestinationConfig = aws.Int32(0), failuresTo(streamsAt+"bad")
	}))(t)
	ok(l.lambda.Invoke(l.ctx, &awslambda.InvokeInput{FunctionName: aws.String("fails"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{"b":2}`)}))(t)
	d = l.document("bad")
	if d.Request.FunctionARN != lambdaARN+"function:fails:$LATEST" || d.Request.Condition != conditionRetries || d.Request.Calls != 1 ||
		*d.Response != (responseContext{200, "$LATEST", "Unhandled"}) || string(d.ResponsePayload) != `{"errorMessage":"no","errorType":"errorString"}` {
		t.Errorf("document %+v, %s", d, d.ResponsePayload)
	}
	r := ok(ok(l.store.Stream("dead"))(t).Reader(0, shards.Start{}))(t)
	if rec := ok(r.Next(l.ctx))(t).First(); string(rec.Key) != d.Request.ID || string(rec.Data) != `{"b":2}` {
		t.Errorf("in the dead-letter stream is %s: %s", rec.Key, rec.Data)
	}
}

// TestStoppedFunction gives up at once what is invoked while the function's reserved concurrency is 0: it goes to the dead-letter stream and to the destination.
func TestStoppedFunction(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("dead", 1)
	l.stream("bad", 1)
	l.createFunction("f", guest{}, func(in *awslambda.CreateFunctionInput) {
		in.DeadLetterConfig = &types.DeadLetterConfig{TargetArn: aws.String(streamsAt + "dead")}
	})
	ok(l.putAsync("f", func(in *awslambda.PutFunctionEventInvokeConfigInput) {
		in.DestinationConfig = failuresTo(streamsAt + "bad")
	}))(t)
	ok(l.lambda.PutFunctionConcurrency(l.ctx, &awslambda.PutFunctionConcurrencyInput{FunctionName: aws.String("f"), ReservedConcurrentExecutions: aws.Int32(0)}))(t)
	l.invokeLater(`{"a":1}`)
	d := l.document("bad")
	if d.Request.Condition != conditionZero || d.Request.Calls != 0 || d.Response != nil || string(d.RequestPayload) != `{"a":1}` || d.ResponsePayload != nil {
		t.Errorf("document %+v", d)
	}
	r := ok(ok(l.store.Stream("dead"))(t).Reader(0, shards.Start{}))(t)
	if rec := ok(r.Next(l.ctx))(t).First(); string(rec.Key) != d.Request.ID || string(rec.Data) != `{"a":1}` {
		t.Errorf("in the dead-letter stream is %s: %s", rec.Key, rec.Data)
	}
}

// TestOutcomeCallsAFunction gives the document of one function to another one, as an asynchronous invocation of its own.
func TestOutcomeCallsAFunction(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{}, nil)
	l.createFunction("after", guest{}, func(in *awslambda.CreateFunctionInput) { in.Publish = true })
	ok(l.putAsync("f", func(in *awslambda.PutFunctionEventInvokeConfigInput) {
		in.DestinationConfig = successesTo(lambdaARN + "function:after:1")
	}))(t)
	called := make(chan runtime.Call, 1)
	l.handler.lambda.events.functions = stubFunctions{invoke: func(call runtime.Call, reply *runtime.Reply) error {
		if call.Function == "after" {
			called <- call
		}
		reply.Version, reply.Body = 1, []byte(`"`+strings.Repeat("x", maxAsyncPayload)+`"`)
		return nil
	}}
	l.invokeLater(`{"a":1}`)
	call := <-called
	var d invocationDocument
	l.must(json.Unmarshal(call.Body, &d))
	if call.Version != 1 || call.Kind != runtime.KindInvoke || len(call.ID) != 36 || call.ID == d.Request.ID || d.Request.Condition != conditionSuccess || d.ResponsePayload != nil {
		t.Errorf("called with %+v", call) // without payloads: they would be more than an invocation takes
	}
}

// oneRecord is Settings with the record of one function.
type oneRecord struct {
	Settings
	record functionRecord
	broken int // so many reads fail first
}

func (s *oneRecord) Get(string) (catalog.Entry, error) {
	if s.broken > 0 {
		s.broken--
		return catalog.Entry{}, errors.New("not now")
	}
	value, err := json.Marshal(s.record)
	return catalog.Entry{Value: value, Revision: 1}, err
}

// scripted are destinations that answer as they are told, the last answer for all that follow.
type scripted struct {
	mu      sync.Mutex
	answers []error
	at      []time.Duration
	began   time.Time
	docs    []Document
}

func (d *scripted) Check(context.Context, string) error { return nil }

func (d *scripted) Deliver(_ context.Context, _ string, doc Document) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.docs = append(d.at, time.Since(d.began)), append(d.docs, doc)
	return d.answers[min(len(d.at), len(d.answers))-1]
}

// TestDeliveries tries a delivery until it succeeds, nothing can come of it, or six hours are over; settings that cannot be read are waited for; and what has become too old while it waited is not
// tried again.
func TestDeliveries(t *testing.T) {
	odd, wrong := errors.New("not now"), fmt.Errorf("%w: no such stream", ErrMisconfigured)
	hours := func(n int) *int { return aws.Int(n * 3600) }
	for name, tt := range map[string]struct {
		async   asyncConfig
		broken  int
		age     time.Duration
		answers []error
		calls   int
		at      []time.Duration // of the deliveries; nil: not looked at
		last    time.Duration
		says    string
	}{
		"at once":                               {answers: []error{nil}, calls: 1, at: []time.Duration{0}, says: "Success"},
		"after some tries":                      {answers: []error{odd, odd, odd, nil}, calls: 1, at: []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}, says: "Success"},
		"a wrong destination":                   {answers: []error{odd, wrong}, calls: 1, at: []time.Duration{0, time.Second}, says: "Success"},
		"never":                                 {answers: []error{odd}, calls: 1, last: 6 * time.Hour, says: "Success"},
		"settings that come later":              {broken: 2, answers: []error{nil}, calls: 1, at: []time.Duration{3 * time.Second}, says: "Success"},
		"too old when it is called":             {async: asyncConfig{MaxAge: hours(1)}, age: time.Hour + time.Second, answers: []error{nil}, at: []time.Duration{0}, says: "EventAgeExceeded"},
		"young enough":                          {async: asyncConfig{MaxAge: hours(1)}, age: time.Hour, answers: []error{nil}, calls: 1, at: []time.Duration{0}, says: "Success"},
		"old, of a function that does not mind": {age: 20 * time.Hour, answers: []error{nil}, calls: 1, at: []time.Duration{0}, says: "Success"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.async.OnSuccess, tt.async.OnFailure = "stream:a", "stream:b"
				to := &scripted{answers: tt.answers, began: time.Now()}
				calls := 0
				q := &events{
					calls: newPot(1, 1), answers: newPot(leastAnswer, 1), deliveries: newPot(1, 1), logger: slog.New(slog.DiscardHandler), destinations: to,
					arn:      func(function, qualifier string) string { return function + ":" + qualifier },
					settings: &oneRecord{record: functionRecord{Modified: time.Now(), Async: map[string]asyncConfig{runtime.Latest: tt.async}}, broken: tt.broken},
					functions: stubFunctions{invoke: func(_ runtime.Call, reply *runtime.Reply) error {
						calls++
						reply.Version, reply.Body = 1, []byte(`"answer"`)
						return nil
					}},
				}
				if !q.see(t.Context(), runtime.Call{Function: "f", ID: "i-1", Body: []byte("1")}, time.Now().Add(-tt.age)) {
					t.Error("it has not ended")
				}
				if calls != tt.calls || tt.at != nil && !slices.Equal(to.at, tt.at) || tt.last != 0 && to.at[len(to.at)-1] < tt.last {
					t.Errorf("%d calls, delivered at %v", calls, to.at)
				}
				first := string(to.docs[0].Whole)
				if !strings.Contains(first, `"functionArn":"f:$LATEST","condition":"`+tt.says+`"`) {
					t.Errorf("document %s", first)
				}
				for _, d := range to.docs {
					if string(d.Whole) != first || d.Key != to.docs[0].Key {
						t.Errorf("another document at another try: %s", d.Whole)
					}
				}
				if q.answers.free != leastAnswer || len(q.answers.held) != 0 || q.deliveries.free != 1 {
					t.Error("the answer still takes room")
				}
			})
		})
	}
}

// TestFileDestinations finds the folders that documents go to.
func TestFileDestinations(t *testing.T) {
	record, err := json.Marshal(functionRecord{Async: map[string]asyncConfig{
		runtime.Latest: {OnSuccess: "file:///a", OnFailure: "stream:s"}, "live": {OnSuccess: "https://example.org", OnFailure: "file:///b"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := FileDestinations([]catalog.Entry{
		{Key: "account", Value: record}, {Key: recordKey("f"), Value: record}, {Key: recordKey("g"), Value: []byte(`{}`)}, {Key: recordKey("h"), Value: []byte("no")},
	})
	if slices.Sort(got); !slices.Equal(got, []string{"file:///a", "file:///b"}) {
		t.Errorf("%q", got)
	}
}
