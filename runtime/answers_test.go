package runtime

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// sampled makes a call that is kept, and waits for its capsule.
func (w *world) sampled(t *testing.T, s *shelf, call Call) (*capsule.Capsule, error) {
	t.Helper()
	call.Keep = &Keep{Failed: true, Sample: 1}
	err := w.Invoke(t.Context(), call, new(Reply))
	return s.next(t), err
}

// stateCall is a batch for a function of testdata/remember.
func stateCall(t testing.TB, lines ...string) Call {
	return Call{Function: "f", Kind: KindBatch, Source: Source{Mapping: "m", Stream: "s"}, Records: []record.Run{records(t, "k", lines...)}}
}

// said are the reasons that a replayed batch gave, by record.
func said(o *capsule.Outcome) (out []string) {
	for _, r := range o.Records {
		out = append(out, r.Reason)
	}
	return out
}

// same makes a capsule's call again with the same code, and wants it to come to the same in every respect.
func same(t *testing.T, code []byte, c *capsule.Capsule, secrets map[string][]byte) {
	t.Helper()
	if !c.Reproduced {
		t.Errorf("it was not reproduced: %+v, then %+v", c.Result, c.Again)
	}
	r, err := Replay(t.Context(), code, c, ReplayOptions{CacheDir: compiled, Secrets: secrets})
	if err != nil || r.Diverged() || r.Left != 0 || !r.Same(&c.Again) {
		t.Errorf("a replay came to %+v, want %+v; %v", r, c.Again, err)
	}
}

