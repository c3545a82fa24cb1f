package triggers

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/triggers/filter"
)

// Limits of a mapping's settings.
const (
	MaxBatchSize       = 10_000
	MaxParallelization = 10
	MaxBatchWindow     = 300 * time.Second
	MaxMaxAttempts     = 10_001 // Lambda's 10,000 retries, and the first time
	MinTumblingWindow  = time.Second
	MaxTumblingWindow  = 15 * time.Minute
	MinMaxRecordAge    = 60 * time.Second
	MaxMaxRecordAge    = 7 * 24 * time.Hour

	defaultBatchSize = 100

	// maxPayload bounds the encoded records of one invocation, in bytes. A single record beyond it is a
	// batch of its own.
	maxPayload = 6 << 20

	maxDestination = 1024 // bytes of a destination's URI
	maxTags        = 50
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
	Name     string // [a-zA-Z0-9_.-]{1,128} and not "." or "..", unique on the host
	Stream   string // must exist when the mapping is made; cannot be changed
	Function string // must exist and handle stream batches when the mapping is made or changed

	BatchSize   int           // records of one call, 1..10000; 0 = 100
	BatchWindow time.Duration // 0..300 s: how long a batch that is not full may wait, from the end of the call before

	StartingPosition Position  // "" = Oldest; cannot be changed
	StartingTime     time.Time // with AtTime only, not in the future; cannot be changed

	// MaxAttempts is how often a batch is handed to the function before it is given up, the first time
	// included: 1..10001; 0 = without limit. Throttles and failures of the host do not count.
	MaxAttempts int
	// MaxRecordAge is the age from arrival at which a record that is not settled is given up, 60 s..7 days;
	// 0 = without limit.
	MaxRecordAge time.Duration

	// Parallelization is how many batches of a shard are handed over side by side, 1..10; 0 = 1. The records of a partition key are all in
	// one such lane and come in order; the checkpoint is below the lowest record that is not settled.
	Parallelization int
	// TumblingWindow has a state go from call to call, and a last call for each stretch of so long, by arrival: 1 s..15 min; 0 = none.
	// Not with several lanes.
	TumblingWindow time.Duration
	// ReportItemFailures: what a function that takes Lambda's event says in batchItemFailures counts. What a function of the SDK says
	// always does.
	ReportItemFailures bool
	// Bisect halves a batch that fails, and delivers the halves one after the other, each with all its attempts, down to single records.
	Bisect bool
	// Isolate looks for the one record of a batch that fails at once, by halving, without waiting in between; it alone is tried again and
	// given up, and the shard goes on without its partition key meanwhile. It goes before Bisect. Lambda has no such setting.
	Isolate bool

	// ExactlyOnce has what the function emits put once, also when a call is made again after a crash: see docs/event-source-mappings.md for what
	// that asks of the function. Each call that emits waits for the checkpoint of the one before in its lane. Lambda has no such setting.
	ExactlyOnce bool

	// Filters are event patterns, see package filter: the function has the records that one of them matches. Of aggregates each user record
	// is looked at. Records that none matches are passed over and count for no limit. None = all records.
	Filters []string
	// OnFailure is where what is given up or rejected is stored, before the checkpoint passes it: "stream:NAME" and what else the host has.
	// "" = nowhere, it is only counted, logged and shown.
	OnFailure string
	// FailureTrace has the document at OnFailure tell how the function failed: the message and the stack of its trap or error, or why it
	// rejected the records. Lambda's documents do not.
	FailureTrace bool

	Qualifier   string            // the version of the function, by number, or its alias; "" or "$LATEST" = the newest version
	Consumer    string            // the registered consumer of the stream that the mapping reads as; "" = none. Cannot be changed
	Disabled    bool              // nothing runs, and the checkpoints stay
	EventCounts bool              // count events per shard as metrics
	Tags        map[string]string // at most 50, keys of 1..128 and values of 0..256 characters

	// Capsules says which invocations are kept so that they can be made again. Its zero value keeps none.
	Capsules Capsules

	// Aggregated hands KPL-aggregated records over as they are stored; else the function has the user records in them.
	Aggregated bool
}

// Capsules says which invocations are kept.
type Capsules struct {
	Failed bool          `json:"failed,omitzero"` // that fail, or ask for records again or reject some
	Slow   time.Duration `json:"slow,omitzero"`   // that take longer than this: 1 ms..15 min; 0 = none
	Sample float64       `json:"sample,omitzero"` // this part of all others: 0..1
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)

