package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	theirs "github.com/aws/aws-lambda-go/lambda"
)

type order struct {
	Item  string `json:"item"`
	Count any    `json:"count"`
}

type custom struct{}

func (custom) Invoke(_ context.Context, payload []byte) ([]byte, error) {
	return append([]byte("got "), payload...), nil
}

type key string

type closing struct {
	io.Reader
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return nil }

type oddError struct{ Secret string }

func (oddError) Error() string { return "odd" }

// TestForms calls handlers of every form, and of none, as aws-lambda-go does: answers and errors are the same.
func TestForms(t *testing.T) {
	sold := errors.New("sold out")
	forms := map[string]any{
		"nothing":               func() {},
		"error":                 func() error { return sold },
		"no error":              func() error { return nil },
		"answer":                func() (string, error) { return "a<b>&\u2028", nil },
		"answer or error":       func() (string, error) { return "ignored", sold },
		"event":                 func(order) {},
		"event, error":          func(o order) error { return errors.New(o.Item) },
		"event, answer":         func(o order) (order, error) { return o, nil },
		"pointers":              func(o *order) (*order, error) { return o, nil },
		"any":                   func(v any) (any, error) { return v, nil },
		"map":                   func(m map[string]any) (int, error) { return len(m), nil },
		"raw":                   func(r json.RawMessage) (json.RawMessage, error) { return r, nil },
		"context":               func(context.Context) {},
		"context, error":        func(context.Context) error { return oddError{} },
		"context, answer":       func(ctx context.Context) (bool, error) { return ctx != nil, nil },
		"context, event":        func(context.Context, order) {},
		"context, event, error": func(context.Context, order) error { return &oddError{} },
		"all":                   func(_ context.Context, o order) ([]order, error) { return []order{o, o}, nil },
		"a custom error":        func() (any, oddError) { return 1, oddError{} },
		"a Handler":             custom{},
		"a reader":              func() (io.Reader, error) { return strings.NewReader("no JSON"), nil },
		"a buffer":              func() (*bytes.Buffer, error) { return bytes.NewBufferString("no JSON"), nil },
		"a channel":             func() (any, error) { return make(chan int), nil },

		"nil":                     nil,
		"no func":                 "handler",
		"three arguments":         func(context.Context, order, order) {},
		"the context second":      func(order, context.Context) {},
		"two events":              func(order, order) {},
		"an interface":            func(io.Reader) {},
		"an interface first":      func(io.Reader, order) {},
		"three results":           func() (int, int, error) { return 0, 0, nil },
		"an answer alone":         func() int { return 0 },
		"an answer, not an error": func() (int, int) { return 0, 0 },
	}
	payloads := []string{`{"item":"tea","count":3}`, `{"item":"tea","more":1}`, `{}`, `null`, `7`, `{"item":`, ``, `"x"`}
	for name, handler := range forms {
		for _, payload := range payloads {
			got, err := NewHandler(handler).Invoke(t.Context(), []byte(payload))
			want, wantErr := theirs.NewHandler(handler).Invoke(t.Context(), []byte(payload))
			if string(got) != string(want) || (err == nil) != (wantErr == nil) {
				t.Errorf("%s, %s: %q, %v; aws-lambda-go: %q, %v", name, payload, got, err, want, wantErr)
			}
			if err != nil && wantErr != nil && reflect.TypeOf(err) != reflect.TypeOf(wantErr) && payload != "" && payload != `{"item":` {
				t.Errorf("%s, %s: %T (%v); aws-lambda-go: %T (%v)", name, payload, err, err, wantErr, wantErr)
			}
		}
	}
}

// TestRefusals says what is wrong with a handler.
func TestRefusals(t *testing.T) {
	var none func()
	for _, tt := range []struct {
		handler any
		want    string
	}{
		{nil, "handler is nil"}, {none, "handler is nil"}, {5, "handler is a int and not a func"},
		{func(context.Context, int, int) {}, "handler takes 3 arguments; it can take a context and an event"},
		{func(int, context.Context) {}, "handler takes a int first; of two arguments the first is a context.Context"},
		{func(io.Reader) {}, "handler takes a io.Reader, which is an interface and not context.Context"},
		{func(...int) {}, "handler takes any number of arguments; it can take a context and an event"},
		{func() (int, int, error) { return 0, 0, nil }, "handler returns 3 values; it can return an answer and an error"},
		{func() (int, int) { return 0, 0 }, "handler returns a int last, which is no error"},
	} {
		if _, err := NewHandler(tt.handler).Invoke(t.Context(), nil); err == nil || err.Error() != tt.want {
			t.Errorf("%T: %v, want %s", tt.handler, err, tt.want)
		}
	}
}

