package aws

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/triggers"
)

const (
	lambdaARN = "arn:aws:lambda:us-east-1:000000000000:"
	streamsAt = "arn:aws:kinesis:us-east-1:000000000000:stream/"
)

// function deploys a function as the native API does.
func (l *lambdaRig) function(name string, g guest) {
	l.t.Helper()
	_, err := l.functions.Deploy(l.ctx, name, g.module(), runtime.Config{})
	l.must(err)
}

// create makes a mapping of the stream s and the function f.
func (l *lambdaRig) create(change func(*awslambda.CreateEventSourceMappingInput)) (*awslambda.CreateEventSourceMappingOutput, error) {
	in := &awslambda.CreateEventSourceMappingInput{
		EventSourceArn: aws.String(streamsAt + "s"), FunctionName: aws.String("f"), StartingPosition: types.EventSourcePositionTrimHorizon,
	}
	if change != nil {
		change(in)
	}
	return l.lambda.CreateEventSourceMapping(l.ctx, in)
}

// TestMappingLife makes a mapping, looks at it, changes and deletes it, as AWS answers that.
func TestMappingLife(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("s", 1)
	l.function("f", guest{})
	made := ok(l.create(nil))(t)
	id := *made.UUID
	if len(id) != 36 || *made.State != "Creating" || *made.LastProcessingResult != "No records processed" || *made.StateTransitionReason != "User action" ||
		*made.BatchSize != 100 || *made.MaximumBatchingWindowInSeconds != 0 || *made.ParallelizationFactor != 1 || *made.MaximumRetryAttempts != -1 ||
		*made.MaximumRecordAgeInSeconds != -1 || *made.TumblingWindowInSeconds != 0 || *made.BisectBatchOnFunctionError || len(made.FunctionResponseTypes) != 0 ||
		made.FunctionResponseTypes == nil || made.DestinationConfig.OnFailure == nil || made.DestinationConfig.OnFailure.Destination != nil ||
		made.FilterCriteria != nil || made.MetricsConfig != nil || made.StartingPosition != "TRIM_HORIZON" ||
		*made.EventSourceArn != streamsAt+"s" || *made.FunctionArn != lambdaARN+"function:f" || *made.EventSourceMappingArn != lambdaARN+"event-source-mapping:"+id {
		t.Errorf("made %+v", made)
	}
	if d := time.Since(*made.LastModified); d < 0 || d > time.Minute {
		t.Errorf("modified %v ago", d)
	}
	get := func() *awslambda.GetEventSourceMappingOutput {
		t.Helper()
		return ok(l.lambda.GetEventSourceMapping(l.ctx, &awslambda.GetEventSourceMappingInput{UUID: &id}))(t)
	}
	if got := get(); *got.State != "Enabled" || *got.UUID != id {
		t.Errorf("got %+v", got)
	}

	changed := ok(l.lambda.UpdateEventSourceMapping(l.ctx, &awslambda.UpdateEventSourceMappingInput{UUID: &id, BatchSize: aws.Int32(7), MaximumRetryAttempts: aws.Int32(0)}))(t)
	if *changed.State != "Updating" || *changed.BatchSize != 100 {
		t.Errorf("the update answers %+v", changed)
	}
	if got := get(); *got.State != "Enabled" || *got.BatchSize != 7 || *got.MaximumRetryAttempts != 0 || *got.MaximumBatchingWindowInSeconds != 0 {
		t.Errorf("changed to %+v", got)
	}

	gone := ok(l.lambda.DeleteEventSourceMapping(l.ctx, &awslambda.DeleteEventSourceMappingInput{UUID: &id}))(t)
	if *gone.State != "Deleting" || *gone.BatchSize != 7 {
		t.Errorf("the deletion answers %+v", gone)
	}
	const none = "The resource you requested does not exist."
	_, err := l.lambda.GetEventSourceMapping(l.ctx, &awslambda.GetEventSourceMappingInput{UUID: &id})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, none)
	_, err = l.lambda.UpdateEventSourceMapping(l.ctx, &awslambda.UpdateEventSourceMappingInput{UUID: &id})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, none)
	_, err = l.lambda.DeleteEventSourceMapping(l.ctx, &awslambda.DeleteEventSourceMappingInput{UUID: &id})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, none)
}

