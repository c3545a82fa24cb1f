// Delays is a Shardmill function: for every batch of flights it emits, per origin airport, how many flights left
// and by how many minutes they were late together.
package main

import (
	"context"
	"encoding/json"

	"github.com/shardmill/shardmill/sdk"
)

type flight struct {
	Origin string `json:"origin"`
	Delay  int    `json:"delay"` // minutes; less than 0 when it left early
}

type total struct {
	Origin       string `json:"origin"`
	Flights      int    `json:"flights"`
	DelayMinutes int    `json:"delayMinutes"`
}

func init() { sdk.OnBatch(delays) }

func main() {}

func delays(_ context.Context, b *sdk.Batch) error {
	var totals []total        // in the order in which the airports appear
	index := map[string]int{} // of an airport in totals
	for i, r := range b.All() {
		var f flight
		if err := json.Unmarshal(r.Data, &f); err != nil || f.Origin == "" {
			b.Reject(i, "not a flight")
			continue
		}
		at, seen := index[f.Origin]
		if !seen {
			at = len(totals)
			index[f.Origin] = at
			totals = append(totals, total{Origin: f.Origin})
		}
		totals[at].Flights++
		totals[at].DelayMinutes += f.Delay
	}
	for _, t := range totals {
		data, err := json.Marshal(t)
		if err != nil {
			return err
		}
		b.Emit("delays", t.Origin, data)
	}
	return nil
}
