package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

const firstShard = "shardId-000000000000"

// consumer registers one and returns its ARN.
func (r *rig) consumer(stream, name string) string {
	r.t.Helper()
	out := ok(r.RegisterStreamConsumer(r.ctx, &kinesis.RegisterStreamConsumerInput{
		StreamARN: aws.String(r.handler.streamARN(stream)), ConsumerName: &name,
	}))(r.t)
	return *out.Consumer.ConsumerARN
}

// subscriber is a client of its own: the SDK's (service/kinesis v1.56.10) decodes all event streams of one client into one buffer, so
// that two at once read each other's bytes.
func (r *rig) subscriber() *kinesis.Client { return kinesis.New(r.Options()) }

// subscribe begins a subscription, which ends with the test.
func (r *rig) subscribe(arn, shard string, at types.ShardIteratorType) *kinesis.SubscribeToShardEventStream {
	r.t.Helper()
	out := ok(r.subscriber().SubscribeToShard(r.ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: &arn, ShardId: &shard, StartingPosition: &types.StartingPosition{Type: at},
	}))(r.t)
	r.t.Cleanup(func() { out.GetStream().Close() })
	return out.GetStream()
}

// next is the next event; nil at the end of the stream.
func next(t testing.TB, s *kinesis.SubscribeToShardEventStream) *types.SubscribeToShardEvent {
	t.Helper()
	select {
	case e, more := <-s.Events():
		if !more {
			return nil
		}
		return &e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
	case <-time.After(10 * time.Second):
		t.Fatal("no event in ten seconds")
		return nil
	}
}

// records are the next n records of a subscription.
func records(t testing.TB, s *kinesis.SubscribeToShardEventStream, n int) (data []string) {
	t.Helper()
	for len(data) < n {
		e := next(t, s)
		if e == nil {
			t.Fatalf("the stream ended after %d of %d records: %v", len(data), n, s.Err())
		}
		for _, rec := range e.Records {
			data = append(data, string(rec.Data))
		}
	}
	return data
}

// put puts records with the data PREFIX0, PREFIX1, … and one key.
func (r *rig) put(stream, prefix string, n int) (want []string) {
	r.t.Helper()
	st := ok(r.store.Stream(stream))(r.t)
	var batch []record.Record
	for i := range n {
		want = append(want, fmt.Sprint(prefix, i))
		batch = append(batch, record.Record{Key: []byte("k"), Data: []byte(want[i])})
	}
	ok(st.Put(r.ctx, batch, nil))(r.t)
	return want
}

func same(t testing.TB, got, want []string) {
	t.Helper()
	if g, w := strings.Join(got, " "), strings.Join(want, " "); g != w {
		t.Errorf("got %.200s, want %.200s", g, w)
	}
}

func TestSubscribe(t *testing.T) {
	r := newRig(t)
	r.handler.subscriptions.pace.heartbeat = 20 * time.Millisecond
	name := r.stream("s", 1)
	arn := r.consumer(name, "c")
	want := r.put(name, "old", 3)
	s := r.subscribe(arn, firstShard, types.ShardIteratorTypeTrimHorizon)
	same(t, records(t, s, 3), want)
	beat := next(t, s)
	if len(beat.Records) != 0 || beat.ContinuationSequenceNumber == nil || *beat.MillisBehindLatest != 0 || len(beat.ChildShards) != 0 {
		t.Errorf("the sign of life is %+v", beat)
	}
	want = r.put(name, "new", 3)
	same(t, records(t, s, 3), want)

	// Going on from a continuation number misses nothing and repeats nothing.
	var number string
	for number == "" {
		if e := next(t, s); e.ContinuationSequenceNumber != nil {
			number = *e.ContinuationSequenceNumber
		}
	}
	want = r.put(name, "more", 2)
	again := ok(r.subscriber().SubscribeToShard(r.ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: aws.String(r.consumer(name, "d")), ShardId: aws.String(firstShard),
		StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: &number},
	}))(t).GetStream()
	defer again.Close()
	same(t, records(t, again, 2), want)
}

