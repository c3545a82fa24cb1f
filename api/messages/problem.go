package messages

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// Errors of a message itself.
var (
	errNoKey = &shards.FieldError{Field: HeaderKey, Problem: "is missing", Limit: "a partition key"}
	errBusy  = errors.New("too much waits in the host to be put")
)

// problemPrefix and what follows it are the same as the HTTP API's.
const problemPrefix = "urn:shardmill:problem:"

// problem is an answer that says why a message was not put.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"` // as over HTTP
	Detail string `json:"detail,omitempty"`
	Field  string `json:"field,omitempty"`
	Value  string `json:"value,omitempty"`
	Limit  string `json:"limit,omitempty"`
	// Put is what became of the records of a batch.
	Put *summary `json:"put,omitempty"`
}

// code is the status in text.
func (p *problem) code() string { return strconv.Itoa(p.Status) }

// kind is the last part of the problem's type.
func (p *problem) kind() string { return p.Type[len(problemPrefix):] }

// encode is the problem as JSON.
func (p *problem) encode() []byte {
	b, err := json.Marshal(p)
	if err != nil { // a name that is not UTF-8
		b, _ = json.Marshal(&problem{Type: p.Type, Title: p.Title, Status: p.Status})
	}
	return b
}

// kinds is the one table from errors to problems. The first row that matches counts.
var kinds = []struct {
	err    error
	kind   string
	status int
	title  string
}{
	{errNoKey, "missing-key", 400, "The message has no partition key"},
	{shards.ErrInvalid, "invalid-field", 400, "A field is outside its limits"},
	{record.ErrMalformed, "malformed-batch", 400, "The payload is not a record batch"},
	{record.ErrChecksum, "malformed-batch", 400, "The payload is not a record batch"},
	{record.ErrVersion, "malformed-batch", 400, "The payload is not a record batch"},
	{shards.ErrNotFound, "stream-not-found", 404, "There is no such stream"},
	{errBusy, "throttled", 429, "The host is busy"},
	{shards.ErrThrottled, "throttled", 429, "The shard's rate is exceeded"},
	{shards.ErrDamaged, "damaged", 500, "Stored records are damaged"},
	{shards.ErrNoSpace, "no-space", 507, "The disk cannot take this"},
	{shards.ErrReadOnly, "no-space", 507, "The disk cannot take this"},
	{shards.ErrDisk, "no-space", 507, "The disk cannot take this"},
	{shards.ErrUnavailable, "internal", 500, "The host failed"},
	{shards.ErrClosed, "stopping", 503, "The host is stopping"},
	{errLeftover, "stopping", 503, "The host is stopping"},
	{context.Canceled, "stopping", 503, "The host is stopping"},
}

// problemOf is the problem that an error is answered with.
func problemOf(err error) *problem {
	for _, row := range kinds {
		if !errors.Is(err, row.err) {
			continue
		}
		p := &problem{Type: problemPrefix + row.kind, Title: row.title, Status: row.status, Detail: err.Error()}
		var field *shards.FieldError
		if errors.As(err, &field) {
			p.Field, p.Value, p.Limit = field.Field, field.Value, field.Limit
		}
		return p
	}
	return &problem{Type: problemPrefix + "internal", Title: "The host failed", Status: 500, Detail: err.Error()}
}

// maxFailures is how many refused records a summary names.
const maxFailures = 100

// summary says what became of the records of a batch, as the answer to a raw batch over HTTP does.
type summary struct {
	Put      int       `json:"put"`
	Failed   int       `json:"failed"`
	Failures []failure `json:"failures,omitempty"`

	first error // of the first record that was refused
}

// failure is one record that was refused.
type failure struct {
	Line    int    `json:"line"` // counted from 1
	Error   string `json:"error"`
	Message string `json:"message"`
}

func summarize(results []shards.Result, put int) *summary {
	s := &summary{Put: put, Failed: len(results) - put}
	for i := 0; i < len(results) && len(s.Failures) < min(s.Failed, maxFailures); i++ {
		err := results[i].Err
		if err == nil {
			continue
		}
		if s.first == nil {
			s.first = err
		}
		p := problemOf(err)
		s.Failures = append(s.Failures, failure{Line: i + 1, Error: p.kind(), Message: p.Detail})
	}
	return s
}

// encode is the answer to a batch: the summary, or a problem when no record was put.
func (s *summary) encode() ([]byte, *problem) {
	if s.Put == 0 {
		p := problemOf(s.first)
		if s.Failed > 1 {
			p.Type, p.Title = problemPrefix+"records-refused", "No record was put: each was refused"
			p.Detail = fmt.Sprintf("None of the %d records was put. Record 1: %s", s.Failed, p.Detail)
		}
		p.Put = s
		return p.encode(), p
	}
	b, err := json.Marshal(s)
	if err != nil {
		b, _ = json.Marshal(&summary{Put: s.Put, Failed: s.Failed})
	}
	return b, nil
}

// appendResult appends the answer to one record.
func appendResult(b []byte, r shards.Result) []byte {
	b = append(b, `{"shard":"`...)
	b = append(b, r.Shard.String()...)
	b = append(b, `","sequenceNumber":"`...)
	b = strconv.AppendUint(b, r.Sequence, 10)
	return append(b, `"}`...)
}
