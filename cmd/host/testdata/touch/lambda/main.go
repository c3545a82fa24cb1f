// Touch is a Lambda function that looks at every record of an event and does nothing else: the guest of the benchmark.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/events"

	"github.com/shardmill/shardmill/sdk/lambda"
)

var sum int

func main() {
	lambda.Start(func(_ context.Context, e events.KinesisEvent) error {
		for _, r := range e.Records {
			sum += len(r.Kinesis.PartitionKey) + len(r.Kinesis.Data)
		}
		return nil
	})
}
