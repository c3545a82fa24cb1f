package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmill/shardmill/api"
)

const (
	// pollInterval is how often dev asks how far the mapping is.
	pollInterval = 25 * time.Millisecond
	// onceAttempts is how often a batch may fail before dev --once gives up.
	onceAttempts = 5
)

// output is a stream the function emits to: what was emitted during this session, and up to where it has been read.
type output struct {
	tally *tally
	next  map[string]api.Sequence // by shard: the first record not read
}

// newOutput begins behind what the stream holds already.
func newOutput(stream api.Stream, columns []tallyColumn) *output {
	o := &output{tally: newTally(stream.Name, columns), next: make(map[string]api.Sequence)}
	for _, shard := range stream.Shards {
		o.next[shard.ID] = shard.Next
	}
	return o
}

// read adds up what has been emitted since the last read.
func (o *output) read(ctx context.Context, c *api.Client) error {
	stream, err := c.Stream(ctx, o.tally.stream)
	if err != nil {
		return err
	}
	for _, shard := range stream.Shards {
		from := max(o.next[shard.ID], shard.Oldest)
		if from >= shard.Next {
			continue
		}
		for r, err := range c.Records(ctx, stream.Name, api.ReadOptions{Shard: shard.ID, From: from.String()}) {
			if err != nil {
				return err
			}
			o.tally.add(r.PartitionKey, r.Bytes())
			o.next[shard.ID] = r.Sequence + 1
		}
	}
	return nil
}

// feed puts the events, waits until the function has processed them, and shows what came of it.
func (s *session) feed(ctx context.Context) error {
	s.fed = time.Now()
	answer, err := s.putEvents(ctx, s.client, s.config.stream, s.config.feed, s.config.key)
	if err != nil {
		return err
	}
	p, err := s.awaitProcessed(ctx, answer.Put)
	if err != nil {
		return err
	}
	took := time.Since(s.fed)
	if err := s.report(ctx, p); err != nil {
		return err
	}
	s.say("%s records of %s in %s: %s records/s, %s invocations, iterator age %s (at most %s)",
		thousands(answer.Put), s.config.stream, shortDuration(took), thousands(int64(float64(answer.Put)/took.Seconds())),
		thousands(int64(p.counts.Invocations)), shortDuration(p.iteratorAge), shortDuration(s.oldest))
	if refused := putFailed(answer); refused != nil {
		if s.config.once {
			return refused
		}
		s.say("%s", refused)
	}
	return nil
}

// position is how far the mapping is in the stream.
type position struct {
	processed   bool // nothing put so far is left to do
	counts      api.MappingCounts
	iteratorAge time.Duration
	attempt     int    // of the batch that has failed most often
	failure     string // what it said
}

// progressOf compares the checkpoints with the ends of the shards. The stream is described first: what is put after
// that does not count.
func (s *session) progressOf(ctx context.Context) (position, error) {
	stream, err := s.client.Stream(ctx, s.config.stream)
	if err != nil {
		return position{}, err
	}
	if s.unmapped {
		return position{}, nil
	}
	m, err := s.client.Mapping(ctx, s.mapping())
	if err != nil {
		return position{}, err
	}
	checkpoints := make(map[string]api.Sequence)
	p := position{counts: m.Counts}
	for _, shard := range m.Shards {
		checkpoints[shard.Shard] = shard.Checkpoint
		p.iteratorAge = max(p.iteratorAge, time.Duration(shard.IteratorAge))
		if shard.LastError != "" && shard.Attempt >= p.attempt {
			p.attempt, p.failure = shard.Attempt, fmt.Sprintf("%s: %s", shard.Shard, shard.LastError)
		}
	}
	p.processed = true
	for _, shard := range stream.Shards {
		if shard.Next > shard.Oldest && checkpoints[shard.ID]+1 < shard.Next {
			p.processed = false
		}
	}
	s.oldest = max(s.oldest, p.iteratorAge)
	return p, nil
}

// awaitProcessed waits until the records put before, total of them, have been processed. It tells of the function's failures, and with
// --once gives up when a batch keeps failing; else the function can be mended meanwhile.
func (s *session) awaitProcessed(ctx context.Context, total int64) (position, error) {
	bar := s.newCountProgress("process "+s.config.stream, total)
	defer bar.done()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		p, err := s.progressOf(ctx)
		if err != nil || p.processed {
			return p, err
		}
		if s.config.once && p.attempt > onceAttempts {
			return p, fmt.Errorf("given up after %d attempts at the same records: %s", p.attempt-1, p.failure)
		}
		s.tell(p)
		bar.set(min(int64(p.counts.Settled), total))
		select {
		case <-ctx.Done():
			return p, ctx.Err()
		case swapped := <-s.swapped:
			if err := s.restart(ctx, swapped); err != nil {
				return p, err
			}
		case <-tick.C:
		}
	}
}

// tell says a failure once.
func (s *session) tell(p position) {
	if p.failure != "" && p.failure != s.told {
		s.say("%s; the batch is tried again", p.failure)
	}
	s.told = p.failure
}

// report shows what the function has emitted since the session began.
func (s *session) report(ctx context.Context, p position) error {
	s.reported = p.counts.Settled
	outputs := s.outputsNow()
	if len(outputs) == 0 {
		s.say("%s emits to no stream: name one with --emit, or in %s", s.config.name, manifestFile)
	}
	for i, o := range outputs {
		if err := o.read(ctx, s.client); err != nil {
			return err
		}
		t := o.tally
		if s.output == outputJSON {
			if err := t.writeJSON(s.out, len(outputs) > 1); err != nil {
				return err
			}
			continue
		}
		if len(outputs) > 1 {
			if i > 0 {
				fmt.Fprintln(s.out)
			}
			fmt.Fprintf(s.out, "%s\n", t.stream)
		}
		if err := t.writeTable(s.out, s.config.rows); err != nil {
			return err
		}
	}
	return nil
}

// stay shows what comes out of further records until ctx ends.
func (s *session) stay(ctx context.Context, watching <-chan error) error {
	tick := time.NewTicker(10 * pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-watching:
			if err == nil {
				err = errors.New("the source is not watched any more")
			}
			return err
		case swapped := <-s.swapped:
			if err := s.again(ctx, swapped); err != nil {
				return err
			}
			continue
		case <-tick.C:
		}
		p, err := s.progressOf(ctx)
		if err != nil {
			return err
		}
		s.tell(p)
		if !p.processed || p.counts.Settled == s.reported {
			continue
		}
		more := int64(p.counts.Settled - s.reported)
		if err := s.report(ctx, p); err != nil {
			return err
		}
		s.say("%s more records of %s, %s invocations", thousands(more), s.config.stream, thousands(int64(p.counts.Invocations)))
	}
}
