package triggers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers/event"
	"github.com/shardmill/shardmill/triggers/filter"
)

const (
	// windowGrace is how long after a window's end its records may still appear in the log, which stamps them before they are on disk. A
	// window that sees no further record ends then; Lambda takes up to two minutes.
	windowGrace = 5 * time.Second

	// maxWindowState is the state that a window may keep, in bytes. With more it ends early.
	maxWindowState = abi.KeptStateBytes
)

// window is the tumbling window that a shard's records fall into, by their arrival. Its zero value is none. It belongs to the poller's
// goroutine.
//
// State and checkpoint are saved together, in one checkpoint: that of the window is its state in the form
//
//	0   1   format: 1
//	1   7   reserved: 0
//	8   8   start, µs since the Unix epoch, signed, little-endian
//	16  8   end, likewise; exclusive
//	24      the function's state
type window struct {
	start, end int64 // µs since the Unix epoch; end 0 = there is none
	state      []byte

	blob       []byte // of the checkpoint; nil = there is no window
	object     []byte // the state as Lambda's events have it; nil = not known
	generation uint64 // grows when blob changes
}

const (
	windowFormat = 1
	windowHeader = 24
)

// parseWindow reads what a checkpoint has.
func parseWindow(blob []byte) (window, error) {
	if len(blob) == 0 {
		return window{}, nil
	}
	if len(blob) < windowHeader || blob[0] != windowFormat {
		return window{}, errCheckpointState
	}
	w := window{
		start: int64(binary.LittleEndian.Uint64(blob[8:])), end: int64(binary.LittleEndian.Uint64(blob[16:])),
		state: blob[windowHeader:], blob: blob,
	}
	if w.end <= w.start || w.end == 0 {
		return window{}, errCheckpointState
	}
	return w, nil
}

func (w *window) isOpen() bool { return w.end != 0 }

// open begins the window of the given length that a time, in µs, is in. Windows of a length are one behind the other from the Unix epoch on.
func (w *window) open(at int64, length time.Duration) {
	n := length.Microseconds()
	into := at % n
	if into < 0 {
		into += n
	}
	w.start, w.end = at-into, at-into+n
}

// keep makes state, which it copies, the window's.
func (w *window) keep(state []byte) {
	w.blob = make([]byte, windowHeader, windowHeader+len(state))
	w.blob[0] = windowFormat
	binary.LittleEndian.PutUint64(w.blob[8:], uint64(w.start))
	binary.LittleEndian.PutUint64(w.blob[16:], uint64(w.end))
	w.blob = append(w.blob, state...)
	w.state, w.object = w.blob[windowHeader:], nil
	w.generation++
}

// stateObject is the state as Lambda's events have it: it may be of a version of the function that took no events.
func (w *window) stateObject() []byte {
	if w.object == nil {
		w.object = event.StateObject(w.state)
	}
	return w.object
}

// shut forgets the window.
func (w *window) shut() { *w = window{generation: w.generation + 1} }

// call is the window as a call has it.
func (w *window) call(early bool) runtime.Window {
	if !w.isOpen() {
		return runtime.Window{}
	}
	return runtime.Window{Start: time.UnixMicro(w.start).UTC(), End: time.UnixMicro(w.end).UTC(), EndedEarly: early}
}

// await is read that does not wait longer than an open window; when that is over, or the shard, the window is closed.
func (p *poller) await(read, work context.Context) error {
	for p.window.isOpen() {
		ctx, cancel := context.WithDeadline(read, time.UnixMicro(p.window.end).Add(windowGrace))
		err := p.read(ctx)
		cancel()
		over := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, shards.ErrShardEnd) || errors.Is(err, shards.ErrNoShard)
		if !over || read.Err() != nil {
			return err
		}
		if err := p.lane.closeWindow(read, work, false); err != nil {
			return err
		}
	}
	return p.read(read)
}

// tumble opens and closes windows as the next record of the feed needs it, and has the limits end the batch with the window.
func (p *poller) tumble(read, work context.Context, s *settings, l *limits) error {
	r, ok := p.feed.match(s.filter)
	if !ok {
		return nil
	}
	arrival := r.Arrival
	if p.window.isOpen() && (arrival >= p.window.end || s.TumblingWindow == 0) {
		if err := p.lane.closeWindow(read, work, false); err != nil {
			return err
		}
	}
	if !p.window.isOpen() && s.TumblingWindow > 0 {
		p.window.open(arrival, s.TumblingWindow)
	}
	l.before = p.window.end
	return nil
}

// match passes over what the filter does not match, and shows what comes then.
func (f *feed) match(only *filter.Filter) (r *record.Record, ok bool) {
	for {
		r, ok = f.peek()
		if !ok || !f.skips(r, only) {
			return r, ok
		}
	}
}

// closeWindow has the function close the open window, early when its state has become too large: then the window goes on with a new state.
// It is tried again as a batch is, and given up as one.
func (l *lane) closeWindow(read, work context.Context, early bool) error {
	l.tries = tries{}
	l.p.progress.another(l.number)
	w := &l.p.window
	for {
		s := l.p.r.settings.Load()
		f, now := facts{Records: 1}, time.Now() // the window
		if s.MaxRecordAge > 0 && l.doubt == nil && w.end < now.Add(-s.MaxRecordAge).UnixMicro() {
			f.Expired = 1
		}
		if w.end < l.kept(now) {
			f.Retired = 1
		}
		d := decide(f, outcome{}, l.tries, s.policy)
		if d.Discard == 0 {
			o, err := l.invokeClose(work, s, early)
			if err != nil {
				return err
			}
			d = decide(f, o, l.tries, s.policy)
		}
		if d.Discard > 0 {
			if err := l.giveUpWindow(read, work, d, early); err != nil {
				return err
			}
		}
		if d.Settle+d.Discard > 0 {
			break
		}
		l.tries = d.Next
		if !sleep(read, jitter(d.Delay, rand.Float64())) {
			return context.Cause(read)
		}
	}
	l.tries = tries{}
	if early {
		w.keep(nil)
		return nil // its batch is settled next, and the checkpoint saved with that
	}
	l.resolve()
	w.shut()
	l.p.progress.advanced(l.number, 0, 0)
	return l.p.saver.settle(work, l.p.mark(0))
}

// invokeClose calls the function once with the window's end.
func (l *lane) invokeClose(work context.Context, s *settings, early bool) (outcome, error) {
	w := &l.p.window
	return l.exchange(work, s, request{final: true, early: early, what: fmt.Sprintf("the closing of the window until %v", w.call(false).End)})
}

// giveUpWindow gives up a window's state, which nobody but the destination has then.
func (l *lane) giveUpWindow(read, work context.Context, d decision, early bool) error {
	s, w := l.p.r.settings.Load(), &l.p.window
	cp, _ := l.p.saver.checkpoint()
	f := Failure{
		MappingID: s.ID, Source: l.source(s, cp.Sequence, cp.Sequence), Consumer: s.Consumer, Function: s.Function, Qualifier: s.Qualifier,
		Reason: d.Reason, FirstArrival: time.UnixMicro(w.start).UTC(), LastArrival: time.UnixMicro(w.end).UTC(),
		Time: time.Now().UTC(), Traced: s.FailureTrace, Window: w.call(early), State: w.state,
	}
	l.attempted(&f, d.Reason)
	if _, err := l.deliver(read, work, &f); err != nil {
		return err
	}
	l.p.log.Error("the state of a window was given up", "reason", f.Reason, "start", f.Window.Start, "end", f.Window.End,
		"attempts", f.Attempts, "error", f.Err)
	return nil
}
