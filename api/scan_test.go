package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bytedance/sonic"
	"github.com/go-json-experiment/json/jsontext"
)

// TestScanFinds is a table of values and what a pointer finds in them.
func TestScanFinds(t *testing.T) {
	for _, c := range []struct {
		json, pointer string
		kind          valueKind
		text          string
	}{
		{`{"origin":"DFW"}`, "/origin", stringValue, `"DFW"`},
		{` { "a" : 1 , "origin" : "DFW" } `, "/origin", stringValue, `"DFW"`},
		{`{"a":{"origin":"x"},"origin":"y"}`, "/origin", stringValue, `"y"`},
		{`{"a":{"origin":"x"}}`, "/origin", absent, ""},
		{`{"a":{"b":[1,{"c":true}]}}`, "/a/b/1/c", boolValue, "true"},
		{`[10,20,30]`, "/1", numberValue, "20"},
		{`[10,20,30]`, "/01", absent, ""},
		{`{"01":5}`, "/01", numberValue, "5"},
		{`{"1":5}`, "/1", numberValue, "5"},
		{`[]`, "/0", absent, ""},
		{`{}`, "/a", absent, ""},
		{`{"":7}`, "/", numberValue, "7"},
		{`"whole"`, "", stringValue, `"whole"`},
		{`{"a":null}`, "/a", nullValue, "null"},
		{`{"a":{}}`, "/a", objectValue, "{}"},
		{`{"a":[ ]}`, "/a", arrayValue, "[ ]"},
		{`{"a/b":1,"m~n":2}`, "/a~1b", numberValue, "1"},
		{`{"a/b":1,"m~n":2}`, "/m~0n", numberValue, "2"},
		{`{"a":1,"a":2}`, "/a", numberValue, "2"},
		{`{"a":{"b":1},"a":{}}`, "/a/b", absent, ""},
		{`{"a":{"b":1},"a":3}`, "/a/b", absent, ""},
		{`{"\u0061":-1.5e+3}`, "/a", numberValue, "-1.5e+3"},
		{`{"a":"x\"y"}`, "/a", stringValue, `"x\"y"`},
	} {
		p, bad := parsePointer(c.pointer)
		if bad != nil {
			t.Fatalf("%s: %v", c.pointer, bad)
		}
		var s scanner
		f, ok := s.scan([]byte(c.json), p.tokens)
		if !ok || f.kind != c.kind || c.json[f.start:f.end] != c.text {
			t.Errorf("%s at %q: ok %v kind %d text %q, want kind %d text %q", c.json, c.pointer, ok, f.kind, c.json[f.start:f.end], c.kind, c.text)
		}
	}
}

// TestScanRefuses is a table of texts that are not JSON and where they stop being it.
func TestScanRefuses(t *testing.T) {
	for _, c := range []struct {
		json string
		at   int
	}{
		{``, 0}, {` `, 1}, {`{`, 1}, {`{"a"`, 4}, {`{"a":`, 5}, {`{"a":1`, 6}, {`{"a":1,}`, 7},
		{`[1,]`, 3}, {`[1 2]`, 3}, {`01`, 1}, {`1.`, 2}, {`-`, 1}, {`1e`, 2}, {`+1`, 0}, {`.5`, 0},
		{`nul`, 0}, {`truex`, 4}, {`"a`, 2}, {"\"a\nb\"", 2}, {`"\x"`, 1}, {`"\u12g4"`, 1}, {"\"\xff\"", 1},
		{`{'a':1}`, 1}, {`{a:1}`, 1}, {`1 1`, 2}, {"\xef\xbb\xbf1", 0}, {`NaN`, 0},
	} {
		var s scanner
		if _, ok := s.scan([]byte(c.json), nil); ok {
			t.Errorf("%q is taken for JSON", c.json)
		} else if s.i != c.at {
			t.Errorf("%q: refused at %d, want %d", c.json, s.i, c.at)
		}
	}
}

