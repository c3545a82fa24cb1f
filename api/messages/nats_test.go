package messages

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

const answerTime = 10 * time.Second

// event is a message with one record.
func event(stream, key, data string) *nats.Msg {
	m := nats.NewMsg("put." + stream)
	m.Header.Set(HeaderKey, key)
	m.Data = []byte(data)
	return m
}

// batchOf is a message with a record batch; each pair is a key and data.
func batchOf(t testing.TB, stream string, pairs ...string) *nats.Msg {
	t.Helper()
	var b record.Builder
	for i := 0; i < len(pairs); i += 2 {
		if err := b.Append(record.Record{Key: []byte(pairs[i]), Data: []byte(pairs[i+1])}); err != nil {
			t.Fatal(err)
		}
	}
	m := nats.NewMsg("put." + stream)
	m.Header.Set(HeaderType, TypeBatch)
	m.Data = b.Finish()
	return m
}

func request(t testing.TB, conn *nats.Conn, m *nats.Msg) *nats.Msg {
	t.Helper()
	answer, err := conn.RequestMsg(m, answerTime)
	if err != nil {
		t.Fatalf("%s: %v", m.Subject, err)
	}
	return answer
}

func TestNATSPutsEvents(t *testing.T) {
	streams := newMemory("s", "my.stream")
	d := openDoors(t, streams)
	conn := d.connect(t)

	answer := request(t, conn, event("s", "k", "one"))
	if got := string(answer.Data); got != `{"shard":"shardId-000000000003","sequenceNumber":"1"}` || len(answer.Header) != 0 {
		t.Errorf("%s %v", got, answer.Header)
	}
	hashed := nats.NewMsg("put.my.stream")
	hashed.Header = nats.Header{"shardmill-partition-key": {"ü"}, "SHARDMILL-EXPLICIT-HASH-KEY": {"255"}, "content-type": {"application/json"}}
	request(t, conn, hashed)

	if got := streams.streams["s"].stored(); !cmp.Equal(got, []string{"k=one"}) {
		t.Errorf("s has %v", got)
	}
	r := streams.streams["my.stream"].first()
	if string(r.Key) != "ü" || len(r.Data) != 0 || hex.EncodeToString(r.ExplicitHash) != "000000000000000000000000000000ff" {
		t.Errorf("my.stream has %+v", r)
	}
	d.counts(t, map[string]float64{
		"shardmill_door_messages_total{door=nats}": 2, "shardmill_door_bytes_total{door=nats}": 3,
		"shardmill_door_records_total{door=nats}": 2, "shardmill_door_failures_total{door=nats}": 0,
		"shardmill_door_messages_total{door=mqtt}": 0, "shardmill_mqtt_clients": 0,
	})
}

func TestNATSPutsBatches(t *testing.T) {
	streams := newMemory("s")
	d := openDoors(t, streams)
	conn := d.connect(t)
	if got := string(request(t, conn, batchOf(t, "s", "a", "1", "b", "2")).Data); got != `{"put":2,"failed":0}` {
		t.Error(got)
	}
	partly := batchOf(t, "s", "a", "3", "bad", "4", "b", "5")
	partly.Header.Set(HeaderType, TypeBatch+"; version=1")
	var s summary
	if err := json.Unmarshal(request(t, conn, partly).Data, &s); err != nil {
		t.Fatal(err)
	}
	if s.Put != 2 || s.Failed != 1 || len(s.Failures) != 1 || s.Failures[0].Line != 2 || s.Failures[0].Error != "invalid-field" {
		t.Errorf("%+v", s)
	}
	if got := streams.streams["s"].stored(); !cmp.Equal(got, []string{"a=1", "b=2", "a=3", "b=5"}) {
		t.Errorf("%v", got)
	}
	d.counts(t, map[string]float64{
		"shardmill_door_messages_total{door=nats}": 2, "shardmill_door_records_total{door=nats}": 4,
		"shardmill_door_failures_total{door=nats}": 1,
	})
}

