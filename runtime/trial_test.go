package runtime

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/sdk/record"
)

// try makes a direct invocation as a trial, and commits it.
func (w *world) try(t *testing.T, function, body string, trial Trial) (reply Reply, err error) {
	t.Helper()
	err = w.Invoke(t.Context(), Call{Function: function, Kind: KindInvoke, Body: []byte(body), Trial: &trial}, &reply)
	if err == nil {
		err = reply.Commit()
	}
	return reply, err
}

// What a trial emits is told and not put; it is in no list, metric or log; and what it may not emit is refused.
func TestTrialEmitsNothing(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Emit: []string{"out"}, Concurrency: 1})
	reply, err := w.try(t, "probe", "emit out a record", Trial{Tables: "t"})
	if err != nil || reply.Emitted != 0 || reply.Fuel == 0 || reply.Duration == 0 || reply.Version != 1 {
		t.Fatalf("%+v, %v", reply, err)
	}
	n := 0
	for stream, run := range reply.Outputs() {
		r := run.First()
		if n++; stream != "out" || string(r.Key) != "key" || string(r.Data) != "a record" {
			t.Errorf("%s: %s %s", stream, r.Key, r.Data)
		}
	}
	if n != 1 {
		t.Errorf("%d outputs", n)
	}
	_, err = w.try(t, "probe", "emit other a record", Trial{Tables: "t"})
	failure(t, err, FailDenied)
	_, err = w.try(t, "probe", "log 3", Trial{Tables: "t"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.try(t, "probe", "error as it is", Trial{Tables: "t"})
	failure(t, err, FailError)
	if got := w.past(t, "probe", false); len(got) != 0 {
		t.Errorf("invocations: %+v", got)
	}
	if got := w.lines(t, "probe"); len(got) != 0 {
		t.Errorf("log lines: %+v", got)
	}
	f, err := w.Get("probe")
	if err != nil || f.Invocations != 0 || f.Failures != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	var unused Reply
	err = w.Invoke(t.Context(), Call{Function: "probe", Kind: KindWindowClose, Trial: &Trial{Tables: "t"}}, &unused)
	if err == nil || !strings.Contains(err.Error(), ErrUnsupported.Error()) {
		t.Errorf("a kind that it does not handle: %v", err)
	}
}

// A trial needs none of the instances that serve, and they none of its.
func TestTrialHoldsUpNothing(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Concurrency: 1, Timeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		var reply Reply
		done <- w.Invoke(ctx, Call{Function: "probe", Kind: KindInvoke, Body: []byte("spin"), Trial: &Trial{Tables: "t"}}, &reply)
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for w.instances("probe") == 0 {
		<-tick.C
	}
	if got := w.mustAsk(t, "probe", "echo x"); got != "x" {
		t.Error(got)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("it has ended by itself")
	}
	if _, err := w.try(t, "probe", "echo x", Trial{Tables: "t"}); err != nil {
		t.Error(err)
	}
	w.deploy(t, "probe", guests["touch"], Config{}) // its instances go with the version
	if n := w.instances("probe"); n != 0 {
		t.Errorf("%d instances are left of a version that is superseded", n)
	}
}

// Two trials that share a tape have the same time and the same random numbers, and sleep for as long as they ask.
func TestTrialsShareATape(t *testing.T) {
	w := open(t)
	for _, name := range []string{"a", "b"} {
		w.deploy(t, name, guests["probe"], Config{Concurrency: 1})
	}
	roll := func(function string, trial Trial) string {
		t.Helper()
		trial.Tables = "t"
		reply, err := w.try(t, function, "dice", trial)
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Fields(string(reply.Body))
		words[2] = "" // the time since the instance was made
		return strings.Join(words, " ")
	}
	for range 3 {
		tape := new(Tape)
		first := roll("a", Trial{Note: tape})
		if second := roll("b", Trial{Play: tape}); first != second {
			t.Errorf("%s, and then %s", first, second)
		}
		if third := roll("b", Trial{Play: tape}); first == third {
			t.Errorf("always %s", first)
		}
		roll("a", Trial{})
	}
	slept, err := w.try(t, "a", "sleep 20", Trial{Tables: "t", Play: new(Tape)})
	if err != nil || slept.Duration < 20*time.Millisecond {
		t.Errorf("slept for %v, %v", slept.Duration, err)
	}
}

// A trial has tables of its own, which keep what it commits, and nothing of the others.
func TestTrialTables(t *testing.T) {
	w, s := openState(t, state.Options{})
	w.mustAsk(t, "f", "put own k real")
	w.mustAsk(t, "f", "put both k real")
	tape := new(Tape) // has clocks and random numbers, and none of what a table has answered
	say := func(tables, line string, commit bool) string {
		t.Helper()
		var reply Reply
		trial := Trial{Tables: tables, Note: tape}
		if tables == "b" {
			trial.Note, trial.Play = nil, tape
		}
		err := w.Invoke(t.Context(), Call{
			Function: "f", Kind: KindBatch, Source: Source{Mapping: "m", Stream: "s", Shard: 1}, Records: []record.Run{records(t, "k", line)},
			Trial: &trial,
		}, &reply)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if commit {
			if err := reply.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		return reply.Outcomes[0].Reason
	}
	for _, c := range []struct {
		tables, line string
		commit       bool
		want         string
	}{
		{"a", "list own", true, ""},
		{"a", "list both", true, ""},
		{"a", "put own k 1", true, "done"},
		{"a", "put both k 2", true, "done"},
		{"a", "put own k 3", false, "done"},
		{"a", "get own k", true, "1"},
		{"a", "get both k", true, "2"},
		{"b", "list own", true, ""},
		{"b", "list both", true, ""},
		{"b", "add both n", true, "1"},
		{"b", "put both k 4", true, "done"},
		{"a", "get both k", true, "2"},
		{"b", "get both k", true, "4"},
	} {
		if got := say(c.tables, c.line, c.commit); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.line, c.tables, got, c.want)
		}
	}
	if got := w.mustAsk(t, "f", "get own k") + w.mustAsk(t, "f", "get both k"); got != "realreal" {
		t.Errorf("the real tables have %s", got)
	}
	if err := w.KeepTrials(func(tables string) bool { return tables == "b" }); err != nil {
		t.Fatal(err)
	}
	if got := say("a", "list own", true) + say("a", "list both", true) + say("b", "get both n", true); got != "1" {
		t.Errorf("after the trial a was dropped: %s", got)
	}
	if n := len(s.Tables()); n != 3 {
		t.Errorf("%d tables are left: %+v", n, s.Tables())
	}
}

