package quickjs

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// at is where text stands in a script.
func at(t *testing.T, script, text string) (line, column int) {
	t.Helper()
	before, _, found := strings.Cut(script, text)
	if !found {
		t.Fatalf("there is no %q in\n%s", text, script)
	}
	line = strings.Count(before, "\n") + 1
	return line, len(before) - strings.LastIndex(before, "\n")
}

// The places of a script are shown as those of its sources, and nothing of the runtime's.
func TestReadable(t *testing.T) {
	s, err := Compile([]byte("interface A { b: string }\n\nconst first = (a: A) => second(a as any);\nfunction second(a: number) { return a.toFixed(2) }\nexport default { invoke: first };\n"), TypeScript)
	if err != nil {
		t.Fatal(err)
	}
	line1, column1 := at(t, s.Text, "second(a)")
	line2, column2 := at(t, s.Text, "toFixed")
	stack := fmt.Sprintf("    at <anonymous> (native)\n    at pass (runtime:3:4)\n    at second (script:%d:%d)\n    at map (native)\n    at first (script:%d:%d)\n"+
		"    at gone (script:9999:1)\n    at large (script:99999999999999999999:1)\n    at handle (runtime:1:2)\n", line2, column2, line1, column1)
	want := "    at second (function.ts:4:39)\n    at map (native)\n    at first (function.ts:3:25)\n    at gone (script:9999:1)\n    at large (script:99999999999999999999:1)"
	if got := Readable(s.Input(), stack); got != want {
		t.Errorf("the stack is\n%s\nwant\n%s", got, want)
	}
	for _, input := range [][]byte{nil, {1}, {255, 255, 255, 255, 0}, (&Script{Text: "1"}).Input(), (&Script{Map: "{"}).Input()} {
		if got := Readable(input, "at f (script:1:1)"); got != "at f (script:1:1)" {
			t.Errorf("without a map: %q", got)
		}
	}
}

func TestOriginals(t *testing.T) {
	for _, tt := range []struct {
		mappings string
		at       place
		want     string
	}{
		{"AAAA", place{1, 1}, "a.ts:1:1"},
		{"AAAA", place{1, 900}, "a.ts:1:1"},
		{"AAAA", place{2, 1}, ""},
		{"EAAA", place{1, 2}, ""},
		{"EAAA", place{1, 3}, "a.ts:1:1"},
		{"AAAA,EACE,EACE", place{1, 4}, "a.ts:2:3"},
		{";;gBCgkBhB", place{3, 17}, "b.ts:577:-15"},
		{"AAAA;ADAA", place{2, 1}, ""}, // a source below 0
		{"AAAA,EEAA", place{1, 3}, ""}, // and one that is not there
		{"AAAAA,!", place{1, 3}, "a.ts:1:1"},
		{"AAAA,gggggggggggA", place{1, 900}, "a.ts:1:1"},
		{"AAAA,g", place{1, 900}, "a.ts:1:1"},
	} {
		m := fmt.Sprintf(`{"version":3,"sources":["a.ts","b.ts"],"mappings":%q}`, tt.mappings)
		if got := originals([]byte(m), []place{tt.at})[tt.at]; got != tt.want {
			t.Errorf("%s: %v is %q, want %q", tt.mappings, tt.at, got, tt.want)
		}
	}
}

// No map makes finding places panic, or finds others than were asked for.
func FuzzPlaces(f *testing.F) {
	f.Add([]byte(`{"sources":["a"],"mappings":"AAAA,EACE;gBCgkBhB"}`), "at f (script:1:1)\nat g (script:2:17)")
	f.Add([]byte(base64.StdEncoding.EncodeToString([]byte("x"))), "script:0:0")
	f.Fuzz(func(t *testing.T, m []byte, stack string) {
		asked := []place{{1, 1}, {2, 17}}
		for p := range originals(m, asked) {
			if p != asked[0] && p != asked[1] {
				t.Errorf("%v was not asked for", p)
			}
		}
		Readable((&Script{Map: string(m)}).Input(), stack)
		Readable(m, stack)
	})
}
