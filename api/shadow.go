package api

import (
	"time"
	"unicode/utf8"

	"github.com/shardmill/shardmill/triggers"
)

// ShadowConfig is what a mapping's shadow is made with: the body of PUT /v1/mappings/{name}/shadow.
type ShadowConfig struct {
	Function         string    `json:"function,omitempty" doc:"The function to try. Left out: the mapping's."`
	Qualifier        string    `json:"qualifier,omitempty" doc:"The version to try: $LATEST, its number, or an alias. Left out: $LATEST."`
	StartingPosition string    `json:"startingPosition,omitempty" some:"oldest, newest or timestamp" enum:"oldest,newest,timestamp" default:"newest" doc:"Where each shard is begun."`
	StartingTime     time.Time `json:"startingTime,omitzero" doc:"With startingPosition timestamp: the arrival time to begin at."`
	HTTP             bool      `json:"http,omitzero" doc:"Make the GET and HEAD requests of both versions. Otherwise none is made."`
}

// Shadow is a version of a function that is tried beside the one that serves, and what was found.
type Shadow struct {
	ID      string    `json:"id" doc:"Tells a shadow from others that the mapping has had or will have."`
	Created time.Time `json:"created" doc:"When it was made."`
	ShadowConfig
	State  string `json:"state" doc:"enabled, disabled, blocked (a function is missing), failed (its stream is gone), deleting or stopped."`
	Reason string `json:"reason,omitempty" doc:"Why the state is not enabled."`

	Identical float64 `json:"identical" minimum:"0" maximum:"1" doc:"The part of the results that are the same in both versions; 1 where there are none."`
	Same      uint64  `json:"same" doc:"Results that are the same: output records, outcomes of records that are not simply ok, states of windows and failures."`
	Changed   uint64  `json:"changed" doc:"Results that both have, and that differ."`
	Missing   uint64  `json:"missing" doc:"Output records that only the serving version has."`
	Extra     uint64  `json:"extra" doc:"Output records that only the shadow has."`
	Calls     uint64  `json:"calls" doc:"Calls that were compared."`
	SameCalls uint64  `json:"sameCalls" doc:"Of these, those without any difference."`
	Records   uint64  `json:"records" doc:"Source records of the calls that were compared."`

	Serving     ShadowSide         `json:"serving" doc:"What the calls of the serving version took that were made for the comparison."`
	Candidate   ShadowSide         `json:"shadow" doc:"What the calls of the shadow took."`
	Refused     uint64             `json:"requestsRefused" doc:"HTTP requests of both that were not made, since the host started."`
	Shards      []ShadowShard      `json:"shards,omitempty" doc:"How far each shard is compared; left out in a mapping."`
	Differences []ShadowDifference `json:"differences,omitempty" doc:"Results that differ, the newest first: the latest 32 of each shard. Left out in a mapping."`
}

// ShadowSide is what the calls of one of two versions took.
type ShadowSide struct {
	Version       int      `json:"version,omitzero" doc:"The version that ran last; left out when none has."`
	Calls         uint64   `json:"calls" doc:"Its calls, those included that were divided to find a difference."`
	Failed        uint64   `json:"failed" doc:"Of these, those that failed."`
	Records       uint64   `json:"records" doc:"The records that it was given."`
	Mean          Duration `json:"mean" doc:"The mean time of a call in the guest."`
	P50           Duration `json:"p50" doc:"The time that half of its calls did not exceed, to within 25 %."`
	P99           Duration `json:"p99" doc:"The time that 99 % of its calls did not exceed, to within 25 %."`
	Fuel          uint64   `json:"fuel" doc:"Instructions that it executed, weighted."`
	FuelPerRecord float64  `json:"fuelPerRecord" doc:"Fuel for each record."`
}

// ShadowShard is how far a shadow is in one shard.
type ShadowShard struct {
	Shard       string   `json:"shard" doc:"The shard."`
	State       string   `json:"state" doc:"As of a mapping's shard."`
	Checkpoint  Sequence `json:"checkpoint,omitzero" doc:"The last sequence number that is compared; left out when none is."`
	IteratorAge Duration `json:"iteratorAge" doc:"The age of the oldest record that is not compared; 0s when there is none."`
	LastError   string   `json:"lastError,omitempty" doc:"Why the shard is not running, or the last call could not be made."`
}

// ShadowDifference is one result that differs.
type ShadowDifference struct {
	Time   time.Time    `json:"time" doc:"When it was found."`
	Shard  string       `json:"shard" doc:"The shard of the source record."`
	First  Sequence     `json:"first,omitzero" doc:"The source record; the first of the call where it was not looked for. Left out at the end of a window."`
	Last   Sequence     `json:"last,omitzero" doc:"The source record; the last of the call where it was not looked for."`
	What   string       `json:"what" doc:"changed, missing or extra (of an output record), outcome (of the source record), state (of a window) or failure."`
	Stream string       `json:"stream,omitempty" doc:"The stream that the output is for."`
	Key    string       `json:"key,omitempty" doc:"The output's partition key; where it is no output, the source record's."`
	Old    *ShadowValue `json:"old,omitempty" doc:"What the serving version has; left out when it has nothing."`
	New    *ShadowValue `json:"new,omitempty" doc:"What the shadow has; left out when it has nothing."`
	Cut    bool         `json:"cut,omitzero" doc:"The key, old or new was longer: 256 bytes and 1 KiB are kept."`
}

