package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// follow takes up every call of the stream, from the checkpoints on, until something is the matter with it. It returns when they have ended, so that
// who reads the stream again takes none up twice; of a stream that was deleted it does not wait for them.
func (q *events) follow(ctx context.Context, st *shards.Stream) error {
	var under sync.WaitGroup
	readers, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	seen := map[shards.ShardID]bool{}
	var begin func()
	begin = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, shard := range st.Shards() {
			if seen[shard] {
				continue
			}
			seen[shard] = true
			readers.Go(func() error {
				b, err := q.newBacklog(st, shard, &under)
				if err == nil {
					err = q.followShard(ctx, b, readers)
				}
				if ended := (*shards.ShardEndError)(nil); errors.As(err, &ended) { // it was split or merged: what comes is in others
					begin()
					return nil
				}
				return err
			})
		}
	}
	begin()
	err := readers.Wait()
	if !errors.Is(err, shards.ErrNotFound) {
		under.Wait()
	}
	return err
}

// followShard takes up the calls of a shard, those first that an earlier reader has left. The readers of functions that are behind are among readers.
func (q *events) followShard(ctx context.Context, b *backlog, readers *errgroup.Group) error {
	read := b.read
	for function, left := range b.left() {
		readers.Go(func() error {
			for _, sequence := range left.open {
				if err := q.takeLater(ctx, b, function, sequence); err != nil {
					return err
				}
			}
			if !left.behind { // or it is now, and has a reader already
				return nil
			}
			return q.catchUp(ctx, b, function)
		})
	}
	r, err := b.st.Reader(b.shard, shards.Start{Kind: shards.AfterSequence, Sequence: read})
	if err != nil {
		return err
	}
	for {
		run, err := r.Next(ctx)
		if err != nil {
			return err
		}
		for rec := range run.All() {
			function := string(rec.Key)
			if b.passOver(function, rec.Sequence) {
				continue
			}
			if need := roomOf(rec); q.room.try(function, need) {
				b.begin(function, rec.Sequence)
				q.take(b, rec, need)
				continue
			}
			if err := q.lagging.Acquire(ctx, 1); err != nil {
				return err
			}
			b.fallBehind(function, rec.Sequence)
			readers.Go(func() error {
				defer q.lagging.Release(1)
				return q.catchUp(ctx, b, function)
			})
		}
	}
}

// catchUp takes up the calls of a function that is behind as there is room for them, until it has come to where the shard's reader is.
func (q *events) catchUp(ctx context.Context, b *backlog, function string) error {
	for {
		next, err := q.takeOn(b, function)
		if err != nil || next == 0 {
			return err
		}
		if err := q.takeLater(ctx, b, function, next); err != nil {
			return err
		}
	}
}

// takeOn takes up the calls of a function that is behind, until there is no room for one: next, which is open then; 0: the function is not behind any more.
func (q *events) takeOn(b *backlog, function string) (next uint64, err error) {
	after, to, behind := b.gap(function)
	if !behind {
		return 0, nil
	}
	r, err := b.st.Reader(b.shard, shards.Start{Kind: shards.AfterSequence, Sequence: after})
	if err != nil {
		return 0, err
	}
	defer func() {
		if gone := r.Trimmed() + r.Skipped(); gone > 0 {
			q.logger.Error("records have passed the stream's retention, or were damaged, that may have been invocations of a function that was behind", "stream", AsyncStream, "function", function, "records", gone)
		}
	}()
	for ; behind; _, to, behind = b.gap(function) {
		run, ok, err := r.TryNext()
		if errors.Is(err, shards.ErrShardEnd) || err == nil && !ok { // what was there up to then is gone
			b.follow(function, to, false)
			continue
		}
		if err != nil {
			return 0, err
		}
		for rec := range run.All() {
			its := string(rec.Key) == function
			if !b.follow(function, rec.Sequence, its) {
				return 0, nil
			}
			if !its {
				continue
			}
			need := roomOf(rec)
			if !q.room.try(function, need) {
				return rec.Sequence, nil
			}
			q.take(b, rec, need)
		}
	}
	return 0, nil
}

// takeLater takes up a call that is open, when there is room for it. What waits holds nothing of it.
func (q *events) takeLater(ctx context.Context, b *backlog, function string, sequence uint64) error {
	rec, found, err := b.record(sequence)
	key, need := string(rec.Key), roomOf(rec)
	if err == nil && found && !q.room.try(key, need) {
		rec = record.Record{}
		if err := q.room.wait(ctx, key, need); err != nil {
			return err
		}
		if rec, found, err = b.record(sequence); err != nil || !found {
			q.room.release(key, need)
		}
	}
	if err != nil {
		return err
	}
	if !found {
		q.logger.Error("an asynchronous invocation is not there any more: it is past its stream's retention, or was damaged", "function", function, "sequence", sequence)
		b.end(sequence)
		return nil
	}
	q.take(b, rec, need)
	return nil
}

// roomOf is what a call takes of the room while it is under way.
func roomOf(rec record.Record) int64 { return int64(max(len(rec.Data), leastUnderWay)) }

// take sees a call, which is open, through in the background. need is what it has of the room.
func (q *events) take(b *backlog, rec record.Record, need int64) {
	sequence, function := rec.Sequence, string(rec.Key) // what waits does not hold the run
	call, added, err := asyncCall(rec)
	b.under.Add(1)
	q.spawn(func(ctx context.Context) {
		defer b.under.Done()
		defer q.room.release(function, need)
		if err != nil {
			q.logger.Error("a record of the stream is no asynchronous invocation", "stream", AsyncStream, "sequence", sequence, "error", err)
		} else if !q.see(ctx, call, added) {
			return // the host stops; it is taken up again
		}
		b.end(sequence)
	})
}

// asyncCall reads a record of the stream; it copies what it keeps.
func asyncCall(rec record.Record) (call runtime.Call, added time.Time, err error) {
	text, payload, _ := bytes.Cut(rec.Data, []byte{'\n'})
	var h asyncHeader
	if err := json.Unmarshal(text, &h); err != nil {
		return call, added, err
	}
	if !utf8.Valid(rec.Key) {
		return call, added, errors.New("its key is no name of a function")
	}
	call = runtime.Call{
		Function: string(rec.Key), Version: h.Version, Alias: h.Alias, ID: h.ID, Kind: runtime.KindInvoke, Body: bytes.Clone(payload),
	}
	return call, h.Added, nil
}
