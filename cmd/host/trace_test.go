package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kinesistypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/shardmill/shardmill/api"
)

const (
	traceFilter = `{"data": {"do": [{"anything-but": ["skip"]}]}}`
	traceName   = "trace-in" // as Lambda's surface names it
)

// surface is one of the two ways to have a scenario played. Each of its methods fails the test when it is refused.
type surface interface {
	streams(shards map[string]int)
	function(module []byte) // trace, and its alias live that leads to the first version
	create()                // of the mapping, which runs the alias and is disabled
	put(from, to int)
	change() // the mapping runs the newest version, in larger batches, undivided, and tries once more
	enable(on bool)
	tumble() // the mapping has windows of a second, and records of at most a minute
	spread() // it has neither, and four lanes with a record at a time
	remove()
}

// What a scenario comes to does not depend on whether it is played through AWS's protocols, with AWS's own client, or through the native API: the function
// is called with the same records in the same order, fails alike, the same is given up, and the checkpoints are the same.
func TestSameTrace(t *testing.T) {
	t.Parallel()
	module := built(t, filepath.Join("testdata", "trace"))
	native := newTracedHost(t)
	natively := native.play(t, &nativeSurface{t, native.client}, module)
	keepCompiled(t, native.host.dir.cache())
	amazon := newTracedHost(t)
	amazonian := amazon.play(t, newAmazonSurface(t, amazon), module)
	for i := range max(len(natively), len(amazonian)) {
		if i >= len(natively) || i >= len(amazonian) || natively[i] != amazonian[i] {
			t.Errorf("natively\n%s\n\nwith AWS's client\n%s", strings.Join(natively[min(i, len(natively)):], "\n"), strings.Join(amazonian[min(i, len(amazonian)):], "\n"))
			break
		}
	}
	all := strings.Join(natively, "\n")
	for _, part := range []string{"error poison", "attempt 3 ", "partial 11", `"Condition":"RetryAttemptsExhausted","ApproximateInvokeCount":2`, `"ExecutedVersion":"1","FunctionError":""`, `"ExecutedVersion":"$LATEST","FunctionError":"Unhandled"`, ":function:trace:live", `"BatchSize":20`, "the window had ", `"tumblingWindow":"1s"`, `"maxRecordAge":"1m"`, `"parallelization":4`} {
		if !strings.Contains(all, part) {
			t.Errorf("the trace, which proves nothing then, has no %q:\n%s", part, all)
		}
	}
}

// tracedHost is a host in which a scenario is played, and looked at natively.
type tracedHost struct {
	*host
	client *api.Client
}

func newTracedHost(t *testing.T) tracedHost {
	t.Helper()
	h := testHost(t, func(c *hostConfig) { c.retryBase, c.retryMax = time.Millisecond, time.Millisecond })
	return tracedHost{h, clientOf(t, h)}
}

// play plays the scenario and returns its trace.
func (h tracedHost) play(t *testing.T, s surface, module []byte) (trace []string) {
	t.Helper()
	note := func(step string, lines []string) {
		trace = append(append(trace, step), lines...)
	}
	s.streams(map[string]int{"in": 2, "failed": 1})
	s.function(module)
	s.create()
	note("created", h.mapping(t))
	s.put(0, 60)
	s.enable(true)
	note("enabled", h.settled(t, 60))
	s.enable(false)
	note("disabled", h.mapping(t))
	s.change()
	s.put(60, 100)
	note("changed", h.mapping(t))
	s.enable(true)
	note("enabled again", h.settled(t, 100))
	s.enable(false)
	s.tumble()
	s.put(100, 130) // in one window
	note("with windows", h.mapping(t))
	s.enable(true)
	h.windows(t, 2)
	s.enable(false) // when the calls that have printed it have ended
	note("after the windows", h.settled(t, 130))
	note("calls", h.calls(t))
	s.spread()
	s.put(130, 160)
	s.enable(true)
	note("with lanes", h.settled(t, 160))
	s.enable(false)
	s.put(160, 170)
	note("calls of lanes", slices.Sorted(slices.Values(h.calls(t))))
	note("given up", slices.Sorted(slices.Values(h.documents(t))))
	note("at the end", h.mapping(t))
	s.remove()
	if left, err := h.client.Mappings(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("%d mappings are left, %v", len(left), err)
	}
	return trace
}

