package api

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/internal/state"
)

func TestStateEntries(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	cities := StateOf{Table: "cities"}
	// Keys and values of all sorts come back as they were, in the order of their bytes.
	values := map[string]string{"..": "dots", "/a/b?c=%20": "{\"a\":1}", "LAX": "", "ä ö": "text", "\xff\x00": "\xfe", strings.Repeat("k", 512): strings.Repeat("v", 1<<20)}
	for key, value := range values {
		if s, err := h.PutStateEntry(ctx, cities, key, []byte(value), NoEntry); err != nil || s.Revision < 1 || s.Bytes != len(value) {
			t.Fatalf("%q: %+v, %v", key, s, err)
		}
	}
	last := ""
	n := 0
	for e, err := range h.StateEntries(ctx, cities, "") {
		if err != nil || e.Name() <= last || values[e.Name()] != string(e.Bytes()) {
			t.Fatalf("%q after %q: %v", e.Name(), last, err)
		}
		value, revision, err := h.StateEntry(ctx, cities, e.Name())
		if err != nil || string(value) != values[e.Name()] || revision != e.Revision {
			t.Errorf("%q: %d bytes of revision %d, want %d; %v", e.Name(), len(value), revision, e.Revision, err)
		}
		last = e.Name()
		n++
	}
	if n != len(values) {
		t.Errorf("%d entries are listed", n)
	}
	for e, err := range h.StateEntries(ctx, cities, "L") {
		if e.Key != "LAX" || err != nil {
			t.Errorf("with a prefix: %+v, %v", e, err)
		}
	}

	// Compare-and-set.
	_, revision, _ := h.StateEntry(ctx, cities, "LAX")
	_, err := h.PutStateEntry(ctx, cities, "LAX", nil, NoEntry)
	if p := asProblem(t, err); p.Kind() != KindConflict {
		t.Errorf("an entry that must not be there: %+v", p)
	}
	if s, err := h.PutStateEntry(ctx, cities, "LAX", []byte("2"), revision); err != nil || s.Revision == revision {
		t.Errorf("%+v, %v", s, err)
	}
	if p := asProblem(t, h.DeleteStateEntry(ctx, cities, "LAX", revision)); p.Kind() != KindConflict {
		t.Errorf("a revision that is gone: %+v", p)
	}
	if err := h.DeleteStateEntry(ctx, cities, "LAX", AnyRevision); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"deleting again": h.DeleteStateEntry(ctx, cities, "LAX", AnyRevision),
		"reading":        func() error { _, _, err := h.StateEntry(ctx, cities, "LAX"); return err }(),
	} {
		if p := asProblem(t, err); p.Kind() != KindEntryNotFound || p.Field != "key" || p.Value != "LAX" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestStateEntriesThatAreRefused(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.deploy(t, "f", FunctionConfig{})
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PUT", "/v1/state/cities/entries/" + strings.Repeat("k", 513), "x", 400, `"field":"key"`},
		{"PUT", "/v1/state/cities/entries/k", strings.Repeat("v", 1<<20+1), 413, "body"},
		{"PUT", "/v1/state/..%2Fx/entries/k", "x", 400, `"field":"table"`},
		{"PUT", "/v1/state/" + strings.Repeat("t", 65) + "/entries/k", "x", 400, `"field":"table"`},
		{"PUT", "/v1/state/cities/entries/k?expected=-1", "x", 400, `"field":"expected"`},
		{"PUT", "/v1/state/cities/entries/k?expected=7", "x", 409, "conflict"},
		{"DELETE", "/v1/state/cities/entries/k?expected=x", "", 400, `"field":"expected"`},
		{"PUT", "/v1/state/cities/entries/k?function=none", "x", 404, "function-not-found"},
		{"PUT", "/v1/state/cities/entries/k?function=f&mapping=none", "x", 404, "mapping-not-found"},
		{"PUT", "/v1/state/cities/entries/k?mapping=m", "x", 400, `"field":"mapping"`},
		{"PUT", "/v1/state/cities/entries/k?function=f&shard=1", "x", 400, `"field":"shard"`},
		{"PUT", "/v1/state/cities/entries/k?function=f&mapping=m&shard=-1", "x", 400, `"field":"shard"`},
		{"PUT", "/v1/state/cities/entries/k?function=f", "x", 200, `"bytes":1`},
		{"GET", "/v1/state/cities/entries/k?function=f", "", 200, "x"},
		{"GET", "/v1/state/cities/entries/k", "", 404, "State table cities has no key"},
		{"GET", "/v1/state/cities/entries?limit=1001", "", 400, `"field":"limit"`},
		{"GET", "/v1/state/cities/entries?prefix=" + strings.Repeat("k", 513), "", 400, `"field":"key"`},
		{"GET", "/v1/state/cities/entries", "", 200, `{"entries":[]}`},
	} {
		if status, answer := h.send(t, c.method, c.path, typeBytes, c.body); status != c.status || !strings.Contains(answer, c.want) {
			t.Errorf("%s %.60s: %d %s", c.method, c.path, status, answer)
		}
	}
}

