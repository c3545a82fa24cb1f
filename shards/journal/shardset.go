package journal

import (
	"context"
	"math"
	"slices"

	"github.com/shardmill/shardmill/sdk/record"
)

// AddShards durably opens the shards that are not known yet. Errors: those of Append.
func (j *Journal) AddShards(ctx context.Context, shards []Shard) error {
	return j.addShards(ctx, shards, false)
}

// addShards is AddShards; blind says that the journal may have known the shards.
func (j *Journal) addShards(ctx context.Context, shards []Shard, blind bool) error {
	return j.submit(ctx, &request{control: func(*groupPlan) ([]control, error) {
		var body []byte
		var states []*shardState
		for _, s := range shards {
			if j.shards[s.ID] == nil {
				state := newShard(s, blind)
				states = append(states, state)
				body = appendShardState(body, state)
			}
		}
		if len(states) == 0 {
			return nil, nil
		}
		return []control{{kind: kindShards, body: body, apply: func() {
			for _, s := range states {
				j.shards[s.id] = s
			}
		}}}, nil
	}})
}

// newShard is a shard that the journal does not know. When the journal may have forgotten it through damage, it goes on so
// far on that no number which it may have given is given again: by the time, so that a second loss does not come to the same.
func newShard(s Shard, blind bool) *shardState {
	first := record.MakeSequence(s.Epoch, 1)
	switch {
	case s.Next > first: // and no further: it has ended
		return &shardState{id: s.ID, next: s.Next, floor: lostFront{first, math.MaxUint64}}
	case blind:
		return &shardState{id: s.ID, next: record.MakeSequence(s.Epoch, uint64(micros()/1e3)<<2), floor: lostFront{first, math.MaxUint64}}
	}
	return &shardState{id: s.ID, next: first}
}

func appendShardState(b []byte, s *shardState) []byte {
	b = le.AppendUint32(b, s.id)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, s.next)
	return le.AppendUint64(b, s.oldest())
}

// Seal refuses what is put into the shards from now on, with ErrSealed, and returns when what was put before has been
// answered: their next sequence numbers stand still then. It is not stored, and lasts until Unseal. Shards that are not known are
// passed over. After an error the shards may be sealed. Errors: those of Append.
func (j *Journal) Seal(ctx context.Context, shards []uint32) error {
	j.mark(shards, func(s *shardState) { s.sealed.Store(true) })
	// A request that writes nothing: its answer comes behind the puts that the writer had planned before it could see the mark.
	return j.submit(ctx, &request{control: func(*groupPlan) ([]control, error) { return nil, nil }})
}

// Unseal lets the shards take records again.
func (j *Journal) Unseal(shards []uint32) {
	j.mark(shards, func(s *shardState) { s.sealed.Store(false) })
}

// End says that sealed shards will have no more records: readers that wait for one, or come to the end later, get ErrEnd. It
// is not stored.
func (j *Journal) End(shards []uint32) {
	j.mark(shards, func(s *shardState) {
		s.ended = true
		if s.wake != nil {
			close(s.wake)
			s.wake = nil
		}
	})
}

func (j *Journal) mark(shards []uint32, set func(*shardState)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range shards {
		if s := j.shards[id]; s != nil {
			set(s)
		}
	}
}

// Forget durably deletes the checkpoints of shards, and the shards themselves where no segment has records of them any more;
// of the others it can be called again later. It writes nothing when there is nothing to delete. Errors: those of Append.
func (j *Journal) Forget(ctx context.Context, shards []uint32) error {
	return j.submit(ctx, &request{control: func(p *groupPlan) ([]control, error) {
		var controls []control
		for _, key := range j.checkpointsOf(p, shards) {
			controls = append(controls, j.forgetCheckpoint(p, key))
		}
		gone := j.unused(shards)
		if len(gone) == 0 {
			return controls, nil
		}
		p.forgotten = append(p.forgotten, gone...)
		var body []byte
		for _, id := range gone {
			body = appendShardState(body, &shardState{id: id})
		}
		return append(controls, control{kind: kindShards, body: body, apply: func() {
			for _, id := range gone {
				delete(j.shards, id)
				delete(j.ledger, id)
			}
		}}), nil
	}})
}

// checkpointsOf are the checkpoints of shards, those that the group being planned saves included.
func (j *Journal) checkpointsOf(p *groupPlan, shards []uint32) (keys []checkpointKey) {
	for key := range j.checkpoints {
		if slices.Contains(shards, key.shard) {
			keys = append(keys, key)
		}
	}
	for key := range p.checkpoints {
		if _, saved := j.checkpoints[key]; !saved && slices.Contains(shards, key.shard) {
			keys = append(keys, key)
		}
	}
	return keys
}

// unused are those of the shards that hold nothing, and into which the group being planned puts nothing.
func (j *Journal) unused(shards []uint32) (ids []uint32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range shards {
		if s := j.shards[id]; s != nil && len(s.spans) == 0 && s.plan.count == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// Shards lists the numbers of the journal's shards in order.
func (j *Journal) Shards() []uint32 {
	j.mu.Lock()
	defer j.mu.Unlock()
	ids := make([]uint32, 0, len(j.shards))
	for id := range j.shards {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
