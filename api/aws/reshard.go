package aws

import (
	"context"

	"github.com/shardmill/shardmill/shards"
)

// Resharding changes the shards of a stream; *shards.Store does. A change that has returned is durable, and the stream takes
// records and is read all the while.
type Resharding interface {
	Split(ctx context.Context, name string, shard shards.ShardID, at shards.Hash) (shards.Description, error)
	Merge(ctx context.Context, name string, shard, adjacent shards.ShardID) (shards.Description, error)
	Resize(ctx context.Context, name string, shards int) (shards.Description, error)
}

// provisioned is a stream whose shards its user chooses.
func (c *call) provisioned(ref streamRef) (shards.Description, error) {
	d, err := c.description(ref)
	if err == nil && d.Mode == shards.OnDemand {
		err = faultf(codeValidation, "Stream %s under account %s is in ON_DEMAND mode: its shards can not be changed by request.", d.Name, c.account)
	}
	return d, err
}

// open finds an open shard of a stream by its name.
func (c *call) open(d shards.Description, name string) (*shards.ShardDescription, error) {
	id, err := c.shardID(name)
	if err != nil {
		return nil, err
	}
	for i := range d.Shards {
		if s := &d.Shards[i]; s.ID == id {
			if s.State != shards.ShardOpen {
				return nil, shards.ErrShardClosed
			}
			return s, nil
		}
	}
	return nil, shards.ErrNoShard
}

type splitShardInput struct {
	streamRef
	ShardToSplit       string `aws:"required;len=1..128;pattern=name"`
	NewStartingHashKey string `aws:"required;pattern=hash"`
}

func splitShard(c *call, in *splitShardInput) (any, error) {
	d, err := c.provisioned(in.streamRef)
	if err != nil {
		return nil, err
	}
	s, err := c.open(d, in.ShardToSplit)
	if err != nil {
		return nil, err
	}
	if openShards(d)+1 > shards.MaxShards {
		return nil, c.overShards(d.Name, openShards(d), 1)
	}
	at, ok := parseHash([]byte(in.NewStartingHashKey))
	if ok {
		_, err = c.streams.Split(c.r.Context(), d.Name, s.ID, at)
		ok = !isInvalid(err, "at")
	}
	if !ok {
		return nil, invalidArgument("NewStartingHashKey %s used in SplitShard() on shard %v in stream %s under account %s is not both greater than "+
			"one plus the shard's StartingHashKey %v and less than the shard's EndingHashKey %v.",
			in.NewStartingHashKey, s.ID, d.Name, c.account, s.StartHash, s.EndHash)
	}
	return nil, err
}

type mergeShardsInput struct {
	streamRef
	ShardToMerge         string `aws:"required;len=1..128;pattern=name"`
	AdjacentShardToMerge string `aws:"required;len=1..128;pattern=name"`
}

func mergeShards(c *call, in *mergeShardsInput) (any, error) {
	d, err := c.provisioned(in.streamRef)
	if err != nil {
		return nil, err
	}
	a, err := c.open(d, in.ShardToMerge)
	if err != nil {
		return nil, err
	}
	b, err := c.open(d, in.AdjacentShardToMerge)
	if err != nil {
		return nil, err
	}
	c.names.shard, c.names.adjacent = a.ID.String(), b.ID.String()
	_, err = c.streams.Merge(c.r.Context(), d.Name, a.ID, b.ID)
	return nil, err
}

type updateShardCountInput struct {
	streamRef
	TargetShardCount int    `aws:"required;range=1..0"`
	ScalingType      string `aws:"required;enum=UNIFORM_SCALING"`
}

type updateShardCountOutput struct {
	StreamName        string
	StreamARN         string
	CurrentShardCount int
	TargetShardCount  int
}

func updateShardCount(c *call, in *updateShardCountInput) (any, error) {
	d, err := c.provisioned(in.streamRef)
	if err != nil {
		return nil, err
	}
	now, target := openShards(d), in.TargetShardCount
	switch {
	case target > 2*now:
		return nil, invalidArgument("UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: %d Target shard count: %d", now, target)
	case 2*target < now:
		return nil, invalidArgument("UpdateShardCount cannot scale down below half your current open shard count. Current open shard count: %d Target shard count: %d", now, target)
	case target > shards.MaxShards:
		return nil, c.overShards(d.Name, now, target-now)
	}
	if _, err := c.streams.Resize(c.r.Context(), d.Name, target); err != nil {
		return nil, err
	}
	return updateShardCountOutput{d.Name, c.streamARN(d.Name), now, target}, nil
}
