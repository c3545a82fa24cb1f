package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

// turnsOf are how many turns of a loop are a few dozen slices of fuel.
func turnsOf(language string) int {
	if language == "typescript" { // which is interpreted
		return 40_000
	}
	return 2_000_000
}

// Every language says which record it works on, so that the host knows the keys and the records that cost most; what is done when all records have been
// seen is on no record's account. Batches and transforms are alike.
func TestGuestsTellWhatRecordsCost(t *testing.T) {
	for _, language := range guestLanguages {
		t.Run(language, func(t *testing.T) {
			code := built(t, filepath.Join("testdata", "guests", language))
			for _, tt := range []struct {
				name  string
				kind  runtime.Kind
				later int
			}{
				{"batch", runtime.KindBatch, 0},
				{"transform", runtime.KindTransform, 0},
				{"work behind the batch", runtime.KindBatch, turnsOf(language)},
			} {
				g := deployGuest(t, code)
				call := batchCall(t, costly(turnsOf(language), tt.later)...)
				call.Kind, call.Function, call.Source = tt.kind, "guest", runtime.Source{Mapping: "m", Stream: "s", Shard: 7}
				var reply runtime.Reply
				if err := g.runtime.Invoke(t.Context(), call, &reply); err != nil {
					t.Fatal(err)
				}
				costs, err := g.runtime.Costs("guest")
				if err != nil {
					t.Fatal(err)
				}
				if c := costs; len(c.Keys) == 0 || c.Keys[0].Key != "dear" || c.Keys[0].Fuel < c.Sampled*8/10 || len(c.Heaviest) == 0 || c.Heaviest[0].Source.First != 1042 || c.Heaviest[0].Key != "dear" {
					t.Errorf("%s: %+v", tt.name, costs)
				}
				if known := float64(costs.Sampled) / float64(reply.Fuel); (known < 0.6) != (tt.later > 0) || known < 0.2 {
					t.Errorf("%s: %.2f of the fuel is on a record's account", tt.name, known)
				}
			}
		})
	}
}

// costly are records with the sequence numbers from 1000 on, of which one is worked on for so many turns, and the last has the function work on when it has seen all.
func costly(turns, later int) (all []record.Record) {
	for i := range 60 {
		r := record.Record{Sequence: 1000 + uint64(i), Key: []byte("cheap"), Data: []byte("spin 10")}
		if i == 42 {
			r.Key, r.Data = []byte("dear"), fmt.Appendf(nil, "spin %d", turns)
		}
		all = append(all, r)
	}
	all[59].Data = fmt.Appendf(nil, "later %d", later)
	return all
}
