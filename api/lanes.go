package api

import (
	"context"
	"hash/maphash"
	"sync"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// Sizes of a put of lines. Its memory is bounded by laneCount × 2 batches.
const (
	laneCount       = 4
	laneBatch       = 1000      // records of one put
	laneBatchBytes  = 512 << 10 // a batch with as much takes no more records
	maxFailures     = 100       // failures that an answer names
	maxResults      = 100_000   // results that an answer holds
	randomKeyLength = 16
)

// putter puts records; *shards.Stream is one. It blocks until they are on disk,
// keeps none of the slices, and appends one result per record, in order.
type putter interface {
	Put(ctx context.Context, records []record.Record, results []shards.Result) ([]shards.Result, error)
}

// lanes put records with several puts under way at once, and yet in order per
// key: a key always takes the same lane, and a lane has one put under way while
// its next batch fills. There is no timer: a lane that is idle takes what there
// is as soon as the reader has nothing more at hand.
type lanes struct {
	seed    maphash.Seed
	list    [laneCount]lane
	outcome *outcome
	done    sync.WaitGroup
}

// lane is one queue of batches. Two batches take turns: one fills, one is put.
type lane struct {
	mu      sync.Mutex
	changed sync.Cond
	filling *lineBatch
	closed  bool
	err     error // why nothing more is put; the batches here are undecided
	putting *lineBatch
}

// lineBatch is some records, their bytes, and what the answer knows them by.
type lineBatch struct {
	records []record.Record
	tickets []ticket
	bytes   []byte
}

// ticket is the line of a record and its place among the results.
type ticket struct {
	line  int64
	place int64
}

func (b *lineBatch) full() bool {
	return len(b.records) >= laneBatch || len(b.bytes) >= laneBatchBytes
}

func (b *lineBatch) reset() {
	b.records, b.tickets, b.bytes = b.records[:0], b.tickets[:0], b.bytes[:0]
}

// add copies a record into the batch. The slices of earlier records stay valid
// when the bytes move: what they point to is not written again.
func (b *lineBatch) add(key, data []byte, t ticket) {
	start := len(b.bytes)
	b.bytes = append(append(b.bytes, key...), data...)
	all := b.bytes[start:]
	b.records = append(b.records, record.Record{Key: all[:len(key):len(key)], Data: all[len(key):]})
	b.tickets = append(b.tickets, t)
}

// startLanes starts the lanes' goroutines; finish waits for them.
func startLanes(ctx context.Context, to putter, o *outcome) *lanes {
	l := &lanes{seed: maphash.MakeSeed(), outcome: o}
	for i := range l.list {
		ln := &l.list[i]
		ln.changed.L = &ln.mu
		ln.filling = new(lineBatch)
		ln.putting = new(lineBatch)
		l.done.Go(func() { ln.run(ctx, to, o) })
	}
	return l
}

// add gives a record to its key's lane. It waits while that lane's batch is
// full, and fails when the lane has failed.
func (l *lanes) add(key, data []byte, t ticket) error {
	ln := &l.list[maphash.Bytes(l.seed, key)%laneCount]
	ln.mu.Lock()
	defer ln.mu.Unlock()
	for ln.err == nil && ln.filling.full() {
		ln.changed.Wait()
	}
	if ln.err != nil {
		return ln.err
	}
	ln.filling.add(key, data, t)
	if ln.filling.full() {
		ln.changed.Broadcast()
	}
	return nil
}

// flush has the lanes that are idle take what they have. It fails when a lane
// has failed.
func (l *lanes) flush() error {
	var err error
	for i := range l.list {
		ln := &l.list[i]
		ln.mu.Lock()
		if ln.err != nil {
			err = ln.err
		}
		if len(ln.filling.records) > 0 {
			ln.changed.Broadcast()
		}
		ln.mu.Unlock()
	}
	return err
}

// finish puts what is left and waits. It gives the first line that is undecided
// because a lane failed, and why; 0 and nil when none is.
func (l *lanes) finish() (undecided int64, err error) {
	for i := range l.list {
		ln := &l.list[i]
		ln.mu.Lock()
		ln.closed = true
		ln.changed.Broadcast()
		ln.mu.Unlock()
	}
	l.done.Wait()
	for i := range l.list {
		ln := &l.list[i]
		if ln.err == nil {
			continue
		}
		if line := ln.putting.tickets[0].line; undecided == 0 || line < undecided {
			undecided, err = line, ln.err
		}
	}
	return undecided, err
}

// run is a lane's goroutine: it puts one batch after the other until the lane
// is closed and empty, or a put fails.
func (ln *lane) run(ctx context.Context, to putter, o *outcome) {
	var results []shards.Result
	for {
		ln.mu.Lock()
		for len(ln.filling.records) == 0 && !ln.closed {
			ln.changed.Wait()
		}
		if len(ln.filling.records) == 0 {
			ln.mu.Unlock()
			return
		}
		ln.filling, ln.putting = ln.putting, ln.filling
		ln.changed.Broadcast()
		ln.mu.Unlock()

		var err error
		results, err = to.Put(ctx, ln.putting.records, results[:0])
		if err != nil {
			ln.mu.Lock()
			ln.err = err
			ln.changed.Broadcast()
			ln.mu.Unlock()
			return
		}
		o.settle(ln.putting.tickets, results)
		ln.putting.reset()
	}
}
