package api

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// part is what a shard's goroutine hands to the one that writes.
type part struct {
	shard string
	run   record.Run
	err   error
}

// follow answers records as they arrive, until the client goes, the host stops,
// the limit is reached, the stream is deleted or no shard is left to follow. Each
// shard has a goroutine that waits for its records; follow waits for them all.
func (r *recordFeed) follow(c *call, st *shards.Stream, reads []*shardRead, over []shards.ShardDescription, open func(shards.ShardID) (*shardRead, error)) error {
	ctx, cancel := c.untilStop(c.context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	r.alone = false
	parts := make(chan part)
	w := &follower{
		parts: parts, group: &group, started: map[shards.ShardID]bool{}, ended: map[shards.ShardID]bool{},
		running: 1, // so that no shard that ends at once is the last
		shards: func() ([]shards.ShardDescription, error) {
			d, err := c.streams.Describe(ctx, st.Name())
			return d.Shards, err
		},
		open: open, children: open != nil,
	}
	for _, s := range over {
		w.started[s.ID], w.ended[s.ID] = true, true
	}
	for _, s := range reads {
		w.start(ctx, s)
	}
	w.leave()
	return pump(ctx, r.feed, parts, func(p part) (full bool, err error) {
		switch {
		case errors.Is(p.err, shards.ErrNotFound): // all shards are gone with the stream: it is said once
			return true, r.feed.value("problem", &Record{Problem: deleted(st.Name())})
		case p.err != nil:
			return false, r.fail(p.shard, p.err)
		}
		for rec := range p.run.All() {
			if full, err = r.write(p.shard, &rec); full || err != nil {
				break
			}
		}
		return full, err
	})
}

// deleted is the problem that ends a follow of a stream that is deleted.
func deleted(stream string) *Problem {
	p := problem(KindStreamNotFound, "").because("The stream "+quote(stream)+" has been deleted.", "GET /v1/streams lists those there are.")
	p.Field, p.Value, p.Limit = "name", stream, "the name of a stream that exists"
	return p
}

// follower starts the goroutines of a follow. A shard is followed once all its
// parents have been followed to their end, so that a key's records come in order.
type follower struct {
	shards   func() ([]shards.ShardDescription, error) // those there are now
	open     func(shards.ShardID) (*shardRead, error)  // at the oldest record that is asked for
	parts    chan<- part
	group    *sync.WaitGroup
	children bool // go on with the children of shards that end

	mu      sync.Mutex
	started map[shards.ShardID]bool
	ended   map[shards.ShardID]bool
	running int // goroutines that may still hand something on
}

// start follows a shard unless it is followed already.
func (w *follower) start(ctx context.Context, s *shardRead) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started[s.id] {
		return
	}
	w.started[s.id] = true
	w.running++
	w.group.Go(func() { defer w.leave(); w.run(ctx, s) })
}

// leave ends the follow with the last shard that is followed.
func (w *follower) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running--; w.running == 0 {
		close(w.parts)
	}
}

// run hands on a shard's records until it fails or ends.
func (w *follower) run(ctx context.Context, s *shardRead) {
	for {
		run, err := s.reader.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, shards.ErrShardEnd) {
			w.descend(ctx, s.id)
			return
		}
		if !w.hand(ctx, part{s.name, run, err}) || err != nil {
			return
		}
	}
}

// hand gives a part to the one that writes; false when the follow has ended.
func (w *follower) hand(ctx context.Context, p part) bool {
	select {
	case w.parts <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

// descend goes on with the shards that waited for a shard to end.
func (w *follower) descend(ctx context.Context, ended shards.ShardID) {
	if !w.children {
		return
	}
	all, err := w.shards()
	if err != nil {
		w.hand(ctx, part{shard: ended.String(), err: err})
		return
	}
	w.mu.Lock()
	w.ended[ended] = true
	ready := w.ready(all)
	w.mu.Unlock()
	for _, id := range ready {
		s, err := w.open(id)
		if err != nil {
			w.hand(ctx, part{shard: id.String(), err: err})
			continue
		}
		w.start(ctx, s)
	}
}

// ready are the shards that are not followed yet and have no parent that still
// has to be. The caller holds mu.
func (w *follower) ready(all []shards.ShardDescription) (ids []shards.ShardID) {
	waiting := map[shards.ShardID]bool{}
	for _, s := range all {
		waiting[s.ID] = !w.ended[s.ID]
	}
	for _, s := range all {
		if !w.started[s.ID] && !slices.ContainsFunc(s.Parents, func(p shards.ShardID) bool { return waiting[p] }) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}
