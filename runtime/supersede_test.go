package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

// slow is a function whose every answer is this body, and that a gatedCompiler compiles when it is let.
func slow(t testing.TB, body string) []byte {
	t.Helper()
	reply := abi.ReplyWriter{}
	reply.Reset()
	reply.SetBody([]byte(body))
	data, err := reply.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return fake{kinds: 1 << KindInvoke, data: data, handle: packed(1024, uint32(len(data))), functions: [][]byte{code(0, slowly...)}}.build()
}

// slowly is what is in such a function only.
var slowly = i32Const(77_777_777)

// gatedCompiler compiles what slow makes when it is let, and the rest at once.
type gatedCompiler struct {
	begun    chan struct{} // one for each that waits
	open     chan struct{} // closed to let them
	stubborn bool          // they end as they do, whoever gives them up
}

func newGatedCompiler(stubborn bool) *gatedCompiler {
	return &gatedCompiler{begun: make(chan struct{}), open: make(chan struct{}), stubborn: stubborn}
}

func (g *gatedCompiler) compile(ctx context.Context, code []byte, lines bool, dir string) error {
	if g.stubborn {
		ctx = context.WithoutCancel(ctx)
	}
	if bytes.Contains(code, slowly) {
		g.begun <- struct{}{}
		select {
		case <-g.open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return CompileModule(ctx, code, lines, dir)
}

// begins has an upload wait for the compiler, and gives what becomes of it.
func (g *gatedCompiler) begins(t *testing.T, w *world, body string) <-chan error {
	ended, code := make(chan error, 1), slow(t, body)
	go func() {
		_, err := w.Deploy(context.WithoutCancel(t.Context()), "f", code, Config{})
		ended <- err
	}()
	<-g.begun
	return ended
}

// compilers is a test with a compiler that ends what is given up, and with one that does not.
func compilers(t *testing.T, test func(t *testing.T, g *gatedCompiler)) {
	t.Run("ended", func(t *testing.T) { test(t, newGatedCompiler(false)) })
	t.Run("stubborn", func(t *testing.T) { test(t, newGatedCompiler(true)) })
}

// An upload that is ready after a newer one does not displace it, and its caller is told. Nothing of it is left.
func TestOlderUploadIsSuperseded(t *testing.T) {
	for name, c := range map[string]struct {
		newer    func(w *world, t *testing.T)
		serves   string
		versions []int
		says     string
	}{
		"by one that is waited for": {func(w *world, t *testing.T) { w.deploy(t, "f", constant(t, "newer"), Config{}) }, "newer", []int{1, 2, 3}, "version 3"},
		"by one in the background":  {func(w *world, t *testing.T) { w.submit(t, "f", constant(t, "newer")) }, "newer", []int{1, 2, 3}, "version 3"},
		"by other settings": {func(w *world, t *testing.T) {
			if _, err := w.Configure(t.Context(), "f", 0, Config{Timeout: time.Minute}); err != nil {
				t.Fatal(err)
			}
		}, "old", []int{1, 2, 3}, "version 3"},
		"by a rollback": {func(w *world, t *testing.T) {
			if _, err := w.Rollback(t.Context(), "f", 1); err != nil {
				t.Fatal(err)
			}
		}, "oldest", []int{1, 2, 3}, "version 3"},
		"by what serves already":     {func(w *world, t *testing.T) { w.deploy(t, "f", constant(t, "old"), Config{}) }, "old", []int{1, 2}, "version 2"},
		"the same in the background": {func(w *world, t *testing.T) { w.submit(t, "f", constant(t, "old")) }, "old", []int{1, 2}, "version 2"},
	} {
		t.Run(name, func(t *testing.T) {
			compilers(t, func(t *testing.T, g *gatedCompiler) {
				s, dir := newStores(), t.TempDir()
				options := []func(*Options){func(o *Options) { o.CacheDir = dir }, apart(g.compile)}
				w := reopen(t, s, options...)
				w.deploy(t, "f", constant(t, "oldest"), Config{})
				w.deploy(t, "f", constant(t, "old"), Config{})
				ended := g.begins(t, w, "slow")
				c.newer(w, t)
				close(g.open)
				if err := <-ended; !errors.Is(err, ErrSuperseded) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("its caller is told: %v", err)
				}
				for range 2 {
					if f := w.settled(t, "f"); !slices.Equal(numbers(f), c.versions) || w.mustAsk(t, "f", "") != c.serves {
						t.Errorf("%+v", f)
					}
					if n := len(w.digests()); s.count() != n || len(listing(t, dir)) != n {
						t.Errorf("%d blobs, and the cache has %q", s.count(), listing(t, dir))
					}
					if err := w.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					w = reopen(t, s, options...)
				}
			})
		})
	}
}

// A newer upload that waits in the background is not lost to an older one that is ready before it, nor in a restart.
func TestOlderUploadDoesNotDropAPendingOne(t *testing.T) {
	compilers(t, func(t *testing.T, g *gatedCompiler) {
		s := newStores()
		w := reopen(t, s, apart(g.compile))
		w.deploy(t, "f", constant(t, "old"), Config{})
		ended := g.begins(t, w, "slow")
		w.hold() // until the host ends
		if f := w.submit(t, "f", constant(t, "newer")); f.Update == nil || f.Update.Version != 2 {
			t.Fatalf("%+v", f)
		}
		close(g.open)
		if err := <-ended; !errors.Is(err, ErrSuperseded) || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("its caller is told: %v", err)
		}
		if f, err := w.Get("f"); err != nil || f.Version != 1 || f.Update == nil || f.Update.Version != 2 || f.Update.State != StatePending {
			t.Errorf("%+v: %v", f, err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		w = reopen(t, s)
		if f := w.settled(t, "f"); f.Version != 2 || f.Update != nil || w.mustAsk(t, "f", "") != "newer" {
			t.Errorf("after a restart: %+v", f)
		}
	})
}

// An upload is not given up for what is the same, for other functions, and for newer ones that come to nothing.
func TestUploadsThatAreNotSuperseded(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world, t *testing.T) error{
		"the same in the background": func(w *world, t *testing.T) error {
			_, err := w.Submit(t.Context(), "f", slow(t, "slow"), Config{}, Proof{})
			return err
		},
		"another function": func(w *world, t *testing.T) error {
			w.deploy(t, "g", constant(t, "x"), Config{})
			return w.Delete(t.Context(), "g")
		},
		"one that is refused": func(w *world, t *testing.T) error {
			if _, err := w.Deploy(t.Context(), "f", broken(), Config{}); !errors.Is(err, ErrInvalid) {
				return fmt.Errorf("it ends with %w", err)
			}
			return nil
		},
		"one that is given up": func(w *world, t *testing.T) error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := w.Submit(ctx, "f", constant(t, "newer"), Config{}, Proof{}); !errors.Is(err, context.Canceled) {
				return fmt.Errorf("it ends with %w", err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatedCompiler(false)
			w := open(t, apart(g.compile))
			w.deploy(t, "f", constant(t, "old"), Config{})
			ended := g.begins(t, w, "slow")
			release := w.hold()
			if err := meanwhile(w, t); err != nil {
				t.Fatal(err)
			}
			close(g.open)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if got := w.mustAsk(t, "f", ""); got != "slow" {
				t.Errorf("%q serves", got)
			}
			release()
			if f := w.settled(t, "f"); len(f.Versions) != 2 || f.Update != nil {
				t.Errorf("%+v", f)
			}
		})
	}
}

// Two uploads of the same are one version, and those that are ready in the order they came in are a version each.
func TestUploadsTogether(t *testing.T) {
	for second, versions := range map[string]int{"slow": 2, "slow too": 3} {
		g := newGatedCompiler(false)
		w := open(t, apart(g.compile))
		w.deploy(t, "f", constant(t, "old"), Config{})
		first := g.begins(t, w, "slow")
		g.open <- struct{}{} // which lets one of them
		if versions == 3 {
			if err := <-first; err != nil {
				t.Error(err)
			}
		}
		last := g.begins(t, w, second)
		close(g.open)
		if versions == 2 {
			if err := <-first; err != nil {
				t.Error(err)
			}
		}
		if err := <-last; err != nil {
			t.Error(err)
		}
		if f, err := w.Get("f"); err != nil || len(f.Versions) != versions || w.mustAsk(t, "f", "") != second {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// heldBlobs tells what is done, before it is.
type heldBlobs struct {
	Blobs
	does func(operation, digest string)
}

func (h *heldBlobs) Put(ctx context.Context, data []byte) (string, error) {
	h.does("put", digestOf(data))
	return h.Blobs.Put(ctx, data)
}

func (h *heldBlobs) Get(ctx context.Context, digest string) ([]byte, error) {
	h.does("get", digest)
	return h.Blobs.Get(ctx, digest)
}

// An upload that is ready while a newer one is being stored is superseded as one that is not.
func TestOlderUploadThatIsReadyIsSuperseded(t *testing.T) {
	g, dir := newGatedCompiler(false), t.TempDir()
	storing, finish := make(chan struct{}), make(chan struct{})
	newer := constant(t, "newer")
	w := open(t, apart(g.compile), func(o *Options) {
		o.CacheDir = dir
		o.Code = &heldBlobs{o.Code, func(operation, digest string) {
			if operation == "put" && digest == digestOf(newer) {
				close(storing)
				<-finish
			}
		}}
	})
	w.deploy(t, "f", constant(t, "old"), Config{})
	ended := g.begins(t, w, "slow")
	stored := make(chan error)
	go func() {
		_, err := w.Deploy(context.WithoutCancel(t.Context()), "f", newer, Config{})
		stored <- err
	}()
	<-storing
	w.mu.RLock()
	older := w.uploads[0].candidate
	w.mu.RUnlock()
	close(g.open)
	for !older.code.loaded() {
		waitTurn(t)
	}
	close(finish)
	if err := <-stored; err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrSuperseded) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("its caller is told: %v", err)
	}
	if f, err := w.Get("f"); err != nil || len(f.Versions) != 2 || w.mustAsk(t, "f", "") != "newer" || w.stores.count() != 2 || len(listing(t, dir)) != 2 {
		t.Errorf("%+v: %v; %d blobs, and the cache has %q", f, err, w.stores.count(), listing(t, dir))
	}
}

// An upload does not bring back a function that was deleted while it was under way, whichever way it came in, and whether or not there is another of its
// name since; nor does the next start.
func TestDeleteSupersedesUploads(t *testing.T) {
	compilers(t, func(t *testing.T, g *gatedCompiler) {
		for _, again := range []string{"", "another"} {
			g.open = make(chan struct{})
			s, dir := newStores(), t.TempDir()
			options := []func(*Options){func(o *Options) { o.CacheDir = dir }, apart(g.compile)}
			w := reopen(t, s, options...)
			w.engine.apart.turn = make(chan struct{}, 3) // two are held by what is stubborn
			w.deploy(t, "f", constant(t, "old"), Config{})
			w.submit(t, "f", slow(t, "slow in the background"))
			<-g.begun
			ended := g.begins(t, w, "slow")
			if err := w.Delete(t.Context(), "f"); err != nil {
				t.Fatal(err)
			}
			left := 0
			if again != "" {
				left = 1
				w.deploy(t, "f", constant(t, again), Config{})
			}
			close(g.open)
			if err := <-ended; !errors.Is(err, ErrSuperseded) || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "deleted") {
				t.Errorf("its caller is told: %v", err)
			}
			for range 2 {
				if err := w.Close(t.Context()); err != nil { // which waits for what is in the background
					t.Fatal(err)
				}
				w = reopen(t, s, options...)
				if len(w.List()) != left || len(s.entries) != left || s.count() != left || len(listing(t, dir)) != left {
					t.Errorf("%+v, %d blobs, and the cache has %q", w.List(), s.count(), listing(t, dir))
				}
			}
			if again != "" && w.mustAsk(t, "f", "") != again {
				t.Error("the other one does not serve")
			}
		}
	})
}

// Where there was nothing to delete, an upload that is under way is not what the deletion was of.
func TestDeleteOfNothingSupersedesNothing(t *testing.T) {
	g := newGatedCompiler(false)
	w := open(t, apart(g.compile))
	ended := g.begins(t, w, "slow")
	if err := w.Delete(t.Context(), "f"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	close(g.open)
	if err := <-ended; err != nil || w.mustAsk(t, "f", "") != "slow" {
		t.Error(err)
	}
}

// What is made of a version's code, while that is read, is an upload under way too.
func TestDeleteSupersedesWhatReadsItsCode(t *testing.T) {
	for name, begin := range map[string]func(w *world, ctx context.Context) error{
		"configure": func(w *world, ctx context.Context) error {
			_, err := w.Configure(ctx, "f", 0, Config{Timeout: time.Minute})
			return err
		},
		"rollback": func(w *world, ctx context.Context) error {
			_, err := w.Rollback(ctx, "f", 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			reading, read := make(chan struct{}), make(chan struct{})
			hold := false
			w := open(t, func(o *Options) {
				o.Code = &heldBlobs{o.Code, func(operation, _ string) {
					if hold && operation == "get" {
						reading <- struct{}{}
						<-read
					}
				}}
			})
			w.deploy(t, "f", constant(t, "one"), Config{})
			w.deploy(t, "f", constant(t, "two"), Config{})
			w.deploy(t, "g", constant(t, "one"), Config{}) // so that the code stays
			w.deploy(t, "g", constant(t, "two"), Config{})
			hold = true
			ended := make(chan error, 1)
			go func() { ended <- begin(w, context.WithoutCancel(t.Context())) }()
			<-reading
			if err := w.Delete(t.Context(), "f"); err != nil {
				t.Fatal(err)
			}
			close(read)
			if err := <-ended; !errors.Is(err, ErrSuperseded) {
				t.Errorf("its caller is told: %v", err)
			}
			if _, err := w.Get("f"); !errors.Is(err, ErrNotFound) || w.stores.count() != 2 {
				t.Errorf("%v; %d blobs", err, w.stores.count())
			}
		})
	}
}
