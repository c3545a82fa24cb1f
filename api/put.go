package api

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// putQuery is the query of a put of records.
type putQuery struct {
	Key     string `query:"key" example:"/origin" doc:"For NDJSON: the JSON pointer to each line's partition key, a string, number, true or false. Left out, each line has a random key. A line without such a value is refused."`
	Results bool   `query:"results" doc:"For NDJSON and raw batches: answer a result per record, for the first 100000, and not only the summary."`
}

// putRecords is POST /v1/streams/{name}/records.
func (c *call) putRecords(q *putQuery) error {
	if err := c.needMediaType(typeJSON, typeLines, typeBatch); err != nil {
		return err
	}
	kind := c.mediaType()
	if kind != typeLines && q.Key != "" {
		return faulty("key", "is given with a body of "+kind, "left out but for "+typeLines)
	}
	st, err := c.streams.Stream(c.name())
	if err != nil {
		return err
	}
	switch kind {
	case typeJSON:
		return c.putJSON(st)
	case typeBatch:
		return c.putBatch(st, q.Results)
	}
	return c.putLines(st, q)
}

// putJSON puts the records of an application/json body. What is wrong with the
// body refuses all of it; what is wrong with one record, that record.
func (c *call) putJSON(st putter) error {
	var body putBody
	if err := c.readJSON(&body, c.limits.Records); err != nil {
		return err
	}
	if err := body.check(); err != nil {
		return err
	}
	o := newOutcome(true)
	if records, tickets := body.decode(o); len(records) > 0 {
		results, err := st.Put(c.context(), records, nil)
		if err != nil {
			return err
		}
		o.settle(tickets, results)
	}
	return o.conclude(c)
}

// putBatch puts the records of a raw record batch.
func (c *call) putBatch(st *shards.Stream, wanted bool) error {
	body, err := c.readBody(c.limits.Records)
	if err != nil {
		return err
	}
	batch, err := record.Parse(body)
	if err != nil {
		p := problem(KindMalformedBatch, "The body is not one whole record batch (%v); send the bytes of one as sdk/record lays it out.", err)
		p.Field, p.Limit = "body", "one record batch, format version 1"
		return p
	}
	if batch.Len() == 0 {
		return faulty("body", "has no record", "a record batch of at least one record")
	}
	results, err := st.PutRun(c.context(), batch.Run(), make([]shards.Result, 0, batch.Len()))
	if err != nil {
		return err
	}
	o := newOutcome(wanted)
	o.settle(tickets(len(results)), results)
	return o.conclude(c)
}

// tickets number n records.
func tickets(n int) []ticket {
	list := make([]ticket, n)
	for i := range list {
		list[i] = ticket{line: int64(i) + 1, place: int64(i)}
	}
	return list
}

// linePut is one put of NDJSON under way.
type linePut struct {
	lanes   *lanes
	outcome *outcome
	reader  *lineReader
	path    pointer
	scanner scanner
	random  *rand.ChaCha8
	key     []byte // scratch
	place   int64
}

// putLines puts a body of NDJSON, one record a line, while it arrives. Each
// line is decided on its own: one that is refused leaves the others as they are.
func (c *call) putLines(st putter, q *putQuery) error {
	path, bad := parsePointer(q.Key)
	if bad != nil {
		return bad
	}
	// A read that fails ends the request's context, be it by a deadline; what has
	// been read is put all the same.
	ctx := context.WithoutCancel(c.context())
	stopped, release := c.untilStop(ctx)
	defer release()
	body := c.guard(c.r.Body, c.limits.LinesIdle, stopped)
	defer context.AfterFunc(stopped, body.interrupt)()

	o := newOutcome(q.Results)
	p := &linePut{
		lanes: startLanes(ctx, st, o), outcome: o, reader: newLineReader(body, shards.MaxRecordBytes, c.r.ContentLength),
		path: path, random: rand.NewChaCha8(randomSeed()),
	}
	broken := p.pump()
	body.finish()
	undecided, failed := p.lanes.finish()
	switch {
	case failed != nil:
		return o.breakOff(failed, undecided)
	case broken != nil:
		return o.breakOff(broken, p.reader.number+1)
	}
	return o.conclude(c)
}

func randomSeed() (seed [32]byte) {
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	return seed
}

// pump reads the body to its end and gives its lines to the lanes. A last line
// without a line feed counts when the body ended as it should.
func (p *linePut) pump() error {
	for {
		readErr := p.reader.fill()
		for {
			line, state := p.reader.take()
			if state == lineNone {
				break
			}
			if err := p.line(line, state); err != nil {
				return err
			}
		}
		if readErr == io.EOF {
			if line, state := p.reader.last(); state != lineNone {
				return p.line(line, state)
			}
			return nil
		}
		if err := p.lanes.flush(); err != nil {
			return err
		}
		if readErr != nil {
			return readErr
		}
	}
}

// line decides on one line: it is blank, refused, or goes to a lane.
func (p *linePut) line(line []byte, state lineState) error {
	if state == lineWhole && len(bytes.TrimLeft(line, " \t\r")) == 0 {
		return nil
	}
	t := ticket{line: p.reader.number, place: p.place}
	p.place++
	if state == lineTooLong {
		p.outcome.refuse(t, tooLongLine(p.reader.max))
		return nil
	}
	value, ok := p.scanner.scan(line, p.path.tokens)
	if !ok {
		bad := problem(KindMalformedLine, "The line is not valid JSON in UTF-8 at byte %d; correct it and send it again.", p.scanner.i+1)
		bad.Field = "line"
		p.outcome.refuse(t, bad)
		return nil
	}
	key, bad := p.keyOf(line, value)
	if bad != nil {
		p.outcome.refuse(t, bad)
		return nil
	}
	return p.lanes.add(key, line, t)
}

func tooLongLine(limit int) *Problem {
	return faulty("data", fmt.Sprintf("is more than %d bytes, the most that any stream takes", limit), "at most the stream's maxRecordBytes")
}

// keyOf is a line's partition key: the value at the pointer, or a random one
// where no pointer is given. It is valid until the next call.
func (p *linePut) keyOf(line []byte, value found) ([]byte, *Problem) {
	if p.path.text == "" {
		var raw [randomKeyLength / 2]byte
		p.random.Read(raw[:])
		p.key = hex.AppendEncode(p.key[:0], raw[:])
		return p.key, nil
	}
	switch value.kind {
	case stringValue:
		inner := line[value.start+1 : value.end-1]
		if !value.escaped {
			return inner, nil
		}
		p.key = appendUnescaped(p.key[:0], inner)
		return p.key, nil
	case numberValue, boolValue:
		return line[value.start:value.end], nil
	}
	what := "has no value"
	switch value.kind {
	case nullValue:
		what = "has null"
	case objectValue:
		what = "has an object"
	case arrayValue:
		what = "has an array"
	}
	bad := problem(KindMissingKey, "The line %s at %s; a key is a string, a number, true or false.", what, p.path.text)
	bad.Field, bad.Value, bad.Limit = "key", p.path.text, "a pointer to a string, a number, true or false in every line"
	return nil, bad
}
