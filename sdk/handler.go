package sdk

import "context"

// BatchHandler handles records of one shard of a stream. The batch, and all views into it, are valid until it
// returns. An error fails the whole batch: nothing it emitted is put, and the mapping delivers the batch again.
type BatchHandler func(ctx context.Context, b *Batch) error

// InvokeHandler answers a direct invocation. in is valid until it returns; the result is copied at once.
type InvokeHandler func(ctx context.Context, in []byte) ([]byte, error)

// TransformHandler makes of records on their way to a destination what is to be stored there. The transform, and all views into it, are
// valid until it returns. An error fails all of it: the host calls the handler again with the same records, as the delivery stream's retry policy says.
type TransformHandler func(ctx context.Context, t *Transform) error

// Handlers is what a function can do. Nil ones are call kinds that it does not handle.
type Handlers struct {
	Batch     BatchHandler
	Invoke    InvokeHandler
	Window    WindowHandler
	Transform TransformHandler
}

var registered Handlers

// OnBatch registers the function's handler of stream batches. Call it from init, once; a second call panics.
func OnBatch(h BatchHandler) {
	if h == nil || registered.Batch != nil {
		panic("sdk: OnBatch needs a handler, and only one")
	}
	registered.Batch = h
}

// OnInvoke registers the function's handler of direct invocations. Call it from init, once; a second call
// panics.
func OnInvoke(h InvokeHandler) {
	if h == nil || registered.Invoke != nil {
		panic("sdk: OnInvoke needs a handler, and only one")
	}
	registered.Invoke = h
}
