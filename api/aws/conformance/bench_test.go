//go:build conformance

package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

const (
	benchConnections = 4
	benchBatch       = 500
	benchShards      = 4
	benchTime        = 5 * time.Second
)

// TestFiguresAgainstKinesalite measures the same puts with the same client against this host, which has them on disk, and kinesalite, which
// keeps them in memory, one after the other. It asserts nothing about time: it prints one line of JSON for each figure, as
// "shardmill bench --output json" does.
func TestFiguresAgainstKinesalite(t *testing.T) {
	node := need(t, "node")
	need(t, "js/node_modules/kinesalite")
	ours := measure(t, startHost(t, false))
	peer := measure(t, startServer(t, node, "js/node_modules/kinesalite/cli.js", "--createStreamMs", "0", "--shardLimit", "100", "--port"))
	print := func(name, unit string, value, baseline, ratio, goal float64, met bool) {
		line, err := json.Marshal(map[string]any{
			"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio, "goal": goal, "met": met,
		})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(string(line))
	}
	ratio := ours.rate / peer.rate
	print("kinesis.putrecords.kinesalite", "records/s", ours.rate, peer.rate, ratio, 6, ratio >= 6)
	ratio = ours.p50.Seconds() / peer.p50.Seconds()
	print("kinesis.putrecord.p50.kinesalite", "ms", 1e3*ours.p50.Seconds(), 1e3*peer.p50.Seconds(), ratio, 1, ratio < 1)
}

type figures struct {
	rate float64       // records/s of PutRecords on four connections
	p50  time.Duration // of PutRecord on one
}

func measure(t *testing.T, url string) figures {
	t.Helper()
	client := sdkClient(url)
	name := aws.String("bench")
	if _, err := client.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: name, ShardCount: aws.Int32(benchShards)}); err != nil {
		t.Fatal(err)
	}
	waiter := kinesis.NewStreamExistsWaiter(client, func(o *kinesis.StreamExistsWaiterOptions) { o.MinDelay = 100 * time.Millisecond })
	if err := waiter.Wait(t.Context(), &kinesis.DescribeStreamInput{StreamName: name}, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	putRecords(t, client, name, time.Second) // warms both sides
	return figures{rate: putRecords(t, client, name, benchTime), p50: putRecord(t, client, name)}
}

// putRecords is how many records a second four connections put, 500 of 1 KiB a call.
func putRecords(t *testing.T, client *kinesis.Client, name *string, span time.Duration) float64 {
	t.Helper()
	in := &kinesis.PutRecordsInput{StreamName: name}
	for i := range benchBatch {
		in.Records = append(in.Records, types.PutRecordsRequestEntry{Data: make([]byte, 1<<10), PartitionKey: aws.String(fmt.Sprint("key-", i))})
	}
	var calls [benchConnections]int
	var putting sync.WaitGroup
	begin := time.Now()
	for c := range benchConnections {
		putting.Go(func() {
			for time.Since(begin) < span {
				out, err := client.PutRecords(t.Context(), in)
				if err != nil || *out.FailedRecordCount != 0 {
					t.Errorf("PutRecords: %v", err)
					return
				}
				calls[c]++
			}
		})
	}
	putting.Wait()
	took := time.Since(begin)
	total := 0
	for _, n := range calls {
		total += n
	}
	return float64(total*benchBatch) / took.Seconds()
}

// putRecord is the median time of a put of one record of 1 KiB, one after the other.
func putRecord(t *testing.T, client *kinesis.Client, name *string) time.Duration {
	t.Helper()
	times := make([]time.Duration, 1000)
	for i := range times {
		begin := time.Now()
		if _, err := client.PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamName: name, Data: make([]byte, 1<<10), PartitionKey: aws.String(fmt.Sprint("key-", i)),
		}); err != nil {
			t.Fatal(err)
		}
		times[i] = time.Since(begin)
	}
	slices.Sort(times)
	return times[len(times)/2]
}

func sdkClient(url string) *kinesis.Client {
	return kinesis.New(kinesis.Options{
		BaseEndpoint: aws.String(url), Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchConnections}},
	})
}

// startServer runs a server until the test ends, a free port as its last argument, and gives its URL once it listens there.
func startServer(t *testing.T, command string, args ...string) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	free.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, command, append(args, port)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); cmd.Wait() })
	waitFor(t, command, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "http://" + addr
}
