package runtime

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/sdk/record"
)

// openState is a runtime with a function "f" that keeps state: "own" of its own, "both" shared.
func openState(t *testing.T, o state.Options, more ...func(*Options)) (*world, *state.Store) {
	t.Helper()
	o.Dir = t.TempDir()
	s, err := state.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	w := open(t, append([]func(*Options){func(o *Options) { o.Doors.State = s }}, more...)...)
	w.deploy(t, "f", guests["remember"], Config{State: []string{"own", "shared:both"}, Emit: []string{"out"}, Concurrency: 4})
	return w, s
}

// say has the function do something for a mapping's shard, and gives its answer.
func (w *world) say(t testing.TB, function, mapping string, shard uint32, line string) string {
	t.Helper()
	var reply Reply
	err := w.Invoke(t.Context(), Call{
		Function: function, Kind: KindBatch, Source: Source{Mapping: mapping, Stream: "s", Shard: shard}, Records: []record.Run{records(t, "k", line)},
	}, &reply)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return reply.Outcomes[0].Reason
}

func TestStateIsPrivateOrShared(t *testing.T) {
	w, s := openState(t, state.Options{})
	w.deploy(t, "g", guests["remember"], Config{State: []string{"own", "shared:both"}})
	if got := w.say(t, "f", "m", 1, "put own k 1"); got != "done" {
		t.Fatal(got)
	}
	w.say(t, "f", "m", 1, "put both k 2")
	for _, c := range []struct {
		function, mapping string
		shard             uint32
		own               string
	}{{"f", "m", 1, "1"}, {"f", "m", 2, ""}, {"f", "n", 1, ""}, {"g", "m", 1, ""}, {"f", "", 0, ""}} {
		if got := w.say(t, c.function, c.mapping, c.shard, "list own"); got != strings.TrimSuffix("k="+c.own, "k=") {
			t.Errorf("own table of %+v: %s", c, got)
		}
		if got := w.say(t, c.function, c.mapping, c.shard, "get both k"); got != "2" {
			t.Errorf("shared table of %+v: %s", c, got)
		}
	}
	w.mustAsk(t, "f", "put own k direct")
	if got := w.mustAsk(t, "f", "get own k"); got != "direct" {
		t.Errorf("a direct invocation's own table: %s", got)
	}
	if err := w.Delete(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	if tables := s.Tables(); len(tables) != 1 || !tables[0].Shared {
		t.Errorf("after the function was deleted there are %+v", tables)
	}
}

func TestStateAnswers(t *testing.T) {
	w, _ := openState(t, state.Options{})
	for _, c := range [][2]string{
		{"get own k", `not found | get "k" of state table "own": not found: there is no key "k" in state table own`},
		{"put own k value", "done"},
		{"get own k", "value"},
		{"cas own k x", `changed meanwhile | put "k" of state table "own": changed meanwhile: the entry has changed: key "k" of table own of function f`},
		{"put other k x", `not granted | put "k" of state table "other": not granted: it asked for state table "other", which the function's configuration does not grant`},
		{"put shared:both k x", `not granted`},
		{"put own  x", `invalid | put "" of state table "own": invalid: the key has 0 bytes; it must be 1 to 512`},
		{"get own " + strings.Repeat("k", 513), `invalid`},
		{"large own k", `value is 1048577 bytes; it must be at most 1048576 bytes`},
		{"put own k2 a", "done"},
		{"list own k", "k=value k2=a"},
		{"list own x", ""},
		{"delete own k", "done"},
		{"list own", "k2=a"},
		{"raw", "[-4 -4 -4 -4 -4 32]"},
	} {
		if got := w.mustAsk(t, "f", c[0]); !strings.Contains(got, c[1]) || c[1] == "" && got != "" {
			t.Errorf("%.40s: %s", c[0], got)
		}
	}
	w.mustAsk(t, "f", "fill own a v")
	if got := w.mustAsk(t, "f", "list own a"); strings.Count(got, "=v") != 2000 {
		t.Errorf("%d entries are listed", strings.Count(got, "=v"))
	}
}

// A call that fails has changed nothing; one that succeeds all of it, after its outputs.
func TestStateOfFailedCalls(t *testing.T) {
	w, _ := openState(t, state.Options{})
	_, err := w.ask(t.Context(), "f", "put-and-fail own k 1")
	failure(t, err, FailError)
	if got := w.mustAsk(t, "f", "list own"); got != "" {
		t.Errorf("after a call that failed: %s", got)
	}
	w.emitted.err = errors.New("no stream")
	if _, err := w.ask(t.Context(), "f", "emit own k 1"); !errors.Is(err, ErrEmit) {
		t.Errorf("%v", err)
	}
	w.emitted.err = nil
	if got := w.mustAsk(t, "f", "list own"); got != "" {
		t.Errorf("after outputs that could not be put: %s", got)
	}
	if w.mustAsk(t, "f", "emit own k 1"); len(w.emitted.records) != 1 {
		t.Errorf("emitted %v", w.emitted.records)
	}
	if got := w.mustAsk(t, "f", "list own"); got != "k=1" {
		t.Errorf("after a call that succeeded: %s", got)
	}
}

func TestStateThatIsFull(t *testing.T) {
	w, s := openState(t, state.Options{TableBytes: 100})
	_, err := w.ask(t.Context(), "f", "put own k "+strings.Repeat("v", 100))
	if f := failure(t, err, FailRefused); !strings.Contains(f.Message, "table own of function f would have 117 bytes; it may have 100") {
		t.Errorf("%s", f.Message)
	}
	w.mustAsk(t, "f", "put own k v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := w.mustAsk(t, "f", "get own k"); !strings.HasPrefix(got, "unavailable | ") {
		t.Errorf("with a closed store: %s", got)
	}
	if _, err := w.ask(t.Context(), "f", "put own k v"); !errors.Is(err, ErrState) {
		t.Errorf("%v", err)
	}
}

// Calls side by side that count with CAS lose nothing: a conflict is seen by the guest, or fails the call.
func TestStateConflicts(t *testing.T) {
	w, _ := openState(t, state.Options{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for done := 0; done < 10; {
				got, err := w.ask(t.Context(), "f", "add both n")
				var f *FunctionError
				switch {
				case errors.As(err, &f) && f.Kind == FailConflict && strings.Contains(f.Message, `key "n" of table both`):
				case err != nil:
					t.Error(err)
					return
				case !strings.HasPrefix(got, "changed meanwhile"):
					done++
				}
			}
		})
	}
	group.Wait()
	if got := w.mustAsk(t, "f", "get both n"); got != fmt.Sprint(40) {
		t.Errorf("counted to %s", got)
	}
}

