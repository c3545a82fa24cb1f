package sdktest

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// Call is the facts that the handler is to see. The zero value serves: function "test" in version 1, first
// attempt, no deadline.
type Call struct {
	Function   string
	Version    int
	Invocation string
	Mapping    string
	Stream     string
	Shard      int
	Attempt    int
	Deadline   time.Time // passed on; the handler is not stopped

	Window sdk.Window // the tumbling window; zero = none
	State  []byte     // of the window so far

	Secrets map[string]string // granted, by name; others are denied
	// Fetch answers the handler's HTTP requests; nil denies them.
	Fetch  func(*sdk.Request) (*sdk.Response, error)
	Tables Tables // granted state tables; others are denied. A call that succeeds changes it
}

// Outcome is what became of one record.
type Outcome struct {
	Result abi.Result // abi.ResultOK, ResultDropped, ResultRetry or ResultRejected
	Reason string
}

// Result is what a batch came to.
type Result struct {
	Outcomes []Outcome               // one for each record; empty when Err is not nil
	Emitted  map[string][]sdk.Record // by stream, in order; copies
	State    []byte                  // of the window after the call; a copy
	Err      *Failure                // nil when the handler returned nil
}

// Failure is a call that failed inside the function, as the host sees it.
type Failure struct {
	Kind    abi.FailureKind
	Type    string // Go type of the error, or of the panic's value
	Message string
	Stack   string // of a panic
}

// Error is kind and message.
func (f *Failure) Error() string { return f.Kind.String() + ": " + f.Message }

// Batch runs a batch handler on records. Records without a sequence number are given 1, 2, 3 and so on. What
// only a broken SDK can cause fails the test.
func Batch(t testing.TB, handler sdk.BatchHandler, records ...sdk.Record) *Result {
	t.Helper()
	return Call{}.Batch(t, handler, records...)
}

// Invoke runs an invoke handler; its error, or panic, is a *Failure.
func Invoke(t testing.TB, handler sdk.InvokeHandler, in []byte) ([]byte, error) {
	t.Helper()
	return Call{}.Invoke(t, handler, in)
}

// Batch is the function Batch with the facts of c.
func (c Call) Batch(t testing.TB, handler sdk.BatchHandler, records ...sdk.Record) *Result {
	t.Helper()
	var reply abi.Reply
	c.handle(t, sdk.Handlers{Batch: handler}, abi.KindBatch, encode(t, records), len(records), &reply)
	res := &Result{Emitted: emitted(&reply), State: bytes.Clone(reply.State()), Err: failure(&reply)}
	if res.Err == nil {
		res.Outcomes = outcomes(&reply, len(records))
	}
	return res
}

func encode(t testing.TB, records []sdk.Record) []byte {
	t.Helper()
	var batch record.Builder
	for i, r := range records {
		if r.Sequence == 0 {
			r.Sequence = uint64(i) + 1
		}
		if err := batch.Append(r); err != nil {
			t.Fatalf("sdktest: record %d: %v", i, err)
		}
	}
	return batch.Finish()
}

// outcomes has one for each of n records.
func outcomes(reply *abi.Reply, n int) []Outcome {
	list := make([]Outcome, n)
	for o := range reply.Outcomes() {
		list[o.Index] = Outcome{o.Result, string(o.Reason)}
	}
	return list
}

// Invoke is the function Invoke with the facts of c.
func (c Call) Invoke(t testing.TB, handler sdk.InvokeHandler, in []byte) ([]byte, error) {
	t.Helper()
	a := c.Answer(t, handler, in)
	if a.Err != nil {
		return nil, a.Err
	}
	return a.Body, nil
}

// WindowEnd runs a handler of the end of the window c.Window with c.State.
func (c Call) WindowEnd(t testing.TB, handler sdk.WindowHandler) *Result {
	t.Helper()
	var reply abi.Reply
	c.handle(t, sdk.Handlers{Window: handler}, abi.KindWindowClose, nil, 0, &reply)
	return &Result{Emitted: emitted(&reply), Err: failure(&reply)}
}

// Answer is what a direct invocation came to.
type Answer struct {
	Body    []byte
	Emitted map[string][]sdk.Record // by stream, in order; copies
	Err     *Failure                // nil when the handler returned nil
}

// Answer runs an invoke handler, and has what it emitted too.
func (c Call) Answer(t testing.TB, handler sdk.InvokeHandler, in []byte) *Answer {
	t.Helper()
	var reply abi.Reply
	c.handle(t, sdk.Handlers{Invoke: handler}, abi.KindInvoke, in, 0, &reply)
	return &Answer{Body: bytes.Clone(reply.Body()), Emitted: emitted(&reply), Err: failure(&reply)}
}

// handle does what a host does: it writes the call into the input area, has it handled, and parses the reply.
func (c Call) handle(t testing.TB, h sdk.Handlers, kind abi.Kind, body []byte, records int, reply *abi.Reply) {
	t.Helper()
	head := abi.Call{
		Kind: kind, Mapping: c.Mapping, Stream: c.Stream, Function: c.Function, Invocation: c.Invocation,
		Version: uint32(max(c.Version, 1)), Shard: uint32(c.Shard), Attempt: uint32(max(c.Attempt, 1)),
	}
	if head.Function == "" {
		head.Function = "test"
	}
	if !c.Deadline.IsZero() {
		head.Deadline = c.Deadline.UnixMicro()
	}
	if !c.Window.End.Equal(c.Window.Start) {
		head.WindowStart, head.WindowEnd = c.Window.Start.UnixMicro(), c.Window.End.UnixMicro()
	}
	if c.Window.EndedEarly {
		head.Flags = abi.FlagWindowEnded
	}
	size, err := head.Size(len(body), len(c.State))
	if err != nil {
		t.Fatalf("sdktest: %v", err)
	}
	reach := &outside{call: c}
	guest := sdk.NewGuest(h).With(reach).Poisoned(true)
	call := guest.Input(size)[:size]
	dst, state := head.Put(call, len(body), len(c.State))
	copy(dst, body)
	copy(state, c.State)
	out := guest.Handle(kind, call)
	if err := reply.Parse(out, kind, records); err != nil {
		t.Fatalf("sdktest: the reply breaks the ABI: %v", err)
	}
	if !reply.Failed() {
		reach.commit()
	}
}

func failure(r *abi.Reply) *Failure {
	if !r.Failed() {
		return nil
	}
	f := r.Failure()
	return &Failure{Kind: f.Kind, Type: string(f.Type), Message: string(f.Message), Stack: string(f.Stack)}
}

func emitted(r *abi.Reply) map[string][]sdk.Record {
	all := map[string][]sdk.Record{}
	for out := range r.Outputs() {
		if len(out.Stream) == 0 {
			continue // a transform's own
		}
		for rec := range out.Records.All() {
			all[string(out.Stream)] = append(all[string(out.Stream)], owned(rec))
		}
	}
	return all
}

// owned is a record with bytes of its own.
func owned(r sdk.Record) sdk.Record {
	r.Key, r.Data, r.ExplicitHash = bytes.Clone(r.Key), bytes.Clone(r.Data), bytes.Clone(r.ExplicitHash)
	return r
}

// String shows an outcome as "ok", or as "rejected: reason".
func (o Outcome) String() string {
	if o.Reason == "" {
		return o.Result.String()
	}
	return fmt.Sprintf("%s: %s", o.Result, o.Reason)
}