// refusedWith checks an error's type, status and message.
func refusedWith[E error](t testing.TB, err error, status int, message string) {
	t.Helper()
	var typed E
	var response *smithyhttp.ResponseError
	if !errors.As(err, &typed) || !errors.As(err, &response) || response.HTTPStatusCode() != status || !strings.HasSuffix(typed.Error(), ": "+message) {
		t.Errorf("got %v\nwant %T, %d: %s", err, typed, status, message)
	}
}

// TestMappingRefusals has AWS's texts, as they were recorded.
func TestMappingRefusals(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("s", 1)
	l.function("f", guest{})
	made := ok(l.create(nil))(t)
	invalid := func(message string, change func(*awslambda.CreateEventSourceMappingInput)) {
		t.Helper()
		_, err := l.create(change)
		refusedWith[*types.InvalidParameterValueException](t, err, 400, message)
	}
	type input = awslambda.CreateEventSourceMappingInput
	_, err := l.create(nil)
	refusedWith[*types.ResourceConflictException](t, err, 409, `The event source arn (" `+streamsAt+`s ") and function (" f ") provided mapping already exists. `+
		`Please update or delete the existing mapping with UUID `+*made.UUID)
	invalid("Stream not found: "+streamsAt+"t", func(in *input) { in.EventSourceArn = aws.String(streamsAt + "t") })
	invalid("Stream not found: arn:aws:kinesis:eu-west-1:000000000000:stream/s", func(in *input) { in.EventSourceArn = aws.String("arn:aws:kinesis:eu-west-1:000000000000:stream/s") })
	invalid("Unrecognized event source.", func(in *input) { in.EventSourceArn = nil })
	invalid("Unrecognized event source.", func(in *input) { in.EventSourceArn = aws.String("arn:aws:sqs:us-east-1:000000000000:queue") })
	invalid("Function does not exist", func(in *input) { in.FunctionName = aws.String("g") })
	invalid("1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.", func(in *input) { in.StartingPosition = "" })
	invalid("StartingPositionTimestamp is required with the StartingPosition AT_TIMESTAMP.", func(in *input) { in.StartingPosition = types.EventSourcePositionAtTimestamp })
	invalid("StartingPositionTimestamp is only valid with the StartingPosition AT_TIMESTAMP.", func(in *input) { in.StartingPositionTimestamp = aws.Time(time.Now()) })
	l.stream("u", 1)
	invalid("StartingPositionTimestamp must not be in the future.", func(in *input) {
		in.EventSourceArn, in.StartingPosition, in.StartingPositionTimestamp = aws.String(streamsAt+"u"), types.EventSourcePositionAtTimestamp, aws.Time(time.Now().Add(time.Hour))
	})
	invalid("MaximumRecordAgeInSeconds is 59; it must be -1, or 60 to 604800.", func(in *input) { in.MaximumRecordAgeInSeconds = aws.Int32(59) })
	invalid("Parallelization factor must be equal to 1 when tumbling window period is configured", func(in *input) {
		in.ParallelizationFactor, in.TumblingWindowInSeconds = aws.Int32(2), aws.Int32(60)
	})
	invalid("Unsupported DestinationConfig parameter for given event source mapping type.", func(in *input) {
		in.DestinationConfig = &types.DestinationConfig{OnSuccess: &types.OnSuccess{Destination: aws.String(streamsAt + "s")}}
	})
	invalid("Unsupported Topics parameter for given event source mapping type.", func(in *input) { in.Topics = []string{"t"} })
	invalid("Unsupported ScalingConfig parameter for given event source mapping type.", func(in *input) { in.ScalingConfig = &types.ScalingConfig{MaximumConcurrency: aws.Int32(2)} })
	invalid("KMSKeyArn: there are no keys here; filter criteria are stored as they are.", func(in *input) { in.KMSKeyArn = aws.String("arn:aws:kms:us-east-1:000000000000:key/k") })
	invalid("MetricsConfig: ErrorCount is not supported for the given event source mapping type.", func(in *input) {
		in.MetricsConfig = &types.EventSourceMappingMetricsConfig{Metrics: []types.EventSourceMappingMetric{"ErrorCount"}}
	})

	// Values out of the model's ranges are ValidationExceptions, with a body of the message alone.
	for body, message := range map[string]string{
		`{"EventSourceArn":"` + streamsAt + `s","FunctionName":"f","StartingPosition":"invalid"}`: `1 validation error detected: Value 'invalid' at 'startingPosition' failed to satisfy constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]`,
		`{"FunctionName":"f","StartingPosition":"LATEST","BatchSize":0}`:                          `1 validation error detected: Value '0' at 'batchSize' failed to satisfy constraint: Member must have value greater than or equal to 1`,
		`{"FunctionName":"f","StartingPosition":"LATEST","ParallelizationFactor":11}`:             `1 validation error detected: Value '11' at 'parallelizationFactor' failed to satisfy constraint: Member must have value less than or equal to 10`,
	} {
		status, header, got := l.post("POST", "/2015-03-31/event-source-mappings", body)
		if status != 400 || got != `{"message":"`+message+`"}` || header.Get("x-amzn-ErrorType") != "ValidationException" {
			t.Errorf("%s: %d %s %s", body, status, header.Get("x-amzn-ErrorType"), got)
		}
	}
	for body, want := range map[string]string{
		`{"FunctionName":"f"}`: `{"Type":"User","message":"Unrecognized event source."}`,
		`{"FunctionName":`:     `{"Type":"User","message":"Could not parse request body into json."}`,
		`{"FunctionName":7}`:   `{"Type":"User","message":"class java.lang.Short can not be converted to an String"}`,
	} {
		if status, _, got := l.post("POST", "/2015-03-31/event-source-mappings/", body); status != 400 || got != want {
			t.Errorf("%s: %d %s, want %s", body, status, got, want)
		}
	}
}

