package runtime

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// threeVersions is a runtime with the function f, whose versions 1 to 3 answer "one", "two" and "three".
func threeVersions(t *testing.T, options ...func(*Options)) *world {
	t.Helper()
	w := open(t, options...)
	for _, body := range []string{"one", "two", "three"} {
		w.deploy(t, "f", constant(t, body), Config{})
	}
	return w
}

func (w *world) askAlias(t *testing.T, alias string) (string, int) {
	t.Helper()
	var reply Reply
	if err := w.Invoke(t.Context(), Call{Function: "f", Alias: alias, Kind: KindInvoke}, &reply); err != nil {
		t.Fatal(err)
	}
	return string(reply.Body), reply.Version
}

func (w *world) putAlias(t *testing.T, a Alias) Alias {
	t.Helper()
	stored, _, err := w.PutAlias(t.Context(), "f", a)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func TestAliasLeadsToItsVersion(t *testing.T) {
	w := threeVersions(t)
	stored, created, err := w.PutAlias(t.Context(), "f", Alias{Name: "prod", Version: 1, Description: "what customers see"})
	if err != nil || !created || stored.Created.IsZero() {
		t.Fatalf("%+v, created %v: %v", stored, created, err)
	}
	w.putAlias(t, Alias{Name: "edge"})
	if body, version := w.askAlias(t, "prod"); body != "one" || version != 1 {
		t.Errorf("prod is version %d: %q", version, body)
	}
	if body, _ := w.askAlias(t, "edge"); body != "three" {
		t.Errorf("the alias of $LATEST answers %q", body)
	}
	changed, created, err := w.PutAlias(t.Context(), "f", Alias{Name: "prod", Version: 2})
	if err != nil || created || !changed.Created.Equal(stored.Created) || changed.Modified.Before(stored.Modified) {
		t.Errorf("%+v, created %v: %v", changed, created, err)
	}
	w.deploy(t, "f", constant(t, "four"), Config{})
	if body, _ := w.askAlias(t, "prod"); body != "two" {
		t.Errorf("after the change prod answers %q", body)
	}
	if body, _ := w.askAlias(t, "edge"); body != "four" {
		t.Errorf("after a deploy the alias of $LATEST answers %q", body)
	}

	// All of it is there after a restart.
	w = reopen(t, w.stores)
	f, err := w.Get("f")
	if err != nil || len(f.Aliases) != 2 || f.Aliases[0].Name != "edge" || f.Aliases[1] != changed {
		t.Errorf("after a restart: %+v: %v", f.Aliases, err)
	}
	if body, _ := w.askAlias(t, "prod"); body != "two" {
		t.Errorf("after a restart prod answers %q", body)
	}
	if err := w.DeleteAlias(t.Context(), "f", "prod"); err != nil {
		t.Fatal(err)
	}
	var reply Reply
	err = w.Invoke(t.Context(), Call{Function: "f", Alias: "prod", Kind: KindInvoke}, &reply)
	if !errors.Is(err, ErrNoAlias) || !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted alias: %v", err)
	}
	if err := w.DeleteAlias(t.Context(), "f", "prod"); !errors.Is(err, ErrNoAlias) {
		t.Errorf("deleting it again: %v", err)
	}
}

// What a function does not have is told as that: there is a function.
func TestMissingVersionsAndAliasesHaveTheirOwnText(t *testing.T) {
	w := threeVersions(t)
	for text, call := range map[string]Call{
		`runtime: invoke "f" version 9: the function has no such version`: {Function: "f", Version: 9, Kind: KindInvoke},
		`runtime: invoke "f" alias "x": the function has no such alias`:   {Function: "f", Alias: "x", Kind: KindInvoke},
		`runtime: invoke "g": function not found`:                         {Function: "g", Kind: KindInvoke},
	} {
		err := w.Invoke(t.Context(), call, new(Reply))
		if err == nil || err.Error() != text || !errors.Is(err, ErrNotFound) {
			t.Errorf("%v; want %s", err, text)
		}
	}
	if errors.Is(ErrNoVersion, ErrNoAlias) || errors.Is(ErrNotFound, ErrNoVersion) {
		t.Error("one is the other")
	}
}

