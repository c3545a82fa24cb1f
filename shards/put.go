package shards

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// MaxPutBytes is the most that the records of one put may come to, encoded.
const MaxPutBytes = journal.MaxPutBytes

// Result is what became of one record of a put.
type Result struct {
	Shard    ShardID
	Sequence uint64 // 0 when Err is set
	Err      error  // the record was not put: a *FieldError, it is invalid; ErrThrottled, Shard is over its limits
}

// Put puts records, whose Key, Data and ExplicitHash are used, and returns when they are on disk. Records
// of one shard get sequence numbers in their order. It appends one Result per record, in their order, to
// results: an invalid record fails alone, and so does one that is over the limits of its shard. An error is about the call: nothing was acknowledged and results
// come back as they were. (After ErrDisk, records may be found stored nevertheless.) The records are copied,
// and come to MaxPutBytes at most when encoded; nothing is allocated per record when results has room.
func (st *Stream) Put(ctx context.Context, records []record.Record, results []Result) ([]Result, error) {
	begin := time.Now()
	for {
		sh := st.shape.Load()
		put, err := st.put(ctx, sh, records, results, begin)
		if err == nil || !errors.Is(err, journal.ErrSealed) {
			return put, err
		}
		if err := st.changed(ctx, sh); err != nil {
			return results, st.fail("put to", err)
		}
	}
}

// put is Put into the shards of a shape. journal.ErrSealed: one of them is closing, nothing was put.
func (st *Stream) put(ctx context.Context, sh *shape, records []record.Record, results []Result, begin time.Time) ([]Result, error) {
	if err := st.usable(); err != nil {
		return results, st.fail("put to", err)
	}
	s := takeStaging(len(sh.def.Shards))
	defer s.release()
	base := len(results)
	results = slices.Grow(results, len(records))
	for i := range records {
		slot, err := sh.slotOf(&records[i])
		result := Result{Err: err}
		if sh.limited && err == nil {
			slot, result = sh.limit(slot, &records[i], begin, s)
		}
		s.place(slot)
		results = append(results, result)
	}
	for _, i := range s.order() {
		if err := s.builder.Append(records[i]); err != nil {
			return results[:base], st.fail("put to", err)
		}
	}
	s.divide(s.builder.Run(), sh.def.Shards)
	if err := st.append(ctx, sh, s, begin, false); err != nil {
		return results[:base], err
	}
	s.settle(results[base:], len(records))
	return results, nil
}

// PutRun is Put for records that are encoded already; their sequence numbers and arrival times are not used.
// The run must be well formed (record.Parse and record.ParseRun see to that). With results nil it is all or
// nothing: the first invalid record is the call's error, nothing is put, and nil comes back. Such a put is over the limits of a
// shard, ErrThrottled, only when the shard cannot take anything at the moment.
func (st *Stream) PutRun(ctx context.Context, run record.Run, results []Result) ([]Result, error) {
	return st.putRunAs(ctx, run, results, nil)
}

// putRunAs is PutRun of what is put once under a marker, if that is not nil.
func (st *Stream) putRunAs(ctx context.Context, run record.Run, results []Result, once *claim) ([]Result, error) {
	begin := time.Now()
	for {
		sh := st.shape.Load()
		put, err := st.putRun(ctx, sh, run, results, begin, once)
		if err == nil || !errors.Is(err, journal.ErrSealed) {
			return put, err
		}
		if err := st.changed(ctx, sh); err != nil {
			return results, st.fail("put to", err)
		}
	}
}

// putRun is PutRun into the shards of a shape. journal.ErrSealed: one of them is closing, nothing was put.
func (st *Stream) putRun(ctx context.Context, sh *shape, run record.Run, results []Result, begin time.Time, once *claim) ([]Result, error) {
	if err := st.usable(); err != nil {
		return results, st.fail("put to", err)
	}
	s := takeStaging(len(sh.def.Shards))
	defer s.release()
	s.once = once
	base, wanted := len(results), results != nil
	if wanted {
		results = slices.Grow(results, run.Len())
	}
	for r := range run.All() {
		slot, err := sh.slotOf(&r)
		result := Result{Err: err}
		if sh.limited && err == nil && wanted {
			slot, result = sh.limit(slot, &r, begin, s)
		}
		if wanted {
			results = append(results, result)
		} else if err != nil {
			return nil, st.fail("put to", fmt.Errorf("record %d of %d: %w", len(s.slots)+1, run.Len(), err))
		}
		s.place(slot)
	}
	staged := run // as it is, when all of it goes to one shard
	if order := s.order(); len(s.touched) > 1 || len(order) < run.Len() {
		if err := s.gather(run); err != nil {
			return results[:base], st.fail("put to", err)
		}
		staged = s.builder.Run()
	}
	s.divide(staged, sh.def.Shards)
	if !wanted && sh.limited {
		if err := sh.admit(s, begin); err != nil {
			st.metrics.throttled.Add(float64(run.Len()))
			return nil, st.fail("put to", err)
		}
	}
	if err := st.append(ctx, sh, s, begin, !wanted); err != nil {
		return results[:base], err
	}
	if wanted {
		s.settle(results[base:], run.Len())
	}
	return results, nil
}

// slotOf is the index in def.Shards of the shard that takes r, noShard and a *FieldError when r is invalid.
func (sh *shape) slotOf(r *record.Record) (int, error) {
	if err := checkRecord(r, sh.def.MaxRecordBytes); err != nil {
		return noShard, err
	}
	switch {
	case len(sh.routing.slots) == 1:
		return sh.routing.slots[0], nil
	case r.ExplicitHash != nil:
		return sh.routing.slot(hashOf(r.ExplicitHash)), nil
	}
	return sh.routing.slot(HashKey(r.Key)), nil
}

