package api

import (
	"cmp"
	"slices"
	"sync"

	"github.com/shardmill/shardmill/shards"
)

// outcome gathers what happened to the records of one put. It is used by
// several goroutines at once.
type outcome struct {
	wanted bool // results, not only the summary

	mu     sync.Mutex
	answer PutAnswer
	first  *Problem          // of the first failure
	at     int64             // its line
	names  map[uint32]string // of shards
}

func newOutcome(wanted bool) *outcome {
	return &outcome{wanted: wanted, names: map[uint32]string{}}
}

// settle notes the results of a put.
func (o *outcome) settle(tickets []ticket, results []shards.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range results {
		if err := results[i].Err; err != nil {
			o.refused(tickets[i], problemOf(err))
			continue
		}
		o.answer.Put++
		if o.wanted {
			o.keep(tickets[i].place, PutResult{Shard: o.shard(results[i].Shard), Sequence: Sequence(results[i].Sequence)})
		}
	}
}

// refuse notes a record that was refused before it came to a put.
func (o *outcome) refuse(t ticket, p *Problem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused(t, p)
}

func (o *outcome) refused(t ticket, p *Problem) {
	o.answer.Failed++
	if o.first == nil || t.line < o.at {
		o.first, o.at = p, t.line
	}
	if o.wanted {
		o.keep(t.place, PutResult{Error: p.Kind(), Message: p.Detail, Field: p.Field, Limit: p.Limit})
		return
	}
	failures := o.answer.Failures
	at, _ := slices.BinarySearchFunc(failures, t.line, func(f PutFailure, line int64) int { return cmp.Compare(f.Line, line) })
	if at < maxFailures {
		failures = slices.Insert(failures, at, PutFailure{Line: t.line, Error: p.Kind(), Message: p.Detail, Field: p.Field, Limit: p.Limit})
		o.answer.Failures = failures[:min(len(failures), maxFailures)]
	}
}

func (o *outcome) keep(place int64, r PutResult) {
	if place >= maxResults {
		o.answer.ResultsCut = true
		return
	}
	if missing := int(place) + 1 - len(o.answer.Results); missing > 0 {
		o.answer.Results = append(o.answer.Results, make([]PutResult, missing)...)
	}
	o.answer.Results[place] = r
}

// shard is a shard's name, made once per put.
func (o *outcome) shard(id shards.ShardID) string {
	name, ok := o.names[uint32(id)]
	if !ok {
		name = id.String()
		o.names[uint32(id)] = name
	}
	return name
}

// conclude answers a put that ended as it should: 200 when a record was put or
// there was none, a problem when each was refused. It is called when all others
// are done.
func (o *outcome) conclude(c *call) error {
	if o.answer.Put > 0 || o.answer.Failed == 0 {
		return writeJSON(c.w, 200, &o.answer)
	}
	p := *o.first
	if o.answer.Failed > 1 {
		p = *problem(KindRecordsRefused, "None of the %d records was put. Record %d: %s", o.answer.Failed, o.at, o.first.Detail)
		p.Field, p.Value, p.Limit = o.first.Field, o.first.Value, o.first.Limit
	}
	p.Put = &o.answer
	return &p
}

// breakOff makes the problem of a put that ended early: err says why, and the
// lines from undecided on are.
func (o *outcome) breakOff(err error, undecided int64) error {
	p := *problemOf(err)
	o.answer.UndecidedFrom = undecided
	p.Put = &o.answer
	return &p
}
