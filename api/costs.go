package api

import (
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// FunctionCosts is the answer of GET /v1/functions/{name}/costs.
type FunctionCosts struct {
	Calls         uint64       `json:"calls" doc:"Calls since the host was started."`
	Records       uint64       `json:"records" doc:"Records that they were given."`
	Fuel          int64        `json:"fuel" doc:"Instructions that they executed, weighted."`
	FuelPerCall   int64        `json:"fuelPerCall" doc:"The mean of a call."`
	FuelPerRecord int64        `json:"fuelPerRecord,omitzero" doc:"The mean of a record, by the calls that had records; left out when there were none."`
	Sampled       int64        `json:"sampled" doc:"How much of the fuel was put on the account of a record; shares are of this."`
	Keys          []KeyCost    `json:"keys" doc:"The partition keys that cost most, the first the most."`
	Heaviest      []RecordCost `json:"heaviest" doc:"The records that cost most in one call, the first the most."`
}

// KeyCost is what the records of a partition key have cost.
type KeyCost struct {
	Key   string  `json:"key" doc:"The partition key."`
	Fuel  int64   `json:"fuel" doc:"Sampled: the more the surer."`
	Over  int64   `json:"over,omitzero" doc:"By how much that may be too much, because other keys made room."`
	Share float64 `json:"share" doc:"Its part of what was sampled, 0 to 1."`
}

// RecordCost is what one record has cost in one call.
type RecordCost struct {
	Mapping    string    `json:"mapping,omitempty" doc:"The mapping that made the call."`
	Stream     string    `json:"stream,omitempty" doc:"The record's stream."`
	Shard      string    `json:"shard" doc:"Its shard."`
	Sequence   Sequence  `json:"sequence" doc:"Its sequence number."`
	Key        string    `json:"key" doc:"Its partition key."`
	Fuel       int64     `json:"fuel" doc:"At least; some hundred thousand may be missing."`
	Invocation string    `json:"invocation" doc:"The call."`
	Version    int       `json:"version" doc:"The version that ran."`
	Time       time.Time `json:"time" doc:"When the call ended."`
}

// getCosts is GET /v1/functions/{name}/costs.
func (c *call) getCosts(*none) (*FunctionCosts, error) {
	costs, err := c.functions.Costs(c.name())
	if err != nil {
		return nil, err
	}
	return costsOf(&costs), nil
}

func costsOf(costs *runtime.Costs) *FunctionCosts {
	out := &FunctionCosts{
		Calls: costs.Calls, Records: costs.Records, Fuel: costs.Fuel, Sampled: costs.Sampled,
		FuelPerCall: costs.Fuel / int64(max(costs.Calls, 1)), Keys: []KeyCost{}, Heaviest: []RecordCost{},
	}
	if costs.Records > 0 {
		out.FuelPerRecord = costs.RecordFuel / int64(costs.Records)
	}
	for _, k := range costs.Keys {
		out.Keys = append(out.Keys, KeyCost{k.Key, k.Fuel, k.Over, float64(k.Fuel) / float64(max(costs.Sampled, 1))})
	}
	for _, r := range costs.Heaviest {
		out.Heaviest = append(out.Heaviest, RecordCost{
			Mapping: r.Source.Mapping, Stream: r.Source.Stream, Shard: shards.ShardID(r.Source.Shard).String(), Sequence: Sequence(r.Source.First),
			Key: r.Key, Fuel: r.Fuel, Invocation: r.Invocation, Version: r.Version, Time: r.Time.UTC(),
		})
	}
	return out
}
