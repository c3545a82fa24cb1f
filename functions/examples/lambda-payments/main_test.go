package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/lambda"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/sdk/sdktest"
	"github.com/shardmill/shardmill/triggers/event"
)

var update = flag.Bool("update", false, "write the golden file")

// host hands batches over as a mapping does.
type host struct {
	t        *testing.T
	envelope event.Envelope
	emitted  []sdk.Record
}

func newHost(t *testing.T) *host {
	start := time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)
	return &host{t: t, envelope: event.Envelope{
		Region: "us-east-1", StreamARN: "arn:aws:kinesis:us-east-1:000000000000:stream/payments", Numbers: sequence.Of("01KBKT5N9Q0000000000000000"),
		Window: &event.Window{Start: start, End: start.Add(10 * time.Minute)},
	}}
}

func (h *host) invoke(records ...sdk.Record) event.Reply {
	h.t.Helper()
	var b record.Builder
	for i, r := range records {
		r.Sequence = record.MakeSequence(1, uint64(i)+1)
		if err := b.Append(r); err != nil {
			h.t.Fatal(err)
		}
	}
	runs := []record.Run{b.Run()}
	a := sdktest.Call{}.Answer(h.t, lambda.NewHandler(handle).Invoke, event.Append(nil, h.envelope, runs))
	if a.Err != nil {
		h.t.Fatal(a.Err)
	}
	h.emitted = append(h.emitted, a.Emitted["merchants"]...)
	reply, err := event.ParseReply(a.Body, h.envelope, runs, true)
	if err != nil {
		h.t.Fatal(err)
	}
	h.envelope.Window.State = reply.State
	return reply
}

// Two batches and the end of a window give exactly these totals.
func TestTotalsOfAWindow(t *testing.T) {
	h := newHost(t)
	payments := sdktest.Lines(t, "testdata/payments.ndjson", "merchant")
	for _, batch := range [][]sdk.Record{payments[:120], payments[120:]} {
		if reply := h.invoke(batch...); len(reply.Failures) > 0 {
			t.Errorf("failures %v", reply.Failures)
		}
	}
	if len(h.emitted) > 0 {
		t.Errorf("emitted before the window's end: %v", h.emitted)
	}
	h.envelope.Window.Final = true
	h.invoke()
	var got bytes.Buffer
	for _, r := range h.emitted {
		fmt.Fprintf(&got, "%s %s\n", r.Key, r.Data)
	}
	const golden = "testdata/totals.golden"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
	}
}

func TestWhatIsNoPaymentIsReported(t *testing.T) {
	h := newHost(t)
	good := sdk.Record{Data: []byte(`{"merchant":"m","cents":5}`)}
	reply := h.invoke(good, sdk.Record{Data: []byte(`{"cents":5}`)}, good)
	if fmt.Sprint(reply.Failures) != "[1]" || !strings.Contains(string(reply.State), `\"payments\":1`) {
		t.Errorf("failures %v, state %s", reply.Failures, reply.State)
	}
}

func TestAStateThatCannotBeReadFails(t *testing.T) {
	e := events.KinesisTimeWindowEvent{}
	e.State = map[string]string{"m": "no JSON"}
	in, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sdktest.Invoke(t, lambda.NewHandler(handle).Invoke, in); err == nil || !strings.Contains(err.Error(), "state of m") {
		t.Errorf("got %v", err)
	}
}
