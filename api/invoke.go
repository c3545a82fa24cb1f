package api

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// invokeQuery is the query of a direct invocation.
type invokeQuery struct {
	Version int    `query:"version" minimum:"0" doc:"The version to call; 0 or left out is the newest, $LATEST."`
	Alias   string `query:"alias" doc:"The alias that says which version to call."`
}

func (q *invokeQuery) check() error {
	if q.Version < 0 {
		return invalidField("version", strconv.Itoa(q.Version), "0 or more")
	}
	if q.Version != 0 && q.Alias != "" {
		return invalidField("alias", q.Alias, "left out with version")
	}
	return nil
}

// invokeFunction is POST /v1/functions/{name}/invoke. The body is handed over
// as it is, of whatever media type.
func (c *call) invokeFunction(q *invokeQuery) error {
	if err := q.check(); err != nil {
		return err
	}
	body, err := c.readBody(c.limits.Invoke)
	if err != nil {
		return err
	}
	var reply runtime.Reply
	if err := c.invoke(q, runtime.Call{Kind: runtime.KindInvoke, Body: body}, &reply); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", bodyType(reply.Body))
	_, err = c.w.Write(reply.Body)
	return err
}

// invoke makes a call of the path's function, and has the answer's headers say which it was.
func (c *call) invoke(q *invokeQuery, call runtime.Call, reply *runtime.Reply) error {
	header := c.w.Header()
	call.Function, call.Version, call.Alias, call.ID = c.name(), q.Version, q.Alias, ulid.Make().String()
	header.Set(headerInvocation, call.ID)
	err := c.functions.Invoke(c.context(), call, reply)
	var failed *runtime.FunctionError
	if errors.As(err, &failed) {
		header.Set(headerVersion, strconv.Itoa(failed.Version))
	}
	switch {
	case errors.Is(err, runtime.ErrNoAlias):
		return noAlias(c.name(), q.Alias)
	case errors.Is(err, runtime.ErrNoVersion):
		return noVersion(c.name(), q.Version)
	}
	if err == nil {
		header.Set(headerVersion, strconv.Itoa(reply.Version))
	}
	return err
}

// noVersion is the problem of a version that a function does not have.
func noVersion(function string, version int) *Problem {
	p := problem(KindVersionNotFound, "").because(
		fmt.Sprintf("Function %s has no version %d.", function, version), "GET /v1/functions/"+function+" lists its versions.")
	p.Field, p.Value, p.Limit = "version", strconv.Itoa(version), "a version of the function, or 0 for the newest"
	return p
}

// bodyType is the media type of what a function returned: JSON where it is
// that, else bytes.
func bodyType(body []byte) string {
	if validJSON(body) {
		return typeJSON
	}
	return typeBytes
}

// transformRecords is POST /v1/functions/{name}/transform.
func (c *call) transformRecords(q *invokeQuery) error {
	if err := q.check(); err != nil {
		return err
	}
	var body putBody
	if err := c.readJSON(&body, c.limits.Invoke); err != nil {
		return err
	}
	if err := body.check(); err != nil {
		return err
	}
	batch, err := body.batch()
	if err != nil {
		return err
	}
	var reply runtime.Reply
	if err := c.invoke(q, runtime.Call{Kind: runtime.KindTransform, Records: []record.Run{batch.Run()}}, &reply); err != nil {
		return err
	}
	return writeJSON(c.w, 200, transformedOf(batch.Run(), &reply))
}

// batch encodes the records as if they had arrived now. One that cannot be is the error.
func (b *putBody) batch() (record.Batch, error) {
	var w record.Builder
	arrival := time.Now().UnixMicro()
	for i := range b.Records {
		r, bad := b.Records[i].decode()
		if bad == nil {
			r.Sequence, r.Arrival = uint64(i)+1, arrival
			if n := utf8.RuneCount(r.Key); n == 0 || n > shards.MaxKeyLength {
				bad = invalidField("partitionKey", fmt.Sprintf("%d characters", n), fmt.Sprintf("1 to %d characters", shards.MaxKeyLength))
			} else if err := w.Append(r); err != nil {
				bad = faulty("data", "cannot be encoded: "+err.Error(), "a record")
			}
		}
		if bad != nil {
			named := *bad
			named.Field = fmt.Sprintf("records[%d].%s", i, bad.Field)
			named.Detail = fmt.Sprintf("records[%d].%s", i, bad.Detail)
			return nil, &named
		}
	}
	return w.Finish(), nil
}

// transformedOf is what a transform has made of its records, as it goes over the wire.
func transformedOf(run record.Run, reply *runtime.Reply) *Transformed {
	out := &Transformed{Records: make([]TransformedRecord, run.Len()), Emitted: reply.Emitted}
	for i := range out.Records {
		out.Records[i].Result = "ok"
	}
	for _, o := range reply.Outcomes {
		out.Records[o.Index] = TransformedRecord{Result: o.Result.String(), Reason: o.Reason}
	}
	for i, r := range reply.Replacements() {
		t := &out.Records[i]
		t.Replaced, t.Records = true, append(t.Records, transformOutputOf(&r))
	}
	i := 0
	for r := range run.All() {
		if t := &out.Records[i]; t.Result == "ok" && !t.Replaced {
			t.Records = []TransformOutput{transformOutputOf(&r)}
		}
		i++
	}
	return out
}

func transformOutputOf(r *record.Record) TransformOutput {
	out := TransformOutput{PartitionKey: string(r.Key)}
	out.JSON, out.Text, out.Data = shown(r.Data)
	return out
}
