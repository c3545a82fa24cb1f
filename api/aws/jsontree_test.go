package aws

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

func TestJSONValues(t *testing.T) {
	for text, want := range map[string]any{
		`null`: nil, ` true `: true, `false`: false, `0`: 0.0, `-1.5e3`: -1500.0, `1e308`: 1e308, `""`: "", `"a\u0000\ud83d\ude00"`: "a\x00😀",
		`[]`: []any{}, `{}`: map[string]any{}, `{"a":[1,{"b":null}],"c":"d"}`: map[string]any{"a": []any{1.0, map[string]any{"b": nil}}, "c": "d"},
		`{"a":1,"b":2,"a":3}`: map[string]any{"a": 3.0, "b": 2.0},
	} {
		got, err := jsonCodec{}.decode([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, %v, want %#v", text, got, err, want)
		}
	}
	for _, text := range []string{" ", "{", "[", "[1", "[1,", "[1,]", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,}`, `{1:2}`, "]", "1 2", "{} x", "nul", `"`, `"\ud800"`, "\"\xff\"", "1e309", "-1e309", "\xef\xbb\xbf{}"} {
		if got, err := (jsonCodec{}).decode([]byte(text)); err == nil {
			t.Errorf("%q is %#v", text, got)
		}
	}
}

// TestLargeDocuments has documents that would take many times their size, or a deep stack.
func TestLargeDocuments(t *testing.T) {
	lists := func(open, shut string, n int) []byte {
		return []byte(strings.Repeat(open, n) + "1" + strings.Repeat(shut, n))
	}
	for _, tt := range []struct {
		name  string
		codec codec
		body  []byte
		taken bool
	}{
		{"JSON of many values", jsonCodec{}, []byte("[" + strings.Repeat("{},", maxValues-2) + "{}]"), true},
		{"JSON of too many values", jsonCodec{}, []byte("[" + strings.Repeat("{},", maxValues-1) + "{}]"), false},
		{"JSON members of too many values", jsonCodec{}, []byte("{" + strings.Repeat(`"a":0,`, maxValues-1) + `"a":0}`), false},
		{"deep JSON", jsonCodec{}, lists("[", "]", maxDepth), true},
		{"JSON too deep", jsonCodec{}, lists("[", "]", maxDepth+1), false},
		{"JSON objects too deep", jsonCodec{}, lists(`{"a":`, "}", maxDepth+1), false},
		{"CBOR of many values", cborCodec{}, []byte("\x9f" + strings.Repeat("\xa0", maxValues-1) + "\xff"), true},
		{"CBOR of too many values", cborCodec{}, []byte("\x9f" + strings.Repeat("\xa0", maxValues) + "\xff"), false},
		{"CBOR map of too many values", cborCodec{}, []byte("\xbf" + strings.Repeat("\x61a\x00", maxValues) + "\xff"), false},
	} {
		if _, err := tt.codec.decode(tt.body); (err == nil) != tt.taken {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := readJSON(lists("[", "]", maxDepth+1)); !errors.Is(err, errDeep) {
		t.Error(err)
	}
	r := newRig(t)
	got := r.json("PutRecords", `{"StreamName":"s","Records":[`+strings.Repeat("{},", maxValues)+"{}]}")
	if got.status != 400 || string(got.body) != `{"__type":"SerializationException"}` {
		t.Errorf("a put of too many values is answered %d %.200s", got.status, got.body)
	}
}

// FuzzJSON holds our reader against the library: what both take is the same, and ours refuses what the library refuses.
func FuzzJSON(f *testing.F) {
	for _, tt := range puts {
		f.Add([]byte(tt.body))
	}
	f.Add([]byte(`{"a":[1,-2.5e-3,"\u00e9",true,null,{}],"a":{}} `))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > maxDepth {
			return
		}
		got, err := readJSON(b)
		valid := jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true))
		if err == nil && !valid || err != nil && valid && !errors.Is(err, strconv.ErrRange) {
			t.Fatalf("%q: %v; the library says that it is valid: %t", b, err, valid)
		}
		var want any // the library refuses members that are there twice, or merges them
		if json.Unmarshal(b, &want) == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, want %#v", b, got, want)
		}
	})
}

// hungry notes how much memory there is for what it is asked for.
type hungry struct {
	body []byte
	most int
}

func (h *hungry) Read(b []byte) (int, error) {
	h.most = max(h.most, cap(b))
	if len(h.body) == 0 {
		return 0, errors.New("the client has gone")
	}
	n := copy(b, h.body)
	h.body = h.body[n:]
	return n, nil
}

// A client that says how large its body is gets memory for what it has sent, not for what it says.
func TestBodyMemory(t *testing.T) {
	for _, tt := range []struct{ sent, most int }{{0, trusted}, {trusted / 2, trusted}, {3 * trusted, 4 * trusted}} {
		h := &hungry{body: make([]byte, tt.sent)}
		if most := readHungry(t, h, maxPutBody); most > tt.most {
			t.Errorf("for %d bytes of a body said to have %d, %d are set aside", tt.sent, maxPutBody, most)
		}
	}
	for _, said := range []int64{-1, 5000} {
		h := &hungry{body: make([]byte, 3*trusted)}
		if most := readHungry(t, h, said); most > 4*trusted {
			t.Errorf("for a body said to have %d, %d bytes are set aside", said, most)
		}
	}
}

// readHungry reads a body that breaks off, and says how much memory was set aside at once.
func readHungry(t *testing.T, h *hungry, said int64) int {
	t.Helper()
	c := bodyCall(h, httptest.NewRecorder(), put)
	c.r.ContentLength = said
	if _, err := c.readBody(); err == nil {
		t.Error("a body that broke off was taken")
	}
	return h.most
}