// A table that is full fails the trial, as it would fail the call.
func TestTrialThatCannotCommit(t *testing.T) {
	w, _ := openState(t, state.Options{TableBytes: 64 << 10})
	_, err := w.try(t, "f", "fill own k "+strings.Repeat("x", 100), Trial{Tables: "t"})
	f := failure(t, err, FailRefused)
	if f.Function != "f" || f.Version != 1 {
		t.Errorf("%+v", f)
	}
	if err := new(Reply).Commit(); err != nil {
		t.Error(err)
	}
	if err := open(t).KeepTrials(nil); err != nil {
		t.Error(err)
	}
}

// What trials keep is bounded by itself: both sides are told the same, and what serves has room.
func TestTrialsKeepLittle(t *testing.T) {
	w, _ := openState(t, state.Options{TrialBytes: 64 << 10})
	var says []string
	for _, side := range []string{"a/serving", "a/shadow"} {
		_, err := w.try(t, "f", "fill own k "+strings.Repeat("x", 100), Trial{Tables: side})
		says = append(says, failure(t, err, FailRefused).Message)
	}
	if says[0] != says[1] || !strings.Contains(says[0], "the tables of either version of a shadow may have 65536 bytes together") {
		t.Errorf("%q", says)
	}
	w.mustAsk(t, "f", "fill own k "+strings.Repeat("x", 100))
}

// A trial sends what can do no harm, and that only where it may; the rest is counted.
func TestTrialRequests(t *testing.T) {
	w := open(t, func(o *Options) { o.Doors.HTTP = web{} })
	w.deploy(t, "f", guests["fetch"], Config{HTTP: []string{"GET,POST https://a.example"}})
	for _, c := range []struct {
		http    bool
		request string
		want    string
		refused uint64
	}{
		{false, "GET https://a.example/x", "unavailable | fetch: unavailable: no answer from https://a.example:443: a call that is only compared makes no such request", 1},
		{true, "GET https://a.example/x", "201 1 GET sent", 0},
		{true, "POST https://a.example/x", "makes no such request", 1},
		{true, "GET https://b.example/x", "not granted", 0},
	} {
		var refused atomic.Uint64
		reply, err := w.try(t, "f", c.request, Trial{Tables: "t", HTTP: c.http, Refused: &refused})
		if err != nil || !strings.Contains(string(reply.Body), c.want) || refused.Load() != c.refused {
			t.Errorf("%+v: %s, %v, %d refused", c, reply.Body, err, refused.Load())
		}
	}
	if got := w.mustAsk(t, "f", "POST https://a.example/x"); got != "201 1 POST sent" {
		t.Errorf("a real call after them: %s", got)
	}
}
