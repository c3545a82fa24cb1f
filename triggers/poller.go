package triggers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// What ends a poller, as the cause of its context or the error of process.
var (
	errStopped = errors.New("stopped")
	errCutOff  = errors.New("cut off by the end of the drain time")
	errLost    = errors.New("another owner has moved the checkpoint; this shard is not read here any more")
)

// poller hands one shard's records to the mapping's function. Its methods belong to its goroutine; what
// others may see is in progress and saver.
type poller struct {
	r       *runner
	shard   shards.ShardID
	parents []shards.ShardID
	stage   stage // the family's
	log     *slog.Logger
	saver   *saver
	stop    context.CancelCauseFunc // ends reading

	reader Reader     // nil until it could be opened
	next   uint64     // sequence number that should be read next
	rest   record.Run // read, and not in a batch yet
	batch  batch
	hand   hand // what of the batch the next call has
	tries  tries
	errors int // read errors in a row

	rejections rejections
	unfinished string // what the end of the drain time cut off; "" = nothing. Read once the goroutine has ended

	progress progress
}

// run is the poller's goroutine: read, batch, invoke, decide, checkpoint. read ends with the first stop
// signal, work with the end of the drain time. It says whether the shard has been read to its end, and all of it is settled and saved.
func (p *poller) run(read, work context.Context) (ended bool) {
	for {
		err := p.fill(read)
		if err == nil {
			err = p.process(read, work)
		}
		if err != nil && !p.resume(read, err) {
			ended = errors.Is(err, shards.ErrShardEnd) || errors.Is(err, shards.ErrNoShard)
			break
		}
	}
	p.rejections.flush(p.log, time.Now(), true)
	p.rest = record.Run{}
	p.batch.reset()
	p.hand.release()
	if err := p.saver.wait(); err != nil {
		p.log.Error("the last checkpoint was not saved; the records after the one before it will be delivered again", "error", err)
		if work.Err() != nil && p.unfinished == "" {
			p.unfinished = "its last checkpoint is not saved"
		}
		return false
	}
	return ended
}

// open starts reading behind the checkpoint, or at the starting position when there is none.
func (p *poller) open() error {
	m := p.r.settings.Load()
	start := shards.Start{Kind: shards.Oldest}
	cp, _ := p.saver.checkpoint()
	switch {
	case cp.Sequence != 0:
		start = shards.Start{Kind: shards.AfterSequence, Sequence: cp.Sequence}
	case m.StartingPosition == AtTime:
		start = shards.Start{Kind: shards.AtTime, Time: m.StartingTime}
	}
	reader, err := p.r.source.Reader(p.shard, start)
	if err != nil {
		return err
	}
	p.reader, p.next = reader, reader.Position()
	p.progress.opened(reader)
	return nil
}

// atHand is a context that is done: reading with it returns only what need not be waited for.
var atHand = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// fill makes the next batch. It waits for the first record; then the batch window begins, and the batch
// is cut at its end, at the batch size or at the payload limit, whichever comes first.
func (p *poller) fill(ctx context.Context) error {
	p.batch.reset()
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.rest.Len() == 0 {
		if err := p.read(ctx); err != nil {
			return err
		}
	}
	p.progress.holding(p.rest.First().Arrival)
	m := p.r.settings.Load()
	full := p.batch.take(&p.rest, m.BatchSize, maxPayload)
	window := atHand
	if m.BatchWindow > 0 && !full {
		var cancel context.CancelFunc
		window, cancel = context.WithTimeout(ctx, m.BatchWindow)
		defer cancel()
	}
	for !full {
		// An error that is not the window's end comes again with the next batch's first read.
		if err := p.read(window); err != nil {
			break
		}
		full = p.batch.take(&p.rest, m.BatchSize, maxPayload)
	}
	return ctx.Err()
}

// read sets rest to the next records. Records that are missing before them have expired, or were lost with
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
	p.rest = run
	if p.errors > 0 {
		p.errors = 0
		p.progress.running()
	}
	return nil
}

