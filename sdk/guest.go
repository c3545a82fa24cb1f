package sdk

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// Guest is the guest's side of the ABI: it turns the bytes of a call into a call of a handler and that into
// the bytes of a reply. The exports of a function module are one Guest with the registered handlers; sdktest
// makes others. Function authors need neither. Calls come one at a time.
type Guest struct {
	handlers Handlers
	outside  Outside
	poisons  bool // what a handler was given is overwritten when it has returned
	input    []byte
	call     abi.CallView
	writer   abi.ReplyWriter

	// The names in the last call: an instance sees the same ones over and over.
	function, mapping, stream string
}

// NewGuest is a guest with those handlers.
func NewGuest(h Handlers) *Guest { return &Guest{handlers: h} }

// Kinds is the call kinds that there are handlers for, as shardmill_kinds returns them.
func (g *Guest) Kinds() (mask uint32) {
	if g.handlers.Batch != nil {
		mask |= abi.KindBatch.Mask()
	}
	if g.handlers.Invoke != nil {
		mask |= abi.KindInvoke.Mask()
	}
	if g.handlers.Window != nil {
		mask |= abi.KindWindowClose.Mask()
	}
	if g.handlers.Transform != nil {
		mask |= abi.KindTransform.Mask()
	}
	return mask
}

// inputUnit is what the input area's size is a multiple of: a page of WebAssembly memory.
const inputUnit = 64 << 10

// Input is the input area, of at least size bytes. It stays where it is until a larger one is asked for.
func (g *Guest) Input(size int) []byte {
	if size > len(g.input) || g.input == nil {
		g.input = nil // so that both need not fit in memory at once
		g.input = make([]byte, (size+size/4+inputUnit)/inputUnit*inputUnit)
	}
	return g.input
}

// Handle runs the handler for one call and returns the reply, which is valid until the next Handle. It always
// returns one: a handler's error or panic is in it.
func (g *Guest) Handle(kind abi.Kind, call []byte) []byte {
	g.writer.Reset()
	if g.poisons { // memory of its own, so that the next call does not come to the place of what this one's views were of
		call = bytes.Clone(call)
	}
	if err := g.call.Parse(call); err != nil {
		return g.writer.Fail(abi.FailureBadCall, "", err.Error(), "")
	}
	if g.call.Kind != kind {
		return g.writer.Fail(abi.FailureBadCall, "", fmt.Sprintf("a %s with the header of a %s", kind, g.call.Kind), "")
	}
	if g.Kinds()&kind.Mask() == 0 {
		return g.writer.Fail(abi.FailureUnsupported, "", fmt.Sprintf("the function has no handler for a %s", kind), "")
	}
	c := &callContext{call: g.facts(), outside: g.outside}
	c.setInvocation(g.call.Invocation)
	c.batch.call, c.batch.writer = &c.call, &g.writer
	if kind == abi.KindBatch || kind == abi.KindTransform {
		// The host has just made this batch, so its records are not walked once more to check them; were one
		// wrong, Go's own bounds checks stop the handler.
		batch := record.Batch(g.call.Body)
		if len(batch) < record.HeaderSize {
			return g.writer.Fail(abi.FailureBadCall, "", "the body is not a record batch", "")
		}
		c.batch.run = batch.Run()
	}
	if v := &g.call; v.WindowEnd != v.WindowStart {
		c.batch.window = Window{Start: time.UnixMicro(v.WindowStart), End: time.UnixMicro(v.WindowEnd), EndedEarly: v.Flags&abi.FlagWindowEnded != 0}
		c.batch.state = v.State
		if kind == abi.KindBatch {
			g.writer.SetState(v.State) // it stays, unless the handler sets another one
		}
	}
	reply := g.run(c)
	if reply == nil {
		var err error
		if reply, err = g.writer.Finish(); err != nil {
			reply = g.writer.Fail(abi.FailureError, fmt.Sprintf("%T", err), err.Error(), "")
		}
	}
	if g.poisons { // not before: the reply may have been made of views
		poison(call)
	}
	return reply
}

// run calls the handler; what it returns is the reply of a call that failed, or nil.
func (g *Guest) run(c *callContext) (failure []byte) {
	defer func() {
		mark(0)
		c.end()
		if v := recover(); v != nil {
			failure = g.writer.Fail(abi.FailurePanic, fmt.Sprintf("%T", v), fmt.Sprint(v), handlerStack(string(debug.Stack())))
		}
	}()
	err := g.dispatch(c)
	if err == nil {
		err = c.batch.err
	}
	if err != nil {
		return g.writer.Fail(abi.FailureError, fmt.Sprintf("%T", err), err.Error(), "")
	}
	return nil
}

func (g *Guest) dispatch(c *callContext) error {
	switch g.call.Kind {
	case abi.KindInvoke:
		out, err := g.handlers.Invoke(c, g.call.Body)
		g.writer.SetBody(out)
		return err
	case abi.KindWindowClose:
		return g.handlers.Window(c, &WindowEnd{&c.batch})
	case abi.KindTransform:
		return g.handlers.Transform(c, &Transform{&c.batch})
	}
	return g.handlers.Batch(c, &c.batch)
}

// facts copies out of the call what may outlive it.
func (g *Guest) facts() Call {
	v := &g.call
	f := Call{
		Function: same(&g.function, v.Function),
		Mapping:  same(&g.mapping, v.Mapping),
		Stream:   same(&g.stream, v.Stream),
		Version:  int(v.Version),
		Shard:    int(v.Shard),
		Attempt:  int(v.Attempt),
	}
	if v.Deadline != 0 {
		f.Deadline = time.UnixMicro(v.Deadline)
	}
	return f
}

// same is b as a string: the last one again when it is the same.
func same(last *string, b []byte) string {
	if *last != string(b) {
		*last = string(b)
	}
	return *last
}

// handlerStack is the part of a goroutine's stack between the panic and this package's call of the handler.
func handlerStack(stack string) string {
	if _, below, ok := strings.Cut(stack, "\npanic("); ok {
		_, below, _ = strings.Cut(below, "\n") // the rest of that line
		_, below, _ = strings.Cut(below, "\n") // and where panic is
		stack = below
	}
	stack, _, _ = strings.Cut(stack, "github.com/shardmill/shardmill/sdk.(*Guest).dispatch(")
	return strings.TrimSpace(stack)
}

// Emit adds a record to be put to a stream when the handler has returned nil; it is Batch.Emit for handlers
// of direct invocations. ctx must be the handler's, or come from it; any other panics.
func Emit(ctx context.Context, stream, key string, data []byte) {
	callOf(ctx, "Emit").batch.Emit(stream, key, data)
}
