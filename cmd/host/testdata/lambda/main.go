// Lambda is a Lambda function that uses what Lambda functions use; its tests are in cmd/host.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/shardmill/shardmill/sdk/lambda"
)

var order []string

func init() { order = append(order, "init") }

func main() {
	order = append(order, "main")
	defer func() { order = append(order, "deferred") }()
	lambda.Start(handle)
}

type event struct{ Do string }

type answer struct {
	Order    []string
	Deadline bool
	Request  bool
	Function string
}

func handle(ctx context.Context, e event) (answer, error) {
	lc, ok := lambdacontext.FromContext(ctx)
	if !ok {
		return answer{}, errors.New("there is no LambdaContext")
	}
	switch e.Do {
	case "fail":
		return answer{}, errors.New("it failed")
	case "panic":
		panic("it panicked")
	case "wait":
		select {
		case <-ctx.Done():
			return answer{}, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	case "print":
		fmt.Println("it printed")
	}
	deadline, ok := ctx.Deadline()
	return answer{
		Order: order, Deadline: ok && time.Until(deadline) > 0, Request: lc.AwsRequestID != "", Function: lambdacontext.FunctionName,
	}, nil
}
