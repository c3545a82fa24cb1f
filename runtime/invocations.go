package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"
)

// How many invocations of a function are kept.
const (
	KeptInvocations = 100 // the newest, and besides as many of the newest that failed

	// noteInterval is how often what was not noted yet is written to Options.History; it is what a crash loses.
	noteInterval  = time.Second
	maxNoteBytes  = 256 << 10
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

// History keeps notes, the newest of them, over restarts. What it loses is only missed by who looks back. *catalog.History is one.
type History interface {
	Append(ctx context.Context, note []byte) error
	Notes(ctx context.Context) ([][]byte, error)
}

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
	noted  [2]uint64   // of recent and failed, the number of the first that is not noted; the note keeper's
}

func newPast() *past { return &past{recent: newInvocationRing(), failed: newInvocationRing()} }

func (p *past) add(i Invocation) {
	p.recent.append(i)
	if i.Failed() {
		p.failed.append(i)
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

func (p *past) close() {
	p.recent.close()
	p.failed.close()
}

// record remembers a call.
func (f *function) record(call *Call, reply *Reply, started time.Time, err error) {
	i := Invocation{
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

// note is a note of the history: invocations with their lines, or that a function was deleted with all it had.
type note struct {
	Invocations []notedInvocation `json:"invocations,omitempty"`
	Deleted     string            `json:"deleted,omitempty"`
}

// remember takes in what the history has of the functions that are there.
func (rt *Runtime) remember(ctx context.Context) {
	if rt.options.History == nil {
		return
	}
	notes, err := rt.options.History.Notes(ctx)
	if err != nil {
		rt.options.Logger.Warn("earlier invocations cannot be read", "error", err)
		return
	}
	kept := map[string][]notedInvocation{}
	for _, text := range notes {
		var n note
		if json.Unmarshal(text, &n) != nil {
			continue // a damaged note is one that is lost
		}
		delete(kept, n.Deleted)
		for _, i := range n.Invocations {
			kept[i.Function] = append(kept[i.Function], i)
		}
	}
	for _, f := range rt.all() {
		slices.SortStableFunc(kept[f.name], func(a, b notedInvocation) int { return a.Started.Compare(b.Started) })
		for _, i := range kept[f.name] {
			f.past.add(i.Invocation)
		}
		f.recall(kept[f.name])
		f.past.noted = [2]uint64{f.past.recent.next(), f.past.failed.next()}
		f.past.dirty.Store(false)
	}
}

// takeNotes writes what is new to the history, now and then and at the end.
func (rt *Runtime) takeNotes(ctx context.Context) {
	tick := time.NewTicker(noteInterval)
	defer tick.Stop()
	failing := false
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		err := rt.noteAll(context.WithoutCancel(ctx))
		if err != nil && !failing {
			rt.options.Logger.Warn("invocations cannot be noted; a restart will not know of them", "error", err)
		}
		failing = err != nil
		if ended {
			return
		}
	}
}

// noteAll writes the invocations that are not noted yet, of all functions, in few notes. Those that fail are not tried again.
func (rt *Runtime) noteAll(ctx context.Context) error {
	var errs []error
	var text []byte
	flush := func() {
		if len(text) > 0 {
			errs = append(errs, rt.options.History.Append(ctx, append(text, "]}"...)))
			text = text[:0]
		}
	}
	var dirty []*function
	for _, f := range rt.all() {
		if f.past.dirty.Swap(false) {
			dirty = append(dirty, f)
		}
	}
	for _, f := range dirty {
		for _, i := range f.withLines(f.past.unnoted(), max(minNotedLines, maxNotedLines/len(dirty))) {
			one, err := json.Marshal(&i)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if len(text)+len(one) > maxNoteBytes {
				flush()
			}
			if len(text) == 0 {
				text = append(text, `{"invocations":[`...)
			} else {
				text = append(text, ',')
			}
			text = append(text, one...)
		}
	}
	flush()
	return errors.Join(errs...)
}

// unnoted are the invocations that came since it was last asked, as far as they are kept. One that failed is in both rings; it
// comes once.
func (p *past) unnoted() (out []Invocation) {
	seen := map[string]bool{}
	for n, r := range []*invocationRing{p.failed, p.recent} {
		values, number, _ := r.read(p.noted[1-n], make([]Invocation, 0, KeptInvocations))
		p.noted[1-n] = number + uint64(len(values))
		for _, i := range values {
			if !seen[i.ID] {
				seen[i.ID] = true
				out = append(out, i)
			}
		}
	}
	return out
}

// noteDeleted has the history forget a function.
func (rt *Runtime) noteDeleted(ctx context.Context, name string) {
	if rt.options.History == nil {
		return
	}
	text, err := json.Marshal(note{Deleted: name})
	if err == nil {
		err = rt.options.History.Append(ctx, text)
	}
	if err != nil {
		rt.options.Logger.Warn("the invocations of a deleted function are not forgotten", "function", name, "error", err)
	}
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
