package journal

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Limits of a checkpoint, in bytes.
const (
	MaxConsumerBytes = 512
	MaxStateBytes    = 16 << 20
)

// Checkpoint says how far a consumer has come in a shard.
type Checkpoint struct {
	Consumer string // 1..512 bytes
	Shard    uint32
	Sequence uint64 // what it means is the consumer's: by custom the last record that is settled
	State    []byte // up to 16 MiB; what the consumer keeps with its position
	Revision uint64 // grows with each save; 0 means that it has not been saved
}

type checkpointKey struct {
	consumer string
	shard    uint32
}

func (c *Checkpoint) key() checkpointKey { return checkpointKey{c.Consumer, c.Shard} }

// SaveCheckpoint saves c durably when the saved one still has c.Revision (0: when there is none) and returns the new
// revision. It rides on the group commit of the puts. Errors: ErrRevision, and those of Append.
func (j *Journal) SaveCheckpoint(ctx context.Context, c Checkpoint) (revision uint64, err error) {
	switch {
	case c.Consumer == "" || len(c.Consumer) > MaxConsumerBytes:
		return 0, j.wrap("save checkpoint", fmt.Errorf("consumer name has %d bytes; it must have 1 to %d", len(c.Consumer), MaxConsumerBytes))
	case len(c.State) > MaxStateBytes:
		return 0, j.wrap("save checkpoint", fmt.Errorf("state has %d bytes; the limit is %d", len(c.State), MaxStateBytes))
	}
	c.State = slices.Clone(c.State)
	err = j.submit(ctx, &request{size: len(c.State), control: func(p *groupPlan) ([]control, error) {
		if j.shards[c.Shard] == nil {
			return nil, fmt.Errorf("%w: %d", ErrShard, c.Shard)
		}
		if have := p.revision(j, c.key()); have != c.Revision {
			return nil, fmt.Errorf("%w: consumer %q, shard %d: it is %d, expected %d", ErrRevision, c.Consumer, c.Shard, have, c.Revision)
		}
		revision = p.newRevision(c.key())
		saved := c
		saved.Revision = revision
		ctl := checkpointControl(saved)
		ctl.apply = func() { j.applyCheckpoint(saved) }
		return []control{ctl}, nil
	}})
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// Checkpoint returns the saved checkpoint of a consumer in a shard. Its State must not be changed.
func (j *Journal) Checkpoint(consumer string, shard uint32) (Checkpoint, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c, ok := j.checkpoints[checkpointKey{consumer, shard}]
	return c, ok
}

// Checkpoints lists all saved checkpoints by consumer and shard.
func (j *Journal) Checkpoints() []Checkpoint {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]Checkpoint, 0, len(j.checkpoints))
	for _, c := range j.checkpoints {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Consumer, b.Consumer), cmp.Compare(a.Shard, b.Shard))
	})
	return list
}

// DeleteCheckpoints durably forgets all checkpoints of a consumer. Errors: those of Append.
func (j *Journal) DeleteCheckpoints(ctx context.Context, consumer string) error {
	return j.submit(ctx, &request{control: func(p *groupPlan) ([]control, error) {
		var controls []control
		for key := range j.checkpoints {
			if key.consumer == consumer {
				controls = append(controls, j.forgetCheckpoint(p, key))
			}
		}
		return controls, nil
	}})
}

func (j *Journal) forgetCheckpoint(p *groupPlan, key checkpointKey) control {
	ctl := checkpointControl(Checkpoint{Consumer: key.consumer, Shard: key.shard})
	ctl.apply = func() { delete(j.checkpoints, key) }
	p.revisions[key] = 0
	return ctl
}

// revision is what a checkpoint's revision will be when the group is written as planned so far.
func (p *groupPlan) revision(j *Journal, key checkpointKey) uint64 {
	if r, ok := p.revisions[key]; ok {
		return r
	}
	return j.checkpoints[key].Revision
}

// newRevision is greater than every revision given before, so that one that was forgotten never fits again.
func (p *groupPlan) newRevision(key checkpointKey) uint64 {
	p.index++
	r := p.number<<20 | p.index
	p.revisions[key] = r
	return r
}

func (j *Journal) applyCheckpoint(c Checkpoint) {
	if c.Revision == 0 {
		delete(j.checkpoints, c.key())
		return
	}
	j.checkpoints[c.key()] = c
}

func checkpointControl(c Checkpoint) control {
	b := make([]byte, 0, 24+len(c.Consumer)+len(c.State))
	b = le.AppendUint64(b, c.Revision)
	b = le.AppendUint64(b, c.Sequence)
	b = le.AppendUint16(b, uint16(len(c.Consumer)))
	b = le.AppendUint16(b, 0)
	b = le.AppendUint32(b, uint32(len(c.State)))
	b = append(b, c.Consumer...)
	b = append(b, c.State...)
	return control{kind: kindCheckpoint, shard: c.Shard, body: b}
}

// decodeCheckpoint reads a body whose checksum has been verified.
func decodeCheckpoint(shard uint32, b []byte) Checkpoint {
	if len(b) < 24 {
		return Checkpoint{}
	}
	consumer, state := int(le.Uint16(b[16:])), int64(le.Uint32(b[20:]))
	if int64(24+consumer)+state > int64(len(b)) {
		return Checkpoint{}
	}
	c := Checkpoint{Shard: shard, Revision: le.Uint64(b), Sequence: le.Uint64(b[8:]), Consumer: string(b[24 : 24+consumer])}
	if state > 0 {
		c.State = slices.Clone(b[24+consumer : 24+consumer+int(state)])
	}
	return c
}