// post makes a request without the SDK.
func (l *lambdaRig) post(method, path, body string) (status int, header http.Header, answer string) {
	l.t.Helper()
	request, err := http.NewRequestWithContext(l.ctx, method, l.url+path, strings.NewReader(body))
	l.must(err)
	response, err := http.DefaultClient.Do(request)
	l.must(err)
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(response.Body)
	l.must(err)
	return response.StatusCode, response.Header, string(b)
}

// TestMappingsOfBothSurfaces has mappings made natively be seen by AWS's clients, and the other way round.
func TestMappingsOfBothSurfaces(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("s", 1)
	l.function("f", guest{})
	l.function("g", guest{})
	native, _, err := l.mappings.Put(l.ctx, triggers.Mapping{
		Name: "mine", Stream: "s", Function: "f", BatchSize: 3, BatchWindow: 1500 * time.Millisecond, MaxAttempts: 5, MaxRecordAge: 90 * time.Second, StartingPosition: triggers.Newest, FailureTrace: true,
	})
	l.must(err)
	got := ok(l.lambda.GetEventSourceMapping(l.ctx, &awslambda.GetEventSourceMappingInput{UUID: &native.ID}))(t)
	if *got.BatchSize != 3 || *got.MaximumBatchingWindowInSeconds != 2 || *got.MaximumRetryAttempts != 4 || *got.MaximumRecordAgeInSeconds != 90 || got.StartingPosition != "LATEST" {
		t.Errorf("%+v", got)
	}
	ok(l.lambda.UpdateEventSourceMapping(l.ctx, &awslambda.UpdateEventSourceMappingInput{UUID: &native.ID, FunctionName: aws.String(lambdaARN + "function:g"), MaximumRecordAgeInSeconds: aws.Int32(-1)}))(t)
	if s := ok(l.mappings.Get("mine"))(t); s.Function != "g" || s.MaxRecordAge != 0 || s.BatchWindow != 1500*time.Millisecond || s.Aggregated || !s.FailureTrace {
		t.Errorf("changed to %+v", s.Mapping)
	}

	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	made := ok(l.create(func(in *awslambda.CreateEventSourceMappingInput) {
		in.StartingPosition, in.StartingPositionTimestamp = types.EventSourcePositionAtTimestamp, &at
		in.FunctionName, in.MaximumRetryAttempts, in.MaximumBatchingWindowInSeconds = aws.String("000000000000:function:f"), aws.Int32(10), aws.Int32(300)
	}))(t)
	if !made.StartingPositionTimestamp.Equal(at) {
		t.Errorf("starts at %v, want %v", made.StartingPositionTimestamp, at)
	}
	s := ok(l.mappings.Get("f-s"))(t)
	if s.ID != *made.UUID || !s.Aggregated || s.FailureTrace || s.MaxAttempts != 11 || s.BatchWindow != 300*time.Second || !s.StartingTime.Equal(at) {
		t.Errorf("natively it is %+v", s)
	}

	// A name that is taken by another mapping is not used again, and an ID leads to its mapping only.
	_, _, err = l.mappings.Put(l.ctx, triggers.Mapping{Name: "f-u", Stream: "s", Function: "g"})
	l.must(err)
	l.stream("u", 1)
	second := ok(l.create(func(in *awslambda.CreateEventSourceMappingInput) { in.EventSourceArn = aws.String(streamsAt + "u") }))(t)
	if s := ok(l.mappings.Get("f-u-2"))(t); s.ID != *second.UUID {
		t.Errorf("%s is %s", *second.UUID, s.Name)
	}
	l.must(l.mappings.Delete(l.ctx, "f-s"))
	_, _, err = l.mappings.Put(l.ctx, triggers.Mapping{Name: "f-s", Stream: "u", Function: "f"})
	l.must(err)
	_, err = l.lambda.GetEventSourceMapping(l.ctx, &awslambda.GetEventSourceMappingInput{UUID: made.UUID})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "The resource you requested does not exist.")
}

