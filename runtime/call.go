package runtime

import (
	"context"
	"iter"
	"time"

	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// Kind is a call kind of the ABI.
type Kind = abi.Kind

// The call kinds that Invoke takes.
const (
	KindBatch       = abi.KindBatch       // Records of one shard of a stream
	KindWindowClose = abi.KindWindowClose // the end of a tumbling window: State
	KindTransform   = abi.KindTransform   // Records on their way to a destination
	KindInvoke      = abi.KindInvoke      // a direct invocation: Body
)

// Result is what became of one record.
type Result = abi.Result

// The results; a record without an Outcome is ResultOK.
const (
	ResultOK       = abi.ResultOK
	ResultDropped  = abi.ResultDropped
	ResultRetry    = abi.ResultRetry
	ResultRejected = abi.ResultRejected
)

// Source says where the records of a call are from. It is told to the function and to the Emitter.
type Source struct {
	Mapping     string // event source mapping or delivery stream; at most 256 bytes, as Stream
	Stream      string
	Shard       uint32
	First, Last uint64 // sequence numbers of the first and the last record
}

// Call is one call of a function. The runtime only reads what it points to, and only until Invoke returns.
type Call struct {
	Function string
	Version  int    // 0 means $LATEST
	Alias    string // "" or the alias that says which version
	Kind     Kind
	Source   Source
	Attempt  int          // 1 for the first delivery; 0 counts as 1
	Records  []record.Run // for KindBatch and KindTransform: copied into the guest one behind the other
	Body     []byte       // for KindInvoke
	Count    int          // how many records Body is the event of; 0: none
	State    []byte       // of the window, for KindBatch and KindWindowClose; at most 6 MiB
	Window   Window       // for KindBatch and KindWindowClose
	Keep     *Keep        // which calls like this are kept as capsules; nil: none
	Once     Once         // has what it emits put once; nil: at least once
	Trial    *Trial       // the call is only looked at; nil: it is a real one. Keep and Once do not count with it
	ID       string       // names the invocation in logs and errors, at most 128 bytes; "" has one made
}

// records is how many records it is for.
func (c *Call) records() (n int) {
	for _, run := range c.Records {
		n += run.Len()
	}
	return n + c.Count
}

// Window is a tumbling window. Its zero value means that there is none.
type Window struct {
	Start, End time.Time // End is exclusive
	EndedEarly bool
}

// Outcome is what became of one record that is not simply ok.
type Outcome struct {
	Index  int // in the call, from 0
	Result Result
	Reason string // at most 1,024 bytes
}

// Reply is what a call came to. Its slices are reused by the next Invoke that is given the same Reply, so that a
// caller that keeps one Reply per loop makes no garbage; Outcomes, Body and State must be copied to outlive that.
// A Reply must not be used by two calls at once.
type Reply struct {
	Version    int // that ran
	Invocation string
	Outcomes   []Outcome     // by ascending index; a record that is not named is ok
	Body       []byte        // for KindInvoke
	State      []byte        // of the window, for KindBatch and KindWindowClose
	Emitted    int           // records put through the Emitter
	Duration   time.Duration // in the guest, without waiting for an instance and without emitting
	Fuel       int64         // instructions that the guest executed, weighted as package fuel says
	MemoryPeak int64         // bytes of linear memory that the instance has after the call

	raw    []byte // the guest's reply, copied out of its memory
	plain  bool   // raw is the body, and not a reply of the ABI
	parsed abi.Reply
	hidden mask // for what the outcomes say

	started  time.Time    // when Invoke was called
	tape     *recording   // what the guest has read and been answered; nil: not noted
	lines    int          // that the log has had of it
	deadline int64        // that the guest was told, µs since the Unix epoch
	state    *state.Batch // what the call has changed of the state, nil for nothing
	tried    *version     // that a trial ran
}

// maxKeptReply is how large a buffer a Reply keeps for the next call.
const maxKeptReply = 8 << 20

func (r *Reply) reset() {
	if cap(r.raw) > maxKeptReply {
		r.raw = nil
	}
	*r = Reply{Outcomes: r.Outcomes[:0], Body: nil, State: nil, raw: r.raw[:0]}
}

// Replacements yields, for KindTransform, what takes the place of records: the index of the record in the call, and the new record, of
// which key, data and explicit hash count. They ascend by index, and a record may have several. One that has none goes on as it is, unless Outcomes has it as
// dropped or rejected. The records are views that the next Invoke with this Reply overwrites.
func (r *Reply) Replacements() iter.Seq2[int, record.Record] { return r.parsed.Replacements() }

// read fills in what the guest's reply says.
func (r *Reply) read() {
	if r.plain {
		r.Body = r.raw
		return
	}
	for o := range r.parsed.Outcomes() {
		r.Outcomes = append(r.Outcomes, Outcome{o.Index, o.Result, r.hidden.text(text(o.Reason))})
	}
	r.Body, r.State = r.parsed.Body(), r.parsed.State()
}

// Emission is one run of output records for one stream.
type Emission struct {
	Function   string
	Version    int
	Invocation string
	Source     Source
	Stream     string
	Records    record.Run // key, data and explicit hash count; valid until Emit returns
}

// Emitter puts a function's output records to a stream. Emit returns when they are durable, or with an error when
// some may not be; the whole call then counts as failed by the host, and its caller is expected to repeat it: so
// outputs are put at least once. It is called from many goroutines, for one call in the order in which the function
// emitted, and ends early when ctx does.
type Emitter interface {
	Emit(ctx context.Context, e Emission) error
}