// settled waits until the mapping has settled or given up all n records that there are.
func (h tracedHost) settled(t *testing.T, n uint64) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !atTip(ctx, t, h.client, "in", traceName) {
	}
	lines := h.mapping(t)
	if m, err := h.client.Mapping(ctx, traceName); err != nil || m.Counts.Polled != n {
		t.Errorf("%+v, %v, want %d records", m, err, n)
	}
	return lines
}

// windows waits until the function has printed the ends of n windows.
func (h tracedHost) windows(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for l, err := range h.client.Logs(ctx, "trace", api.LogOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if n -= strings.Count(l.Message, "the window had "); n <= 0 {
			return
		}
	}
}

// mapping is what the mapping's settings are, and how far it is.
func (h tracedHost) mapping(t *testing.T) (lines []string) {
	t.Helper()
	m, err := h.client.Mapping(t.Context(), traceName)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(m.MappingConfig)
	if err != nil {
		t.Fatal(err)
	}
	lines = append(lines, string(config), m.State)
	for _, s := range m.Shards {
		if m.Parallelization > 1 { // which lane was the last is chance
			s.LastResult = "done"
		}
		c := s.Counts
		lines = append(lines, fmt.Sprintf("%s: checkpoint %d, %s, settled %d given up %d polled %d filtered %d ok %d partial %d failed %d",
			s.Shard, s.Checkpoint, s.LastResult, c.Settled, c.GivenUp, c.Polled, c.Filtered, c.OK, c.Partial, c.Failed))
	}
	return lines
}

// calls is what the function was called with and what it said, shard by shard.
func (h tracedHost) calls(t *testing.T) []string {
	t.Helper()
	printed := map[string]string{} // by invocation
	for l, err := range h.client.Logs(t.Context(), "trace", api.LogOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		printed[l.Invocation] += l.Level + ": " + l.Message + "; "
	}
	byShard := map[string][]string{}
	for i, err := range h.client.Invocations(t.Context(), "trace", api.InvocationOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		byShard[i.Source.Shard] = append(byShard[i.Source.Shard], fmt.Sprintf("%s %s: version %d, attempt %d of %d records from %d to %d: %s %s; %s",
			i.Source.Mapping, i.Source.Shard, i.Version, i.Attempt, i.Records, i.Source.First, i.Source.Last, i.Outcome, i.Message, printed[i.ID]))
	}
	return byShards(byShard)
}

func byShards(lines map[string][]string) (all []string) {
	for _, shard := range slices.Sorted(maps.Keys(lines)) {
		all = append(all, lines[shard]...)
	}
	return all
}

// documents are those at the on-failure destination, without what is new each time: ids, times, and sequence numbers, in which a stream's id is.
func (h tracedHost) documents(t *testing.T) []string {
	t.Helper()
	byShard := map[string][]string{}
	for r, err := range h.client.Records(t.Context(), "failed", api.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		var doc onFailure
		var event struct {
			Records []struct{ Kinesis struct{ Data []byte } }
		}
		if err := json.Unmarshal(r.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(*doc.Payload), &event); err != nil {
			t.Fatal(err)
		}
		var data []string
		for _, r := range event.Records {
			data = append(data, string(r.Kinesis.Data))
		}
		doc.RequestContext.RequestID, doc.Timestamp, doc.Payload = "", time.Time{}, nil
		rest, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		shard := doc.KinesisBatchInfo.ShardID
		byShard[shard] = append(byShard[shard], fmt.Sprintf("%s of %q", rest, data))
	}
	return byShards(byShard)
}

// traceRecord is the i-th record of the scenario.
func traceRecord(i int) (key string, data []byte) {
	do := "ok"
	switch {
	case i%17 == 5:
		do = "fail"
	case i%23 == 7:
		do = "again"
	case i%5 == 3:
		do = "skip"
	}
	return "key-" + strconv.Itoa(i%7), fmt.Appendf(nil, `{"n":%d,"do":%q}`, i, do)
}

// nativeSurface plays a scenario through the native API.
type nativeSurface struct {
	t      *testing.T
	client *api.Client
}

