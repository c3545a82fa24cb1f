package aws

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/abi"
)

// TestInvoke calls functions that answer, fail and trap.
func TestInvoke(t *testing.T) {
	l := newLambdaRig(t)
	l.createFunction("good", guest{body: `{"n":1}`, prints: "it printed"}, nil)
	l.createFunction("nothing", guest{}, nil)
	l.createFunction("bad", guest{fail: "it failed"}, nil)
	l.createFunction("trap", guest{traps: true}, nil)
	l.createFunction("batches", guest{kinds: abi.KindBatch.Mask()}, nil)
	call := func(name string, change func(*awslambda.InvokeInput)) (*awslambda.InvokeOutput, error) {
		in := &awslambda.InvokeInput{FunctionName: &name, Payload: []byte(`{"a":1}`)}
		if change != nil {
			change(in)
		}
		return l.lambda.Invoke(l.ctx, in)
	}
	out := ok(call("good", func(in *awslambda.InvokeInput) { in.LogType = types.LogTypeTail }))(t)
	if out.StatusCode != 200 || string(out.Payload) != `{"n":1}` || out.FunctionError != nil || *out.ExecutedVersion != "$LATEST" {
		t.Errorf("%+v: %s", out, out.Payload)
	}
	log := string(ok(base64.StdEncoding.DecodeString(*out.LogResult))(t))
	for _, part := range []string{"START RequestId: ", "Version: $LATEST\nit printed\nEND RequestId: ", "REPORT RequestId: ", "Duration: "} {
		if !strings.Contains(log, part) {
			t.Errorf("the log has no %q:\n%s", part, log)
		}
	}
	if out := ok(call("nothing", nil))(t); string(out.Payload) != "null" || out.LogResult != nil {
		t.Errorf("an empty answer is %s", out.Payload)
	}
	if out := ok(call("bad", nil))(t); out.StatusCode != 200 || *out.FunctionError != "Unhandled" || string(out.Payload) != `{"errorMessage":"it failed","errorType":"errorString"}` {
		t.Errorf("%s %s", *out.FunctionError, out.Payload)
	}
	if out := ok(call("trap", func(in *awslambda.InvokeInput) { in.LogType = types.LogTypeTail }))(t); *out.FunctionError != "Unhandled" || !strings.Contains(string(out.Payload), `"errorType":"Runtime.trap"`) || !strings.Contains(string(out.Payload), "unreachable") {
		t.Errorf("%s", out.Payload)
	}

	// Versions and aliases.
	ok(l.lambda.CreateAlias(l.ctx, &awslambda.CreateAliasInput{FunctionName: aws.String("good"), Name: aws.String("live"), FunctionVersion: aws.String("1")}))(t)
	ok(l.lambda.UpdateFunctionCode(l.ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: aws.String("good"), ZipFile: guest{body: `2`}.module()}))(t)
	l.updated("good")
	for qualifier, want := range map[string]string{"": "2 $LATEST", "$LATEST": "2 $LATEST", "1": `{"n":1} 1`, "live": `{"n":1} 1`, "2": "2 2"} {
		out := ok(call("good", func(in *awslambda.InvokeInput) {
			if in.Qualifier = &qualifier; qualifier == "" {
				in.Qualifier = nil
			}
		}))(t)
		if got := string(out.Payload) + " " + *out.ExecutedVersion; got != want {
			t.Errorf("%q: %s, want %s", qualifier, got, want)
		}
	}

	if out := ok(call("good", func(in *awslambda.InvokeInput) { in.InvocationType = types.InvocationTypeDryRun }))(t); out.StatusCode != 204 || len(out.Payload) != 0 {
		t.Errorf("a dry run: %d %s", out.StatusCode, out.Payload)
	}
	_, err := call("none", nil)
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Function not found: "+lambdaARN+"function:none")
	_, err = call("good:9", nil)
	refusedWith[*types.ResourceNotFoundException](t, err, 404, "Function not found: "+lambdaARN+"function:good:9")
	_, err = call("batches", nil)
	refusedWith[*types.InvalidParameterValueException](t, err, 400, "The function does not handle direct invocations.")
	_, err = call("good", func(in *awslambda.InvokeInput) { in.Payload = make([]byte, 6291457) })
	refusedWith[*types.RequestTooLargeException](t, err, 413, "Request must be smaller than 6291456 bytes for the InvokeFunction operation")
	_, err = call("good", func(in *awslambda.InvokeInput) {
		in.InvocationType, in.Payload = types.InvocationTypeEvent, make([]byte, 1<<20+1)
	})
	refusedWith[*types.RequestTooLargeException](t, err, 413, "Request must be smaller than 1048576 bytes for the InvokeFunction operation")
	_, err = call("good", func(in *awslambda.InvokeInput) { in.LogType = "All" })
	refused(t, err, "ValidationException", "1 validation error detected: Value 'All' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: [None, Tail]")
	_, err = call("good", func(in *awslambda.InvokeInput) { in.InvocationType = "Soon" })
	refused(t, err, codeValidation, "")
}

