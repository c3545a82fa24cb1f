package aws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

func TestFaultOf(t *testing.T) {
	c := &call{Handler: &Handler{account: "N"}, names: names{stream: "X", shard: "S", adjacent: "B"}}
	for _, tt := range []struct {
		err           error
		code          string
		status        int
		message, name string
	}{
		{err: shards.ErrNotFound, code: codeNotFound, status: 400, message: "Stream X under account N not found."},
		{err: shards.ErrNoShard, code: codeNotFound, status: 400, message: "Could not find shard S in stream X under account N."},
		{err: shards.ErrExists, code: codeInUse, status: 400, message: "Stream X under account N already exists."},
		{err: shards.ErrBusy, code: codeInUse, status: 400, message: "Stream X under account N not ACTIVE, instead in state UPDATING"},
		{err: shards.ErrThrottled, code: codeThrottled, status: 400, message: "Rate exceeded for shard S in stream X under account N."},
		{err: shards.ErrShardClosed, code: codeInvalid, status: 400, message: "Shard S in stream X under account N has already been merged or split, and thus is not eligible for merging or splitting."},
		{err: shards.ErrNotAdjacent, code: codeInvalid, status: 400, message: "Shards S and B in stream X under account N are not an adjacent pair of shards eligible for merging"},
		{err: &shards.FieldError{Field: "tags", Value: "60 tags", Limit: "at most 50"}, code: codeInvalid, status: 400},
		{err: shards.ErrDamaged, code: codeInternal, status: 500},
		{err: shards.ErrNoSpace, code: codeInternal, status: 500},
		{err: shards.ErrFiles, code: codeLimit, status: 400},
		{err: shards.ErrReadOnly, code: codeInternal, status: 500},
		{err: shards.ErrDisk, code: codeInternal, status: 500},
		{err: shards.ErrUnavailable, code: codeInternal, status: 500},
		{err: shards.ErrClosed, code: codeInternal, status: 500},
		{err: catalog.ErrClosed, code: codeInternal, status: 500},
		{err: context.Canceled, code: codeInternal, status: 500},
		{err: errors.New("a secret"), code: codeInternal, status: 500, message: "Internal Service Failure"},
		{err: errIterator, code: codeInvalid, status: 400, message: "Invalid ShardIterator."},
	} {
		f := c.faultOf(fmt.Errorf("shards: do %q: %w", "X", tt.err))
		if f.code != tt.code || f.status != tt.status || tt.message != "" && f.message != tt.message || f.message == "" {
			t.Errorf("%v is %d %s: %s, want %d %s: %s", tt.err, f.status, f.code, f.message, tt.status, tt.code, tt.message)
		}
	}
	c.names.consumer = "C"
	if f := c.faultOf(shards.ErrExists); f.message != "Consumer C under stream X already exists for account N." {
		t.Errorf("a consumer that exists is %s", f.message)
	}
	if f := c.faultOf(shards.ErrNoConsumer); f.code != codeNotFound || f.message != "Consumer C under stream X under account N not found." {
		t.Errorf("no consumer is %v", f)
	}
}

func TestCut(t *testing.T) {
	if got := cut(strings.Repeat("é", 600)); len(got) != 1024+len("…") || !strings.HasSuffix(got, "é…") {
		t.Errorf("cut to %d bytes: …%s", len(got), got[1000:])
	}
}

// failing are streams that can do nothing, or panic.
type failing struct {
	Streams
	err error
}

func (f failing) List() []shards.Description { panic("list") }

func (f failing) Describe(context.Context, string) (shards.Description, error) {
	return shards.Description{}, f.err
}

func TestHostAtFault(t *testing.T) {
	var log bytes.Buffer
	h, err := New(Options{Streams: failing{err: errors.New("a secret")}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("DescribeStream", typeJSON, []byte(`{"StreamName":"s"}`)))
	if w.Code != 500 || w.Body.String() != `{"__type":"InternalFailureException","message":"Internal Service Failure"}` {
		t.Errorf("a failure is answered %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "a secret") || !strings.Contains(log.String(), w.Header().Get("x-amzn-RequestId")) {
		t.Errorf("the log says %s", &log)
	}
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("a panic becomes %v", v)
			}
		}()
		h.ServeHTTP(httptest.NewRecorder(), request("ListStreams", typeJSON, []byte(`{}`)))
	}()
	if !strings.Contains(log.String(), "request panicked") || testutil.ToFloat64(h.metrics.requests.WithLabelValues("ListStreams", codeInternal)) != 1 {
		t.Error("a panic is neither logged nor counted")
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := newRig(t, func(o *Options) { o.Registerer = registry })
	r.stream("s", 1)
	ok(r.ListStreams(r.ctx, &kinesis.ListStreamsInput{}))(t)
	_, err := r.DescribeStream(r.ctx, &kinesis.DescribeStreamInput{StreamName: aws.String("nope")})
	refused(t, err, "ResourceNotFoundException", "")
	r.json("Nothing", "{}")
	for labels, want := range map[[2]string]float64{
		{"CreateStream", ""}: 1, {"ListStreams", ""}: 1, {"DescribeStream", codeNotFound}: 1, {"", "UnknownOperationException"}: 1,
	} {
		if got := testutil.ToFloat64(r.handler.metrics.requests.WithLabelValues(labels[0], labels[1])); got != want {
			t.Errorf("%v counts %v, want %v", labels, got, want)
		}
	}
	if n, err := testutil.GatherAndCount(registry, "shardmill_aws_request_duration_seconds"); err != nil || n != 4 {
		t.Errorf("%d durations, %v", n, err)
	}
}

