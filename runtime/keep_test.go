package runtime

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/sdk/record"
)

// shelf is a store of capsules in memory.
type shelf struct {
	mu   sync.Mutex
	kept []*capsule.Capsule
	fail error
	came chan struct{} // one for each Put
}

func newShelf() *shelf { return &shelf{came: make(chan struct{}, 100)} }

func (s *shelf) Put(c *capsule.Capsule) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.came <- struct{}{} }()
	if s.fail == nil {
		s.kept = append(s.kept, c)
	}
	return s.fail
}

// next waits for a capsule, as it is read from its file.
func (s *shelf) next(t *testing.T) *capsule.Capsule {
	t.Helper()
	select {
	case <-s.came:
	case <-time.After(time.Minute):
		t.Fatal("no capsule came")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	file, err := s.kept[len(s.kept)-1].Encode()
	if err != nil {
		t.Fatal(err)
	}
	c, err := capsule.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *shelf) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept)
}

func keeping(s *shelf) func(*Options) { return func(o *Options) { o.Capsules = s } }

// A call that is made of clocks, random numbers and the order of maps fails in the very same way when it is made again, as often
// as one likes.
func TestCapsuleReplaysByteForByte(t *testing.T) {
	s := newShelf()
	w := open(t, keeping(s))
	w.deploy(t, "f", guests["probe"], Config{Emit: []string{"out"}})
	for _, verb := range []string{"dice", "dice-fail"} {
		var reply Reply
		keep := &Keep{Failed: true, Sample: 1, Settings: []byte(`{"batchSize":3}`)}
		err := w.Invoke(t.Context(), Call{Function: "f", Kind: KindInvoke, Body: []byte(verb), Keep: keep, Source: Source{Mapping: "m"}}, &reply)
		c := s.next(t)
		if c.ID != reply.Invocation || c.Function != "f" || c.Version != 1 || c.Digest != digestOf(guests["probe"]) || c.Mapping != "m" ||
			string(c.Settings) != `{"batchSize":3}` || string(c.Call.Body) != verb || c.Limits.TimeoutMs != 3000 {
			t.Errorf("%s: the capsule is %+v", verb, c.Summary)
		}
		if len(c.Start.Random) == 0 || len(c.During.Wall) == 0 {
			t.Errorf("%s: the tapes hold %d and %d readings", verb, len(c.Start.Random), len(c.During.Wall))
		}
		if verb == "dice-fail" {
			if f := failure(t, err, FailError); c.Why != capsule.Failed || c.Result.Message != f.Message || c.Outcome != "error" {
				t.Errorf("the capsule is %+v of %v", c.Summary, err)
			}
		} else if err != nil || c.Why != capsule.Sampled || string(c.Result.Body) != string(reply.Body) {
			t.Errorf("the capsule is %+v, %v", c.Summary, err)
		}
		for range 3 {
			o, err := Replay(t.Context(), guests["probe"], c, ReplayOptions{CacheDir: compiled})
			if err != nil || o.Diverged() || !o.Same(&c.Again) {
				t.Errorf("%s: a replay came to %+v, want %+v; diverged %v, %v", verb, o, c.Again, o.Diverged(), err)
			}
		}
	}
}

// What depends on nothing but the call comes to the same again; what an instance remembers does not, and is said not to.
func TestCapsuleSaysWhetherItWasReproduced(t *testing.T) {
	s := newShelf()
	w := open(t, keeping(s))
	w.deploy(t, "f", guests["probe"], Config{})
	ask := func(body string) *capsule.Capsule {
		t.Helper()
		err := w.Invoke(t.Context(), Call{Function: "f", Kind: KindInvoke, Body: []byte(body), Keep: &Keep{Failed: true}}, new(Reply))
		failure(t, err, FailError)
		return s.next(t)
	}
	if c := ask("error plain"); !c.Reproduced || c.Again.Message != "plain" {
		t.Errorf("reproduced %v: %+v", c.Reproduced, c.Again)
	}
	c := ask("count-fail")
	if c.Reproduced || c.Result.Message != "call 2 of this instance" || c.Again.Message != "call 1 of this instance" {
		t.Errorf("reproduced %v: %+v, again %+v", c.Reproduced, c.Result, c.Again)
	}
}

// An instance that has made calls reads less than a new one; what that reads beyond is kept, so that every replay comes to the same.
func TestCapsuleOfAnInstanceThatRemembers(t *testing.T) {
	s := newShelf()
	w := open(t, keeping(s))
	w.deploy(t, "f", guests["probe"], Config{Concurrency: 1})
	call := Call{Function: "f", Kind: KindInvoke, Body: []byte("dice-later")}
	failure(t, w.Invoke(t.Context(), call, new(Reply)), FailError)
	call.Keep = &Keep{Failed: true}
	failure(t, w.Invoke(t.Context(), call, new(Reply)), FailError)
	c := s.next(t)
	if c.Reproduced || c.Again.Message == c.Result.Message {
		t.Errorf("reproduced %v: %q, again %q", c.Reproduced, c.Result.Message, c.Again.Message)
	}
	for range 3 {
		o, err := Replay(t.Context(), guests["probe"], c, ReplayOptions{CacheDir: compiled})
		if err != nil || o.Diverged() || !o.Same(&c.Again) {
			t.Errorf("a replay came to %q, want %q; diverged %v, %v", o.Message, c.Again.Message, o.Diverged(), err)
		}
	}
}

