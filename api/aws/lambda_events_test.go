package aws

import (
	"context"
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
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// invokeLater calls the function f asynchronously.
func (l *lambdaRig) invokeLater(payload string) {
	l.t.Helper()
	out := ok(l.lambda.Invoke(l.ctx, &awslambda.InvokeInput{FunctionName: aws.String("f"), InvocationType: types.InvocationTypeEvent, Payload: []byte(payload)}))(l.t)
	if out.StatusCode != 202 || len(out.Payload) != 0 {
		l.t.Errorf("%d %s", out.StatusCode, out.Payload)
	}
}

// settled waits until the first calls of the stream have ended, that many, and nothing else is open.
func settled(t *testing.T, st *shards.Stream, calls uint64) {
	t.Helper()
	eventually(t, "all have ended by the checkpoint", func() bool {
		cp, found := st.Checkpoint(asyncConsumer, 0)
		return found && record.Counter(cp.Sequence) == calls && len(cp.State) == 0
	})
}

// TestEventIsAccepted answers before the function has run, and calls it by the version that was asked for.
func TestEventIsAccepted(t *testing.T) {
	l := newLambdaRig(t)
	called := make(chan runtime.Call, 2)
	l.handler.lambda.events.functions = stubFunctions{invoke: func(call runtime.Call, _ *runtime.Reply) error {
		called <- call
		return nil
	}}
	l.createFunction("f", guest{}, nil)
	l.invokeLater("{\"a\":\n1}")
	if call := <-called; string(call.Body) != "{\"a\":\n1}" || call.Function != "f" || call.Kind != runtime.KindInvoke || len(call.ID) != 36 || call.Version != 0 {
		t.Errorf("called with %+v", call)
	}
	ok(l.lambda.Invoke(l.ctx, &awslambda.InvokeInput{FunctionName: aws.String("f:1"), InvocationType: types.InvocationTypeEvent}))(t)
	if call := <-called; string(call.Body) != "{}" || call.Version != 1 {
		t.Errorf("called with %+v", call)
	}
}

// TestEventsOutliveTheHost calls after a restart what had not ended before it, and nothing else.
func TestEventsOutliveTheHost(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("f", guest{}, nil)
	type outcome struct {
		body   string
		answer chan error
	}
	calls := make(chan outcome)
	first := l.handler.lambda.events
	first.functions = stubFunctions{wait: func(ctx context.Context, call runtime.Call) error {
		o := outcome{string(call.Body), make(chan error, 1)}
		select {
		case calls <- o:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case err := <-o.answer:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	under := map[string]chan error{}
	for _, body := range []string{"1", "2", "3", "4"} {
		l.invokeLater(body)
		o := <-calls
		under[o.body] = o.answer
	}
	st := ok(l.store.Stream(AsyncStream))(t)
	under["1"] <- nil
	under["3"] <- nil
	under["2"] <- nil
	eventually(t, "the first three have ended by the checkpoint", func() bool {
		cp, found := st.Checkpoint(asyncConsumer, 0)
		return found && string(cp.State) == `{"f":{"open":[0]}}` && record.Counter(cp.Sequence) == 4
	})
	first.stop()

	again := make(chan string, 4)
	second := newEvents(Options{Streams: l.store, Settings: l.handler.settings, Logger: slog.New(slog.DiscardHandler), Functions: stubFunctions{invoke: func(call runtime.Call, _ *runtime.Reply) error {
		again <- string(call.Body)
		return nil
	}}}, l.handler.functionARN)
	defer second.stop()
	if body := <-again; body != "4" {
		t.Errorf("called again is %s", body)
	}
	l.handler.lambda.events = second
	l.invokeLater("5")
	if body := <-again; body != "5" {
		t.Errorf("called is %s", body)
	}
}

// TestDeadLetters puts what is given up into the stream that the function names.
func TestDeadLetters(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("dead", 1)
	made := l.createFunction("f", guest{}, func(in *awslambda.CreateFunctionInput) {
		in.DeadLetterConfig = &types.DeadLetterConfig{TargetArn: aws.String(streamsAt + "dead")}
	})
	if *made.DeadLetterConfig.TargetArn != streamsAt+"dead" {
		t.Errorf("made with %v", made.DeadLetterConfig)
	}
	q := l.handler.lambda.events
	cause := errors.New("it failed")
	if !q.giveUp(l.ctx, runtime.Call{Function: "f", ID: "i-1", Body: []byte(`{"a":1}`)}, conditionRetries, cause) {
		t.Error("it has not ended")
	}
	r := ok(ok(l.store.Stream("dead"))(t).Reader(0, shards.Start{}))(t)
	if rec := ok(r.Next(l.ctx))(t).First(); string(rec.Key) != "i-1" || string(rec.Data) != `{"a":1}` {
		t.Errorf("in the stream is %s: %s", rec.Key, rec.Data)
	}
	// A stream that is gone, or that does not take the payload, holds nobody up.
	l.must(l.store.Delete(l.ctx, "dead"))
	if !q.giveUp(l.ctx, runtime.Call{Function: "f", ID: "i-2"}, conditionRetries, cause) {
		t.Error("it has not ended")
	}
	changed := ok(l.lambda.UpdateFunctionConfiguration(l.ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Description: aws.String("x")}))(t)
	if changed.DeadLetterConfig == nil {
		t.Error("another change takes the dead-letter stream away")
	}
	changed = ok(l.lambda.UpdateFunctionConfiguration(l.ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), DeadLetterConfig: &types.DeadLetterConfig{TargetArn: aws.String("")}}))(t)
	if changed.DeadLetterConfig != nil {
		t.Errorf("changed to %v", changed.DeadLetterConfig)
	}

	// Another function of the name, made natively, has none of it.
	l.stream("dead", 1)
	ok(l.lambda.UpdateFunctionConfiguration(l.ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), DeadLetterConfig: &types.DeadLetterConfig{TargetArn: aws.String(streamsAt + "dead")}}))(t)
	l.must(l.functions.Delete(l.ctx, "f"))
	l.function("f", guest{})
	if !q.giveUp(l.ctx, runtime.Call{Function: "f", ID: "i-3"}, conditionRetries, cause) {
		t.Error("it has not ended")
	}
	if run, found, err := ok(ok(l.store.Stream("dead"))(t).Reader(0, shards.Start{}))(t).TryNext(); found || err != nil {
		t.Errorf("in the stream are %d records: %v", run.Len(), err)
	}
}