// TestInvokeEmptyPayload gives a function an empty object where the caller gave nothing, as Lambda does.
func TestInvokeEmptyPayload(t *testing.T) {
	var got runtime.Call
	c := invokeRig(t, func(call runtime.Call, reply *runtime.Reply) error {
		got = call
		reply.Body = []byte("x")
		return nil
	})
	if status, _, body := c("RequestResponse", ""); status != 200 || body != "x" || string(got.Body) != "{}" || got.ID == "" {
		t.Errorf("%d %s, called with %+v", status, body, got)
	}
}

// TestFailures has every way in which a function fails in Lambda's words.
func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		failed     runtime.FunctionError
		typ, parts string
	}{
		{runtime.FunctionError{Kind: runtime.FailError, Type: "*main.badThing[int]", Message: "bad", Stack: "main.f\nmain.g"}, "badThing[int]", `"errorMessage":"bad"`},
		{runtime.FunctionError{Kind: runtime.FailTimeout, Invocation: "i-1"}, "Sandbox.Timedout", `RequestId: i-1 Error: Task timed out after 3.00 seconds`},
		{runtime.FunctionError{Kind: runtime.FailExit, Invocation: "i-1", ExitCode: 2}, "Runtime.ExitError", `RequestId: i-1 Error: Runtime exited with error: exit status 2`},
		{runtime.FunctionError{Kind: runtime.FailMemory, Message: "too much"}, "Runtime.OutOfMemory", `too much`},
		{runtime.FunctionError{Kind: runtime.FailMalformed, Message: "odd"}, "Runtime.malformed_reply", `odd`},
		{runtime.FunctionError{Kind: runtime.FailDenied, Message: "no"}, "Runtime.denied", `no`},
	} {
		c := invokeRig(t, func(_ runtime.Call, reply *runtime.Reply) error {
			return errors.Join(&tt.failed)
		})
		status, header, body := c("RequestResponse", "{}")
		if status != 200 || header.Get("X-Amz-Function-Error") != "Unhandled" || !strings.Contains(body, `"errorType":"`+tt.typ+`"`) || !strings.Contains(body, tt.parts) {
			t.Errorf("%s: %d %v %s", tt.failed.Kind, status, header, body)
		}
	}
	for _, tt := range []struct {
		err    error
		status int
		code   string
	}{
		{runtime.ErrThrottled, 429, "TooManyRequestsException"}, {runtime.ErrUnavailable, 500, codeService}, {runtime.ErrEmit, 500, codeService}, {errors.New("odd"), 500, codeService},
		{runtime.ErrNotFound, 404, codeNotFound}, {runtime.ErrUnsupported, 400, codeParameter},
	} {
		c := invokeRig(t, func(runtime.Call, *runtime.Reply) error { return tt.err })
		if status, header, body := c("", "{}"); status != tt.status || header.Get("x-amzn-ErrorType") != tt.code || strings.Contains(body, "odd") {
			t.Errorf("%v: %d %s %s", tt.err, status, header.Get("x-amzn-ErrorType"), body)
		}
	}
	c := invokeRig(t, func(_ runtime.Call, reply *runtime.Reply) error {
		reply.Body = make([]byte, maxPayload+1)
		return nil
	})
	if _, header, body := c("", "{}"); header.Get("X-Amz-Function-Error") != "Unhandled" || !strings.Contains(body, "Function.ResponseSizeTooLarge") {
		t.Errorf("%v %.200s", header, body)
	}
}

// stubFunctions is a runtime with one function, called f.
type stubFunctions struct {
	Functions
	invoke func(runtime.Call, *runtime.Reply) error
	wait   func(context.Context, runtime.Call) error // in the place of invoke
	deploy error                                     // of Submit and Configure
}

func (s stubFunctions) Submit(context.Context, string, []byte, runtime.Config, runtime.Proof) (runtime.Function, error) {
	return runtime.Function{}, s.deploy
}

func (s stubFunctions) Configure(context.Context, string, int, runtime.Config) (runtime.Function, error) {
	return runtime.Function{}, s.deploy
}

func (s stubFunctions) Get(string) (runtime.Function, error) {
	return runtime.Function{Name: "f", VersionDetail: runtime.VersionDetail{Version: 1, Kinds: runtime.AllKinds, Config: runtime.Config{Timeout: 3 * time.Second}}}, nil
}

func (s stubFunctions) Invoke(ctx context.Context, call runtime.Call, reply *runtime.Reply) error {
	if s.wait != nil {
		return s.wait(ctx, call)
	}
	return s.invoke(call, reply)
}

// invokeRig is a surface before a function that does what it is told.
func invokeRig(t *testing.T, invoke func(runtime.Call, *runtime.Reply) error) func(kind, payload string) (int, http.Header, string) {
	t.Helper()
	l := newLambdaRig(t)
	l.handler.lambda.functions = stubFunctions{invoke: invoke}
	return func(kind, payload string) (int, http.Header, string) {
		request, err := http.NewRequestWithContext(l.ctx, http.MethodPost, l.url+"/2015-03-31/functions/f/invocations", strings.NewReader(payload))
		l.must(err)
		request.Header.Set("X-Amz-Invocation-Type", kind)
		response, err := http.DefaultClient.Do(request)
		l.must(err)
		defer response.Body.Close()
		defer http.DefaultClient.CloseIdleConnections()
		b, err := io.ReadAll(response.Body)
		l.must(err)
		return response.StatusCode, response.Header, string(b)
	}
}
