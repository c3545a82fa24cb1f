package triggers

import (
	"github.com/shardmill/shardmill/internal/aggregate"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/triggers/filter"
)

// feed is what has been read of a shard and is in no batch yet, as the function is to have it: aggregates of the KPL taken apart into
// user records, which bear the sequence number and arrival of the stored one, and nothing that the mapping's filter does not match.
// It belongs to the poller's goroutine.
//
// The checkpoint knows stored records only: one is covered when all its user records have been taken or passed over.
type feed struct {
	rest    record.Run // its first record may have been taken in part
	whole   bool       // rest is to be handed over as it is stored
	stored  bool       // aggregates are to be handed over as they are
	ahead   *ahead     // what of the next records has been settled already; nil = nothing
	kept    *ahead     // the same, until the checkpoint has passed it as well: what was read behind it may be settled later than some before it
	covered uint64     // the last stored record that is not in rest any more; 0 = none

	inside aggregate.Reader // of rest's first record, when that is being taken apart
	apart  bool             // it is
	index  uint32           // which of its user records comes next; 0 when it is not
	next   record.Record    // the record that comes next, when ready
	ready  bool

	polled, filtered uint64 // records that were looked at, and of these what no pattern matched
}

// fill has the feed begin with what was read. The feed must be empty.
func (f *feed) fill(run record.Run, aggregated bool) {
	f.rest, f.stored = run, aggregated
	switch {
	case f.ahead == nil:
	case f.ahead.aggregated != aggregated:
		f.resume(nil)
	case !f.ahead.upto.after(place{run.First().Sequence, 0}):
		f.ahead = nil
	}
	f.whole = aggregated || !run.AnyPrefix(aggregate.Magic)
}

// resume has the feed pass over what is settled above the position from which it is filled next.
func (f *feed) resume(a *ahead) { f.ahead, f.kept = a, a }

// above is what the checkpoint is to say of records from a place on, below which all is settled; nil = nothing.
func (f *feed) above(at place) []byte {
	if f.kept != nil && !f.kept.upto.after(at) {
		f.kept = nil
	}
	if f.kept == nil {
		return nil
	}
	return f.kept.blob
}

func (f *feed) empty() bool { return f.rest.Len() == 0 }

// reset forgets everything, and lets go of the log's memory.
func (f *feed) reset() {
	f.inside.Reset()
	f.resume(nil)
	f.rest, f.apart, f.index, f.ready, f.next = record.Run{}, false, 0, false, record.Record{}
}

// peek is the next record, before any filter; false when there is none. It is valid until advance.
func (f *feed) peek() (*record.Record, bool) {
	if f.ready || f.rest.Len() == 0 {
		return &f.next, f.ready
	}
	f.next, f.ready = f.rest.First(), true
	if !f.whole && f.inside.Split(f.next.Data) {
		f.apart = true
		f.user(f.inside.Next())
	}
	return &f.next, true
}

// user makes a user record the next one.
func (f *feed) user(u aggregate.Record, more bool) {
	if f.ready = more; more {
		f.next.Key, f.next.ExplicitHash, f.next.Data = u.Key, u.ExplicitHash, u.Data
	}
}

// advance passes the record that peek has shown.
func (f *feed) advance() {
	if f.ready = false; f.apart {
		f.index++
		if f.user(f.inside.Next()); f.ready {
			return
		}
		f.inside.Reset()
		f.apart, f.index = false, 0
	}
	f.covered = f.next.Sequence
	_, f.rest = f.rest.Split(1)
	f.next = record.Record{}
}

// take moves records into b, up to its limits, and reports whether it is full. What the filter does not match is passed over.
func (f *feed) take(b *batch, l *limits, only *filter.Filter) (full bool) {
	defer f.cover(b)
	if f.whole && only == nil && f.ahead == nil && l.size == nil && l.before == 0 && b.own == nil {
		f.ready = false // what was shown is still in rest
		before := f.rest.Len()
		first := f.rest.First().Sequence
		full = b.take(&f.rest, l.records, l.bytes)
		taken := uint64(before - f.rest.Len())
		if f.polled += taken; taken > 0 {
			f.covered = first + taken - 1 // within a run they grow by one
		}
		return full
	}
	defer b.seal()
	for {
		r, ok := f.peek()
		if !ok {
			return b.full(l)
		}
		if f.skips(r, only) {
			continue
		}
		if !b.room(r, l) {
			return true
		}
		b.add(r, l.sizeOf(r))
		b.note(f.index)
		f.polled++
		f.advance()
	}
}

// skips passes over the next record when it has been settled already or the filter does not match it.
func (f *feed) skips(r *record.Record, only *filter.Filter) bool {
	switch {
	case f.ahead != nil && f.ahead.settled(r.Key, place{r.Sequence, f.index}):
		f.advance()
	case only != nil && !matches(only, r):
		f.pass()
	default:
		return false
	}
	return true
}

// cover tells a batch how far everything is in it or one before, or needs no handling.
func (f *feed) cover(b *batch) {
	if b.covered, b.follows = f.covered, (place{}); f.apart {
		b.follows = place{f.next.Sequence, f.index}
	}
}

// collect moves all records of a call in doubt into b, and says whether more has to be read for that.
func (f *feed) collect(b *batch, only *filter.Filter, d *doubt) (more bool) {
	defer f.cover(b)
	defer b.seal()
	for at := (place{}); at != d.last; {
		r, ok := f.peek()
		if !ok {
			return true
		}
		if at = (place{r.Sequence, f.index}); at.after(d.last) {
			return false
		}
		if !d.has(r.Key) {
			f.advance()
			continue
		}
		if f.skips(r, only) {
			continue
		}
		b.add(r, r.Size())
		b.note(f.index)
		f.polled++
		f.advance()
	}
	return false
}

// skip goes over the first n user records of the next stored record.
func (f *feed) skip(n uint32) {
	r, ok := f.peek()
	for at := r.Sequence; ok && f.apart && r.Sequence == at && f.index < n; r, ok = f.peek() {
		f.advance()
	}
}

// pass goes over the next record, which the filter does not match.
func (f *feed) pass() {
	f.polled++
	f.filtered++
	f.advance()
}

func matches(only *filter.Filter, r *record.Record) bool {
	return only.Match(&filter.Record{PartitionKey: r.Key, Sequence: r.Sequence, Arrival: r.Arrival, Data: r.Data})
}

// counted returns what has been looked at since it was last asked.
func (f *feed) counted() (polled, filtered uint64) {
	polled, filtered = f.polled, f.filtered
	f.polled, f.filtered = 0, 0
	return polled, filtered
}
