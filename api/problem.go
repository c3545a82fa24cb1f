package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/shardmill/shardmill/internal/field"
)

// problemType is the prefix of every problem's type. What follows it is the
// Kind; both are stable.
const problemType = "urn:shardmill:problem:"

// Kind is the stable name of a sort of problem: the last part of a problem's
// type. The table in kinds lists every one with its status and title.
type Kind string

// The kinds of problem the surface answers with.
const (
	KindInvalidField       Kind = "invalid-field"
	KindUnknownField       Kind = "unknown-field"
	KindUnknownParameter   Kind = "unknown-parameter"
	KindMalformedJSON      Kind = "malformed-json"
	KindMalformedBatch     Kind = "malformed-batch"
	KindMalformedForm      Kind = "malformed-form"
	KindMalformedLine      Kind = "malformed-line"
	KindMissingKey         Kind = "missing-key"
	KindRecordsRefused     Kind = "records-refused"
	KindInvalidModule      Kind = "invalid-module"
	KindCrossOrigin        Kind = "cross-origin"
	KindUntrusted          Kind = "untrusted"
	KindNoRoute            Kind = "no-route"
	KindStreamNotFound     Kind = "stream-not-found"
	KindShardNotFound      Kind = "shard-not-found"
	KindVersionNotFound    Kind = "version-not-found"
	KindAliasNotFound      Kind = "alias-not-found"
	KindFunctionNotFound   Kind = "function-not-found"
	KindInvocationNotFound Kind = "invocation-not-found"
	KindCapsuleNotFound    Kind = "capsule-not-found"
	KindMappingNotFound    Kind = "mapping-not-found"
	KindShadowNotFound     Kind = "shadow-not-found"
	KindSecretNotFound     Kind = "secret-not-found"
	KindTableNotFound      Kind = "state-not-found"
	KindEntryNotFound      Kind = "state-entry-not-found"
	KindMethod             Kind = "method-not-allowed"
	KindNotAcceptable      Kind = "not-acceptable"
	KindBodyStalled        Kind = "body-stalled"
	KindBodyCut            Kind = "body-cut"
	KindConflict           Kind = "conflict"
	KindInUse              Kind = "in-use"
	KindForeignHost        Kind = "foreign-host"
	KindBodyTooLarge       Kind = "body-too-large"
	KindMediaType          Kind = "unsupported-media-type"
	KindCannotServe        Kind = "call-not-handled"
	KindThrottled          Kind = "throttled"
	KindNothingReserved    Kind = "nothing-reserved"
	KindRateExceeded       Kind = "rate-exceeded"
	KindInternal           Kind = "internal"
	KindDamaged            Kind = "damaged"
	KindFunctionFailed     Kind = "function-failed"
	KindBusy               Kind = "busy"
	KindStopping           Kind = "stopping"
	KindNotReady           Kind = "not-ready"
	KindNoSpace            Kind = "no-space"
	KindStateFull          Kind = "state-full"
	KindTooManyFiles       Kind = "too-many-files"
)

// kindRow is one row of the table of kinds.
type kindRow struct {
	kind   Kind
	status int
	title  string
}

