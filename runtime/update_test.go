package runtime

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/internal/catalog"
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

func TestFailedUpdate(t *testing.T) {
	s := newStores()
	w := reopen(t, s)
	w.deploy(t, "old", constant(t, "old"), Config{})
	w.submit(t, "old", broken())
	w.submit(t, "new", broken())
	check := func() {
		t.Helper()
		f := w.settled(t, "old")
		if f.State != StateActive || f.Version != 1 || f.Update == nil || f.Update.State != StateFailed || !strings.Contains(f.Update.Problem, "does not compile") {
			t.Errorf("an update that fails: %+v, %+v", f, f.Update)
		}
		if w.mustAsk(t, "old", "") != "old" {
			t.Error("the old version does not serve")
		}
		f = w.settled(t, "new")
		if f.State != StateFailed || !strings.Contains(f.Problem, "does not compile") {
			t.Errorf("a first version that fails: %+v", f)
		}
		if _, err := w.ask(t.Context(), "new", ""); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "does not compile") {
			t.Errorf("a call of it: %v", err)
		}
		if _, err := w.Code(t.Context(), "new", 0); !errors.Is(err, ErrNoVersion) {
			t.Errorf("its code: %v", err)
		}
	}
	check()
	for s.count() != 1 {
		waitTurn(t)
	}
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
	if f, err := w.Get("new"); err != nil || len(f.Versions) != 1 {
		t.Errorf("a version that never served is still there: %+v, %v", f, err)
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
