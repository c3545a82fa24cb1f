package aws

import (
	"slices"
	"time"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/shards"
)

// shard is a shard on the wire.
type shard struct {
	ShardId               string
	ParentShardId         string `json:",omitzero"`
	AdjacentParentShardId string `json:",omitzero"`
	HashKeyRange          hashKeyRange
	SequenceNumberRange   sequenceNumberRange
}

type hashKeyRange struct{ StartingHashKey, EndingHashKey string }

type sequenceNumberRange struct {
	StartingSequenceNumber string
	EndingSequenceNumber   string `json:",omitzero"`
}

func shardsOf(d shards.Description, list []shards.ShardDescription) []shard {
	numbers := sequence.Of(d.ID)
	out := make([]shard, len(list))
	for i := range list {
		s := &list[i]
		out[i] = shard{
			ShardId: s.ID.String(), HashKeyRange: rangeOf(s),
			SequenceNumberRange: sequenceNumberRange{StartingSequenceNumber: string(numbers.AppendCounter(nil, uint32(s.ID), s.Epoch, 0))},
		}
		if len(s.Parents) > 0 {
			out[i].ParentShardId = s.Parents[0].String()
		}
		if len(s.Parents) > 1 {
			out[i].AdjacentParentShardId = s.Parents[1].String()
		}
		if s.State == shards.ShardClosed {
			out[i].SequenceNumberRange.EndingSequenceNumber = numbers.Last(uint32(s.ID), s.Epoch)
		}
	}
	return out
}

func rangeOf(s *shards.ShardDescription) hashKeyRange {
	return hashKeyRange{s.StartHash.String(), s.EndHash.String()}
}

// childShard is what a reader of a closed shard is told to read next.
type childShard struct {
	ShardId      string
	ParentShards []string
	HashKeyRange hashKeyRange
}

// childrenOf are the shards that took over from one.
func childrenOf(d shards.Description, parent shards.ShardID) []childShard {
	var out []childShard
	for i := range d.Shards {
		s := &d.Shards[i]
		if !slices.Contains(s.Parents, parent) {
			continue
		}
		child := childShard{ShardId: s.ID.String(), HashKeyRange: rangeOf(s)}
		for _, p := range s.Parents {
			child.ParentShards = append(child.ParentShards, p.String())
		}
		out = append(out, child)
	}
	return out
}

// after are the shards behind the one with an id; all when it is empty.
func (c *call) after(list []shards.ShardDescription, id string) ([]shards.ShardDescription, error) {
	if id == "" {
		return list, nil
	}
	last, err := c.shardID(id)
	if err != nil {
		return nil, err
	}
	i, _ := slices.BinarySearchFunc(list, last+1, func(s shards.ShardDescription, id shards.ShardID) int { return int(int64(s.ID) - int64(id)) })
	return list[i:], nil
}

type shardFilter struct {
	Type      string   `aws:"required;enum=AFTER_SHARD_ID,AT_TRIM_HORIZON,FROM_TRIM_HORIZON,AT_LATEST,AT_TIMESTAMP,FROM_TIMESTAMP" json:"t,omitempty"`
	ShardId   string   `aws:"len=1..128;pattern=name" json:"s,omitempty"`
	Timestamp *instant `json:"at,omitempty"`
}

type listShardsInput struct {
	streamRef
	NextToken               string `aws:"len=1..1048576"`
	ExclusiveStartShardId   string `aws:"len=1..128;pattern=name"`
	MaxResults              int    `aws:"range=1..10000"`
	StreamCreationTimestamp instant
	ShardFilter             *shardFilter
}

type listShardsOutput struct {
	Shards    []shard
	NextToken string `json:",omitzero"`
}

// maxListedShards is how many shards one ListShards lists.
const maxListedShards = 1000

func listShards(c *call, in *listShardsInput) (any, error) {
	d, filter, after, err := c.listed(in)
	if err != nil {
		return nil, err
	}
	list, err := filter.apply(c, d, time.Now())
	if err != nil {
		return nil, err
	}
	if list, err = c.after(list, after); err != nil {
		return nil, err
	}
	most := maxListedShards
	if in.MaxResults != 0 {
		most = min(most, in.MaxResults)
	}
	out := listShardsOutput{}
	if len(list) > most {
		list = list[:most]
		out.NextToken = token{Kind: tokenShards, Stream: d.Name, ID: d.ID, After: list[most-1].ID.String(), Filter: filter}.String()
	}
	out.Shards = shardsOf(d, list)
	return out, nil
}