func (s *nativeSurface) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *nativeSurface) streams(shards map[string]int) {
	for name, n := range shards {
		_, _, err := s.client.CreateStream(s.t.Context(), name, api.StreamConfig{Shards: n})
		s.must(err)
	}
}

func (s *nativeSurface) function(module []byte) {
	_, _, err := s.client.Deploy(s.t.Context(), "trace", bytes.NewReader(module), api.FunctionConfig{})
	s.must(err)
	_, _, err = s.client.PutAlias(s.t.Context(), "trace", "live", api.AliasConfig{Version: 1})
	s.must(err)
}

func (s *nativeSurface) create() {
	_, _, err := s.client.PutMapping(s.t.Context(), traceName, api.MappingConfig{
		Stream: "in", Function: "trace", Qualifier: "live", Disabled: new(true), BatchSize: 8, MaxAttempts: 2, Bisect: true, ReportItemFailures: true,
		Filters: []string{traceFilter}, OnFailure: "stream:failed", Deaggregate: new(false), FailureTrace: new(false),
	})
	s.must(err)
}

func (s *nativeSurface) put(from, to int) {
	var records []api.PutRecord
	for i := from; i < to; i++ {
		key, data := traceRecord(i)
		records = append(records, api.PutRecord{PartitionKey: key, Data: data})
	}
	a, err := s.client.Put(s.t.Context(), "in", records)
	s.must(err)
	if a.Failed > 0 {
		s.t.Fatalf("%+v", a)
	}
}

func (s *nativeSurface) update(change func(*api.MappingConfig)) {
	m, err := s.client.Mapping(s.t.Context(), traceName)
	s.must(err)
	change(&m.MappingConfig)
	_, _, err = s.client.PutMapping(s.t.Context(), traceName, m.MappingConfig)
	s.must(err)
}

func (s *nativeSurface) change() {
	s.update(func(c *api.MappingConfig) { c.BatchSize, c.MaxAttempts, c.Bisect, c.Qualifier = 20, 3, false, "" })
}

func (s *nativeSurface) tumble() {
	s.update(func(c *api.MappingConfig) {
		c.TumblingWindow, c.MaxRecordAge = api.Duration(time.Second), api.Duration(time.Minute)
	})
}

func (s *nativeSurface) spread() {
	s.update(func(c *api.MappingConfig) {
		c.TumblingWindow, c.MaxRecordAge, c.Parallelization, c.BatchSize = 0, 0, 4, 1
	})
}

func (s *nativeSurface) enable(on bool) {
	s.update(func(c *api.MappingConfig) { c.Disabled = new(!on) })
}

func (s *nativeSurface) remove() {
	s.must(s.client.DeleteMapping(s.t.Context(), traceName))
	s.must(s.client.DeleteStream(s.t.Context(), "in"))
	s.must(s.client.DeleteFunction(s.t.Context(), "trace", true))
}

// amazonSurface plays a scenario with AWS's clients of Kinesis and Lambda.
type amazonSurface struct {
	t       *testing.T
	kinesis *kinesis.Client
	lambda  *lambda.Client
	uuid    *string // the mapping's
}

func newAmazonSurface(t *testing.T, h tracedHost) *amazonSurface {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, who := &http.Client{Transport: transport}, credentials.NewStaticCredentialsProvider("Test", "secret", "")
	return &amazonSurface{
		t:       t,
		kinesis: kinesis.New(kinesis.Options{Region: "us-east-1", BaseEndpoint: aws.String(h.url()), HTTPClient: client, Credentials: who}),
		lambda:  lambda.New(lambda.Options{Region: "us-east-1", BaseEndpoint: aws.String(h.url()), HTTPClient: client, Credentials: who}),
	}
}

func (s *amazonSurface) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *amazonSurface) streams(shards map[string]int) {
	for name, n := range shards {
		_, err := s.kinesis.CreateStream(s.t.Context(), &kinesis.CreateStreamInput{StreamName: &name, ShardCount: aws.Int32(int32(n))})
		s.must(err)
		s.must(kinesis.NewStreamExistsWaiter(s.kinesis).Wait(s.t.Context(), &kinesis.DescribeStreamInput{StreamName: &name}, time.Minute))
	}
}

