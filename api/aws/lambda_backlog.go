package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// lastSave bounds what a host that stops waits for a checkpoint.
const lastSave = 5 * time.Second

// backlog knows what of a shard's calls is open, and keeps that in the checkpoint: its Sequence is up to where the shard was read, and its State what of
// that has not ended. So a restart takes up all that has not ended and nothing else, but for what ended since the last save.
//
// The shard's reader takes calls up as they come. A function that has no room for another one is behind from there on: the reader passes over its calls,
// which have a reader of their own (see catchUp) that waits for room, until it has come to where the shard's is.
type backlog struct {
	st     *shards.Stream
	shard  shards.ShardID
	under  *sync.WaitGroup               // the calls that are under way, and the saver
	spawn  func(f func(context.Context)) // for the saver
	logger *slog.Logger

	mu     sync.Mutex
	read   uint64            // up to where the shard was read
	open   map[uint64]string // calls up to read that were taken up or are about to be, and have not ended: their functions
	behind map[string]uint64 // functions of which calls up to read were not taken up: those after this one
	saving bool              // there is a saver
	dirty  bool              // something has ended since the last save

	saved shards.Checkpoint // the saver's
}

// openCalls is what a checkpoint's State has of a function, as distances before the checkpoint's Sequence. The State is a JSON object of them by the
// functions' names, or empty.
type openCalls struct {
	Open   []uint64 `json:"open,omitempty"`   // calls that have not ended
	Behind uint64   `json:"behind,omitempty"` // the calls behind this one were not taken up; 0: all were
}

// newBacklog begins where the shard's checkpoint is.
func (q *events) newBacklog(st *shards.Stream, shard shards.ShardID, under *sync.WaitGroup) (*backlog, error) {
	cp, _ := st.Checkpoint(asyncConsumer, shard)
	cp.Consumer, cp.Shard = asyncConsumer, uint32(shard)
	b := &backlog{st: st, shard: shard, under: under, spawn: q.spawn, logger: q.logger, read: cp.Sequence, saved: cp}
	var err error
	b.open, b.behind, err = parseOpen(cp.Sequence, cp.State)
	return b, err
}

// parseOpen reads a checkpoint.
func parseOpen(read uint64, state []byte) (open map[uint64]string, behind map[string]uint64, err error) {
	open, behind = map[uint64]string{}, map[string]uint64{}
	if len(state) == 0 {
		return open, behind, nil
	}
	var functions map[string]openCalls
	if err := json.Unmarshal(state, &functions); err != nil {
		return nil, nil, fmt.Errorf("the checkpoint of asynchronous invocations: %w", err)
	}
	for function, of := range functions {
		for _, distance := range append(of.Open, of.Behind) {
			if distance > uint64(record.Counter(read)) {
				return nil, nil, fmt.Errorf("the checkpoint of asynchronous invocations: %d has no record %d before it", read, distance)
			}
		}
		for _, distance := range of.Open {
			open[read-distance] = function
		}
		if of.Behind > 0 {
			behind[function] = read - of.Behind
		}
	}
	return open, behind, nil
}

// formatOpen is the State of a checkpoint.
func formatOpen(read uint64, open map[uint64]string, behind map[string]uint64) []byte {
	if len(open)+len(behind) == 0 {
		return nil
	}
	functions := map[string]openCalls{}
	for sequence, function := range open {
		of := functions[function]
		of.Open = append(of.Open, read-sequence)
		functions[function] = of
	}
	for function, from := range behind {
		of := functions[function]
		of.Behind = read - from
		functions[function] = of
	}
	for _, of := range functions {
		slices.Sort(of.Open)
	}
	state, err := json.Marshal(functions)
	if err != nil {
		panic("aws: encode what is open: " + err.Error()) // of names and numbers
	}
	return state
}

// left is what an earlier reader has left of a function.
type left struct {
	open   []uint64 // calls that have not ended, oldest first
	behind bool
}

