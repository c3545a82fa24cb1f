package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
)

// crashProof is what is known of the crash test's mappings, over all lives of the host.
type crashProof struct {
	names    []string
	mappings map[string]*mappingProof
	source   map[string]sourceRecord // by text
	keys     map[string][]string     // texts by partition key, in order

	checks, settled int // restarts that were looked at; records that were behind a checkpoint then, of all mappings
}

// sourceRecord is a record of the stream that the mappings read.
type sourceRecord struct {
	key      string
	place    int // among those of its key
	shard    string
	sequence api.Sequence
	second   int64 // of its arrival, or of a later one before it: the tumbling window it is in
}

// mappingProof is what has been seen of one mapping.
type mappingProof struct {
	name        string
	checkpoints map[string]api.Sequence // the furthest that was shown, by shard
	out, failed api.Sequence            // the last record of the output and of the destination that was looked at
	handled     map[string]bool         // texts that came out
	givenUp     map[string]bool         // texts that are at the destination
	next        map[string]int          // by key: the place behind the furthest that came out
	again       int                     // what came out more than once
}

func newCrashProof() *crashProof {
	c := &crashProof{names: slices.Sorted(maps.Keys(crashMappings)), mappings: map[string]*mappingProof{}}
	for _, name := range c.names {
		c.mappings[name] = &mappingProof{
			name: name, checkpoints: map[string]api.Sequence{}, handled: map[string]bool{}, givenUp: map[string]bool{}, next: map[string]int{},
		}
	}
	return c
}

// watch notes how far the mappings say they are until the host is gone. What it returns is closed when the named one has moved a checkpoint.
func (c *crashProof) watch(ctx context.Context, work *sync.WaitGroup, client *api.Client, name string) <-chan struct{} {
	moved := make(chan struct{})
	before := maps.Clone(c.mappings[name].checkpoints)
	work.Go(func() {
		for done := false; ctx.Err() == nil; {
			if c.note(ctx, client) != nil {
				return
			}
			if !done && !maps.Equal(c.mappings[name].checkpoints, before) {
				close(moved)
				done = true
			}
		}
	})
	return moved
}

// note writes down how far the mappings say they are.
func (c *crashProof) note(ctx context.Context, client *api.Client) error {
	for _, name := range c.names {
		m, err := client.Mapping(ctx, name)
		if err != nil {
			return err
		}
		checkpoints := c.mappings[name].checkpoints
		for _, s := range m.Shards {
			checkpoints[s.Shard] = max(checkpoints[s.Shard], s.Checkpoint)
		}
	}
	return nil
}

// check looks at a host that has just started, and to which nothing has been put yet.
func (c *crashProof) check(t *testing.T, client *api.Client, all *acks) {
	t.Helper()
	c.checks++
	c.neverBack(t, client)
	verifySource(t, client, all)
	c.readSource(t, client)
	for _, name := range c.names {
		p := c.mappings[name]
		c.read(t.Context(), t, client, p, false)
		c.settled += c.verifySettled(t, p)
	}
}

