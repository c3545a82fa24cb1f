package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/abi"
)

// desk is a diary and the functions that it is of, without a runtime.
type desk struct {
	*diary
	book *notebook
	all  []*function
	now  time.Time
	made int
}

func newDesk(book *notebook) *desk {
	k := &desk{book: book, now: time.Unix(1e9, 0)}
	k.restart()
	return k
}

// restart is a new host's diary after the one before was killed; functions are what they were, and know nothing.
func (k *desk) restart() {
	k.diary = &diary{
		history: k.book, functions: func() []*function { return k.all }, log: slog.New(slog.DiscardHandler), turn: make(chan struct{}, 1), next: 1,
		stored: func(name string) bool { return k.find(name) != nil },
	}
	for n, f := range k.all {
		k.all[n] = &function{name: f.name, past: newPast(), logs: newLogRing(DefaultLogBytes)}
	}
}

func (k *desk) find(name string) *function {
	for _, f := range k.all {
		if f.name == name {
			return f
		}
	}
	return nil
}

func (k *desk) add(name string) *function {
	f := &function{name: name, past: newPast(), logs: newLogRing(DefaultLogBytes)}
	k.all = append(k.all, f)
	return f
}

func (k *desk) remove(t testing.TB, name string) {
	f := k.find(name)
	k.all = slices.DeleteFunc(k.all, func(f *function) bool { return f.name == name })
	f.past.close(true)
	k.bury(t.Context(), f)
}

// call has something become of a call of a function.
func (k *desk) call(f *function, failed bool, lines ...string) {
	k.made++
	k.now = k.now.Add(time.Millisecond)
	i := Invocation{ID: fmt.Sprint(k.made), Function: f.name, Version: 1, Started: k.now, Outcome: outcomeOK, LogLines: len(lines)}
	if failed {
		i.Outcome, i.Message = outcomeThrottled, "the message"
	}
	for _, l := range lines {
		f.logs.append(LogLine{Time: k.now, Function: f.name, Version: 1, Invocation: i.ID, Level: abi.LevelInfo, Message: l})
	}
	f.past.add(&i)
}

func (k *desk) mustWrite(t testing.TB) {
	t.Helper()
	if err := k.write(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// kept are the ids of what a function keeps of all, and of those that failed.
func (f *function) kept() [2][]string {
	every := func(*Invocation) bool { return true }
	return [2][]string{ids(f.past.recent.newest(every)), ids(f.past.failed.newest(every))}
}

// However many calls others have, what is noted of a quiet function is there after a host was killed: its last calls, those that failed, and their lines.
func TestBusyFunctionsPushOutNothing(t *testing.T) {
	k := newDesk(&notebook{})
	quiet, once, busy := k.add("quiet"), k.add("once"), k.add("busy")
	for n := range 7 {
		k.call(quiet, n == 2, "line of "+fmt.Sprint(n))
	}
	k.call(once, true)
	for n := range 2*rounds + 10 {
		for range 1 + n%150 { // with rounds and pages in turn
			k.call(busy, n%7 == 0)
		}
		k.mustWrite(t)
	}
	want := map[string][2][]string{}
	for _, f := range k.all {
		want[f.name] = f.kept()
	}
	if n := len(k.book.keys(roundPrefix)); n > rounds {
		t.Errorf("%d rounds are kept", n)
	}
	k.restart()
	k.remember(t.Context())
	for _, f := range k.all {
		if got := f.kept(); fmt.Sprint(got) != fmt.Sprint(want[f.name]) {
			t.Errorf("of %s are there %v, want %v", f.name, got, want[f.name])
		}
	}
	if lines := k.find("quiet").logs.newest(func(*LogLine) bool { return true }); len(lines) != 7 || lines[6].Message != "line of 6" {
		t.Errorf("lines %v", lines)
	}
}

// Whatever happens in whatever order, a host that is killed leaves what it noted last of each function, and nothing of functions that were deleted.
func TestDiaryAgainstAModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		k := newDesk(&notebook{})
		ticker := k.add("ticker")
		noted := map[string][2][]string{}
		write := func() {
			k.mustWrite(t)
			for _, f := range k.all {
				noted[f.name] = f.kept()
			}
		}
		names := rapid.SampledFrom([]string{"a", "b", "c.d", "C-d"})
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			name := names.Draw(r, "name")
			f := k.find(name)
			switch what := rapid.IntRange(0, 9).Draw(r, "what"); {
			case f == nil:
				k.add(name)
				noted[name] = [2][]string{}
			case what == 0:
				full := rapid.Bool().Draw(r, "full")
				if full {
					k.book.fail = errors.New("disk full")
				}
				k.remove(t, name)
				k.book.fail = nil
				delete(noted, name)
				if full {
					if rapid.Bool().Draw(r, "again") {
						f = k.add(name)
						for range rapid.IntRange(0, 150).Draw(r, "calls") {
							k.call(f, rapid.Bool().Draw(r, "failed"))
						}
					}
					write()
				}
			case what <= 2:
				for range rapid.IntRange(1, 150).Draw(r, "rounds") {
					k.call(ticker, false)
					write()
				}
			case what == 3:
				k.restart()
				k.remember(t.Context())
				ticker = k.find("ticker")
				for _, f := range k.all {
					if got := f.kept(); fmt.Sprint(got) != fmt.Sprint(noted[f.name]) {
						r.Fatalf("of %s are there %v, want %v", f.name, got, noted[f.name])
					}
				}
			default:
				for range rapid.IntRange(1, 150).Draw(r, "calls") {
					k.call(f, rapid.Bool().Draw(r, "failed"))
				}
				if rapid.Bool().Draw(r, "write") {
					write()
				}
			}
		}
	})
}

