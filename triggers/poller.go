package triggers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// What ends a poller, as the cause of its context or the error of process.
var (
	errStopped = errors.New("stopped")
	errCutOff  = errors.New("cut off by the end of the drain time")
	errLost    = errors.New("another owner has moved the checkpoint; this shard is not read here any more")
)

// poller reads one shard for a mapping. Its methods belong to its goroutine; what others may see is in progress and saver.
type poller struct {
	r       *runner
	shard   shards.ShardID
	parents []shards.ShardID
	stage   stage // the family's
	log     *slog.Logger
	saver   *saver
	stop    context.CancelCauseFunc // ends reading

	reader     Reader // nil until it could be opened
	next       uint64 // sequence number that should be read next
	errors     int    // read errors in a row
	feed       feed
	lane       lane // that of a shard without parallelization
	fan        *fan // nil: there is none
	window     window
	calls      calls
	doubts     []*doubt      // of lanes, from before this poller began
	redoing    *doubt        // the one of them whose call is being made again by lane
	generation atomic.Uint64 // of the states of lanes
	broken     error         // why the state in the checkpoint cannot be read

	progress progress
}

// run is the poller's goroutine: read, batch, invoke, decide, checkpoint. read ends with the first stop
// signal, work with the end of the drain time. It says whether the shard has been read to its end, and all of it is settled and saved.
func (p *poller) run(read, work context.Context) (ended bool) {
	p.lane.called = time.Now()
	for {
		err := p.round(read, work)
		if err != nil && !p.resume(read, err) {
			ended = errors.Is(err, shards.ErrShardEnd) || errors.Is(err, shards.ErrNoShard)
			break
		}
	}
	if p.fan != nil {
		p.fan.end()
	}
	p.feed.reset()
	p.lane.end()
	if err := p.saver.wait(); err != nil {
		p.log.Error("the last checkpoint was not saved; the records after the one before it will be delivered again", "error", err)
		if work.Err() != nil {
			p.progress.cutOff("its last checkpoint is not saved")
		}
		return false
	}
	return ended
}

// round sees one batch through; with several lanes it goes on until there is an error or the number of lanes changes.
func (p *poller) round(read, work context.Context) error {
	if p.reader == nil {
		if err := p.open(); err != nil {
			return err
		}
	}
	if len(p.doubts) > 0 {
		return p.redoLanes(read, work)
	}
	s := p.r.settings.Load()
	switch {
	case p.fan == nil && (p.lane.doubt != nil || p.lanes(s) == 1 && !s.isolates()):
		if err := p.fill(read, work); err != nil {
			return err
		}
		return p.lane.process(read, work)
	case p.fan == nil:
		if p.window.isOpen() {
			return p.lane.closeWindow(read, work, false)
		}
		if err := p.between(); err != nil {
			return err
		}
		p.calls.enter(0) // the state of lanes says it
		p.fan = newFan(p, p.lanes(s), s.isolates())
		if err := p.fan.begin(work); err != nil {
			return err
		}
	}
	err := p.fan.deal(read, work)
	if read.Err() != nil {
		p.fan.running.Wait() // what is under way ends first
	}
	if errors.Is(err, shards.ErrShardEnd) || errors.Is(err, shards.ErrNoShard) {
		if stopped := p.fan.drain(read); stopped != nil {
			err = stopped
		}
	}
	if err == nil { // another number of lanes is wanted, and all are idle
		p.fan.end()
		p.fan = nil
		p.progress.rearranged()
		err = p.between()
	}
	return err
}

// open starts reading behind the checkpoint, or at the starting position when there is none.
func (p *poller) open() error {
	m := p.r.settings.Load()
	if !p.r.source.HasConsumer(m.Consumer) {
		return noConsumer(m.Consumer)
	}
	if p.broken != nil {
		return p.broken
	}
	reader, err := p.r.source.Reader(p.shard, p.start(m))
	if err != nil {
		return err
	}
	if err := p.recall(m); err != nil {
		return err
	}
	if m.Consumer != "" {
		reader = &registered{Reader: reader, source: p.r.source, consumer: m.Consumer}
	}
	p.reader, p.next = reader, reader.Position()
	p.progress.opened(reader)
	return nil
}

// start is where reading starts.
func (p *poller) start(s *settings) shards.Start {
	cp, _ := p.saver.checkpoint()
	switch {
	case cp.Sequence != 0:
		return shards.Start{Kind: shards.AfterSequence, Sequence: cp.Sequence}
	case s.StartingPosition == AtTime:
		return shards.Start{Kind: shards.AtTime, Time: s.StartingTime}
	}
	return shards.Start{Kind: shards.Oldest}
}

// reached is the place of the record that is next to be taken from the feed, or read.
func (p *poller) reached() place {
	if r, ok := p.feed.peek(); ok {
		return place{r.Sequence, p.feed.index}
	}
	return place{p.next, 0}
}

