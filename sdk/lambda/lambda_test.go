package lambda

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/sdktest"
)

// TestMainRunsUntilStart has main go on no further than Start, and the handler registered with package sdk. Handlers are registered
// once in a program, so all of it is one test.
func TestMainRunsUntilStart(t *testing.T) {
	func() {
		defer func() {
			if v := recover(); v != "lambda: main has returned and did not call lambda.Start" {
				t.Errorf("a main without Start: %v", v)
			}
		}()
		Main(func() {}, nil)
	}()

	for _, start := range []func(){
		func() { Start(custom{}) },
		func() { StartHandler(custom{}) },
		func() { StartWithContext(t.Context(), custom{}) },
		func() { StartHandlerWithContext(t.Context(), custom{}) },
		func() {
			StartHandlerFunc(func(_ context.Context, s string) (string, error) { return "got " + s, nil })
		},
	} {
		started = make(chan Handler)
		after := make(chan struct{})
		go func() {
			start() // this goroutine stays: Start never returns
			close(after)
		}()
		if out, err := (<-started).Invoke(t.Context(), []byte(`"x"`)); err != nil || !strings.Contains(string(out), "got ") {
			t.Errorf("%s, %v", out, err)
		}
		select {
		case <-after:
			t.Error("Start has returned")
		default:
		}
	}

	Main(func() { Start(custom{}) }, nil)
	defer func() {
		if recover() == nil {
			t.Error("no handler is registered")
		}
	}()
	sdk.OnInvoke(custom{}.Invoke)
}

// TestInvoker has the handler see the call, as sdk and as lambdacontext show it.
func TestInvoker(t *testing.T) {
	var seen Request
	with := func(ctx context.Context, r Request) context.Context {
		seen = r
		return context.WithValue(ctx, key("with"), r.ID)
	}
	deadline := time.Now().Add(time.Hour)
	h := NewHandler(func(ctx context.Context) (any, error) {
		end, ok := ctx.Deadline()
		return []any{ctx.Value(key("with")), sdk.FromContext(ctx).Function, ok && end.After(time.Now())}, nil
	})
	call := sdktest.Call{Function: "f", Version: 7, Invocation: "i-1", Deadline: deadline}
	out, err := call.Invoke(t, invoker(h, with), nil)
	if err != nil || string(out) != `["i-1","f",true]` || seen != (Request{ID: "i-1", Function: "f", Version: "7"}) {
		t.Errorf("%s, %v, %+v", out, err, seen)
	}
	if _, err := sdktest.Invoke(t, invoker(NewHandler(func() error { panic("!") }), nil), nil); err == nil || !strings.Contains(err.Error(), "panic: !") {
		t.Errorf("a panic is %v", err)
	}
}

// TestCommand does one call by standard input and output.
func TestCommand(t *testing.T) {
	for _, tt := range []struct {
		handler   any
		in        io.Reader
		out, errs string
		status    int
	}{
		{custom{}, strings.NewReader("x"), "got x", "", 0},
		{func() error { return oddError{} }, strings.NewReader("x"), "", `{"errorMessage":"odd","errorType":"oddError"}` + "\n", 1},
		{func() error { return errors.New(`a "b"`) }, strings.NewReader("x"), "", `{"errorMessage":"a \"b\"","errorType":"errorString"}` + "\n", 1},
		{custom{}, iotest.ErrReader(errors.New("broken")), "", `{"errorMessage":"broken","errorType":"errorString"}` + "\n", 1},
	} {
		var out, errs bytes.Buffer
		status := command(t.Context(), NewHandler(tt.handler), tt.in, &out, &errs)
		if out.String() != tt.out || errs.String() != tt.errs || status != tt.status {
			t.Errorf("%q, %q, %d, want %q, %q, %d", out.String(), errs.String(), status, tt.out, tt.errs, tt.status)
		}
	}
}

// TestValues has a call's own values go before the base's.
func TestValues(t *testing.T) {
	call := context.WithValue(t.Context(), key("a"), 1)
	base := context.WithValue(context.WithValue(t.Context(), key("a"), 2), key("b"), 3)
	c := callContext{call, base}
	if c.Value(key("a")) != 1 || c.Value(key("b")) != 3 || c.Value(key("c")) != nil {
		t.Errorf("%v, %v", c.Value(key("a")), c.Value(key("b")))
	}
}