// normalize fills in the defaults and checks what can be checked without looking anything up.
func (m *Mapping) normalize(now time.Time) error {
	if m.BatchSize == 0 {
		m.BatchSize = defaultBatchSize
	}
	if m.Parallelization == 0 {
		m.Parallelization = 1
	}
	if m.StartingPosition == "" {
		m.StartingPosition = Oldest
	}
	m.StartingTime = m.StartingTime.UTC().Round(0)
	if _, _, err := runtime.ParseQualifier(m.Qualifier); err != nil {
		return err
	}
	for _, check := range []struct {
		ok    bool
		field string
		value any
		limit string
	}{
		{namePattern.MatchString(m.Name) && m.Name != "." && m.Name != "..", "name", m.Name, `1 to 128 of a-z A-Z 0-9 _ . - (and not "." or "..")`},
		{m.Stream != "", "stream", m.Stream, "the name of a stream"},
		{m.Function != "", "function", m.Function, "the name of a function"},
		{m.BatchSize >= 1 && m.BatchSize <= MaxBatchSize, "batchSize", m.BatchSize, "1 to 10000 records"},
		{m.BatchWindow >= 0 && m.BatchWindow <= MaxBatchWindow, "batchWindow", field.Duration(m.BatchWindow), "0s to 5m"},
		{m.Parallelization >= 1 && m.Parallelization <= MaxParallelization, "parallelization", m.Parallelization, "1 to 10 lanes"},
		{
			m.TumblingWindow == 0 || m.TumblingWindow >= MinTumblingWindow && m.TumblingWindow <= MaxTumblingWindow,
			"tumblingWindow", field.Duration(m.TumblingWindow), "1s to 15m, or 0s for none",
		},
		{
			m.TumblingWindow == 0 || m.Parallelization == 1,
			"parallelization", m.Parallelization, "1 with a tumbling window, whose state is the shard's",
		},
		{len(m.OnFailure) <= maxDestination, "onFailure", fmt.Sprintf("%d bytes", len(m.OnFailure)), fmt.Sprintf("at most %d bytes", maxDestination)},
		{m.MaxAttempts >= 0 && m.MaxAttempts <= MaxMaxAttempts, "maxAttempts", m.MaxAttempts, "1 to 10001, or 0 for no limit"},
		{
			m.MaxRecordAge == 0 || m.MaxRecordAge >= MinMaxRecordAge && m.MaxRecordAge <= MaxMaxRecordAge,
			"maxRecordAge", field.Duration(m.MaxRecordAge), "60s to 7d, or 0s for no limit",
		},
		{
			m.Capsules.Slow == 0 || m.Capsules.Slow >= time.Millisecond && m.Capsules.Slow <= 15*time.Minute,
			"capsules.slow", field.Duration(m.Capsules.Slow), "1ms to 15m, or 0s for none",
		},
		{m.Capsules.Sample >= 0 && m.Capsules.Sample <= 1, "capsules.sample", m.Capsules.Sample, "0 to 1"},
	} {
		if !check.ok {
			return field.Invalid(check.field, fmt.Sprint(check.value), check.limit)
		}
	}
	if err := m.checkFilters(); err != nil {
		return err
	}
	if err := m.checkTags(); err != nil {
		return err
	}
	return m.checkStart(now)
}

func (m *Mapping) checkFilters() error {
	_, err := filter.Compile(m.Filters)
	var bad *filter.Error
	if errors.As(err, &bad) {
		f := field.Invalid(fmt.Sprintf("filters[%d]", bad.Pattern), bad.Value, bad.Limit)
		if bad.Path != "" {
			f.Problem = fmt.Sprintf("has %s as %s", field.Cut(bad.Value), bad.Path)
		}
		return f
	}
	return err
}

func (m *Mapping) checkTags() error {
	if len(m.Tags) > maxTags {
		return field.Invalid("tags", fmt.Sprintf("%d tags", len(m.Tags)), fmt.Sprintf("at most %d", maxTags))
	}
	for key, value := range m.Tags {
		switch {
		case key == "" || utf8.RuneCountInString(key) > 128:
			return field.Invalid("tags", key, "keys of 1 to 128 characters")
		case utf8.RuneCountInString(value) > 256:
			return field.Invalid("tags", value, "values of at most 256 characters")
		}
	}
	return nil
}

// equal says whether two mappings, both normalized, are the same.
func (m *Mapping) equal(other *Mapping) bool {
	if !maps.Equal(m.Tags, other.Tags) || !slices.Equal(m.Filters, other.Filters) || !m.StartingTime.Equal(other.StartingTime) {
		return false
	}
	a, b := *m, *other
	a.Tags, b.Tags, a.Filters, b.Filters, a.StartingTime, b.StartingTime = nil, nil, nil, nil, time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
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
	case m.Consumer != other.Consumer:
		return "consumer"
	case m.StartingPosition != other.StartingPosition:
		return "startingPosition"
	case !m.StartingTime.Equal(other.StartingTime):
		return "startingTime"
	}
	return ""
}
