package messages

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/internal/broker"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// memory is streams that keep records in memory. A record whose key is "bad" is refused.
type memory struct {
	mu      sync.Mutex
	streams map[string]*memoryStream
}

func newMemory(names ...string) *memory {
	m := &memory{streams: map[string]*memoryStream{}}
	for _, name := range names {
		m.streams[name] = &memoryStream{}
	}
	return m
}

func (m *memory) Stream(name string) (Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.streams[name]
	if s == nil {
		return nil, fmt.Errorf("shards: stream %q: %w", name, shards.ErrNotFound)
	}
	return s, nil
}

// memoryStream is one of them. A put takes a token of gate when there is one, and fails with failure when there is one.
type memoryStream struct {
	gate    chan struct{}
	entered chan context.Context // when it is not nil, gets the context of each put that begins

	mu      sync.Mutex
	failure error
	records []record.Record
	puts    int
}

var errBadKey = &shards.FieldError{Field: "partitionKey", Value: `"bad"`, Limit: "a good one"}

func (s *memoryStream) Put(ctx context.Context, records []record.Record, results []shards.Result) ([]shards.Result, error) {
	if s.entered != nil {
		s.entered <- ctx
	}
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.failure != nil {
		return results, s.failure
	}
	for _, r := range records {
		if string(r.Key) == "bad" {
			results = append(results, shards.Result{Err: errBadKey})
			continue
		}
		s.records = append(s.records, record.Record{
			Key: bytes.Clone(r.Key), Data: bytes.Clone(r.Data), ExplicitHash: bytes.Clone(r.ExplicitHash),
		})
		results = append(results, shards.Result{Shard: 3, Sequence: uint64(len(s.records))})
	}
	return results, nil
}

func (s *memoryStream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
}

// first is the first record that was put.
func (s *memoryStream) first() record.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[0]
}

// count is how many puts there were.
func (s *memoryStream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts
}

// stored is the data of what has been put, with the keys.
func (s *memoryStream) stored() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, r := range s.records {
		all = append(all, string(r.Key)+"="+string(r.Data))
	}
	return all
}

// doorsTest is open doors, and what they log and count.
type doorsTest struct {
	*Doors
	nats     string // address of the NATS door
	mqtt     string // address of the MQTT door
	log      *lockedBuffer
	registry *prometheus.Registry
	closed   bool
}

// openDoors opens both doors.
func openDoors(t testing.TB, streams Streams, rules ...string) *doorsTest {
	t.Helper()
	d := &doorsTest{log: &lockedBuffer{}, registry: prometheus.NewRegistry()}
	server, err := broker.OpenDoor(t.Context(), broker.DoorOptions{
		Listen: "127.0.0.1:0", Subjects: []string{Subjects}, MaxPayload: MaxMessageBytes, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.nats, d.mqtt = "nats://"+server.Addr().String(), l.Addr().String()
	var parsed []Rule
	for _, text := range rules {
		parsed = append(parsed, mustRule(t, text))
	}
	d.Doors, err = Open(t.Context(), Options{
		Streams: streams, NATS: server.Conn(), MQTT: l, Rules: parsed,
		Logger: slog.New(slog.NewTextHandler(d.log, nil)), Registerer: d.registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.close(t) })
	return d
}

// close closes the doors, once.
func (d *doorsTest) close(t testing.TB) {
	t.Helper()
	if d.closed {
		return
	}
	d.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.Doors.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// connect is a NATS client.
func (d *doorsTest) connect(t testing.TB) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(d.nats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// counts requires metrics to have values, by name and door.
func (d *doorsTest) counts(t *testing.T, want map[string]float64) {
	t.Helper()
	found, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range found {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += "{" + l.GetName() + "=" + l.GetValue() + "}"
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s is %v, want %v", name, v, value)
		}
	}
}

func mustRule(t testing.TB, text string) Rule {
	t.Helper()
	r, err := ParseRule(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lockedBuffer is a log sink several goroutines may write to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