func TestCanaryHasItsShare(t *testing.T) {
	w := threeVersions(t)
	const calls = 2000
	for _, tt := range []struct {
		share    float64
		from, to int // of calls that the canary has
	}{{0, 0, 0}, {0.25, calls / 8, calls / 2}, {1, calls, calls}} {
		w.putAlias(t, Alias{Name: "prod", Version: 1, Canary: 2, Share: tt.share})
		canary := 0
		for range calls {
			switch body, version := w.askAlias(t, "prod"); {
			case body == "two" && version == 2:
				canary++
			case body != "one" || version != 1:
				t.Fatalf("version %d answers %q", version, body)
			}
		}
		if canary < tt.from || canary > tt.to {
			t.Errorf("with a share of %g the canary had %d of %d calls", tt.share, canary, calls)
		}
	}
	f, err := w.Get("f")
	if err != nil || f.Versions[0].Invocations+f.Versions[1].Invocations != 3*calls || f.Versions[2].Invocations != 0 || f.Versions[0].Failures != 0 {
		t.Errorf("versions count %+v: %v", f.Versions, err)
	}
}

func TestAliasRefused(t *testing.T) {
	w := threeVersions(t)
	w.putAlias(t, Alias{Name: "prod", Version: 1})
	for _, tt := range []struct {
		field string
		alias Alias
	}{
		{"alias", Alias{Version: 1}},
		{"alias", Alias{Name: "12", Version: 1}},
		{"alias", Alias{Name: "a b", Version: 1}},
		{"alias", Alias{Name: "$LATEST", Version: 1}},
		{"alias", Alias{Name: strings.Repeat("a", 129), Version: 1}},
		{"version", Alias{Name: "a", Version: -1}},
		{"canary", Alias{Name: "a", Version: 1, Canary: -1}},
		{"canary", Alias{Name: "a", Version: 1, Canary: 1}},
		{"canary", Alias{Name: "a", Canary: 1, Share: 0.5}},
		{"share", Alias{Name: "a", Version: 1, Canary: 2, Share: 1.01}},
		{"share", Alias{Name: "a", Version: 1, Canary: 2, Share: -0.5}},
		{"share", Alias{Name: "a", Version: 1, Share: 0.5}},
		{"description", Alias{Name: "a", Version: 1, Description: strings.Repeat("d", 257)}},
	} {
		var refused *FieldError
		if _, _, err := w.PutAlias(t.Context(), "f", tt.alias); !errors.As(err, &refused) || refused.Field != tt.field {
			t.Errorf("%+v: %v, want a refusal of %s", tt.alias, err, tt.field)
		}
	}
	for _, a := range []Alias{{Name: "a", Version: 9}, {Name: "a", Version: 1, Canary: 9}} {
		if _, _, err := w.PutAlias(t.Context(), "f", a); !errors.Is(err, ErrNoVersion) {
			t.Errorf("%+v: %v", a, err)
		}
	}
	if _, _, err := w.PutAlias(t.Context(), "g", Alias{Name: "a"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("an alias of no function: %v", err)
	}
	w.stores.fail = errors.New("disk full")
	if _, _, err := w.PutAlias(t.Context(), "f", Alias{Name: "prod", Version: 2}); err == nil {
		t.Error("an alias that could not be stored was taken")
	}
	w.stores.fail = nil
	if body, _ := w.askAlias(t, "prod"); body != "one" {
		t.Errorf("what was refused changed prod: it answers %q", body)
	}
	if f, _ := w.Get("f"); len(f.Aliases) != 1 {
		t.Errorf("aliases %+v", f.Aliases)
	}
}

func TestNamedVersionsAreKept(t *testing.T) {
	pinned := 0
	w := threeVersions(t, func(o *Options) {
		o.KeepVersions = 3
		o.Pinned = func(function string, version int) bool { return function == "f" && version == pinned }
	})
	w.putAlias(t, Alias{Name: "prod", Version: 1})
	pinned = 2
	var f Function
	for _, body := range []string{"four", "five", "six"} {
		f = w.deploy(t, "f", constant(t, body), Config{})
	}
	if !slices.Equal(numbers(f), []int{1, 2, 4, 5, 6}) {
		t.Errorf("versions %v, want the two that are named and the three newest", numbers(f))
	}
	if body, _ := w.askAlias(t, "prod"); body != "one" {
		t.Errorf("prod answers %q", body)
	}

	if f, err := w.Rollback(t.Context(), "f", 5); err != nil || w.mustAsk(t, "f", "") != "five" {
		t.Errorf("rolled back to %+v, %v", f, err)
	}
	for number, want := range map[int]error{1: ErrInUse, 7: ErrInUse, 0: ErrNoVersion, 9: ErrNoVersion} {
		if err := w.DeleteVersion(t.Context(), "f", number); !errors.Is(err, want) {
			t.Errorf("deleting version %d: %v, want %v", number, err, want)
		}
	}
	before := len(w.stores.blobs)
	if err := w.DeleteVersion(t.Context(), "f", 2); err != nil {
		t.Fatal(err)
	}
	if f, _ = w.Get("f"); !slices.Equal(numbers(f), []int{1, 5, 6, 7}) || len(w.stores.blobs) != before-1 {
		t.Errorf("versions %v and %d blobs are left", numbers(f), len(w.stores.blobs))
	}
}

func TestRollback(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", constant(t, "good"), Config{Timeout: time.Second})
	w.deploy(t, "f", constant(t, "bad"), Config{})
	f, err := w.Rollback(t.Context(), "f", 1)
	if err != nil || f.Version != 3 || f.Config.Timeout != time.Second || w.mustAsk(t, "f", "") != "good" {
		t.Errorf("version %d with %+v: %v", f.Version, f.Config, err)
	}
	if f, err = w.Rollback(t.Context(), "f", 3); err != nil || f.Version != 3 {
		t.Errorf("rolling back to what serves made version %d: %v", f.Version, err)
	}
	for _, number := range []int{0, 7} {
		if _, err := w.Rollback(t.Context(), "f", number); !errors.Is(err, ErrNoVersion) {
			t.Errorf("to version %d: %v", number, err)
		}
	}
	clear(w.stores.blobs)
	if _, err := w.Rollback(t.Context(), "f", 2); !errors.Is(err, ErrUnavailable) || w.mustAsk(t, "f", "") != "good" {
		t.Errorf("to code that is lost: %v", err)
	}
}

func TestParseQualifier(t *testing.T) {
	for _, tt := range []struct {
		in      string
		version int
		alias   string
		ok      bool
	}{
		{"", 0, "", true}, {"$LATEST", 0, "", true}, {"1", 1, "", true}, {"120", 120, "", true}, {"prod", 0, "prod", true}, {"v2", 0, "v2", true}, {"-", 0, "-", true},
		{"-1", 0, "-1", true}, // an alias may be named so
		{"0", 0, "", false}, {"007", 0, "", false}, {"+1", 0, "", false}, {"99999999999999999999", 0, "", false}, {"$latest", 0, "", false}, {"a.b", 0, "", false}, {"ü", 0, "", false},
	} {
		version, alias, err := ParseQualifier(tt.in)
		if version != tt.version || alias != tt.alias || (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: version %d, alias %q: %v", tt.in, version, alias, err)
		}
	}
}

// A definition that an older program wrote has no aliases and no reservation.
func TestReadsOlderDefinitions(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", constant(t, "x"), Config{})
	entry := w.stores.entries["f"]
	entry.Value = bytes.Replace(entry.Value, []byte(`"format":2`), []byte(`"format":1`), 1)
	w.stores.entries["f"] = entry
	w = reopen(t, w.stores)
	if f, err := w.Get("f"); err != nil || f.Reserved != Unreserved || len(f.Aliases) != 0 {
		t.Errorf("%+v: %v", f, err)
	}
	if w.mustAsk(t, "f", "") != "x" {
		t.Error("it does not answer")
	}
}

func TestDamagedNamesAreNotServed(t *testing.T) {
	for _, damage := range []string{
		`"aliases":[{"name":"a","version":7}]`, `"aliases":[{"name":"b"},{"name":"a"}]`, `"aliases":[{"name":"a"},{"name":"a"}]`,
		`"aliases":[{"name":"a","version":1,"canary":1}]`, `"reserved":-2`, `"reserved":1001`,
	} {
		s := newStores()
		value := `{"format":2,"next":2,"versions":[{"version":1,"digest":"sha256:` + strings.Repeat("0", 64) +
			`","size":1,"kinds":16,"created":"2026-01-02T03:04:05Z","timeoutMs":1,"memoryBytes":1048576,"concurrency":1}],` + damage + `}`
		if _, err := (table{s}).Create(context.Background(), "f", []byte(value)); err != nil {
			t.Fatal(err)
		}
		if _, err := reopen(t, s).Get("f"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", damage, err)
		}
	}
}
