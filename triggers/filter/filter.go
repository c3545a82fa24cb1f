package filter

import (
	"fmt"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Limits of a filter.
const (
	MaxPatterns      = 10   // of a filter; Lambda gives five, and ten on request
	MaxPatternLength = 4096 // characters of a pattern, as in Lambda
)

// Error says what is wrong with a pattern.
type Error struct {
	Pattern int    // which one, from 0 on
	Path    string // where in it, as "data.delay[0].numeric"; "" is the pattern as a whole
	Value   string // what is there, as JSON, cut when it is long
	Limit   string // what is allowed there
}

// Error names the place, the value and what is allowed.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("filter pattern %d is %s; it must be %s", e.Pattern+1, e.Value, e.Limit)
	}
	return fmt.Sprintf("filter pattern %d has %s as %s, but it must be %s", e.Pattern+1, e.Value, e.Path, e.Limit)
}

// Record is what a filter sees of a record. The slices are read only during the call.
type Record struct {
	PartitionKey []byte
	Sequence     uint64
	Arrival      int64 // microseconds since the Unix epoch
	Data         []byte
}

// Filter is a compiled set of patterns. It may be used by many goroutines at the same time.
type Filter struct {
	patterns []*object
	sources  []string
	readData bool // some pattern looks into the data
}

// Compile compiles patterns. Its error is an *Error.
func Compile(patterns []string) (*Filter, error) {
	if len(patterns) > MaxPatterns {
		return nil, &Error{Pattern: MaxPatterns, Value: fmt.Sprintf("one of %d", len(patterns)), Limit: fmt.Sprintf("one of at most %d", MaxPatterns)}
	}
	f := &Filter{sources: patterns}
	for i, source := range patterns {
		if n := utf8.RuneCountInString(source); n > MaxPatternLength {
			return nil, &Error{Pattern: i, Value: fmt.Sprintf("%d characters long", n), Limit: fmt.Sprintf("at most %d characters", MaxPatternLength)}
		}
		root, err := compile(source)
		if err != nil {
			err.Pattern = i
			return nil, err
		}
		f.patterns = append(f.patterns, root)
		f.readData = f.readData || root.mentions(fieldData)
	}
	return f, nil
}

// Patterns are the patterns as they were given.
func (f *Filter) Patterns() []string { return f.sources }

// Match is whether a record passes.
func (f *Filter) Match(r *Record) bool {
	if f == nil || len(f.patterns) == 0 {
		return true
	}
	t := tapes.Get().(*tape)
	defer t.release()
	root, whole := f.read(t, r)
	for _, p := range f.patterns {
		if (whole || !p.mentions(fieldData)) && p.match(t, root) {
			return true
		}
	}
	return false
}

// read lays a record out on a tape. whole is whether its data are JSON, where some pattern looks into them.
func (f *Filter) read(t *tape, r *Record) (root int, whole bool) {
	root = t.open(kindObject)
	t.text(fieldPartitionKey, r.PartitionKey)
	t.scratch = strconv.AppendUint(t.scratch[:0], r.Sequence, 10)
	t.text(fieldSequence, t.scratch)
	at := len(t.scratch)
	t.scratch = appendSeconds(t.scratch, r.Arrival)
	t.number(fieldArrival, t.scratch[at:])
	t.text(fieldSchema, schemaVersion)
	whole = true
	if f.readData {
		before := t.mark()
		if whole = t.parse(fieldData, r.Data); !whole {
			t.rewind(before)
		}
	}
	t.close(root)
	return root, whole
}

// The fields of a record beside its data.
const (
	fieldData         = "data"
	fieldPartitionKey = "partitionKey"
	fieldSequence     = "sequenceNumber"
	fieldArrival      = "approximateArrivalTimestamp"
	fieldSchema       = "kinesisSchemaVersion"
)

var schemaVersion = []byte("1.0")

// appendSeconds appends microseconds as seconds with three decimals, as Lambda's events have them.
func appendSeconds(b []byte, micros int64) []byte {
	millis := micros / int64(time.Millisecond/time.Microsecond)
	if millis < 0 {
		millis = 0
	}
	b = strconv.AppendInt(b, millis/1000, 10)
	b = append(b, '.')
	rest := millis % 1000
	return append(b, byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
}

var tapes = sync.Pool{New: func() any { return newTape() }}