// TestUpdatesThatMeet has requests change different settings at once: what was answered is there.
func TestUpdatesThatMeet(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("s", 1)
	l.function("f", guest{})
	made := ok(l.create(nil))(t)
	for i := range int32(10) {
		var all sync.WaitGroup
		for _, change := range []func(*awslambda.UpdateEventSourceMappingInput){
			func(in *awslambda.UpdateEventSourceMappingInput) { in.BatchSize = aws.Int32(i + 1) },
			func(in *awslambda.UpdateEventSourceMappingInput) { in.MaximumRetryAttempts = aws.Int32(i + 1) },
			func(in *awslambda.UpdateEventSourceMappingInput) { in.MaximumRecordAgeInSeconds = aws.Int32(i + 60) },
			func(in *awslambda.UpdateEventSourceMappingInput) { in.FunctionName = aws.String("f") },
		} {
			in := &awslambda.UpdateEventSourceMappingInput{UUID: made.UUID}
			change(in)
			all.Go(func() {
				if _, err := l.lambda.UpdateEventSourceMapping(l.ctx, in); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			_, err := l.lambda.TagResource(l.ctx, &awslambda.TagResourceInput{Resource: made.EventSourceMappingArn, Tags: map[string]string{"i": strconv.Itoa(int(i))}})
			if err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		s := ok(l.mappings.Get("f-s"))(t)
		if s.BatchSize != int(i)+1 || s.MaxAttempts != int(i)+2 || s.MaxRecordAge != time.Duration(i+60)*time.Second || s.Tags["i"] != strconv.Itoa(int(i)) {
			t.Fatalf("round %d: %+v", i, s.Mapping)
		}
	}
}

// TestMappingSettings sets everything that a mapping has, and takes it away.
func TestMappingSettings(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("s", 1)
	l.stream("dead", 1)
	l.function("f", guest{kinds: abi.KindInvoke.Mask()})
	_, _, err := l.functions.PutAlias(l.ctx, "f", runtime.Alias{Name: "live", Version: 1})
	l.must(err)
	consumer := l.consumer("s", "fan")
	made := ok(l.create(func(in *awslambda.CreateEventSourceMappingInput) {
		in.EventSourceArn, in.FunctionName, in.Enabled = &consumer, aws.String("f:live"), aws.Bool(false)
		in.ParallelizationFactor, in.FunctionResponseTypes = aws.Int32(10), []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures}
		in.MaximumRetryAttempts, in.MaximumRecordAgeInSeconds, in.BisectBatchOnFunctionError = aws.Int32(10000), aws.Int32(604800), aws.Bool(true)
		in.FilterCriteria = &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"data":{"a":[1]}}`)}, {Pattern: aws.String(`{"partitionKey":["k"]}`)}}}
		in.MetricsConfig = &types.EventSourceMappingMetricsConfig{Metrics: []types.EventSourceMappingMetric{"EventCount"}}
		in.Tags = map[string]string{"team": "red"}
	}))(t)
	want := triggers.Mapping{
		Name: "f-s", Stream: "s", Function: "f", BatchSize: 100, Parallelization: 10, ReportItemFailures: true, StartingPosition: triggers.Oldest, MaxAttempts: 10_001, MaxRecordAge: 7 * 24 * time.Hour,
		Bisect: true, Filters: []string{`{"data":{"a":[1]}}`, `{"partitionKey":["k"]}`}, Qualifier: "live", Consumer: "fan", Disabled: true, EventCounts: true,
		Tags: map[string]string{"team": "red"}, Aggregated: true,
	}
	if s := ok(l.mappings.Get("f-s"))(t); !reflect.DeepEqual(s.Mapping, want) {
		t.Errorf("natively it is %+v\nwant %+v", s.Mapping, want)
	}
	id := made.UUID
	got := ok(l.lambda.GetEventSourceMapping(l.ctx, &awslambda.GetEventSourceMappingInput{UUID: id}))(t)
	if *got.State != "Disabled" || *got.EventSourceArn != consumer || *got.FunctionArn != lambdaARN+"function:f:live" || *got.MaximumRetryAttempts != 10000 || *got.ParallelizationFactor != 10 || len(got.FunctionResponseTypes) != 1 ||
		!*got.BisectBatchOnFunctionError || len(got.FilterCriteria.Filters) != 2 || *got.FilterCriteria.Filters[0].Pattern != `{"data":{"a":[1]}}` || got.MetricsConfig.Metrics[0] != "EventCount" {
		t.Errorf("got %+v", got)
	}
	update := func(change awslambda.UpdateEventSourceMappingInput, state string) triggers.Mapping {
		t.Helper()
		change.UUID = id
		if out := ok(l.lambda.UpdateEventSourceMapping(l.ctx, &change))(t); *out.State != state {
			t.Errorf("the update answers the state %s, want %s", *out.State, state)
		}
		return ok(l.mappings.Get("f-s"))(t).Mapping
	}
	if m := update(awslambda.UpdateEventSourceMappingInput{Enabled: aws.Bool(true)}, "Enabling"); m.Disabled || !m.ReportItemFailures {
		t.Errorf("changed to %+v", m)
	}
	if m := update(awslambda.UpdateEventSourceMappingInput{
		ParallelizationFactor: aws.Int32(1), TumblingWindowInSeconds: aws.Int32(900), FunctionResponseTypes: []types.FunctionResponseType{},
	}, "Updating"); m.TumblingWindow != 15*time.Minute || m.ReportItemFailures {
		t.Errorf("changed to %+v", m)
	}
	if got := ok(l.lambda.GetEventSourceMapping(l.ctx, &awslambda.GetEventSourceMappingInput{UUID: id}))(t); *got.TumblingWindowInSeconds != 900 || len(got.FunctionResponseTypes) != 0 {
		t.Errorf("got %+v", got)
	}
	update(awslambda.UpdateEventSourceMappingInput{Enabled: aws.Bool(true)}, "Updating")
	if m := update(awslambda.UpdateEventSourceMappingInput{FilterCriteria: &types.FilterCriteria{}, BisectBatchOnFunctionError: aws.Bool(false)}, "Updating"); m.Filters != nil || m.Bisect || !m.EventCounts {
		t.Errorf("changed to %+v", m)
	}
	if m := update(awslambda.UpdateEventSourceMappingInput{Enabled: aws.Bool(false), MetricsConfig: &types.EventSourceMappingMetricsConfig{}}, "Disabling"); !m.Disabled || m.EventCounts {
		t.Errorf("changed to %+v", m)
	}
	l.must(l.store.DeregisterConsumer(l.ctx, "s", "fan"))
	if got := ok(l.lambda.GetEventSourceMapping(l.ctx, &awslambda.GetEventSourceMappingInput{UUID: id}))(t); *got.EventSourceArn != streamsAt+"s/consumer/fan:0" {
		t.Errorf("without its consumer the source is %s", *got.EventSourceArn)
	}

	type input = awslambda.CreateEventSourceMappingInput
	for message, change := range map[string]func(*input){
		"Consumer not found: " + consumer: func(in *input) { in.EventSourceArn = &consumer },
		"Function does not exist":         func(in *input) { in.FunctionName = aws.String("f:blue") },
		"Invalid filter pattern definition.": func(in *input) {
			in.FilterCriteria = &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"data":"x"}`)}}}
		},
		"The destination arn:aws:sqs:us-east-1:000000000000:q cannot be reached from here: it can be the ARN of a bucket (arn:aws:s3:::NAME) or of a stream (" + streamsAt + "NAME), or an http, https or file URL.": func(in *input) {
			in.DestinationConfig = &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String("arn:aws:sqs:us-east-1:000000000000:q")}}
		},
	} {
		_, err := l.create(change)
		refusedWith[*types.InvalidParameterValueException](t, err, 400, message)
	}
}

