package triggers

import (
	"bytes"
	"strings"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// What says in what way a result of the serving version and one of the shadow's differ.
type What string

// The ways. A result is an output record, an outcome that is not simply ok, the state of a window, or the failure of a call.
const (
	OutputChanged  What = "changed" // an output record: both have it, with other data
	OutputMissing  What = "missing" // an output record: only the serving version has it
	OutputExtra    What = "extra"   // an output record: only the shadow has it
	OutcomeDiffers What = "outcome" // what became of a source record
	StateDiffers   What = "state"   // of a window
	FailureDiffers What = "failure" // one failed, or both in other ways
)

// Difference is one result that differs.
type Difference struct {
	Time   time.Time      `json:"time"`
	Shard  shards.ShardID `json:"shard"`
	First  uint64         `json:"first,omitzero"` // sequence numbers of the source: of one record, or of the first and the last of a call; 0 = the end of a window
	Last   uint64         `json:"last,omitzero"`
	What   What           `json:"what"`
	Stream string         `json:"stream,omitempty"` // of an output
	Key    []byte         `json:"key,omitempty"`    // of the output, else of the source record where it is one
	Old    []byte         `json:"old"`              // the serving version's: data, or a text; nil = none. At most maxSide bytes
	New    []byte         `json:"new"`              // the shadow's
	Cut    bool           `json:"cut,omitempty"`    // Key, Old or New was longer
}

const (
	maxSide        = 1 << 10 // bytes kept of either side of a difference
	maxKey         = 256     // and of its key
	maxFindings    = 8       // differences kept of one call
	maxDifferences = 32      // kept of a shard
)

// findings are what the comparison of a call has found.
type findings struct {
	request     *request
	first, last uint64

	failed                        bool // on either side
	same, changed, missing, extra int  // results
	list                          []Difference
}

func (f *findings) differs() bool { return f.changed+f.missing+f.extra > 0 }

// blamable says whether one of several records may be the cause of something.
func (f *findings) blamable() bool { return f.failed || f.differs() }

// note counts one result, and keeps it where it differs. The sides of d are copied.
func (f *findings) note(same bool, d Difference) {
	if d.What == FailureDiffers {
		f.failed = true
	}
	switch {
	case same:
		f.same++
		return
	case d.What == OutputMissing:
		f.missing++
	case d.What == OutputExtra:
		f.extra++
	default:
		f.changed++
	}
	if len(f.list) == maxFindings {
		return
	}
	if d.First == 0 {
		d.First, d.Last = f.first, f.last
		if d.Key == nil && f.request.n == 1 {
			d.Key = f.request.head[0].First().Key
		}
	}
	d.cut(&d.Key, maxKey)
	d.cut(&d.Old, maxSide)
	d.cut(&d.New, maxSide)
	f.list = append(f.list, d)
}

// cut copies a part of it, as far as it is kept.
func (d *Difference) cut(part *[]byte, most int) {
	if len(*part) > most {
		*part, d.Cut = (*part)[:most], true
	}
	*part = bytes.Clone(*part)
}

// said is a text as a side of a difference; "" is none.
func said(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// output is one record that a call has emitted.
type output struct {
	stream string
	record record.Record
}

// target is what outputs are matched by.
func (o *output) target() string { return o.stream + "\x00" + string(o.record.Key) }

func (o *output) same(other *output) bool {
	return o.stream == other.stream && bytes.Equal(o.record.Key, other.record.Key) &&
		bytes.Equal(o.record.Data, other.record.Data) && bytes.Equal(o.record.ExplicitHash, other.record.ExplicitHash)
}

// outputsOf are what a call that has not failed emitted.
func outputsOf(a *attempt) (list []output) {
	if a.err != nil {
		return nil
	}
	for stream, run := range a.reply.Outputs() {
		for r := range run.All() {
			list = append(list, output{stream, r})
		}
	}
	return list
}

// outputs compares what both sides emitted: by stream and key, in order.
func (f *findings) outputs(old, new []output) {
	for len(old) > 0 && len(new) > 0 && old[0].same(&new[0]) { // mostly that is all
		f.same++
		old, new = old[1:], new[1:]
	}
	order, groups := grouped(old, new)
	for _, target := range order {
		f.group(groups[target][serving], groups[target][candidate])
	}
}

// grouped sorts outputs by their targets, in the order in which those come first.
func grouped(old, new []output) (order []string, groups map[string]*[2][]output) {
	groups = map[string]*[2][]output{}
	for side, list := range [2][]output{serving: old, candidate: new} {
		for _, o := range list {
			target := o.target()
			if groups[target] == nil {
				groups[target] = &[2][]output{}
				order = append(order, target)
			}
			groups[target][side] = append(groups[target][side], o)
		}
	}
	return order, groups
}

// maxShift bounds how far an equal output is looked for.
const maxShift = 64

// group compares the outputs of one target. Those that are equal and in order are the same; what is between them is paired, one by one.
func (f *findings) group(old, new []output) {
	for len(old) > 0 || len(new) > 0 {
		i, j, found := nextSame(old, new)
		f.unlike(old[:i], new[:j])
		if old, new = old[i:], new[j:]; found {
			f.same++
			old, new = old[1:], new[1:]
		}
	}
}

// nextSame finds the nearest outputs that are the same; where there are none, how far it has looked.
func nextSame(old, new []output) (i, j int, found bool) {
	for sum := 0; sum < min(len(old)+len(new), maxShift); sum++ {
		for i := max(0, sum-len(new)+1); i <= sum && i < len(old); i++ {
			if old[i].same(&new[sum-i]) {
				return i, sum - i, true
			}
		}
	}
	if n := maxShift / 2; len(old) > n && len(new) > n { // far from each other: go on from there
		return n, n, false
	}
	return len(old), len(new), false
}

// unlike notes outputs that are not the same.
func (f *findings) unlike(old, new []output) {
	for i := range max(len(old), len(new)) {
		d := Difference{What: OutputChanged}
		if i < len(old) {
			d.Stream, d.Key, d.Old = old[i].stream, old[i].record.Key, old[i].record.Data
		} else {
			d.What = OutputExtra
		}
		if i < len(new) {
			d.Stream, d.Key, d.New = new[i].stream, new[i].record.Key, new[i].record.Data
		} else {
			d.What = OutputMissing
		}
		f.note(false, d)
	}
}

// outcomes compares what became of the records. Both lists ascend by index.
func (f *findings) outcomes(old, new []runtime.Outcome) {
	for len(old) > 0 || len(new) > 0 {
		var a, b runtime.Outcome
		index := 0
		switch {
		case len(new) == 0 || len(old) > 0 && old[0].Index < new[0].Index:
			a, old, index = old[0], old[1:], old[0].Index
		case len(old) == 0 || new[0].Index < old[0].Index:
			b, new, index = new[0], new[1:], new[0].Index
		default:
			a, b, old, new, index = old[0], new[0], old[1:], new[1:], old[0].Index
		}
		r := f.source(index)
		f.note(a == b, Difference{What: OutcomeDiffers, First: r.Sequence, Last: r.Sequence, Key: r.Key, Old: outcomeText(a), New: outcomeText(b)})
	}
}

// source is a record of the call.
func (f *findings) source(index int) record.Record {
	for _, run := range f.request.head {
		if index < run.Len() {
			_, run = run.Split(index)
			return run.First()
		}
		index -= run.Len()
	}
	return record.Record{}
}

// outcomeText says in words what became of a record.
func outcomeText(o runtime.Outcome) []byte {
	word := "ok"
	switch o.Result {
	case runtime.ResultDropped:
		word = "dropped"
	case runtime.ResultRejected:
		word = "rejected"
	case runtime.ResultRetry:
		word = "asked for again"
	}
	if o.Reason != "" {
		word += ": " + o.Reason
	}
	return []byte(strings.ToValidUTF8(word, "\uFFFD"))
}
