package shards

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/shards/journal"
)

// firstEpoch is the epoch of the shards that a stream is created with.
const firstEpoch = 1

// definition is a stream as the catalog keeps it under the stream's name; encode makes its JSON. One that others may
// see is never changed.
type definition struct {
	Name      string
	ID        string          // a ULID; names the stream's folder
	State     definitionState // creating until the log has been made
	Created   time.Time
	NextShard ShardID           // above every ID that has been given
	Shards    []shardDefinition // by ascending ID
	Consumers []Consumer        // by name
	settings
}

type definitionState string

const (
	stateCreating definitionState = "creating"
	stateActive   definitionState = "active"
)

// shardDefinition is one shard. Open shards divide the ring between them; a closed one can still be read
// and its children are the shards that name it as a parent.
type shardDefinition struct {
	ID        ShardID
	Epoch     uint32 // greater than that of its parents
	StartHash Hash
	EndHash   Hash
	Parents   []ShardID // none, or one or two, which may have left the definition
	State     ShardState
	Created   time.Time
	Closed    *time.Time // of a closed one
	Last      uint64     // of a closed one: its last sequence number
}

// newDefinition is the definition of a stream that is about to be made from a normalized config.
func newDefinition(c Config, now time.Time) definition {
	now = now.UTC().Truncate(time.Millisecond)
	d := definition{
		Name: c.Name, ID: ulid.Make().String(), State: stateCreating, Created: now,
		NextShard: ShardID(c.Shards), Shards: make([]shardDefinition, c.Shards), settings: c.settings(),
	}
	for i, r := range evenRanges(c.Shards) {
		d.Shards[i] = shardDefinition{
			ID: ShardID(i), Epoch: firstEpoch, StartHash: r.start, EndHash: r.end, State: ShardOpen, Created: now,
		}
	}
	return d
}

func (d *definition) retention() time.Duration {
	return time.Duration(d.RetentionMillis) * time.Millisecond
}

// differences names where a stream of this definition is not what a normalized config asks for: each setting, what it is and what it
// was to be. Tags and attributes are no part of that, nor is the number of shards where the store chooses it.
func (d *definition) differences(c Config) (list []string) {
	differs := func(name string, is, asked any) {
		if is != asked {
			list = append(list, fmt.Sprintf("%s %v (not %v)", name, is, asked))
		}
	}
	if c.Mode != OnDemand {
		differs("shards", d.open(), c.Shards)
	}
	differs("retention", field.Duration(d.retention()), field.Duration(c.Retention))
	differs("maxRecordBytes", d.MaxRecordBytes, c.MaxRecordBytes)
	differs("mode", d.Mode, c.Mode)
	differs("limits", cmp.Or(d.Limits, "none"), cmp.Or(c.Limits, "none"))
	return list
}

// open is the number of open shards.
func (d *definition) open() (n int) {
	for i := range d.Shards {
		if d.Shards[i].State == ShardOpen {
			n++
		}
	}
	return n
}

func (d *definition) check(name string) error {
	if _, err := ulid.ParseStrict(d.ID); err != nil {
		return fmt.Errorf("definition has the ID %q: %w", d.ID, err)
	}
	switch {
	case d.Name != name:
		return fmt.Errorf("definition names itself %q", d.Name)
	case d.State != stateCreating && d.State != stateActive:
		return fmt.Errorf("definition has the unknown state %q", d.State)
	case d.RetentionMillis <= 0 || d.MaxRecordBytes <= 0:
		return errors.New("definition lacks its limits")
	case d.Mode != Provisioned && d.Mode != OnDemand, d.Limits != Unlimited && d.Limits != LimitsAWS:
		return fmt.Errorf("definition has the mode %q and the limits %q, which this program does not know", d.Mode, d.Limits)
	}
	for i, s := range d.Shards {
		switch {
		case i > 0 && s.ID <= d.Shards[i-1].ID:
			return fmt.Errorf("definition has %v behind %v", s.ID, d.Shards[i-1].ID)
		case s.ID >= d.NextShard:
			return fmt.Errorf("definition has %v although the next new shard is %v", s.ID, d.NextShard)
		}
	}
	_, err := newRouting(d.Shards)
	return err
}

// journalShards are all shards, open and closed, as the log knows them.
func (d *definition) journalShards() []journal.Shard {
	shards := make([]journal.Shard, len(d.Shards))
	for i, s := range d.Shards {
		shards[i] = journal.Shard{ID: uint32(s.ID), Epoch: s.Epoch}
		if s.State == ShardClosed {
			shards[i].Next = s.Last + 1
		}
	}
	return shards
}

// children are the shards that took over from one that closed.
func (d *definition) children(id ShardID) []ShardID {
	var ids []ShardID
	for _, s := range d.Shards {
		if slices.Contains(s.Parents, id) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// shard is one of the shards.
func (d *definition) shard(id ShardID) (*shardDefinition, bool) {
	i, ok := d.find(id)
	if !ok {
		return nil, false
	}
	return &d.Shards[i], true
}

// find is the index in d.Shards of a shard.
func (d *definition) find(id ShardID) (int, bool) {
	return slices.BinarySearchFunc(d.Shards, id, func(s shardDefinition, id ShardID) int {
		return int(int64(s.ID) - int64(id))
	})
}

// routing finds the open shard that a hash key belongs to.
type routing struct {
	starts []Hash // ascending; starts[0] is 0
	slots  []int  // the shard of the range that begins there, as its index in definition.Shards
}

// newRouting checks that the open shards divide the ring between them, without gap or overlap.
func newRouting(shards []shardDefinition) (routing, error) {
	var rt routing
	for i, s := range shards {
		switch s.State {
		case ShardOpen:
			rt.slots = append(rt.slots, i)
		case ShardClosed:
		default:
			return rt, fmt.Errorf("definition has %v in the unknown state %q", s.ID, s.State)
		}
	}
	slices.SortFunc(rt.slots, func(a, b int) int { return shards[a].StartHash.Compare(shards[b].StartHash) })
	want := Hash{}
	for i, slot := range rt.slots {
		s := shards[slot]
		if s.StartHash != want || s.EndHash.less(s.StartHash) || (i > 0 && want == Hash{}) {
			return rt, fmt.Errorf("definition has %v from hash key %v to %v where %v is the next to divide", s.ID, s.StartHash, s.EndHash, want)
		}
		rt.starts = append(rt.starts, s.StartHash)
		want = s.EndHash.next()
	}
	if len(rt.slots) == 0 || (want != Hash{}) {
		return rt, fmt.Errorf("definition leaves the hash keys from %v on without a shard", want)
	}
	return rt, nil
}

// slot is the index in definition.Shards of the open shard that h belongs to.
func (rt *routing) slot(h Hash) int {
	low, high := 0, len(rt.starts)-1
	for low < high { // invariant: starts[low] <= h, and h < starts[high+1]
		mid := int(uint(low+high+1) / 2)
		if h.less(rt.starts[mid]) {
			high = mid - 1
		} else {
			low = mid
		}
	}
	return rt.slots[low]
}