// TestDestinations turns ARNs into URIs and back.
func TestDestinations(t *testing.T) {
	c := &call{Handler: &Handler{region: DefaultRegion, account: DefaultAccount}}
	for given, want := range map[string]string{
		"": "", "arn:aws:s3:::bucket": "s3://bucket", streamsAt + "dead": "stream:dead", "https://example.org/hook": "https://example.org/hook", "file:///var/dead": "file:///var/dead",
	} {
		if got, err := c.destinationURI(given); err != nil || got != want || c.destinationARN(got) != given {
			t.Errorf("%s is %s, %v, and back %s", given, got, err, c.destinationARN(got))
		}
	}
	if got := c.destinationARN("s3://bucket/prefix"); got != "s3://bucket/prefix" {
		t.Error(got)
	}
	for _, given := range []string{"arn:aws:sns:us-east-1:000000000000:t", "arn:aws:kinesis:eu-west-1:000000000000:stream/s", streamsAt + "s/consumer/c:1", "arn:aws:firehose:us-east-1:000000000000:stream/s"} {
		if got, err := c.destinationURI(given); err == nil {
			t.Errorf("%s is %s", given, got)
		}
	}
}

// TestMappingTags sets, lists and removes the tags of a mapping.
func TestMappingTags(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("s", 1)
	l.function("f", guest{})
	arn := ok(l.create(func(in *awslambda.CreateEventSourceMappingInput) { in.Tags = map[string]string{"a": "1"} }))(t).EventSourceMappingArn
	tags := func() map[string]string {
		t.Helper()
		return ok(l.lambda.ListTags(l.ctx, &awslambda.ListTagsInput{Resource: arn}))(t).Tags
	}
	ok(l.lambda.TagResource(l.ctx, &awslambda.TagResourceInput{Resource: arn, Tags: map[string]string{"a": "2", "b c": "x y"}}))(t)
	if got := tags(); !maps.Equal(got, map[string]string{"a": "2", "b c": "x y"}) {
		t.Errorf("tags %v", got)
	}
	ok(l.lambda.UntagResource(l.ctx, &awslambda.UntagResourceInput{Resource: arn, TagKeys: []string{"a", "z"}}))(t)
	if got := tags(); !maps.Equal(got, map[string]string{"b c": "x y"}) {
		t.Errorf("tags %v", got)
	}
	many := map[string]string{}
	for i := range 50 {
		many[fmt.Sprint("k", i)] = ""
	}
	_, err := l.lambda.TagResource(l.ctx, &awslambda.TagResourceInput{Resource: arn, Tags: many})
	refusedWith[*types.InvalidParameterValueException](t, err, 400, "Number of tags exceeds resource tag limit.")
	_, err = l.lambda.ListTags(l.ctx, &awslambda.ListTagsInput{Resource: aws.String(lambdaARN + "event-source-mapping:none")})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "The resource you requested does not exist.")
	_, err = l.lambda.ListTags(l.ctx, &awslambda.ListTagsInput{Resource: aws.String("arn:aws:s3:::b")})
	refusedWith[*types.InvalidParameterValueException](t, err, 400, "arn:aws:s3:::b is not the ARN of a resource that can have tags here.")
	if status, _, body := l.post("DELETE", "/2017-03-31/tags/"+url.PathEscape(*arn), ""); status != 400 || !strings.Contains(body, "'tagKeys'") {
		t.Errorf("%d %s", status, body)
	}
}