// A call that uses state comes to the same again, though the state has changed meanwhile, and changes nothing.
func TestCapsuleOfState(t *testing.T) {
	s := newShelf()
	w, store := openState(t, state.Options{}, keeping(s))
	w.say(t, "f", "m", 0, "put own before 1")
	w.say(t, "f", "m", 0, "put own n 41")
	c, err := w.sampled(t, s, stateCall(t, "get own before", "get own k", "put own k v", "get own k", "add own n", "list own", "cas own k x", "delete own before", "list own", "put both k shared"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1", `not found | `, "done", "v", "42", "before=1 k=v n=42", `changed meanwhile | `, "done", "k=v n=42", "done"}
	for i, got := range said(&c.Again) {
		if !strings.HasPrefix(got, want[i]) {
			t.Errorf("record %d: %s, want %s", i, got, want[i])
		}
	}
	before := store.Tables()
	w.say(t, "f", "m", 0, "put own k changed")
	same(t, guests["remember"], c, nil)
	if got := w.say(t, "f", "m", 0, "list own"); got != "k=changed n=42" || len(before) != len(store.Tables()) {
		t.Errorf("after the replays there is %s", got)
	}

	// One that failed for a conflict, and one of which the store takes nothing.
	c, err = w.sampled(t, s, stateCall(t, "get own k", "put-and-fail own k x"))
	failure(t, err, FailError)
	same(t, guests["remember"], c, nil)
}

// Code that asks for other things gets the answers there are, sees its own changes, and is told of what there is no answer to.
func TestReplayOfOtherCode(t *testing.T) {
	s := newShelf()
	w, _ := openState(t, state.Options{}, keeping(s))
	w.say(t, "f", "m", 0, "put own a 1")
	w.say(t, "f", "m", 0, "put own b 2")
	w.say(t, "f", "m", 0, "put own n 41")
	kept, err := w.sampled(t, s, stateCall(t, "get own a", "list own", "add own n", "get own none", "put own a x"))
	if err != nil {
		t.Fatal(err)
	}
	const unknown = "unavailable | "
	for _, tt := range []struct {
		name    string
		lines   []string
		want    []string
		missing []string
		left    int
	}{
		{"less of it", []string{"get own a", "list own"}, []string{"1", "a=1 b=2 n=41"}, nil, 4},
		{"another value", []string{"put own a y", "get own a", "get own b"}, []string{"done", "y", "2"}, nil, 5},
		{"another order", []string{"get own none", "add own n", "get own a", "get own a"}, []string{"not found", "42", "1", "1"}, nil, 2},
		{"after it has followed", []string{"get own a", "list own", "add own n", "add own n", "get own n", "get own a"}, []string{"1", "a=1 b=2 n=41", "42", "43", "43", "1"}, nil, 2},
		{"a key that nobody asked for", []string{"get own c", "put own c 1", "get own c", "delete own c", "get own c"}, []string{unknown, "done", "1", "done", "not found"}, []string{`state_get "c" of table "own"`}, 6},
		{"a table", []string{"get both a"}, []string{unknown}, []string{`state_get "a" of table "both"`}, 6},
		{"a list after other changes", []string{"put own a y", "list own"}, []string{"done", unknown}, []string{`state_list "own"`}, 6},
		{"a list before the changes", []string{"get own b", "list own", "list own"}, []string{"2", "a=1 b=2 n=41", "a=1 b=2 n=41"}, nil, 5},
		{"compare and set", []string{"cas own a z", "cas own c z", "get own a"}, []string{"changed meanwhile", unknown, "1"}, []string{`state_put "c" of table "own"`}, 5},
		{"a value that is too large", []string{"large own a"}, []string{"invalid"}, nil, 6},
		{"what it may not", []string{"put other a z"}, []string{"not granted"}, nil, 6},
	} {
		c := *kept
		c.Call.Records = capsule.Join([]record.Run{records(t, "k", tt.lines...)})
		r, err := Replay(t.Context(), guests["remember"], &c, ReplayOptions{CacheDir: compiled})
		if err != nil {
			t.Fatal(err)
		}
		got := said(&r.Outcome)
		for i, want := range tt.want {
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("%s: %s: %s, want %s", tt.name, tt.lines[i], got[i], want)
			}
		}
		if !slices.Equal(r.Unanswered, tt.missing) || r.Misses != len(tt.missing) || r.Left != tt.left || len(r.Unasked) != tt.left {
			t.Errorf("%s: without answer %q, not asked %d of %q", tt.name, r.Unanswered, r.Left, r.Unasked)
		}
		if tt.missing != nil && (!r.Diverged() || !strings.Contains(strings.Join(got, " "), "the capsule has no answer to "+tt.missing[0])) {
			t.Errorf("%s: it says %q", tt.name, got)
		}
	}

	old := *kept
	old.Format = 1
	old.During.Answers = nil
	old.Call.Records = capsule.Join([]record.Run{records(t, "k", "get own a")})
	r, err := Replay(t.Context(), guests["remember"], &old, ReplayOptions{CacheDir: compiled})
	if got := said(&r.Outcome); err != nil || !strings.Contains(got[0], "it was made before answers were kept") || !r.Diverged() {
		t.Errorf("an old one says %q, %v", got, err)
	}
}

// Values of secrets are in no capsule; with them a replay comes to the same.
func TestCapsuleOfSecrets(t *testing.T) {
	s := newShelf()
	w := openOutside(t, Config{Secrets: []string{"token", "missing", "pin"}}, keeping(s))
	token := map[string][]byte{"token": []byte("hunter2hunter2")}
	c, err := w.sampled(t, s, Call{Function: "f", Kind: KindInvoke, Body: []byte("tell token")})
	failure(t, err, FailError)
	same(t, guests["outside"], c, token)
	file, err := c.Encode()
	if err != nil || !slices.Equal(c.During.Secrets, []string{"token"}) {
		t.Errorf("it names %q, %v", c.During.Secrets, err)
	}
	for _, text := range []string{"hunter2hunter2", base64.StdEncoding.EncodeToString([]byte("hunter2hunter2"))} {
		if bytes.Contains(file, []byte(text)) {
			t.Errorf("the file has %s in it", text)
		}
	}
	r, err := Replay(t.Context(), guests["outside"], c, ReplayOptions{CacheDir: compiled})
	if err != nil || r.Same(&c.Again) || !strings.Contains(r.Message, `the value of secret "token" is in no capsule`) {
		t.Errorf("without the secret: %+v, %v", r, err)
	}

	// What the host did not have is answered so again, though the instance that was given the other before is asked for.
	c, err = w.sampled(t, s, Call{Function: "f", Kind: KindInvoke, Body: []byte("secret missing")})
	if err != nil || !slices.Equal(c.During.Secrets, []string{"token"}) || len(c.During.Answers) != 1 {
		t.Errorf("%+v, %v", c.During, err)
	}
	same(t, guests["outside"], c, token)
	// Code that reads others gets those that are given, and is told of those that are not; one that it kept from before is read again.
	for body, want := range map[string]string{"secret pin": "1234", "secret token": "hunter2hunter2", "secret other": "not granted", "secret missing": "not found"} {
		c.Call.Body = []byte(body)
		given := map[string][]byte{"token": token["token"], "pin": []byte("1234")}
		if r, err = Replay(t.Context(), guests["outside"], c, ReplayOptions{CacheDir: compiled, Secrets: given}); err != nil || r.Diverged() || !strings.HasPrefix(string(r.Body), want) {
			t.Errorf("%s: %s, %v", body, r.Body, err)
		}
	}
	c.Call.Body = []byte("secret pin")
	if r, err = Replay(t.Context(), guests["outside"], c, ReplayOptions{CacheDir: compiled}); err != nil || !slices.Equal(r.Unanswered, []string{`secret "pin"`}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// counted is a web that counts how often it is asked.
type counted struct {
	web
	asked atomic.Int32
}

func (c *counted) Fetch(ctx context.Context, r *abi.HTTPRequest, allowed func(string, *url.URL) error) (*abi.HTTPResponse, error) {
	c.asked.Add(1)
	return c.web.Fetch(ctx, r, allowed)
}

// What servers have answered is answered again, failures and time that ran out included, and no server is asked.
func TestCapsuleOfRequests(t *testing.T) {
	s := newShelf()
	to := new(counted)
	w := open(t, keeping(s), func(o *Options) { o.Doors.HTTP = to })
	w.deploy(t, "f", guests["fetch"], Config{HTTP: []string{"GET,POST https://a.example"}, Timeout: 3 * time.Second})
	for _, in := range []string{"POST https://a.example/x", "GET https://a.example/broken", "GET https://a.example/refused", "GET https://b.example/x", "GET https://a.example/slow"} {
		asked := to.asked.Load()
		c, err := w.sampled(t, s, Call{Function: "f", Kind: KindInvoke, Body: []byte(in)})
		if slow := strings.HasSuffix(in, "/slow"); slow {
			failure(t, err, FailTimeout)
		} else if err != nil {
			t.Fatal(err)
		}
		same(t, guests["fetch"], c, nil)
		if n := to.asked.Load() - asked; n > 1 {
			t.Errorf("%s: the server was asked %d times", in, n)
		}
		c.Call.Body = []byte("POST https://a.example/y")
		if r, err := Replay(t.Context(), guests["fetch"], c, ReplayOptions{CacheDir: compiled}); err != nil || !slices.Equal(r.Unanswered, []string{"http_fetch POST https://a.example/y"}) {
			t.Errorf("%s: another request: %+v, %v", in, r, err)
		}
	}
}

// player plays a recording to a visit that has nothing but it.
func visitOf(tape *capsule.Tape, secrets map[string][]byte) (*visit, *retelling) {
	r := newRetelling(tape, 0, secrets)
	return &visit{log: newCapture(new(identity), newLogRing(0), nil), senses: &senses{play: &player{answers: r}}}, r
}

// A secret that was sent and came back is on the tape at no place, and where it was when the answer is given again.
func TestSecretsInAnswers(t *testing.T) {
	known := map[string][]byte{"token": []byte("hunter2hunter2"), "pin": []byte("12")}
	r := &recording{tape: new(capsule.Tape)}
	secret := asked(abi.ImportSecret, []byte("token"))
	r.add(&secret, 14, known["token"], false)
	ask := func(token string) question {
		return asked(abi.ImportHTTPFetch, []byte("GET"), []byte("https://a/?token="+token), []byte("header "+token), []byte("12 "+token))
	}
	q, answer := ask("hunter2hunter2"), []byte("it was hunter2hunter2!")
	r.add(&q, int64(len(answer)), answer, false)
	r.end(known)
	tape := r.seal()
	if a := tape.Answers[1]; string(a.Key) != "https://a/?token=[secret]" || string(a.Result) != "it was !" || tape.Answers[0].Result != nil {
		t.Errorf("on the tape is %+v", tape.Answers)
	}
	v, _ := visitOf(&tape, known)
	if n := v.ask(t.Context(), secret, nil); n != 14 || string(v.result) != "hunter2hunter2" {
		t.Errorf("%d, %q", n, v.result)
	}
	if n := v.ask(t.Context(), q, nil); n != int64(len(answer)) || string(v.result) != string(answer) {
		t.Errorf("%d, %q", n, v.result)
	}
	// With another value the same question has the same answer, of the same size.
	v, _ = visitOf(&tape, map[string][]byte{"token": []byte("else"), "pin": []byte("99")})
	q = asked(abi.ImportHTTPFetch, []byte("GET"), []byte("https://a/?token=else"), []byte("header else"), []byte("99 else"))
	if n := v.ask(t.Context(), q, nil); n != int64(len(answer)) || string(v.result) != "it was else          !" {
		t.Errorf("%d, %q", n, v.result)
	}
}

func TestRecordingIsBounded(t *testing.T) {
	q := asked(abi.ImportStateGet, []byte("t"), []byte("k"))
	few, many := &recording{tape: new(capsule.Tape)}, &recording{tape: new(capsule.Tape)}
	for range 40 {
		few.add(&q, 1, make([]byte, 1<<20), false)
	}
	for range capsule.MaxAnswers + 10 {
		many.add(&q, -2, nil, false)
	}
	for name, r := range map[string]*recording{"large": few, "many": many} {
		tape := r.seal()
		if !tape.Cut || len(tape.Answers) > capsule.MaxAnswers || len(tape.Answers) < 10 || r.bytes > capsule.MaxAnswerBytes+1<<21 {
			t.Errorf("%s: %d answers of %d bytes", name, len(tape.Answers), r.bytes)
		}
		v, told := visitOf(&tape, nil)
		for range len(tape.Answers) + 1 {
			v.ask(t.Context(), q, nil)
		}
		if other := asked(abi.ImportStateGet, []byte("t"), []byte("l")); v.ask(t.Context(), other, nil) != int64(abi.StatusUnavailable) || !strings.Contains(string(v.result), "; it has the first ") || told.misses == 0 {
			t.Errorf("%s: behind its end it says %s", name, v.result)
		}
	}
}

// Whatever a file says, whatever a guest asks, it is answered, and the answer fits what the guest is told of it.
func FuzzRetelling(f *testing.F) {
	c := capsule.Capsule{Summary: capsule.Summary{ID: "a"}, Limits: capsule.Limits{TimeoutMs: 1, MemoryBytes: 1 << 20}}
	r := &recording{tape: new(capsule.Tape)}
	for _, q := range []question{
		asked(abi.ImportSecret, []byte("s")), asked(abi.ImportStateGet, []byte("t"), []byte("k")), asked(abi.ImportStatePut, []byte("t"), []byte("k"), []byte("v"), word(-1)),
		asked(abi.ImportStateList, []byte("t"), nil, nil, word(0)), asked(abi.ImportStateDelete, []byte("t"), []byte("k"), word(0)),
	} {
		r.add(&q, 16, abi.AppendStateList(nil, []abi.StateEntry{{Revision: 1, Key: []byte("k"), Value: []byte("v")}}, false), false)
	}
	c.During = r.seal()
	file, err := c.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file, "t", []byte("k"), []byte("value"))
	f.Fuzz(func(t *testing.T, file []byte, name string, key, value []byte) {
		c, err := capsule.Decode(file)
		if err != nil {
			return
		}
		v, r := visitOf(&c.During, map[string][]byte{"s": value})
		for range 2 {
			for _, q := range []question{
				asked(abi.ImportStateGet, []byte(name), key), asked(abi.ImportStatePut, []byte(name), key, value, word(int64(len(value)))),
				asked(abi.ImportStateGet, []byte(name), key), asked(abi.ImportStateList, []byte(name), key, nil, word(0)), asked(abi.ImportSecret, []byte(name)),
				asked(abi.ImportStateDelete, []byte(name), key, word(-1)), asked(abi.ImportHTTPFetch, []byte(name), key, nil, value),
			} {
				v.ask(t.Context(), q, nil)
			}
		}
		list, n := r.untold()
		if len(list) > maxMissing || n > len(c.During.Answers) || len(r.missing) > maxMissing {
			t.Fatalf("%d are not told of %d", n, len(c.During.Answers))
		}
	})
}