func (s *amazonSurface) function(module []byte) {
	_, err := s.lambda.CreateFunction(s.t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("trace"), Role: aws.String("arn:aws:iam::000000000000:role/r"), Timeout: aws.Int32(30),
		Code: &lambdatypes.FunctionCode{ZipFile: module}, Runtime: lambdatypes.RuntimeProvidedal2023, Handler: aws.String("main"),
	})
	s.must(err)
	s.must(lambda.NewFunctionActiveV2Waiter(s.lambda).Wait(s.t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("trace")}, time.Minute))
	published, err := s.lambda.PublishVersion(s.t.Context(), &lambda.PublishVersionInput{FunctionName: aws.String("trace")})
	s.must(err)
	_, err = s.lambda.CreateAlias(s.t.Context(), &lambda.CreateAliasInput{
		FunctionName: aws.String("trace"), Name: aws.String("live"), FunctionVersion: published.Version,
	})
	s.must(err)
}

func (s *amazonSurface) create() {
	made, err := s.lambda.CreateEventSourceMapping(s.t.Context(), &lambda.CreateEventSourceMappingInput{
		EventSourceArn: aws.String("arn:aws:kinesis:us-east-1:000000000000:stream/in"), FunctionName: aws.String("trace:live"),
		StartingPosition: lambdatypes.EventSourcePositionTrimHorizon, Enabled: aws.Bool(false), BatchSize: aws.Int32(8),
		MaximumRetryAttempts: aws.Int32(1), BisectBatchOnFunctionError: aws.Bool(true),
		FunctionResponseTypes: []lambdatypes.FunctionResponseType{lambdatypes.FunctionResponseTypeReportBatchItemFailures},
		FilterCriteria:        &lambdatypes.FilterCriteria{Filters: []lambdatypes.Filter{{Pattern: aws.String(traceFilter)}}},
		DestinationConfig: &lambdatypes.DestinationConfig{
			OnFailure: &lambdatypes.OnFailure{Destination: aws.String("arn:aws:kinesis:us-east-1:000000000000:stream/failed")},
		},
	})
	s.must(err)
	s.uuid = made.UUID
}

func (s *amazonSurface) put(from, to int) {
	in := &kinesis.PutRecordsInput{StreamName: aws.String("in")}
	for i := from; i < to; i++ {
		key, data := traceRecord(i)
		in.Records = append(in.Records, kinesistypes.PutRecordsRequestEntry{PartitionKey: &key, Data: data})
	}
	out, err := s.kinesis.PutRecords(s.t.Context(), in)
	s.must(err)
	if *out.FailedRecordCount > 0 {
		s.t.Fatalf("%+v", out)
	}
}

func (s *amazonSurface) update(in *lambda.UpdateEventSourceMappingInput) {
	in.UUID = s.uuid
	_, err := s.lambda.UpdateEventSourceMapping(s.t.Context(), in)
	s.must(err)
}

func (s *amazonSurface) change() {
	s.update(&lambda.UpdateEventSourceMappingInput{
		FunctionName: aws.String("trace"), BatchSize: aws.Int32(20), MaximumRetryAttempts: aws.Int32(2), BisectBatchOnFunctionError: aws.Bool(false),
	})
}

func (s *amazonSurface) tumble() {
	s.update(&lambda.UpdateEventSourceMappingInput{TumblingWindowInSeconds: aws.Int32(1), MaximumRecordAgeInSeconds: aws.Int32(60)})
}

func (s *amazonSurface) spread() {
	s.update(&lambda.UpdateEventSourceMappingInput{
		TumblingWindowInSeconds: aws.Int32(0), MaximumRecordAgeInSeconds: aws.Int32(-1), ParallelizationFactor: aws.Int32(4), BatchSize: aws.Int32(1),
	})
}

func (s *amazonSurface) enable(on bool) {
	s.update(&lambda.UpdateEventSourceMappingInput{Enabled: &on})
}

func (s *amazonSurface) remove() {
	_, err := s.lambda.DeleteEventSourceMapping(s.t.Context(), &lambda.DeleteEventSourceMappingInput{UUID: s.uuid})
	s.must(err)
	_, err = s.kinesis.DeleteStream(s.t.Context(), &kinesis.DeleteStreamInput{StreamName: aws.String("in")})
	s.must(err)
	_, err = s.lambda.DeleteFunction(s.t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("trace")})
	s.must(err)
}