// A function that is deleted leaves nothing, also where the host ends before that is noted; and the empty pages go.
func TestDeletedFunctionsAreForgotten(t *testing.T) {
	k := newDesk(&notebook{})
	k.add("ticker")
	for _, name := range []string{"noted", "paged", "never"} {
		k.add(name)
	}
	k.call(k.find("noted"), true)
	for range KeptInvocations {
		k.call(k.find("paged"), false)
	}
	k.mustWrite(t)
	if got := k.book.keys(okPrefix); !slices.Equal(got, []string{"ok.paged"}) {
		t.Fatalf("pages of %q", got)
	}
	for _, name := range []string{"paged", "never"} {
		k.remove(t, name)
	}
	k.all = slices.DeleteFunc(k.all, func(f *function) bool { return f.name == "noted" }) // and the host is killed
	k.restart()
	k.remember(t.Context())
	if got := append(k.book.keys(okPrefix), k.book.keys(failedPrefix)...); !slices.Equal(got, []string{"failed.noted"}) {
		t.Errorf("pages of %q, want an empty one", got)
	}
	k.add("noted")
	k.restart()
	k.remember(t.Context())
	if got := k.find("noted").kept(); len(got[0])+len(got[1]) > 0 {
		t.Errorf("the new function has %v", got)
	}
	k.all = k.all[:1]
	k.restart()
	k.remember(t.Context())
	ticker := k.find("ticker")
	for range 2 * rounds {
		k.call(ticker, false)
		k.mustWrite(t)
	}
	if got := k.book.keys(failedPrefix); len(got) > 0 {
		t.Errorf("pages of %q are left", got)
	}

	// One that comes and goes again and again: the first page must not take the last one along.
	last := uint64(0)
	for n := range rounds + rounds/2 {
		if f := k.add("again"); n < rounds/2 {
			k.call(f, true)
			last = k.next
		}
		k.call(ticker, true)
		k.mustWrite(t)
		k.remove(t, "again")
		if left := len(k.book.keys("failed.again")); left == 0 && k.next <= last+rounds {
			t.Fatalf("the page is gone before round %d, which has a call, is", last)
		}
	}
}

// A function has nothing of those that had its name before the last one either.
func TestThirdFunctionOfAName(t *testing.T) {
	k := newDesk(&notebook{})
	k.call(k.add("f"), false)
	k.mustWrite(t)
	k.remove(t, "f")
	f := k.add("f")
	for range KeptInvocations {
		k.call(f, false)
	}
	k.mustWrite(t) // a page, and nothing in rounds
	k.remove(t, "f")
	k.add("f")
	k.restart()
	k.remember(t.Context())
	if got := k.find("f").kept(); len(got[0]) > 0 {
		t.Errorf("the third one has %v", got)
	}
}

// A function's past goes with it, though who asked for that has hung up.
func TestBurialOutlivesTheRequest(t *testing.T) {
	k := newDesk(&notebook{})
	f := k.add("f")
	for range KeptInvocations {
		k.call(f, false)
	}
	k.mustWrite(t)
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	k.all = nil
	f.past.close(true)
	k.turn <- struct{}{} // somebody writes
	buried := make(chan struct{})
	go func() {
		defer close(buried)
		k.bury(ctx, f)
	}()
	k.give()
	<-buried
	k.add("f")
	k.restart()
	k.remember(t.Context())
	if got := k.find("f").kept(); len(got[0]) > 0 {
		t.Errorf("the new function has %v", got)
	}
}

