package capsule

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk/record"

	"github.com/google/go-cmp/cmp"
)

var quiet = slog.New(slog.DiscardHandler)

func batch(t testing.TB, data ...string) []byte {
	t.Helper()
	var b record.Builder
	for _, d := range data {
		if err := b.Append(record.Record{Sequence: 7, Key: []byte("k"), Data: []byte(d)}); err != nil {
			t.Fatal(err)
		}
	}
	return bytes.Clone(b.Finish())
}

func sample(t testing.TB, id string) *Capsule {
	t.Helper()
	return &Capsule{
		Summary: Summary{ID: id, Made: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Why: Failed, Function: "f", Version: 3, Digest: "sha256:00",
			Mapping: "m", Stream: "s", Shard: 2, First: 7, Last: 8, Records: 2, Outcome: "trap", Message: "unreachable", Reproduced: true},
		Limits:   Limits{TimeoutMs: 3000, MemoryBytes: 128 << 20, Emit: []string{"out"}},
		Settings: []byte(`{"batchSize":5}`),
		Call:     Call{Kind: 1, Attempt: 2, Invocation: id, Deadline: 5, Records: batch(t, "a", "b"), State: []byte{1}, WindowStart: time.Unix(60, 0).UTC(), WindowEnd: time.Unix(120, 0).UTC()},
		Start:    Tape{Random: []byte{1, 2}}, During: Tape{
			Wall: []int64{1, 2}, Mono: []int64{3}, Secrets: []string{"token"},
			Answers: []Answer{
				{Door: "secret", Asked: []byte{1}, Name: "token"},
				{Door: "state_get", Asked: []byte{2}, Name: "seen", Key: []byte("k\xff"), Status: 12, Result: []byte("12345678"), Cuts: []Cut{{At: 3, Size: 4, Secret: "token"}}},
				{Door: "http_fetch", Asked: []byte{3}, Name: "POST", Key: []byte("https://a.example/x"), Status: -5, Over: true},
			},
		},
		Result: Outcome{Kind: "trap", Message: "unreachable", Stack: "a\nb", DurationNs: 5},
		Again:  Outcome{Kind: "trap", Message: "unreachable", Outputs: []Output{{Stream: "out", Records: batch(t, "x")}}},
	}
}

func TestCapsuleComesBack(t *testing.T) {
	c := sample(t, "a")
	file, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(file, []byte{'\n'}); got != 2 {
		t.Errorf("the file has %d lines", got)
	}
	got, err := Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	c.Bytes = int64(len(file))
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got\n%+v\nwant\n%+v", got, c)
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole := func(edit func(*Capsule)) string {
		c := sample(t, "a")
		edit(c)
		file, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(file)
	}
	good := whole(func(*Capsule) {})
	first, second, _ := strings.Cut(good, "\n")
	for name, file := range map[string]string{
		"nothing": "", "no JSON": "hello\nyou\n", "one line": first, "a later format": strings.Replace(good, `"format":2`, `"format":9`, 1),
		"a later format within": first + "\n" + strings.Replace(second, `"format":2`, `"format":9`, 1),
		"an id that is a path":  whole(func(c *Capsule) { c.ID = "../a" }), "no id": whole(func(c *Capsule) { c.ID = "" }),
		"no timeout": whole(func(c *Capsule) { c.Limits.TimeoutMs = 0 }), "an endless timeout": whole(func(c *Capsule) { c.Limits.TimeoutMs = 1 << 40 }),
		"all memory": whole(func(c *Capsule) { c.Limits.MemoryBytes = 1 << 50 }), "damaged records": whole(func(c *Capsule) { c.Call.Records[30] ^= 1 }),
		"damaged outputs": whole(func(c *Capsule) { c.Again.Outputs[0].Records[2] ^= 1 }), "cut": good[:len(good)/2],
		"a secret behind an answer": whole(func(c *Capsule) { c.During.Answers[1].Cuts[0].At = 9 }),
		"a secret before another":   whole(func(c *Capsule) { c.Start.Answers = []Answer{{Result: []byte("ab"), Cuts: []Cut{{At: 1}, {At: 0}}}} }),
		"a secret of no size":       whole(func(c *Capsule) { c.During.Answers[1].Cuts[0].Size = -1 }),
		"secrets of more than all": whole(func(c *Capsule) {
			c.During.Answers[1].Cuts = slices.Repeat([]Cut{{At: 1, Size: MaxAnswerBytes/2 + 1}}, 2)
		}),
		"more answers than there are":  whole(func(c *Capsule) { c.During.Answers = make([]Answer, MaxAnswers+1) }),
		"a format that has never been": strings.Replace(good, `"format":2`, `"format":0`, 1),
	} {
		if _, err := Decode([]byte(file)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	file, err := sample(f, "a").Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte("{\"format\":1,\"id\":\"a\"}\n{}\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := Decode(file)
		if err != nil {
			if c != nil || !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v, %v", c, err)
			}
			return
		}
		again, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
	})
}

