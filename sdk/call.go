package sdk

import (
	"context"
	"sync/atomic"
	"time"
	"unsafe"
)

// Call is the facts of one call. Fields that do not apply (the stream of a direct invocation) are zero.
type Call struct {
	Function   string
	Version    int    // of the function, from 1
	Invocation string // identifies this call in the logs
	Mapping    string // the event source mapping
	Stream     string
	Shard      int
	Attempt    int       // 1 for the first delivery of a batch
	Deadline   time.Time // the host stops the function then; zero: never
}

// FromContext is the call that ctx belongs to; the zero Call when it belongs to none.
func FromContext(ctx context.Context) *Call {
	if c, ok := ctx.Value(callKey{}).(*callContext); ok {
		return &c.call
	}
	return new(Call)
}

type callKey struct{}

// callContext is the context of one call. Most handlers never wait on Done, and a timer for each call costs more
// than a small batch: the context that can be waited on is made when it is first asked for.
type callContext struct {
	call    Call
	batch   Batch
	outside Outside  // under go test
	id      [32]byte // what call.Invocation views when it fits; written once

	ended  atomic.Bool // the handler has returned
	waiter atomic.Pointer[waiter]
}

type waiter struct {
	context.Context
	cancel context.CancelFunc
}

func (c *callContext) Deadline() (time.Time, bool) { return c.call.Deadline, !c.call.Deadline.IsZero() }

func (c *callContext) Done() <-chan struct{} {
	if w := c.waiter.Load(); w != nil {
		return w.Done()
	}
	w := new(waiter)
	if c.call.Deadline.IsZero() {
		w.Context, w.cancel = context.WithCancel(context.Background())
	} else {
		w.Context, w.cancel = context.WithDeadline(context.Background(), c.call.Deadline)
	}
	if !c.waiter.CompareAndSwap(nil, w) {
		w.cancel()
		w = c.waiter.Load()
	}
	if c.ended.Load() { // end either sees the waiter or has been here before
		w.cancel()
	}
	return w.Done()
}

func (c *callContext) Err() error {
	if w := c.waiter.Load(); w != nil {
		return w.Err()
	}
	if c.ended.Load() {
		return context.Canceled
	}
	if !c.call.Deadline.IsZero() && !time.Now().Before(c.call.Deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return nil
}

// end is called when the handler has returned: whoever still waits is released.
func (c *callContext) end() {
	c.batch.writer = nil
	c.ended.Store(true)
	if w := c.waiter.Load(); w != nil {
		w.cancel()
	}
}

// setInvocation copies the id into the context itself, which is never used for another call.
func (c *callContext) setInvocation(id []byte) {
	if len(id) > len(c.id) {
		c.call.Invocation = string(id)
		return
	}
	c.call.Invocation = unsafe.String(&c.id[0], copy(c.id[:], id))
}
