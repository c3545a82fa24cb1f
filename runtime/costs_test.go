package runtime

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

// burning are records whose handling takes so many turns of a loop, by key, from a sequence number on.
func burning(t testing.TB, sequence uint64, keys []string, turns map[string]int) record.Run {
	t.Helper()
	var b record.Builder
	for i, key := range keys {
		r := record.Record{Sequence: sequence + uint64(i), Key: []byte(key), Data: fmt.Appendf(nil, "burn %d", turns[key])}
		if err := b.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.Run()
}

func TestCosts(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{})
	if c, err := w.Costs("probe"); err != nil || c.Calls != 0 || c.Keys != nil {
		t.Errorf("before the first call: %+v, %v", c, err)
	}
	turns := map[string]int{"cheap": 200, "middling": 20_000, "dear": 2_000_000}
	keys := strings.Split(strings.Repeat("cheap ", 96)+"middling dear cheap", " ")
	var fuel int64
	for n := range 3 {
		call := Call{Function: "probe", Kind: KindBatch, Source: Source{Mapping: "m", Stream: "s", Shard: 7}, Records: []record.Run{
			burning(t, uint64(1000*n), keys[:50], turns), burning(t, uint64(1000*n+50), keys[50:], turns)}}
		var reply Reply
		if err := w.Invoke(t.Context(), call, &reply); err != nil {
			t.Fatal(err)
		}
		fuel += reply.Fuel
	}
	c, err := w.Costs("probe")
	if err != nil || c.Calls != 3 || c.Records != 3*uint64(len(keys)) || c.Fuel != fuel || c.RecordFuel != fuel {
		t.Errorf("costs %+v, %v; want 3 calls and %d", c, err, fuel)
	}
	w.mustAsk(t, "probe", "echo x")
	if with, err := w.Costs("probe"); err != nil || with.Calls != 4 || with.Fuel <= fuel || with.RecordFuel != fuel {
		t.Errorf("with a call that had no records: %+v, %v", with, err)
	}
	if len(c.Keys) == 0 || c.Keys[0].Key != "dear" || c.Keys[0].Fuel < c.Sampled*8/10 || c.Sampled < fuel/2 {
		t.Errorf("keys %+v of %d sampled of %d", c.Keys, c.Sampled, fuel)
	}
	if len(c.Heaviest) < 3 {
		t.Fatalf("heaviest %+v", c.Heaviest)
	}
	for _, r := range c.Heaviest[:3] {
		if r.Key != "dear" || r.Source.First%1000 != 97 || r.Source.Last != r.Source.First || r.Source.Stream != "s" || r.Source.Shard != 7 || r.Fuel < 2_000_000 || r.Fuel > fuel/3 || r.Invocation == "" || r.Version != 1 {
			t.Errorf("heaviest %+v", r)
		}
	}
	if _, err := w.Costs("none"); err == nil {
		t.Error("a function that is not there has costs")
	}
}

// A record that a call ends in is accounted for, and once for all its attempts.
func TestCostsOfFailures(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Fuel: 20_000_000})
	for range 2 {
		var reply Reply
		call := Call{Function: "probe", Kind: KindBatch, Records: []record.Run{burning(t, 5, []string{"a", "b", "c"}, map[string]int{"b": 1 << 30})}}
		failure(t, w.Invoke(context.Background(), call, &reply), FailFuel)
	}
	c, err := w.Costs("probe")
	if err != nil || len(c.Heaviest) == 0 || len(c.Heaviest) > 2 || c.Heaviest[0].Key != "b" || c.Heaviest[0].Source.First != 6 || c.Heaviest[0].Fuel > 20_000_000 {
		t.Errorf("costs %+v, %v", c, err)
	}
}

// The keys that cost most are kept, however many there are.
func TestCostsOfManyKeys(t *testing.T) {
	c := newCosts()
	truth := map[string]int64{}
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		key := fmt.Sprint("rare", r.IntN(10_000))
		if n := r.IntN(10); n < 4 {
			key = fmt.Sprint("often", n)
		}
		truth[key] += 100
		c.addKey(key, 100)
	}
	if len(c.keys) != keptKeys {
		t.Errorf("%d keys are kept", len(c.keys))
	}
	for _, k := range c.report().Keys[:4] {
		if !strings.HasPrefix(k.Key, "often") || k.Fuel < truth[k.Key] || k.Fuel-k.Over > truth[k.Key] {
			t.Errorf("%+v, in truth %d", k, truth[k.Key])
		}
	}
	for n := range 2 * keptRecords {
		call := &Call{Records: []record.Run{records(t, fmt.Sprint(n), "x")}}
		c.add(call, new(Reply), []sample{{record: 1, fuel: int64(n), sure: int64(n)}})
	}
	if h := c.report().Heaviest; len(h) != keptRecords || h[0].Fuel != 2*keptRecords-1 || h[keptRecords-1].Fuel != keptRecords {
		t.Errorf("heaviest %+v", h)
	}
}
