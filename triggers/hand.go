package triggers

import (
	"slices"
	"sync"

	"github.com/shardmill/shardmill/internal/aggregate"
	"github.com/shardmill/shardmill/sdk/record"
)

// hand is what one call hands to the function of a batch: the batch itself or, where aggregates are among its
// records, the user records in them, as many from the front as one call may have. Counts and indexes are of
// what is handed over; the stored records are the batch's. It belongs to the poller's goroutine.
//
// The checkpoint knows stored records only: one is settled when all its user records are. How far the user records
// of the batch's first record are done with is remembered here, for the next call.
type hand struct {
	runs    []record.Run
	records int

	apart   bool  // aggregates were taken apart: runs are built, not the batch's
	ends    []int // apart: how many of records are of the first stored record, of the first two, …; whole ones only
	builder *record.Builder
	own     [1]record.Run    // apart: runs
	reader  aggregate.Reader // of the stored records behind the first
	head    aggregate.Reader // of the first stored record, while headOf is its sequence number
	headOf  uint64
	done    aggregate.Mark // in head: the user records before it are done with
}

var builders = sync.Pool{New: func() any { return new(record.Builder) }}

// fill prepares the next call for what is left of b, which is not empty.
func (h *hand) fill(b *batch, m *Mapping) {
	if m.Aggregated || !aggregated(b) {
		h.release()
		h.runs, h.records = b.runs, b.records
		return
	}
	if h.builder == nil {
		h.builder = builders.Get().(*record.Builder)
	}
	h.apart = true
	h.builder.Reset()
	h.ends = h.ends[:0]
	h.takeApart(b, m.BatchSize)
	h.own[0] = h.builder.Run()
	h.runs, h.records = h.own[:], h.builder.Len()
}

// aggregated tells whether any record looks like an aggregate.
func aggregated(b *batch) bool {
	return slices.ContainsFunc(b.runs, func(run record.Run) bool { return run.AnyPrefix(aggregate.Magic) })
}

// takeApart builds the user records, up to the limits of a call; the first goes in whatever its size.
func (h *hand) takeApart(b *batch, maxRecords int) {
	for _, run := range b.runs {
		for stored := range run.All() {
			reader, split := h.open(&stored, h.builder.Len() == 0)
			user := stored
			for {
				if split {
					u, more := reader.Next()
					if !more {
						break
					}
					user.Key, user.ExplicitHash, user.Data = u.Key, u.ExplicitHash, u.Data
				}
				if n := h.builder.Len(); n >= maxRecords || n > 0 && h.builder.Size()+user.Size() > maxPayload {
					return
				}
				_ = h.builder.Append(user) // what could be stored can be encoded again
				if !split {
					break
				}
			}
			h.ends = append(h.ends, h.builder.Len())
		}
	}
}

// open reads a stored record as an aggregate, from where its user records are not done with.
func (h *hand) open(stored *record.Record, first bool) (r *aggregate.Reader, split bool) {
	if !first {
		return &h.reader, h.reader.Split(stored.Data)
	}
	if h.headOf != stored.Sequence {
		h.head.Split(stored.Data)
		h.headOf, h.done = stored.Sequence, aggregate.Mark{}
	}
	h.head.Return(h.done)
	return &h.head, h.head.Len() > 0
}

// sequence is the number of the stored record that the i-th record is, or is from.
func (h *hand) sequence(b *batch, i int) uint64 {
	if h.apart {
		i = h.whole(i)
	}
	return b.sequence(i)
}

// whole is how many stored records are in the first n records to their end.
func (h *hand) whole(n int) int {
	i, _ := slices.BinarySearch(h.ends, n+1)
	return i
}

// of is how many records are of the first n stored records.
func (h *hand) of(n int) int {
	switch {
	case !h.apart || n == 0:
		return n
	case n > len(h.ends):
		return h.records
	}
	return h.ends[n-1]
}

// drop removes the first n records from b. It returns the number of the last stored record that is done with, 0 when
// none is: only user records of the first one.
func (h *hand) drop(b *batch, n int) (last uint64) {
	whole, part := n, 0
	if h.apart {
		if whole = h.whole(n); whole > 0 {
			n -= h.ends[whole-1]
		}
		part = n
	}
	if whole > 0 {
		last = b.sequence(whole - 1)
		b.drop(whole)
	}
	if part > 0 {
		first := b.first()
		h.open(&first, true)
		for range part {
			h.head.Next()
		}
		h.done = h.head.Mark()
	}
	if b.records == 0 {
		h.release()
	}
	return last
}

// release lets go of all memory that the shard does not need while it is idle, and of the log's.
func (h *hand) release() {
	h.runs, h.records, h.apart, h.own[0] = nil, 0, false, record.Run{}
	h.reader.Reset()
	h.head.Reset()
	h.headOf, h.done = 0, aggregate.Mark{}
	if h.builder != nil {
		h.builder.Reset()
		builders.Put(h.builder)
		h.builder = nil
	}
}
