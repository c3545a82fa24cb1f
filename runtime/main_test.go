package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/runtime/quickjs"
	"github.com/shardmill/shardmill/sdk/record"
)

// guests are the modules built from testdata, by the name of their folder.
var guests = map[string][]byte{}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "guests")
	if err == nil {
		err = errors.Join(buildGuests(dir), compileGuests(filepath.Join(dir, "compiled")))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func buildGuests(dir string) error {
	for name, mode := range map[string]string{"probe": "c-shared", "touch": "c-shared", "outside": "c-shared", "remember": "c-shared", "fetch": "c-shared", "command": "default"} {
		out := filepath.Join(dir, name+".wasm")
		cmd := exec.Command("go", "build", "-buildmode="+mode, "-o", out, "./testdata/"+name)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build guest %s: %w\n%s", name, err, text)
		}
		code, err := os.ReadFile(out)
		if err != nil {
			return err
		}
		guests[name] = code
	}
	return nil
}

// compiled is a cache of the guests' compiled code. Open clears a cache of what it does not know, so each test gets
// links to its files, which are never written to again, after that.
var compiled string

func compileGuests(dir string) error {
	compiled = dir
	ctx := context.Background()
	e, err := newEngine(ctx, meter{}, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for _, code := range append(slices.Collect(maps.Values(guests)), quickjs.Module()) {
		p, err := e.compile(ctx, code, digestOf(code))
		if err != nil {
			return err
		}
		if err := p.close(); err != nil {
			return err
		}
	}
	return nil
}

// linkTree links the files below one folder into another.
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

// stores are a catalog in memory: definitions and code that outlive a Runtime.
type stores struct {
	mu       sync.Mutex
	entries  map[string]catalog.Entry
	blobs    map[string][]byte
	revision uint64
	fail     error // of every write
}

func newStores() *stores {
	return &stores{entries: map[string]catalog.Entry{}, blobs: map[string][]byte{}}
}

type table struct{ *stores }

func (s table) Get(key string) (catalog.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	if !ok {
		return e, catalog.ErrNotFound
	}
	return e, nil
}

func (s table) List() (out []catalog.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		out = append(out, e)
	}
	return out
}

func (s table) Create(_ context.Context, key string, value []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.entries[key]; ok {
		return 0, catalog.ErrExists
	}
	return s.put(key, value)
}

func (s table) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[key].Revision != revision {
		return 0, catalog.ErrConflict
	}
	return s.put(key, value)
}

func (s *stores) put(key string, value []byte) (uint64, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	s.revision++
	s.entries[key] = catalog.Entry{Key: key, Value: append([]byte(nil), value...), Revision: s.revision}
	return s.revision, nil
}

func (s table) Delete(_ context.Context, key string, _ uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.entries[key]; !ok {
		return catalog.ErrNotFound
	}
	delete(s.entries, key)
	return s.fail
}

type blobs struct{ *stores }

func (s blobs) Put(_ context.Context, data []byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := digestOf(data)
	s.blobs[digest] = append([]byte(nil), data...)
	return digest, nil
}

func (s blobs) Get(_ context.Context, digest string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.blobs[digest]
	switch {
	case !ok:
		return nil, catalog.ErrNotFound
	case digestOf(data) != digest:
		return nil, catalog.ErrDamaged
	}
	return append([]byte(nil), data...), nil
}

func (s blobs) Delete(_ context.Context, digest string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, digest)
	return nil
}

// emitted keeps what functions emit.
type emitted struct {
	mu      sync.Mutex
	records []string // "stream/key/data"
	err     error
}

func (e *emitted) Emit(_ context.Context, em Emission) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	for r := range em.Records.All() {
		e.records = append(e.records, fmt.Sprintf("%s/%s/%s", em.Stream, r.Key, r.Data))
	}
	return nil
}

// world is a runtime with what it needs, closed when the test ends.
type world struct {
	*Runtime
	stores  *stores
	emitted *emitted
}

func open(t testing.TB, options ...func(*Options)) *world {
	t.Helper()
	return reopen(t, newStores(), options...)
}

func reopen(t testing.TB, s *stores, options ...func(*Options)) *world {
	t.Helper()
	w := &world{stores: s, emitted: &emitted{}}
	dir := t.TempDir()
	o := Options{Functions: table{s}, Code: blobs{s}, Emitter: w.emitted, CacheDir: dir}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	for _, option := range options {
		option(&o)
	}
	var err error
	if w.Runtime, err = Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if o.CacheDir == dir {
		if err := linkTree(compiled, dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func (w *world) deploy(t testing.TB, name string, code []byte, config Config) Function {
	t.Helper()
	f, err := w.Deploy(t.Context(), name, code, config)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// ask invokes the function directly with a body.
func (w *world) ask(ctx context.Context, name, body string) (string, error) {
	var reply Reply
	err := w.Invoke(ctx, Call{Function: name, Kind: KindInvoke, Body: []byte(body)}, &reply)
	return string(reply.Body), err
}

func (w *world) mustAsk(t testing.TB, name, body string) string {
	t.Helper()
	answer, err := w.ask(t.Context(), name, body)
	if err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return answer
}

// failure is the FunctionError in err, which must be one of that kind.
func failure(t testing.TB, err error, kind ErrorKind) *FunctionError {
	t.Helper()
	var f *FunctionError
	if !errors.As(err, &f) {
		t.Fatalf("error %v, want a FunctionError of kind %s", err, kind)
	}
	if f.Kind != kind {
		t.Fatalf("FunctionError of kind %s, want %s: %s\n%s", f.Kind, kind, f.Message, f.Stack)
	}
	return f
}

// records encodes records with these data, keyed key.
func records(t testing.TB, key string, data ...string) record.Run {
	t.Helper()
	var b record.Builder
	for _, d := range data {
		if err := b.Append(record.Record{Key: []byte(key), Data: []byte(d)}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Run()
}

// instances counts those of a function.
func (w *world) instances(name string) (n int) {
	f, err := w.function("test", name)
	if err != nil {
		return 0
	}
	for _, v := range f.versions {
		count, _ := v.usage()
		n += count
	}
	return n
}
