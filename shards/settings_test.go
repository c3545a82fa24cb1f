package shards

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
)

func TestUpdate(t *testing.T) {
	r := newRig(t)
	r.create(t, Config{Name: "s", Shards: 2, Tags: map[string]string{"team": "red", "old": "yes"}})
	want, err := r.Describe(t.Context(), "s")
	if err != nil || want.Tags["team"] != "red" {
		t.Fatalf("%+v, %v", want.Tags, err)
	}
	update := func(c Change) {
		t.Helper()
		got, err := r.Update(t.Context(), "s", c)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	want.Retention = 48 * time.Hour
	update(Change{Retention: &want.Retention})
	want.MaxRecordBytes, want.Mode, want.Limits = 4096, OnDemand, LimitsAWS
	update(Change{MaxRecordBytes: &want.MaxRecordBytes, Mode: &want.Mode, Limits: &want.Limits})
	want.Tags = map[string]string{"team": "blue", "nüw": ""}
	update(Change{SetTags: map[string]string{"team": "blue", "nüw": ""}, RemoveTags: []string{"old", "unknown"}})
	want.Attributes = map[string]json.RawMessage{"key": []byte(`"k"`), "policy": []byte(`{"a":[1,2]}`)}
	update(Change{Attributes: map[string]json.RawMessage{"key": []byte(`"k"`), "policy": []byte(" {\"a\": [1, 2]}\n"), "none": []byte("null")}})
	delete(want.Attributes, "policy")
	update(Change{Attributes: map[string]json.RawMessage{"policy": []byte(" null ")}})
	writes := r.table.revision
	update(Change{})
	update(Change{Retention: &want.Retention, SetTags: map[string]string{"team": "blue"}, Attributes: map[string]json.RawMessage{"key": []byte(` "k"`)}})
	if r.table.revision != writes {
		t.Error("a change to what is there already was written")
	}
	r.reopen(t)
	update(Change{})
	want.Tags, want.Attributes = nil, nil
	update(Change{RemoveTags: []string{"team", "nüw"}, Attributes: map[string]json.RawMessage{"key": []byte("null")}})
}

func TestUpdateRefused(t *testing.T) {
	r := newRig(t)
	r.create(t, Config{Name: "s"})
	before, _ := r.Describe(t.Context(), "s")
	many := make(map[string]string)
	for i := range MaxTags + 1 {
		many[fmt.Sprint(i)] = ""
	}
	manyAttributes := make(map[string]json.RawMessage)
	for i := range MaxAttributes + 1 {
		manyAttributes[fmt.Sprint(i)] = []byte("1")
	}
	attribute := func(name, value string) Change {
		return Change{Attributes: map[string]json.RawMessage{name: []byte(value)}}
	}
	for name, c := range map[string]struct {
		change Change
		field  string
	}{
		"short retention":   {Change{Retention: new(time.Duration)}, "retention"},
		"small records":     {Change{MaxRecordBytes: new(int)}, "maxRecordBytes"},
		"mode":              {Change{Mode: new(Mode)}, "mode"},
		"too many tags":     {Change{SetTags: many}, "tags"},
		"long tag":          {Change{SetTags: map[string]string{strings.Repeat("x", 129): ""}}, "tags"},
		"long tag value":    {Change{SetTags: map[string]string{"x": strings.Repeat("ü", 257)}}, "tags"},
		"characters":        {Change{SetTags: map[string]string{"a<b": ""}}, "tags"},
		"value's":           {Change{SetTags: map[string]string{"a": "\x00"}}, "tags"},
		"not UTF-8":         {Change{SetTags: map[string]string{"a": "\xff"}}, "tags"},
		"no JSON":           {attribute("a", "{"), "attributes"},
		"nothing":           {attribute("a", ""), "attributes"},
		"no name":           {attribute("", "1"), "attributes"},
		"long attribute":    {attribute("a", `"`+strings.Repeat("x", MaxAttributeBytes)+`"`), "attributes"},
		"many attributes":   {Change{Attributes: manyAttributes}, "attributes"},
		"the last of many":  {Change{MaxRecordBytes: &before.MaxRecordBytes, Limits: ptr(Limits("odd"))}, "limits"},
		"fractions of a ms": {Change{Retention: ptr(MinRetention + 1)}, "retention"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Update(t.Context(), "s", c.change)
			checkField(t, err, c.field)
		})
	}
	after, _ := r.Describe(t.Context(), "s")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Update(t.Context(), "unknown", Change{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("updated: %v", err)
	}
}

// Attributes can be there from the creation on; those of streams that are on demand go with that mode, whoever changes it, and do not come back.
func TestAttributesOfAMode(t *testing.T) {
	r := newRig(t)
	all := map[string]json.RawMessage{"a": []byte("1"), OnDemandAttribute + "b": []byte(`{ "c": 2 }`), "none": []byte("null")}
	kept := map[string]json.RawMessage{"a": []byte("1")}
	both := map[string]json.RawMessage{"a": []byte("1"), OnDemandAttribute + "b": []byte(`{"c":2}`)}
	r.create(t, Config{Name: "provisioned", Attributes: all})
	r.create(t, Config{Name: "on-demand", Mode: OnDemand, Attributes: all})
	r.reopen(t)
	for name, want := range map[string]map[string]json.RawMessage{"provisioned": kept, "on-demand": both} {
		if got := r.stream(t, name).describe().Attributes; !cmp.Equal(got, want) {
			t.Errorf("%s has %s; want %s", name, got, want)
		}
	}
	for _, c := range []Change{{Mode: ptr(Provisioned)}, {Attributes: all}, {Mode: ptr(OnDemand)}} {
		d, err := r.Update(t.Context(), "on-demand", c)
		if err != nil || !cmp.Equal(d.Attributes, kept) {
			t.Errorf("after %+v: %s, %v", c, d.Attributes, err)
		}
	}
	bad := Config{Name: "bad", Attributes: map[string]json.RawMessage{"a": []byte("{")}}
	if _, _, err := r.Create(t.Context(), bad); !errors.Is(err, ErrInvalid) {
		t.Errorf("an attribute that is no JSON: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

// TestUpdateIsSeenByTheNextCall lets a reader and a putter live through changes.
func TestUpdateIsSeenByTheNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		st := r.create(t, Config{Name: "s", MaxRecordBytes: 1024})
		rd := reader(t, st, Start{})
		put(t, st, "a", "b")
		time.Sleep(2 * time.Hour)
		put(t, st, "c")
		if _, err := r.Update(t.Context(), "s", Change{Retention: ptr(time.Hour), MaxRecordBytes: ptr(2048)}); err != nil {
			t.Fatal(err)
		}
		run, err := rd.Next(t.Context())
		if err != nil || string(run.First().Key) != "c" || rd.Trimmed() != 2 {
			t.Errorf("read %q, %v, %d trimmed", run.First().Key, err, rd.Trimmed())
		}
		results, err := st.Put(t.Context(), []record.Record{{Key: []byte("k"), Data: make([]byte, 2048)}}, nil)
		if err != nil || results[0].Err != nil {
			t.Errorf("put: %+v, %v", results, err)
		}
	})
}

// doubtful is a table whose next writes happen or not, and say that it is not known.
type doubtful struct {
	*memTable
	happen []bool
}

func (d *doubtful) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if len(d.happen) == 0 {
		return d.memTable.Update(ctx, key, value, revision)
	}
	happens := d.happen[0]
	d.happen = d.happen[1:]
	if happens {
		if _, err := d.memTable.Update(ctx, key, value, revision); err != nil {
			return 0, err
		}
	}
	return 0, catalog.ErrUnknownOutcome
}

