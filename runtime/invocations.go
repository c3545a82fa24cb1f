package runtime

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"
)

// How many invocations of a function are kept.
const (
	KeptInvocations = 100 // the newest, and besides as many of the newest that failed

	maxNotedStack = 8 << 10
	maxNotedText  = 2 << 10
)

// Invocation is what became of one call of a function.
type Invocation struct {
	ID         string    `json:"id"`
	Function   string    `json:"function"`
	Version    int       `json:"version"`
	Kind       Kind      `json:"kind"`
	Source     Source    `json:"source,omitzero"` // zero for a direct invocation
	Attempt    int       `json:"attempt,omitzero"`
	Started    time.Time `json:"started"`
	Records    int       `json:"records,omitzero"` // that it was given
	Emitted    int       `json:"emitted,omitzero"` // that it put
	DurationNs int64     `json:"durationNs"`       // in the guest
	Fuel       int64     `json:"fuel,omitzero"`    // as of Reply
	MemoryPeak int64     `json:"memoryPeak,omitzero"`
	Outcome    string    `json:"outcome"` // "ok", "throttled", "canceled", "host_error", or the ErrorKind
	Message    string    `json:"message,omitempty"`
	Type       string    `json:"type,omitempty"` // of the error, in the guest's language
	Stack      string    `json:"stack,omitempty"`
	LogLines   int       `json:"logLines,omitzero"` // that its log has had; Logs yields those that are kept
}

// Duration is the time in the guest.
func (i *Invocation) Duration() time.Duration { return time.Duration(i.DurationNs) }

// Failed is whether the call came to an error of any sort.
func (i *Invocation) Failed() bool { return i.Outcome != outcomeOK }

// invocationRing keeps a function's latest invocations.
type invocationRing = ring[Invocation]

func newInvocationRing() *invocationRing {
	return &invocationRing{limit: KeptInvocations, size: func(*Invocation) int { return 1 }}
}

// past is what a function keeps of its invocations.
type past struct {
	recent *invocationRing
	failed *invocationRing
	dirty  atomic.Bool // something is not noted yet
	gone   atomic.Bool // the function was deleted: nothing is noted any more
	series [2]series   // what is noted: of those that went well, and of those that failed. The diary's
}

func newPast() *past {
	p := &past{recent: newInvocationRing(), failed: newInvocationRing()}
	p.series = [2]series{{from: p.recent}, {from: p.failed, failed: true}}
	return p
}

func (p *past) add(i *Invocation) {
	p.recent.put(i)
	if i.Failed() {
		p.failed.put(i)
	}
	if !p.dirty.Load() { // most calls find it set, and so do not write to what all of them share
		p.dirty.Store(true)
	}
}

// last is when the latest call began that is kept; zero is never.
func (p *past) last() time.Time {
	var at time.Time
	p.recent.newest(func(i *Invocation) bool {
		at = i.Started
		return false
	})
	return at
}

// close ends everyone who follows. What comes is not noted where the function is gone.
func (p *past) close(gone bool) {
	p.gone.Store(gone)
	p.recent.close()
	p.failed.close()
}

// record remembers a call.
func (f *function) record(call *Call, reply *Reply, started time.Time, err error) {
	i := &Invocation{
		ID: reply.Invocation, Function: f.name, Version: reply.Version, Kind: call.Kind, Source: call.Source, Attempt: call.Attempt,
		Started: started, Records: call.records(), Emitted: reply.Emitted, DurationNs: int64(reply.Duration), Fuel: reply.Fuel, MemoryPeak: reply.MemoryPeak, Outcome: outcomeOK,
		LogLines: reply.lines,
	}
	if err != nil {
		i.Outcome, i.Message = outcomeOf(err), err.Error()
		if failed := (*FunctionError)(nil); errors.As(err, &failed) {
			i.Message, i.Type, i.Stack = failed.Message, failed.Type, failed.Stack
		}
		i.Message, i.Type, i.Stack = cutText(i.Message, maxNotedText), cutText(i.Type, maxNotedText), cutText(i.Stack, maxNotedStack)
	}
	f.past.add(i)
}

// Invocations yields the function's latest invocations that are kept, oldest first; with failed those that failed, of which as many
// are kept. With follow it goes on as they end, until ctx ends, the function is deleted or the runtime closes; a reader too slow for
// what comes misses some. They outlive a restart, but for those of the last second before a crash. Error: ErrNotFound.
func (rt *Runtime) Invocations(ctx context.Context, name string, failed, follow bool) (iter.Seq[Invocation], error) {
	f, err := rt.function("invocations", name)
	if err != nil {
		return nil, err
	}
	from := f.past.recent
	if failed {
		from = f.past.failed
	}
	missed := func(n uint64) Invocation { return Invocation{} }
	return func(yield func(Invocation) bool) {
		for i := range from.all(ctx, follow, missed) {
			if i.ID != "" && !yield(i) {
				return
			}
		}
	}, nil
}

// cutText keeps a note short.
func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xC0 == 0x80 { // not within a character
		most--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:most], len(s)-most)
}