// TestForeignRecordsAreSkipped passes over what others put into the stream.
func TestForeignRecordsAreSkipped(t *testing.T) {
	l := newLambdaRig(t)
	called := make(chan string, 1)
	l.handler.lambda.events.functions = stubFunctions{invoke: func(call runtime.Call, _ *runtime.Reply) error {
		called <- string(call.Body)
		return nil
	}}
	l.createFunction("f", guest{}, nil)
	st := ok(l.handler.lambda.events.stream(l.ctx))(t)
	ok(st.Put(l.ctx, []record.Record{{Key: []byte("f"), Data: []byte("no header")}, {Key: []byte("f")}}, nil))(t)
	l.invokeLater("1")
	if body := <-called; body != "1" {
		t.Errorf("called with %s", body)
	}
	settled(t, st, 3)
}

// noSettings has no records.
type noSettings struct{ Settings }

func (noSettings) Get(string) (catalog.Entry, error) { return catalog.Entry{}, catalog.ErrNotFound }

// TestEventRetries has the waits of Lambda between attempts.
func TestEventRetries(t *testing.T) {
	failed := &runtime.FunctionError{Message: "failed"}
	for _, tt := range []struct {
		name    string
		answers []error // of one attempt after the other; the last one for all that follow
		want    []time.Duration
	}{
		{"a success", []error{nil}, []time.Duration{0}},
		{"a failure", []error{failed}, []time.Duration{0, time.Minute, 3 * time.Minute}},
		{"a failure, then a success", []error{failed, nil}, []time.Duration{0, time.Minute}},
		{"throttles", []error{runtime.ErrThrottled, runtime.ErrThrottled, nil}, []time.Duration{0, time.Second, 3 * time.Second}},
		{"a throttle between failures", []error{failed, runtime.ErrThrottled, failed, failed}, []time.Duration{0, time.Minute, time.Minute + time.Second, 3*time.Minute + time.Second}},
		{"no such function", []error{runtime.ErrNotFound}, []time.Duration{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var at []time.Duration
				began := time.Now()
				q := &events{calls: newPot(1, 1), answers: newPot(1, 1), settings: noSettings{}, logger: slog.New(slog.DiscardHandler), functions: stubFunctions{invoke: func(runtime.Call, *runtime.Reply) error {
					mu.Lock()
					defer mu.Unlock()
					at = append(at, time.Since(began))
					return tt.answers[min(len(at), len(tt.answers))-1]
				}}}
				if !q.see(t.Context(), runtime.Call{Function: "f"}, began) || !slices.Equal(at, tt.want) {
					t.Errorf("attempts at %v, want %v", at, tt.want)
				}

				// A host that stops gives nothing up.
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				q.functions = stubFunctions{invoke: func(runtime.Call, *runtime.Reply) error { return runtime.ErrThrottled }}
				if q.see(ctx, runtime.Call{Function: "f"}, time.Now()) {
					t.Error("it has ended")
				}
			})
		})
	}
}