// TestListMappings pages through mappings, by source and function.
func TestListMappings(t *testing.T) {
	l := newLambdaRig(t)
	l.function("f", guest{})
	l.function("g", guest{})
	var ids []string
	for i := range 5 {
		stream := l.stream(fmt.Sprint("s", i), 1)
		for _, f := range []string{"f", "g"} {
			ids = append(ids, *ok(l.create(func(in *awslambda.CreateEventSourceMappingInput) {
				in.EventSourceArn, in.FunctionName = aws.String(streamsAt+stream), &f
			}))(t).UUID)
		}
	}
	slices.Sort(ids)
	list := func(in awslambda.ListEventSourceMappingsInput) (found []string, pages int) {
		p := awslambda.NewListEventSourceMappingsPaginator(l.lambda, &in)
		for p.HasMorePages() {
			page := ok(p.NextPage(l.ctx))(t)
			pages++
			for _, m := range page.EventSourceMappings {
				found = append(found, *m.UUID)
			}
		}
		return found, pages
	}
	if got, pages := list(awslambda.ListEventSourceMappingsInput{MaxItems: aws.Int32(3)}); !slices.Equal(got, ids) || pages != 4 {
		t.Errorf("%d pages of %v, want %v", pages, got, ids)
	}
	for _, in := range []awslambda.ListEventSourceMappingsInput{
		{EventSourceArn: aws.String(streamsAt + "s2")}, {FunctionName: aws.String("g")}, {FunctionName: aws.String(lambdaARN + "function:g"), EventSourceArn: aws.String(streamsAt + "s3")},
		{FunctionName: aws.String("h")},
	} {
		want := map[string]int{"": 5, "s2": 2, "s3": 1}[strings.TrimPrefix(aws.ToString(in.EventSourceArn), streamsAt)]
		if aws.ToString(in.FunctionName) == "h" {
			want = 0
		}
		if got, _ := list(in); len(got) != want {
			t.Errorf("%s %s: %v", aws.ToString(in.EventSourceArn), aws.ToString(in.FunctionName), got)
		}
	}
	if _, _, err := l.functions.PutAlias(l.ctx, "f", runtime.Alias{Name: "live", Version: 1}); err != nil {
		t.Fatal(err)
	}
	live := ok(l.create(func(in *awslambda.CreateEventSourceMappingInput) {
		in.EventSourceArn, in.FunctionName = aws.String(streamsAt+"s1"), aws.String("f:live")
	}))(t)
	if got, _ := list(awslambda.ListEventSourceMappingsInput{FunctionName: aws.String("f:live")}); !slices.Equal(got, []string{*live.UUID}) {
		t.Errorf("of the alias there is %v", got)
	}
	// No mapping becomes another one's double.
	same := ok(l.lambda.UpdateEventSourceMapping(l.ctx, &awslambda.UpdateEventSourceMappingInput{UUID: live.UUID, FunctionName: aws.String("f:live")}))(t)
	_, err := l.lambda.UpdateEventSourceMapping(l.ctx, &awslambda.UpdateEventSourceMappingInput{UUID: same.UUID, FunctionName: aws.String("f")})
	var double *types.ResourceConflictException
	if !errors.As(err, &double) || !strings.Contains(double.Error(), `The event source arn (" `+streamsAt+`s1 ") and function (" f ") provided mapping already exists.`) {
		t.Errorf("updated to a double: %v", err)
	}
	for query, want := range map[string]string{
		"?MaxItems=0":     `{"message":"1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"}`,
		"?MaxItems=10001": `{"message":"1 validation error detected: Value '10001' at 'maxItems' failed to satisfy constraint: Member must have value less than or equal to 10000"}`,
		"?MaxItems=x":     `{"Type":"User","message":"MaxItems is \"x\" and not a number"}`,
		"?Marker=2":       `{"Type":"User","message":"Marker is \"2\"; it must be the NextMarker of an answer."}`,
	} {
		if status, _, got := l.post("GET", "/2015-03-31/event-source-mappings/"+query, ""); status != 400 || got != want {
			t.Errorf("%s: %d %s", query, status, got)
		}
	}
}