// A function that is deleted while the disk is full is forgotten when it is not, whether there is a new one of its name or not.
func TestBurialIsTriedAgain(t *testing.T) {
	k := newDesk(&notebook{})
	for _, name := range []string{"paged", "loose", "both"} {
		f := k.add(name)
		for n := range KeptInvocations {
			if name != "loose" || n < 2 {
				k.call(f, n%2 == 0)
			}
		}
		k.mustWrite(t)
	}
	for n := range 2 {
		k.call(k.find("both"), n == 0)
	}
	k.mustWrite(t)
	k.book.fail = errors.New("disk full")
	for _, name := range []string{"paged", "loose", "both"} {
		k.remove(t, name)
	}
	k.add("loose")
	k.call(k.add("both"), true)
	if err := k.write(t.Context()); !errors.Is(err, k.book.fail) {
		t.Fatal(err)
	}
	k.book.fail = nil
	k.mustWrite(t)
	want := fmt.Sprint(k.find("both").kept())
	k.add("paged")
	k.restart()
	k.remember(t.Context())
	for name, want := range map[string]string{"paged": "[[] []]", "loose": "[[] []]", "both": want} {
		if got := fmt.Sprint(k.find(name).kept()); got != want {
			t.Errorf("of %s there are %s, want %s", name, got, want)
		}
	}
}

// What an earlier program has noted is moved, once.
func TestEarlyNotesAreMoved(t *testing.T) {
	early := func(function, id string, second int, outcome string) string {
		return fmt.Sprintf(`{"invocations":[{"id":%q,"function":%q,"version":1,"outcome":%q,"started":"2026-01-02T03:04:%02dZ","logLines":1,"lines":[{"t":"2026-01-02T03:04:05Z","m":"line"}]}]}`, id, function, outcome, second)
	}
	book := &notebook{}
	for _, text := range []string{early("f", "old", 1, "ok"), `{"deleted":"f"}`, early("f", "b", 2, "error"), early("gone", "x", 3, "ok"), early("f", "c", 3, "ok"), early("g", "d", 4, "ok")} {
		book.early = append(book.early, []byte(text))
	}
	k := newDesk(book)
	k.add("f")
	k.add("g")
	book.fail = errors.New("disk full")
	k.remember(t.Context())
	if len(book.early) != 6 {
		t.Fatal("they are removed and are nowhere")
	}
	book.fail = nil
	for range 2 {
		k.restart()
		k.remember(t.Context())
		if got := fmt.Sprint(k.find("f").kept(), k.find("g").kept()); got != "[[b c] [b]] [[d] []]" {
			t.Errorf("there are %s", got)
		}
		if lines := k.find("f").logs.newest(func(*LogLine) bool { return true }); len(lines) != 3 { // and what failed
			t.Errorf("lines %v", lines)
		}
		if len(book.early) > 0 {
			t.Error("they are still there")
		}
	}
}

// What could not be noted is, when it can be.
func TestNotesAreTriedAgain(t *testing.T) {
	k := newDesk(&notebook{})
	f, g := k.add("f"), k.add("g")
	k.call(f, false)
	for range KeptInvocations {
		k.call(g, true)
	}
	k.book.fail = errors.New("disk full")
	if err := k.write(t.Context()); !errors.Is(err, k.book.fail) {
		t.Fatal(err)
	}
	k.book.fail = nil
	k.mustWrite(t)
	want := fmt.Sprint(f.kept(), g.kept())
	k.restart()
	k.remember(t.Context())
	if got := fmt.Sprint(k.all[0].kept(), k.all[1].kept()); got != want {
		t.Errorf("there are %s, want %s", got, want)
	}

	// A host that could not read them notes what comes, whatever the pages say that it has not seen.
	k.book.fail = errors.New("unreadable")
	k.restart()
	k.remember(t.Context())
	k.book.fail = nil
	k.call(k.find("g"), true)
	k.mustWrite(t)
	k.restart()
	k.remember(t.Context())
	if got := k.find("g").kept()[1]; len(got) != KeptInvocations || got[KeptInvocations-1] != fmt.Sprint(k.made) {
		t.Errorf("there are %v, and not the last", got)
	}
}