// Each message that cannot be put is answered with what is wrong.
func TestNATSProblems(t *testing.T) {
	streams := newMemory("s", "full", "closed", "odd")
	streams.streams["full"].fail(fmt.Errorf("shards: put to: %w", shards.ErrNoSpace))
	streams.streams["closed"].fail(shards.ErrClosed)
	streams.streams["odd"].fail(errors.New("odd"))
	d := openDoors(t, streams)
	conn := d.connect(t)

	badHash := event("s", "k", "d")
	badHash.Header.Set(HeaderHash, "-1")
	garbage := nats.NewMsg("put.s")
	garbage.Header.Set(HeaderType, TypeBatch)
	garbage.Data = []byte("garbage")
	behind := batchOf(t, "s", "k", "d")
	behind.Data = append(behind.Data, 0)
	flipped := batchOf(t, "s", "k", "d")
	flipped.Data[len(flipped.Data)-1] ^= 1
	newer := batchOf(t, "s", "k", "d")
	newer.Data[8] = 9
	tests := []struct {
		name        string
		m           *nats.Msg
		status      int
		kind, field string
	}{
		{"no key", nats.NewMsg("put.s"), 400, "missing-key", HeaderKey},
		{"empty key", event("s", "", "d"), 400, "missing-key", HeaderKey},
		{"refused", event("s", "bad", "d"), 400, "invalid-field", "partitionKey"},
		{"hash", badHash, 400, "invalid-field", "explicitHashKey"},
		{"no stream", event("none", "k", "d"), 404, "stream-not-found", ""},
		{"disk full", event("full", "k", "d"), 507, "no-space", ""},
		{"store closed", event("closed", "k", "d"), 503, "stopping", ""},
		{"anything else", event("odd", "k", "d"), 500, "internal", ""},
		{"no batch", garbage, 400, "malformed-batch", ""},
		{"damaged batch", flipped, 400, "malformed-batch", ""},
		{"batch of a newer version", newer, 400, "malformed-batch", ""},
		{"bytes behind", behind, 400, "invalid-field", "payload"},
		{"empty batch", batchOf(t, "s"), 400, "invalid-field", "payload"},
		{"batch of one that is refused", batchOf(t, "s", "bad", "1"), 400, "invalid-field", "partitionKey"},
		{"batch that is refused", batchOf(t, "s", "bad", "1", "bad", "2"), 400, "records-refused", "partitionKey"},
		{"batch for a full disk", batchOf(t, "full", "k", "1"), 507, "no-space", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			answer := request(t, conn, tc.m)
			var p problem
			if err := json.Unmarshal(answer.Data, &p); err != nil {
				t.Fatalf("%s: %v", answer.Data, err)
			}
			if p.Status != tc.status || p.kind() != tc.kind || p.Field != tc.field || p.Title == "" || p.Detail == "" {
				t.Errorf("%s", answer.Data)
			}
			if tc.field != "" && p.Limit == "" {
				t.Errorf("no limit: %s", answer.Data)
			}
			if answer.Header.Get("Nats-Service-Error-Code") != fmt.Sprint(tc.status) || answer.Header.Get("Nats-Service-Error") != p.Title {
				t.Errorf("headers %v", answer.Header)
			}
		})
	}
	if got := streams.streams["s"].stored(); len(got) != 0 {
		t.Errorf("%v was put", got)
	}
	d.counts(t, map[string]float64{"shardmill_door_failures_total{door=nats}": float64(len(tests))})
	if got := d.log.String(); got != "" {
		t.Errorf("what clients were told is in the log:\n%s", got)
	}
}

