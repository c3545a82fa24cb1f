package runtime

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/runtime/wasm"
)

// hold keeps updates from being compiled until release.
func (w *world) hold() (release func()) {
	for range cap(w.updating) {
		w.updating <- struct{}{}
	}
	return func() {
		for range cap(w.updating) {
			<-w.updating
		}
	}
}

func (w *world) submit(t testing.TB, name string, code []byte) Function {
	t.Helper()
	f, err := w.Submit(t.Context(), name, code, Config{}, Proof{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// settled waits until a function has no update that is compiled.
func (w *world) settled(t testing.TB, name string) Function {
	t.Helper()
	for {
		f, err := w.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		if f.Update == nil || f.Update.State != StatePending {
			return f
		}
		waitTurn(t)
	}
}

// count is how many blobs there are.
func (s *stores) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blobs)
}

// broken passes every look at it but the compiler's: its handler's result has the wrong type.
func broken() []byte { return fake{handle: []byte{0x41, 0}}.build() }

func TestUpdateTakesOver(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", constant(t, "old"), Config{})
	release := w.hold()
	f := w.submit(t, "f", constant(t, "new"))
	if f.Version != 1 || len(f.Versions) != 1 || f.Update == nil || f.Update.Version != 2 || f.Update.State != StatePending {
		t.Fatalf("submitted: %+v", f)
	}
	if got := w.mustAsk(t, "f", ""); got != "old" {
		t.Errorf("while it is compiled: %q", got)
	}
	if again := w.submit(t, "f", constant(t, "new")); again.Update.Version != 2 {
		t.Errorf("the same again is version %d", again.Update.Version)
	}
	release()
	if f = w.settled(t, "f"); f.Version != 2 || f.Update != nil || w.mustAsk(t, "f", "") != "new" {
		t.Errorf("compiled: %+v", f)
	}
	if f = w.submit(t, "f", constant(t, "new")); f.Version != 2 || f.Update != nil {
		t.Errorf("what serves already: %+v", f)
	}
}

func TestFirstVersionIsWaitedFor(t *testing.T) {
	w := open(t)
	release := w.hold()
	if f := w.submit(t, "f", constant(t, "first")); f.State != StatePending || f.Version != 1 || f.Update == nil || f.Update.Version != 1 {
		t.Errorf("submitted: %+v", f)
	}
	answer := make(chan error, 1)
	go func() {
		got, err := w.ask(context.WithoutCancel(t.Context()), "f", "")
		if err == nil && got != "first" {
			err = errors.New(got)
		}
		answer <- err
	}()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.ask(ended, "f", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who gives up: %v", err)
	}
	release()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if f := w.settled(t, "f"); f.State != StateActive || f.Update != nil || len(f.Versions) != 1 {
		t.Errorf("compiled: %+v", f)
	}
}

// watched is a context that tells when somebody first waits for its end.
type watched struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (c *watched) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waits) })
	return c.Context.Done()
}

// A call that waits for a first version, whose place something newer takes, is made with that; one that asks for the version by number finds none.
func TestCallOfAFirstVersionThatIsReplaced(t *testing.T) {
	w := open(t)
	release := w.hold()
	w.submit(t, "f", constant(t, "first"))
	ended := make(chan error, 3)
	for _, call := range []Call{{}, {Alias: "prod"}, {Version: 1}} {
		if call.Alias != "" {
			if _, _, err := w.PutAlias(t.Context(), "f", Alias{Name: call.Alias, Version: 1}); err != nil {
				t.Fatal(err)
			}
		}
		call.Function, call.Kind = "f", KindInvoke
		ctx := &watched{Context: context.WithoutCancel(t.Context()), waits: make(chan struct{})}
		go func() {
			var reply Reply
			err := w.Invoke(ctx, call, &reply)
			switch {
			case call.Version == 1 && errors.Is(err, ErrNoVersion):
				err = nil
			case call.Version == 1:
				err = fmt.Errorf("version 1: %w", cmp.Or(err, errors.New("it was called")))
			case err == nil && (string(reply.Body) != "second" || reply.Version != 2):
				err = fmt.Errorf("version %d answers %q", reply.Version, reply.Body)
			}
			ended <- err
		}()
		<-ctx.waits
	}
	w.submit(t, "f", constant(t, "second"))
	release()
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if past := w.past(t, "f", true); len(past) != 0 {
		t.Errorf("%+v", past)
	}
}