// kinds is the one table of problem types and their statuses. doc.go shows the
// same table and a test keeps the two alike.
var kinds = []kindRow{
	{KindInvalidField, 400, "A field is outside its limits"},
	{KindUnknownField, 400, "A JSON field is unknown"},
	{KindUnknownParameter, 400, "A query parameter is unknown"},
	{KindMalformedJSON, 400, "The body is not the JSON this route takes"},
	{KindMalformedBatch, 400, "The body is not a record batch"},
	{KindMalformedForm, 400, "The multipart form is not the one this route takes"},
	{KindMalformedLine, 400, "A line is not valid JSON"},
	{KindMissingKey, 400, "A line has no partition key at the pointer"},
	{KindRecordsRefused, 400, "No record was put: each was refused"},
	{KindInvalidModule, 400, "The WebAssembly module cannot be served"},
	{KindBodyCut, 400, "The body ended before its end"},
	{KindCrossOrigin, 403, "A browser sent this from another origin"},
	{KindUntrusted, 403, "The module is not signed with a trusted key"},
	{KindNoRoute, 404, "There is no such path"},
	{KindStreamNotFound, 404, "There is no such stream"},
	{KindShardNotFound, 404, "There is no such shard"},
	{KindFunctionNotFound, 404, "There is no such function"},
	{KindVersionNotFound, 404, "The function has no such version"},
	{KindAliasNotFound, 404, "The function has no such alias"},
	{KindInvocationNotFound, 404, "The function has no such invocation"},
	{KindCapsuleNotFound, 404, "There is no such capsule"},
	{KindMappingNotFound, 404, "There is no such mapping"},
	{KindShadowNotFound, 404, "The mapping has no shadow"},
	{KindSecretNotFound, 404, "There is no such secret"},
	{KindTableNotFound, 404, "There is no such state table"},
	{KindEntryNotFound, 404, "The state table has no such entry"},
	{KindMethod, 405, "The path does not take this method"},
	{KindNotAcceptable, 406, "The answer cannot be given in the form asked for"},
	{KindBodyStalled, 408, "The body stopped arriving"},
	{KindConflict, 409, "It exists already with another shape, or changed meanwhile"},
	{KindInUse, 409, "Something else needs it"},
	{KindCannotServe, 409, "The function does not handle this kind of call"},
	{KindBodyTooLarge, 413, "The body is too large"},
	{KindMediaType, 415, "The body's media type is not taken here"},
	{KindForeignHost, 421, "The request is for another host"},
	{KindThrottled, 429, "All instances of the function are busy"},
	{KindNothingReserved, 429, "The function's reserved concurrency is 0"},
	{KindRateExceeded, 429, "The shard's rate is exceeded"},
	{KindInternal, 500, "The host failed"},
	{KindDamaged, 500, "Stored records are damaged"},
	{KindFunctionFailed, 502, "The function failed"},
	{KindBusy, 503, "Too much is on its way in"},
	{KindStopping, 503, "The host is stopping"},
	{KindNotReady, 503, "The host is not ready"},
	{KindNoSpace, 507, "The disk cannot take this"},
	{KindStateFull, 507, "The state tables cannot take this"},
	{KindTooManyFiles, 507, "The host may not open more files"},
}

// byKind finds a row of kinds.
var byKind = func() map[Kind]kindRow {
	m := make(map[Kind]kindRow, len(kinds))
	for _, row := range kinds {
		m[row.kind] = row
	}
	return m
}()

// Problem is an RFC 9457 problem: what every error answer of the surface holds
// and what the Client returns as error. Members beyond the RFC's are present
// where they apply.
type Problem struct {
	// Type is "urn:shardmill:problem:" and the kind; it is stable.
	Type string `json:"type" doc:"Stable name of the kind of problem: urn:shardmill:problem:<kind>."`
	// Title says in general what the kind is; the same for every problem of the kind.
	Title string `json:"title" doc:"What this kind of problem is."`
	// Status is the HTTP status.
	Status int `json:"status" doc:"The HTTP status."`
	// Detail is a sentence that says what is wrong here and what to do.
	Detail string `json:"detail,omitempty" doc:"What is wrong here and what to do."`
	// Reason is what is wrong, without what to do in terms of HTTP; "" where Detail says no more.
	Reason string `json:"reason,omitempty" doc:"What is wrong, where detail also says what to do in terms of HTTP; for programs that have advice of their own."`
	// Instance is the path the problem arose at.
	Instance string `json:"instance,omitempty" doc:"The path of the request."`
	// Field names the field, query parameter or part that is refused.
	Field string `json:"field,omitempty" doc:"The field, parameter or part that is refused."`
	// Value is the value that is refused, cut to 100 bytes.
	Value string `json:"value,omitempty" doc:"The value that is refused, cut to 100 bytes."`
	// Limit is what the field may be.
	Limit string `json:"limit,omitempty" doc:"What the field may be."`
	// Function describes a function's own failure.
	Function *FunctionFailure `json:"function,omitempty" doc:"The function's own failure."`
	// Damage describes damaged records that stand in the way.
	Damage *Damage `json:"damage,omitempty" doc:"The damaged records that stand in the way."`
	// Put says what had happened to the records of a put that failed.
	Put *PutAnswer `json:"put,omitempty" doc:"What happened to the records of a put that failed."`

	advice string // what of Detail is not Reason
}

