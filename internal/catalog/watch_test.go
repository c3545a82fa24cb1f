package catalog

import (
	"context"
	"fmt"
	"testing"
)

func TestWatchGivesEveryChange(t *testing.T) {
	h := newHouse(t)
	table := h.table(t, "t")
	mustCreate(t, table, "before", "x")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes := table.Watch(ctx)
	r := mustCreate(t, table, "a", "1")
	got := <-changes
	if got.Key != "a" || string(got.Value) != "1" || got.Revision != r || got.Deleted {
		t.Fatalf("the first change is %+v", got)
	}
	r = mustUpdate(t, table, "a", "2", r)
	if got = <-changes; string(got.Value) != "2" || got.Revision != r {
		t.Fatalf("the second change is %+v", got)
	}
	mustCreate(t, h.table(t, "other"), "a", "not of this table")
	mustDelete(t, table, "a")
	if got = <-changes; got.Key != "a" || !got.Deleted || got.Value != nil || got.Revision <= r {
		t.Fatalf("the third change is %+v", got)
	}
	cancel()
	for range changes {
		t.Error("a change after the end")
	}
}

// TestWatchThatDoesNotRead checks that a watch nobody reads holds at most one change an
// entry, the newest, and does not hold up writers.
func TestWatchThatDoesNotRead(t *testing.T) {
	h := newHouse(t)
	table := h.table(t, "t")
	changes := table.Watch(t.Context())
	revisions := [3]uint64{}
	for round := range 10 {
		for k := range revisions {
			key, value := fmt.Sprint(k), fmt.Sprint(round)
			if round == 0 {
				revisions[k] = mustCreate(t, table, key, value)
			} else {
				revisions[k] = mustUpdate(t, table, key, value, revisions[k])
			}
		}
	}
	last := map[string]string{}
	n := 0
	for len(last) < 3 || last["0"] != "9" || last["1"] != "9" || last["2"] != "9" {
		c := <-changes
		last[c.Key] = string(c.Value)
		n++
	}
	if n > 4 { // one was under way while the rest was replaced
		t.Errorf("%d changes were held for 3 entries", n)
	}
}

func TestWatchEndsWithTheCatalog(t *testing.T) {
	h := newHouse(t)
	table := h.table(t, "t")
	idle := table.Watch(t.Context())
	unread := table.Watch(t.Context())
	mustCreate(t, table, "k", "v")
	<-idle
	if err := h.catalog.Close(); err != nil {
		t.Fatal(err)
	}
	for range idle {
		t.Error("a change after Close")
	}
	for range unread {
		// what was written before Close may still come
	}
}