func TestCheckPlace(t *testing.T) {
	for place, good := range map[[2]string]bool{
		{"us-east-1", "000000000000"}: true, {"local-1", "123456789012"}: true, {"us_east_1", "000000000000"}: false, {"", "000000000000"}: false,
		{"us-east-1", "1"}: false, {"us-east-1", "00000000000a"}: false, {"a-" + strings.Repeat("b", 64), "000000000000"}: false,
	} {
		if err := CheckPlace(place[0], place[1]); (err == nil) != good {
			t.Errorf("%v: %v", place, err)
		}
	}
	if _, err := New(Options{Region: "x y"}); err == nil {
		t.Error("New takes a region that cannot be")
	}
}

func TestParseARN(t *testing.T) {
	h := &Handler{region: DefaultRegion, account: DefaultAccount}
	for s, want := range map[string]arn{
		"arn:aws:kinesis:us-east-1:000000000000:stream/s":               {stream: "s"},
		"arn:aws-cn:kinesis:us-east-1:000000000000:stream/s":            {stream: "s"},
		"arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:15": {stream: "s", consumer: "c", second: 15},
	} {
		if got, err := h.parseARN(s); err != nil || got != want {
			t.Errorf("%s is %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "arn", "arn:aws:kinesis:us-east-2:000000000000:stream/s", "arn:aws:kinesis:us-east-1:000000000001:stream/s",
		"arn:aws:kinesis:us-east-1:000000000000:table/s", "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c", "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:x",
		"arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:0", "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/:1",
	} {
		if got, err := h.parseARN(s); err == nil {
			t.Errorf("%s is %+v", s, got)
		}
	}
}

// TestRestart checks that positions outlive the host: iterators, sequence numbers and consumers.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	var iterator, consumer, number *string
	t.Run("before", func(t *testing.T) {
		r := rigOn(t, dir)
		name := r.stream("s", 1)
		want := r.put(name, "a", 3)
		all := r.all(name, firstShard)
		same(t, data(all), want)
		iterator, number, consumer = r.iterator(name, firstShard), all[1].SequenceNumber, aws.String(r.consumer(name, "c"))
	})
	r := rigOn(t, dir)
	out := ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: iterator}))(t)
	same(t, data(out.Records), []string{"a0", "a1", "a2"})
	if *out.Records[1].SequenceNumber != *number {
		t.Errorf("a record was %s and is %s", *number, *out.Records[1].SequenceNumber)
	}
	if d := ok(r.DescribeStreamConsumer(r.ctx, &kinesis.DescribeStreamConsumerInput{ConsumerARN: consumer}))(t); *d.ConsumerDescription.ConsumerName != "c" {
		t.Errorf("the consumer is %+v", d.ConsumerDescription)
	}
}

// TestDamage reads a record whose byte on disk was flipped: the host is at fault, and says so instead of passing it over.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) {
		r := rigOn(t, dir)
		st := ok(r.store.Stream(r.stream("s", 1)))(t)
		ok(st.Put(r.ctx, []record.Record{{Key: []byte("k"), Data: []byte("a very special record")}}, nil))(t)
		r.put("s", "b", 1)
	})
	segments := ok(filepath.Glob(filepath.Join(dir, "streams", "*", "*.seg")))(t)
	b := ok(os.ReadFile(segments[0]))(t)
	at := bytes.Index(b, []byte("a very special record"))
	b[at] ^= 1
	if err := os.WriteFile(segments[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := rigOn(t, dir)
	_, err := r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: r.iterator("s", firstShard)})
	refused(t, err, "InternalFailureException", "Stored records are damaged: see the host's log, or GET /v1/streams/{name}/damage.")
}
