// Package sdktest runs the handlers of a function under go test, without WebAssembly and without a host.
//
//	func TestHandle(t *testing.T) {
//		got := sdktest.Batch(t, handle, sdk.Record{Key: []byte("k"), Data: []byte("v")})
//		…
//	}
//
// The handler gets its records, and its outcomes and outputs come back, as the same bytes through the same codec
// as in a host. So a test sees what a host would: a panic is a [Failure] and not the end of the test, limits
// apply, and the memory of the input is overwritten as soon as the handler has returned, which shows a handler that
// keeps views too long.
//
// What the handler reaches of the outside is in the fields of [Call]: what is not there is denied.
//
// It does not emulate what a host does with the result: retries, checkpoints, grants, limits of memory and time.
package sdktest
