// Package lambda runs handlers that were written for AWS Lambda: programs that import github.com/aws/aws-lambda-go/lambda become Shardmill
// functions when they import this package instead. Nothing else of them changes; the event types stay those of
// github.com/aws/aws-lambda-go/events.
//
//	package main
//
//	import (
//		"context"
//
//		"github.com/aws/aws-lambda-go/events"
//		"github.com/shardmill/shardmill/sdk/lambda"
//	)
//
//	func main() { lambda.Start(handle) }
//
//	func handle(ctx context.Context, e events.KinesisEvent) (events.KinesisEventResponse, error) { … }
//
// [Start] takes the handlers that Lambda's takes:
//
//	func ()                  func () error                  func () (TOut, error)
//	func (TIn)               func (TIn) error               func (TIn) (TOut, error)
//	func (context.Context)   func (context.Context) error   func (context.Context) (TOut, error)
//	func (context.Context, TIn)   func (context.Context, TIn) error   func (context.Context, TIn) (TOut, error)
//
// where TIn and TOut are what encoding/json takes, and TOut may be an io.Reader; or a [Handler].
//
// # Where main runs
//
// A function is a library to the host, and nobody calls the main of a library. `shardmill function build`, `function deploy` and `dev` see
// that a program imports this package, and have the compiler read one file more beside its own (go build -overlay; nothing is written to
// the folder), whose init calls [Main] with the program's main. So main runs while an instance is made, after all other inits, within the
// function's timeout, and [Start] in it says what is to be called. As on AWS it never returns: what main has deferred is never done.
//
// Run by itself, as `go run .` or as a WASI command, a program reads one event from its standard input and writes the
// answer to its standard output; an error goes to standard error as Lambda's errorMessage and errorType, with exit status 1.
//
// # Calls
//
// A function of this package handles direct invocations. A mapping that finds so hands over its batches as Lambda's Kinesis event
// and reads the answer as Lambda does.
//
// The context has the deadline of the call; [sdk.FromContext] has its facts, and so has the LambdaContext of aws-lambda-go's lambdacontext
// in programs that import it, AwsRequestID being the invocation and InvokedFunctionArn the function's name. Clients
// and identities are not there, and of the environment variables only the function's own.
//
// # Costs
//
// The events of Kinesis are read as the host writes them, without encoding/json; a handler may keep what it finds in them, and keeps with the data
// of a record that of at most 15 others, 16 KiB together.
//
// Still, JSON and base64 inside WebAssembly take nearly all of the time: the handlers of package sdk, which get records as they are stored, run
// many times as many. A batch handler and a Lambda handler can share the rest of a program.
package lambda
