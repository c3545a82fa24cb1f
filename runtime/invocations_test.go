package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
)

// notebook is a History in memory.
type notebook struct {
	mu    sync.Mutex
	early [][]byte // of an earlier program
	notes map[string][]byte
	puts  int
	fail  error
}

func (n *notebook) Put(_ context.Context, key string, note []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return n.fail
	}
	if n.notes == nil {
		n.notes = map[string][]byte{}
	}
	n.notes[key] = slices.Clone(note)
	n.puts++
	return nil
}

func (n *notebook) Forget(_ context.Context, key string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if key == catalog.EarlyKey {
		n.early = nil
	}
	delete(n.notes, key)
	return n.fail
}

func (n *notebook) Notes(_ context.Context, take func(key string, note []byte)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, note := range n.early {
		take(catalog.EarlyKey, note)
	}
	for key, note := range n.notes {
		take(key, slices.Clone(note))
	}
	return n.fail
}

// copy is what a host that is killed now leaves.
func (n *notebook) copy() *notebook {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &notebook{early: slices.Clone(n.early), notes: maps.Clone(n.notes)}
}

// keys are those with a prefix.
func (n *notebook) keys(prefix string) (out []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key := range n.notes {
		if strings.HasPrefix(key, prefix) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

func remembering(n *notebook) func(*Options) { return func(o *Options) { o.History = n } }

func (w *world) past(t testing.TB, name string, failed bool) (out []Invocation) {
	t.Helper()
	all, err := w.Invocations(t.Context(), name, failed, false)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(all)
}

func TestInvocationsAreRemembered(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Emit: []string{"out"}})
	var reply Reply
	source := Source{Mapping: "m", Stream: "s", Shard: 3, First: 7, Last: 8}
	err := w.Invoke(t.Context(), Call{Function: "probe", Kind: KindBatch, Source: source, Attempt: 2, Records: []record.Run{records(t, "k", "a", "b")}}, &reply)
	if err != nil {
		t.Fatal(err)
	}
	batch := reply.Invocation
	if _, err := w.ask(t.Context(), "probe", "panic the message"); err == nil {
		t.Fatal("it did not panic")
	}
	got := w.past(t, "probe", false)
	if len(got) != 2 {
		t.Fatalf("%d are remembered: %+v", len(got), got)
	}
	first, second := got[0], got[1]
	if first.ID != batch || first.Source != source || first.Attempt != 2 || first.Records != 2 || first.Kind != KindBatch || first.Version != 1 ||
		first.Outcome != "ok" || first.Failed() || first.Duration() <= 0 || first.MemoryPeak <= 0 || first.Fuel <= 0 || first.Started.IsZero() {
		t.Errorf("the batch is %+v", first)
	}
	if second.Kind != KindInvoke || second.Outcome != string(FailError) || !second.Failed() || second.Message != "the message" || second.Stack == "" || second.Source != (Source{}) {
		t.Errorf("the panic is %+v", second)
	}
	if failed := w.past(t, "probe", true); len(failed) != 1 || failed[0].ID != second.ID {
		t.Errorf("failed are %+v", failed)
	}
	if _, err := w.Invocations(t.Context(), "none", false, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no function: %v", err)
	}
}

