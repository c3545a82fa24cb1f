package triggers

import (
	"context"
	"slices"
	"sync"

	"github.com/shardmill/shardmill/shards"
)

// crew is the pollers of a mapping, from a start to its stop.
type crew struct {
	r           *runner
	consumer    string
	stopReading context.CancelCauseFunc
	cutOff      context.CancelFunc
	launch      func(*poller) // begins a poller's goroutine; nil = the mapping is paused, and none runs
	wg          sync.WaitGroup

	mu     sync.Mutex
	family family
}

// newCrew makes the pollers of a source's shards, which go on counting where those of was left off; that may be nil.
func newCrew(r *runner, consumer string, was *crew, paused bool) *crew {
	c := &crew{r: r, consumer: consumer}
	if !paused {
		read, stopReading := context.WithCancelCause(context.Background())
		work, cutOff := context.WithCancel(context.Background())
		c.stopReading, c.cutOff = stopReading, cutOff
		c.launch = func(p *poller) { c.begin(p, read, work) }
		if r.trial != nil {
			c.wg.Go(func() { c.keepTallies(read, work) })
		}
	}
	if was != nil {
		_, c.family.past = was.pollers()
	}
	c.follow(nil, was)
	return c
}

func (c *crew) begin(p *poller, read, work context.Context) {
	mine, stop := context.WithCancelCause(read)
	p.stop = stop
	p.progress.running()
	c.wg.Go(func() {
		defer stop(errStopped)
		ended := p.run(mine, work)
		if c.r.trial != nil {
			p.keepTally(work, true)
		}
		if ended {
			c.follow(p, nil)
			if p.calls.emitted() { // nothing can be in doubt any more
				forgetMarkers(work, c.r, producer(c.r.settings.Load().ID, p.shard))
			}
		}
	})
}

// follow starts what can be read: at first, and after a poller has come to the end of its shard.
func (c *crew) follow(ended *poller, was *crew) {
	listed := c.r.source.Shards()
	c.mu.Lock()
	c.family.end(ended)
	missing := c.family.missing(listed)
	c.mu.Unlock()
	var made []*poller
	for _, shard := range missing {
		made = append(made, c.newPoller(shard, was))
	}
	c.mu.Lock()
	c.family.take(made, listed)
	var ready []*poller
	if c.launch != nil {
		ready = c.family.ready()
	}
	c.mu.Unlock()
	for _, p := range ready {
		c.launch(p)
	}
}

// newPoller makes the poller of a shard, which waits for its parents'.
func (c *crew) newPoller(shard shards.ShardID, was *crew) *poller {
	cp, ok := c.r.source.Checkpoint(c.consumer, shard)
	if !ok {
		cp = shards.Checkpoint{Consumer: c.consumer, Shard: uint32(shard)}
	}
	p := &poller{r: c.r, shard: shard, parents: c.r.source.Parents(shard), log: c.r.log.With("shard", shard.String())}
	if c.r.trial != nil {
		c.r.trial.load(c.r.source, shard, p.log)
	}
	if was != nil {
		if before := was.poller(shard); before != nil {
			p.progress.carry(before)
		}
	}
	if p.progress.status.State = ShardWaiting; c.launch == nil {
		p.progress.status.State = ShardStopped
	}
	p.lane.p = p
	state, err := parseState(cp.State)
	p.window, p.calls, p.broken = state.window, state.calls, err
	p.feed.resume(state.ahead)
	p.saver = newSaver(c.r.source, cp, c.r.retry.Failure, p.saveFailed)
	return p
}

// pollers are those of all shards, and the counts of shards that are gone.
func (c *crew) pollers() ([]*poller, Counts) {
	if c == nil {
		return nil, Counts{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.family.pollers), c.family.past
}

func (c *crew) poller(shard shards.ShardID) *poller {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.family.byShard[shard]
}

// stop ends reading; invocations go on.
func (c *crew) stop() {
	if c != nil && c.stopReading != nil {
		c.stopReading(errStopped)
	}
}

// cut ends the invocations under way.
func (c *crew) cut() {
	if c != nil && c.cutOff != nil {
		c.cutOff()
	}
}

// wait waits until no poller runs.
func (c *crew) wait() {
	if c != nil {
		c.wg.Wait()
	}
}