func TestSubscribeRefuses(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	arn := r.consumer(name, "c")
	try := func(change func(*kinesis.SubscribeToShardInput)) error {
		in := &kinesis.SubscribeToShardInput{ConsumerARN: &arn, ShardId: aws.String(firstShard), StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest}}
		change(in)
		out, err := r.SubscribeToShard(r.ctx, in)
		if err == nil {
			out.GetStream().Close()
		}
		return err
	}
	refused(t, try(func(in *kinesis.SubscribeToShardInput) { in.ConsumerARN = aws.String(arn + "1") }), "ResourceNotFoundException", "")
	refused(t, try(func(in *kinesis.SubscribeToShardInput) { in.ShardId = aws.String("shardId-000000000009") }), "ResourceNotFoundException",
		"Could not find shard shardId-000000000009 in stream s under account 000000000000.")
	refused(t, try(func(in *kinesis.SubscribeToShardInput) { in.StartingPosition.Type = "NOW" }), "ValidationException", "")
	refused(t, try(func(in *kinesis.SubscribeToShardInput) {
		in.StartingPosition.Type = types.ShardIteratorTypeAtSequenceNumber
	}), "InvalidArgumentException", "")
	refused(t, try(func(in *kinesis.SubscribeToShardInput) { in.DryRun = aws.Bool(true) }), "DryRunOperationException", "")
}

func TestSubscriptionTakesOver(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	arn := r.consumer(name, "c")
	first := r.subscribe(arn, firstShard, types.ShardIteratorTypeLatest)
	_, err := r.subscriber().SubscribeToShard(r.ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: &arn, ShardId: aws.String(firstShard), StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest},
	})
	refused(t, err, "ResourceInUseException", "")
	r.handler.subscriptions.pace.takeOver = 0
	second := r.subscribe(arn, firstShard, types.ShardIteratorTypeLatest)
	for next(t, first) != nil {
	}
	refused(t, first.Err(), "ResourceInUseException", errTakenOver.message)
	want := r.put(name, "x", 1)
	same(t, records(t, second, 1), want)

	ok(r.DeregisterStreamConsumer(r.ctx, &kinesis.DeregisterStreamConsumerInput{ConsumerARN: &arn}))(t)
	for next(t, second) != nil {
	}
	refused(t, second.Err(), "ResourceNotFoundException", "")
}

// deregistering is a log whose consumer is deregistered just after it has been looked up.
type deregistering struct {
	Streams
	once sync.Once
	now  func()
}

func (s *deregistering) Describe(ctx context.Context, name string) (shards.Description, error) {
	d, err := s.Streams.Describe(ctx, name)
	if len(d.Consumers) > 0 {
		s.once.Do(s.now)
	}
	return d, err
}

func TestSubscribeWhileDeregistering(t *testing.T) {
	streams := &deregistering{}
	r := newRig(t, func(o *Options) { streams.Streams, o.Streams = o.Streams, streams })
	name := r.stream("s", 1)
	arn := r.consumer(name, "c")
	streams.now = func() {
		r.must(r.store.DeregisterConsumer(r.ctx, name, "c"))
		r.handler.subscriptions.end(ok(r.store.Stream(name))(t).ID(), "c")
	}
	_, err := r.subscriber().SubscribeToShard(r.ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: &arn, ShardId: aws.String(firstShard), StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest},
	})
	refused(t, err, "ResourceNotFoundException", "")
	if len(r.handler.subscriptions.active) != 0 {
		t.Error("a subscription that was refused is active")
	}
}

func TestSubscriptionEnds(t *testing.T) {
	r := newRig(t)
	r.handler.subscriptions.pace.life = 50 * time.Millisecond
	name := r.stream("s", 1)
	s := r.subscribe(r.consumer(name, "c"), firstShard, types.ShardIteratorTypeLatest)
	if e := next(t, s); e != nil || s.Err() != nil {
		t.Errorf("behind its life a subscription has %+v, %v", e, s.Err())
	}
	r.handler.subscriptions.pace.life = time.Minute
	s = r.subscribe(r.consumer(name, "d"), firstShard, types.ShardIteratorTypeLatest)
	r.must(r.store.Delete(r.ctx, name))
	if e := next(t, s); e != nil {
		t.Errorf("a deleted stream has %+v", e)
	}
	refused(t, s.Err(), "ResourceNotFoundException", "Stream s under account 000000000000 not found.")
	name = r.stream("other", 1)
	s = r.subscribe(r.consumer(name, "c"), firstShard, types.ShardIteratorTypeLatest)
	r.handler.Stop()
	if e := next(t, s); e != nil || s.Err() != nil {
		t.Errorf("of a host that stops a subscription has %+v, %v", e, s.Err())
	}
}

