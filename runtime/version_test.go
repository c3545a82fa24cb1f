package runtime

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/broker"
	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/abi"
)

// constant is a function whose every answer is this body.
func constant(t testing.TB, body string) []byte {
	t.Helper()
	var w abi.ReplyWriter
	w.Reset()
	w.SetBody([]byte(body))
	reply, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return fake{kinds: 1 << KindInvoke, data: reply, handle: packed(1024, uint32(len(reply)))}.build()
}

func numbers(f Function) (out []int) {
	for _, v := range f.Versions {
		out = append(out, v.Version)
	}
	return out
}

func TestVersions(t *testing.T) {
	w := open(t, func(o *Options) { o.KeepVersions = 3 })
	one, two := constant(t, "one"), constant(t, "two")
	first := w.deploy(t, "f", one, Config{Emit: []string{"b", "a", "b"}})
	if again := w.deploy(t, "f", one, Config{Emit: []string{"a", "b"}, Timeout: DefaultTimeout}); again.Version != 1 {
		t.Errorf("the same code and configuration became version %d", again.Version)
	}
	if !slices.Equal(first.Config.Emit, []string{"a", "b"}) || first.Config.MemoryBytes != DefaultMemoryBytes {
		t.Errorf("configuration %+v", first.Config)
	}
	if f := w.deploy(t, "f", one, Config{}); f.Version != 2 {
		t.Errorf("another configuration became version %d", f.Version)
	}
	f := w.deploy(t, "f", two, Config{})
	if !slices.Equal(numbers(f), []int{1, 2, 3}) || w.mustAsk(t, "f", "") != "two" {
		t.Errorf("versions %v", numbers(f))
	}
	var reply Reply
	if err := w.Invoke(t.Context(), Call{Function: "f", Version: 1, Kind: KindInvoke}, &reply); err != nil || string(reply.Body) != "one" || reply.Version != 1 {
		t.Errorf("version 1 answers %q: %v", reply.Body, err)
	}
	if len(w.stores.blobs) != 2 {
		t.Errorf("%d blobs", len(w.stores.blobs))
	}
	w.deploy(t, "f", two, Config{Timeout: time.Second})
	f = w.deploy(t, "f", two, Config{Timeout: 2 * time.Second})
	if !slices.Equal(numbers(f), []int{3, 4, 5}) || len(w.stores.blobs) != 1 {
		t.Errorf("versions %v, %d blobs", numbers(f), len(w.stores.blobs))
	}
	if err := w.Invoke(t.Context(), Call{Function: "f", Version: 1, Kind: KindInvoke}, &reply); !errors.Is(err, ErrNotFound) {
		t.Errorf("a version that was dropped: %v", err)
	}
	if code, err := w.Code(t.Context(), "f", 0); err != nil || !bytes.Equal(code, two) {
		t.Errorf("the code is not what was uploaded: %v", err)
	}
	if _, err := w.Code(t.Context(), "f", 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("code of a version that was dropped: %v", err)
	}
}

func TestDelete(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", constant(t, "x"), Config{})
	w.deploy(t, "g", constant(t, "x"), Config{})
	w.mustAsk(t, "f", "")
	if err := w.Delete(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Get("f"); !errors.Is(err, ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := w.ask(t.Context(), "f", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("invoke: %v", err)
	}
	if err := w.Delete(t.Context(), "f"); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete again: %v", err)
	}
	if w.mustAsk(t, "g", "") != "x" || len(w.stores.blobs) != 1 {
		t.Errorf("the other function with the same code was harmed: %d blobs", len(w.stores.blobs))
	}
	if err := w.Delete(t.Context(), "g"); err != nil || len(w.stores.blobs) != 0 || len(w.stores.entries) != 0 {
		t.Errorf("%v; %d blobs and %d definitions are left", err, len(w.stores.blobs), len(w.stores.entries))
	}
}

func TestSwapUnderLoad(t *testing.T) {
	w := open(t)
	codes := [][]byte{constant(t, "0"), constant(t, "1")}
	w.deploy(t, "f", codes[0], Config{Concurrency: 2})
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			var reply Reply
			for last := 0; ctx.Err() == nil; {
				if err := w.Invoke(t.Context(), Call{Function: "f", Kind: KindInvoke}, &reply); err != nil {
					t.Error(err)
					return
				}
				if reply.Version < last || string(reply.Body) != string('0'+rune((reply.Version+1)%2)) {
					t.Errorf("version %d after %d answered %q", reply.Version, last, reply.Body)
				}
				last = reply.Version
			}
		})
	}
	for n := 1; n <= 8; n++ {
		w.deploy(t, "f", codes[n%2], Config{Concurrency: 2})
	}
	cancel()
	callers.Wait()
	if n := w.instances("f"); n > 2 {
		t.Errorf("%d instances: those of old versions were not dropped", n)
	}
}