// atHand is a context that is done: reading with it returns only what need not be waited for.
var atHand = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// fill makes the next batch. It waits for the first record that the filter lets through; the batch is cut at the end of the batch window, which began when the
// call before ended, at the batch size or at the payload limit, whichever comes first. A window that is over has the batch be what is at hand.
func (p *poller) fill(read, work context.Context) error {
	if p.lane.doubt != nil {
		if have, err := p.redo(read, work); have || err != nil {
			return err
		}
	}
	b := &p.lane.batch
	b.reset()
	s, full, l := p.r.settings.Load(), false, limits{}
	for b.records == 0 {
		if err := read.Err(); err != nil {
			return err
		}
		if p.feed.empty() {
			if err := p.await(read, work); err != nil {
				return err
			}
			s = p.r.settings.Load()
		}
		l = s.limits
		if p.window.isOpen() || s.TumblingWindow > 0 {
			if err := p.tumble(read, work, s, &l); err != nil {
				return err
			}
		}
		if full = p.take(s, &l); b.records == 0 { // all that was read is passed over
			if err := p.settled(work, &p.lane); err != nil {
				return err
			}
		}
	}
	window := atHand
	if s.BatchWindow > 0 && !full {
		end := p.lane.called.Add(s.BatchWindow)
		if p.window.isOpen() {
			end = earlier(end, time.UnixMicro(p.window.end).Add(windowGrace))
		}
		var cancel context.CancelFunc
		window, cancel = context.WithDeadline(read, end)
		defer cancel()
	}
	for !full {
		// An error that is not the window's end comes again with the next batch's first read.
		if err := p.read(window); err != nil {
			break
		}
		full = p.take(s, &l)
	}
	return read.Err()
}

// take moves what has been read into the batch.
func (p *poller) take(s *settings, l *limits) (full bool) {
	b := &p.lane.batch
	full = p.feed.take(b, l, s.filter)
	polled, filtered := p.feed.counted()
	p.progress.read(polled, filtered, p.feed.rest.First().Arrival)
	if b.records > 0 {
		p.progress.holding(0, b.first().Arrival)
	}
	return full
}

// settled has the checkpoint follow what a lane has settled.
func (p *poller) settled(work context.Context, l *lane) error {
	if p.fan != nil {
		return p.saver.settle(work, p.fan.settled(l))
	}
	if p.redoing != nil {
		return p.redone(work, l)
	}
	position, inside := l.batch.settled(), uint32(0)
	if p.r.settings.Load().ExactlyOnce {
		position, inside = l.batch.settledInside()
	}
	p.calls.enter(inside)
	if position == 0 && p.window.blob == nil && !p.calls.used() {
		return nil
	}
	return p.saver.settle(work, p.mark(position))
}

// mark is what a checkpoint at a position is to have; 0 = where the last one was.
func (p *poller) mark(position uint64) mark {
	at := position
	if at == 0 {
		cp, _ := p.saver.checkpoint()
		at = cp.Sequence
	}
	return p.markOf(position, both(p.window.blob, p.feed.above(place{at + 1, p.calls.inside})))
}

// markOf is a mark with a state of a window or of lanes.
func (p *poller) markOf(position uint64, state []byte) mark {
	return mark{position, p.calls.wrap(state), p.window.generation + p.calls.generation + p.generation.Load()}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// read gives the feed the next records. Records that are missing before them have expired, or were lost with
// damage that the operator has accepted.
func (p *poller) read(ctx context.Context) error {
	if p.reader == nil {
		if err := p.open(); err != nil {
			return err
		}
	}
	run, err := p.reader.Next(ctx)
	if err != nil {
		return err
	}
	first := run.First().Sequence
	if first > p.next && record.Epoch(first) == record.Epoch(p.next) {
		p.progress.skipped(first - p.next)
		p.log.Error("records were gone before the function could have them: they expired, or were lost with accepted damage",
			"records", first-p.next, "first", p.next, "last", first-1)
	}
	p.next = first + uint64(run.Len())
	p.feed.fill(run, p.stored(p.r.settings.Load(), first))
	if p.calls.skip > 0 {
		if cp, _ := p.saver.checkpoint(); cp.Sequence+1 == first {
			p.feed.skip(p.calls.skip)
		}
		p.calls.skip = 0
	}
	if p.errors > 0 {
		p.errors = 0
		p.progress.running()
	}
	return nil
}

// resume decides after an error whether the poller goes on, and waits before it does.
func (p *poller) resume(read context.Context, err error) bool {
	if cause := context.Cause(read); cause != nil {
		err = cause
	}
	var damage *shards.DamageError
	switch {
	case errors.Is(err, errStopped), errors.Is(err, errCutOff):
		p.progress.ended(ShardStopped, nil)
		return false
	case errors.Is(err, shards.ErrClosed):
		p.progress.ended(ShardStopped, err)
		return false
	case errors.Is(err, shards.ErrShardEnd), errors.Is(err, shards.ErrNoShard): // the latter has passed the retention as a whole
		p.progress.ended(ShardEnded, nil)
		return false
	case errors.Is(err, shards.ErrRevision):
		p.log.Error("the shard's checkpoint has another owner; its poller stops", "error", err)
		p.progress.ended(ShardStopped, errLost)
		return false
	case errors.Is(err, shards.ErrNotFound):
		p.progress.ended(ShardStopped, err)
		p.r.fail(fmt.Errorf("stream %q has been deleted", p.r.settings.Load().Stream))
		return false
	case errors.As(err, &damage):
		p.unreadable(ShardDamaged, err)
	default:
		p.unreadable(ShardBlocked, err)
	}
	return sleep(read, jitter(p.r.retry.Refusal.delay(p.errors), rand.Float64())) || p.resume(read, err)
}

// unreadable notes that the shard cannot be read at present; it is logged once.
func (p *poller) unreadable(state ShardState, err error) {
	if p.errors++; p.errors == 1 {
		p.log.Error("the shard cannot be read; reading is tried again", "error", err)
	}
	p.progress.blocked(state, err)
}

// saveFailed is told by the saver about each save that failed, and nil when one succeeded after that.
func (p *poller) saveFailed(err error) {
	p.progress.saveFailed(err)
	switch {
	case errors.Is(err, shards.ErrRevision), errors.Is(err, shards.ErrNotFound), errors.Is(err, shards.ErrClosed):
		p.stop(err)
	case err != nil:
		p.log.Warn("the checkpoint could not be saved; saving is tried again", "error", err)
	}
}

// sleep waits for d, or until ctx is done; then it is false.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