// ShadowValue is data, or a text.
type ShadowValue struct {
	Text *string `json:"text,omitzero" doc:"The bytes, where they are UTF-8."`
	Data []byte  `json:"data,omitzero" doc:"The bytes in base64, where they are not."`
}

// Bytes are the value's bytes; none of nil.
func (v *ShadowValue) Bytes() []byte {
	switch {
	case v == nil:
		return nil
	case v.Text != nil:
		return []byte(*v.Text)
	}
	return v.Data
}

// PromoteShadow is the body of POST /v1/mappings/{name}/promote.
type PromoteShadow struct {
	Shadow string `json:"shadow,omitempty" doc:"The id of the shadow that is meant; with another one it is refused. Left out: whichever it is."`
}

// putShadow is PUT /v1/mappings/{name}/shadow.
func (c *call) putShadow(in *ShadowConfig) (*Shadow, bool, error) {
	s, created, err := c.mappings.PutShadow(c.context(), c.name(), triggers.Shadow{
		Function: in.Function, Qualifier: in.Qualifier, HTTP: in.HTTP,
		StartingPosition: triggers.Position(in.StartingPosition), StartingTime: in.StartingTime,
	})
	if err != nil {
		return nil, false, err
	}
	return shadowOf(&s), created, nil
}

// getShadow is GET /v1/mappings/{name}/shadow.
func (c *call) getShadow(*none) (*Shadow, error) {
	s, err := c.mappings.Shadow(c.name())
	if err != nil {
		return nil, err
	}
	return shadowOf(&s), nil
}

// deleteShadow is DELETE /v1/mappings/{name}/shadow.
func (c *call) deleteShadow() error { return c.mappings.DeleteShadow(c.context(), c.name()) }

// promoteShadow is POST /v1/mappings/{name}/promote.
func (c *call) promoteShadow(in *PromoteShadow) (*Mapping, error) {
	s, err := c.mappings.Promote(c.context(), c.name(), in.Shadow)
	if err != nil {
		return nil, err
	}
	m := mappingOf(&s)
	return &m, nil
}

// shadowOf is a shadow as it goes over the wire; of nil it is nil.
func shadowOf(s *triggers.ShadowStatus) *Shadow {
	if s == nil {
		return nil
	}
	out := &Shadow{
		ID: s.ID, Created: s.Created,
		ShadowConfig: ShadowConfig{Function: s.Function, Qualifier: s.Qualifier, StartingPosition: string(s.StartingPosition), StartingTime: s.StartingTime, HTTP: s.HTTP},
		State:        string(s.State), Reason: s.Reason,
		Identical: s.Identical(), Same: s.Same, Changed: s.Changed, Missing: s.Missing, Extra: s.Extra,
		Calls: s.Calls, SameCalls: s.SameCalls, Records: s.Records,
		Serving: shadowSideOf(&s.Serving), Candidate: shadowSideOf(&s.Candidate), Refused: s.Refused,
	}
	for i := range s.Shards {
		shard := &s.Shards[i]
		out.Shards = append(out.Shards, ShadowShard{
			Shard: shard.Shard.String(), State: string(shard.State), Checkpoint: Sequence(shard.Checkpoint),
			IteratorAge: Duration(shard.IteratorAge.Round(time.Millisecond)), LastError: shard.LastError,
		})
	}
	for i := range s.Differences {
		d := &s.Differences[i]
		out.Differences = append(out.Differences, ShadowDifference{
			Time: d.Time, Shard: d.Shard.String(), First: Sequence(d.First), Last: Sequence(d.Last), What: string(d.What),
			Stream: d.Stream, Key: string(d.Key), Old: shadowValueOf(d.Old), New: shadowValueOf(d.New), Cut: d.Cut,
		})
	}
	return out
}

func shadowSideOf(s *triggers.Side) ShadowSide {
	out := ShadowSide{
		Version: s.Version, Calls: s.Calls, Failed: s.Failed, Records: s.Records, Fuel: s.Fuel,
		P50: Duration(s.Quantile(0.5)), P99: Duration(s.Quantile(0.99)),
	}
	if s.Calls > 0 {
		out.Mean = Duration((s.Duration / time.Duration(s.Calls)).Round(time.Microsecond))
	}
	if s.Records > 0 {
		out.FuelPerRecord = float64(s.Fuel) / float64(s.Records)
	}
	return out
}

func shadowValueOf(b []byte) *ShadowValue {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b):
		text := string(b)
		return &ShadowValue{Text: &text}
	}
	return &ShadowValue{Data: b}
}