// TestMappingStates has every state of a mapping in Lambda's words.
func TestMappingStates(t *testing.T) {
	at := time.Now()
	shard := func(r triggers.Result) []triggers.ShardStatus {
		return []triggers.ShardStatus{{LastResult: r, LastTime: at}}
	}
	for _, tt := range []struct {
		status        triggers.Status
		state, result string
	}{
		{triggers.Status{State: triggers.Enabled}, "Enabled", "No records processed"},
		{triggers.Status{State: triggers.Enabled, Shards: shard(triggers.ResultOK)}, "Enabled", "OK"},
		{triggers.Status{State: triggers.Enabled, Shards: shard(triggers.ResultPartial)}, "Enabled", "OK"},
		{triggers.Status{State: triggers.Enabled, Shards: shard(triggers.ResultFailed)}, "Enabled", "PROBLEM: Function call failed"},
		{triggers.Status{State: triggers.Enabled, Shards: shard(triggers.ResultRefused)}, "Enabled", "PROBLEM: Function call failed"},
		{triggers.Status{State: triggers.Enabled, Shards: shard(triggers.ResultThrottled)}, "Enabled", "PROBLEM: Function call throttled"},
		{triggers.Status{State: triggers.Blocked, Reason: "no function"}, "Enabled", "PROBLEM: no function"},
		{triggers.Status{State: triggers.Failed, Reason: "no stream", Shards: shard(triggers.ResultOK)}, "Enabled", "PROBLEM: no stream"},
		{triggers.Status{State: triggers.Deleting}, "Deleting", "No records processed"},
		{triggers.Status{State: triggers.Stopped}, "Disabled", "No records processed"},
	} {
		if state, result := mappingState(&tt.status), processingResult(&tt.status); state != tt.state || result != tt.result {
			t.Errorf("%s: %s, %s, want %s, %s", tt.status.State, state, result, tt.state, tt.result)
		}
	}
}