// TestFanOut checks that ten subscriptions at a tail share one pump, over both versions of HTTP.
func TestFanOut(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	const consumers, n = 10, 300
	var streams []*kinesis.SubscribeToShardEventStream
	for i := range consumers {
		streams = append(streams, r.subscribe(r.consumer(name, fmt.Sprint("c", i)), firstShard, types.ShardIteratorTypeTrimHorizon))
	}
	users := func() int {
		h := &r.handler.subscriptions.hub
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.pumps) != 1 {
			return 0
		}
		for _, p := range h.pumps {
			return p.users
		}
		return 0
	}
	eventually(t, "all at one pump", func() bool { return users() == consumers })
	var want []string
	for i := range 3 {
		want = append(want, r.put(name, fmt.Sprint("p", i, "-"), n)...)
	}
	var all sync.WaitGroup
	for i, s := range streams {
		all.Go(func() {
			got := records(t, s, 3*n)
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("consumer %d got other records", i)
			}
		})
	}
	all.Wait()
	for _, s := range streams {
		s.Close()
	}
	eventually(t, "no pump", func() bool {
		h := &r.handler.subscriptions.hub
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.pumps) == 0 && h.kept.Load() == 0
	})
}

// eventually waits until something holds, which nothing tells of.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not %s in ten seconds", what)
		}
	}
}

// TestEventFrames decodes frames with the SDK's library.
func TestEventFrames(t *testing.T) {
	b := append(initialFrame(), faultFrame(errTakenOver)...)
	in := strings.NewReader(string(b))
	decoder := eventstream.NewDecoder()
	for _, want := range []map[string]string{
		{":message-type": "event", ":event-type": "initial-response"},
		{":message-type": "exception", ":exception-type": "ResourceInUseException"},
	} {
		m, err := decoder.Decode(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range want {
			if got := m.Headers.Get(name); got == nil || got.String() != value {
				t.Errorf("header %s is %v, want %s", name, got, value)
			}
		}
	}
	if in.Len() != 0 {
		t.Errorf("%d bytes are left", in.Len())
	}
}

// TestSubscribeSlowly lets a subscription fall off the pump and checks that it gets everything nevertheless, once and in order.
func TestSubscribeSlowly(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	st := ok(r.store.Stream(name))(t)
	s := r.subscribe(r.consumer(name, "c"), firstShard, types.ShardIteratorTypeLatest)
	big := strings.Repeat("x", 1<<20-100)
	const n = 40
	for i := range n {
		ok(st.Put(r.ctx, []record.Record{{Key: []byte("k"), Data: []byte(fmt.Sprint(i, big))}}, nil))(t)
	}
	for i, data := range records(t, s, n) {
		if !strings.HasPrefix(data, fmt.Sprint(i, "x")) {
			t.Fatalf("record %d begins with %.10s", i, data)
		}
	}
}

// TestSubscribeOverHTTP2 speaks HTTP/2 without TLS, as the JavaScript SDK does.
func TestSubscribeOverHTTP2(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	r.Client = kinesis.New(r.Options(), func(o *kinesis.Options) { o.HTTPClient = &http.Client{Transport: transport} })
	s := r.subscribe(r.consumer(name, "c"), firstShard, types.ShardIteratorTypeLatest)
	want := r.put(name, "h2-", 2)
	same(t, records(t, s, 2), want)
	ctx, cancel := context.WithTimeout(r.ctx, time.Second)
	defer cancel()
	if _, err := r.ListStreams(ctx, &kinesis.ListStreamsInput{}); err != nil {
		t.Errorf("beside a subscription: %v", err)
	}
}

// TestSubscriptionIsRationed checks that under AWS's limits a consumer gets 2 MiB a second, and signs of life while it waits.
func TestSubscriptionIsRationed(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits = shards.LimitsAWS })
	r.handler.subscriptions.pace.heartbeat = 50 * time.Millisecond
	name := r.stream("s", 1)
	unlimited, limited := shards.Unlimited, shards.LimitsAWS
	ok(r.store.Update(r.ctx, name, shards.Change{Limits: &unlimited}))(t)
	r.put(name, strings.Repeat("x", 1<<10), 5<<10)
	ok(r.store.Update(r.ctx, name, shards.Change{Limits: &limited}))(t)
	s := r.subscribe(r.consumer(name, "c"), firstShard, types.ShardIteratorTypeTrimHorizon)
	begin, got, beats := time.Now(), 0, 0
	for got < 5<<10 {
		e := next(t, s)
		if got += len(e.Records); len(e.Records) == 0 {
			if beats++; *e.MillisBehindLatest == 0 {
				t.Error("a sign of life says that a consumer is at the tail that has to wait for its share")
			}
		}
	}
	// On a machine that needs longer by itself, there may have been nothing to wait for.
	if took := time.Since(begin); took < time.Second || beats == 0 && took < 2500*time.Millisecond {
		t.Errorf("5 MiB come in %v with %d signs of life", took, beats)
	}
}

