package triggers

import (
	"sync"

	"github.com/shardmill/shardmill/sdk/record"
)

// batch is the records that a lane has in hand, from the first that is not settled on. They are views of what the reader returned,
// or copies, where aggregates were taken apart, a filter chose or lanes divided them. Its memory is reused from batch to batch.
//
// A batch can be divided into parts, which are attempted one after the other: bisecting does that.
type batch struct {
	runs    []record.Run
	records int
	bytes   int    // what the records take of a call, see limits
	covered uint64 // up to this stored record everything is in this batch or one before, or needs no handling; 0 = nothing

	arrival int64 // of the first record added, µs since the Unix epoch
	start   place // of that record

	own    *record.Builder // nil: runs are views. Else it holds all records, and runs is what is left of them
	behind []int           // records of each part but the first, the next one last
	part   []record.Run    // reused by head

	inside  []uint32 // of each record, which user record of its stored record it is; those that are missing at the end are the first
	follows place    // the user record that comes next when its stored record is not covered as a whole; zero when there is none
}

// limits are what bounds a batch.
type limits struct {
	records int
	bytes   int
	size    func(*record.Record) int // what a record takes of bytes; nil = its encoded size
	before  int64                    // only records that arrived earlier, µs since the Unix epoch; 0 = all
}

var builders = sync.Pool{New: func() any { return new(record.Builder) }}

func (b *batch) reset() {
	clear(b.runs) // so that views do not hold the log's cache blocks while the shard is idle
	clear(b.part)
	b.runs, b.part, b.behind, b.inside = b.runs[:0], b.part[:0], b.behind[:0], b.inside[:0]
	b.records, b.bytes, b.covered, b.follows = 0, 0, 0, place{}
	if b.own != nil {
		b.own.Reset()
		builders.Put(b.own)
		b.own = nil
	}
}

// take moves as many records from the front of rest into b as its limits leave room for, as views, and reports
// whether b is full. An empty batch takes at least one.
func (b *batch) take(rest *record.Run, maxRecords, maxBytes int) (full bool) {
	head, tail := *rest, record.Run{}
	if room := maxRecords - b.records; head.Len() > room {
		head, tail = head.Split(room)
	}
	if room := maxBytes - b.bytes; head.Size() > room {
		if head, _ = head.SplitSize(room); head.Len() == 0 && b.records == 0 {
			head, _ = rest.Split(1)
		}
		_, tail = rest.Split(head.Len())
	}
	if head.Len() > 0 {
		b.runs = append(b.runs, head)
		b.records += head.Len()
		b.bytes += head.Size()
	}
	*rest = tail
	return tail.Len() > 0 || b.records >= maxRecords || b.bytes >= maxBytes
}

// room says whether a record may join b.
func (b *batch) room(r *record.Record, l *limits) bool {
	switch {
	case l.before != 0 && r.Arrival >= l.before:
		return false
	case b.records == 0:
		return true
	}
	return b.records < l.records && b.bytes+l.sizeOf(r) <= l.bytes
}

func (l *limits) sizeOf(r *record.Record) int {
	if l.size != nil {
		return l.size(r)
	}
	return r.Size()
}

// add copies a record into b, and with the first one what b has views of. seal must follow.
func (b *batch) add(r *record.Record, size int) {
	if b.own == nil {
		b.own = builders.Get().(*record.Builder)
		b.arrival, b.start = r.Arrival, place{sequence: r.Sequence}
		for _, run := range b.runs {
			_ = b.own.AppendRun(run) // what is stored can be encoded again, here as below
		}
	}
	_ = b.own.Append(*r)
	b.records++
	b.bytes += size
}

// seal makes what add copied visible.
func (b *batch) seal() {
	if b.own != nil && b.own.Len() > 0 {
		b.runs = append(b.runs[:0], b.own.Run())
	}
}

// full says whether no further record may join b.
func (b *batch) full(l *limits) bool { return b.records >= l.records || b.bytes >= l.bytes }

// first is the batch's first record. The batch must not be empty.
func (b *batch) first() record.Record { return b.runs[0].First() }

