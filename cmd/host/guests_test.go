package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

// guestLanguages are the folders of testdata/guests, where one function is written in each language.
var guestLanguages = []string{"go", "c", "rust", "assemblyscript", "typescript"} // Go is the model

// needSDKs is set where every toolchain is to be there: a language that cannot be built then fails the tests.
const needSDKs = "SHARDMILL_NEED_SDKS"

// modules are those built by tests, by their folder.
var modules sync.Map

// built is a module built from source; a language whose toolchain is not on this machine skips the test, and says so.
func built(t testing.TB, dir string) []byte {
	t.Helper()
	if code, ok := modules.Load(dir); ok {
		return code.([]byte)
	}
	code, err := buildModule(t.Context(), dir)
	skipMissing(t, err)
	if err != nil {
		t.Fatal(err)
	}
	modules.Store(dir, code)
	return code
}

// skipMissing skips the test, loudly, for a compiler that is not here.
func skipMissing(t testing.TB, err error) {
	t.Helper()
	if missing := (*toolchainError)(nil); errors.As(err, &missing) {
		if os.Getenv(needSDKs) != "" {
			t.Fatal(err)
		}
		t.Skipf("LEFT OUT: %v", err)
	}
}

// heard is what functions emitted, by stream, as text: key, explicit hash and data.
type heard struct {
	mu      sync.Mutex
	streams map[string][]string
}

func (h *heard) Emit(_ context.Context, e runtime.Emission) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range e.Records.All() {
		data := string(r.Data)
		if len(data) > 2000 {
			data = fmt.Sprintf("%d bytes %x", len(data), sha256.Sum256(r.Data))
		}
		h.streams[e.Stream] = append(h.streams[e.Stream], fmt.Sprintf("%s %x %s", r.Key, r.ExplicitHash, data))
	}
	return nil
}

func (h *heard) take() map[string][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.streams
	h.streams = map[string][]string{}
	return all
}

// guestRuntime is a runtime of its own, which keeps nothing.
func guestRuntime(t testing.TB, options ...func(*runtime.Options)) (*runtime.Runtime, *heard) {
	t.Helper()
	out := &heard{streams: map[string][]string{}}
	store := &memory{entries: map[string]catalog.Entry{}, blobs: map[string][]byte{}}
	o := runtime.Options{Functions: store, Code: codeStore{store}, Emitter: out, CacheDir: t.TempDir()}
	for _, option := range options {
		option(&o)
	}
	rt, err := runtime.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	lendCompiled(t, o.CacheDir)
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
		keepCompiled(t, o.CacheDir)
	})
	return rt, out
}

// memory is a table of definitions and a store of code that nothing else uses.
type memory struct {
	mu      sync.Mutex
	entries map[string]catalog.Entry
	blobs   map[string][]byte
}

func (m *memory) Get(key string) (catalog.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries[key]; ok {
		return e, nil
	}
	return catalog.Entry{}, catalog.ErrNotFound
}

func (m *memory) List() []catalog.Entry { return nil }

func (m *memory) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return m.Update(ctx, key, value, 0)
}

func (m *memory) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries[key] = catalog.Entry{Key: key, Value: bytes.Clone(value), Revision: revision + 1}
	return revision + 1, nil
}

func (m *memory) Delete(context.Context, string, uint64) error { return nil }

type codeStore struct{ *memory }

func (s codeStore) Put(_ context.Context, data []byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	s.blobs[digest] = bytes.Clone(data)
	return digest, nil
}

func (s codeStore) Get(_ context.Context, digest string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[digest], nil
}

func (s codeStore) Delete(context.Context, string) error { return nil }

// said is what one call came to, in a form that can be compared.
type said struct {
	Outcomes []string
	Emitted  map[string][]string
	Body     string
	State    string
	Failed   string // the message; "" when the call went well
}

// guest is one deployed function.
type guest struct {
	runtime *runtime.Runtime
	heard   *heard
}

func deployGuest(t testing.TB, code []byte, emit ...string) guest {
	t.Helper()
	rt, out := guestRuntime(t)
	config := runtime.Config{Emit: emit, Timeout: time.Minute, MemoryBytes: 256 << 20, Concurrency: 1}
	if _, err := rt.DeployProven(t.Context(), "guest", code, config, runtime.Proof{Language: runtime.Language(proofOf(code).Language)}); err != nil {
		t.Fatal(err)
	}
	return guest{rt, out}
}