// listed is which stream a ListShards is about, with which filter and from where on: all of it comes from the token when there is one.
func (c *call) listed(in *listShardsInput) (d shards.Description, filter shardFilter, after string, err error) {
	if in.NextToken == "" {
		if in.ShardFilter != nil {
			filter = *in.ShardFilter
		}
		if d, err = c.description(in.streamRef); err != nil {
			return d, filter, "", err
		}
		if at := in.StreamCreationTimestamp; at != 0 && int64(at)/1000 != d.Created.Unix() {
			return d, filter, "", shards.ErrNotFound
		}
		return d, filter, in.ExclusiveStartShardId, nil
	}
	for _, other := range []struct {
		name  string
		given bool
	}{
		{"StreamName", in.StreamName != ""}, {"StreamARN", in.StreamARN != ""}, {"StreamId", in.StreamId != ""},
		{"StreamCreationTimestamp", in.StreamCreationTimestamp != 0}, {"ExclusiveStartShardId", in.ExclusiveStartShardId != ""},
		{"ShardFilter", in.ShardFilter != nil},
	} {
		if other.given {
			return d, filter, "", invalidArgument("NextToken and %s cannot be provided together.", other.name)
		}
	}
	t, err := parseToken(in.NextToken, tokenShards, time.Now())
	if err != nil {
		return d, filter, "", err
	}
	c.names.stream = t.Stream
	if d, err = c.streams.Describe(c.r.Context(), t.Stream); err == nil && d.ID != t.ID {
		err = shards.ErrNotFound
	}
	return d, t.Filter, t.After, err
}

// apply is the shards that a filter lets through.
func (f shardFilter) apply(c *call, d shards.Description, now time.Time) ([]shards.ShardDescription, error) {
	horizon := now.Add(-d.Retention)
	if horizon.Before(d.Created) {
		horizon = d.Created
	}
	at := now
	switch f.Type {
	case "AFTER_SHARD_ID":
		if f.ShardId == "" {
			return nil, invalidArgument("ShardId must be specified with a ShardFilter of type AFTER_SHARD_ID.")
		}
		return c.after(d.Shards, f.ShardId)
	case "AT_TIMESTAMP", "FROM_TIMESTAMP":
		if f.Timestamp == nil {
			return nil, invalidArgument("Timestamp must be specified with a ShardFilter of type %s.", f.Type)
		}
		if at = f.Timestamp.time(); at.After(now) {
			return nil, invalidArgument("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: %d, currentTimestampInMillis: %d",
				int64(*f.Timestamp), now.UnixMilli())
		}
		if at.Before(horizon) {
			at = horizon
		}
	case "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "":
		at = horizon
	}
	from := f.Type == "FROM_TIMESTAMP" || f.Type == "FROM_TRIM_HORIZON" || f.Type == ""
	return slices.DeleteFunc(slices.Clone(d.Shards), func(s shards.ShardDescription) bool {
		return !f.passes(d, &s, at, from)
	}), nil
}

// passes says whether a shard was open at a time, or, with from, also when it was opened since.
//
// A shard of which no parent is left counts as open since ever: what it took over from has gone with its last record, perhaps before
// the retention's horizon came there, and readers want every hash key covered.
func (f shardFilter) passes(d shards.Description, s *shards.ShardDescription, at time.Time, from bool) bool {
	if f.Type == "AT_LATEST" {
		return s.State == shards.ShardOpen
	}
	if s.State == shards.ShardClosed && !s.Closed.After(at) {
		return from && f.Type != "FROM_TIMESTAMP" // everything that is still listed has records, or had some lately
	}
	orphan := !slices.ContainsFunc(d.Shards, func(p shards.ShardDescription) bool { return slices.Contains(s.Parents, p.ID) })
	return from || orphan || !s.Created.After(at)
}
