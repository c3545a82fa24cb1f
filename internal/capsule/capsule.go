package capsule

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

// Format is the version of the file that is written, and the newest that is read. That of version 1 has no answers.
const Format = 2

// Why a capsule was kept.
const (
	Failed  = "failed"  // the function failed, or asked for records again or rejected some
	Slow    = "slow"    // it took longer than the mapping said
	Sampled = "sampled" // by chance, as often as the mapping said
)

// Summary is what a list shows of a capsule.
type Summary struct {
	Format   int       `json:"format"`
	ID       string    `json:"id"` // the invocation's
	Made     time.Time `json:"made"`
	Why      string    `json:"why"`
	Function string    `json:"function"`
	Version  int       `json:"version"`
	Digest   string    `json:"digest"` // of the module: "sha256:<hex>"
	Mapping  string    `json:"mapping,omitempty"`
	Stream   string    `json:"stream,omitempty"`
	Shard    uint32    `json:"shard,omitempty"`
	First    uint64    `json:"first,omitempty"` // sequence numbers
	Last     uint64    `json:"last,omitempty"`
	Records  int       `json:"records,omitempty"`
	Outcome  string    `json:"outcome"` // Outcome.Kind
	Message  string    `json:"message,omitempty"`
	// Reproduced is whether the call, made again in a new instance with the same readings, came to the same. Where it did not, the
	// function keeps something in memory between calls, or depends on more than it is given.
	Reproduced bool  `json:"reproduced"`
	Bytes      int64 `json:"-"` // of the file
}

// Capsule is one invocation, whole.
type Capsule struct {
	Summary
	Limits   Limits          `json:"limits"`
	Settings json.RawMessage `json:"settings,omitempty"` // of the mapping
	Call     Call            `json:"call"`
	Start    Tape            `json:"start"`  // what the instance read while it was made
	During   Tape            `json:"during"` // what it read in the call
	Result   Outcome         `json:"result"`
	// Again is what the call came to when it was made again right after, with the same readings: what every replay with the same
	// module comes to. Result is what came of the call itself.
	Again Outcome `json:"again"`
}

// Limits are those of the version.
type Limits struct {
	TimeoutMs   int64    `json:"timeoutMs"`
	MemoryBytes int64    `json:"memoryBytes"`
	Fuel        int64    `json:"fuel,omitempty"` // instructions a call may execute; 0 = no limit
	Emit        []string `json:"emit,omitempty"`

	Env     map[string]string `json:"env,omitempty"`     // variables of its environment
	Secrets []string          `json:"secrets,omitempty"` // names of those it was granted; their values are not kept
	HTTP    []string          `json:"http,omitempty"`    // servers that it might call
	State   []string          `json:"state,omitempty"`   // tables that it was granted
}

// Call is what the function was given.
type Call struct {
	Kind       uint8  `json:"kind"` // of the ABI
	Attempt    int    `json:"attempt"`
	Invocation string `json:"invocation"`
	Deadline   int64  `json:"deadline"`          // µs since the Unix epoch
	Records    []byte `json:"records,omitempty"` // a record batch
	Body       []byte `json:"body,omitempty"`
	State      []byte `json:"state,omitempty"`

	WindowStart time.Time `json:"windowStart,omitzero"`
	WindowEnd   time.Time `json:"windowEnd,omitzero"`
	WindowEarly bool      `json:"windowEarly,omitempty"`
}

// Tape is what a guest read, in the order of its readings.
type Tape struct {
	Wall   []int64 `json:"wall,omitempty"`   // real time, ns since the Unix epoch
	Mono   []int64 `json:"mono,omitempty"`   // monotonic time, ns
	Random []byte  `json:"random,omitempty"` // random bytes
	// Answers are those of the host, and Secrets the names of the secrets whose values the guest had been given by then: the values
	// themselves are in none of the answers.
	Answers []Answer `json:"answers,omitempty"`
	Secrets []string `json:"secrets,omitempty"`
	// Cut says that there was more than a tape holds.
	Cut bool `json:"cut,omitempty"`
}

// Extend adds to a tape what another one, which begins with the same readings, has beyond them. Answers are not looked at.
func (t *Tape) Extend(longer *Tape) {
	t.Wall = append(t.Wall, longer.Wall[min(len(t.Wall), len(longer.Wall)):]...)
	t.Mono = append(t.Mono, longer.Mono[min(len(t.Mono), len(longer.Mono)):]...)
	t.Random = append(t.Random, longer.Random[min(len(t.Random), len(longer.Random)):]...)
	t.Cut = t.Cut || longer.Cut
}

// Limits of a tape.
const (
	MaxReadings = 1 << 16 // of each clock
	MaxRandom   = 1 << 20 // bytes
)