// left is what an earlier reader has left, by function.
func (b *backlog) left() map[string]left {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]left{}
	for function := range b.behind {
		all[function] = left{behind: true}
	}
	for sequence, function := range b.open {
		l := all[function]
		l.open = append(l.open, sequence)
		all[function] = l
	}
	for _, l := range all {
		slices.Sort(l.open)
	}
	return all
}

// passOver is for the shard's reader: whether the next call is of a function that is behind, whose own reader comes to it.
func (b *backlog) passOver(function string, sequence uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, behind := b.behind[function]
	if behind {
		b.read = sequence
	}
	return behind
}

// begin is for the shard's reader: it takes the next call up.
func (b *backlog) begin(function string, sequence uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read, b.open[sequence] = sequence, function
}

// fallBehind is for the shard's reader: the function is behind from the next call on.
func (b *backlog) fallBehind(function string, sequence uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read, b.behind[function] = sequence, sequence-1
}

// gap is for a function's own reader: what it has not read is behind after, up to to. false: it has come to where the shard's reader is, and the function is not
// behind any more.
func (b *backlog) gap(function string) (after, to uint64, behind bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	after, behind = b.behind[function]
	if behind && after >= b.read {
		delete(b.behind, function)
		behind = false
	}
	return after, b.read, behind
}

// follow is for a function's own reader: it has read a record, of its function or not. false: the shard's reader has not, and the function is not behind any more.
func (b *backlog) follow(function string, sequence uint64, its bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if sequence > b.read {
		delete(b.behind, function)
		return false
	}
	b.behind[function] = sequence
	if its {
		b.open[sequence] = function
	}
	return true
}

// end notes that a call has ended, and has that saved.
func (b *backlog) end(sequence uint64) {
	b.mu.Lock()
	delete(b.open, sequence)
	b.dirty = true
	start := !b.saving
	b.saving = true
	b.mu.Unlock()
	if start {
		b.under.Add(1) // by one of those that it counts
		b.spawn(func(ctx context.Context) {
			defer b.under.Done()
			b.save(ctx)
		})
	}
}

// save saves the checkpoint until nothing has ended since. When ctx ends it does so once more.
func (b *backlog) save(ctx context.Context) {
	for {
		b.mu.Lock()
		if !b.dirty {
			b.saving = false
			b.mu.Unlock()
			return
		}
		b.dirty = false
		next := b.saved
		next.Sequence, next.State = b.read, formatOpen(b.read, b.open, b.behind)
		b.mu.Unlock()
		if err := b.store(ctx, next); err != nil && ctx.Err() == nil && !errors.Is(err, shards.ErrNotFound) {
			b.logger.Error("asynchronous invocations have ended, and may be repeated after a restart", "stream", AsyncStream, "error", err)
		}
		pause(ctx, savePace(len(next.State)))
	}
}

// store saves a checkpoint, also when ctx has ended, but then for lastSave at most.
func (b *backlog) store(ctx context.Context, next shards.Checkpoint) error {
	saving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastSave, cancel) })()
	revision, err := b.st.SaveCheckpoint(saving, next)
	if err == nil {
		next.Revision = revision
		b.saved = next
	}
	return err
}

// savePace is the rest after a save of a state: a long one is not written with each call that ends, but with 20 KB a second at most.
func savePace(bytes int) time.Duration { return time.Duration(bytes) * 50 * time.Microsecond }

// record reads one call of the shard. false: it is past the retention, or was damaged and given up.
func (b *backlog) record(sequence uint64) (rec record.Record, found bool, err error) {
	r, err := b.st.Reader(b.shard, shards.Start{Kind: shards.AtSequence, Sequence: sequence})
	if err != nil {
		return rec, false, err
	}
	run, ok, err := r.TryNext()
	if errors.Is(err, shards.ErrShardEnd) {
		return rec, false, nil
	}
	if err != nil || !ok {
		return rec, false, err
	}
	rec = run.First()
	return rec, rec.Sequence == sequence, nil
}
