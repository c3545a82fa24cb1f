package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
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

func open(t testing.TB, dir string) *Broker {
	t.Helper()
	b, err := Open(t.Context(), Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func testStream(t testing.TB, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	s, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{
		Name: "T", Subjects: []string{"t.>"}, Storage: jetstream.FileStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMessagesSurviveCloseAndOpen(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	testStream(t, b.JetStream())
	for i := range 10 {
		if _, err := b.JetStream().Publish(t.Context(), "t.a", fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b = open(t, dir)
	info, err := testStream(t, b.JetStream()).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 10 || info.State.LastSeq != 10 {
		t.Fatalf("after reopening: %d messages, last %d, want 10 and 10", info.State.Msgs, info.State.LastSeq)
	}
}

func TestPayloadLimit(t *testing.T) {
	b := open(t, t.TempDir())
	testStream(t, b.JetStream())
	if got := b.Conn().MaxPayload(); got != maxPayload {
		t.Fatalf("the payload limit is %d, want %d", got, maxPayload)
	}
	if _, err := b.JetStream().Publish(t.Context(), "t.big", make([]byte, 2<<20)); err != nil {
		t.Fatalf("2 MiB: %v", err)
	}
}

func TestNothingListens(t *testing.T) {
	b := open(t, t.TempDir())
	if addr := b.server.Addr(); addr != nil {
		t.Fatalf("the server listens on %v", addr)
	}
	if b.server.MonitorAddr() != nil || b.server.ClusterAddr() != nil {
		t.Fatal("the server has opened a second listener")
	}
}

func TestLogLevels(t *testing.T) {
	var out lockedBuffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	b, err := Open(t.Context(), Options{Dir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "" {
		t.Fatalf("a healthy start and stop logs at info and above:\n%s", got)
	}
	l := &serverLog{log: log}
	l.Noticef("notice %d", 1)
	l.Debugf("debug %d", 2)
	l.Tracef("trace %d", 3)
	l.Warnf("warn %d", 4)
	l.Errorf("error %d", 5)
	l.Fatalf("fatal %d", 6)
	got := out.String()
	for _, want := range []string{`level=WARN msg="warn 4"`, `level=ERROR msg="error 5"`, `level=ERROR msg="fatal 6"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	for _, not := range []string{"notice", "debug", "trace"} {
		if strings.Contains(got, not) {
			t.Errorf("%q is logged at info or above:\n%s", not, got)
		}
	}
	if l.lastFatal() != "fatal 6" {
		t.Errorf("lastFatal is %q", l.lastFatal())
	}
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := t.TempDir()
	if err := os.WriteFile(filepath.Join(blocked, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		dir  string
		want error // nil: any
	}{
		{"no directory named", t.Context(), "", nil},
		{"below a file", t.Context(), filepath.Join(file, "nats"), syscall.ENOTDIR},
		{"JetStream's directory is a file", t.Context(), blocked, ErrStart},
		{"cancelled", cancelled, t.TempDir(), context.Canceled},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b, err := Open(tc.ctx, Options{Dir: tc.dir, Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				_ = b.Close()
				t.Fatal("Open succeeds")
			}
			if tc.want != nil && !errors.Is(err, tc.want) {
				t.Fatalf("the error is %v, want %v", err, tc.want)
			}
			if !strings.Contains(err.Error(), "broker: open") {
				t.Errorf("the error does not name the operation: %v", err)
			}
		})
	}
}

// TestIdleCPU measures what a broker with a stream and a consumer burns when nothing
// happens. A host of 1,000 idle mappings may use 5 % of a core; the broker's part of
// that must be invisible.
func TestIdleCPU(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second of idling")
	}
	b := open(t, t.TempDir())
	s := testStream(t, b.JetStream())
	consumer, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	consume, err := consumer.Consume(func(jetstream.Msg) {})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		consume.Stop()
		<-consume.Closed()
	}()
	const span = time.Second
	before := cpuTime(t)
	<-time.After(span)
	used := cpuTime(t) - before
	t.Logf("idle broker: %v of CPU in %v", used, span)
	if used > span/10 {
		t.Errorf("an idle broker uses %v of CPU in %v", used, span)
	}
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkOpenClose(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		br, err := Open(b.Context(), Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		if err := br.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