func TestCallFinishesOnItsVersion(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Timeout: time.Minute})
	var reply Reply
	done := make(chan error)
	go func() {
		done <- w.Invoke(t.Context(), Call{Function: "probe", Kind: KindInvoke, Body: []byte("sleep 300")}, &reply)
	}()
	for w.instances("probe") == 0 {
		waitTurn(t)
	}
	w.deploy(t, "probe", constant(t, "new"), Config{})
	if w.mustAsk(t, "probe", "") != "new" {
		t.Error("the old version answers")
	}
	if err := <-done; err != nil || reply.Version != 1 {
		t.Errorf("the call under way: version %d, %v", reply.Version, err)
	}
	if n := w.instances("probe"); n != 1 {
		t.Errorf("%d instances", n)
	}
}

func TestFailedStoreChangesNothing(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", constant(t, "old"), Config{})
	w.stores.fail = catalog.ErrNoSpace
	_, err := w.Deploy(t.Context(), "f", constant(t, "new"), Config{})
	if !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
	_, err = w.Deploy(t.Context(), "g", constant(t, "new"), Config{})
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("error %v", err)
	}
	w.stores.fail = nil
	if f, err := w.Get("f"); err != nil || f.Version != 1 || w.mustAsk(t, "f", "") != "old" || len(w.stores.blobs) != 1 {
		t.Errorf("after a failure: %+v, %v, %d blobs", f, err, len(w.stores.blobs))
	}
	if f := w.deploy(t, "f", constant(t, "new"), Config{}); f.Version != 2 || w.mustAsk(t, "f", "") != "new" {
		t.Errorf("the next deploy is version %d", f.Version)
	}
}

func TestRestart(t *testing.T) {
	s := newStores()
	w := reopen(t, s)
	w.deploy(t, "f", constant(t, "one"), Config{})
	want := w.deploy(t, "f", constant(t, "two"), Config{Emit: []string{"s"}, Timeout: 1234 * time.Millisecond})
	w.deploy(t, "lost", constant(t, "lost"), Config{})
	damaged := w.deploy(t, "damaged", constant(t, "damaged"), Config{})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost := digestOf(constant(t, "lost"))
	delete(s.blobs, lost)
	s.blobs[damaged.Digest][20] ^= 1
	s.entries["nonsense"] = catalog.Entry{Key: "nonsense", Value: []byte("{")}

	w = reopen(t, s)
	if got := w.mustAsk(t, "f", ""); got != "two" {
		t.Errorf("after a restart: %q", got)
	}
	got, err := w.Get("f")
	if err != nil || got.State != StateActive || !got.Created.Equal(want.Created) || !got.Config.equal(want.Config) || got.Kinds != want.Kinds {
		t.Errorf("after a restart %+v, before %+v: %v", got, want, err)
	}
	var reply Reply
	if err := w.Invoke(t.Context(), Call{Function: "f", Version: 1, Kind: KindInvoke}, &reply); err != nil || string(reply.Body) != "one" {
		t.Errorf("the old version: %q, %v", reply.Body, err)
	}
	for _, name := range []string{"lost", "damaged"} {
		if _, err := w.ask(t.Context(), name, ""); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if f, err := w.Get(name); err != nil || f.State != StateFailed || f.Problem == "" {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	if f := w.deploy(t, "damaged", constant(t, "damaged"), Config{}); f.State != StateActive || w.mustAsk(t, "damaged", "") != "damaged" {
		t.Errorf("uploaded again: %+v", f)
	}
	w.deploy(t, "nonsense", constant(t, "sense"), Config{})
}

func TestDamagedCacheIsCompiledAgain(t *testing.T) {
	s, dir := newStores(), t.TempDir()
	withCache := func(o *Options) { o.CacheDir = dir }
	w := reopen(t, s, withCache)
	f := w.deploy(t, "f", constant(t, "x"), Config{})
	files := func() (out []string) {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
			if !d.IsDir() {
				out = append(out, path)
			}
			return nil
		})
		return out
	}
	if len(files()) != 2 {
		t.Fatalf("the cache has %v", files())
	}
	for _, damage := range []func(path string) error{
		func(path string) error {
			b, err := os.ReadFile(path)
			b[len(b)/2] ^= 0x10
			return errors.Join(err, os.WriteFile(path, b, 0o600))
		},
		func(path string) error { return os.Truncate(path, 10) },
		os.Remove,
		func(path string) error { return os.WriteFile(path+".more", nil, 0o600) },
		func(string) error { return os.Mkdir(filepath.Join(dir, "sha256-of-nobody"), 0o700) },
	} {
		for n := range 2 {
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := files()
			if err := damage(before[n]); err != nil {
				t.Fatal(err)
			}
			w = reopen(t, s, withCache)
			if got := w.mustAsk(t, "f", ""); got != "x" {
				t.Errorf("answer %q", got)
			}
			if after := files(); !slices.Equal(after, before) {
				t.Errorf("the cache has %v, before %v", after, before)
			}
			if whole, err := w.engine.cache.check(f.Digest); !whole || err != nil {
				t.Errorf("the cache is not whole: %v", err)
			}
			os.Remove(filepath.Join(dir, "sha256-of-nobody"))
		}
	}
	if err := w.Delete(t.Context(), "f"); err != nil || len(files()) != 0 {
		t.Errorf("%v; after the function is deleted the cache has %v", err, files())
	}
}

func TestCacheThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := open(t, func(o *Options) { o.CacheDir = filepath.Join(file, "cache") })
	w.deploy(t, "f", constant(t, "x"), Config{})
	w.mustAsk(t, "f", "")
}

func TestIdleInstancesAreDropped(t *testing.T) {
	w := open(t, func(o *Options) { o.IdleTimeout = 20 * time.Millisecond })
	w.deploy(t, "f", constant(t, "one"), Config{})
	w.deploy(t, "f", constant(t, "two"), Config{})
	if err := w.Invoke(t.Context(), Call{Function: "f", Version: 1, Kind: KindInvoke}, new(Reply)); err != nil {
		t.Fatal(err)
	}
	w.mustAsk(t, "f", "")
	w.awaitRest(t, "f")
	if f, err := w.Get("f"); err != nil || f.State != StateActive || f.Versions[0].State != StateActive {
		t.Errorf("%+v, %v", f, err)
	}
	w.mustAsk(t, "f", "")
}

func TestOnTheRealCatalog(t *testing.T) {
	dir := t.TempDir()
	run := func(use func(w *world)) {
		b, err := broker.Open(t.Context(), broker.Options{Dir: filepath.Join(dir, "nats")})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		c, err := catalog.Open(t.Context(), catalog.Options{JetStream: b.JetStream(), Dir: filepath.Join(dir, "catalog")})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		definitions, err := c.Table(t.Context(), "functions")
		if err != nil {
			t.Fatal(err)
		}
		code, err := c.Blobs(t.Context(), "code")
		if err != nil {
			t.Fatal(err)
		}
		w := open(t, func(o *Options) { o.Functions, o.Code = definitions, code })
		use(w)
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	run(func(w *world) {
		w.deploy(t, "f", constant(t, "one"), Config{})
		w.deploy(t, "f", constant(t, "two"), Config{})
		w.deploy(t, "g", guests["touch"], Config{})
		w.deploy(t, "h", constant(t, "one"), Config{})
		if err := w.Delete(t.Context(), "h"); err != nil {
			t.Error(err)
		}
	})
	run(func(w *world) {
		if got := w.mustAsk(t, "f", ""); got != "two" {
			t.Errorf("after a restart: %q", got)
		}
		if code, err := w.Code(t.Context(), "f", 1); err != nil || !bytes.Equal(code, constant(t, "one")) {
			t.Errorf("code of version 1: %v", err)
		}
		if f := w.deploy(t, "f", constant(t, "three"), Config{}); f.Version != 3 {
			t.Errorf("the next version is %d", f.Version)
		}
		if n := len(w.List()); n != 2 {
			t.Errorf("%d functions", n)
		}
	})
}