// TestScanDepth checks the limit of nesting from both sides.
func TestScanDepth(t *testing.T) {
	for _, c := range []struct {
		depth int
		ok    bool
	}{{maxDepth, true}, {maxDepth + 1, false}} {
		for _, brackets := range []string{"[]", "{}"} {
			text := strings.Repeat("[", c.depth-1) + brackets + strings.Repeat("]", c.depth-1)
			if got := validJSON([]byte(text)); got != c.ok {
				t.Errorf("depth %d: %v, want %v", c.depth, got, c.ok)
			}
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		``: ``, `abc`: `abc`, `a\"b\\\/`: `a"b\/`, `\b\f\n\r\t`: "\b\f\n\r\t",
		`\u00e4`: "ä", `\u00E4x`: "äx", `\ud83d\ude00`: "😀", `\ud83dx`: "\uFFFDx",
		`\ude00`: "\uFFFD", `\ud83d\u0041`: "\uFFFDA", `\ud83d\ud83d\ude00`: "\uFFFD😀",
	} {
		if got := string(appendUnescaped(nil, []byte(in))); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// TestPointerRefuses is the table of pointers that are none.
func TestPointerRefuses(t *testing.T) {
	for _, text := range []string{"origin", "/a~", "/a~2", "/\xff", strings.Repeat("/a", 33), "/" + strings.Repeat("a", 1024)} {
		_, bad := parsePointer(text)
		if bad == nil {
			t.Fatalf("%q is taken for a pointer", text)
		}
		if bad.Kind() != KindInvalidField || bad.Field != "key" || bad.Limit == "" {
			t.Errorf("%q: %+v", text, bad)
		}
	}
}

// lookup is the oracle of the pointer: it walks what encoding/json decoded.
func lookup(v any, path []pointerToken) (any, bool) {
	for _, token := range path {
		switch container := v.(type) {
		case map[string]any:
			next, ok := container[token.name]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			if token.index < 0 || token.index >= len(container) {
				return nil, false
			}
			v = container[token.index]
		default:
			return nil, false
		}
	}
	return v, true
}

// FuzzScan compares the scanner with encoding/json: what is valid, and what a
// pointer finds.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{`{"origin":"DFW","n":[1,2.5e-3,{"a":null}]}`, `"\ud83d\ude00"`, `[[[]]]`, "\"\xff\"", `{"a":1,"a":{"b":2}}`, `{"\u0061":1}`, `-0.0`, ` [ true , false ] `} {
		f.Add([]byte(seed), "/origin")
		f.Add([]byte(seed), "/a/b")
	}
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		p, bad := parsePointer(path)
		if bad != nil {
			return
		}
		var s scanner
		got, ok := s.scan(text, p.tokens)
		want := json.Valid(text) && utf8.Valid(text)
		if ok != want {
			if want && bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > maxDepth {
				return
			}
			t.Fatalf("%q: valid %v, want %v", text, ok, want)
		}
		if !ok {
			if s.i > len(text) {
				t.Fatalf("%q: refused at %d, beyond its end", text, s.i)
			}
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var whole any
		if err := decoder.Decode(&whole); err != nil {
			t.Skip(err)
		}
		wantValue, there := lookup(whole, p.tokens)
		if there != (got.kind != absent) {
			t.Fatalf("%q at %q: found %v, want %v", text, path, got.kind, there)
		}
		if wantString, isString := wantValue.(string); isString {
			inner := text[got.start+1 : got.end-1]
			if got.escaped {
				inner = appendUnescaped(nil, inner)
			}
			if got.kind != stringValue || string(inner) != wantString {
				t.Fatalf("%q at %q: %q, want %q", text, path, inner, wantString)
			}
		}
		if number, isNumber := wantValue.(json.Number); isNumber && string(text[got.start:got.end]) != string(number) {
			t.Fatalf("%q at %q: %q, want %q", text, path, text[got.start:got.end], number)
		}
	})
}

// event is a line of 200 bytes like the ones the figure is measured with.
var event = []byte(`{"time":"2026-11-21T03:45:00.123456Z","origin":"DFW","destination":"LAX","carrier":"AA","flight":1234,"delayMinutes":-7,"distance":1235,"cancelled":false,"tail":"N123AA","note":"on time \u00e4","pad":"xx"}`)

// TestScanAllocates asserts that finding a key allocates nothing.
func TestScanAllocates(t *testing.T) {
	p, _ := parsePointer("/origin")
	var s scanner
	if n := testing.AllocsPerRun(1000, func() { s.scan(event, p.tokens) }); n != 0 {
		t.Fatalf("%v allocations a line, want 0", n)
	}
}

// BenchmarkKeyOfLine compares the ways to check a line and find its key.
func BenchmarkKeyOfLine(b *testing.B) {
	p, _ := parsePointer("/origin")
	b.Run("scanner", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(event)))
		var s scanner
		for b.Loop() {
			if _, ok := s.scan(event, p.tokens); !ok {
				b.Fatal("refused")
			}
		}
	})
	b.Run("sonic", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(event)))
		for b.Loop() {
			if !sonic.Valid(event) {
				b.Fatal("refused")
			}
			if _, err := sonic.Get(event, "origin"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jsontext", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(event)))
		for b.Loop() {
			if !jsontext.Value(event).IsValid() {
				b.Fatal("refused")
			}
		}
	})
	b.Run("map", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(event)))
		for b.Loop() {
			var m map[string]any
			if err := json.Unmarshal(event, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
