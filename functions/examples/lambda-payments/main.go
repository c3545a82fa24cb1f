// Payments is an AWS Lambda function for a Kinesis event source mapping with a tumbling window, as it would be written for AWS but
// for one import: it adds up the payments of each merchant, and at the end of the window says what they came to.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/aws/aws-lambda-go/events"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/lambda"
)

func main() { lambda.Start(handle) }

type payment struct {
	Merchant string `json:"merchant"`
	Cents    int    `json:"cents"`
}

type total struct {
	Merchant string `json:"merchant"`
	Payments int    `json:"payments"`
	Cents    int    `json:"cents"`
	From     string `json:"from"`
	To       string `json:"to"`
}

// handle keeps the totals in the window's state, a JSON text for each merchant, and reports what is no payment as failed.
func handle(ctx context.Context, e events.KinesisTimeWindowEvent) (events.KinesisTimeWindowEventResponse, error) {
	totals := map[string]total{}
	for merchant, text := range e.State {
		var t total
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return events.KinesisTimeWindowEventResponse{}, fmt.Errorf("state of %s: %w", merchant, err)
		}
		totals[merchant] = t
	}
	var response events.KinesisTimeWindowEventResponse
	for _, r := range e.Records {
		var p payment
		if err := json.Unmarshal(r.Kinesis.Data, &p); err != nil || p.Merchant == "" {
			fmt.Printf("%s is no payment\n", r.EventID)
			response.BatchItemFailures = append(response.BatchItemFailures, events.KinesisBatchItemFailure{ItemIdentifier: r.Kinesis.SequenceNumber})
			break // what follows is delivered again with it
		}
		t := totals[p.Merchant]
		totals[p.Merchant] = total{Merchant: p.Merchant, Payments: t.Payments + 1, Cents: t.Cents + p.Cents}
	}
	if e.IsFinalInvokeForWindow {
		emit(ctx, totals, e.Window)
		totals = nil
	}
	response.State = map[string]string{}
	for merchant, t := range totals {
		text, err := json.Marshal(t)
		if err != nil {
			return response, err
		}
		response.State[merchant] = string(text)
	}
	return response, nil
}

// emit puts the totals to the stream merchants. On AWS this would be a call of another service.
func emit(ctx context.Context, totals map[string]total, w events.Window) {
	merchants := make([]string, 0, len(totals))
	for merchant := range totals {
		merchants = append(merchants, merchant)
	}
	slices.Sort(merchants)
	for _, merchant := range merchants {
		t := totals[merchant]
		t.From, t.To = w.Start.UTC().Format("15:04:05"), w.End.UTC().Format("15:04:05")
		data, err := json.Marshal(t)
		if err != nil {
			panic(err) // a struct of texts and numbers
		}
		sdk.Emit(ctx, "merchants", merchant, data)
	}
}
