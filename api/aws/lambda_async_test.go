package aws

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/runtime"
)

// asyncSet is what a configuration was set to, as text: retries, age, destinations of successes and failures.
func asyncSet(retries, age *int32, d *types.DestinationConfig) string {
	parts := []string{"-", "-", "-", "-"}
	if retries != nil {
		parts[0] = versionText(int(*retries))
	}
	if age != nil {
		parts[1] = versionText(int(*age))
	}
	if d == nil || d.OnSuccess == nil || d.OnFailure == nil {
		return "no destinations" // AWS answers both, empty ones too
	}
	if d.OnSuccess.Destination != nil {
		parts[2] = *d.OnSuccess.Destination
	}
	if d.OnFailure.Destination != nil {
		parts[3] = *d.OnFailure.Destination
	}
	return strings.Join(parts, " ")
}

// asyncConfig is the configuration of a function, with a qualifier or none, as the client gets it.
func (l *lambdaRig) asyncConfig(function, qualifier string) (set string, err error) {
	in := &awslambda.GetFunctionEventInvokeConfigInput{FunctionName: &function}
	if qualifier != "" {
		in.Qualifier = &qualifier
	}
	out, err := l.lambda.GetFunctionEventInvokeConfig(l.ctx, in)
	if err != nil {
		return "", err
	}
	if out.LastModified == nil || time.Since(*out.LastModified) > time.Minute {
		l.t.Errorf("modified %v", out.LastModified)
	}
	return asyncSet(out.MaximumRetryAttempts, out.MaximumEventAgeInSeconds, out.DestinationConfig), nil
}

// putAsync sets a configuration.
func (l *lambdaRig) putAsync(function string, change func(*awslambda.PutFunctionEventInvokeConfigInput)) (*awslambda.PutFunctionEventInvokeConfigOutput, error) {
	in := &awslambda.PutFunctionEventInvokeConfigInput{FunctionName: &function}
	change(in)
	return l.lambda.PutFunctionEventInvokeConfig(l.ctx, in)
}

func retriesOf(n int32) func(*awslambda.PutFunctionEventInvokeConfigInput) {
	return func(in *awslambda.PutFunctionEventInvokeConfigInput) { in.MaximumRetryAttempts = &n }
}

// failuresTo are destinations with one for failures.
func failuresTo(arn string) *types.DestinationConfig {
	return &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: &arn}}
}

// successesTo are destinations with one for successes.
func successesTo(arn string) *types.DestinationConfig {
	return &types.DestinationConfig{OnSuccess: &types.OnSuccess{Destination: &arn}}
}

