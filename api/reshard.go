package api

import (
	"cmp"

	"github.com/shardmill/shardmill/shards"
)

// splitShard is POST /v1/streams/{name}/split.
func (c *call) splitShard(in *SplitShard) (*Stream, error) {
	shard, err := c.openShard("shard", in.Shard)
	if err != nil {
		return nil, err
	}
	at := shards.Middle(shard.StartHash, shard.EndHash)
	if in.At != "" {
		if at, err = shards.ParseHash(in.At); err != nil {
			return nil, renameField(err, "at")
		}
	}
	return c.resharded(c.streams.Split(c.context(), c.name(), shard.ID, at))
}

// mergeShards is POST /v1/streams/{name}/merge.
func (c *call) mergeShards(in *MergeShards) (*Stream, error) {
	one, err := c.openShard("shard", in.Shard)
	other, otherErr := c.openShard("adjacent", in.Adjacent)
	if err := cmp.Or(err, otherErr); err != nil {
		return nil, err
	}
	return c.resharded(c.streams.Merge(c.context(), c.name(), one.ID, other.ID))
}

// resizeStream is POST /v1/streams/{name}/resize.
func (c *call) resizeStream(in *ResizeStream) (*Stream, error) {
	return c.resharded(c.streams.Resize(c.context(), c.name(), in.Shards))
}

// openShard finds a shard of the path's stream by its name, which a field of the body has.
func (c *call) openShard(field, name string) (*shards.ShardDescription, error) {
	d, err := c.streams.Describe(c.context(), c.name())
	if err != nil {
		return nil, err
	}
	id, err := shards.ParseShardID(name)
	if err != nil {
		return nil, renameField(err, field)
	}
	for i := range d.Shards {
		if d.Shards[i].ID == id {
			return &d.Shards[i], nil
		}
	}
	unknown := unknownShard(d.Name, name)
	unknown.Field = field
	return nil, unknown
}

// resharded is the answer of a change of the shards.
func (c *call) resharded(d shards.Description, err error) (*Stream, error) {
	if err != nil {
		return nil, err
	}
	s := streamOf(&d)
	return &s, nil
}