// Messages without a reply subject are put too; that one of them was not is logged, once a minute.
func TestNATSFireAndForget(t *testing.T) {
	streams := newMemory("s")
	d := openDoors(t, streams)
	conn := d.connect(t)
	for i := range 5 {
		for _, m := range []*nats.Msg{event("s", "k", fmt.Sprint(i)), event("none", "k", "x"), batchOf(t, "s", "bad", "x")} {
			if err := conn.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	elsewhere := event("s", "k", "5")
	elsewhere.Reply = "put.s" // no answer is a put
	if err := conn.PublishMsg(elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	d.close(t)
	if got := strings.Join(streams.streams["s"].stored(), " "); got != "k=0 k=1 k=2 k=3 k=4 k=5" {
		t.Error(got)
	}
	if got := d.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "was not put") && !strings.Contains(got, "were not put") {
		t.Errorf("log:\n%s", got)
	}
}

// What arrives while a put is under way is put together, in its order.
func TestNATSPutsTogether(t *testing.T) {
	streams := newMemory("s")
	s := streams.streams["s"]
	s.gate, s.entered = make(chan struct{}), make(chan context.Context, 1<<10)
	d := openDoors(t, streams)
	conn := d.connect(t)
	inbox, err := conn.SubscribeSync(conn.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	const messages = 5000
	var want []string
	for i := range messages {
		m := event("s", fmt.Sprint(i%7), fmt.Sprint(i))
		if i%10 == 9 {
			m = batchOf(t, "s", fmt.Sprint(i%7), fmt.Sprint(i))
		}
		m.Reply = inbox.Subject
		want = append(want, fmt.Sprintf("%d=%d", i%7, i))
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-s.entered // the first put is under way
		}
	}
	request(t, conn, nats.NewMsg("put.s")) // is refused at once: those before it have been received
	close(s.gate)
	for i := range messages {
		answer, err := inbox.NextMsg(answerTime)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if len(answer.Header) != 0 {
			t.Fatalf("answer %d: %s", i, answer.Data)
		}
	}
	if diff := cmp.Diff(want, s.stored()); diff != "" {
		t.Error(diff)
	}
	if n := s.count(); n != 2 {
		t.Errorf("%d puts for %d messages", n, messages)
	}
}

// A host that is behind says so, and takes messages again when it is not.
func TestNATSIsBusy(t *testing.T) {
	streams := newMemory("s")
	s := streams.streams["s"]
	s.gate, s.entered = make(chan struct{}), make(chan context.Context, 1<<10)
	d := openDoors(t, streams)
	conn := d.connect(t)
	inbox, err := conn.SubscribeSync(conn.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", MaxMessageBytes-1024)
	for range maxWaiting/MaxMessageBytes + 1 {
		m := event("s", "k", big)
		m.Reply = inbox.Subject
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := inbox.NextMsg(answerTime)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer.Data), "problem:throttled") || answer.Header.Get(headerErrorCode) != "429" {
		t.Errorf("%s", answer.Data)
	}
	close(s.gate)
	for range maxWaiting / MaxMessageBytes {
		if answer, err := inbox.NextMsg(answerTime); err != nil || len(answer.Header) != 0 {
			t.Fatalf("%v, %v", answer, err)
		}
	}
	if answer := request(t, conn, event("s", "k", "d")); len(answer.Header) != 0 {
		t.Errorf("afterwards: %s", answer.Data)
	}
}

// Closing puts and answers what has been received, and tells the others at once that nobody listens.
func TestNATSDrains(t *testing.T) {
	streams := newMemory("s")
	s := streams.streams["s"]
	s.gate, s.entered = make(chan struct{}), make(chan context.Context, 1<<10)
	d := openDoors(t, streams)
	conn := d.connect(t)
	inbox, err := conn.SubscribeSync(conn.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	const messages = 100
	for i := range messages {
		m := event("s", "k", fmt.Sprint(i))
		m.Reply = inbox.Subject
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	<-s.entered
	closing := make(chan struct{})
	go func() { defer close(closing); d.close(t) }()
	for {
		if _, err := conn.RequestMsg(event("s", "k", "late"), time.Millisecond); errors.Is(err, nats.ErrNoResponders) {
			break
		}
	}
	close(s.gate)
	<-closing
	for i := range messages {
		if answer, err := inbox.NextMsg(answerTime); err != nil || len(answer.Header) != 0 {
			t.Fatalf("answer %d: %v, %v", i, answer, err)
		}
	}
}

// When the time to stop is over, what waits is refused and not lost silently.
func TestNATSDrainTimeIsOver(t *testing.T) {
	streams := newMemory("s")
	s := streams.streams["s"]
	s.gate, s.entered = make(chan struct{}), make(chan context.Context, 1<<10)
	d := openDoors(t, streams)
	conn := d.connect(t)
	inbox, err := conn.SubscribeSync(conn.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(data string) {
		m := event("s", "k", data)
		m.Reply = inbox.Subject
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	ask("first")
	putting := <-s.entered
	ask("waiting")
	request(t, conn, nats.NewMsg("put.s")) // is refused at once: the one before it has been received
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.closed = true
	closing := make(chan error)
	go func() { closing <- d.Doors.Close(ctx) }()
	<-putting.Done()
	s.gate <- struct{}{} // the put under way ends; no other begins
	if err := <-closing; !errors.Is(err, errLeftover) {
		t.Errorf("close: %v", err)
	}
	for _, want := range []string{`"sequenceNumber":"1"`, "problem:stopping"} {
		if answer, err := inbox.NextMsg(answerTime); err != nil || !strings.Contains(string(answer.Data), want) {
			t.Errorf("%v, %v; want %s", answer, err, want)
		}
	}
}