func TestFailedUpdate(t *testing.T) {
	s := newStores()
	w := reopen(t, s)
	w.deploy(t, "old", constant(t, "old"), Config{})
	w.submit(t, "old", broken())
	w.submit(t, "new", broken())
	check := func() {
		t.Helper()
		if w.mustAsk(t, "old", "") != "old" { // and then its code, which a start loads in the background, is there
			t.Error("the old version does not serve")
		}
		f := w.settled(t, "old")
		if f.State != StateActive || f.Version != 1 || f.Update == nil || f.Update.State != StateFailed || !strings.Contains(f.Update.Problem, "does not compile") {
			t.Errorf("an update that fails: %+v, %+v", f, f.Update)
		}
		if w.mustAsk(t, "old", "") != "old" {
			t.Error("the old version does not serve when the update has failed")
		}
		f = w.settled(t, "new")
		if f.State != StateFailed || !strings.Contains(f.Problem, "does not compile") {
			t.Errorf("a first version that fails: %+v", f)
		}
		if _, err := w.ask(t.Context(), "new", ""); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "does not compile") {
			t.Errorf("a call of it: %v", err)
		}
		if code, err := w.Code(t.Context(), "new", 0); err != nil || !bytes.Equal(code, broken()) {
			t.Errorf("its code: %v", err)
		}
	}
	check()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, s)
	check()
	for _, name := range []string{"old", "new"} {
		if f := w.deploy(t, name, constant(t, "good"), Config{}); f.Version < 2 || f.Update != nil || w.mustAsk(t, name, "") != "good" {
			t.Errorf("deployed after a failure: %+v", f)
		}
	}
	if f, err := w.Get("new"); err != nil || len(f.Versions) != 1 || s.count() != 2 {
		t.Errorf("a version that never served is still there: %+v, %v, %d blobs", f, err, s.count())
	}
}

// What has failed for its configuration is mended by another one, also by a host that was started anew.
func TestFailedUpdateIsMended(t *testing.T) {
	s := newStores()
	w := reopen(t, s)
	grow := cat(i32Const(100), []byte{wasm.OpMemoryGrow, 0}, i32Const(-1), []byte{0x46, wasm.OpIf, 0x40, 0x00, wasm.OpEnd}) // a hundred pages, or a trap
	submit := func(code []byte, memory int64) {
		t.Helper()
		if _, err := w.Submit(t.Context(), "f", code, Config{MemoryBytes: memory}, Proof{}); err != nil {
			t.Fatal(err)
		}
	}
	submit(fake{initialize: grow}.build(), 1<<20)
	if f := w.settled(t, "f"); f.State != StateFailed {
		t.Fatalf("%+v", f)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, s)
	code, err := w.Code(t.Context(), "f", 0)
	if err != nil {
		t.Fatal(err)
	}
	submit(code, 16<<20)
	if f := w.settled(t, "f"); f.State != StateActive || f.Version != 2 || len(f.Versions) != 1 || s.count() != 1 {
		t.Errorf("%+v, %d blobs", f, s.count())
	}
}