// last is the sequence number of the last of the first n records, which head returned.
func (b *batch) last(head []record.Run) uint64 {
	run := head[len(head)-1]
	if b.own != nil {
		return run.Last().Sequence
	}
	return run.First().Sequence + uint64(run.Len()) - 1 // within a stored run they grow by one
}

// ascending returns a func that finds single records by their index, which must not fall from call to call.
func (b *batch) ascending() func(i int) record.Run {
	runs, run, at := b.runs, record.Run{}, 0 // run is what is behind the first at records
	return func(i int) record.Run {
		for i-at >= run.Len() {
			at += run.Len()
			run, runs = runs[0], runs[1:]
		}
		_, run = run.Split(i - at)
		at = i
		one, _ := run.Split(1)
		return one
	}
}

// settled is the position up to which everything is settled, as far as b knows; 0 = it does not.
func (b *batch) settled() uint64 {
	if b.records > 0 {
		return b.first().Sequence - 1
	}
	return b.covered
}

// settledInside is settled where a part of a stored record counts: so many user records of the one behind the position are settled.
func (b *batch) settledInside() (position uint64, inside uint32) {
	switch {
	case b.records > 0:
		return b.settled(), b.insideOf(0)
	case b.follows.inside > 0:
		return b.follows.sequence - 1, b.follows.inside
	}
	return b.covered, 0
}

// note says which user record of its stored record the last one is that was added.
func (b *batch) note(inside uint32) {
	if inside == 0 && len(b.inside) == 0 {
		return
	}
	for len(b.inside) < b.records-1 {
		b.inside = append(b.inside, 0)
	}
	if b.inside = append(b.inside, inside); b.records == 1 {
		b.start.inside = inside
	}
}

func (b *batch) insideOf(i int) uint32 {
	if i < len(b.inside) {
		return b.inside[i]
	}
	return 0
}

// place is that of the i-th record.
func (b *batch) place(i int) place { return place{b.ascending()(i).First().Sequence, b.insideOf(i)} }

// through is how many records at the head are at a place or before it.
func (b *batch) through(at place) (n int) {
	for _, run := range b.runs {
		for r := range run.All() {
			if (place{r.Sequence, b.insideOf(n)}).after(at) {
				return n
			}
			n++
		}
	}
	return n
}

// older counts the records at the head that arrived before the time given in microseconds.
func (b *batch) older(arrival int64) int {
	n := 0
	for _, run := range b.runs {
		for r := range run.All() {
			if r.Arrival >= arrival {
				return n
			}
			n++
		}
	}
	return n
}

// headLen is the number of records in the first part.
func (b *batch) headLen() int {
	n := b.records
	for _, part := range b.behind {
		n -= part
	}
	return n
}

// head is the first n records, valid until the batch changes.
func (b *batch) head(n int) []record.Run { return b.stretch(0, n) }

// stretch is n records from the i-th on, valid until the next stretch.
func (b *batch) stretch(i, n int) []record.Run {
	if i == 0 && n == b.records {
		return b.runs
	}
	b.part = b.part[:0]
	for _, run := range b.runs {
		skipped := min(i, run.Len())
		_, run = run.Split(skipped)
		i -= skipped
		if run, _ = run.Split(n); run.Len() > 0 {
			b.part = append(b.part, run)
			n -= run.Len()
		}
	}
	return b.part
}

// split divides the first part behind its first n records.
func (b *batch) split(n int) {
	if rest := b.headLen() - n; n > 0 && rest > 0 {
		b.behind = append(b.behind, rest)
	}
}

// join makes all parts one.
func (b *batch) join() { b.behind = b.behind[:0] }

// drop removes the first n records.
func (b *batch) drop(n int) {
	b.inside = append(b.inside[:0], b.inside[min(n, len(b.inside)):]...)
	for n > 0 {
		head, tail := b.runs[0].Split(n)
		n -= head.Len()
		b.records -= head.Len()
		b.bytes -= head.Size()
		if b.runs[0] = tail; tail.Len() == 0 {
			b.runs = append(b.runs[:0], b.runs[1:]...)
		}
	}
	for len(b.behind) > 0 && b.headLen() <= 0 {
		b.behind = b.behind[:len(b.behind)-1]
	}
}
