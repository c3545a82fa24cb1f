//go:build conformance

package conformance

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBoto3(t *testing.T) {
	python := need(t, ".venv/bin/python")
	module := filepath.Join(t.TempDir(), "function.wasm")
	run(t, 2*time.Minute, binary, "function", "build", "../../../functions/examples/lambda-payments", "-o", module)
	for name, tls := range map[string]bool{"cleartext": false, "tls": true} {
		t.Run(name, func(t *testing.T) { t.Log(run(t, 2*time.Minute, python, "boto.py", startHost(t, tls), module)) })
	}
}

func TestJavaScript(t *testing.T) {
	node := need(t, "node")
	need(t, "js/node_modules/@aws-sdk/client-kinesis")
	t.Log(run(t, time.Minute, node, "js/kinesis.mjs", startHost(t, false)))
}

// TestAWSCLI does what the first page of Kinesis' own documentation does.
func TestAWSCLI(t *testing.T) {
	aws := need(t, ".venv/bin/aws")
	url := startHost(t, false)
	cli := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(run(t, 30*time.Second, aws, append([]string{"kinesis", "--endpoint-url", url, "--output", "text"}, args...)...))
	}
	cli("create-stream", "--stream-name", "Foo", "--shard-count", "1")
	if status := cli("describe-stream-summary", "--stream-name", "Foo", "--query", "StreamDescriptionSummary.StreamStatus"); status != "ACTIVE" {
		t.Errorf("the stream is %s, want ACTIVE", status)
	}
	if names := cli("list-streams", "--query", "StreamNames"); names != "Foo" {
		t.Errorf("list-streams names %q, want Foo", names)
	}
	shard := cli("put-record", "--stream-name", "Foo", "--partition-key", "123", "--data", "testdata", "--query", "ShardId")
	iterator := cli("get-shard-iterator", "--shard-id", shard, "--shard-iterator-type", "TRIM_HORIZON", "--stream-name", "Foo", "--query", "ShardIterator")
	if data := cli("get-records", "--shard-iterator", iterator, "--query", "Records[].Data"); data != "dGVzdGRhdGE=" {
		t.Errorf("get-records gave %q, want the base64 of testdata", data)
	}
	cli("delete-stream", "--stream-name", "Foo")
}