// TestDeletedFunctionLeavesTheMapping keeps a mapping whose function is gone, as AWS does; it can be deleted then.
func TestDeletedFunctionLeavesTheMapping(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("s", 1)
	l.function("f", guest{})
	made := ok(l.create(nil))(t)
	l.must(l.functions.Delete(l.ctx, "f"))
	if got := ok(l.lambda.GetEventSourceMapping(l.ctx, &awslambda.GetEventSourceMappingInput{UUID: made.UUID}))(t); *got.State != "Enabled" || *got.FunctionArn != lambdaARN+"function:f" {
		t.Errorf("%+v", got)
	}
	ok(l.lambda.DeleteEventSourceMapping(l.ctx, &awslambda.DeleteEventSourceMappingInput{UUID: made.UUID}))(t)
}

// TestFunctionNames reads every way in which a request names a function.
func TestFunctionNames(t *testing.T) {
	h := &Handler{region: DefaultRegion, account: DefaultAccount}
	for text, want := range map[string]functionRef{
		"f": {"f", ""}, "f:7": {"f", "7"}, "f:$LATEST": {"f", "$LATEST"}, "000000000000:function:f": {"f", ""}, "000000000000:function:f:live": {"f", "live"},
		lambdaARN + "function:f": {"f", ""}, lambdaARN + "function:f:live": {"f", "live"},
	} {
		if got, err := h.parseFunction(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, code := range map[string]string{
		"": codeValidation, ":f": codeValidation, "f:": codeValidation, "f:1:2": codeValidation, "arn:aws:lambda:x": codeValidation, lambdaARN + "layer:f": codeValidation,
		"arn:aws:s3:us-east-1:000000000000:function:f": codeValidation, lambdaARN + "function:f:1:2": codeValidation, lambdaARN + "function:": codeValidation,
		"arn:aws:lambda:eu-west-1:000000000000:function:f": codeNotFound, "111111111111:function:f": codeNotFound, "arn:aws:lambda:us-east-1:111111111111:function:f": codeNotFound,
	} {
		var f *fault
		if _, err := h.parseFunction(text); !errors.As(err, &f) || f.code != code {
			t.Errorf("%q: %v, want %s", text, err, code)
		}
	}
}

// TestRoutes finds operations by path and method.
func TestRoutes(t *testing.T) {
	l := newLambdaRig(t)
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/2015-03-31/event-source-mappings/", 200}, {"GET", "/2015-03-31/event-source-mappings", 200},
		{"PATCH", "/2015-03-31/event-source-mappings", 404}, {"GET", "/2015-03-31/nothing", 404}, {"GET", "/2014-11-13/functions/", 404},
		{"GET", "/2015-03-31/event-source-mappings/x/y", 404}, {"GET", "/2015-03-31/event-source-mappings//", 404},
	} {
		status, header, body := l.post(tt.method, tt.path, "")
		if status != tt.status || header.Get("x-amzn-RequestId") == "" || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %v %s", tt.method, tt.path, status, header, body)
		}
	}
	plain := newRig(t)
	if status, _, body := (&lambdaRig{rig: plain}).post("GET", "/2015-03-31/functions", ""); status != 404 || !strings.Contains(body, "not served") {
		t.Errorf("without functions: %d %s", status, body)
	}
}
