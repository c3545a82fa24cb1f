package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
)

// crashMappings are mappings of different settings that all read one stream.
var crashMappings = map[string]api.MappingConfig{
	"plain":   {},
	"lanes":   {Parallelization: 4, BatchSize: 7},
	"ten":     {Parallelization: 10, BatchSize: 1},
	"filter":  {Filters: []string{`{"partitionKey": [{"prefix": "1"}]}`}},
	"bisect":  {Bisect: true, BatchSize: 8, MaxAttempts: 2, OnFailure: "stream:failed-bisect"},
	"isolate": {Isolate: true, MaxAttempts: 1, OnFailure: "stream:failed-isolate", Parallelization: 2},
	"tumble":  {TumblingWindow: api.Duration(time.Second), BatchSize: 20},
	"window":  {BatchWindow: api.Duration(20 * time.Millisecond), BatchSize: 500, Deaggregate: new(false)},
}

// A real process is killed at random moments while records are put and mappings of all settings run. After each restart every acknowledged record is where it
// was acknowledged, no checkpoint has gone back, and nothing is behind one that its function has not handled, or that is not at its on-failure
// destination; the records of a key come out in order. At the end everything is handled.
func TestKilledMappings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	module := built(t, filepath.Join("testdata", "crash"))
	all := &acks{puts: map[string]api.PutResult{}, more: make(chan struct{}, 1)}
	proof := newCrashProof()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for round := range crashRounds(t) {
		p := startProcess(t, dir)
		client := clientAt(t, p.api)
		if round == 0 {
			prepareMappings(t, client, module)
		}
		proof.check(t, client, all)
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		moved := proof.watch(ctx, &work, client, proof.names[round%len(proof.names)])
		few, enough := context.WithCancel(ctx)
		work.Go(func() { all.put(few, client, fmt.Sprintf("%d.0", round)) })
		all.await(t, 1, p.ended)
		enough()
		select { // so that each life gets somewhere, though some have waits to sit out first
		case <-moved:
		case <-p.ended:
			t.Fatal("the host has ended by itself")
		}
		for putter := range 2 {
			work.Go(func() { all.put(ctx, client, fmt.Sprintf("%d.%d", round, 1+putter)) })
		}
		all.await(t, 1+rng.IntN(200), p.ended) // the random moment
		p.Process.Kill()
		<-p.ended
		cancel()
		work.Wait()
		if t.Failed() {
			t.Fatalf("in the life that kill %d ended", round+1)
		}
	}
	p := startProcess(t, dir)
	client := clientAt(t, p.api)
	proof.check(t, client, all)
	t.Logf("%d records acknowledged of %d sent; %s", len(all.puts), all.sent, proof.found())
	proof.finish(t, client)
}

func prepareMappings(t *testing.T, client *api.Client, module []byte) {
	t.Helper()
	var outs []string
	for name := range crashMappings {
		outs = append(outs, "out-"+name)
	}
	for _, name := range append([]string{"in", "failed-bisect", "failed-isolate"}, outs...) {
		shards := 1
		if name == "in" {
			shards = 2
		}
		if _, _, err := client.CreateStream(t.Context(), name, api.StreamConfig{Shards: shards}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := client.Deploy(t.Context(), "crash", bytes.NewReader(module), api.FunctionConfig{Emit: outs}); err != nil {
		t.Fatal(err)
	}
	for name, config := range crashMappings {
		config.Stream, config.Function = "in", "crash"
		if _, _, err := client.PutMapping(t.Context(), name, config); err != nil {
			t.Fatal(err)
		}
	}
}