// Pages have a limit, which takes lines, then stacks, then the oldest.
func TestPagesAreBounded(t *testing.T) {
	random := func(size int) string {
		text := make([]byte, size)
		for n := range text {
			text[n] = ' ' + byte(rand.IntN(90))
		}
		return string(text)
	}
	k := newDesk(&notebook{})
	f := k.add("f")
	for range KeptInvocations {
		k.call(f, true, random(500))
	}
	f.past.failed.mu.Lock()
	for n := range f.past.failed.values {
		f.past.failed.values[n].Stack = random(maxNotedStack)
	}
	f.past.failed.mu.Unlock()
	all, _ := f.past.series[1].read(0)
	for _, tt := range []struct {
		most, invocations int
		stacks, lines     bool
	}{
		{2 << 20, KeptInvocations, true, true},
		{120 << 10, KeptInvocations, true, true}, // shorter
		{60 << 10, KeptInvocations, true, false},
		{2 << 10, KeptInvocations / 4, false, false},
		{300, 1, false, false},
		{10, 1, false, false}, // as short as it can be
	} {
		text, err := f.pageOf(all, 5, tt.most)
		if err != nil || len(text) > max(tt.most, 200) {
			t.Fatalf("a page of at most %d has %d bytes: %v", tt.most, len(text), err)
		}
		n, err := unpack(text, true)
		if err != nil || n.Number != 5 || len(n.Invocations) != tt.invocations {
			t.Fatalf("a page of at most %d has %d invocations: %v", tt.most, len(n.Invocations), err)
		}
		last := n.Invocations[len(n.Invocations)-1]
		if last.ID != all[len(all)-1].ID || len(last.Stack) > 40 != tt.stacks || len(last.Lines) > 0 != tt.lines {
			t.Errorf("a page of at most %d ends with %.200v", tt.most, last)
		}
	}
	for functions, want := range map[int]int{0: maxPageBytes, 1000: maxPageBytes, 10_000: 11744, 1e6: leastPageBytes} {
		if got := pageBytes(functions); got != want {
			t.Errorf("of %d functions a page has %d bytes, want %d", functions, got, want)
		}
	}
}

// More than rounds have room for at once is paged, so that what others have there stays.
func TestManyInvocationsAtOnce(t *testing.T) {
	k := newDesk(&notebook{})
	quiet := k.add("quiet")
	k.call(quiet, false)
	k.mustWrite(t)
	for n := range 50 {
		f := k.add(fmt.Sprint("f", n))
		for range KeptInvocations - 1 {
			k.call(f, false)
		}
		f.past.recent.mu.Lock()
		for i := range f.past.recent.values {
			f.past.recent.values[i].ID = strings.Repeat("x", 4000) + f.past.recent.values[i].ID
		}
		f.past.recent.mu.Unlock()
	}
	k.mustWrite(t)
	if pages, notes := len(k.book.keys(okPrefix)), len(k.book.keys(roundPrefix)); pages != 50 || notes != 1 {
		t.Errorf("%d pages and %d rounds", pages, notes)
	}
	for range rounds + 1 { // and what is old is not paged all at once
		k.call(quiet, false)
		before := k.book.puts
		k.mustWrite(t)
		if n := k.book.puts - before; n > pagesOnce+1 {
			t.Fatalf("%d notes at once", n)
		}
	}
}

// A busy and a thousand quiet functions; what a start has to read of them.
func BenchmarkRemember(b *testing.B) {
	k := newDesk(&notebook{})
	for n := range 1000 {
		f := k.add(fmt.Sprint("function-", n))
		for range KeptInvocations {
			k.call(f, n%10 == 0, "a line of its log")
		}
	}
	begun := time.Now()
	k.mustWrite(b)
	took, size := time.Since(begun), 0
	for _, note := range k.book.notes {
		size += len(note)
	}
	for b.Loop() {
		k.restart()
		k.remember(b.Context())
	}
	b.ReportMetric(float64(took.Microseconds())/1000, "µs/page")
	b.ReportMetric(float64(size)/1000, "B/page")
}

// FuzzNotes checks that whatever a disk has made of notes is read, or left out.
func FuzzNotes(f *testing.F) {
	page, err := pack(note{Number: 3, Invocations: []notedInvocation{{Invocation: Invocation{ID: "a", Function: "f", Outcome: outcomeOK}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(page, []byte(`{"n":4,"invocations":[{"id":"b","function":"f","outcome":"trap","lines":[{"m":"x"}]}]}`), []byte(`{"deleted":"f"}`))
	f.Add(page[:20], []byte(`{"n":18446744073709551615,"invocations":[{"function":""}]}`), []byte(`{"invocations":[{"function":"gone"}]}`))
	f.Fuzz(func(t *testing.T, page, round, early []byte) {
		k := newDesk(&notebook{notes: map[string][]byte{"ok.f": page, "failed.f": page, "round.9": round}, early: [][]byte{early}})
		f := k.add("f")
		k.remember(t.Context())
		k.call(f, true)
		k.mustWrite(t)
		want := f.kept()
		k.restart()
		k.remember(t.Context())
		if got := k.find("f").kept()[1]; len(got) == 0 || got[len(got)-1] != want[1][len(want[1])-1] {
			t.Errorf("there are %v, want %v", got, want)
		}
	})
}
