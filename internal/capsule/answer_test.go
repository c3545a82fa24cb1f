package capsule

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A capsule that a program before answers were kept has made is read, and said to be of that format.
func TestFormat1IsRead(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("testdata", "v1.capsule"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Decode(file)
	if err != nil || c.Format != 1 || c.Outcome != "trap" || c.Call.Records == nil || len(c.During.Answers) != 0 || !c.Reproduced {
		t.Fatalf("%+v, %v", c, err)
	}
	again, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = Decode(again); err != nil || c.Format != 1 {
		t.Errorf("when it is written again: %+v, %v", c, err)
	}
}

func TestCutOutAndRestore(t *testing.T) {
	secrets := map[string][]byte{"token": []byte("hunter2hunter2"), "long": []byte("hunter2hunter2-and-more"), "pin": []byte("1234"), "empty": {}, "six": []byte("abcdef")}
	for in, want := range map[string]struct {
		left string
		cuts []Cut
	}{
		"":                       {},
		"nothing, not even 1234": {"nothing, not even 1234", nil},
		"hunter2hunter2":         {"", []Cut{{0, 14, "token"}}},
		"a hunter2hunter2 b hunter2hunter2abcdef": {"a  b ", []Cut{{2, 14, "token"}, {5, 14, "token"}, {5, 6, "six"}}},
		"hunter2hunter2-and-more.":                {".", []Cut{{0, 23, "long"}}},
		"hunter2hunter2hunter2":                   {"hunter2", []Cut{{0, 14, "token"}}},
		"xabcdeabcdef":                            {"xabcde", []Cut{{6, 6, "six"}}},
	} {
		left, cuts := CutOut([]byte(in), secrets)
		if string(left) != want.left || !slices.Equal(cuts, want.cuts) {
			t.Errorf("%q: %q, %+v", in, left, cuts)
		}
		a := Answer{Result: left, Cuts: cuts}
		if got := a.Restore(secrets); string(got) != in {
			t.Errorf("%q comes back as %q", in, got)
		}
		if got := a.Restore(map[string][]byte{"token": []byte("no"), "six": []byte("longer than it")}); len(got) != len(in) {
			t.Errorf("%q with other values: %q", in, got)
		}
		if err := (&Tape{Answers: []Answer{a}}).checkAnswers(); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// Questions that differ in nothing but a secret's value are the same, and all others are not.
func TestDigest(t *testing.T) {
	parts := func(texts ...string) (out [][]byte) {
		for _, s := range texts {
			out = append(out, []byte(s))
		}
		return out
	}
	is := func(value string) map[string][]byte { return map[string][]byte{"pin": []byte(value)} }
	base := Digest("http_fetch", parts("GET", "https://a/?pin=1234"), is("1234"))
	if other := Digest("http_fetch", parts("GET", "https://a/?pin=99"), is("99")); !bytes.Equal(base, other) || len(base) != 16 {
		t.Errorf("%x and %x", base, other)
	}
	for name, other := range map[string][]byte{
		"another door":       Digest("secret", parts("GET", "https://a/?pin=1234"), is("1234")),
		"divided otherwise":  Digest("http_fetch", parts("GETh", "ttps://a/?pin=1234"), is("1234")),
		"one part":           Digest("http_fetch", parts("GEThttps://a/?pin=1234"), is("1234")),
		"the pin elsewhere":  Digest("http_fetch", parts("GET", "https://a/1234?pin="), is("1234")),
		"another secret":     Digest("http_fetch", parts("GET", "https://a/?pin=1234"), map[string][]byte{"other": []byte("1234")}),
		"no secret":          Digest("http_fetch", parts("GET", "https://a/?pin=1234"), nil),
		"its place, cut out": Digest("http_fetch", parts("GET", "https://a/?pin="), is("1234")),
	} {
		if bytes.Equal(base, other) {
			t.Errorf("%s makes no difference", name)
		}
	}
}

func TestAnswersAreShown(t *testing.T) {
	for want, a := range map[string]Answer{
		`secret "token"`:                                   {Door: "secret", Name: "token"},
		`state_get "k\ufffd" of table "seen"`:              {Door: "state_get", Name: "seen", Key: []byte("k\xff")},
		`state_list "seen"`:                                {Door: "state_list", Name: "seen"},
		`http_fetch POST https://a/x`:                      {Door: "http_fetch", Name: "POST", Key: []byte("https://a/x")},
		`http_fetch GET ` + strings.Repeat("é", 100) + "…": {Door: "http_fetch", Name: "GET", Key: []byte(strings.Repeat("é", 101))},
	} {
		if got := a.String(); got != strings.ReplaceAll(want, `\ufffd`, "\uFFFD") {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Whatever is cut out comes back, and no value of a secret is left.
func FuzzCutOut(f *testing.F) {
	f.Add([]byte("a hunter2hunter2 b"), []byte("hunter2hunter2"), []byte("hunter2"))
	f.Add([]byte("aaaaaaaaaaaaaaaaaaa"), []byte("aaaaaa"), []byte("aaaaaaa"))
	f.Fuzz(func(t *testing.T, b, one, two []byte) {
		secrets := map[string][]byte{"one": one, "two": two}
		before := bytes.Clone(b)
		left, cuts := CutOut(b, secrets)
		a := Answer{Result: left, Cuts: cuts}
		if got := a.Restore(secrets); !bytes.Equal(got, b) || !bytes.Equal(b, before) {
			t.Fatalf("%q comes back as %q", b, got)
		}
		pieces, from := [][]byte{}, 0
		for _, c := range cuts {
			pieces, from = append(pieces, left[from:c.At]), c.At
		}
		for _, piece := range append(pieces, left[from:]) {
			for _, value := range secrets {
				if len(value) >= MinCutBytes && bytes.Contains(piece, value) {
					t.Fatalf("%q is left in %q", value, piece)
				}
			}
		}
		if err := (&Tape{Answers: []Answer{a}}).checkAnswers(); err != nil && len(b) < MaxAnswerBytes {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(Digest("d", [][]byte{b}, secrets), Digest("d", [][]byte{b}, secrets)) {
			t.Fatal("a digest changes")
		}
	})
}
