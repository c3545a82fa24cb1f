package triggers

import "github.com/shardmill/shardmill/sdk/record"

// batch is the records of one invocation: views of what the reader returned, never copies. Its memory is
// reused from batch to batch.
type batch struct {
	runs    []record.Run
	records int
	bytes   int
}

func (b *batch) reset() {
	clear(b.runs) // so that views do not hold the log's cache blocks while the shard is idle
	b.runs, b.records, b.bytes = b.runs[:0], 0, 0
}

// take moves as many records from the front of rest into b as its limits leave room for, and reports
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

// first is the batch's first record. The batch must not be empty.
func (b *batch) first() record.Record { return b.runs[0].First() }

// sequence is the sequence number of the i-th record. Within a run they grow by one.
func (b *batch) sequence(i int) uint64 {
	for _, run := range b.runs {
		if i < run.Len() {
			return run.First().Sequence + uint64(i)
		}
		i -= run.Len()
	}
	panic("triggers: record index out of range")
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

// drop removes the first n records.
func (b *batch) drop(n int) {
	for n > 0 {
		head, tail := b.runs[0].Split(n)
		n -= head.Len()
		b.records -= head.Len()
		b.bytes -= head.Size()
		if b.runs[0] = tail; tail.Len() == 0 {
			b.runs = append(b.runs[:0], b.runs[1:]...)
		}
	}
}
