package aws

import (
	"math/bits"
	"unicode/utf8"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// members is a set of members of a put.
type members int

const (
	memberRecords members = 1 << iota
	memberStream
	memberARN
	memberOrdering
	memberData
	memberKey
	memberHash
)

// The members of each kind of object that the fast decoders know. A request with others is read the slow way.
const (
	ofPutRecords = memberRecords | memberStream | memberARN
	ofRecord     = memberData | memberKey | memberHash
	ofPutRecord  = memberStream | memberARN | memberOrdering | ofRecord
)

// memberOf is the member of a name, 0 for others.
func memberOf(name []byte) members {
	switch string(name) {
	case "Data":
		return memberData
	case "PartitionKey":
		return memberKey
	case "ExplicitHashKey":
		return memberHash
	case "Records":
		return memberRecords
	case "StreamName":
		return memberStream
	case "StreamARN":
		return memberARN
	case "SequenceNumberForOrdering":
		return memberOrdering
	}
	return 0
}

// begin prepares for a request and says which members it has.
func (p *putRequest) begin(many bool) members {
	if many {
		return ofPutRecords
	}
	p.records = append(p.records, record.Record{})
	return ofPutRecord
}

// setMember takes a member that is text; false where it breaks the model. Names are checked by fits.
func (p *putRequest) setMember(m members, text []byte) bool {
	switch m {
	case memberStream:
		p.ref.StreamName = string(text)
	case memberARN:
		p.ref.StreamARN = string(text)
	case memberOrdering:
		p.ordering = string(text)
	case memberKey:
		p.records[len(p.records)-1].Key = text
		return len(text) > 0 && (len(text) <= shards.MaxKeyLength || utf8.RuneCount(text) <= shards.MaxKeyLength)
	case memberHash:
		h, ok := parseHash(text)
		if ok {
			p.setHash(h)
		}
		return ok
	}
	return len(text) > 0
}

// parseHash reads an ExplicitHashKey as the model has it, up to 2^128-1; false for others.
func parseHash(text []byte) (h shards.Hash, ok bool) {
	if len(text) == 0 || len(text) > 39 || text[0] == '0' && len(text) > 1 {
		return h, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return h, false
		}
		over, lo := bits.Mul64(h.Lo, 10)
		high, hi := bits.Mul64(h.Hi, 10)
		var carry uint64
		h.Lo, carry = bits.Add64(lo, uint64(c-'0'), 0)
		h.Hi, carry = bits.Add64(hi, over, carry)
		if high != 0 || carry != 0 {
			return h, false
		}
	}
	return h, true
}
