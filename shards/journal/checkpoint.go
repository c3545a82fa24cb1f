package journal

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/shardmill/shardmill/internal/field"
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
// revision. It rides on the group commit of the puts. Errors: *field.Error, also when the stream's checkpoints would come to more
// than SegmentSizing.Checkpoints; ErrRevision; those of Append.
func (j *Journal) SaveCheckpoint(ctx context.Context, c Checkpoint) (revision uint64, err error) {
	return j.saveCheckpoint(ctx, c, nil)
}

// SaveCheckpointBy is SaveCheckpoint of one that may wait: while others wait for the disk it is not written by itself but rides on the
// commit of the stream's next put, for up to 250 ms, until hurry is closed or ctx is done. For streams that are put to now and then that
// halves what the disk has to do.
func (j *Journal) SaveCheckpointBy(ctx context.Context, c Checkpoint, hurry <-chan struct{}) (revision uint64, err error) {
	return j.saveCheckpoint(ctx, c, hurry)
}

func (j *Journal) saveCheckpoint(ctx context.Context, c Checkpoint, hurry <-chan struct{}) (revision uint64, err error) {
	switch {
	case c.Consumer == "" || len(c.Consumer) > MaxConsumerBytes:
		return 0, j.wrap("save checkpoint", field.Invalid("consumer", fmt.Sprintf("%d bytes", len(c.Consumer)), fmt.Sprintf("1 to %d bytes", MaxConsumerBytes)))
	case len(c.State) > MaxStateBytes:
		return 0, j.wrap("save checkpoint", field.Invalid("state", fmt.Sprintf("%d bytes", len(c.State)), fmt.Sprintf("at most %d bytes", MaxStateBytes)))
	}
	c.State = slices.Clone(c.State)
	r := j.writer.request()
	defer j.writer.giveBack(r)
	r.size, r.hurry = len(c.State), hurry
	r.control = func(p *groupPlan) ([]control, error) {
		if j.shards[c.Shard] == nil || slices.Contains(p.forgotten, c.Shard) {
			return nil, fmt.Errorf("%w: %d", ErrShard, c.Shard)
		}
		have := p.checkpoint(j, c.key())
		if have.revision != c.Revision {
			return nil, fmt.Errorf("%w: consumer %q, shard %d: it is %d, expected %d", ErrRevision, c.Consumer, c.Shard, have.revision, c.Revision)
		}
		if err := p.fits(j, &c, have.size); err != nil {
			return nil, err
		}
		saved := c
		saved.Revision = p.newRevision()
		revision = saved.Revision
		p.change(j, c.key(), plannedCheckpoint{saved.Revision, saved.size(), &saved})
		ctl := checkpointControl(saved)
		ctl.apply = func() { j.applyCheckpoint(saved) }
		return []control{ctl}, nil
	}
	if err = j.submit(ctx, r); err != nil {
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

// Consumers are the names of those that have checkpoints in shards, in order. Those that have only a marker are not among them.
func (j *Journal) Consumers() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	names := map[string]bool{}
	for key := range j.checkpoints {
		if key.shard != NoShard {
			names[key.consumer] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
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
	gone := Checkpoint{Consumer: key.consumer, Shard: key.shard}
	ctl := checkpointControl(gone)
	ctl.apply = func() { j.applyCheckpoint(gone) }
	p.change(j, key, plannedCheckpoint{})
	return ctl
}

// plannedCheckpoint is what becomes of a checkpoint by a group; zero when it is deleted.
type plannedCheckpoint struct {
	revision uint64
	size     int64
	saved    *Checkpoint // nil when it is deleted
}

// checkpoint is what a checkpoint will be when the group is written as planned so far.
func (p *groupPlan) checkpoint(j *Journal, key checkpointKey) plannedCheckpoint {
	if planned, ok := p.checkpoints[key]; ok {
		return planned
	}
	if c, ok := j.checkpoints[key]; ok {
		return plannedCheckpoint{c.Revision, c.size(), &c}
	}
	return plannedCheckpoint{}
}

func (p *groupPlan) change(j *Journal, key checkpointKey, to plannedCheckpoint) {
	p.grown += to.size - p.checkpoint(j, key).size
	if p.checkpoints == nil {
		p.checkpoints = map[checkpointKey]plannedCheckpoint{}
	}
	p.checkpoints[key] = to
}

// newRevision is greater than every revision given before, so that one that was forgotten never fits again.
func (p *groupPlan) newRevision() uint64 {
	p.index++
	return p.number<<20 | p.index
}

// fits refuses a checkpoint with which a segment's table would grow over the limit. had is the size of the one that it replaces.
func (p *groupPlan) fits(j *Journal, c *Checkpoint, had int64) error {
	size, limit := c.size(), j.opt.Sizes.Checkpoints
	total := j.checkpointBytes + p.grown + size - had
	if total <= limit || size <= had {
		return nil
	}
	return &field.Error{
		Field: "state", Value: fmt.Sprintf("%d bytes", len(c.State)),
		Problem: fmt.Sprintf("of %d bytes would bring the stream's checkpoints to %d bytes", len(c.State), total),
		Limit:   fmt.Sprintf("so small that all checkpoints of the stream come to at most %d bytes", limit),
	}
}

// size is what the checkpoint takes in a segment's table, in bytes.
func (c *Checkpoint) size() int64 {
	return int64(entryHeaderSize + align8(checkpointHeaderSize+len(c.Consumer)+len(c.State)))
}

func (j *Journal) applyCheckpoint(c Checkpoint) {
	if old, ok := j.checkpoints[c.key()]; ok {
		j.checkpointBytes -= old.size()
		delete(j.checkpoints, c.key())
	}
	if c.Revision > 0 {
		j.checkpoints[c.key()] = c
		j.checkpointBytes += c.size()
	}
}

// checkpointHeaderSize is that of a checkpoint's body before the consumer's name.
const checkpointHeaderSize = 24

func checkpointControl(c Checkpoint) control {
	b := make([]byte, 0, checkpointHeaderSize+len(c.Consumer)+len(c.State))
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
	if len(b) < checkpointHeaderSize {
		return Checkpoint{}
	}
	consumer, state := int(le.Uint16(b[16:])), int64(le.Uint32(b[20:]))
	if int64(checkpointHeaderSize+consumer)+state > int64(len(b)) {
		return Checkpoint{}
	}
	c := Checkpoint{Shard: shard, Revision: le.Uint64(b), Sequence: le.Uint64(b[8:]), Consumer: string(b[checkpointHeaderSize : checkpointHeaderSize+consumer])}
	if state > 0 {
		c.State = slices.Clone(b[checkpointHeaderSize+consumer : checkpointHeaderSize+consumer+int(state)])
	}
	return c
}
