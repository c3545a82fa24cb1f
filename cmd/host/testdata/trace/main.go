// Trace is a function that takes Lambda's event, prints it, and does what the records say; its tests are in cmd/host. It reads the event without
// encoding/json, which would be most of its code to compile.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/shardmill/shardmill/sdk"
)

func init() { sdk.OnInvoke(handle) }

func main() {}

// handle counts the records of a window in its state. It fails where a record says fail, and reports each that says again.
func handle(_ context.Context, body []byte) (answer []byte, err error) {
	var printed strings.Builder
	var again []string
	records := strings.Split(string(body), `"partitionKey":`)[1:]
	for _, r := range records {
		key := member(`"partitionKey":`+r, "partitionKey")
		data, bad := base64.StdEncoding.DecodeString(member(r, "data"))
		if bad != nil {
			return nil, bad
		}
		shard, _, _ := strings.Cut(member(r, "eventID"), ":")
		printed.WriteString(shard + " " + member(r, "eventSourceARN") + " " + key + " " + string(data) + "\n")
		switch member(string(data), "do") {
		case "fail":
			err = errors.New("poison")
		case "again":
			again = append(again, `{"itemIdentifier":"`+member(r, "sequenceNumber")+`"}`)
		}
	}
	state := ""
	if strings.Contains(string(body), `"isFinalInvokeForWindow":`) {
		n, _ := strconv.Atoi(member(string(body), "count"))
		state = `,"state":{"count":"` + strconv.Itoa(n+len(records)) + `"}`
		if strings.Contains(string(body), `"isFinalInvokeForWindow":true`) {
			printed.WriteString("the window had " + strconv.Itoa(n) + "\n")
		}
	}
	os.Stdout.WriteString(printed.String())
	return []byte(`{"batchItemFailures":[` + strings.Join(again, ",") + `]` + state + `}`), err
}

// member is the text of an object's member.
func member(object, name string) string {
	_, text, _ := strings.Cut(object, `"`+name+`":"`)
	text, _, _ = strings.Cut(text, `"`)
	return text
}
