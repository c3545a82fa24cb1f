package messages

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/shards"
)

func TestRules(t *testing.T) {
	tests := []struct {
		rule, topic, payload string
		matches              bool
		key                  string // "": there is none
	}{
		{"a=s", "a", "", true, "a"},
		{"a=s", "b", "", false, ""},
		{"a=s", "a/b", "", false, ""},
		{"a/b=s", "a", "", false, ""},
		{"a/+=s", "a/b", "", true, "a/b"},
		{"a/+=s", "a/", "", true, "a/"},
		{"a/+=s", "a", "", false, ""},
		{"+=s", "a/b", "", false, ""},
		{"#=s", "a/b/c", "", true, "a/b/c"},
		{"#=s", "/", "", true, "/"},
		{"a/#=s", "a", "", true, "a"},
		{"a/#=s", "a/b/c", "", true, "a/b/c"},
		{"a/#=s", "ab", "", false, ""},
		{"#=s", "$SYS/x", "", false, ""},
		{"+/x=s", "$SYS/x", "", false, ""},
		{"$SYS/#=s", "$SYS/x", "", true, "$SYS/x"},
		{"a=b=s", "a=b", "", true, "a=b"},
		{"a=s;key=topic", "a", "", true, "a"},
		{"sensors/+/temp=s;key=level:2", "sensors/x/temp", "", true, "x"},
		{"sensors/+/temp=s;key=level:2", "sensors//temp", "", true, ""},
		{"+/#=s;key=level:4", "a/b/c/d/e", "", true, "d"},
		{"+/#=s;key=level:4", "a/b/c", "", true, ""},
		{"a=s;key=json:/id", "a", `{"id":"x"}`, true, "x"},
		{"a=s;key=json:/a~1b=;/0", "a", `{"a/b=;":[7]}`, true, "7"},
		{"a=s;key=json:/id", "a", `{}`, true, ""},
	}
	for _, tc := range tests {
		r := mustRule(t, tc.rule)
		if got := r.Matches(tc.topic); got != tc.matches {
			t.Errorf("%s matches %s: %t", tc.rule, tc.topic, got)
		}
		if !tc.matches {
			continue
		}
		key, err := r.keyOf(tc.topic, []byte(tc.payload))
		if string(key) != tc.key || (err == nil) != (tc.key != "") || err != nil && !errors.Is(err, ErrNoKey) {
			t.Errorf("%s on %s: key %q, %v", tc.rule, tc.topic, key, err)
		}
	}
}

func TestRulesAreChecked(t *testing.T) {
	for _, tc := range []struct{ rule, says string }{
		{"", "FILTER=STREAM"}, {"a", "FILTER=STREAM"}, {"=s", "topic filter"}, {"a=", "stream's name"}, {"a=b c", "stream's name"},
		{"a=.", "stream's name"}, {"a=" + strings.Repeat("s", 129), "128"}, {"a+=s", "+ is a whole level"}, {"a/#/b=s", "whole last level"},
		{"a#=s", "whole last level"}, {"\xff=s", "UTF-8"}, {"a=s;", "FILTER=STREAM;key="}, {"a=s;kee=level:1", "FILTER=STREAM;key="},
		{"a=s;key=", "FILTER=STREAM;key="}, {"a=s;key=level", "FILTER=STREAM;key="}, {"a=s;key=topic:1", "FILTER=STREAM;key="},
		{"a/b=s;key=level:0", "1 to 2"}, {"a/b=s;key=level:3", "1 to 2"}, {"a/b=s;key=level:x", "1 to 2"},
		{"a=s;key=json:", "JSON pointer"}, {"a=s;key=json:id", "JSON pointer"}, {"a=s;key=json:/~2", "JSON pointer"},
	} {
		_, err := ParseRule(tc.rule)
		var field *shards.FieldError
		if !errors.As(err, &field) || field.Field != "mqtt-rule" || !strings.Contains(field.Limit, tc.says) {
			t.Errorf("%q: %v; want %s", tc.rule, err, tc.says)
		}
	}
}

func TestKeyAt(t *testing.T) {
	const doc = `{"a":{"b":[10,"x",{"c":true}],"n":null,"o":{}},"":"empty","é":"\u00fc\n","z":-1.50e3}`
	for pointer, want := range map[string]string{
		"/a/b/0": "10", "/a/b/1": "x", "/a/b/2/c": "true", "/": "empty", "/é": "ü\n", "/z": "-1.50e3",
		"/a": "", "/a/n": "", "/a/o": "", "/a/b": "", "/a/b/3": "", "/a/b/01": "", "/a/b/-": "", "/a/b/0/x": "", "/none": "", "/a/n/x": "",
	} {
		key, err := keyAt([]byte(doc), jsontext.Pointer(pointer))
		if string(key) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", pointer, key, err)
		}
	}
	for _, bad := range []string{"", "{", `{"a"`, `{"a":`, `{"a":}`, "[", `{"x":1,"a"`, "nil", "\xff", `{"x":}`, `{"x" 1}`} {
		if key, err := keyAt([]byte(bad), "/a"); !errors.Is(err, ErrNoKey) {
			t.Errorf("%q: %q, %v", bad, key, err)
		}
	}
}

// FuzzKeyAt compares with a decoder that builds everything, where it takes the payload.
func FuzzKeyAt(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,2]}}`), "/a/b/1")
	f.Add([]byte(`[[],{"x":"y"}]`), "/1/x")
	f.Fuzz(func(t *testing.T, payload []byte, pointer string) {
		r, err := ParseRule("t=s;key=json:" + pointer)
		if err != nil {
			return
		}
		key, err := keyAt(payload, r.path)
		if err != nil {
			if !errors.Is(err, ErrNoKey) {
				t.Fatal(err)
			}
			return
		}
		var v any
		if json.Unmarshal(payload, &v) != nil {
			return // only what is read on the way to the key is checked
		}
		for step := range r.path.Tokens() {
			switch at := v.(type) {
			case map[string]any:
				v = at[step]
			case []any:
				v = nil
				for i := range at {
					if b, _ := json.Marshal(i); string(b) == step {
						v = at[i]
					}
				}
			}
		}
		if s, ok := v.(string); ok && s != string(key) {
			t.Fatalf("key %q, want %q", key, s)
		}
	})
}

func FuzzParseRule(f *testing.F) {
	f.Add("sensors/+/temp=readings;key=level:2", "sensors/a/temp")
	f.Add("#=s;key=json:/a", "x")
	f.Fuzz(func(t *testing.T, text, topic string) {
		r, err := ParseRule(text)
		if err != nil {
			if !errors.Is(err, shards.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if !streamName(r.stream) {
			t.Fatalf("stream %q", r.stream)
		}
		if r.Matches(topic) {
			if key, err := r.keyOf(topic, nil); err == nil && r.key == keyLevel && strings.Contains(string(key), "/") {
				t.Fatalf("key %q is more than a level", key)
			}
		}
	})
}
