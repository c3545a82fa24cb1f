package runtime

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

func messages(lines []LogLine) (out []string) {
	for _, l := range lines {
		out = append(out, l.Level+" "+l.Invocation+" "+l.Message)
	}
	return out
}

// What a host that was killed has noted of a call's log is in the log of the next one, with what the call failed of.
func TestLogLinesOutliveAKill(t *testing.T) {
	book := &notebook{}
	w := open(t, remembering(book))
	w.deploy(t, "f", guests["probe"], Config{Concurrency: 1})
	for id, body := range map[string]string{"a": "print one\n{\"level\":\"WARN\",\"msg\":\"two\"}", "b": "panic the message", "c": "echo nothing"} {
		_ = w.Invoke(t.Context(), Call{Function: "f", Kind: KindInvoke, ID: id, Body: []byte(body)}, new(Reply))
	}
	if err := w.diary.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, past := w.lines(t, "f"), w.past(t, "f", false)
	w.mustAsk(t, "f", "print not noted") // and lost

	w = reopen(t, w.stores, remembering(book.copy()))
	got := w.lines(t, "f")
	if !slices.Equal(messages(got), messages(want)) {
		t.Errorf("lines are %q, want %q", messages(got), messages(want))
	}
	for n := range got {
		if got[n].Function != "f" || got[n].Version != 1 || n < len(want) && !got[n].failure && !got[n].Time.Equal(want[n].Time) {
			t.Errorf("line %+v, want %+v", got[n], want[n])
		}
	}
	for n, i := range w.past(t, "f", false) {
		count := 0
		for _, l := range got {
			if l.Invocation == i.ID {
				count++
			}
		}
		if i.LogLines != count || i.LogLines != past[n].LogLines {
			t.Errorf("of %s there are %d lines, it says %d and said %d", i.ID, count, i.LogLines, past[n].LogLines)
		}
	}
}

// A function that logs without end has a bounded part of the notes, the failures' lines first, and calls say how much was left out.
func TestNotedLinesAreBounded(t *testing.T) {
	book := &notebook{}
	w := open(t, remembering(book))
	w.deploy(t, "f", guests["probe"], Config{})
	_, err := w.ask(t.Context(), "f", "error first")
	failure(t, err, FailError)
	for range 10 {
		w.mustAsk(t, "f", "log 1500")
	}
	if err := w.diary.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, n := range book.notes {
		size += len(n)
	}
	if size > 3*maxNotedLines {
		t.Errorf("notes of %d bytes", size)
	}
	w = reopen(t, w.stores, remembering(book))
	lines := w.lines(t, "f")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last.Message, "500 more log lines were dropped") || lines[len(lines)-2].Message != "line 999" {
		t.Errorf("the log ends with %q", messages(lines[len(lines)-2:]))
	}
	if !strings.Contains(lines[0].Message, "first") || !lines[0].failure {
		t.Errorf("the log begins with %+v", lines[0])
	}
	for _, i := range w.past(t, "f", false)[1:] {
		if i.LogLines != maxInvocationLines+1 {
			t.Errorf("a call says it has logged %d lines", i.LogLines)
		}
	}
}

func TestWithLines(t *testing.T) {
	epoch := time.Unix(1e9, 0)
	call := func(id string, second int, outcome string, lines int) Invocation {
		return Invocation{ID: id, Started: epoch.Add(time.Duration(second) * time.Second), Outcome: outcome, LogLines: lines}
	}
	f := &function{logs: newLogRing(1 << 20)}
	say := func(id string, second int, size int, failure bool) {
		f.logs.append(LogLine{Time: epoch.Add(time.Duration(second) * time.Second), Invocation: id, Level: abi.LevelInfo, Message: strings.Repeat("x", size), failure: failure})
	}
	say("older", 0, 10, false)
	say("failed", 1, 900, false)
	say("failed", 1, 5000, true)
	say("ok", 2, 400, false)
	say("", -60, 10, false) // of the initialization in an upload's trial, told when an instance was made
	say("ok", 2, 500, false)
	say("newer", 3, 3000, false)
	all := []Invocation{call("failed", 1, "error", 2), call("quiet", 2, "ok", 0), call("ok", 2, "ok", 2), call("newer", 3, "ok", 1)}
	for _, tt := range []struct {
		most int
		want string
	}{
		{0, "failed:0 quiet:0 ok:0 newer:0"},
		{1000, "failed:1 quiet:0 ok:0 newer:0"},
		{1800, "failed:1 quiet:0 ok:1 newer:0"},             // the newer one's line is too long, the last of the other fits
		{900 + 2200 + 128, "failed:1 quiet:0 ok:0 newer:1"}, // cut to 2 KiB
		{1 << 20, "failed:1 quiet:0 ok:2 newer:1"},
	} {
		var got []string
		for _, i := range f.withLines(all, tt.most) {
			got = append(got, fmt.Sprintf("%s:%d", i.ID, len(i.Lines)))
			for _, l := range i.Lines {
				if len(l.Message) > maxNotedText+32 {
					t.Errorf("a line of %d bytes", len(l.Message))
				}
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("of %d bytes: %s, want %s", tt.most, got, tt.want)
		}
	}
	for range 100 {
		say("ok", 2, 500, false)
	}
	if i := f.withLines(all[2:3], 1<<20)[0]; len(i.Lines) != maxNotedLog/(500+lineCost) {
		t.Errorf("%d lines of one call are noted", len(i.Lines))
	}
}

// Noting costs nothing where nothing is logged: the log is not looked at, which here would be missed.
func TestQuietFunctionsAreNotRead(t *testing.T) {
	f := &function{}
	if got := f.withLines([]Invocation{{ID: "a"}, {ID: "b", Outcome: "error"}}, 1<<20); len(got) != 2 || got[0].ID != "a" || got[1].Lines != nil {
		t.Errorf("%+v", got)
	}
}

// Notes of earlier hosts have no lines; damaged ones have odd ones.
func TestOddLinesAreRead(t *testing.T) {
	book := &notebook{early: [][]byte{
		[]byte(`{"invocations":[{"id":"old","function":"f","version":1,"outcome":"trap","message":"m","stack":"s"}]}`),
		[]byte(`{"invocations":[{"id":"new","function":"f","outcome":"ok","lines":[{"m":"x"},{}]}]}`),
		[]byte(`{"invocations":[{"id":"bad","function":"f","outcome":"ok","lines":[{"m":5}]}]}`),
	}}
	w := open(t)
	w.deploy(t, "f", constant(t, "x"), Config{})
	w = reopen(t, w.stores, remembering(book))
	want := []string{"info new x", "info new ", "error old trap: m\ns"} // all at one time
	if got := messages(w.lines(t, "f")); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	book.fail = errors.New("unreadable")
	w = reopen(t, w.stores, remembering(book))
	if got := w.lines(t, "f"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
