package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/internal/broker"
	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/secrets"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

// scratch holds the guest that is built and its compiled code, for all tests.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "api"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(scratch)
		os.Exit(code)
	}))
}

// echo is the module of testdata/echo.
var echo = sync.OnceValues(func() ([]byte, error) {
	out := filepath.Join(scratch, "echo.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./testdata/echo")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testdata/echo: %w\n%s", err, text)
	}
	return os.ReadFile(out)
})

// compiled is where the compiled code of echo is kept for the hosts that come after the one that compiled it:
// compiling takes most of a test's time, under the race detector ten seconds. A host throws away, when it starts, what
// belongs to none of its functions, so that each has a cache of its own.
var compiled struct {
	sync.Mutex
	kept bool
}

// lendCompiled gives a host that has started the compiled code, where there is some and it has none itself.
func lendCompiled(cache string) error {
	compiled.Lock()
	defer compiled.Unlock()
	own, err := filepath.Glob(filepath.Join(cache, "*", "SEAL"))
	if err != nil || !compiled.kept || len(own) > 0 {
		return err // there is none yet, or it is a host that has started again
	}
	return linkTree(filepath.Join(scratch, "compiled"), cache)
}

// keepCompiled takes the compiled code of a host that has deployed echo alone.
func keepCompiled(cache string) error {
	compiled.Lock()
	defer compiled.Unlock()
	if compiled.kept {
		return nil
	}
	compiled.kept = true
	return linkTree(cache, filepath.Join(scratch, "compiled"))
}

// linkTree links the files below one folder, which are never written to again, into another.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return os.Link(path, filepath.Join(to, rel))
	})
}

// cache is the host's folder of compiled code.
func (h *host) cache() string { return filepath.Join(h.dir, "cache") }

func echoModule(t testing.TB) []byte {
	t.Helper()
	code, err := echo()
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// host is a set of real engines behind a real listener.
type host struct {
	*Client
	handler  *Handler
	server   *http.Server
	store    *shards.Store
	capsules *capsule.Store
	dir      string
	url      string
	registry *prometheus.Registry
	closers  []func() // ends everything, from the front
}

// close ends the host; a second call does nothing.
func (h *host) close() {
	for _, end := range slices.Backward(h.closers) {
		end()
	}
	h.closers = nil
}

// emitter puts what functions emit.
type emitter struct{ store *shards.Store }

func (e emitter) Emit(ctx context.Context, m runtime.Emission) error {
	st, err := e.store.Stream(m.Stream)
	if err != nil {
		return err
	}
	_, err = st.PutRun(ctx, m.Records, nil)
	return err
}

// boot starts engines and a listener; all end with the test.
func boot(t testing.TB) *host { return bootWith(t, t.TempDir(), Limits{}) }

// bootWith is boot on a data directory, which may be that of a host that was closed.
func bootWith(t testing.TB, dir string, limits Limits) *host {
	t.Helper()
	ctx := context.Background()
	h := &host{dir: dir, registry: prometheus.NewRegistry()}
	t.Cleanup(h.close)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	b, err := broker.Open(ctx, broker.Options{Dir: filepath.Join(h.dir, "nats"), Logger: quiet})
	must(err)
	h.closers = append(h.closers, func() { b.Close() })
	c, err := catalog.Open(ctx, catalog.Options{JetStream: b.JetStream(), Dir: filepath.Join(h.dir, "catalog"), Logger: quiet})
	must(err)
	h.closers = append(h.closers, func() { c.Close() })
	h.store, err = shards.Open(ctx, shards.Options{Dir: filepath.Join(h.dir, "streams"), Catalog: c})
	must(err)
	h.closers = append(h.closers, func() { h.store.Close() })
	functions, err := c.Table(ctx, "functions")
	must(err)
	code, err := c.Blobs(ctx, "code")
	must(err)
	must(os.MkdirAll(filepath.Join(h.dir, "state"), 0o700))
	tables, err := state.Open(state.Options{Dir: filepath.Join(h.dir, "state")})
	must(err)
	h.closers = append(h.closers, func() { tables.Close() })
	rt, err := runtime.Open(ctx, runtime.Options{Doors: runtime.Doors{State: tables}, Functions: functions, Code: code, Emitter: emitter{h.store}, CacheDir: h.cache()})
	must(err)
	must(lendCompiled(h.cache()))
	h.closers = append(h.closers, func() { rt.Close(ctx) })
	mappings, err := c.Table(ctx, "mappings")
	must(err)
	tr, err := triggers.Open(ctx, triggers.Options{Streams: triggers.FromStore(h.store), Functions: rt, Definitions: mappings})
	must(err)
	h.closers = append(h.closers, func() { tr.Close(ctx) })

	table, err := c.Table(ctx, "secrets")
	must(err)
	kept, err := secrets.Open(secrets.Options{Table: table, KeyFile: filepath.Join(h.dir, "secrets.key"), MakeKey: true})
	must(err)

	shelf, err := capsule.Open(filepath.Join(h.dir, "capsules"), quiet)
	must(err)
	h.closers = append(h.closers, func() { shelf.Close() })
	h.capsules = shelf
	h.handler = New(Options{Streams: h.store, Functions: rt, Mappings: tr, Secrets: kept, State: tables, Capsules: shelf, Version: "test", Registerer: h.registry, Limits: limits})
	h.listen(t)
	return h
}

// listen serves the handler on a port of the loopback and makes a client for it.
func (h *host) listen(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.server = NewServer(h.handler, nil)
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(listener) }()
	h.url = "http://" + listener.Addr().String()
	if h.Client, err = NewClient(h.url, ClientOptions{}); err != nil {
		t.Fatal(err)
	}
	h.closers = append(h.closers, func() {
		h.Client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
}

// stream creates a stream for a test.
func (h *host) stream(t testing.TB, name string, shards int) {
	t.Helper()
	if _, _, err := h.CreateStream(t.Context(), name, StreamConfig{Shards: shards}); err != nil {
		t.Fatal(err)
	}
}

// all reads everything a stream holds.
func (h *host) all(t testing.TB, stream string, o ReadOptions) []Record {
	t.Helper()
	var list []Record
	for r, err := range h.Records(t.Context(), stream, o) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// asProblem is err as a *Problem.
func asProblem(t testing.TB, err error) *Problem {
	t.Helper()
	var p *Problem
	if !errors.As(err, &p) {
		t.Fatalf("error is %v, want a *Problem", err)
	}
	return p
}

// send sends a request as it is written and gives the answer's status and body.
func (h *host) send(t testing.TB, method, path, kind, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := h.Client.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
