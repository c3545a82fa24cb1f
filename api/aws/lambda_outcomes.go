package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// Destinations are where documents of asynchronous invocations can go, besides functions. Its methods may be called at the same time.
type Destinations interface {
	// Check refuses a URI to which nothing can be delivered as things are, with a *field.Error. It delivers nothing.
	Check(ctx context.Context, uri string) error
	// Deliver tries once, and returns when the document is stored. It only reads d. An error that is ErrMisconfigured lasts until somebody
	// changes something; others may pass.
	Deliver(ctx context.Context, uri string, d Document) error
}

// ErrMisconfigured is an error of Destinations that lasts.
var ErrMisconfigured = errors.New("the destination or its settings are wrong")

// Document tells what became of an asynchronous invocation, in JSON, as Lambda writes it.
type Document struct {
	ID    string // the invocation's
	Key   string // its name below a prefix or a folder, Lambda's
	Whole []byte
	Brief []byte // without the payloads; for streams whose records cannot be as large as the whole
}

// FileDestinations are the destinations in folders (file:///folder) that entries of Settings name, for who looks after what a host that was killed has
// left there.
func FileDestinations(settings []catalog.Entry) (uris []string) {
	for _, entry := range settings {
		if !strings.HasPrefix(entry.Key, recordKey("")) {
			continue
		}
		var r functionRecord
		if json.Unmarshal(entry.Value, &r) != nil {
			continue // whoever needs it says so
		}
		for _, a := range r.Async {
			for _, uri := range []string{a.OnSuccess, a.OnFailure} {
				if strings.HasPrefix(uri, "file:") {
					uris = append(uris, uri)
				}
			}
		}
	}
	return uris
}

// condition is what became of an invocation, in Lambda's words; "" is nothing yet.
type condition string

const (
	conditionSuccess condition = "Success"
	conditionRetries condition = "RetriesExhausted" // the function has failed as often as it may
	conditionAge     condition = "EventAgeExceeded" // the next attempt would come too late
	conditionZero    condition = "ZeroReservedConcurrency"
)

// ending is an invocation that has ended.
type ending struct {
	call      runtime.Call
	condition condition
	calls     int    // how often the function was called
	answer    []byte // of a success
	room      int64  // that is kept for the answer
	version   int    // that ran last; 0 = none did
	failed    *runtime.FunctionError
	rules     asyncRules
	at        time.Time
}

// responseContext is there when the function was called and has come to an end.
type responseContext struct {
	StatusCode      int    `json:"statusCode"`
	ExecutedVersion string `json:"executedVersion"`
	FunctionError   string `json:"functionError,omitempty"`
}

// invocationDocument is Lambda's, with its members in Lambda's order.
type invocationDocument struct {
	Version   string `json:"version"`
	Timestamp string `json:"timestamp"`
	Request   struct {
		ID          string    `json:"requestId"`
		FunctionARN string    `json:"functionArn"`
		Condition   condition `json:"condition"`
		Calls       int       `json:"approximateInvokeCount"`
	} `json:"requestContext"`
	RequestPayload  json.RawMessage  `json:"requestPayload,omitempty"`
	Response        *responseContext `json:"responseContext,omitempty"`
	ResponsePayload json.RawMessage  `json:"responsePayload,omitempty"`
}

// document is what tells of the ending. arn is that of what was called.
func (e *ending) document(arn string) Document {
	d := invocationDocument{Version: "1.0", Timestamp: e.at.UTC().Format("2006-01-02T15:04:05.000Z")}
	d.Request.ID, d.Request.FunctionARN, d.Request.Condition, d.Request.Calls = e.call.ID, arn, e.condition, e.calls
	if e.version != 0 {
		d.Response = &responseContext{StatusCode: 200, ExecutedVersion: runtime.Latest}
		if e.call.Version != 0 || e.call.Alias != "" {
			d.Response.ExecutedVersion = versionText(e.version)
		}
		if e.failed != nil {
			d.Response.FunctionError = "Unhandled"
		}
	}
	brief := encodeDocument(d)
	d.RequestPayload = asJSON(e.call.Body)
	switch {
	case e.failed != nil:
		d.ResponsePayload = failureDocument(e.failed, e.rules.timeout)
	case e.version != 0:
		d.ResponsePayload = asJSON(e.answer)
	}
	// Lambda's name of an object.
	key := "aws/lambda/async/" + e.call.Function + e.at.UTC().Format("/2006/01/02/2006-01-02T15.04.05-") + e.call.ID
	return Document{ID: e.call.ID, Key: key, Whole: encodeDocument(d), Brief: brief}
}

func encodeDocument(d invocationDocument) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d); err != nil {
		panic("aws: encode a document: " + err.Error()) // of texts, and of JSON that asJSON has looked at
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// asJSON is a payload as a part of a document: as it is, nothing as null, and what is no JSON as a text.
func asJSON(payload []byte) json.RawMessage {
	if len(payload) == 0 {
		return json.RawMessage("null")
	}
	if json.Valid(payload) {
		return payload
	}
	text, err := json.Marshal(string(payload))
	if err != nil {
		panic("aws: encode a payload: " + err.Error()) // of a text
	}
	return text
}

// conclude tells of an ending where the function's settings say; false when ctx ended first.
func (q *events) conclude(ctx context.Context, e *ending, cause error) bool {
	uri := e.rules.OnSuccess
	if e.condition != conditionSuccess {
		uri = e.rules.OnFailure
		if !q.giveUp(ctx, e.call, e.condition, cause) {
			return false
		}
	}
	if uri == "" {
		return true
	}
	e.at = time.Now()
	for n := 0; ; n++ {
		err := q.send(ctx, uri, e)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, ErrMisconfigured), errors.Is(err, shards.ErrInvalid), time.Since(e.at) > maxAsyncAge:
			q.logger.Error("the document of an asynchronous invocation was not delivered, and is not tried again", "function", e.call.Function, "invocation", e.call.ID, "condition", e.condition, "error", err)
			return true
		}
		if !pause(ctx, asyncBackoff(n)) {
			return false
		}
	}
}

// send tries once to deliver the document of an ending. It is made anew each time, so that those that wait do not hold it.
func (q *events) send(ctx context.Context, uri string, e *ending) error {
	if err := q.deliveries.wait(ctx, uri, 1); err != nil {
		return err
	}
	defer q.deliveries.release(uri, 1)
	d := e.document(q.arn(e.call.Function, asyncKey(e.call.Version, e.call.Alias)))
	function, ok := strings.CutPrefix(uri, functionURI)
	if !ok {
		if q.destinations == nil {
			return ErrMisconfigured
		}
		return q.destinations.Deliver(ctx, uri, d)
	}
	call := runtime.Call{ID: newRequestID(), Kind: runtime.KindInvoke, Body: d.Whole}
	if len(call.Body) > maxAsyncPayload {
		call.Body = d.Brief
	}
	var qualifier string
	var err error
	call.Function, qualifier, _ = strings.Cut(function, ":")
	if call.Version, call.Alias, err = runtime.ParseQualifier(qualifier); err != nil {
		return errors.Join(ErrMisconfigured, err)
	}
	return q.add(ctx, call)
}