// TestEventInvokeConfig makes, changes, lists and deletes the configurations of a function, a version and an alias.
func TestEventInvokeConfig(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("dead", 1)
	l.createFunction("f", guest{}, func(in *awslambda.CreateFunctionInput) { in.Publish = true })
	l.createFunction("after", guest{}, nil)
	ok(l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: aws.String("f"), Name: aws.String("live"), FunctionVersion: aws.String("1")}))(t)

	put := ok(l.putAsync("f", func(in *awslambda.PutFunctionEventInvokeConfigInput) {
		in.MaximumRetryAttempts, in.MaximumEventAgeInSeconds = aws.Int32(0), aws.Int32(60)
		in.DestinationConfig = &types.DestinationConfig{
			OnSuccess: &types.OnSuccess{Destination: aws.String(lambdaARN + "function:after")}, OnFailure: &types.OnFailure{Destination: aws.String(streamsAt + "dead")},
		}
	}))(t)
	all := "0 60 " + lambdaARN + "function:after " + streamsAt + "dead"
	if got := asyncSet(put.MaximumRetryAttempts, put.MaximumEventAgeInSeconds, put.DestinationConfig); got != all || *put.FunctionArn != lambdaARN+"function:f:$LATEST" {
		t.Errorf("put %s of %s", got, *put.FunctionArn)
	}
	for _, name := range []string{"f", "f:$LATEST", lambdaARN + "function:f"} {
		if got := ok(l.asyncConfig(name, ""))(t); got != all {
			t.Errorf("%s has %s", name, got)
		}
	}

	// An update leaves what it does not name; it can take destinations away one by one.
	update := func(in *awslambda.UpdateFunctionEventInvokeConfigInput) string {
		t.Helper()
		in.FunctionName = aws.String("f")
		out := ok(l.lambda.UpdateFunctionEventInvokeConfig(l.ctx, in))(t)
		set := asyncSet(out.MaximumRetryAttempts, out.MaximumEventAgeInSeconds, out.DestinationConfig)
		if got := ok(l.asyncConfig("f", ""))(t); got != set {
			t.Errorf("updated to %s, got %s", set, got)
		}
		return set
	}
	if got := update(&awslambda.UpdateFunctionEventInvokeConfigInput{MaximumRetryAttempts: aws.Int32(1)}); got != "1"+all[1:] {
		t.Errorf("updated to %s", got)
	}
	if got := update(&awslambda.UpdateFunctionEventInvokeConfigInput{DestinationConfig: successesTo("")}); got != "1 60 - "+streamsAt+"dead" {
		t.Errorf("updated to %s", got)
	}
	if got := update(&awslambda.UpdateFunctionEventInvokeConfigInput{DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{}}}); got != "1 60 - -" {
		t.Errorf("updated to %s", got)
	}
	// A put takes all away that it does not name.
	ok(l.putAsync("f", retriesOf(2)))(t)
	if got := ok(l.asyncConfig("f", ""))(t); got != "2 - - -" {
		t.Errorf("put over it: %s", got)
	}

	ok(l.putAsync("f:live", retriesOf(1)))(t)
	ok(l.putAsync("f", func(in *awslambda.PutFunctionEventInvokeConfigInput) {
		in.Qualifier, in.DestinationConfig = aws.String("1"), failuresTo(streamsAt+"dead")
	}))(t)
	for qualifier, want := range map[string]string{"": "2 - - -", "live": "1 - - -", "1": "- - - " + streamsAt + "dead"} {
		if got := ok(l.asyncConfig("f", qualifier))(t); got != want {
			t.Errorf("%q has %s, want %s", qualifier, got, want)
		}
	}
	l.listsAsync([]string{"$LATEST", "1", "live"}, 50)
	l.listsAsync([]string{"$LATEST", "1", "live"}, 2)
	l.forgetsAsync()
}

