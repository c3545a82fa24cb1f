package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/triggers"
)

// A program as it was written for Lambda is driven by a mapping with a tumbling window: every payment is in one total, and what is no payment
// at the on-failure destination.
func TestLambdaFunctionOfAMapping(t *testing.T) {
	t.Parallel()
	module := filepath.Join(t.TempDir(), "payments.wasm")
	if err := buildFunction(t.Context(), "../../functions/examples/lambda-payments", module); err != nil {
		t.Fatal(err)
	}
	h := testHost(t)
	client := clientOf(t, h)
	for _, name := range []string{"payments", "merchants", "failed"} {
		if _, _, err := client.CreateStream(t.Context(), name, api.StreamConfig{Shards: 1}); err != nil {
			t.Fatal(err)
		}
	}
	deployFile(t, client, "payments", module, "merchants")
	_, _, err := client.PutMapping(t.Context(), "m", api.MappingConfig{
		Stream: "payments", Function: "payments", TumblingWindow: api.Duration(time.Second), ReportItemFailures: true, MaxAttempts: 1,
		OnFailure: "stream:failed",
	})
	if err != nil {
		t.Fatal(err)
	}
	put := func(data string) {
		t.Helper()
		a, err := client.Put(t.Context(), "payments", []api.PutRecord{{PartitionKey: "k", Data: []byte(data)}})
		if err != nil || a.Failed != 0 {
			t.Fatalf("put: %v, %+v", err, a)
		}
	}
	for i := range 10 {
		put(fmt.Sprintf(`{"merchant":"m","cents":%d}`, i))
	}
	put("no payment")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	totals := make(chan int)
	go func() {
		defer close(totals)
		for r, err := range client.Records(ctx, "merchants", api.ReadOptions{Follow: true}) {
			var got struct {
				Merchant string
				Payments int
			}
			if err != nil || json.Unmarshal(r.JSON, &got) != nil {
				return
			}
			if got.Merchant == "m" {
				select {
				case totals <- got.Payments:
				case <-ctx.Done():
				}
			}
		}
	}()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for n := 0; n < 10; {
		select {
		case more, ok := <-totals:
			if !ok {
				t.Fatalf("%d payments are in totals", n)
			}
			n += more
		case <-tick.C:
			put(`{"merchant":"clock","cents":0}`)
		}
	}
	cancel()
	for range totals { // until the reader has ended
	}
	m, err := client.Mapping(t.Context(), "m")
	if err != nil || m.Counts.Sent != 1 || m.Counts.GivenUp != 1 {
		t.Errorf("the mapping: %v, %+v", err, m.Counts)
	}
}

func TestSourceARN(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	client := clientOf(t, h)
	if _, _, err := client.CreateStream(t.Context(), "s", api.StreamConfig{Shards: 1}); err != nil {
		t.Fatal(err)
	}
	c, err := h.streams.RegisterConsumer(t.Context(), "s", "fan", nil)
	if err != nil {
		t.Fatal(err)
	}
	const stream = "arn:aws:kinesis:r:1:stream/s"
	for consumer, want := range map[string]string{
		"": stream, "fan": fmt.Sprintf("%s/consumer/fan:%d", stream, c.Created.Unix()), "gone": stream + "/consumer/gone",
	} {
		if got := sourceARN(h.streams, "r", "1", "s", consumer); got != want {
			t.Errorf("consumer %q: %s, want %s", consumer, got, want)
		}
	}
	// What is given up is told in the event that the function had.
	var w record.Builder
	if err := w.Append(record.Record{Sequence: record.MakeSequence(1, 1), Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	to := failures{streams: h.streams, region: "r", account: "1"}
	doc := to.document(&triggers.Failure{Source: runtime.Source{Stream: "s"}, Consumer: "fan", Records: []record.Run{w.Run()}, Count: 1}, "").Whole
	var got struct {
		KinesisBatchInfo struct{ StreamArn string }
		Payload          string
	}
	if err := json.Unmarshal(doc, &got); err != nil || got.KinesisBatchInfo.StreamArn != stream || !strings.Contains(got.Payload, `"eventSourceARN":"`+stream+`/consumer/fan:`) {
		t.Errorf("%v: %s", err, doc)
	}
}