// A failure is not pushed out by what goes well after it.
func TestFailuresAreKeptBesideTheRecent(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", constant(t, "x"), Config{})
	if _, err := w.Reserve(t.Context(), "f", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ask(t.Context(), "f", ""); !errors.Is(err, ErrThrottled) {
		t.Fatal(err)
	}
	if _, err := w.Reserve(t.Context(), "f", Unreserved); err != nil {
		t.Fatal(err)
	}
	for range 2 * KeptInvocations {
		w.mustAsk(t, "f", "")
	}
	if n := len(w.past(t, "f", false)); n != KeptInvocations {
		t.Errorf("%d of the recent are kept", n)
	}
	if failed := w.past(t, "f", true); len(failed) != 1 || failed[0].Outcome != outcomeThrottled {
		t.Errorf("failed are %+v", failed)
	}
}

func TestInvocationsOutliveARestart(t *testing.T) {
	book := &notebook{}
	w := open(t, remembering(book))
	w.deploy(t, "f", constant(t, "x"), Config{})
	w.deploy(t, "g", guests["probe"], Config{})
	for range 5 {
		w.mustAsk(t, "f", "")
	}
	if err := w.diary.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _ = w.ask(t.Context(), "g", "panic")
	w.mustAsk(t, "f", "")
	want, wantFailed := w.past(t, "f", false), w.past(t, "g", true)
	if err := w.Close(t.Context()); err != nil { // notes the rest
		t.Fatal(err)
	}
	puts := book.puts

	w = reopen(t, w.stores, remembering(book))
	if got := w.past(t, "f", false); fmt.Sprint(ids(got)) != fmt.Sprint(ids(want)) || len(got) != 6 {
		t.Errorf("of f %v are there, want %v", ids(got), ids(want))
	}
	if got := w.past(t, "g", true); len(got) != 1 || got[0].ID != wantFailed[0].ID || got[0].Stack != wantFailed[0].Stack || !got[0].Started.Equal(wantFailed[0].Started) {
		t.Errorf("of g %+v is there, want %+v", got, wantFailed)
	}
	if err := w.diary.write(t.Context()); err != nil || book.puts != puts {
		t.Errorf("what was noted is noted again: %d notes, %d before, %v", book.puts, puts, err)
	}

	// A function that is deleted takes its past along, whatever is made under its name later.
	if err := w.Delete(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	w.deploy(t, "f", constant(t, "y"), Config{})
	w.mustAsk(t, "f", "")
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, w.stores, remembering(book))
	if got := w.past(t, "f", false); len(got) != 1 {
		t.Errorf("of the new f %d are there", len(got))
	}
}

func ids(past []Invocation) (out []string) {
	for _, i := range past {
		out = append(out, i.ID)
	}
	return out
}

// Whatever the notes have become, the functions serve; and a history that fails costs no call anything.
func TestDamagedNotesAreLost(t *testing.T) {
	book := &notebook{early: [][]byte{nil, []byte("{"), []byte(`{"invocations":[{"id":"a","function":"f","outcome":"ok"},{"id":"b","function":"gone"}]}`), []byte(`[]`), []byte(`{"deleted":5}`)}}
	w := open(t)
	w.deploy(t, "f", constant(t, "x"), Config{})
	page, err := pack(note{Number: 3, Invocations: []notedInvocation{{Invocation: Invocation{ID: "c", Function: "f", Outcome: "ok"}}}})
	if err != nil {
		t.Fatal(err)
	}
	bomb, err := pack(note{Number: 4, Deleted: strings.Repeat("x", 2*maxPageText)})
	if err != nil {
		t.Fatal(err)
	}
	book.notes = map[string][]byte{"ok.f": page[:len(page)-9], "failed.f": bomb, "ok.": page, "ok.gone": []byte("x"), "failed.gone": page, "round.0": nil, "round.1": []byte(`{"n":-1}`), "odd": []byte("{}")}
	w = reopen(t, w.stores, remembering(book))
	if got := w.past(t, "f", false); len(got) != 1 || got[0].ID != "a" {
		t.Errorf("%+v", got)
	}
	book.fail = errors.New("disk full")
	w.mustAsk(t, "f", "")
	if err := w.diary.write(t.Context()); err == nil {
		t.Error("the failure of the history was swallowed")
	}
	w = reopen(t, w.stores, remembering(book))
	w.mustAsk(t, "f", "")
}

func TestInvocationsAreFollowed(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", constant(t, "x"), Config{})
	w.mustAsk(t, "f", "")
	all, err := w.Invocations(t.Context(), "f", false, true)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for range all {
		if seen++; seen == 3 {
			if err := w.Delete(t.Context(), "f"); err != nil { // ends it
				t.Fatal(err)
			}
			continue
		}
		if seen > 3 {
			t.Fatal("it goes on after the function was deleted")
		}
		w.mustAsk(t, "f", "")
	}
	if seen != 3 {
		t.Errorf("%d were seen", seen)
	}
}

func TestNotesAreShort(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"short", "short"}, {"exactly te", "exactly te"}, {"longer than ten", "longer tha… (5 bytes more)"}, {"nine byteä!", "nine byte… (3 bytes more)"},
	} {
		if got := cutText(tt.in, 10); got != tt.want {
			t.Errorf("%q became %q, want %q", tt.in, got, tt.want)
		}
	}
	book := &notebook{}
	w := open(t, remembering(book))
	w.deploy(t, "f", guests["probe"], Config{})
	f, err := w.function("test", "f")
	if err != nil {
		t.Fatal(err)
	}
	huge := &FunctionError{Kind: FailError, Message: strings.Repeat("m", 1<<20), Stack: strings.Repeat("s", 1<<20)}
	for n := range 2 * KeptInvocations {
		f.record(&Call{}, &Reply{Invocation: fmt.Sprint(n)}, time.Now(), huge)
	}
	if err := w.Close(t.Context()); err != nil || len(book.notes) == 0 { // all is noted then, and nobody writes any more
		t.Errorf("%d notes: %v", len(book.notes), err)
	}
	for key, note := range book.notes {
		if len(note) > maxRoundBytes+2*maxNotedStack || len(note) > maxPageBytes && !strings.HasPrefix(key, roundPrefix) {
			t.Errorf("%s has %d bytes", key, len(note))
		}
	}
}