func TestLoadState(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	to := StateOf{Table: "cities"}
	var lines bytes.Buffer
	for i := range 2500 { // more than one piece
		fmt.Fprintf(&lines, "{\"n\":%d,\"codes\":{\"iata\":\"K%04d\"}}\n\n", i, i)
	}
	if l, err := h.LoadState(ctx, to, "/codes/iata", &lines); err != nil || l.Loaded != 2500 {
		t.Fatalf("%+v, %v", l, err)
	}
	var dump bytes.Buffer
	n := 0
	for e, err := range h.StateEntries(ctx, to, "") {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&dump, "{\"key\":%q,\"revision\":%d,\"json\":%s}\n", e.Key, e.Revision, e.JSON)
		n++
	}
	if n != 2500 {
		t.Fatalf("%d entries", n)
	}
	dump.WriteString(`{"key":"text","text":"a\u0000b"}` + "\n" + `{"keyData":"/w==","data":"/g=="}`) // without an end of line
	copied := StateOf{Table: "copy"}
	if l, err := h.LoadState(ctx, copied, "", &dump); err != nil || l.Loaded != 2502 {
		t.Fatalf("%+v, %v", l, err)
	}
	for key, want := range map[string]string{"K0007": `{"n":7,"codes":{"iata":"K0007"}}`, "text": "a\x00b", "\xff": "\xfe"} {
		if value, _, err := h.StateEntry(ctx, copied, key); err != nil || string(value) != want {
			t.Errorf("%q: %q, %v", key, value, err)
		}
	}

	many := strings.Repeat("{\"k\":1}\n", 1000)
	for name, c := range map[string]struct{ key, body, want string }{
		"not JSON":          {"/k", `{"k":1}` + "\n{", "Line 2: It is not valid JSON in UTF-8 at byte 2. The first 0 entries are stored."},
		"no key":            {"/k", many + "{\"k\":2}\n{}", "Line 1002: The line has no value at /k; a key is a string, a number, true or false. The first 1000 entries are stored."},
		"an empty key":      {"/k", `{"k":""}`, "Line 1: key is"},
		"a long key":        {"/k", `{"k":"` + strings.Repeat("k", 513) + `"}`, "512"},
		"a large value":     {"/k", `{"k":1,"v":"` + strings.Repeat("v", 1<<20) + `"}`, "1048576"},
		"a larger line":     {"/k", strings.Repeat("v", maxEntryLine+1), "Line 1: line is longer than"},
		"no value":          {"", `{"key":"k"}`, "Line 1: data is missing"},
		"two values":        {"", `{"key":"k","text":"x","json":1}`, "exactly one of data, text and json"},
		"no key of its own": {"", `{"text":"x"}`, "exactly one of key and keyData"},
		"two keys":          {"", `{"key":"k","keyData":"/w==","text":"x"}`, "exactly one of key and keyData"},
		"an unknown member": {"", `{"key":"k","value":"x"}`, `The field \"value\" is unknown`},
		"a bad pointer":     {"k", `{}`, "begins with a slash"},
	} {
		path := "/v1/state/bad/entries"
		if c.key != "" {
			path += "?key=" + c.key
		}
		if status, answer := h.send(t, "POST", path, typeLines, c.body); status != 400 || !strings.Contains(answer, c.want) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if status, answer := h.send(t, "POST", "/v1/state/cities/entries", typeJSON, "{}"); status != 415 {
		t.Errorf("%d %s", status, answer)
	}
}

// The members that are decoded are those that are described.
func TestEntryMembersAreAlike(t *testing.T) {
	described, decoded := reflect.TypeFor[StateEntry](), reflect.TypeFor[entryMembers]()
	if described.NumField() != decoded.NumField() {
		t.Errorf("%d members are described, %d decoded", described.NumField(), decoded.NumField())
	}
	for i := range min(described.NumField(), decoded.NumField()) {
		if a, b := jsonName(described.Field(i)), jsonName(decoded.Field(i)); a != b {
			t.Errorf("%s is described, %s decoded", a, b)
		}
	}
}

func TestStateProblems(t *testing.T) {
	for err, want := range map[error]Kind{state.ErrFull: KindStateFull, state.ErrConflict: KindConflict, state.ErrDamaged: KindDamaged, state.ErrNoSpace: KindNoSpace, state.ErrFailed: KindNoSpace} {
		if p := problemOf(fmt.Errorf("state: commit: %w", err)); p.Kind() != want || strings.Contains(p.Detail, "state: ") {
			t.Errorf("%v: %+v", err, p)
		}
	}
	if _, err := (&changeQuery{Expected: "99999999999999999999"}).expected(); !errors.As(err, new(*Problem)) {
		t.Error(err)
	}
	var e StateEntry
	e.JSON = jsontext.Value("1")
	if string(e.Bytes()) != "1" || e.Name() != "" {
		t.Error("an entry has other bytes than its own")
	}
}