// TestOptions compares every option with aws-lambda-go's.
func TestOptions(t *testing.T) {
	type both struct {
		ours   []Option
		theirs []theirs.Option
	}
	echo := func(ctx context.Context, o order) (any, error) {
		return []any{o, reflect.TypeOf(o.Count).String(), ctx.Value(key("a")), ctx.Value(key("b"))}, nil
	}
	base := context.WithValue(t.Context(), key("a"), "base")
	for name, options := range map[string]both{
		"none":    {},
		"html":    {[]Option{WithSetEscapeHTML(true)}, []theirs.Option{theirs.WithSetEscapeHTML(true)}},
		"indent":  {[]Option{WithSetIndent(">", "  ")}, []theirs.Option{theirs.WithSetIndent(">", "  ")}},
		"number":  {[]Option{WithUseNumber(true)}, []theirs.Option{theirs.WithUseNumber(true)}},
		"strict":  {[]Option{WithDisallowUnknownFields(true)}, []theirs.Option{theirs.WithDisallowUnknownFields(true)}},
		"context": {[]Option{WithContext(base), WithContextValue(key("b"), 2)}, []theirs.Option{theirs.WithContext(base), theirs.WithContextValue(key("b"), 2)}},
		"value":   {[]Option{WithContextValue(key("b"), 2), WithEnableSIGTERM()}, []theirs.Option{theirs.WithContextValue(key("b"), 2)}},
	} {
		for _, payload := range []string{`{"item":"<tea>","count":3}`, `{"item":"tea","count":1,"more":1}`} {
			got, err := NewHandlerWithOptions(echo, options.ours...).Invoke(t.Context(), []byte(payload))
			h := theirs.NewHandlerWithOptions(echo, options.theirs...)
			ctx := t.Context()
			if strings.Contains(name, "context") || name == "value" { // theirs has the base from its caller
				ctx = context.WithValue(ctx, key("b"), 2)
			}
			if name == "context" {
				ctx = context.WithValue(ctx, key("a"), "base")
			}
			want, wantErr := h.Invoke(ctx, []byte(payload))
			if string(got) != string(want) || (err == nil) != (wantErr == nil) {
				t.Errorf("%s: %s, %v; aws-lambda-go: %s, %v", name, got, err, want, wantErr)
			}
		}
	}
	if h := NewHandler(echo); NewHandlerWithOptions(h, WithUseNumber(true)) != h {
		t.Error("a handler is wrapped twice")
	}
}

// TestReaderIsClosed closes what a handler has returned.
func TestReaderIsClosed(t *testing.T) {
	var closed bool
	h := NewHandler(func() (any, error) { return closing{iotestErr{}, &closed}, nil })
	if _, err := h.Invoke(t.Context(), nil); err == nil || !closed {
		t.Errorf("%v, closed %t", err, closed)
	}
}

// iotestErr fails with every read, and cannot be written as JSON.
type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error)     { return 0, errors.New("broken") }
func (iotestErr) MarshalJSON() ([]byte, error) { return nil, errors.New("no JSON") }

// TestEvents decodes the examples of aws-lambda-go into the types that handlers take.
func TestEvents(t *testing.T) {
	kinesis := func(e events.KinesisEvent) (events.KinesisEventResponse, error) {
		return events.KinesisEventResponse{BatchItemFailures: []events.KinesisBatchItemFailure{{ItemIdentifier: e.Records[1].Kinesis.SequenceNumber}}}, nil
	}
	firehose := func(e events.KinesisFirehoseEvent) (events.KinesisFirehoseResponse, error) {
		return events.KinesisFirehoseResponse{Records: []events.KinesisFirehoseResponseRecord{{RecordID: e.Records[0].RecordID, Result: "Ok", Data: e.Records[0].Data}}}, nil
	}
	for _, tt := range []struct {
		payload string
		handler any
	}{
		{
			`{"Records":[{"kinesis":{"data":"SGk=","sequenceNumber":"1","approximateArrivalTimestamp":1480641523.477}},{"kinesis":{"sequenceNumber":"2"}}]}`,
			kinesis,
		},
		{
			`{"invocationId":"i","records":[{"recordId":"r","approximateArrivalTimestamp":1507217624302,"data":"SGk="}]}`,
			firehose,
		},
	} {
		got, err := NewHandler(tt.handler).Invoke(t.Context(), []byte(tt.payload))
		want, wantErr := theirs.NewHandler(tt.handler).Invoke(t.Context(), []byte(tt.payload))
		if err != nil || wantErr != nil || string(got) != string(want) {
			t.Errorf("%s, %v, want %s, %v", got, err, want, wantErr)
		}
	}
}

func BenchmarkInvoke(b *testing.B) {
	payload := []byte(`{"Records":[` + strings.TrimSuffix(strings.Repeat(`{"kinesis":{"data":"`+strings.Repeat("QUFB", 341)+`","sequenceNumber":"1","partitionKey":"k","approximateArrivalTimestamp":1480641523.477}},`, 100), ",") + `]}`)
	h := NewHandler(func(events.KinesisEvent) (events.KinesisEventResponse, error) {
		return events.KinesisEventResponse{}, nil
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Invoke(b.Context(), payload); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