// neverBack compares the checkpoints with what was shown before, and writes them down: what is behind them now was emitted before, so it is read after this.
func (c *crashProof) neverBack(t *testing.T, client *api.Client) {
	t.Helper()
	for _, name := range c.names {
		m, err := client.Mapping(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		now := map[string]api.Sequence{}
		for _, s := range m.Shards {
			now[s.Shard] = s.Checkpoint
		}
		for shard, before := range c.mappings[name].checkpoints { // one that is not shown any more has gone back as well
			if now[shard] < before {
				t.Errorf("%s, %s: checkpoint %d after the restart, %d before", name, shard, now[shard], before)
			}
		}
		c.mappings[name].checkpoints = now
	}
}

func (c *crashProof) readSource(t *testing.T, client *api.Client) {
	t.Helper()
	c.source, c.keys = map[string]sourceRecord{}, map[string][]string{}
	second := map[string]int64{}
	for r, err := range client.Records(t.Context(), "in", api.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		second[r.Shard] = max(second[r.Shard], r.Arrival.Unix())
		c.source[string(r.Bytes())] = sourceRecord{r.PartitionKey, len(c.keys[r.PartitionKey]), r.Shard, r.Sequence, second[r.Shard]}
		c.keys[r.PartitionKey] = append(c.keys[r.PartitionKey], string(r.Bytes()))
	}
}

// due says whether a mapping's function has to handle a record.
func (p *mappingProof) due(key, text string) bool {
	return !p.fails(text) && (p.name != "filter" || strings.HasPrefix(key, "1"))
}

// fails says whether a mapping has to give a record up, see testdata/crash.
func (p *mappingProof) fails(text string) bool {
	sum, m := crc32.ChecksumIEEE([]byte(text)), crashMappings[p.name]
	return m.OnFailure != "" && (sum%199 == 0 || sum%401 == 0 && m.MaxAttempts == 1)
}

// read looks at what has come out of a mapping since the last time, and then at its destination: with follow until all records of the source are there.
func (c *crashProof) read(ctx context.Context, t *testing.T, client *api.Client, p *mappingProof, follow bool) {
	handled, givenUp := 0, 0
	for text, r := range c.source {
		if p.due(r.key, text) && !p.handled[text] {
			handled++
		}
		if p.fails(text) && !p.givenUp[text] {
			givenUp++
		}
	}
	c.each(ctx, t, client, "out-"+p.name, &p.out, follow, &handled, func(r *api.Record) { c.cameOut(t, p, string(r.Bytes()), &handled) })
	if crashMappings[p.name].OnFailure != "" {
		c.each(ctx, t, client, "failed-"+p.name, &p.failed, follow, &givenUp, func(r *api.Record) { c.document(t, p, r.Bytes(), &givenUp) })
	}
}

// each has records looked at from the one behind last on: all that are there, or, with follow, until there are none left to come.
func (c *crashProof) each(ctx context.Context, t *testing.T, client *api.Client, stream string, last *api.Sequence, follow bool, left *int, look func(*api.Record)) {
	if follow && *left == 0 {
		return
	}
	options := api.ReadOptions{Follow: follow}
	if *last != 0 {
		options.From = strconv.FormatUint(uint64(*last), 10)
	}
	for r, err := range client.Records(ctx, stream, options) {
		if err != nil {
			t.Errorf("%s: %d records have not come: %v", stream, *left, err)
			return
		}
		if r.Sequence <= *last {
			continue
		}
		*last = r.Sequence
		if look(&r); follow && *left == 0 {
			return
		}
	}
}

// cameOut notes a record that a mapping's function has emitted: those before it of its key that are due came out before.
func (c *crashProof) cameOut(t *testing.T, p *mappingProof, text string, left *int) {
	r, known := c.source[text]
	if !known || !p.due(r.key, text) {
		t.Errorf("%s: %q came out", p.name, text)
		return
	}
	for _, before := range c.keys[r.key][min(p.next[r.key], r.place):r.place] {
		if p.due(r.key, before) && !p.handled[before] {
			t.Errorf("%s: %s came out before %s", p.name, text, before)
		}
	}
	p.next[r.key] = max(p.next[r.key], r.place+1)
	if p.handled[text] {
		p.again++
		return
	}
	p.handled[text] = true
	*left--
}

// document notes the records of a document at a mapping's destination.
func (c *crashProof) document(t *testing.T, p *mappingProof, data []byte, left *int) {
	var doc onFailure
	var event struct {
		Records []struct {
			Kinesis struct{ Data []byte }
		}
	}
	if json.Unmarshal(data, &doc) != nil || doc.Payload == nil || json.Unmarshal([]byte(*doc.Payload), &event) != nil {
		t.Errorf("%s: the destination has %s", p.name, data)
		return
	}
	for _, r := range event.Records {
		text := string(r.Kinesis.Data)
		if _, known := c.source[text]; !known || !p.fails(text) {
			t.Errorf("%s: %q was given up", p.name, text)
		}
		if !p.givenUp[text] {
			p.givenUp[text] = true
			*left--
		}
	}
}

// verifySettled makes sure that everything behind a mapping's checkpoints was handled or is at its destination, and likewise what was given up of a key before
// something that came out. In tumbling windows records come out when their window has ended: that it has is known where the checkpoint is in a later one.
func (c *crashProof) verifySettled(t *testing.T, p *mappingProof) (settled int) {
	window := map[string]int64{} // that the checkpoint is in, by shard
	for _, r := range c.source {
		if r.sequence <= p.checkpoints[r.shard] {
			window[r.shard] = max(window[r.shard], r.second)
		}
	}
	for text, r := range c.source {
		if p.fails(text) && !p.givenUp[text] && r.place < p.next[r.key] {
			t.Errorf("%s: %s came out, and %s before it was given up and is not at the destination", p.name, c.keys[r.key][p.next[r.key]-1], text)
		}
		if r.sequence > p.checkpoints[r.shard] || p.name == "tumble" && r.second == window[r.shard] {
			continue
		}
		settled++
		if p.due(r.key, text) && !p.handled[text] || p.fails(text) && !p.givenUp[text] {
			t.Errorf("%s: %s, %d of %s, is settled (the checkpoint is %d), and nothing has handled it", p.name, text, r.sequence, r.shard, p.checkpoints[r.shard])
		}
	}
	return settled
}

// finish waits until the mappings have nothing left, and looks at all of it.
func (c *crashProof) finish(t *testing.T, client *api.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute*time.Duration(1+crashRounds(t)/5))
	defer cancel()
	var work sync.WaitGroup
	for _, p := range c.mappings {
		work.Go(func() { c.read(ctx, t, client, p, true) })
	}
	work.Wait()
	for _, name := range c.names {
		for !t.Failed() && !atTip(ctx, t, client, "in", name) {
		}
	}
	c.neverBack(t, client)
	for _, p := range c.mappings {
		c.verifySettled(t, p)
	}
}

// found says what the proof rests on.
func (c *crashProof) found() string {
	var again []string
	for _, name := range c.names {
		again = append(again, fmt.Sprintf("%s %d", name, c.mappings[name].again))
	}
	return fmt.Sprintf("after %d restarts %d were behind checkpoints and had been handled; came out again: %s", c.checks-1, c.settled, strings.Join(again, ", "))
}