func (g guest) call(t testing.TB, call runtime.Call) said {
	t.Helper()
	call.Function = "guest"
	var reply runtime.Reply
	err := g.runtime.Invoke(t.Context(), call, &reply)
	s := said{Emitted: g.heard.take()}
	if failed := (*runtime.FunctionError)(nil); errors.As(err, &failed) {
		s.Failed = failed.Message
		return s
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range reply.Outcomes {
		s.Outcomes = append(s.Outcomes, fmt.Sprintf("%d %s %s", o.Index, o.Result, o.Reason))
	}
	s.Body, s.State = string(reply.Body), string(reply.State)
	return s
}

// guestCase is one call, and what it is to come to in every language.
type guestCase struct {
	name  string
	data  []string // of a batch's records
	size  int      // of a record of its own behind them; 0: none
	body  string   // of a direct invocation, when there are no records
	state string   // of the window; "" calls without a window
	end   bool     // of the window, which ends early
	fails string   // part of the message when the call is to fail; behind a "=" all of it, which is then the author's own
}

var guestCases = []guestCase{
	{name: "nothing to say", data: []string{"", "ok", "anything else"}},
	{name: "empty batch"},
	{name: "outcomes", data: []string{"drop not wanted", "retry", "retry later", "ok", "reject broken"}},
	{name: "the last word counts", data: []string{"ok", "twice odd", "reject b", "first again", "drop c", "first and again"}},
	{name: "reasons are cut between characters", data: []string{"reject " + strings.Repeat("ä", 600), "drop x" + strings.Repeat("€", 400)}},
	{name: "emits", data: []string{"emit a 1", "emit a 2", "emit b 3", "emit a 4", "emit b", "emit a " + strings.Repeat("y", 13)}},
	{name: "emits and outcomes", data: []string{"emit a 1", "drop", "emit b 2", "reject why"}},
	{name: "records as they are", data: []string{"whole a", "whole a", "whole b", "whole a"}},
	{name: "facts", data: []string{"facts", "ok", "facts"}},
	{name: "a large record", data: []string{"whole a"}, size: 1 << 20},
	{name: "a large reply", data: []string{"size a 5000000", "size b 1", "size a 3000001"}},
	{name: "many streams", data: []string{"many 20", "many 10"}},
	{name: "too many streams", data: []string{"many 257"}, fails: "256"},
	{name: "no stream", data: []string{"emit a 1", "emit  2"}, fails: `emit to stream ""`},
	{name: "a stream's name is too long", data: []string{"emit " + strings.Repeat("s", 257) + " 1"}, fails: "256"},
	{name: "an error", data: []string{"drop", "emit a 1", "fail no such airport: Zürich"}, fails: "=no such airport: Zürich"},
	{name: "after an error", data: []string{"emit a 1"}},
	{name: "a long error", data: []string{"fail " + strings.Repeat("ä", 40_000)}, fails: "=" + strings.Repeat("ä", 32_768)},
	{name: "a panic", data: []string{"emit a 1", "panic at the disco"}, fails: "at the disco"},
	{name: "after a panic", data: []string{"emit a 2"}},
	{name: "an outcome of no record", data: []string{"ok", "beyond"}, fails: "record 2 of a batch of 2"},
	{name: "after that", data: []string{"facts"}},
	{name: "no window", data: []string{"window", "state x"}},
	{name: "a window's state stays", data: []string{"window", "ok"}, state: "so far"},
	{name: "a window's state is set", data: []string{"state one", "window", "state " + strings.Repeat("two", 9)}, state: "so far"},
	{name: "a window's state is emptied", data: []string{"drop", "state ", "emit a 1"}, state: "so far"},
	{name: "a window's state is lost with the call", data: []string{"state one", "fail now"}, state: "so far", fails: "=now"},
	{name: "a window ends", end: true, state: "count=3"},
	{name: "a window does not end yet", end: true, state: "fail", fails: "=not yet"},
	{name: "answer", body: "ping"},
	{name: "answer with what is known", body: "facts"},
	{name: "answer and emit", body: "emit a hello there"},
	{name: "a long answer", body: strings.Repeat("0123456789", 500_000)},
	{name: "no answer", body: "fail who is there?", fails: "=who is there?"},
	{name: "a panic instead of an answer", body: "panic now", fails: "now"},
}

func (c guestCase) call(t testing.TB) runtime.Call {
	t.Helper()
	call := runtime.Call{Kind: runtime.KindInvoke, Body: []byte(c.body), ID: "i-" + c.name}
	if c.body != "" {
		return call
	}
	if c.state != "" {
		call.State, call.Window = []byte(c.state), runtime.Window{Start: time.UnixMicro(1_700_000_000_000_000), End: time.UnixMicro(1_700_000_060_000_000)}
	}
	if c.end {
		call.Kind, call.Body, call.Window.EndedEarly = runtime.KindWindowClose, nil, true
		return call
	}
	var w record.Builder
	add := func(data []byte) {
		i := w.Len()
		r := record.Record{Sequence: record.MakeSequence(3, uint64(i+1)), Arrival: 1_700_000_000_000_000 - int64(i), Data: data}
		r.Key = []byte(strings.Repeat("k", i%9))
		if i%2 == 1 {
			r.ExplicitHash = bytes.Repeat([]byte{byte(0x7f + i)}, record.HashSize)
		}
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, data := range c.data {
		add([]byte(data))
	}
	if c.size > 0 {
		add(append([]byte("whole b"), bytes.Repeat([]byte(" "), c.size-7)...))
	}
	call.Kind, call.Body, call.Attempt = runtime.KindBatch, nil, 3
	call.Source = runtime.Source{Mapping: "flights-to-guest", Stream: "späte-flüge", Shard: 7}
	head, tail := w.Run().Split(1) // as a batch that was read in two parts
	call.Records = []record.Run{head, tail}
	return call
}

// One function, written in every language, answers every call as its Go version does.
func TestGuestsAnswerAlike(t *testing.T) {
	emit := []string{"a", "b", "facts"}
	for i := range 20 {
		emit = append(emit, fmt.Sprint("s", i))
	}
	answers := func(t *testing.T, language string) (all []said) {
		g := deployGuest(t, built(t, filepath.Join("testdata", "guests", language)), emit...)
		for _, c := range guestCases {
			got := g.call(t, c.call(t))
			want, exact := strings.CutPrefix(c.fails, "=")
			if (got.Failed != "") != (c.fails != "") || !strings.Contains(got.Failed, want) || exact && got.Failed != want {
				t.Errorf("%s: failed %.300q, want %.300q", c.name, got.Failed, c.fails)
			}
			got.Failed = ""
			all = append(all, got)
		}
		return all
	}
	model := answers(t, "go")
	for _, language := range guestLanguages[1:] {
		t.Run(language, func(t *testing.T) {
			for i, got := range answers(t, language) {
				if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", model[i]) {
					t.Errorf("%s:\ngot     %.2000q\nas Go's %.2000q", guestCases[i].name, got, model[i])
				}
			}
		})
	}
}

// Transforms come to the same in every language: what goes on, what does not, and what is emitted beside it.
func TestGuestsTransformAlike(t *testing.T) {
	transform := func(t *testing.T, language string) (all []string) {
		g := deployGuest(t, built(t, filepath.Join("testdata", "guests", language)), "a", "b")
		for _, data := range [][]string{
			{"as it is", "drop not wanted", "twice späte Flüge", "", "reject broken", "twice", "emit a 1", "twice x", "emit b 2", "drop"}, {}, {"drop"}, {"twice"}, {"emit  none"},
		} {
			c := guestCase{data: data}
			call := c.call(t)
			call.Kind, call.Function, call.Source.Mapping = runtime.KindTransform, "guest", "to-bucket"
			var reply runtime.Reply
			err := g.runtime.Invoke(t.Context(), call, &reply)
			if failed := (*runtime.FunctionError)(nil); errors.As(err, &failed) {
				all = append(all, "failed: "+failed.Message)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprint(reply.Outcomes, g.heard.take())
			for i, r := range reply.Replacements() {
				text += fmt.Sprintf(" %d:%s %x %s", i, r.Key, r.ExplicitHash, r.Data)
			}
			all = append(all, text)
		}
		return all
	}
	want := transform(t, "go")
	if !strings.Contains(want[0], "2:kk  späte Flüge of kk 2:kk  twice späte Flüge") || !strings.HasPrefix(want[4], "failed: emit to stream \"\"") {
		t.Errorf("in Go it is %q", want)
	}
	for _, language := range guestLanguages[1:] {
		t.Run(language, func(t *testing.T) {
			for i, got := range transform(t, language) {
				if got != want[i] && !(strings.HasPrefix(want[i], "failed") && strings.HasPrefix(got, `failed: emit to stream ""`)) {
					t.Errorf("got  %q\nwant %q", got, want[i])
				}
			}
		})
	}
}

// An instance takes batches of every size, one after the other, and keeps the memory that the largest took.
func TestGuestsInputGrows(t *testing.T) {
	for _, language := range guestLanguages[1:] {
		t.Run(language, func(t *testing.T) {
			g := deployGuest(t, built(t, filepath.Join("testdata", "guests", language)), "a")
			var reply runtime.Reply
			peak := int64(0)
			for round, n := range []int{1, 10_000, 3, 40_000, 10_000, 40_000, 1} {
				var w record.Builder
				for range n {
					if err := w.Append(record.Record{Key: []byte("k"), Data: bytes.Repeat([]byte("z"), 1000)}); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Append(record.Record{Key: []byte("last"), Data: []byte("emit a end")}); err != nil {
					t.Fatal(err)
				}
				call := runtime.Call{Function: "guest", Kind: runtime.KindBatch, Records: []record.Run{w.Run()}}
				if err := g.runtime.Invoke(t.Context(), call, &reply); err != nil {
					t.Fatal(err)
				}
				if got := g.heard.take()["a"]; !slices.Equal(got, []string{"last  end"}) {
					t.Errorf("batch of %d: emitted %q", n, got)
				}
				if round == 3 {
					peak = reply.MemoryPeak
				} else if round > 3 && reply.MemoryPeak != peak {
					t.Errorf("the memory went from %d to %d bytes", peak, reply.MemoryPeak)
				}
			}
		})
	}
}

// What a function logs has its level, and its text whatever is in it.
func TestGuestsLog(t *testing.T) {
	const text = "a \"quoted\" \\ line\twith späte Flüge"
	for _, language := range guestLanguages[1:] {
		t.Run(language, func(t *testing.T) {
			g := deployGuest(t, built(t, filepath.Join("testdata", "guests", language)))
			g.call(t, guestCase{data: []string{"log debug " + text, "log error short"}}.call(t))
			lines, err := g.runtime.Logs(t.Context(), "guest", time.Time{}, false)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for l := range lines {
				got = append(got, l.Level+" "+l.Message)
			}
			want := []string{`debug {"level":"DEBUG","msg":"a \"quoted\" \\ line\twith späte Flüge"}`, `error {"level":"ERROR","msg":"short"}`}
			if !slices.EqualFunc(got, want, func(a, b string) bool { return strings.EqualFold(plainJSON(a), plainJSON(b)) }) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// plainJSON writes the escapes of the tests' texts in one way.
func plainJSON(s string) string {
	return strings.NewReplacer(`\u0022`, `\"`, `\u005c`, `\\`, `\u0009`, `\t`).Replace(s)
}

// Records of 1 KiB through a function that looks at each of them, in every language but Go, which has BenchmarkInvoke in runtime.
func BenchmarkGuests(b *testing.B) {
	for _, language := range guestLanguages[1:] {
		b.Run(language, func(b *testing.B) {
			g := deployGuest(b, built(b, filepath.Join("testdata", "touch", language)))
			const n = 100
			var w record.Builder
			for range n {
				if err := w.Append(record.Record{Key: []byte("partition"), Data: make([]byte, 1<<10)}); err != nil {
					b.Fatal(err)
				}
			}
			call := runtime.Call{Function: "guest", Kind: runtime.KindBatch, Records: []record.Run{w.Run()}}
			var reply runtime.Reply
			b.ReportAllocs()
			for b.Loop() {
				if err := g.runtime.Invoke(b.Context(), call, &reply); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "records/s")
		})
	}
}