// append gives the staged parts, which are within the limits as a whole or one by one, to the log and remembers what comes back.
func (st *Stream) append(ctx context.Context, sh *shape, s *staging, begin time.Time, whole bool) error {
	if len(s.parts) == 0 && s.once == nil {
		st.metrics.throttled.Add(float64(s.throttled))
		return nil
	}
	records, bytes := 0, 0
	for i := range s.parts {
		records += s.parts[i].Records.Len()
		bytes += s.parts[i].Records.Size()
	}
	if bytes > MaxPutBytes {
		return st.fail("put to", invalid("records", fmt.Sprintf("%d encoded bytes", bytes), fmt.Sprintf("at most %d", MaxPutBytes)))
	}
	put, err := true, error(nil)
	if s.once != nil {
		put, err = st.log.AppendOnce(ctx, s.parts, s.once.marker)
		s.once.put = put
	} else {
		err = st.log.Append(ctx, s.parts)
	}
	if errors.Is(err, journal.ErrSealed) { // it is tried again: the limits and the metrics are to see it once
		if sh.limited {
			sh.giveBack(s, whole)
		}
		return st.fail("put to", err)
	}
	st.metrics.throttled.Add(float64(s.throttled))
	if err != nil {
		st.metrics.putFailures.Inc()
		return st.fail("put to", err)
	}
	if !put { // it was there, and has been charged for then
		if sh.limited {
			sh.giveBack(s, whole)
		}
		return nil
	}
	if sh.observed {
		sh.observe(s)
	}
	st.metrics.put(records, bytes, time.Since(begin))
	return nil
}

// noShard is the slot of a record that is not put.
const noShard = -1

// What an idle staging keeps at most: bytes of records, and records.
const (
	maxKeptBytes   = 1 << 20
	maxKeptRecords = 1 << 14
)

// staging is the memory of one put: which shard each record goes to, and the records encoded one shard
// behind the other, so that a part of the journal's append is a stretch of one buffer.
type staging struct {
	slots   []int // by record: index in def.Shards, or noShard
	counts  []int // by index in def.Shards: its records; zero between puts
	touched []int // the indices with records, by first touch
	sorted  []int // record indices, shard by shard in touched's order; within one, ascending
	builder record.Builder
	pieces  []record.Run
	parts   []journal.Part // by touched

	throttled int // records
	once      *claim
}

var stagings = sync.Pool{New: func() any { return new(staging) }}

func takeStaging(shards int) *staging {
	s := stagings.Get().(*staging)
	if len(s.counts) < shards {
		s.counts = make([]int, shards)
	}
	return s
}

// release empties s and gives it back. It keeps no view of the caller's memory.
func (s *staging) release() {
	for _, slot := range s.touched {
		s.counts[slot] = 0
	}
	clear(s.parts)
	clear(s.pieces)
	if s.builder.Size() > maxKeptBytes || len(s.slots) > maxKeptRecords {
		*s = staging{counts: s.counts, touched: s.touched, parts: s.parts}
	}
	s.slots, s.touched, s.sorted, s.throttled, s.once = s.slots[:0], s.touched[:0], s.sorted[:0], 0, nil
	s.parts, s.pieces = s.parts[:0], s.pieces[:0]
	s.builder.Reset()
	stagings.Put(s)
}

// place notes the slot of the next record.
func (s *staging) place(slot int) {
	s.slots = append(s.slots, slot)
	if slot == noShard {
		return
	}
	if s.counts[slot] == 0 {
		s.touched = append(s.touched, slot)
	}
	s.counts[slot]++
}

// order sorts the placed records by shard, keeping the order within each: a counting sort. It leaves in
// counts where each shard's stretch of the order ends.
func (s *staging) order() []int {
	total := 0
	for _, slot := range s.touched {
		n := s.counts[slot]
		s.counts[slot] = total
		total += n
	}
	s.sorted = slices.Grow(s.sorted[:0], total)[:total]
	for i, slot := range s.slots {
		if slot != noShard {
			s.sorted[s.counts[slot]] = i
			s.counts[slot]++
		}
	}
	return s.sorted
}

// gather copies the records of a run into the builder in the order of order.
func (s *staging) gather(run record.Run) error {
	for run.Len() > 0 {
		var one record.Run
		one, run = run.Split(1)
		s.pieces = append(s.pieces, one)
	}
	for _, i := range s.sorted {
		if err := s.builder.AppendRun(s.pieces[i]); err != nil {
			return err
		}
	}
	return nil
}

// divide makes one part per touched shard out of the staged records, which are in the order of order.
func (s *staging) divide(staged record.Run, shards []shardDefinition) {
	from := 0
	for _, slot := range s.touched {
		var part record.Run
		part, staged = staged.Split(s.counts[slot] - from)
		from = s.counts[slot]
		s.parts = append(s.parts, journal.Part{Shard: uint32(shards[slot].ID), Records: part})
	}
}

// settle writes shard and sequence number into the results of the records that were put.
func (s *staging) settle(results []Result, n int) {
	if len(results) != n {
		panic(fmt.Sprintf("shards: %d results for %d records", len(results), n))
	}
	at := 0
	for i := range s.parts {
		p := &s.parts[i]
		for j := range p.Records.Len() {
			results[s.sorted[at]] = Result{Shard: ShardID(p.Shard), Sequence: p.First + uint64(j)}
			at++
		}
	}
}
