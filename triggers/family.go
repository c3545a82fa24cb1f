package triggers

import (
	"cmp"
	"slices"

	"github.com/shardmill/shardmill/shards"
)

// family is the pollers of a mapping's shards. A shard that came into being by resharding is read when all its parents have been
// read to their ends and settled, so that each key's records come in order. A parent that is gone has been read, or has passed the
// retention.
type family struct {
	pollers []*poller // by shard
	byShard map[shards.ShardID]*poller
	past    Counts // of shards that are gone
}

// end notes that a poller, if any, has come to the end of its shard, and that all of it is settled and saved.
func (f *family) end(p *poller) {
	if p != nil {
		p.stage = stageEnded
	}
}

// missing are the shards that have no poller.
func (f *family) missing(listed []shards.ShardID) (ids []shards.ShardID) {
	for _, id := range listed {
		if f.byShard[id] == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// take adds the pollers of shards that have none, and drops those of shards that are gone and are not being read. listed ascends.
func (f *family) take(made []*poller, listed []shards.ShardID) {
	if f.byShard == nil {
		f.byShard = map[shards.ShardID]*poller{}
	}
	for _, p := range made {
		if f.byShard[p.shard] == nil {
			f.byShard[p.shard] = p
			f.pollers = append(f.pollers, p)
		}
	}
	f.pollers = slices.DeleteFunc(f.pollers, func(p *poller) bool {
		if _, there := slices.BinarySearch(listed, p.shard); there || p.stage == stageReading {
			return false
		}
		f.past.add(p.counts())
		delete(f.byShard, p.shard)
		return true
	})
	slices.SortFunc(f.pollers, func(a, b *poller) int { return cmp.Compare(a.shard, b.shard) })
}

// ready are the pollers that are to be started now; each comes once.
func (f *family) ready() (ready []*poller) {
	for _, p := range f.pollers {
		if p.stage == stageWaiting && !slices.ContainsFunc(p.parents, f.unread) {
			ready = append(ready, p)
		}
	}
	for _, p := range ready {
		p.stage = stageReading
	}
	return ready
}

// unread says whether a shard has still to be read to its end.
func (f *family) unread(id shards.ShardID) bool {
	p := f.byShard[id]
	return p != nil && p.stage != stageEnded
}

// stage is how far a family has come with a poller.
type stage int

const (
	stageWaiting stage = iota // for its parents
	stageReading              // it has been started; also when it was stopped
	stageEnded
)
