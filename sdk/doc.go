// Package sdk is what the author of a Shardmill function imports. A function, whole:
//
//	package main
//
//	import (
//		"context"
//
//		"github.com/shardmill/shardmill/sdk"
//	)
//
//	func init() { sdk.OnBatch(handle) }
//
//	func main() {}
//
//	func handle(ctx context.Context, b *sdk.Batch) error {
//		for i, r := range b.All() {
//			if len(r.Data) == 0 {
//				b.Reject(i, "no data")
//				continue
//			}
//			b.Emit("copies", string(r.Key), r.Data)
//		}
//		return nil
//	}
//
// `shardmill function build DIR -o FILE.wasm` compiles it; that is go build for GOOS=wasip1 GOARCH=wasm with
// -buildmode=c-shared. The same handler runs under go test, without WebAssembly, through package sdktest.
//
// # What a handler says
//
// Of each record: nothing (it is ok), or [Batch.Drop], [Batch.Retry], [Batch.Reject]. Of the whole call: nil, or an
// error, which fails all of it: nothing that it emitted is put and the batch is delivered again, as the
// mapping's retry policy says. What a call that went well emitted is put before the mapping's checkpoint
// moves. Delivery is at least once, so a handler may see a record again; [Call].Attempt counts the tries.
//
// A panic is an error with the stack; the host then replaces the instance. Running past the deadline, exhausting
// the memory limit and os.Exit end the instance too.
//
// # Windows
//
// With a tumbling window a mapping hands over, with each batch, the window that its records are in and a state; what the handler sets with
// [Batch.SetState] comes with the window's next batch, and to the handler that [OnWindow] registers when the window is over. The host saves the state together
// with the mapping's checkpoint, so that a crash loses and repeats neither.
//
// # Transforms
//
// Records on their way to a destination are handed to the handler that [OnTransform] registers. Of each it says nothing (the record goes on as it is), or
// [Transform.Replace], [Transform.Drop], [Transform.Reject]. `shardmill function invoke NAME --transform` calls it with the lines of a file.
//
// # What is valid when
//
//	Batch, WindowEnd, Transform, their views until the handler returns; then copy with bytes.Clone before you keep it
//	the input of an InvokeHandler until the handler returns
//	what is given to Emit         copied at once; reuse it freely
//	what an InvokeHandler returns copied when it returns
//	Call                          for ever
//	package variables             as long as the instance: they outlive the call, but any call may be served by a
//	                              new instance, so they are a cache and not state
//
// A view that was kept shows, without an error, whatever the next call brings to its place. With the environment variable SHARDMILL_POISON=1 each call has
// memory of its own, which is overwritten with 0xDB when the handler has returned, so that such a view has no sense from then on; `shardmill dev` sets it, and package sdktest does so always.
//
// One instance serves one call at a time. A handler may use goroutines, but not on its Batch, and should wait for
// them: between calls an instance does not run.
//
// # Costs
//
// Iterating and emitting allocate nothing per record: inputs are views, and output memory is kept from call to
// call. A call costs one small allocation, its context.
//
// # Logs
//
// What a function prints is its log, line by line. [NewLogHandler] gives slog lines whose level the host knows.
//
// # The outside
//
// A function reaches nothing but what its configuration grants: streams ([Batch.Emit]), secrets ([Secret]), state tables ([State]), HTTP servers ([Fetch]), and environment variables
// (os.Getenv). What is not granted fails with [ErrDenied]; a module that can never be granted what it imports is refused at upload.
//
// # Non-goals
//
// No decoding of data: a record's data is bytes, use the library you like. No Lambda event types: they are package lambda's.
//
// The bytes on the wire between host and function are in abi.md and package abi.
package sdk
