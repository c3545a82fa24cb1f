package api

import (
	"errors"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

// RecordNumber says which record a client means: a Sequence, or the decimal number of 56 digits that Lambda's events, on-failure documents and AWS's
// clients have for it, which tells the shard too. "" is none.
type RecordNumber string

var errRecordNumber = errors.New("a sequence number: a decimal number below 2^64, or AWS's of 56 digits")

// UnmarshalText takes decimal digits.
func (n *RecordNumber) UnmarshalText(text []byte) error {
	var s Sequence
	if err := s.UnmarshalText(text); err != nil && !isLong(string(text)) {
		return errRecordNumber
	}
	*n = RecordNumber(text)
	return nil
}

// Schema is the type's place in the OpenAPI document.
func (RecordNumber) Schema(r huma.Registry) *huma.Schema {
	s := Sequence(0).Schema(r)
	s.Description += " AWS's of 56 digits, as events and on-failure documents have it, is taken too."
	return s
}

// isLong is whether a text has the form of AWS's numbers.
func isLong(s string) bool {
	if len(s) != sequence.Digits {
		return false
	}
	for _, digit := range []byte(s) {
		if digit < '0' || digit > '9' {
			return false
		}
	}
	return true
}

// seekTo completes where a seek of the call's mapping goes with the record to go on with. A long number tells the shard, if the request does not.
func (c *call) seekTo(to *triggers.Target, n RecordNumber) error {
	if !isLong(string(n)) {
		sequence, err := strconv.ParseUint(string(n), 10, 64)
		if err != nil {
			return invalidField("sequence", string(n), errRecordNumber.Error())
		}
		to.Sequence = sequence
		return nil
	}
	m, err := c.mappings.Get(c.name())
	if err != nil {
		return err
	}
	st, err := c.streams.Stream(m.Stream)
	if err != nil {
		return err
	}
	num, ok := sequence.Of(st.ID()).Parse(string(n))
	if !ok {
		return invalidField("sequence", string(n), "a sequence number of the stream")
	}
	shard := shards.ShardID(num.Shard).String()
	if to.Shard != "" && to.Shard != shard {
		return invalidField("shard", to.Shard, shard+", which the sequence number is of, or left out")
	}
	to.Shard, to.Sequence = shard, num.Sequence()
	return nil
}

// shortFrom turns a long number in a read's from parameter into a short one, if it is of the shard that is read.
func shortFrom(from, streamID string, list []shards.ShardDescription) (string, error) {
	if !isLong(from) || len(list) != 1 {
		return from, nil
	}
	num, ok := sequence.Of(streamID).Parse(from)
	if !ok || shards.ShardID(num.Shard) != list[0].ID {
		return "", invalidField("from", from, "a sequence number of the shard")
	}
	return strconv.FormatUint(num.Sequence(), 10), nil
}