// TestRetryAsync is the table of what follows an attempt.
func TestRetryAsync(t *testing.T) {
	failed := &runtime.FunctionError{}
	none, minute := &asyncRules{}, &asyncRules{asyncConfig: asyncConfig{MaxAge: aws.Int(60)}}
	once, twice := &asyncRules{asyncConfig: asyncConfig{Retries: aws.Int(0)}}, &asyncRules{asyncConfig: asyncConfig{Retries: aws.Int(1), MaxAge: aws.Int(100)}}
	for _, tt := range []struct {
		err                error
		failures, refusals int
		age                time.Duration
		rules              *asyncRules
		wait               time.Duration
		ended              condition
	}{
		{nil, 0, 0, 0, none, 0, conditionSuccess},
		{nil, 2, 0, 7 * time.Hour, minute, 0, conditionSuccess},
		{failed, 0, 0, 0, none, time.Minute, ""},
		{failed, 1, 0, 0, none, 2 * time.Minute, ""},
		{failed, 2, 0, 0, none, 0, conditionRetries},
		{failed, 0, 0, 7 * time.Hour, none, 0, conditionAge},
		{runtime.ErrThrottled, 2, 0, 0, none, time.Second, ""},
		{runtime.ErrThrottled, 0, 30, 0, none, 5 * time.Minute, ""},
		{runtime.ErrThrottled, 0, 0, 7 * time.Hour, none, 0, conditionAge},
		{errors.New("the host's"), 0, 3, 0, none, 8 * time.Second, ""},
		{runtime.ErrNoVersion, 0, 0, 0, none, 0, conditionRetries},
		{runtime.ErrUnsupported, 0, 0, 0, none, 0, conditionRetries},
		{runtime.ErrNothingReserved, 0, 0, 0, none, 0, conditionZero},
		{fmt.Errorf("invoke: %w", runtime.ErrNothingReserved), 1, 4, 7 * time.Hour, minute, 0, conditionZero},

		{failed, 0, 0, 0, once, 0, conditionRetries},
		{runtime.ErrThrottled, 0, 0, 0, once, time.Second, ""},
		{failed, 0, 0, 0, minute, time.Minute, ""},
		{failed, 0, 0, time.Millisecond, minute, 0, conditionAge}, // the second attempt would be too late
		{runtime.ErrThrottled, 0, 5, 20 * time.Second, minute, 32 * time.Second, ""},
		{runtime.ErrThrottled, 0, 5, 30 * time.Second, minute, 0, conditionAge},
		{failed, 0, 0, 40 * time.Second, twice, time.Minute, ""},
		{failed, 1, 0, time.Hour, twice, 0, conditionRetries},
	} {
		if wait, ended := retryAsync(tt.err, tt.failures, tt.refusals, tt.age, tt.rules); wait != tt.wait || ended != tt.ended {
			t.Errorf("%v after %d and %d at %v: %v, %q, want %v, %q", tt.err, tt.failures, tt.refusals, tt.age, wait, ended, tt.wait, tt.ended)
		}
	}
}

