package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"strings"
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

// A real process is killed at random moments while records are put and mappings of all settings run: every acknowledged record that a mapping's filter
// lets through comes out of its function or is at its on-failure destination, and the records of a key come out in order.
func TestKilledMappings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	module := built(t, filepath.Join("testdata", "crash"))
	all := &acks{puts: map[string]api.PutResult{}, more: make(chan struct{}, 1)}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for round := range crashRounds(t) {
		p := startProcess(t, dir)
		client := clientAt(t, p.api)
		if round == 0 {
			prepareMappings(t, client, module)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		for putter := range 2 {
			work.Go(func() { all.put(ctx, client, fmt.Sprintf("%d.%d", round, putter)) })
		}
		all.await(t, 1+rng.IntN(400), p.ended)
		p.Process.Kill()
		<-p.ended
		cancel()
		work.Wait()
	}
	p := startProcess(t, dir)
	client := clientAt(t, p.api)
	t.Logf("%d records acknowledged of %d sent", len(all.puts), all.sent)
	source := map[string][]string{} // texts by partition key, in order
	for r, err := range client.Records(t.Context(), "in", api.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		source[r.PartitionKey] = append(source[r.PartitionKey], string(r.Bytes()))
	}
	var checks sync.WaitGroup
	for name := range crashMappings {
		checks.Go(func() { verifyMapping(t, client, name, source) })
	}
	checks.Wait()
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

// verifyMapping waits until a mapping has nothing left, and looks at what came out of it.
func verifyMapping(t *testing.T, client *api.Client, name string, source map[string][]string) {
	givesUp := crashMappings[name].OnFailure != ""
	missing := map[string]bool{}
	order := map[string]int{} // place of a text among those of its key
	keyOf := map[string]string{}
	for key, texts := range source {
		for i, text := range texts {
			order[text], keyOf[text] = i, key
			missing[text] = name != "filter" || strings.HasPrefix(key, "1")
		}
	}
	left := 0
	for text := range missing {
		if givesUp && fails(name, text) {
			missing[text] = false
		}
		if missing[text] {
			left++
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute*time.Duration(1+crashRounds(t)/5))
	defer cancel()
	next := map[string]int{} // by key: the place behind the furthest that has come
	for r, err := range client.Records(ctx, "out-"+name, api.ReadOptions{Follow: true}) {
		if err != nil {
			t.Errorf("%s: %d records have not come out: %v", name, left, err)
			return
		}
		text := string(r.Bytes())
		key, known := keyOf[text]
		if !known || name == "filter" && !strings.HasPrefix(key, "1") {
			t.Errorf("%s: %q came out", name, text)
			return
		}
		for i := next[key]; i < order[text]; i++ {
			if missing[source[key][i]] {
				t.Errorf("%s: %s came out before %s", name, text, source[key][i])
				return
			}
		}
		next[key] = max(next[key], order[text]+1)
		if missing[text] {
			missing[text] = false
			left--
		}
		if left == 0 {
			break
		}
	}
	if givesUp {
		verifyGivenUp(t, client, name, source)
	}
}

// fails says whether a mapping that gives records up has to give that one up, see testdata/crash.
func fails(name, text string) bool {
	sum := crc32.ChecksumIEEE([]byte(text))
	return sum%199 == 0 || sum%401 == 0 && crashMappings[name].MaxAttempts == 1
}

// verifyGivenUp waits until every record that always fails is at the mapping's destination.
func verifyGivenUp(t *testing.T, client *api.Client, name string, source map[string][]string) {
	missing := map[string]bool{}
	for _, texts := range source {
		for _, text := range texts {
			if fails(name, text) {
				missing[text] = true
			}
		}
	}
	if len(missing) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute*time.Duration(1+crashRounds(t)/5))
	defer cancel()
	for r, err := range client.Records(ctx, "failed-"+name, api.ReadOptions{Follow: true}) {
		if err != nil {
			t.Errorf("%s: %d records are not at the destination: %v", name, len(missing), err)
			return
		}
		var doc onFailure
		var event struct {
			Records []struct {
				Kinesis struct{ Data []byte }
			}
		}
		if json.Unmarshal(r.Bytes(), &doc) != nil || doc.Payload == nil || json.Unmarshal([]byte(*doc.Payload), &event) != nil {
			t.Errorf("%s: the destination has %s", name, r.Bytes())
			return
		}
		for _, r := range event.Records {
			if !fails(name, string(r.Kinesis.Data)) {
				t.Errorf("%s: %q was given up", name, r.Kinesis.Data)
			}
			delete(missing, string(r.Kinesis.Data))
		}
		if len(missing) == 0 {
			return
		}
	}
}
