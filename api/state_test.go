package api

import (
	"strings"
	"testing"

	"github.com/shardmill/shardmill/internal/state"
)

// TestStateTables lists and deletes what functions keep.
func TestStateTables(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	if list, err := h.StateTables(ctx); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	b := h.handler.state.(*state.Store).Begin()
	for _, table := range []state.Table{
		{Name: "cities", Shared: true}, {Name: "seen", Function: "f", Mapping: "m", Shard: 0}, {Name: "seen", Function: "f", Mapping: "m", Shard: 1},
		{Name: "seen", Function: "g"},
	} {
		if _, err := b.Put(table, "k", []byte("v"), state.Any); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	list, err := h.StateTables(ctx)
	if err != nil || len(list) != 4 || !list[0].Shared || list[0].Keys != 1 || list[0].Bytes != 18 || list[0].Shard != nil || *list[1].Shard != 0 || *list[2].Shard != 1 || list[3].Function != "g" {
		t.Errorf("%+v, %v", list, err)
	}
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/v1/state/seen", 404, `There is no shared state table`},
		{"/v1/state/seen?function=h", 404, `has no state table`},
		{"/v1/state/seen?function=f", 204, ""},
		{"/v1/state/cities", 204, ""},
		{"/v1/state/cities", 404, `"field":"name"`},
	} {
		if status, answer := h.send(t, "DELETE", c.path, "", ""); status != c.status || !strings.Contains(answer, c.want) {
			t.Errorf("%s: %d %s", c.path, status, answer)
		}
	}
	if list, err := h.StateTables(ctx); err != nil || len(list) != 1 || list[0].Function != "g" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := h.DeleteState(ctx, "seen", "g"); err != nil {
		t.Error(err)
	}
}
