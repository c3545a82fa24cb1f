package sdktest

import (
	"testing"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/abi"
)

// Transformed is what a transform came to.
type Transformed struct {
	Outcomes []Outcome               // one for each record; empty when Err is not nil
	Records  [][]sdk.Record          // for each record what goes on in its place: itself, or what replaces it; nothing when it does not go on
	Emitted  map[string][]sdk.Record // by stream, in order; copies
	Err      *Failure                // nil when the handler returned nil
}

// Transform runs a transform handler on records. Records without a sequence number are given 1, 2, 3 and so on.
func Transform(t testing.TB, handler sdk.TransformHandler, records ...sdk.Record) *Transformed {
	t.Helper()
	return Call{}.Transform(t, handler, records...)
}

// Transform is the function Transform with the facts of c.
func (c Call) Transform(t testing.TB, handler sdk.TransformHandler, records ...sdk.Record) *Transformed {
	t.Helper()
	var reply abi.Reply
	c.handle(t, sdk.Handlers{Transform: handler}, abi.KindTransform, encode(t, records), len(records), &reply)
	res := &Transformed{Emitted: emitted(&reply), Err: failure(&reply)}
	if res.Err != nil {
		return res
	}
	res.Outcomes, res.Records = outcomes(&reply, len(records)), make([][]sdk.Record, len(records))
	for i, r := range reply.Replacements() {
		r.Sequence = 0
		res.Records[i] = append(res.Records[i], owned(r))
	}
	for i, r := range records {
		if res.Outcomes[i].Result == abi.ResultOK && res.Records[i] == nil {
			res.Records[i] = []sdk.Record{owned(r)}
		}
	}
	return res
}