// Outcome is what a call came to.
type Outcome struct {
	Kind       string         `json:"kind"` // "ok" or the kind of the error
	Message    string         `json:"message,omitempty"`
	Type       string         `json:"type,omitempty"`
	Stack      string         `json:"stack,omitempty"`
	ExitCode   int            `json:"exitCode,omitempty"`
	Records    []RecordResult `json:"records,omitempty"` // those that are not simply ok
	Outputs    []Output       `json:"outputs,omitempty"`
	Body       []byte         `json:"body,omitempty"`
	State      []byte         `json:"state,omitempty"`
	DurationNs int64          `json:"durationNs"`
	MemoryPeak int64          `json:"memoryPeak,omitempty"`
}

// RecordResult is what a function said of a record.
type RecordResult struct {
	Index  int    `json:"index"`
	Result string `json:"result"` // dropped, retry or rejected
	Reason string `json:"reason,omitempty"`
}

// Output is what a function emitted to a stream.
type Output struct {
	Stream  string `json:"stream"`
	Records []byte `json:"records"` // a record batch
}

// Same is whether two outcomes are alike in all that does not depend on time and place: durations, memory and the text of stacks are
// left out.
func (o *Outcome) Same(other *Outcome) bool {
	if o.Kind != other.Kind || o.Message != other.Message || o.Type != other.Type || o.ExitCode != other.ExitCode ||
		!bytes.Equal(o.Body, other.Body) || !bytes.Equal(o.State, other.State) ||
		len(o.Records) != len(other.Records) || len(o.Outputs) != len(other.Outputs) {
		return false
	}
	for i := range o.Records {
		if o.Records[i] != other.Records[i] {
			return false
		}
	}
	for i := range o.Outputs {
		if o.Outputs[i].Stream != other.Outputs[i].Stream || !bytes.Equal(o.Outputs[i].Records, other.Outputs[i].Records) {
			return false
		}
	}
	return true
}

// MaxBytes is how large a capsule may be.
const MaxBytes = 256 << 20

// ErrInvalid: the bytes are no capsule.
var ErrInvalid = errors.New("this is no capsule")

// Encode makes the file of a capsule.
func (c *Capsule) Encode() ([]byte, error) {
	c.Format = cmp.Or(c.Format, Format)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	if err := e.Encode(&c.Summary); err != nil {
		return nil, err
	}
	if err := e.Encode(c); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Decode reads a capsule's file. Errors wrap ErrInvalid and say what is wrong.
func Decode(file []byte) (*Capsule, error) {
	if len(file) > MaxBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrInvalid, len(file), MaxBytes)
	}
	first, rest, _ := bytes.Cut(file, []byte{'\n'})
	if _, err := decodeSummary(first); err != nil {
		return nil, err
	}
	c := new(Capsule)
	if err := json.Unmarshal(rest, c); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	c.Bytes = int64(len(file))
	return c, nil
}

func decodeSummary(line []byte) (Summary, error) {
	var s Summary
	if err := json.Unmarshal(line, &s); err != nil {
		return s, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	if s.Format < 1 || s.Format > Format {
		return s, fmt.Errorf("%w that this program reads: its format is %d, it must be 1 to %d", ErrInvalid, s.Format, Format)
	}
	if !validID(s.ID) {
		return s, fmt.Errorf("%w: its id is %q", ErrInvalid, s.ID)
	}
	return s, nil
}

// validID allows what a file can be named.
func validID(id string) bool {
	for _, r := range id {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return id != "" && len(id) <= 128
}

// check looks at what whoever replays it relies on.
func (c *Capsule) check() error {
	if c.Format < 1 || c.Format > Format || !validID(c.ID) {
		return errors.New("the two lines differ")
	}
	if c.Limits.TimeoutMs < 1 || c.Limits.TimeoutMs > int64(15*time.Minute/time.Millisecond) || c.Limits.MemoryBytes < 1<<16 || c.Limits.MemoryBytes > 4<<30 {
		return errors.New("its limits are out of range")
	}
	for _, t := range []*Tape{&c.Start, &c.During} {
		if err := t.checkAnswers(); err != nil {
			return err
		}
	}
	if c.Call.Records != nil {
		if _, err := record.Parse(c.Call.Records); err != nil {
			return fmt.Errorf("its records: %w", err)
		}
	}
	for _, o := range []*Outcome{&c.Result, &c.Again} {
		for _, out := range o.Outputs {
			if _, err := record.Parse(out.Records); err != nil {
				return fmt.Errorf("an output to stream %q: %w", out.Stream, err)
			}
		}
	}
	return nil
}

// Join makes one record batch of runs of records.
func Join(runs []record.Run) []byte {
	n, size := 0, 0
	for _, r := range runs {
		n, size = n+r.Len(), size+r.Size()
	}
	b := make([]byte, record.HeaderSize, record.HeaderSize+size)
	for _, r := range runs {
		b = append(b, r.Bytes()...)
	}
	record.PutHeader(b, n, size, true)
	return b
}
