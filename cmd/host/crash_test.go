package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
)

// crashRounds is how often the process is killed; SHARDMILL_CRASH_ROUNDS sets another number (50 before a release).
func crashRounds(t *testing.T) int {
	t.Helper()
	v := os.Getenv("SHARDMILL_CRASH_ROUNDS")
	if v == "" {
		return 5
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("SHARDMILL_CRASH_ROUNDS is %q", v)
	}
	return n
}

// acks is what the host has acknowledged over all its lives.
type acks struct {
	mu   sync.Mutex
	puts map[string]api.PutResult // by the record's text
	sent int
	more chan struct{} // has a token when puts has grown
}

// await returns when n more records have been acknowledged than now.
func (a *acks) await(t *testing.T, n int, ended <-chan struct{}) {
	t.Helper()
	count := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.puts)
	}
	for until := count() + n; count() < until; {
		select {
		case <-a.more:
		case <-ended:
			t.Fatal("the host has ended by itself")
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// A real process is killed at random moments while records are put and a mapping runs: every acknowledged record is in its shard
// once and in order, every one reaches the function, and no checkpoint goes back.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := &acks{puts: map[string]api.PutResult{}, more: make(chan struct{}, 1)}
	checkpoints := map[string]api.Sequence{}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	rounds := crashRounds(t)
	for round := range rounds {
		p := startProcess(t, dir)
		client := clientAt(t, p.api)
		if round == 0 {
			prepareCrash(t, client)
		}
		sameOrLater(t, client, checkpoints)
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		for putter := range 4 {
			work.Go(func() { all.put(ctx, client, fmt.Sprintf("%d.%d", round, putter)) })
		}
		work.Go(func() {
			// What the host shows of its checkpoints before it dies is saved.
			for ctx.Err() == nil {
				note(ctx, client, checkpoints)
			}
		})
		all.await(t, 1+rng.IntN(1000), p.ended) // the random moment
		p.Process.Kill()
		<-p.ended
		cancel()
		work.Wait()
	}
	p := startProcess(t, dir)
	client := clientAt(t, p.api)
	sameOrLater(t, client, checkpoints)
	t.Logf("%d kills, %d records acknowledged of %d sent", rounds, len(all.puts), all.sent)
	if len(all.puts) == 0 {
		t.Fatal("nothing was acknowledged: the test proves nothing")
	}
	verifySource(t, client, all)
	verifyOutput(t, client, all)
}

func prepareCrash(t *testing.T, client *api.Client) {
	t.Helper()
	for name, shards := range map[string]int{"in": 4, "out": 1} {
		if _, _, err := client.CreateStream(t.Context(), name, api.StreamConfig{Shards: shards}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := client.Deploy(t.Context(), "out", bytes.NewReader(echoModule), api.FunctionConfig{Emit: []string{"out"}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.PutMapping(t.Context(), "echo", api.MappingConfig{Stream: "in", Function: "out"}); err != nil {
		t.Fatal(err)
	}
}

// put puts batches until the host is gone and notes what was acknowledged.
func (a *acks) put(ctx context.Context, client *api.Client, putter string) {
	for i := 0; ; {
		var records []api.PutRecord
		for range 1 + i%5 {
			text := fmt.Sprintf("%s.%06d", putter, i)
			records = append(records, api.PutRecord{PartitionKey: strconv.Itoa(i % 16), Text: &text})
			i++
		}
		a.mu.Lock()
		a.sent += len(records)
		a.mu.Unlock()
		answer, err := client.Put(ctx, "in", records)
		if err != nil {
			return
		}
		a.mu.Lock()
		for j, r := range answer.Results {
			if r.Error == "" {
				a.puts[*records[j].Text] = r
			}
		}
		a.mu.Unlock()
		select {
		case a.more <- struct{}{}:
		default:
		}
	}
}

// note writes down how far the mapping says it is.
func note(ctx context.Context, client *api.Client, checkpoints map[string]api.Sequence) {
	m, err := client.Mapping(ctx, "echo")
	if err != nil {
		return
	}
	for _, s := range m.Shards {
		checkpoints[s.Shard] = max(checkpoints[s.Shard], s.Checkpoint)
	}
}

func sameOrLater(t *testing.T, client *api.Client, before map[string]api.Sequence) {
	t.Helper()
	m, err := client.Mapping(t.Context(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	after := map[string]api.Sequence{}
	for _, s := range m.Shards {
		after[s.Shard] = s.Checkpoint
	}
	for shard, checkpoint := range before { // one that is not shown any more has gone back as well
		if after[shard] < checkpoint {
			t.Errorf("%s: checkpoint %d after the restart, %d before", shard, after[shard], checkpoint)
		}
	}
}

// verifySource reads the whole source stream: each acknowledged record stands where the answer said, each record at most once, and
// those of one putter and key in their order.
func verifySource(t *testing.T, client *api.Client, all *acks) {
	t.Helper()
	seen, last := map[string]bool{}, map[string]string{}
	for r, err := range client.Records(t.Context(), "in", api.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		text := string(r.Bytes())
		if seen[text] {
			t.Fatalf("%s is there twice", text)
		}
		seen[text] = true
		if want, ok := all.puts[text]; ok && (want.Shard != r.Shard || want.Sequence != r.Sequence) {
			t.Fatalf("%s is %d of %s, acknowledged as %d of %s", text, r.Sequence, r.Shard, want.Sequence, want.Shard)
		}
		line := text[:strings.LastIndex(text, ".")] + "/" + r.PartitionKey
		if last[line] >= text {
			t.Fatalf("%s after %s", text, last[line])
		}
		last[line] = text
	}
	for text := range all.puts {
		if !seen[text] {
			t.Fatalf("%s was acknowledged and is gone", text)
		}
	}
}

// verifyOutput waits until everything acknowledged has been through the function.
func verifyOutput(t *testing.T, client *api.Client, all *acks) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	missing := map[string]bool{}
	for text := range all.puts {
		missing[text] = true
	}
	for r, err := range client.Records(ctx, "out", api.ReadOptions{Follow: true}) {
		if err != nil {
			t.Fatalf("%d of %d acknowledged records have not reached the function: %v", len(missing), len(all.puts), err)
		}
		if delete(missing, string(r.Bytes())); len(missing) == 0 {
			return
		}
	}
	t.Fatalf("%d of %d acknowledged records have not reached the function", len(missing), len(all.puts))
}
