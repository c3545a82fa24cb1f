// Trace is a Lambda function that prints what it is given, and does what the records say; its tests are in cmd/host.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-lambda-go/events"

	"github.com/shardmill/shardmill/sdk/lambda"
)

func main() { lambda.Start(handle) }

// handle fails where a record says fail, and reports each that says again.
func handle(e events.KinesisEvent) (answer events.KinesisEventResponse, err error) {
	said := []string{}
	for _, r := range e.Records {
		var what struct {
			N  int
			Do string
		}
		if err := json.Unmarshal(r.Kinesis.Data, &what); err != nil {
			return answer, err
		}
		switch said = append(said, fmt.Sprintf("%s=%d", r.Kinesis.PartitionKey, what.N)); what.Do {
		case "fail":
			err = errors.New("poison")
		case "again":
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.KinesisBatchItemFailure{ItemIdentifier: r.Kinesis.SequenceNumber})
		}
	}
	shard, _, _ := strings.Cut(e.Records[0].EventID, ":")
	fmt.Println(shard, e.Records[0].EventSourceArn, strings.Join(said, " "))
	return answer, err
}