func TestCapsuleOfABatch(t *testing.T) {
	s := newShelf()
	w := open(t, keeping(s))
	w.deploy(t, "f", guests["probe"], Config{Timeout: 5 * time.Second})
	call := Call{
		Function: "f", Kind: KindBatch, Attempt: 1, Records: []record.Run{records(t, "k", "a"), records(t, "k", "fail", "c")},
		Source: Source{Mapping: "m", Stream: "s", Shard: 3, First: 7, Last: 9}, Keep: &Keep{Failed: true},
	}
	failure(t, w.Invoke(t.Context(), call, new(Reply)), FailError)
	c := s.next(t)
	if c.Records != 3 || c.First != 7 || c.Last != 9 || c.Shard != 3 || c.Stream != "s" || !c.Reproduced {
		t.Errorf("the capsule is %+v", c.Summary)
	}
	var data []string
	for r := range record.Batch(c.Call.Records).Run().All() {
		data = append(data, string(r.Data))
	}
	if strings.Join(data, " ") != "a fail c" {
		t.Errorf("it holds %q", data)
	}
	call.Attempt = 2
	failure(t, w.Invoke(t.Context(), call, new(Reply)), FailError)
	if n := s.count(); n != 1 {
		t.Errorf("the same batch that fails again made %d capsules", n)
	}

	// With code that does better the replay shows what it makes of the batch.
	o, err := Replay(t.Context(), guests["touch"], c, ReplayOptions{CacheDir: compiled})
	if err != nil || o.Kind != "ok" {
		t.Errorf("with other code: %+v, %v", o, err)
	}
	for name, code := range map[string][]byte{"no module": []byte("\x00no"), "no function": []byte("\x00asm\x01\x00\x00\x00")} {
		var refused *FieldError
		if _, err := Replay(t.Context(), code, c, ReplayOptions{}); !errors.As(err, &refused) || refused.Field != "code" {
			t.Errorf("with %s: %v", name, err)
		}
	}
}