// listsAsync holds that the configurations of f are of these qualifiers, in pages.
func (l *lambdaRig) listsAsync(want []string, page int32) {
	l.t.Helper()
	var got []string
	pages := awslambda.NewListFunctionEventInvokeConfigsPaginator(l.lambda, &awslambda.ListFunctionEventInvokeConfigsInput{FunctionName: aws.String("f"), MaxItems: &page})
	for pages.HasMorePages() {
		out := ok(pages.NextPage(l.ctx))(l.t)
		if len(out.FunctionEventInvokeConfigs) > int(page) {
			l.t.Errorf("a page of %d", len(out.FunctionEventInvokeConfigs))
		}
		for _, c := range out.FunctionEventInvokeConfigs {
			got = append(got, strings.TrimPrefix(*c.FunctionArn, lambdaARN+"function:f:"))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		l.t.Errorf("listed (-want +got):\n%s", diff)
	}
}

// forgetsAsync deletes the configurations that TestEventInvokeConfig has made, each in another way.
func (l *lambdaRig) forgetsAsync() {
	l.t.Helper()
	none := func(function, qualifier, arn string) {
		l.t.Helper()
		_, err := l.asyncConfig(function, qualifier)
		refusedWith[*types.ResourceNotFoundException](l.t, err, 404, "The function "+lambdaARN+"function:"+arn+" doesn't have an EventInvokeConfig")
	}
	f := aws.String("f")
	remove := &awslambda.DeleteFunctionEventInvokeConfigInput{FunctionName: f}
	ok(l.lambda.DeleteFunctionEventInvokeConfig(l.ctx, remove))(l.t)
	none("f", "", "f:$LATEST")
	_, err := l.lambda.DeleteFunctionEventInvokeConfig(l.ctx, remove)
	refusedWith[*types.ResourceNotFoundException](l.t, err, 404, "The function "+lambdaARN+"function:f doesn't have an EventInvokeConfig")

	// What is made anew with the name of what was deleted has none.
	again := &awslambda.CreateAliasInput{FunctionName: f, Name: aws.String("live"), FunctionVersion: aws.String("1")}
	ok(l.lambda.DeleteAlias(l.ctx, &awslambda.DeleteAliasInput{FunctionName: f, Name: again.Name}))(l.t)
	ok(l.lambda.CreateAlias(l.ctx, again))(l.t)
	none("f", "live", "f:live")
	ok(l.putAsync("f:live", retriesOf(0)))(l.t)
	l.must(l.functions.DeleteAlias(l.ctx, "f", "live")) // natively
	l.listsAsync([]string{"1"}, 50)
	ok(l.putAsync("f", retriesOf(0)))(l.t)
	ok(l.lambda.CreateAlias(l.ctx, again))(l.t)
	none("f", "live", "f:live")

	ok(l.lambda.DeleteFunction(l.ctx, &awslambda.DeleteFunctionInput{FunctionName: f}))(l.t)
	none("f", "", "f:$LATEST")
	l.createFunction("f", guest{}, nil)
	none("f", "", "f:$LATEST")
	l.listsAsync(nil, 50)
	ok(l.putAsync("f", retriesOf(0)))(l.t)
	l.must(l.functions.Delete(l.ctx, "f")) // natively
	l.function("f", guest{})
	none("f", "", "f:$LATEST")
}

// TestEventInvokeRefusals has AWS's texts, as they were recorded, and our own where AWS has other destinations.
func TestEventInvokeRefusals(t *testing.T) {
	l := newLambdaRig(t)
	l.stream("dead", 1)
	l.function("f", guest{})
	type input = awslambda.PutFunctionEventInvokeConfigInput
	const (
		atLeast   = "You must specify at least one of error handling or destination setting."
		noneThere = "The function doesn't exist."
		provided  = "The provided destination config DestinationConfig("
		possible  = " must be the ARN of a stream (" + streamsAt + "NAME), of a function (" + lambdaARN + "function:NAME) or of a bucket (arn:aws:s3:::NAME), or an http, https or file URL."
		queue     = "arn:aws:sqs:us-east-1:000000000000:q"
	)
	for name, tt := range map[string]struct {
		function string
		change   func(*input)
		status   int
		message  string
	}{
		"nothing set":            {"f", func(*input) {}, 400, atLeast},
		"nothing set of nothing": {"none", func(*input) {}, 400, atLeast},
		"no function":            {"none", retriesOf(1), 404, noneThere},
		"no version":             {"f:2", retriesOf(1), 404, noneThere},
		"no alias":               {lambdaARN + "function:f:live", retriesOf(1), 404, noneThere},
		"two qualifiers": {"f:1", func(in *input) { in.Qualifier, in.MaximumRetryAttempts = aws.String("2"), aws.Int32(1) }, 400,
			"The derived qualifier from the function name does not match the specified qualifier."},
		"itself":           {"f", func(in *input) { in.DestinationConfig = successesTo(lambdaARN + "function:f") }, 400, "You can't specify the function as a destination for itself."},
		"no target":        {"f", func(in *input) { in.DestinationConfig = failuresTo(lambdaARN + "function:none") }, 400, "The destination ARN " + lambdaARN + "function:none is invalid."},
		"no version of it": {"f", func(in *input) { in.DestinationConfig = failuresTo(lambdaARN + "function:g:7") }, 400, "The destination ARN " + lambdaARN + "function:g:7 is invalid."},
		"a queue":          {"f", func(in *input) { in.DestinationConfig = failuresTo(queue) }, 400, provided + "onSuccess=null, onFailure=OnFailure(destination=" + queue + ")) is invalid: DestinationConfig.OnFailure" + possible},
		"another one":      {"f", func(in *input) { in.DestinationConfig = successesTo(queue) }, 400, provided + "onSuccess=OnSuccess(destination=" + queue + "), onFailure=null) is invalid: DestinationConfig.OnSuccess" + possible},
		"no stream": {"f", func(in *input) { in.DestinationConfig = failuresTo(streamsAt + "none") }, 400,
			provided + "onSuccess=null, onFailure=OnFailure(destination=" + streamsAt + `none)) is invalid: DestinationConfig.OnFailure is "stream:none"; it must be a stream that exists.`},
		"the waiting ones": {"f", func(in *input) { in.DestinationConfig = failuresTo(streamsAt + AsyncStream) }, 400,
			provided + "onSuccess=null, onFailure=OnFailure(destination=" + streamsAt + AsyncStream + ")) is invalid: DestinationConfig.OnFailure is the stream that invocations wait in."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := l.putAsync(tt.function, tt.change)
			if tt.status == http.StatusNotFound {
				refusedWith[*types.ResourceNotFoundException](t, err, tt.status, tt.message)
			} else {
				refusedWith[*types.InvalidParameterValueException](t, err, tt.status, tt.message)
			}
		})
	}
	f := aws.String("f")
	_, err := l.lambda.UpdateFunctionEventInvokeConfig(l.ctx, &awslambda.UpdateFunctionEventInvokeConfigInput{FunctionName: f, MaximumRetryAttempts: aws.Int32(1)})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "The function "+lambdaARN+"function:f:$LATEST doesn't have an EventInvokeConfig")
	_, err = l.lambda.UpdateFunctionEventInvokeConfig(l.ctx, &awslambda.UpdateFunctionEventInvokeConfigInput{FunctionName: f})
	refusedWith[*types.InvalidParameterValueException](t, err, 400, atLeast)
	_, err = l.lambda.ListFunctionEventInvokeConfigs(l.ctx, &awslambda.ListFunctionEventInvokeConfigsInput{FunctionName: aws.String("none")})
	refusedWith[*types.ResourceNotFoundException](t, err, 404, noneThere)
	_, err = l.asyncConfig("none", "")
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "The function "+lambdaARN+"function:none:$LATEST doesn't have an EventInvokeConfig")

	// Values out of the model's ranges.
	const path = "/2019-09-25/functions/f/event-invoke-config"
	for body, message := range map[string]string{
		`{"MaximumRetryAttempts":3}`:         "1 validation error detected: Value '3' at 'maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 2",
		`{"MaximumRetryAttempts":-1}`:        "1 validation error detected: Value '-1' at 'maximumRetryAttempts' failed to satisfy constraint: Member must have value greater than or equal to 0",
		`{"MaximumEventAgeInSeconds":59}`:    "1 validation error detected: Value '59' at 'maximumEventAgeInSeconds' failed to satisfy constraint: Member must have value greater than or equal to 60",
		`{"MaximumEventAgeInSeconds":21601}`: "1 validation error detected: Value '21601' at 'maximumEventAgeInSeconds' failed to satisfy constraint: Member must have value less than or equal to 21600",
	} {
		for _, method := range []string{"PUT", "POST"} {
			if status, header, got := l.post(method, path, body); status != 400 || got != `{"message":"`+message+`"}` || header.Get("x-amzn-ErrorType") != "ValidationException" {
				t.Errorf("%s %s: %d %s %s", method, body, status, header.Get("x-amzn-ErrorType"), got)
			}
		}
	}
	for body, code := range map[string]string{`{"MaximumRetryAttempts":"1"}`: "SerializationException", `{"DestinationConfig":[]}`: "SerializationException", `{`: "SerializationException", ``: "InvalidParameterValueException"} {
		if status, header, got := l.post("PUT", path, body); status != 400 || header.Get("x-amzn-ErrorType") != code {
			t.Errorf("%s: %d %s %s", body, status, header.Get("x-amzn-ErrorType"), got)
		}
	}
	if status, _, _ := l.post("GET", path+"/list?MaxItems=51", ""); status != 400 {
		t.Errorf("a page of 51 is answered %d", status)
	}
	if got, err := l.asyncConfig("f", ""); err == nil {
		t.Errorf("what was refused is kept: %s", got)
	}
}

