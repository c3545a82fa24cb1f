package aws

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/internal/broker"
	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/shards"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is the surface on real engines behind a real listener.
type rig struct {
	*kinesis.Client
	t       testing.TB
	ctx     context.Context
	handler *Handler
	store   *shards.Store
	catalog *catalog.Catalog
	url     string
}

// newRig starts engines and a listener; all end with the test.
func newRig(t testing.TB, options ...func(*Options)) *rig {
	t.Helper()
	return rigOn(t, t.TempDir(), options...)
}

// rigOn is newRig on a folder that may be that of another rig that has ended.
func rigOn(t testing.TB, dir string, options ...func(*Options)) *rig {
	t.Helper()
	return rigInto(&rig{t: t, ctx: t.Context()}, dir, options...)
}

// rigInto fills in a rig.
func rigInto(r *rig, dir string, options ...func(*Options)) *rig {
	r.t.Helper()
	o := r.engines(dir)
	r.store = o.Streams.(*shards.Store)
	for _, change := range options {
		change(&o)
	}
	var err error
	if r.handler, err = New(o); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.handler.Close)
	r.listen()
	r.Client = r.client("Test")
	return r
}

// engines are the real ones on a folder.
func (r *rig) engines(dir string) Options {
	t := r.t
	t.Helper()
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)
	b, err := broker.Open(ctx, broker.Options{Dir: filepath.Join(dir, "nats"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	c, err := catalog.Open(ctx, catalog.Options{JetStream: b.JetStream(), Dir: filepath.Join(dir, "catalog"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r.catalog = c
	store, err := shards.Open(ctx, shards.Options{Dir: filepath.Join(dir, "streams"), Catalog: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	settings, err := c.Table(ctx, "aws")
	if err != nil {
		t.Fatal(err)
	}
	return Options{Streams: store, Settings: settings, Registerer: prometheus.NewRegistry()}
}

// listen serves the handler over HTTP/1.1 and HTTP/2 without TLS.
func (r *rig) listen() {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: r.handler, Protocols: protocols}
	server.RegisterOnShutdown(r.handler.Stop)
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(l) }()
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			r.t.Errorf("shutdown: %v", err)
		}
		<-served
	})
	r.url = "http://" + l.Addr().String()
}

// again is a retryer that sees every error of the service, and repeats only what the SDK does to itself (see pace.settle): the default one
// does so too.
type again struct{ aws.NopRetryer }

func (again) IsErrorRetryable(err error) bool {
	return strings.Contains(err.Error(), "use of closed network connection")
}

func (again) MaxAttempts() int { return 10 }

func (again) RetryDelay(int, error) (time.Duration, error) { return 0, nil }

// client is an unmodified SDK client that repeats nothing but what is its own fault.
func (r *rig) client(key string) *kinesis.Client {
	transport := &http.Transport{}
	r.t.Cleanup(transport.CloseIdleConnections)
	return kinesis.New(kinesis.Options{
		Region: DefaultRegion, BaseEndpoint: aws.String(r.url), HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""), Retryer: again{},
	})
}

// must ends the test on an error.
func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// ok is the value of a call that must not fail.
func ok[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// refused checks that an error has a code, and what its message holds.
func refused(t testing.TB, err error, code, message string) {
	t.Helper()
	var got smithy.APIError
	if !errors.As(err, &got) {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if got.ErrorCode() != code || message != "" && got.ErrorMessage() != message {
		t.Errorf("got %s: %s\nwant %s: %s", got.ErrorCode(), got.ErrorMessage(), code, message)
	}
}

// stream makes one and returns its name.
func (r *rig) stream(name string, shardCount int32) string {
	r.t.Helper()
	_, err := r.CreateStream(r.ctx, &kinesis.CreateStreamInput{StreamName: &name, ShardCount: &shardCount})
	r.must(err)
	return name
}
