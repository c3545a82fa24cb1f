// Delays is a Shardmill function: for every batch of flights it emits, per origin airport, how many flights left
// and by how many minutes they were late together.
package main

import (
	"context"
	"strconv"

	"github.com/shardmill/shardmill/sdk"
)

// total is what one batch says about one airport.
type total struct {
	origin  string
	flights int
	minutes int // less than 0 when more was early than late
}

func init() { sdk.OnBatch(delays) }

func main() {}

func delays(_ context.Context, b *sdk.Batch) error {
	var totals []total        // in the order in which the airports appear
	index := map[string]int{} // of an airport in totals
	for i, r := range b.All() {
		origin, isText := text(member(r.Data, "origin"))
		minutes, err := strconv.Atoi(string(member(r.Data, "delay")))
		if !isText || err != nil {
			b.Reject(i, "not a flight: it needs an origin and a delay")
			continue
		}
		at, seen := index[string(origin)]
		if !seen {
			at = len(totals)
			totals = append(totals, total{origin: string(origin)})
			index[totals[at].origin] = at
		}
		totals[at].flights++
		totals[at].minutes += minutes
	}
	var data []byte
	for _, t := range totals {
		data = t.appendJSON(data[:0])
		b.Emit("delays", t.origin, data)
	}
	return nil
}

// appendJSON appends t in the form {"origin":"DFW","flights":12,"delayMinutes":345}.
func (t total) appendJSON(b []byte) []byte {
	b = append(b, `{"origin":"`...)
	b = append(b, t.origin...) // text takes no characters that would need escaping
	b = append(b, `","flights":`...)
	b = strconv.AppendInt(b, int64(t.flights), 10)
	b = append(b, `,"delayMinutes":`...)
	b = strconv.AppendInt(b, int64(t.minutes), 10)
	return append(b, '}')
}