// TestEventInvokeOutlivesTheHost has the configuration, and what it says of invocations that wait, after a restart.
func TestEventInvokeOutlivesTheHost(t *testing.T) {
	l := newLambdaRig(t)
	dead := l.stream("dead", 1)
	l.function("f", guest{fail: "no"})
	ok(l.putAsync("f", func(in *awslambda.PutFunctionEventInvokeConfigInput) {
		in.MaximumRetryAttempts, in.DestinationConfig = aws.Int32(0), failuresTo(streamsAt+dead)
	}))(t)
	l.handler.lambda.events.stop() // it waits
	l.invokeLater(`{"a":1}`)
	l.handler.Close()

	again := ok(New(Options{Streams: l.store, Settings: l.handler.settings, Functions: l.functions, Mappings: l.mappings, Destinations: streamDestinations{l.store}}))(t)
	defer again.Close()
	if d := l.document(dead); d.Request.Condition != conditionRetries || d.Request.Calls != 1 || string(d.RequestPayload) != `{"a":1}` {
		t.Errorf("document %+v", d)
	}
	r, _, err := readRecord(again.settings, "f")
	l.must(err)
	if a := r.Async[runtime.Latest]; *a.Retries != 0 || a.OnFailure != "stream:dead" || a.MaxAge != nil {
		t.Errorf("kept is %+v", a)
	}
}