// TestStreamThatGoes starts anew with the next call when somebody has deleted the stream.
func TestStreamThatGoes(t *testing.T) {
	l := newLambdaRig(t)
	var log strings.Builder
	var mu sync.Mutex
	q := l.handler.lambda.events
	q.logger = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))
	called := make(chan string, 1)
	q.functions = stubFunctions{invoke: func(call runtime.Call, _ *runtime.Reply) error {
		called <- string(call.Body)
		return nil
	}}
	l.createFunction("f", guest{}, nil)
	l.invokeLater("1")
	<-called
	l.must(l.store.Delete(l.ctx, AsyncStream))
	eventually(t, "the reader has noticed", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return !q.reading
	})
	l.invokeLater("2")
	if body := <-called; body != "2" {
		t.Errorf("called with %s", body)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), "asynchronous invocations are not read") {
		t.Errorf("log %s", log.String())
	}
}

// TestStreamThatGoesUnderCalls takes up what is put into the next stream while calls of the deleted one are under way.
func TestStreamThatGoesUnderCalls(t *testing.T) {
	l := newLambdaRig(t)
	called, end := make(chan string, 1), make(chan struct{})
	q := l.handler.lambda.events
	q.functions = stubFunctions{wait: func(ctx context.Context, call runtime.Call) error {
		called <- string(call.Body)
		select {
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	l.createFunction("f", guest{}, nil)
	l.invokeLater("1")
	<-called
	l.must(l.store.Delete(l.ctx, AsyncStream))
	l.invokeLater("2") // perhaps before the reader has noticed
	select {
	case body := <-called:
		if body != "2" {
			t.Errorf("called with %s", body)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the second one waits for the end of the first")
	}
	close(end)
	settled(t, ok(l.store.Stream(AsyncStream))(t), 1)
}

// TestStreamThatIsSplit takes up what comes into other shards, also after a restart.
func TestStreamThatIsSplit(t *testing.T) {
	l := newLambdaRig(t)
	called := make(chan string)
	functions := stubFunctions{wait: func(ctx context.Context, call runtime.Call) error {
		select {
		case called <- string(call.Body):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	first := l.handler.lambda.events
	first.functions = functions
	l.createFunction("f", guest{}, nil)
	l.invokeLater("1") // and waits
	l.must(l.split(AsyncStream, firstShard, middle))
	l.invokeLater("2")
	got := []string{<-called, <-called}
	slices.Sort(got)
	if !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("called with %v", got)
	}
	st := ok(l.store.Stream(AsyncStream))(t)
	eventually(t, "both are behind a checkpoint", func() bool {
		found := 0
		for _, shard := range st.Shards() {
			if _, saved := st.Checkpoint(asyncConsumer, shard); saved {
				found++
			}
		}
		return found == 2
	})
	first.stop()
	second := newEvents(Options{Streams: l.store, Settings: l.handler.settings, Logger: slog.New(slog.DiscardHandler), Functions: functions}, l.handler.functionARN)
	defer second.stop()
	l.handler.lambda.events = second
	l.invokeLater("3")
	if body := <-called; body != "3" {
		t.Errorf("called is %s", body)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *strings.Builder
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}
