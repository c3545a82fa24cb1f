package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

var (
	// ErrMarker: the producer has put something else under that ordinal, or has come further. Nothing was put.
	ErrMarker = errors.New("the producer's marker is another one")
	// ErrMarkers: there is no room for another marker beside the stream's checkpoints. Nothing was put.
	ErrMarkers = errors.New("the stream's checkpoints and markers have come to their limit")
)

// Marker says what a producer has put last. It is kept as the checkpoint of a consumer of the producer's name, in no shard, so that
// it outlives the shards that the records went to.
type Marker struct {
	Producer string // 1..512 bytes
	Ordinal  uint64 // from 1; grows from put to put
	Note     []byte // up to 16 MiB; what the producer wants to find again
}

// AppendOnce is Append of parts that are one put of a producer, together with its marker, in one group: after a crash both are there
// or neither. When the producer's marker is this one already, nothing is put and put is false. One producer has one put at a time.
// Errors: ErrMarker, ErrMarkers; those of Append.
func (j *Journal) AppendOnce(ctx context.Context, parts []Part, m Marker) (put bool, err error) {
	size := len(m.Note)
	for i := range parts {
		size += parts[i].Records.Size()
	}
	switch {
	case size > MaxPutBytes:
		return false, j.wrap("put", fmt.Errorf("%w: %d bytes", ErrTooLarge, size))
	case m.Producer == "" || len(m.Producer) > MaxConsumerBytes || m.Ordinal == 0 || len(m.Note) > MaxStateBytes:
		return false, j.wrap("put", fmt.Errorf("%w: %d bytes of name, ordinal %d, %d bytes of note", ErrMarker, len(m.Producer), m.Ordinal, len(m.Note)))
	}
	c := Checkpoint{Consumer: m.Producer, Shard: NoShard, Sequence: m.Ordinal, State: slices.Clone(m.Note)}
	err = j.submit(ctx, &request{parts: parts, size: size, claim: func(p *groupPlan) (bool, error) {
		var err error
		put, err = p.claim(j, c)
		return put, err
	}})
	return put && err == nil, err
}

// claim adds the entry of a marker, unless it is there.
func (p *groupPlan) claim(j *Journal, c Checkpoint) (put bool, err error) {
	have := p.checkpoint(j, c.key())
	if old := have.saved; old != nil && old.Sequence >= c.Sequence {
		if old.Sequence == c.Sequence && bytes.Equal(old.State, c.State) {
			return false, nil
		}
		return false, fmt.Errorf("%w: %q is at %d, the put is %d", ErrMarker, c.Consumer, old.Sequence, c.Sequence)
	}
	if err := p.fits(j, &c, have.size); err != nil {
		return false, fmt.Errorf("%w: %v", ErrMarkers, err)
	}
	c.Revision = p.newRevision()
	p.change(j, c.key(), plannedCheckpoint{c.Revision, c.size(), &c})
	ctl := checkpointControl(c)
	ctl.apply = func() { j.applyCheckpoint(c) }
	p.size += entryHeaderSize + align8(len(ctl.body))
	p.controls = append(p.controls, ctl)
	return true, nil
}

// addClaimed adds the parts of a request that are not there already, with what its claim adds.
func (p *groupPlan) addClaimed(j *Journal, r *request) error {
	if err := p.canTake(j, r.parts); err != nil {
		return err
	}
	put, err := r.claim(p)
	if put && err == nil {
		p.put(j, r.parts)
	}
	return err
}

// Marker is the newest marker of a producer. Its Note must not be changed.
func (j *Journal) Marker(producer string) (Marker, bool) {
	c, ok := j.Checkpoint(producer, NoShard)
	return Marker{Producer: c.Consumer, Ordinal: c.Sequence, Note: c.State}, ok
}

// Producers are the names of those that have markers and whose names begin with a prefix, in order.
func (j *Journal) Producers(prefix string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var names []string
	for key := range j.checkpoints {
		if key.shard == NoShard && strings.HasPrefix(key.consumer, prefix) {
			names = append(names, key.consumer)
		}
	}
	slices.Sort(names)
	return names
}

// DeleteMarkers durably forgets the markers of all producers whose names begin with a prefix. It writes nothing when there are none.
// Errors: those of Append.
func (j *Journal) DeleteMarkers(ctx context.Context, prefix string) error {
	return j.submit(ctx, &request{control: func(p *groupPlan) ([]control, error) {
		var controls []control
		for key, planned := range p.markers(j) {
			if planned && strings.HasPrefix(key.consumer, prefix) {
				controls = append(controls, j.forgetCheckpoint(p, key))
			}
		}
		return controls, nil
	}})
}

// markers are the keys of all markers, as the group being planned leaves them: false for those that it deletes.
func (p *groupPlan) markers(j *Journal) map[checkpointKey]bool {
	keys := map[checkpointKey]bool{}
	for key := range j.checkpoints {
		keys[key] = key.shard == NoShard
	}
	for key, planned := range p.checkpoints {
		keys[key] = key.shard == NoShard && planned.saved != nil
	}
	maps.DeleteFunc(keys, func(_ checkpointKey, there bool) bool { return !there })
	return keys
}
