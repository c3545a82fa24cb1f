package api

import (
	"context"
	"iter"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// FunctionPast gives what became of a function's latest calls, oldest first. The sequence ends when all that is kept has been given;
// with follow it waits for more until ctx ends. Its error is runtime.ErrNotFound.
type FunctionPast interface {
	Invocations(ctx context.Context, name string, failed, follow bool) (iter.Seq[runtime.Invocation], error)
}

// invocationQuery is the query of a read of invocations.
type invocationQuery struct {
	Failed bool `query:"failed" doc:"Only those that failed; as many of them are kept beside the latest."`
	Follow bool `query:"follow" doc:"Go on with calls as they end, until the client ends it."`
	Logs   bool `query:"logs" doc:"Each with its log lines that are kept."`
}

// readInvocations is GET /v1/functions/{name}/invocations.
func (c *call) readInvocations(q *invocationQuery) error {
	return feedOf(c, func(ctx context.Context) (iter.Seq[runtime.Invocation], error) {
		return c.functions.Invocations(ctx, c.name(), q.Failed, q.Follow)
	}, func(i runtime.Invocation) *Invocation {
		out := invocationOf(i)
		if q.Logs {
			_ = c.addLogs(out) // only of a function that was deleted meanwhile, which ends the read
		}
		return out
	})
}

// addLogs adds the log lines that are kept of an invocation.
func (c *call) addLogs(i *Invocation) error {
	if i.LogLines == 0 {
		return nil
	}
	lines, err := c.functions.Logs(c.context(), c.name(), time.Time{}, false)
	if err != nil {
		return err
	}
	for line := range lines {
		if line.Invocation == i.ID {
			i.Logs = append(i.Logs, *logLineOf(line))
		}
	}
	return nil
}

// getInvocation is GET /v1/functions/{name}/invocations/{invocation}.
func (c *call) getInvocation(*none) (*Invocation, error) {
	id := c.r.PathValue("invocation")
	found, err := c.findInvocation(id)
	if err != nil {
		return nil, err
	}
	if found == nil {
		p := problem(KindInvocationNotFound, "").because(
			"No invocation "+quote(id)+" of function "+quote(c.name())+" is kept.", "GET /v1/functions/"+c.name()+"/invocations lists those that are.")
		p.Field, p.Value, p.Limit = "invocation", cut(id), "one of the function's latest"
		return nil, p
	}
	return found, c.addLogs(found)
}

// findInvocation looks among the latest, and among those that failed; nil is none.
func (c *call) findInvocation(id string) (*Invocation, error) {
	for _, failed := range []bool{false, true} {
		all, err := c.functions.Invocations(c.context(), c.name(), failed, false)
		if err != nil {
			return nil, err
		}
		for i := range all {
			if i.ID == id {
				return invocationOf(i), nil
			}
		}
	}
	return nil, nil
}

// invocationOf is an invocation as it goes over the wire.
func invocationOf(i runtime.Invocation) *Invocation {
	out := &Invocation{
		ID: i.ID, Function: i.Function, Version: i.Version, Kind: kindName(i.Kind), Started: i.Started.UTC(), Duration: Duration(i.Duration()),
		Attempt: i.Attempt, Records: i.Records, Emitted: i.Emitted, Fuel: i.Fuel, MemoryPeak: Size(i.MemoryPeak),
		Outcome: i.Outcome, Message: i.Message, Type: i.Type, Stack: i.Stack, LogLines: i.LogLines,
	}
	if i.Source != (runtime.Source{}) {
		out.Source = &InvocationSource{
			Mapping: i.Source.Mapping, Stream: i.Source.Stream, Shard: shards.ShardID(i.Source.Shard).String(),
			First: Sequence(i.Source.First), Last: Sequence(i.Source.Last),
		}
	}
	return out
}

func kindName(kind runtime.Kind) string {
	for _, row := range kindNames {
		if row.kind == kind {
			return row.name
		}
	}
	return "unknown"
}
