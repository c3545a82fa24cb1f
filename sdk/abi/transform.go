package abi

import (
	"encoding/binary"
	"iter"
	"slices"

	"github.com/shardmill/shardmill/sdk/record"
)

// checkReplacements refuses a replacement of a record that is not in the call. last is the index of the one before; it returns that of
// the last one here.
func (r *Reply) checkReplacements(run record.Run, last uint64, records int) (uint64, error) {
	for rec := range run.All() {
		if rec.Sequence >= uint64(records) {
			return 0, malformed("reply", "output sequence number", "%d in a call of %d records", rec.Sequence, records)
		}
		r.unsorted = r.unsorted || rec.Sequence < last
		last = rec.Sequence
	}
	return last, nil
}

// Replacements yields what takes the place of records of a transform that are ok: the index of the record in the call, and the new
// record, whose Sequence is that index and whose Arrival means nothing. They ascend by index; those of one record are in the order in which the guest wrote them. What it wrote for a record that is
// dropped or rejected is left out. A record that is ok and has none goes on as it is. The records are views into the reply.
func (r *Reply) Replacements() iter.Seq2[int, record.Record] {
	return func(yield func(int, record.Record) bool) {
		outcomes := r.outcomes // from the first that is not before the record
		settled := func(index uint64) bool {
			for len(outcomes) > 0 && uint64(binary.LittleEndian.Uint32(outcomes)) < index {
				outcomes = outcomes[align(outcomeHeaderSize+int(binary.LittleEndian.Uint16(outcomes[6:]))):]
			}
			return len(outcomes) > 0 && uint64(binary.LittleEndian.Uint32(outcomes)) == index
		}
		for rec := range r.replacements() {
			if !settled(rec.Sequence) && !yield(int(rec.Sequence), rec) {
				return
			}
		}
	}
}

// replacements are all that the guest wrote, by the order of the records.
func (r *Reply) replacements() iter.Seq[record.Record] {
	written := func(yield func(record.Record) bool) {
		for out := range r.Outputs() {
			if len(out.Stream) > 0 {
				continue
			}
			for rec := range out.Records.All() {
				if !yield(rec) {
					return
				}
			}
		}
	}
	if !r.unsorted {
		return written
	}
	list := slices.Collect(written)
	slices.SortStableFunc(list, func(a, b record.Record) int { return int(int64(a.Sequence) - int64(b.Sequence)) })
	return slices.Values(list)
}