func TestStateGrants(t *testing.T) {
	many := make([]string, MaxState+1)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	for _, c := range []struct {
		grants []string
		ok     bool
	}{
		{many[:MaxState], true}, {many, false}, {[]string{"a", "shared:b", "a"}, true}, {[]string{"a", "shared:a"}, false},
		{[]string{"shared:"}, false}, {[]string{"private:a"}, false}, {[]string{""}, false}, {[]string{strings.Repeat("n", 64)}, true}, {[]string{strings.Repeat("n", 65)}, false},
	} {
		got, err := Config{State: c.grants}.normalize()
		if c.ok != (err == nil) || err == nil && len(got.State) > len(c.grants) {
			t.Errorf("%.80q: %q, %v", c.grants, got.State, err)
		}
	}
	change := Config{State: []string{"shared:a"}}.Against(Config{State: []string{"a"}})
	if change.Gained[0] != `use the shared state table "a"` || change.Lost[0] != `keep a state table "a" of its own` {
		t.Errorf("%+v", change)
	}
	if (Config{State: []string{"a"}}).equal(Config{}) {
		t.Error("state does not count")
	}
	w := open(t)
	if _, err := w.Deploy(t.Context(), "f", guests["remember"], Config{}); err == nil || !strings.Contains(err.Error(), "code imports shardmill.state_") {
		t.Errorf("%v", err)
	}
	w.deploy(t, "f", guests["remember"], Config{State: []string{"own"}})
	if got := w.mustAsk(t, "f", "get own k"); !strings.HasPrefix(got, "unavailable | ") {
		t.Errorf("a host without state: %s", got)
	}
}