func TestSubmitRefusesAtOnce(t *testing.T) {
	w := open(t)
	for _, code := range [][]byte{nil, []byte("\x00asm"), fake{}.build()[:40]} {
		if _, err := w.Submit(t.Context(), "f", code, Config{}, Proof{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d bytes: %v", len(code), err)
		}
	}
	if _, err := w.Submit(t.Context(), "f", constant(t, "x"), Config{}, Proof{Digest: "sha256:1"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("another digest: %v", err)
	}
	w.stores.fail = catalog.ErrNoSpace
	if _, err := w.Submit(t.Context(), "f", constant(t, "x"), Config{}, Proof{}); !errors.Is(err, ErrNoSpace) || w.stores.count() != 0 {
		t.Errorf("a full disk: %v", err)
	}
	w.stores.fail = nil
	if _, err := w.Get("f"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a function was made: %v", err)
	}
}

func TestNewerUploadTakesThePlace(t *testing.T) {
	for name, newer := range map[string]func(w *world, t *testing.T){
		"submitted": func(w *world, t *testing.T) { w.submit(t, "f", constant(t, "newer")) },
		"deployed":  func(w *world, t *testing.T) { w.deploy(t, "f", constant(t, "newer"), Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.deploy(t, "f", constant(t, "old"), Config{})
			release := w.hold()
			w.submit(t, "f", constant(t, "never"))
			newer(w, t)
			release()
			if f := w.settled(t, "f"); f.Version != 3 || len(f.Versions) != 2 || w.mustAsk(t, "f", "") != "newer" {
				t.Errorf("%+v", f)
			}
			if n := w.stores.count(); n != 2 {
				t.Errorf("%d blobs", n)
			}
		})
	}
}

func TestDeletedUpdate(t *testing.T) {
	w := open(t)
	release := w.hold()
	w.submit(t, "f", constant(t, "x"))
	if err := w.Delete(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	release()
	if _, err := w.Get("f"); !errors.Is(err, ErrNotFound) || w.stores.count() != 0 {
		t.Errorf("%v, %d blobs", err, w.stores.count())
	}
}

// TestRestartedUpdate begins again what a host did not end, but not for ever.
func TestRestartedUpdate(t *testing.T) {
	s := newStores()
	w := reopen(t, s)
	w.hold() // until the host ends
	w.submit(t, "first", constant(t, "first"))
	w.deploy(t, "f", constant(t, "old"), Config{})
	w.submit(t, "f", constant(t, "new"))
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, s)
	if w.mustAsk(t, "first", "") != "first" {
		t.Error("the first version does not serve")
	}
	if f := w.settled(t, "f"); f.Version != 2 || f.Update != nil || w.mustAsk(t, "f", "") != "new" {
		t.Errorf("after a restart: %+v", f)
	}
	w.hold()
	w.submit(t, "f", constant(t, "newest"))
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := s.entries["f"]
	text := strings.Replace(string(e.Value), `"update":{`, `"update":{"attempts":3,`, 1)
	e.Value = []byte(text)
	s.entries["f"] = e
	w = reopen(t, s)
	if f := w.settled(t, "f"); f.Version != 2 || f.Update == nil || !strings.Contains(f.Update.Problem, "the host ended 3 times") || w.mustAsk(t, "f", "") != "new" {
		t.Errorf("after three: %+v, %+v", f, f.Update)
	}
}

// What a host that is told to stop leaves unfinished does not count as an attempt; what one leaves that is killed does.
func TestStoppedUpdateIsNoAttempt(t *testing.T) {
	s := newStores()
	attempts := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return bytes.Contains(s.entries["f"].Value, []byte(`"attempts":1`))
	}
	compiling := make(chan struct{})
	w := reopen(t, s, apart(func(ctx context.Context, _ []byte, _ bool, _ string) error {
		close(compiling)
		<-ctx.Done()
		return ctx.Err()
	}))
	w.submit(t, "f", constant(t, "x"))
	<-compiling
	if !attempts() {
		t.Error("a host that is killed now would not have counted it")
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if attempts() {
		t.Error("a host that stopped has counted it")
	}
	w = reopen(t, s)
	if w.mustAsk(t, "f", "") != "x" {
		t.Error("it does not serve")
	}
}

// A trial that goes on and on does not keep other updates from being compiled, and is told apart from the rest.
func TestTrialsDoNotHoldUpdates(t *testing.T) {
	w := open(t)
	for range cap(w.trying) - 1 {
		w.trying <- struct{}{}
	}
	for range cap(w.updating) + 1 {
		if _, err := w.Submit(t.Context(), "spins", fake{initialize: spinning}.build(), Config{Timeout: MaxTimeout}, Proof{}); err != nil {
			t.Fatal(err)
		}
	}
	for len(w.trying) < cap(w.trying) || len(w.updating) > 0 {
		waitTurn(t)
	}
	w.submit(t, "f", constant(t, "x")) // is compiled and waits for its trial
	for range cap(w.trying) - 1 {
		<-w.trying
	}
	if w.mustAsk(t, "f", "") != "x" {
		t.Error("it does not serve")
	}
	if f, err := w.Get("spins"); err != nil || f.State != StatePending {
		t.Errorf("%+v: %v", f, err)
	}
}

// While no trial ends, only so many updates are compiled: what waits for a trial is in memory.
func TestUpdatesThatWaitForTrialsAreBounded(t *testing.T) {
	var compiled atomic.Int32
	w := open(t, apart(func(context.Context, []byte, bool, string) error {
		compiled.Add(1)
		return errors.New("not here")
	}))
	for range cap(w.trying) {
		w.trying <- struct{}{}
	}
	const updates = 5
	for n := range updates {
		w.submit(t, strconv.Itoa(n), constant(t, strconv.Itoa(n)))
	}
	for range 100 { // as long as one that is too many takes, and more
		waitTurn(t)
	}
	for int(compiled.Load()) < cap(w.updating) {
		waitTurn(t)
	}
	if n := int(compiled.Load()); n != cap(w.updating) {
		t.Errorf("%d updates were compiled", n)
	}
	for range cap(w.trying) {
		<-w.trying
	}
	for n := range updates {
		if got := w.mustAsk(t, strconv.Itoa(n), ""); got != strconv.Itoa(n) {
			t.Errorf("%d answers %q", n, got)
		}
	}
}

// An alias of a first version that never served leads to the one that takes its place: else the function would be lost at the next start.
func TestAliasOfAFirstVersionThatFailed(t *testing.T) {
	s := newStores()
	w := reopen(t, s)
	w.submit(t, "f", broken())
	if _, _, err := w.PutAlias(t.Context(), "f", Alias{Name: "prod", Version: 1}); err != nil {
		t.Fatal(err)
	}
	w.settled(t, "f")
	w.submit(t, "f", constant(t, "whole"))
	w.settled(t, "f")
	for range 2 {
		f, err := w.Get("f")
		if err != nil || f.Version != 2 || len(f.Aliases) != 1 || f.Aliases[0].Version != 2 {
			t.Fatalf("%+v: %v", f, err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		w = reopen(t, s)
	}
}

// Other settings are for the code as it was uploaded, in its language, and come into force as an upload does.
func TestConfigure(t *testing.T) {
	w := open(t)
	w.deployScript(t, "f", "export default { invoke: (body: any, ctx: any): any => ctx.env.A ?? 'none' };", Config{})
	f, err := w.Configure(t.Context(), "f", 0, Config{Env: map[string]string{"A": "b"}})
	if err != nil || f.Update == nil || f.Update.Version != 2 || f.Update.Language != TypeScript {
		t.Fatalf("%+v, %v", f, err)
	}
	if f = w.settled(t, "f"); f.Version != 2 || f.Update != nil || w.mustAsk(t, "f", "") != "b" {
		t.Errorf("%+v", f)
	}
	if f, err = w.Configure(t.Context(), "f", 1, Config{Env: map[string]string{"A": "c"}}); err != nil {
		t.Fatal(err)
	}
	if f = w.settled(t, "f"); f.Version != 3 || w.mustAsk(t, "f", "") != "c" {
		t.Errorf("%+v", f)
	}
	for name, want := range map[string]error{"f": ErrNoVersion, "g": ErrNotFound} {
		if _, err := w.Configure(t.Context(), name, 9, Config{}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	var refused *FieldError
	if _, err := w.Configure(t.Context(), "f", 0, Config{Timeout: MaxTimeout + 1}); !errors.As(err, &refused) || refused.Field != "timeout" {
		t.Errorf("a long timeout: %v", err)
	}
	clear(w.stores.blobs)
	if _, err := w.Configure(t.Context(), "f", 0, Config{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("of code that is lost: %v", err)
	}
}
