package triggers

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

const definitionFormat = 1

// definition is a mapping as the catalog keeps it, under its name. Durations are in nanoseconds.
type definition struct {
	Format           int           `json:"format"`
	ID               string        `json:"id"`
	StreamID         string        `json:"streamId"` // a stream made anew under the old name is another stream
	Created          time.Time     `json:"created"`
	Modified         time.Time     `json:"modified"`
	Stream           string        `json:"stream"`
	Function         string        `json:"function"`
	BatchSize        int           `json:"batchSize"`
	BatchWindow      time.Duration `json:"batchWindow"`
	StartingPosition Position      `json:"startingPosition"`
	StartingTime     time.Time     `json:"startingTime,omitzero"`
	MaxAttempts      int           `json:"maxAttempts"`
	MaxRecordAge     time.Duration `json:"maxRecordAge"`
	Aggregated       bool          `json:"aggregated,omitzero"`

	Parallelization    int               `json:"parallelization,omitzero"`
	TumblingWindow     time.Duration     `json:"tumblingWindow,omitzero"`
	ReportItemFailures bool              `json:"reportItemFailures,omitzero"`
	Bisect             bool              `json:"bisect,omitzero"`
	Isolate            bool              `json:"isolate,omitzero"`
	ExactlyOnce        bool              `json:"exactlyOnce,omitzero"`
	Filters            []string          `json:"filters,omitempty"`
	OnFailure          string            `json:"onFailure,omitempty"`
	FailureTrace       bool              `json:"failureTrace,omitzero"`
	Qualifier          string            `json:"qualifier,omitempty"`
	Consumer           string            `json:"consumer,omitempty"`
	Disabled           bool              `json:"disabled,omitzero"`
	EventCounts        bool              `json:"eventCounts,omitzero"`
	Tags               map[string]string `json:"tags,omitempty"`
	Capsules           Capsules          `json:"capsules,omitzero"`

	Shadow *shadowDefinition `json:"shadow,omitempty"` // nil = there is none; it is never changed in place
}

// define sets the definition's settings to those of m.
func (d *definition) define(m Mapping) {
	d.Stream, d.Function = m.Stream, m.Function
	d.BatchSize, d.BatchWindow = m.BatchSize, m.BatchWindow
	d.StartingPosition, d.StartingTime = m.StartingPosition, m.StartingTime
	d.MaxAttempts, d.MaxRecordAge = m.MaxAttempts, m.MaxRecordAge
	d.Aggregated, d.Bisect, d.Isolate, d.ExactlyOnce = m.Aggregated, m.Bisect, m.Isolate, m.ExactlyOnce
	d.Parallelization, d.TumblingWindow, d.ReportItemFailures = m.Parallelization, m.TumblingWindow, m.ReportItemFailures
	d.Filters, d.OnFailure, d.FailureTrace = slices.Clone(m.Filters), m.OnFailure, m.FailureTrace
	d.Qualifier, d.Consumer = m.Qualifier, m.Consumer
	d.Disabled, d.EventCounts, d.Tags = m.Disabled, m.EventCounts, maps.Clone(m.Tags)
	d.Capsules = m.Capsules
}

func (d *definition) mapping(name string) Mapping {
	return Mapping{
		Name: name, Stream: d.Stream, Function: d.Function,
		BatchSize: d.BatchSize, BatchWindow: d.BatchWindow,
		StartingPosition: d.StartingPosition, StartingTime: d.StartingTime,
		MaxAttempts: d.MaxAttempts, MaxRecordAge: d.MaxRecordAge,
		Aggregated: d.Aggregated, Bisect: d.Bisect, Isolate: d.Isolate, ExactlyOnce: d.ExactlyOnce,
		Parallelization: max(1, d.Parallelization), TumblingWindow: d.TumblingWindow, ReportItemFailures: d.ReportItemFailures,
		Filters: slices.Clone(d.Filters), OnFailure: d.OnFailure, FailureTrace: d.FailureTrace,
		Qualifier: d.Qualifier, Consumer: d.Consumer,
		Disabled: d.Disabled, EventCounts: d.EventCounts, Tags: maps.Clone(d.Tags),
		Capsules: d.Capsules,
	}
}

// consumer is the name of the mapping's checkpoints. It holds the id and not the name, so that a mapping
// made anew under an old name does not begin at the old one's checkpoints.
func (d *definition) consumer() string { return "mapping/" + d.ID }

func parseDefinition(value []byte) (definition, error) {
	var d definition
	if err := json.Unmarshal(value, &d); err != nil {
		return definition{}, fmt.Errorf("definition cannot be read: %w", err)
	}
	if d.Format != definitionFormat {
		return definition{}, fmt.Errorf("definition has format %d, this host reads %d", d.Format, definitionFormat)
	}
	return d, nil
}

// newID makes a random (version 4) UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
