package messages

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

const (
	// maxWaiting is how many bytes of messages may wait in a door; messageCost is what each counts beside its bytes.
	maxWaiting  = 64 << 20
	messageCost = 256

	// What one put takes at most. A single message may be more.
	maxPutBytes   = 8 << 20
	maxPutRecords = 1 << 14
)

// errLeftover is what became of messages that still waited when the time to stop was over.
var errLeftover = errors.New("the host stopped before the message was put")

// origin is who a message came from.
type origin interface {
	// settled says what became of the records of an item: a result for each, or the error of all. It is called once,
	// must not block, and must not keep results.
	settled(it *item, results []shards.Result, err error)
}

// item is a message on its way: one record, or those of a batch.
type item struct {
	from  origin
	id    uint64 // the origin's own
	one   record.Record
	batch record.Run // when it is not empty, in place of one
	size  int64      // what it counts in the intake
}

func (it *item) len() int { return max(it.batch.Len(), 1) }

// intake puts messages. What waits for one stream is put together, while the put before it is under way, so that the
// number of syncs does not grow with the number of messages; one put of a stream follows the other, so that messages
// keep their order.
//
// A stream has a goroutine while messages wait for it.
type intake struct {
	streams Streams
	room    *semaphore.Weighted
	spawn   func(l *lane) // starts the lane's goroutine
	cancel  context.CancelFunc
	wait    sync.WaitGroup

	mu    sync.Mutex
	lanes map[string]*lane // those with a goroutine
	left  int              // messages refused because the time to stop was over
}

// lane is the messages that wait for one stream.
type lane struct {
	name    string
	waiting []item // guarded by intake.mu

	// The rest is the goroutine's.
	taken   []item
	records []record.Record
	results []shards.Result
}

func newIntake(streams Streams) *intake {
	in := &intake{streams: streams, room: semaphore.NewWeighted(maxWaiting), lanes: map[string]*lane{}}
	ctx, cancel := context.WithCancel(context.Background())
	in.cancel = cancel
	in.spawn = func(l *lane) { in.wait.Go(func() { in.run(ctx, l) }) }
	return in
}

// cost is what a message of so many bytes counts.
func cost(bytes int) int64 { return int64(bytes) + messageCost }

// add gives a message to a stream. Its size has been acquired from room.
func (in *intake) add(stream string, it item) {
	in.mu.Lock()
	defer in.mu.Unlock()
	l := in.lanes[stream]
	if l == nil {
		l = &lane{name: stream}
		in.lanes[stream] = l
		in.spawn(l)
	}
	l.waiting = append(l.waiting, it)
}

// run puts what waits in a lane until nothing does.
func (in *intake) run(ctx context.Context, l *lane) {
	for in.take(l) {
		for rest := l.taken; len(rest) > 0; {
			n := in.put(ctx, l, rest)
			rest = rest[n:]
		}
		clear(l.taken)
	}
}

// take moves what waits to l.taken. When nothing does, the lane is over.
func (in *intake) take(l *lane) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(l.waiting) == 0 {
		delete(in.lanes, l.name)
		return false
	}
	l.waiting, l.taken = l.taken[:0], l.waiting
	return true
}

// put puts the first of items, as many as one put takes, and says how many those were.
func (in *intake) put(ctx context.Context, l *lane, items []item) int {
	l.records = l.records[:0]
	n, size := 0, int64(0)
	for ; n < len(items); n++ {
		it := &items[n]
		if n > 0 && (size+it.size > maxPutBytes || len(l.records)+it.len() > maxPutRecords) {
			break
		}
		size += it.size
		if it.batch.Len() == 0 {
			l.records = append(l.records, it.one)
			continue
		}
		for r := range it.batch.All() {
			l.records = append(l.records, r)
		}
	}
	results, err := in.store(ctx, l)
	for i := range items[:n] {
		it := &items[i]
		if err != nil {
			it.from.settled(it, nil, err)
			continue
		}
		it.from.settled(it, results[:it.len()], nil)
		results = results[it.len():]
	}
	clear(l.records)
	in.room.Release(size)
	return n
}

// store puts l.records.
func (in *intake) store(ctx context.Context, l *lane) ([]shards.Result, error) {
	if ctx.Err() != nil {
		in.mu.Lock()
		in.left++
		in.mu.Unlock()
		return nil, errLeftover
	}
	stream, err := in.streams.Stream(l.name)
	if err != nil {
		return nil, err
	}
	l.results, err = stream.Put(ctx, l.records, l.results[:0])
	return l.results, err
}

// close waits until everything that was added is settled. When ctx ends before, what waits is refused. Nothing may be
// added any more.
func (in *intake) close(ctx context.Context) error {
	stop := context.AfterFunc(ctx, in.cancel)
	in.wait.Wait()
	stop()
	in.cancel()
	if in.left > 0 {
		return fmt.Errorf("%w: the drain time was over", errLeftover)
	}
	return nil
}
