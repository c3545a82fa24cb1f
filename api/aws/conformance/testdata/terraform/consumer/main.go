// Consumer is a program that knows Lambda's event and nothing else: it reads one on standard input, logs the records' data and
// reports the orders of 13 as failed. Called directly it says which build of it serves, and its LEVEL.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// build is set by the linker.
var build = "none"

type event struct {
	Records []struct {
		EventSourceARN string `json:"eventSourceARN"`
		Kinesis        struct {
			SequenceNumber string `json:"sequenceNumber"`
			Data           []byte `json:"data"`
		} `json:"kinesis"`
	}
	State map[string]string `json:"state"`
}

type failure struct {
	ItemIdentifier string `json:"itemIdentifier"`
}

func main() {
	var e event
	if err := json.NewDecoder(os.Stdin).Decode(&e); err != nil {
		panic(err)
	}
	answer := map[string]any{"build": build, "level": os.Getenv("LEVEL")}
	if e.Records != nil || e.State != nil {
		failed := []failure{}
		for _, r := range e.Records {
			fmt.Fprintf(os.Stderr, "%s consumed %s of %s\n", build, r.Kinesis.Data, r.EventSourceARN)
			var order struct{ N int }
			if json.Unmarshal(r.Kinesis.Data, &order) == nil && order.N == 13 {
				failed = append(failed, failure{r.Kinesis.SequenceNumber})
			}
		}
		answer = map[string]any{"batchItemFailures": failed, "state": map[string]string{}}
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		panic(err)
	}
}