// FunctionFailure is the failure of a function itself: it is the function's
// author who can mend it.
type FunctionFailure struct {
	Name       string `json:"name" doc:"The function."`
	Version    int    `json:"version" doc:"The version that ran."`
	Kind       string `json:"kind" doc:"error, trap, timeout, fuel, memory, exit, malformed_reply, denied, refused or conflict."`
	Message    string `json:"message" doc:"What the function or its trap said."`
	Stack      string `json:"stack,omitempty" doc:"The guest's stack, one frame a line."`
	ExitCode   *int   `json:"exitCode,omitempty" doc:"The code given to exit, where the kind is exit."`
	Invocation string `json:"invocation,omitempty" doc:"The invocation's id; its log lines carry it."`
}

// Error is the sentence for people: the detail, or the title where there is none.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	if p.Title != "" {
		return p.Title
	}
	return "HTTP status " + strconv.Itoa(p.Status)
}

// Kind is the last part of the problem's type, "" when the type is not one of
// this surface's.
func (p *Problem) Kind() Kind {
	k, ok := strings.CutPrefix(p.Type, problemType)
	if !ok {
		return ""
	}
	return Kind(k)
}

// Is makes errors.Is(err, &Problem{Type: …}) compare by type alone.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Type == p.Type
}

// problem makes a Problem of a kind with a formatted detail.
func problem(kind Kind, format string, args ...any) *Problem {
	row, ok := byKind[kind]
	if !ok {
		row = byKind[KindInternal]
	}
	return &Problem{
		Type:   problemType + string(row.kind),
		Title:  row.title,
		Status: row.status,
		Detail: fmt.Sprintf(format, args...),
	}
}

// because sets what is wrong and what to do about it, "" where the first says that too, and gives the problem back.
func (p *Problem) because(reason, advice string) *Problem {
	p.Reason, p.Detail, p.advice = reason, strings.TrimSuffix(reason+" "+advice, " "), advice
	return p
}

// invalidField is the problem of a value outside its limit.
func invalidField(name, value, limit string) *Problem {
	return refusal(field.Invalid(name, value, limit))
}

// faulty is invalidField where no value shows what is wrong: fault is the predicate,
// such as "is missing".
func faulty(name, fault, limit string) *Problem {
	return refusal(&field.Error{Field: name, Problem: fault, Limit: limit})
}

// quote puts a value of a request in a sentence: quoted and cut.
func quote(value string) string { return strconv.Quote(cut(value)) }

// cut shortens a value of a request to what a problem repeats of it.
func cut(value string) string { return field.Cut(value) }

// writeProblem answers with p. The answer's instance is the request's path.
func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	answer := *p
	if answer.Instance == "" {
		answer.Instance = r.URL.EscapedPath()
	}
	body, err := json.Marshal(&answer, lenient)
	if err != nil {
		panic(err) // a Problem holds plain values only
	}
	body = append(body, '\n')
	header := w.Header()
	header.Set("Content-Type", typeProblem)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	if answer.Status == http.StatusTooManyRequests || answer.Status == http.StatusServiceUnavailable {
		header.Set("Retry-After", "1")
	}
	w.WriteHeader(answer.Status)
	w.Write(body)
}

// TransformSchema lists the stable types in the OpenAPI document.
func (Problem) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	var list strings.Builder
	list.WriteString("An RFC 9457 problem. The types and their statuses:\n\n| type | status | title |\n|---|---|---|\n")
	for _, row := range kinds {
		fmt.Fprintf(&list, "| %s%s | %d | %s |\n", problemType, row.kind, row.status, row.title)
		s.Properties["type"].Enum = append(s.Properties["type"].Enum, problemType+string(row.kind))
	}
	s.Description = list.String()
	return s
}