func TestUpdateOfUnknownOutcome(t *testing.T) {
	for _, happen := range [][]bool{{true}, {false}, {false, true}, {false, false}} {
		r := newRig(t)
		r.create(t, Config{Name: "s"})
		r.defs = &doubtful{r.table, happen}
		for _, want := range []time.Duration{2 * time.Hour, 3 * time.Hour} {
			if d, err := r.Update(t.Context(), "s", Change{Retention: &want}); err != nil || d.Retention != want {
				t.Errorf("%v: %v, %v", happen, d.Retention, err)
			}
		}
		r.reopen(t)
		if d, _ := r.Describe(t.Context(), "s"); d.Retention != 3*time.Hour {
			t.Errorf("%v: %v after a restart", happen, d.Retention)
		}
	}
	r := newRig(t)
	r.create(t, Config{Name: "s"})
	r.defs = &doubtful{r.table, []bool{false, false, false}}
	if _, err := r.Update(t.Context(), "s", Change{Retention: ptr(2 * time.Hour)}); !errors.Is(err, catalog.ErrUnknownOutcome) {
		t.Errorf("updated: %v", err)
	}
}

func TestConsumers(t *testing.T) {
	r := newRig(t)
	r.create(t, Config{Name: "s"})
	before := time.Now().Add(-time.Millisecond)
	b, err := r.RegisterConsumer(t.Context(), "s", "b", map[string]string{"k": "v"})
	if err != nil || b.Name != "b" || b.Tags["k"] != "v" || b.Created.Before(before) || b.Created.After(time.Now()) {
		t.Fatalf("%+v, %v", b, err)
	}
	a, err := r.RegisterConsumer(t.Context(), "s", "a", nil)
	if err != nil || a.Tags != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	want := func(want ...Consumer) {
		t.Helper()
		d, err := r.Describe(t.Context(), "s")
		if diff := cmp.Diff(want, d.Consumers); diff != "" || err != nil {
			t.Error(err, diff)
		}
	}
	want(a, b)
	_, err = r.RegisterConsumer(t.Context(), "s", "b", nil)
	_, unknown := r.RegisterConsumer(t.Context(), "unknown", "b", nil)
	if !errors.Is(err, ErrExists) || !errors.Is(unknown, ErrNotFound) {
		t.Errorf("registered again: %v; with an unknown stream: %v", err, unknown)
	}
	for _, bad := range []string{"", "a b", strings.Repeat("x", 129)} {
		_, err := r.RegisterConsumer(t.Context(), "s", bad, nil)
		checkField(t, err, "consumer")
	}
	_, err = r.RegisterConsumer(t.Context(), "s", "c", map[string]string{"": ""})
	checkField(t, err, "tags")
	r.reopen(t)
	want(a, b)
	b, err = r.UpdateConsumer(t.Context(), "s", "b", map[string]string{"x": "y"}, []string{"k"})
	if diff := cmp.Diff(map[string]string{"x": "y"}, b.Tags); diff != "" || err != nil {
		t.Error(err, diff)
	}
	want(a, b)
	_, err = r.UpdateConsumer(t.Context(), "s", "b", map[string]string{"<": "y"}, nil)
	checkField(t, err, "tags")
	if err := r.DeregisterConsumer(t.Context(), "s", "a"); err != nil {
		t.Error(err)
	}
	want(b)
	_, err = r.UpdateConsumer(t.Context(), "s", "a", nil, nil)
	if gone := r.DeregisterConsumer(t.Context(), "s", "a"); !errors.Is(gone, ErrNoConsumer) || !errors.Is(err, ErrNoConsumer) {
		t.Errorf("deregistered again: %v; updated: %v", gone, err)
	}
}

func TestConsumersAtOnce(t *testing.T) {
	r := newRig(t)
	r.create(t, Config{Name: "s"})
	var wg sync.WaitGroup
	var mu sync.Mutex
	registered := 0
	for i := range MaxConsumers + 5 {
		wg.Go(func() {
			_, err := r.RegisterConsumer(context.Background(), "s", fmt.Sprint("c", i), nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				registered++
			} else {
				checkField(t, err, "consumers", "20")
			}
		})
	}
	wg.Wait()
	if d, _ := r.Describe(t.Context(), "s"); registered != MaxConsumers || len(d.Consumers) != MaxConsumers {
		t.Errorf("%d registered, %d listed", registered, len(d.Consumers))
	}
}