// TestStopBeforeASilentClient stops while a client leaves its events unread: the write that waits for it is cut off.
func TestStopBeforeASilentClient(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	arn := r.consumer(name, "c")
	r.put(name, strings.Repeat("x", 1<<10), 32<<10) // more than sockets hold
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	r.must(err)
	defer conn.Close()
	body := fmt.Sprintf(`{"ConsumerARN":%q,"ShardId":%q,"StartingPosition":{"Type":"TRIM_HORIZON"}}`, arn, firstShard)
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nX-Amz-Target: %sSubscribeToShard\r\nContent-Length: %d\r\n\r\n%s", typeJSON, targetPrefix, len(body), body)
	ok(conn.Read(make([]byte, 1)))(t)
	begin := time.Now()
	r.handler.Stop()
	eventually(t, "over", func() bool {
		r.handler.subscriptions.mu.Lock()
		defer r.handler.subscriptions.mu.Unlock()
		return len(r.handler.subscriptions.active) == 0
	})
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestSubscribeRaw reads the bytes that other clients' decoders see: the order of frames, and JSON in them.
func TestSubscribeRaw(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	r.put(name, "a", 1)
	r.handler.subscriptions.pace.life = 100 * time.Millisecond
	body := fmt.Sprintf(`{"ConsumerARN":%q,"ShardId":%q,"StartingPosition":{"Type":"TRIM_HORIZON"}}`, r.consumer(name, "c"), firstShard)
	got := r.json("SubscribeToShard", body)
	if got.status != 200 || got.header.Get("Content-Type") != typeEventStream || got.header.Get("x-amzn-RequestId") == "" {
		t.Fatalf("it is answered %d with %v", got.status, got.header)
	}
	in, decoder := bytes.NewReader(got.body), eventstream.NewDecoder()
	var types []string
	for in.Len() > 0 {
		m := ok(decoder.Decode(in, nil))(t)
		types = append(types, m.Headers.Get(":event-type").String())
		if !json.Valid(m.Payload) {
			t.Errorf("the payload is %s", m.Payload)
		}
		if len(types) == 2 && !regexp.MustCompile(`^\{"Records":\[\{"SequenceNumber":"\d{56}","ApproximateArrivalTimestamp":\d+\.\d{3},"Data":"YTA=","PartitionKey":"k"\}\],"ContinuationSequenceNumber":"\d{56}","MillisBehindLatest":0\}$`).Match(m.Payload) {
			t.Errorf("the event is %s", m.Payload)
		}
	}
	same(t, types, []string{"initial-response", "SubscribeToShardEvent"})
}
