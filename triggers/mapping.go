package triggers

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/shardmill/shardmill/internal/field"
)

// Limits of a mapping's settings.
const (
	MaxBatchSize    = 10_000
	MaxBatchWindow  = 300 * time.Second
	MaxMaxAttempts  = 10_000
	MinMaxRecordAge = 60 * time.Second
	MaxMaxRecordAge = 7 * 24 * time.Hour

	defaultBatchSize = 100

	// maxPayload bounds the encoded records of one invocation, in bytes. A single record beyond it is a
	// batch of its own.
	maxPayload = 6 << 20
)

// Position says where a mapping begins to read a shard it has no checkpoint of.
type Position string

// The starting positions. Oldest is the default.
const (
	Oldest Position = "oldest"    // the oldest record the stream still has
	Newest Position = "newest"    // the first record put after the mapping was made
	AtTime Position = "timestamp" // the first record that arrived at or after StartingTime
)

// Mapping is what the user asks for: the records of a stream are handed in batches to a function.
type Mapping struct {
	Name     string // [a-zA-Z0-9_.-]{1,128}, unique on the host
	Stream   string // must exist when the mapping is made; cannot be changed
	Function string // must exist and handle stream batches when the mapping is made or changed

	BatchSize   int           // records of one call, 1..10000; 0 = 100
	BatchWindow time.Duration // 0..300 s: how long a batch that is not full may wait, from its first record on

	StartingPosition Position  // "" = Oldest; cannot be changed
	StartingTime     time.Time // with AtTime only, not in the future; cannot be changed

	// MaxAttempts is how often a batch is handed to the function before it is given up, the first time
	// included: 1..10000; 0 = without limit. Throttles and failures of the host do not count.
	MaxAttempts int
	// MaxRecordAge is the age from arrival at which a record that is not settled is given up, 60 s..7 days;
	// 0 = without limit.
	MaxRecordAge time.Duration

	// Aggregated hands KPL-aggregated records over as they are stored; else the function has the user records in them.
	Aggregated bool
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)

// normalize fills in the defaults and checks what can be checked without looking anything up.
func (m *Mapping) normalize(now time.Time) error {
	if m.BatchSize == 0 {
		m.BatchSize = defaultBatchSize
	}
	if m.StartingPosition == "" {
		m.StartingPosition = Oldest
	}
	m.StartingTime = m.StartingTime.UTC().Round(0)
	for _, check := range []struct {
		ok    bool
		field string
		value any
		limit string
	}{
		{namePattern.MatchString(m.Name), "name", m.Name, "1 to 128 of the characters a-z A-Z 0-9 _ . -"},
		{m.Stream != "", "stream", m.Stream, "the name of a stream"},
		{m.Function != "", "function", m.Function, "the name of a function"},
		{m.BatchSize >= 1 && m.BatchSize <= MaxBatchSize, "batchSize", m.BatchSize, "1 to 10000 records"},
		{m.BatchWindow >= 0 && m.BatchWindow <= MaxBatchWindow, "batchWindow", field.Duration(m.BatchWindow), "0s to 5m"},
		{m.MaxAttempts >= 0 && m.MaxAttempts <= MaxMaxAttempts, "maxAttempts", m.MaxAttempts, "1 to 10000, or 0 for no limit"},
		{
			m.MaxRecordAge == 0 || m.MaxRecordAge >= MinMaxRecordAge && m.MaxRecordAge <= MaxMaxRecordAge,
			"maxRecordAge", field.Duration(m.MaxRecordAge), "60s to 7d, or 0s for no limit",
		},
	} {
		if !check.ok {
			return field.Invalid(check.field, fmt.Sprint(check.value), check.limit)
		}
	}
	return m.checkStart(now)
}

func (m *Mapping) checkStart(now time.Time) error {
	switch m.StartingPosition {
	case Oldest, Newest:
		if !m.StartingTime.IsZero() {
			return field.Invalid("startingTime", m.StartingTime.Format(time.RFC3339Nano), "left out unless startingPosition is timestamp")
		}
	case AtTime:
		if m.StartingTime.IsZero() {
			return field.Invalid("startingTime", "", "a time, since startingPosition is timestamp")
		}
		if m.StartingTime.After(now) {
			return field.Invalid("startingTime", m.StartingTime.Format(time.RFC3339Nano), "not in the future")
		}
	default:
		return field.Invalid("startingPosition", string(m.StartingPosition), "oldest, newest or timestamp")
	}
	return nil
}

// immutable names the setting that differs between m and other though it cannot be changed, or "".
func (m *Mapping) immutable(other Mapping) string {
	switch {
	case m.Stream != other.Stream:
		return "stream"
	case m.StartingPosition != other.StartingPosition:
		return "startingPosition"
	case !m.StartingTime.Equal(other.StartingTime):
		return "startingTime"
	}
	return ""
}

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
}

// define sets the definition's settings to those of m.
func (d *definition) define(m Mapping) {
	d.Stream, d.Function = m.Stream, m.Function
	d.BatchSize, d.BatchWindow = m.BatchSize, m.BatchWindow
	d.StartingPosition, d.StartingTime = m.StartingPosition, m.StartingTime
	d.MaxAttempts, d.MaxRecordAge = m.MaxAttempts, m.MaxRecordAge
	d.Aggregated = m.Aggregated
}

func (d *definition) mapping(name string) Mapping {
	return Mapping{
		Name: name, Stream: d.Stream, Function: d.Function,
		BatchSize: d.BatchSize, BatchWindow: d.BatchWindow,
		StartingPosition: d.StartingPosition, StartingTime: d.StartingTime,
		MaxAttempts: d.MaxAttempts, MaxRecordAge: d.MaxRecordAge,
		Aggregated: d.Aggregated,
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