// process sees the batch through until each of its records is settled or given up.
func (p *poller) process(read, work context.Context) error {
	p.tries = tries{}
	for {
		d, err := p.attempt(work)
		if err != nil {
			return err
		}
		if err := p.apply(work, d); err != nil {
			return err
		}
		if p.batch.records == 0 {
			return nil
		}
		if !sleep(read, jitter(d.Delay, rand.Float64())) {
			return context.Cause(read)
		}
	}
}

// attempt decides on the batch's age, and then on what the function makes of it.
func (p *poller) attempt(work context.Context) (decision, error) {
	s := p.r.settings.Load()
	p.hand.fill(&p.batch, &s.Mapping)
	f := facts{Records: p.hand.records}
	if s.MaxRecordAge > 0 {
		f.Expired = p.hand.of(p.batch.older(time.Now().Add(-s.MaxRecordAge).UnixMicro()))
	}
	if d := decide(f, outcome{}, p.tries, s.policy); d.Discard > 0 {
		return d, nil
	}
	o, err := p.invoke(work, s)
	if err != nil {
		return decision{}, err
	}
	return decide(f, o, p.tries, s.policy), nil
}

var replies = sync.Pool{New: func() any { return new(runtime.Reply) }}

// invoke calls the function once and classifies what came of it. Its only error is errCutOff.
func (p *poller) invoke(work context.Context, s *settings) (outcome, error) {
	reply := replies.Get().(*runtime.Reply)
	defer replies.Put(reply)
	p.progress.invoking(p.tries.Attempts + 1)
	p.r.batchSizes.Observe(float64(p.hand.records))
	first, last := p.sequence(0), p.sequence(p.hand.records-1)
	err := p.r.functions.Invoke(work, runtime.Call{
		Function: s.Function,
		Kind:     runtime.KindBatch,
		Source: runtime.Source{
			Mapping: s.Name, Stream: s.Stream, Shard: uint32(p.shard),
			First: first, Last: last,
		},
		Attempt: p.tries.Attempts + 1,
		Records: p.hand.runs,
	}, reply)
	if err != nil && work.Err() != nil {
		p.unfinished = fmt.Sprintf("the invocation for the records %d to %d", first, last)
		return outcome{}, errCutOff
	}
	o := outcome{Class: classify(err)}
	if o.Class == replied {
		var n settled
		o.RetryFrom, n = readOutcomes(reply.Outcomes, p.hand.records)
		if o.RetryFrom < p.hand.records {
			err = askedAgain(reply.Outcomes, o.RetryFrom)
		}
		if n != (settled{}) {
			p.progress.settled(n)
			p.rejections.note(reply.Outcomes, o.RetryFrom, p.sequence)
		}
		if len(p.rejections.reasons) > 0 {
			p.rejections.flush(p.log, time.Now(), false)
		}
	}
	p.progress.invoked(o, p.hand.records, err)
	return o, nil
}

// apply carries a decision out: what is settled or given up leaves the batch, and the checkpoint follows.
func (p *poller) apply(work context.Context, d decision) error {
	done := d.Settle + d.Discard
	if d.Discard > 0 {
		p.giveUp(d)
	}
	p.tries = d.Next
	if done == 0 {
		return nil
	}
	last := p.hand.drop(&p.batch, done)
	oldest := p.rest.First().Arrival // 0 when all that was read has been settled
	if p.batch.records > 0 {
		oldest = p.batch.first().Arrival
	}
	p.progress.advanced(d, p.batch.records, oldest)
	if last == 0 {
		return nil
	}
	return p.saver.settle(work, last)
}

// sequence is the number of the stored record that the i-th record of the call is, or is from.
func (p *poller) sequence(i int) uint64 { return p.hand.sequence(&p.batch, i) }

// giveUp counts and logs the records that d discards.
func (p *poller) giveUp(d decision) {
	g := GivenUp{
		First: p.sequence(d.Settle), Last: p.sequence(d.Settle + d.Discard - 1),
		Records: d.Discard, Reason: d.Reason, Attempts: p.tries.Attempts, Time: time.Now(),
	}
	if d.Reason == AttemptsExhausted {
		g.Attempts++ // the one that was just made
	}
	g.Error = p.progress.gaveUp(g)
	p.log.Error("records were given up", "reason", g.Reason, "records", g.Records,
		"first", g.First, "last", g.Last, "attempts", g.Attempts, "error", g.Error)
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
