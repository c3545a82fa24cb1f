package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
)

// onceChains are two chains of two functions each over three streams: one with ExactlyOnce, and one without, which says what the kills do.
var onceChains = map[bool][]string{true: {"in", "middle", "last"}, false: {"in", "plain-middle", "plain-last"}}

// A real process is killed at random moments while records go through two functions, in changing numbers of lanes, and the streams are resized: everything that is in the first stream is in the
// last one exactly once.
func TestKilledChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := &acks{puts: map[string]api.PutResult{}, more: make(chan struct{}, 1)}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	again := 0
	for round := range crashRounds(t) {
		p := startProcess(t, dir)
		client := clientAt(t, p.api)
		if round == 0 {
			prepareChains(t, client)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		for putter := range 2 {
			work.Go(func() { all.put(ctx, client, fmt.Sprintf("%d.%d", round, putter)) })
		}
		all.await(t, 1+rng.IntN(300), p.ended)
		for _, stream := range []string{"in", "middle", "last"} {
			if _, err := client.ResizeStream(t.Context(), stream, 1+rng.IntN(4)); err != nil {
				t.Fatal(err)
			}
		}
		for i, to := range onceChains[true][1:] {
			config := chainConfig(true, i)
			config.Parallelization = 1 + rng.IntN(4)
			if _, _, err := client.PutMapping(t.Context(), to, config); err != nil {
				t.Fatal(err)
			}
		}
		all.await(t, 1+rng.IntN(300), p.ended)
		p.Process.Kill()
		<-p.ended
		cancel()
		work.Wait()
		again += strings.Count(p.log.String(), "it is made again")
	}
	p := startProcess(t, dir)
	client := clientAt(t, p.api)
	source := countRecords(t, client, "in")
	for once, chain := range onceChains {
		last := awaitChain(t, client, chain)
		missing, twice := 0, 0
		for text := range source {
			switch last[text] {
			case 0:
				missing++
			case 1:
			default:
				twice++
			}
		}
		if missing > 0 || len(last) != len(source) {
			t.Errorf("exactly once %v: %d of %d records are missing at the end of the chain, which has %d", once, missing, len(source), len(last))
		}
		if once && twice > 0 {
			t.Errorf("%d of %d records came out more than once", twice, len(source))
		}
		t.Logf("exactly once %v: %d of %d records came out more than once", once, twice, len(source))
	}
	t.Logf("%d calls were made again that had emitted", again+strings.Count(p.log.String(), "it is made again"))
}

func prepareChains(t *testing.T, client *api.Client) {
	t.Helper()
	for name, shards := range map[string]int{"in": 4, "middle": 2, "last": 1, "plain-middle": 2, "plain-last": 1} {
		if _, _, err := client.CreateStream(t.Context(), name, api.StreamConfig{Shards: shards}); err != nil {
			t.Fatal(err)
		}
	}
	for once, chain := range onceChains {
		for i, to := range chain[1:] {
			if _, _, err := client.Deploy(t.Context(), to, bytes.NewReader(echoModule), api.FunctionConfig{Emit: []string{to}}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := client.PutMapping(t.Context(), to, chainConfig(once, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// chainConfig is the i-th mapping of a chain, at first in three lanes.
func chainConfig(once bool, i int) api.MappingConfig {
	chain := onceChains[once]
	return api.MappingConfig{Stream: chain[i], Function: chain[i+1], BatchSize: 5, ExactlyOnce: once, Parallelization: 3}
}

// countRecords is how often each text is in a stream.
func countRecords(t *testing.T, client *api.Client, stream string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for r, err := range client.Records(t.Context(), stream, api.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		count[string(r.Bytes())]++
	}
	return count
}

// awaitChain waits until each mapping of a chain has settled all that its stream has, and counts what came out.
func awaitChain(t *testing.T, client *api.Client, chain []string) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute*time.Duration(1+crashRounds(t)/5))
	defer cancel()
	for i, mapping := range chain[1:] {
		for !atTip(ctx, t, client, chain[i], mapping) {
		}
	}
	return countRecords(t, client, chain[len(chain)-1])
}

// atTip says whether a mapping's checkpoints are at the ends of the stream's shards. It fails the test when ctx has ended.
func atTip(ctx context.Context, t *testing.T, client *api.Client, stream, mapping string) bool {
	t.Helper()
	s, err := client.Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := client.Mapping(ctx, mapping)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]api.Sequence{}
	for _, shard := range m.Shards {
		at[shard.Shard] = shard.Checkpoint
	}
	var behind []string
	for _, shard := range s.Shards {
		if shard.Oldest < shard.Next && at[shard.ID] != shard.Next-1 {
			behind = append(behind, shard.ID)
		}
	}
	if ctx.Err() != nil {
		t.Fatalf("mapping %s has not come to the end of %s", mapping, strings.Join(behind, ", "))
	}
	return len(behind) == 0
}
