package api

import "github.com/shardmill/shardmill/internal/state"

// listState is GET /v1/state.
func (c *call) listState(*none) (*StateTableList, error) {
	list := &StateTableList{Tables: []StateTable{}}
	for _, t := range c.state.Tables() {
		out := StateTable{Name: t.Name, Shared: t.Shared, Function: t.Function, Mapping: t.Mapping, Keys: t.Keys, Bytes: t.Bytes}
		if t.Mapping != "" {
			shard := t.Shard
			out.Shard = &shard
		}
		list.Tables = append(list.Tables, out)
	}
	return list, nil
}

// ownerQuery says whose table is meant.
type ownerQuery struct {
	Function string `query:"function" doc:"The function whose own table it is, for all its mappings and shards; left out, it is the shared table."`
}

// deleteState is DELETE /v1/state/{name}.
func (c *call) deleteState(q *ownerQuery) error {
	name := c.name()
	n, err := c.state.Drop(func(t state.Table) bool {
		return t.Name == name && (q.Function == "" && t.Shared || q.Function != "" && t.Function == q.Function)
	})
	if err != nil || n > 0 {
		return err
	}
	what := "There is no shared state table " + quote(name) + " that holds anything."
	if q.Function != "" {
		what = "Function " + quote(q.Function) + " has no state table " + quote(name) + " that holds anything."
	}
	p := problem(KindTableNotFound, "").because(what, "GET /v1/state lists the tables there are.")
	p.Field, p.Value, p.Limit = "name", cut(name), "the name of a state table that exists"
	return p
}