func TestCapsuleOfACommand(t *testing.T) {
	s := newShelf()
	w := open(t, keeping(s))
	w.deploy(t, "c", guests["command"], Config{Secrets: []string{"token"}})
	err := w.Invoke(t.Context(), Call{Function: "c", Kind: KindInvoke, Body: []byte("exit 3"), Keep: &Keep{Failed: true}}, new(Reply))
	failure(t, err, FailExit)
	c := s.next(t)
	if !c.Reproduced || c.Result.ExitCode != 3 {
		t.Errorf("%+v", c)
	}
	if o, err := Replay(t.Context(), guests["command"], c, ReplayOptions{CacheDir: compiled}); err != nil || !o.Same(&c.Again) {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestWhatIsKept(t *testing.T) {
	retry := &Reply{Outcomes: []Outcome{{Index: 1, Result: ResultRetry}}}
	dropped := &Reply{Outcomes: []Outcome{{Index: 1, Result: ResultDropped}}}
	slow := &Reply{Duration: time.Second}
	for _, tt := range []struct {
		name  string
		keep  Keep
		reply *Reply
		err   error
		want  string
	}{
		{"a failure", Keep{Failed: true}, &Reply{}, &FunctionError{}, capsule.Failed},
		{"a failure that is not wanted", Keep{Sample: 1, Slow: 1}, slow, &FunctionError{}, ""},
		{"the host's failure", Keep{Failed: true, Sample: 1}, &Reply{}, ErrThrottled, ""},
		{"a record asked for again", Keep{Failed: true}, retry, nil, capsule.Failed},
		{"the same, not wanted", Keep{}, retry, nil, ""},
		{"an answer that asks for records again", Keep{Failed: true, Troubled: troubledBy("again")}, &Reply{Body: []byte("again")}, nil, capsule.Failed},
		{"one that does not", Keep{Failed: true, Troubled: troubledBy("again")}, &Reply{Body: []byte("fine")}, nil, ""},
		{"the same, not wanted", Keep{Troubled: troubledBy("again")}, &Reply{Body: []byte("again")}, nil, ""},
		{"a record dropped", Keep{Failed: true}, dropped, nil, ""},
		{"slow", Keep{Slow: time.Millisecond}, slow, nil, capsule.Slow},
		{"not slow enough", Keep{Slow: time.Minute}, slow, nil, ""},
		{"the lot", Keep{Sample: 1}, &Reply{}, nil, capsule.Sampled},
		{"nothing", Keep{}, &Reply{}, nil, ""},
	} {
		if got := tt.keep.why(tt.reply, tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func troubledBy(answer string) func([]byte) bool {
	return func(body []byte) bool { return string(body) == answer }
}

// The same records that fail in the same way are kept once, whichever door they went through; the ends of windows are told apart.
func TestWhatIsKeptOnce(t *testing.T) {
	v := newVersion(identity{function: "f", number: 3})
	call := 0
	name := func(why string, kind Kind, first uint64, end time.Time, outcome string) string {
		call++
		of := &Call{Kind: kind, Source: Source{Mapping: "m", First: first, Last: first}, Window: Window{End: end}}
		if kind == KindInvoke { // the event has the window
			of.Window, of.Keep = Window{}, &Keep{Window: end}
		}
		return keptAs(v, of, &Reply{Invocation: strconv.Itoa(call)}, why, &capsule.Outcome{Kind: outcome})
	}
	now := time.Now()
	for i, tt := range []struct {
		one, other string
		same       bool
	}{
		{name(capsule.Failed, KindBatch, 1, now, "error"), name(capsule.Failed, KindBatch, 1, now, "error"), true},
		{name(capsule.Failed, KindInvoke, 1, time.Time{}, "error"), name(capsule.Failed, KindInvoke, 1, time.Time{}, "error"), true},
		{name(capsule.Failed, KindInvoke, 1, time.Time{}, "error"), name(capsule.Failed, KindInvoke, 2, time.Time{}, "error"), false},
		{name(capsule.Failed, KindBatch, 1, now, "error"), name(capsule.Failed, KindBatch, 1, now, "trap"), false},
		{name(capsule.Failed, KindWindowClose, 0, now, "error"), name(capsule.Failed, KindWindowClose, 0, now, "error"), true},
		{name(capsule.Failed, KindWindowClose, 0, now, "error"), name(capsule.Failed, KindWindowClose, 0, now.Add(time.Minute), "error"), false},
		{name(capsule.Failed, KindInvoke, 0, time.Time{}, "error"), name(capsule.Failed, KindInvoke, 0, time.Time{}, "error"), false},
		{name(capsule.Failed, KindInvoke, 0, now, "error"), name(capsule.Failed, KindInvoke, 0, now, "error"), true},
		{name(capsule.Failed, KindInvoke, 0, now, "error"), name(capsule.Failed, KindInvoke, 0, now.Add(time.Minute), "error"), false},
		{name(capsule.Sampled, KindBatch, 1, now, "ok"), name(capsule.Sampled, KindBatch, 1, now, "ok"), false},
	} {
		if (tt.one == tt.other) != tt.same {
			t.Errorf("%d: %q and %q", i, tt.one, tt.other)
		}
	}
}

func TestKeeperLeavesOut(t *testing.T) {
	k := newKeeper()
	made := func() { _ = k.make(func() error { return nil }) }
	for n := range maxBegun {
		if !k.begin(strconv.Itoa(n)) {
			t.Fatalf("after %d that wait the next may not", n)
		}
	}
	if k.begin("more") {
		t.Errorf("%d wait", maxBegun+1)
	}
	made()
	if k.begin("0") || !k.begin("more") {
		t.Error("one that was kept is kept again, or a new one is not")
	}
	for range maxBegun {
		made()
	}
	for n := range 2 * maxSeen {
		if k.begin(strings.Repeat("x", n+1)) {
			made()
		}
	}
	if len(k.seen) > maxSeen || len(k.age) > maxSeen || !k.begin("0") {
		t.Errorf("%d are remembered", len(k.seen))
	}
}

// Calls that fail together are all kept, and made again one after the other.
func TestCapsulesOfABurst(t *testing.T) {
	s := newShelf()
	w := open(t, keeping(s))
	w.deploy(t, "f", guests["probe"], Config{})
	want := map[string]bool{}
	for n := range maxBegun {
		body := "error " + strconv.Itoa(n)
		failure(t, w.Invoke(t.Context(), Call{Function: "f", Kind: KindInvoke, Body: []byte(body), Keep: &Keep{Failed: true}}, new(Reply)), FailError)
		want[body] = true
	}
	for range maxBegun {
		s.next(t)
	}
	for _, c := range s.kept {
		if delete(want, string(c.Call.Body)); !c.Reproduced {
			t.Errorf("%q came to %+v, again %+v", c.Call.Body, c.Result, c.Again)
		}
	}
	if len(want) > 0 {
		t.Errorf("not kept: %v", want)
	}
}

// A store that fails costs the call nothing.
func TestCapsuleThatCannotBeKept(t *testing.T) {
	s := newShelf()
	s.fail = errors.New("disk full")
	w := open(t, keeping(s))
	w.deploy(t, "f", guests["probe"], Config{})
	err := w.Invoke(t.Context(), Call{Function: "f", Kind: KindInvoke, Body: []byte("error x"), Keep: &Keep{Failed: true}}, new(Reply))
	failure(t, err, FailError)
	<-s.came
	if got := w.mustAsk(t, "f", "echo fine"); got != "fine" {
		t.Errorf("it answers %q", got)
	}
}
