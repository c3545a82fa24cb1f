package destination

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/internal/egress"
	"github.com/shardmill/shardmill/internal/field"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("DESTINATION_TEST_WRITE"); dir != "" {
		writeHalf(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// open makes destinations that are closed when the test ends.
func open(t *testing.T, o Options) *Destinations {
	t.Helper()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// testDocument is one that Lambda's documentation could show.
func testDocument() Document {
	return Document{
		ID: "6fa459ea-ee8a-3ca4-894e-db77e160355e", Key: testKey, Shard: "shardId-000000000006",
		Whole: []byte(`{"version":"1.0","payload":"{\"Records\":[]}"}`), Brief: []byte(`{"version":"1.0"}`),
	}
}

const testKey = "aws/lambda/14124bae-1a2b-4c3d-8e4f-5a6b7c8d9e0f/shardId-000000000006/2026/11/22/2026-11-22T00.04.05-6fa459ea-ee8a-3ca4-894e-db77e160355e"

// wantRefused checks that Check refuses a URI as the API reports it.
func wantRefused(t *testing.T, d *Destinations, uri, says string) {
	t.Helper()
	err := d.Check(t.Context(), uri)
	refused := (*field.Error)(nil)
	if !errors.As(err, &refused) || refused.Field != Field {
		t.Fatalf("Check(%q) is no refusal of the field: %v", uri, err)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("Check(%q) says %q, not %q", uri, err, says)
	}
}

// wantFailure checks how a delivery fails.
func wantFailure(t *testing.T, err error, lasts bool, says string) {
	t.Helper()
	if err == nil || errors.Is(err, ErrMisconfigured) != lasts || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v (lasts: %v); want one that says %q, lasts: %v", err, errors.Is(err, ErrMisconfigured), says, lasts)
	}
}

// memory is streams in memory.
type memory struct {
	mu      sync.Mutex
	limit   map[string]int
	records map[string][]string // key=data
	fail    error               // of the next put
}

func (m *memory) MaxRecord(stream string) (int, error) {
	if limit, ok := m.limit[stream]; ok {
		return limit, nil
	}
	return 0, fmt.Errorf("%w: no stream %q", ErrMisconfigured, stream)
}

func (m *memory) Put(_ context.Context, stream, key string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.records[stream] = append(m.records[stream], key+"="+string(data))
	return nil
}

func TestStream(t *testing.T) {
	t.Parallel()
	streams := &memory{limit: map[string]int{"failed": 1 << 20, "small": 1 << 10, "tight": smallest}, records: map[string][]string{}}
	d := open(t, Options{Streams: streams})
	for _, name := range []string{"failed", "tight"} {
		if err := d.Check(t.Context(), "stream:"+name); err != nil {
			t.Error(err)
		}
	}
	wantRefused(t, d, "stream:none", `onFailure is "stream:none"; it must be stream: and the name of a stream that exists`)
	wantRefused(t, d, "stream:small", "takes records of up to 1024 bytes")
	wantRefused(t, open(t, Options{}), "stream:failed", "no streams here")

	doc := testDocument()
	if err := d.Deliver(t.Context(), "stream:failed", doc); err != nil {
		t.Error(err)
	}
	if got := streams.records["failed"]; len(got) != 1 || got[0] != doc.Shard+"="+string(doc.Whole) {
		t.Errorf("%q", got)
	}
	// A document that is larger than the stream's records goes without its payload.
	doc.Whole = bytes.Repeat([]byte("x"), smallest+1)
	if err := d.Deliver(t.Context(), "stream:tight", doc); err != nil {
		t.Error(err)
	}
	if got := streams.records["tight"]; len(got) != 1 || got[0] != doc.Shard+"="+string(doc.Brief) {
		t.Errorf("%q", got)
	}
	wantFailure(t, d.Deliver(t.Context(), "stream:none", doc), true, "deliver to stream:none, which needs to be mended: ")
	streams.fail = errors.New("disk full")
	wantFailure(t, d.Deliver(t.Context(), "stream:failed", doc), false, "deliver to stream:failed: disk full")
	wantFailure(t, open(t, Options{}).Deliver(t.Context(), "stream:failed", doc), true, "no streams here")
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	o := Options{Streams: &memory{limit: map[string]int{"s": 1 << 20}, records: map[string][]string{}}, Registerer: registry}
	d := open(t, o)
	doc := testDocument()
	for range 2 {
		if err := d.Deliver(t.Context(), "stream:s", doc); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Deliver(t.Context(), "file:///nowhere", doc); err == nil {
		t.Error("a folder that nobody allowed")
	}
	want := fmt.Sprintf(`
# HELP shardmill_destination_bytes_total Bytes of the documents stored, by scheme of the URI.
# TYPE shardmill_destination_bytes_total counter
shardmill_destination_bytes_total{scheme="file"} 0
shardmill_destination_bytes_total{scheme="http"} 0
shardmill_destination_bytes_total{scheme="https"} 0
shardmill_destination_bytes_total{scheme="s3"} 0
shardmill_destination_bytes_total{scheme="stream"} %d
# HELP shardmill_destination_deliveries_total Documents stored at on-failure destinations, by scheme of the URI.
# TYPE shardmill_destination_deliveries_total counter
shardmill_destination_deliveries_total{scheme="file"} 0
shardmill_destination_deliveries_total{scheme="http"} 0
shardmill_destination_deliveries_total{scheme="https"} 0
shardmill_destination_deliveries_total{scheme="s3"} 0
shardmill_destination_deliveries_total{scheme="stream"} 2
# HELP shardmill_destination_failures_total Tries to store a document that failed, by scheme of the URI.
# TYPE shardmill_destination_failures_total counter
shardmill_destination_failures_total{scheme="file"} 1
shardmill_destination_failures_total{scheme="http"} 0
shardmill_destination_failures_total{scheme="https"} 0
shardmill_destination_failures_total{scheme="s3"} 0
shardmill_destination_failures_total{scheme="stream"} 0
`, 2*len(doc.Whole))
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "shardmill_destination_bytes_total",
		"shardmill_destination_deliveries_total", "shardmill_destination_failures_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "shardmill_destination_seconds"); err != nil || n != 2 {
		t.Errorf("%d series of durations, %v", n, err)
	}
	if _, err := New(o); err == nil {
		t.Error("metrics were registered twice")
	}
	d.Close()
	if again, err := New(o); err != nil {
		t.Error(err)
	} else {
		again.Close()
	}
}

func TestDocumentForm(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Document){
		"way up":     func(d *Document) { d.Key = "a/../../b" },
		"absolute":   func(d *Document) { d.Key = "/a" },
		"folder":     func(d *Document) { d.Key = "a/" },
		"no key":     func(d *Document) { d.Key = "" },
		"long part":  func(d *Document) { d.Key = strings.Repeat("a", 129) },
		"long":       func(d *Document) { d.Key = strings.Repeat("a/", 300) + "a" },
		"zero":       func(d *Document) { d.Key = "a\x00" },
		"no id":      func(d *Document) { d.ID = "" },
		"line break": func(d *Document) { d.ID = "a\nb" },
	} {
		doc := testDocument()
		change(&doc)
		if err := doc.check(); err == nil {
			t.Errorf("%s: taken", name)
		}
		wantFailure(t, open(t, Options{}).Deliver(t.Context(), "https://127.0.0.1/", doc), false, "a document's ")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for says, o := range map[string]Options{
		"no absolute path": {Folders: []string{"failures"}},
		"secret key":       {S3: S3{AccessKey: "a"}},
		"endpoint":         {S3: S3{AccessKey: "a", SecretKey: "b", Endpoint: "localhost:9000"}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error that says %q, got %v", says, err)
		}
	}
}

// What the caller gives up is told as that, and not as a refusal of the field.
func TestCheckWithdrawn(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := open(t, Options{Hosts: []egress.Host{{Name: "localhost"}}, S3: S3{AccessKey: "a", SecretKey: "b", Endpoint: "http://127.0.0.1:1"}})
	for _, uri := range []string{"s3://bucket", "http://localhost/"} {
		if err := d.Check(ctx, uri); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}