func TestSame(t *testing.T) {
	base := func() *Outcome {
		return &Outcome{Kind: "ok", Body: []byte("b"), State: []byte("s"), Records: []RecordResult{{1, "retry", "r"}}, Outputs: []Output{{"s", batch(t, "x")}}}
	}
	other := base()
	other.DurationNs, other.MemoryPeak, other.Stack = 5, 6, "elsewhere"
	if !base().Same(other) {
		t.Error("time, memory and place tell them apart")
	}
	for name, edit := range map[string]func(*Outcome){
		"kind": func(o *Outcome) { o.Kind = "trap" }, "message": func(o *Outcome) { o.Message = "m" }, "type": func(o *Outcome) { o.Type = "t" },
		"exit": func(o *Outcome) { o.ExitCode = 1 }, "body": func(o *Outcome) { o.Body = nil }, "state": func(o *Outcome) { o.State = []byte("t") },
		"a record": func(o *Outcome) { o.Records[0].Reason = "" }, "records": func(o *Outcome) { o.Records = nil }, "stream": func(o *Outcome) { o.Outputs[0].Stream = "t" },
		"an output": func(o *Outcome) { o.Outputs[0].Records = batch(t, "y") }, "outputs": func(o *Outcome) { o.Outputs = append(o.Outputs, o.Outputs[0]) },
	} {
		other := base()
		edit(other)
		if base().Same(other) || other.Same(base()) {
			t.Errorf("another %s makes no difference", name)
		}
	}
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *Store, ids ...string) {
	t.Helper()
	for i, id := range ids {
		c := sample(t, id)
		c.Made = c.Made.Add(time.Duration(i) * time.Second)
		if id[0] == 'n' {
			c.Mapping = "n"
		}
		if err := s.Put(c); err != nil {
			t.Fatal(err)
		}
	}
}

func listed(s *Store, mapping string) string {
	var ids []string
	for _, k := range s.List(mapping) {
		ids = append(ids, k.ID)
	}
	return strings.Join(ids, " ")
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "capsules")
	s := open(t, dir)
	put(t, s, "a", "b", "n1", "c")
	if listed(s, "") != "c n1 b a" || listed(s, "n") != "n1" || listed(s, "none") != "" {
		t.Errorf("listed are %q, %q, %q", listed(s, ""), listed(s, "n"), listed(s, "none"))
	}
	file, err := s.Get("b")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := Decode(file); err != nil || c.ID != "b" {
		t.Errorf("%+v, %v", c, err)
	}
	if err := s.Delete("b"); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"b", "", "../a", "a/../c", strings.Repeat("x", 200), "a.capsule"} {
		if _, err := s.Get(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("get %q: %v", id, err)
		}
		if err := s.Delete(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("delete %q: %v", id, err)
		}
	}
	if err := s.Put(sample(t, "../x")); !errors.Is(err, ErrInvalid) {
		t.Errorf("an id that is a path: %v", err)
	}
	put(t, s, "a") // in place of the first
	if listed(s, "") != "a c n1" {
		t.Errorf("listed are %q", listed(s, ""))
	}
	bytes := s.bytes

	// All of it is there after a restart; what is damaged or half written is not.
	for name, text := range map[string]string{"d.capsule": "{", "e.capsule.partial": "{", "README": "not ours", "f.capsule": `{"format":1,"id":"g"}` + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir)
	if listed(s, "") != "c n1 a" || s.bytes != bytes { // by the time they were made
		t.Errorf("after a restart %q of %d bytes, before %d", listed(s, ""), s.bytes, bytes)
	}
	if _, err := os.Stat(filepath.Join(dir, "e.capsule.partial")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was half written is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "README")); err != nil {
		t.Errorf("another's file: %v", err)
	}
}

func TestTapeIsExtended(t *testing.T) {
	tape := Tape{Wall: []int64{1, 2, 3}, Mono: []int64{4}, Random: []byte("ab")}
	tape.Extend(&Tape{Wall: []int64{1, 2}, Mono: []int64{4, 5}, Random: []byte("abcd")})
	want := Tape{Wall: []int64{1, 2, 3}, Mono: []int64{4, 5}, Random: []byte("abcd")}
	if diff := cmp.Diff(want, tape); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if tape.Extend(&Tape{Cut: true}); !tape.Cut || len(tape.Wall) != 3 {
		t.Errorf("after a shorter one that was cut: %+v", tape)
	}
}

func TestStoreIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	s.most = 5
	for i := range 12 {
		put(t, s, fmt.Sprintf("a%02d", i))
	}
	if listed(s, "") != "a11 a10 a09 a08 a07" {
		t.Errorf("listed are %q", listed(s, ""))
	}
	s.most, s.room = 100, 2*s.List("")[0].Bytes+10
	put(t, s, "z")
	if listed(s, "") != "z a11" || s.bytes > s.room {
		t.Errorf("listed are %q, %d bytes of %d", listed(s, ""), s.bytes, s.room)
	}
	if entries, err := os.ReadDir(s.root.Name()); err != nil || len(entries) != 2 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

// A disk that fails leaves the store as it was.
func TestStoreOnAFailingDisk(t *testing.T) {
	if os.Getuid() == 0 {
		// Nothing is forbidden to root: a folder in the file's place does it.
		s := open(t, t.TempDir())
		put(t, s, "a")
		if err := s.root.Mkdir("b.capsule.partial", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(sample(t, "b")); err == nil {
			t.Error("it was stored where it cannot be")
		}
		if listed(s, "") != "a" {
			t.Errorf("listed are %q", listed(s, ""))
		}
		return
	}
	t.Skip("SKIPPED: it needs root, or a folder that nobody may write to")
}
