package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/shardmill/shardmill/sdk"
)

// Start takes the function's handler, one of the forms of the package's documentation. It does not return. A handler of another form
// answers every call with an error that says so.
func Start(handler any) { StartWithOptions(handler) }

// StartWithContext is Start with the option WithContext.
func StartWithContext(ctx context.Context, handler any) { StartWithOptions(handler, WithContext(ctx)) }

// StartHandler is Start for a Handler.
func StartHandler(handler Handler) { StartWithOptions(handler) }

// StartHandlerWithContext is StartHandler with the option WithContext.
func StartHandlerWithContext(ctx context.Context, handler Handler) {
	StartWithOptions(handler, WithContext(ctx))
}

// HandlerFunc is a handler whose form the compiler checks.
type HandlerFunc[TIn, TOut any] interface {
	func(context.Context, TIn) (TOut, error)
}

// StartHandlerFunc is StartWithOptions for a handler whose form the compiler checks.
func StartHandlerFunc[TIn, TOut any, H HandlerFunc[TIn, TOut]](handler H, options ...Option) {
	StartWithOptions(handler, options...)
}

// StartWithOptions is Start with options.
func StartWithOptions(handler any, options ...Option) {
	h := NewHandlerWithOptions(handler, options...)
	if started == nil {
		os.Exit(command(context.Background(), h, os.Stdin, os.Stdout, os.Stderr))
	}
	started <- h
	select {} // main has nothing more to do; what it deferred is to stay undone
}

// started takes the handler when main runs inside a function; nil in a program that runs by itself.
var started chan Handler

// Request is the facts of a call that aws-lambda-go's lambdacontext shows.
type Request struct {
	ID       string // of the invocation
	Function string
	Version  string
}

// Main runs a program's main until it calls Start, and registers the handler. It is called by the init that `shardmill function build`
// adds, and by nothing else. with, unless it is nil, adds to the context of every call. It panics when main returns.
func Main(main func(), with func(context.Context, Request) context.Context) {
	started = make(chan Handler)
	returned := make(chan struct{})
	go func() {
		main()
		close(returned)
	}()
	select {
	case h := <-started:
		sdk.OnInvoke(invoker(h, with))
	case <-returned:
		panic("lambda: main has returned and did not call lambda.Start")
	}
}

// invoker is a handler as package sdk takes it.
func invoker(h Handler, with func(context.Context, Request) context.Context) sdk.InvokeHandler {
	var garbage collector
	return func(ctx context.Context, in []byte) ([]byte, error) {
		defer garbage.called(len(in))
		if with != nil {
			call := sdk.FromContext(ctx)
			ctx = with(ctx, Request{ID: call.Invocation, Function: call.Function, Version: fmt.Sprint(call.Version)})
		}
		return h.Invoke(ctx, in)
	}
}

// failure is an error as Lambda answers it.
type failure struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
}

// command does one call from stdin to stdout and returns the exit status.
func command(ctx context.Context, h Handler, stdin io.Reader, stdout, stderr io.Writer) int {
	in, err := io.ReadAll(stdin)
	if err == nil {
		var out []byte
		if out, err = h.Invoke(ctx, in); err == nil {
			_, err = stdout.Write(out)
		}
	}
	if err == nil {
		return 0
	}
	b, _ := json.Marshal(failure{Message: err.Error(), Type: typeName(err)}) // two strings
	fmt.Fprintf(stderr, "%s\n", b)
	return 1
}

// typeName is the name of an error's type, without its package, as Lambda has it.
func typeName(err error) string {
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}
