package api

import (
	"errors"
	goruntime "runtime"
	"time"

	"github.com/shardmill/shardmill/shards"
)

// listStreams is GET /v1/streams.
func (c *call) listStreams(*none) (*StreamList, error) {
	list := &StreamList{Streams: []Stream{}}
	for _, d := range c.streams.List() {
		s := streamOf(&d)
		s.Shards = nil
		list.Streams = append(list.Streams, s)
	}
	return list, nil
}

// putStream is PUT /v1/streams/{name}.
func (c *call) putStream(in *StreamConfig) (*Stream, bool, error) {
	config := shards.Config{
		Name: c.name(), Shards: in.Shards,
		Retention: time.Duration(in.Retention), MaxRecordBytes: int(in.MaxRecord),
		Mode: shards.Mode(in.Mode), Limits: limitsOf(in.Limits), Tags: in.Tags,
	}
	d, created, err := c.streams.Create(c.context(), config)
	if err != nil {
		return nil, false, err
	}
	s := streamOf(&d)
	return &s, created, nil
}

// patchStream is PATCH /v1/streams/{name}.
func (c *call) patchStream(in *StreamChange) (*Stream, error) {
	change := shards.Change{
		Retention: (*time.Duration)(in.Retention), Mode: (*shards.Mode)(in.Mode), SetTags: in.SetTags, RemoveTags: in.RemoveTags,
	}
	if in.Limits != nil {
		limits := limitsOf(*in.Limits)
		change.Limits = &limits
	}
	if in.MaxRecord != nil {
		bytes := int(*in.MaxRecord)
		change.MaxRecordBytes = &bytes
	}
	d, err := c.streams.Update(c.context(), c.name(), change)
	if err != nil {
		return nil, err
	}
	s := streamOf(&d)
	return &s, nil
}

// limitsOf is what a shard takes, by its name on the wire.
func limitsOf(name string) shards.Limits {
	if name == "none" {
		return shards.Unlimited
	}
	return shards.Limits(name)
}

// getStream is GET /v1/streams/{name}.
func (c *call) getStream(*none) (*Stream, error) {
	d, err := c.streams.Describe(c.context(), c.name())
	if err != nil {
		return nil, err
	}
	s := streamOf(&d)
	return &s, nil
}

// deleteStream is DELETE /v1/streams/{name}.
func (c *call) deleteStream() error { return c.streams.Delete(c.context(), c.name()) }

// listDamage is GET /v1/streams/{name}/damage.
func (c *call) listDamage(*none) (*DamageList, error) {
	st, err := c.streams.Stream(c.name())
	if err != nil {
		return nil, err
	}
	damage, err := st.Damage()
	if err != nil {
		return nil, err
	}
	return &DamageList{Damage: damageList(damage)}, nil
}

// acceptDamage is POST /v1/streams/{name}/damage/accept.
func (c *call) acceptDamage(in *AcceptDamage) (*LostRecords, error) {
	st, err := c.streams.Stream(c.name())
	if err != nil {
		return nil, err
	}
	if in.Shard == "" {
		return nil, invalidField("shard", in.Shard, "a shard of the stream, such as shardId-000000000000")
	}
	id, err := shards.ParseShardID(in.Shard)
	if err != nil {
		return nil, err
	}
	lost, err := st.AcceptDamage(c.context(), id)
	if errors.Is(err, shards.ErrNoShard) {
		return nil, unknownShard(c.name(), in.Shard)
	}
	if err != nil {
		return nil, err
	}
	return &LostRecords{Lost: damageList(lost)}, nil
}

func damageList(list []shards.DamageError) []Damage {
	wire := make([]Damage, len(list))
	for i, d := range list {
		wire[i] = damageOf(d)
	}
	return wire
}

// streamOf is a stream as it goes over the wire.
func streamOf(d *shards.Description) Stream {
	s := Stream{
		Name: d.Name, ID: d.ID, Status: string(d.Status), Reason: d.Reason, Created: d.Created,
		Retention: Duration(d.Retention), MaxRecord: Size(d.MaxRecordBytes), Mode: string(d.Mode), Limits: string(d.Limits), Tags: d.Tags,
	}
	for _, consumer := range d.Consumers {
		s.Consumers = append(s.Consumers, consumer.Name)
	}
	for _, in := range d.Shards {
		out := Shard{
			ID: in.ID.String(), StartHash: in.StartHash.String(), EndHash: in.EndHash.String(),
			Closed: in.State == shards.ShardClosed, Last: Sequence(in.Last),
			Oldest: Sequence(in.Oldest), Next: Sequence(in.Next), LastArrival: in.LastArrival,
		}
		for _, parent := range in.Parents {
			out.Parents = append(out.Parents, parent.String())
		}
		if !out.Closed {
			s.ShardCount++
		}
		s.Shards = append(s.Shards, out)
	}
	return s
}

// getVersion is GET /v1/version.
func (c *call) getVersion(*none) (*Version, error) {
	return &Version{Version: c.version, Go: goruntime.Version(), OS: goruntime.GOOS, Arch: goruntime.GOARCH}, nil
}
