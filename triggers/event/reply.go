package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/shardmill/shardmill/sdk/record"
)

// ErrReply, wrapped with what is wrong, says that a reply means nothing: the whole batch has failed.
var ErrReply = errors.New("the function's reply is not valid")

// Reply is what a function answered.
type Reply struct {
	// Failures are the positions in the batch of the records that were reported as failed, ascending, each once. Those from the first
	// on are to be handed over again.
	Failures []int
	State    []byte // the window's new state, a JSON object that points into the body; nil without a window
}

// ParseReply reads what a function answered to an event of an Envelope and records. itemFailures says whether the mapping honours
// batchItemFailures; where it does not, and there is no window, any reply will do. Error: ErrReply.
func ParseReply(body []byte, e Envelope, records []record.Run, itemFailures bool) (Reply, error) {
	if !itemFailures && e.Window == nil {
		return Reply{}, nil
	}
	r, failures, err := parseMembers(body, e.Window)
	if err != nil || !itemFailures {
		return r, err
	}
	r.Failures, err = e.positions(failures, records)
	return r, err
}

// parseMembers reads the members of a reply that mean something: the state into the reply, and the list of failures as it is written.
func parseMembers(body []byte, w *Window) (r Reply, failures []byte, err error) {
	c := cursor{b: body}
	c.space()
	if !json.Valid(body) && c.at < len(body) {
		return Reply{}, nil, fmt.Errorf("%w: it is not JSON", ErrReply)
	}
	switch first := c.peek(); {
	case first == '{':
		for name := range c.members() {
			switch string(name) {
			case "state":
				r.State = c.value()
			case "batchItemFailures":
				failures = c.value()
			default:
				c.value()
			}
		}
	case !blank(body[c.at:]):
		return Reply{}, nil, fmt.Errorf("%w: it is %s and not an object", ErrReply, kindOf(first))
	}
	if w == nil {
		r.State = nil
		return r, failures, nil
	}
	switch {
	case isNull(r.State) && w.Final:
		r.State = nil
	case isNull(r.State):
		return Reply{}, nil, fmt.Errorf("%w: it has no state, and the mapping has a tumbling window", ErrReply)
	case r.State[0] != '{':
		return Reply{}, nil, fmt.Errorf("%w: its state is %s and not an object", ErrReply, kindOf(r.State[0]))
	}
	return r, failures, nil
}

// blank says whether a reply that is no object says nothing.
func blank(b []byte) bool {
	c := cursor{b: b}
	switch string(c.value()) {
	case "", "null", `""`:
		return true
	}
	c = cursor{b: b}
	if c.peek() != '[' {
		return false
	}
	for range c.items() {
		return false
	}
	return true
}

// isNull says whether a member is null or not there.
func isNull(value []byte) bool { return len(value) == 0 || value[0] == 'n' }

// kindOf names a JSON value by its first byte.
func kindOf(first byte) string {
	switch first {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// positions finds the records that a list of failures names.
func (e *Envelope) positions(failures []byte, records []record.Run) ([]int, error) {
	if isNull(failures) {
		return nil, nil
	}
	if failures[0] != '[' {
		return nil, fmt.Errorf("%w: batchItemFailures is %s and not a list", ErrReply, kindOf(failures[0]))
	}
	var sequences []uint64
	c := cursor{b: failures}
	for i := range c.items() {
		sequence, err := e.identifier(&c)
		if err != nil {
			return nil, fmt.Errorf("%w: batchItemFailures[%d] %w", ErrReply, i, err)
		}
		sequences = append(sequences, sequence)
	}
	slices.Sort(sequences)
	sequences = slices.Compact(sequences)
	return locate(sequences, records)
}

// identifier reads one item of batchItemFailures.
func (e *Envelope) identifier(c *cursor) (uint64, error) {
	if first := c.peek(); first != '{' {
		c.value()
		return 0, fmt.Errorf("is %s and not an object", kindOf(first))
	}
	var value []byte
	for name := range c.members() {
		if v := c.value(); string(name) == "itemIdentifier" {
			value = v
		}
	}
	if isNull(value) {
		return 0, errors.New("has no itemIdentifier")
	}
	if value[0] != '"' {
		return 0, fmt.Errorf("has an itemIdentifier that is %s and not a string", kindOf(value[0]))
	}
	text := unquote(value)
	number, ok := e.Numbers.Parse(string(text))
	if !ok || number.Shard != e.Shard {
		return 0, fmt.Errorf("has the itemIdentifier %.80q, which is no sequence number of the batch", text)
	}
	return number.Sequence(), nil
}

// locate finds the positions of the records with those sequence numbers, which ascend as the records' do. Of user records of one
// aggregate, which share a number, it is the first.
func locate(sequences []uint64, records []record.Run) ([]int, error) {
	positions := make([]int, 0, len(sequences))
	at := 0
	for _, run := range records {
		for r := range run.All() {
			if len(positions) == len(sequences) {
				return positions, nil
			}
			if r.Sequence == sequences[len(positions)] {
				positions = append(positions, at)
			}
			at++
		}
	}
	if len(positions) < len(sequences) {
		return nil, fmt.Errorf("%w: batchItemFailures has a sequence number that is not in the batch", ErrReply)
	}
	return positions, nil
}
