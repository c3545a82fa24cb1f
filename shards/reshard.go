package shards

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// Split closes a shard and opens two in its place: one takes its hash keys up to the one before at, the other those from
// at on. Puts and reads go on meanwhile. As on Kinesis, at is greater than the shard's first hash key plus one and less
// than its last one. Errors: ErrNotFound, ErrNoShard, ErrShardClosed, ErrBusy, ErrInvalid (also of a stream that is on
// demand, and when there would be too many shards).
func (s *Store) Split(ctx context.Context, name string, shard ShardID, at Hash) (Description, error) {
	d, err := s.reshard(ctx, name, func(r *resharding) error { return r.split(shard, at) })
	if err != nil {
		return Description{}, fmt.Errorf("shards: split %q %v: %w", name, shard, err)
	}
	return d, nil
}

// Merge closes two shards and opens one in their place. The hash keys of one begin where those of the other end; which of
// them is named first decides only the order of the child's Parents. Errors: as Split's, and ErrNotAdjacent.
func (s *Store) Merge(ctx context.Context, name string, shard, adjacent ShardID) (Description, error) {
	d, err := s.reshard(ctx, name, func(r *resharding) error { return r.merge(shard, adjacent) })
	if err != nil {
		return Description{}, fmt.Errorf("shards: merge %q %v and %v: %w", name, shard, adjacent, err)
	}
	return d, nil
}

// Resize gives a stream a number of open shards whose ranges are those of a stream created with so many. Shards that have
// such a range already stay; the others are closed. With the shards as they should be it does nothing. Errors: as Split's.
func (s *Store) Resize(ctx context.Context, name string, shards int) (Description, error) {
	err := checkShards(shards)
	if err == nil {
		var d Description
		if d, err = s.reshard(ctx, name, func(r *resharding) error { return r.resize(shards) }); err == nil {
			return d, nil
		}
	}
	return Description{}, fmt.Errorf("shards: resize %q to %d: %w", name, shards, err)
}

// reshard is a change of the shards that a user asks for.
func (s *Store) reshard(ctx context.Context, name string, edit func(*resharding) error) (Description, error) {
	st, err := s.changeable(name)
	if err != nil {
		return Description{}, err
	}
	if err := s.reshape(ctx, st, func(r *resharding) error {
		if r.def.Mode != Provisioned {
			return invalid("mode", string(r.def.Mode), fmt.Sprintf("%q: the store chooses the shards otherwise", Provisioned))
		}
		return edit(r)
	}); err != nil {
		return Description{}, err
	}
	return st.describe(), nil
}

// reshape changes the shards of a stream. One call at a time does; the others get ErrBusy.
func (s *Store) reshape(ctx context.Context, st *Stream, edit func(*resharding) error) error {
	if !st.reshaping.CompareAndSwap(false, true) {
		return ErrBusy
	}
	defer st.reshaping.Store(false)
	changed := false
	_, err := s.change(ctx, st.name, func(def *definition) error {
		if st.gone.Load() { // and there is another one of its name
			return ErrNotFound
		}
		r := newResharding(def, time.Now())
		if ids := st.log.Shards(); len(ids) > 0 { // also one that a crash or a failure left behind
			def.NextShard = max(def.NextShard, ShardID(ids[len(ids)-1])+1)
		}
		if err := edit(r); err != nil {
			return err
		}
		changed = r.changed
		return r.check()
	})
	if err == nil && changed {
		st.metrics.reshards.Inc()
	}
	return err
}

// resharding is a change of a definition's shards under way.
type resharding struct {
	def     *definition
	now     time.Time
	changed bool // a shard was opened
	old     bool // one would have an epoch above maxEpoch
}

// newResharding begins a change of the shards of def, which gets a copy of its own of them.
func newResharding(def *definition, now time.Time) *resharding {
	def.Shards = slices.Clone(def.Shards)
	return &resharding{def: def, now: now.UTC().Truncate(time.Millisecond)}
}

// check says whether the stream can have the shards that have come out.
func (r *resharding) check() error {
	if err := checkShards(r.def.open()); err != nil {
		return err
	}
	if n := len(r.def.Shards); n > MaxListedShards {
		return invalid("shards", fmt.Sprintf("%d with the closed ones that are retained", n), fmt.Sprintf("at most %d", MaxListedShards))
	}
	if r.old {
		return invalid("shards", "a shard with "+strconv.Itoa(maxEpoch)+" generations of ancestors", "fewer: make the stream anew")
	}
	return nil
}

// maxEpoch is the greatest epoch of record.MakeSequence.
const maxEpoch = 1<<19 - 1

func (r *resharding) openShard(id ShardID) (*shardDefinition, error) {
	s, ok := r.def.shard(id)
	switch {
	case !ok:
		return nil, fmt.Errorf("%v: %w", id, ErrNoShard)
	case s.State != ShardOpen:
		return nil, fmt.Errorf("%v: %w", id, ErrShardClosed)
	}
	return s, nil
}

func (r *resharding) split(id ShardID, at Hash) error {
	s, err := r.openShard(id)
	if err != nil {
		return err
	}
	if (hashRange{s.StartHash, s.EndHash}).narrow() || at.Compare(s.StartHash.next()) <= 0 || at.Compare(s.EndHash) >= 0 {
		return invalid("at", at.String(), fmt.Sprintf("greater than %v and less than %v", s.StartHash.next(), s.EndHash))
	}
	low, high := r.piece(s), r.piece(s)
	low.end, high.start = at.previous(), at
	r.close(id)
	r.open(low)
	r.open(high)
	return nil
}

func (r *resharding) merge(id, adjacent ShardID) error {
	a, err := r.openShard(id)
	if err != nil {
		return err
	}
	b, err := r.openShard(adjacent)
	if err != nil {
		return err
	}
	union, ok := r.piece(a).with(r.piece(b))
	if !ok {
		return ErrNotAdjacent
	}
	r.close(id)
	r.close(adjacent)
	r.open(union)
	return nil
}

// resize closes the shards that have not the range of one of n even ones and opens those. A new one takes from every shard
// that it overlaps, and has no more than two parents, because Kinesis has a place for two: of more, pairs are merged first into
// shards that are closed from the beginning and never had a record.
func (r *resharding) resize(n int) error {
	var old []shardDefinition // by range
	for _, s := range r.def.Shards {
		if s.State == ShardOpen {
			old = append(old, s)
		}
	}
	slices.SortFunc(old, func(a, b shardDefinition) int { return a.StartHash.Compare(b.StartHash) })
	first := 0
	for _, target := range evenRanges(n) {
		for old[first].EndHash.less(target.start) {
			first++
		}
		var pieces []piece
		for i := first; i < len(old) && !target.end.less(old[i].StartHash); i++ {
			p := r.piece(&old[i])
			if p.start.less(target.start) {
				p.start = target.start
			}
			if target.end.less(p.end) {
				p.end = target.end
			}
			pieces = append(pieces, p)
		}
		if len(pieces) == 1 && old[first].StartHash == target.start && old[first].EndHash == target.end {
			continue
		}
		for _, p := range pieces {
			r.close(p.parents[0])
		}
		r.open(r.joined(pieces))
	}
	return nil
}

// joined merges adjacent pieces, pair by pair, until two are left, and is these two together.
func (r *resharding) joined(pieces []piece) piece {
	for len(pieces) > 2 {
		var merged []piece
		for pair := range slices.Chunk(pieces, 2) {
			if len(pair) == 1 {
				merged = append(merged, pair[0])
				continue
			}
			union, _ := pair[0].with(pair[1])
			id := r.open(union)
			r.close(id)
			s, _ := r.def.shard(id)
			merged = append(merged, r.piece(s))
		}
		pieces = merged
	}
	if len(pieces) == 2 {
		pieces[0], _ = pieces[0].with(pieces[1])
	}
	return pieces[0]
}

// piece is a range of hash keys on its way from the shards that had it to one that will.
type piece struct {
	hashRange
	parents []ShardID
	epoch   uint32 // the greatest of the parents'
}

func (r *resharding) piece(s *shardDefinition) piece {
	return piece{hashRange{s.StartHash, s.EndHash}, []ShardID{s.ID}, s.Epoch}
}

// with is two pieces in one; the parents are in the order given. False: there is something between them.
func (p piece) with(o piece) (piece, bool) {
	union := piece{p.hashRange, append(slices.Clone(p.parents), o.parents...), max(p.epoch, o.epoch)}
	switch {
	case p.end != MaxHash && p.end.next() == o.start:
		union.end = o.end
	case o.end != MaxHash && o.end.next() == p.start:
		union.start = o.start
	default:
		return piece{}, false
	}
	return union, true
}

// open adds an open shard. The pointers of openShard are stale then.
func (r *resharding) open(p piece) ShardID {
	id := r.def.NextShard
	r.def.NextShard++
	r.changed, r.old = true, r.old || p.epoch >= maxEpoch
	r.def.Shards = append(r.def.Shards, shardDefinition{
		ID: id, Epoch: min(p.epoch+1, maxEpoch), StartHash: p.start, EndHash: p.end, Parents: p.parents, State: ShardOpen, Created: r.now,
	})
	return id
}

// close closes a shard. Its last sequence number is noted when it is known; that of one opened by the same change is known.
func (r *resharding) close(id ShardID) {
	s, _ := r.def.shard(id)
	if s.State == ShardOpen {
		now := r.now
		s.State, s.Closed, s.Last = ShardClosed, &now, record.MakeSequence(s.Epoch, 0)
	}
}

// install puts a changed definition in place of the old one: opens its new shards, lets no more records into those that it
// closes, notes where they end, and writes it. That write is the moment of the change; when it fails the old shape stays. Puts into
// closing shards wait meanwhile, the others do not notice.
func (s *Store) install(ctx context.Context, st *Stream, old *shape, def definition) error {
	opening, closing := difference(&old.def, &def)
	if len(opening) > 0 {
		if err := st.log.AddShards(ctx, opening); err != nil {
			return err
		}
	}
	if len(closing) > 0 {
		defer st.pausePuts()()
		if err := st.log.Seal(ctx, closing); err != nil {
			st.log.Unseal(closing)
			return err
		}
		for _, id := range closing {
			_, next := st.log.Bounds(id)
			shard, _ := def.shard(ShardID(id))
			shard.Last = next - 1
		}
	}
	next, err := newShape(def, 0, st.shape.Load())
	if err == nil {
		next.revision, err = s.redefine(ctx, &def, old.revision)
	}
	if err != nil {
		st.log.Unseal(closing)
		return err
	}
	st.shape.Store(next)
	st.log.End(closing)
	return nil
}

// difference is the shards that a changed definition opens, and the numbers of those that were open and are closed by it.
func difference(old, def *definition) (opening []journal.Shard, closing []uint32) {
	for i := range def.Shards {
		s := &def.Shards[i]
		was, known := old.shard(s.ID)
		switch {
		case !known:
			opening = append(opening, journal.Shard{ID: uint32(s.ID), Epoch: s.Epoch})
		case was.State == ShardOpen && s.State == ShardClosed:
			closing = append(closing, uint32(s.ID))
		}
	}
	return opening, closing
}

// pausePuts lets puts that run into a sealed shard wait until the func that it returns is called.
func (st *Stream) pausePuts() (resume func()) {
	pause := make(chan struct{})
	st.pause.Store(&pause)
	return func() {
		st.pause.Store(nil)
		close(pause)
	}
}

// changed waits until a change of the shape that sealed a shard is over: there is another shape, or the shard is unsealed.
func (st *Stream) changed(ctx context.Context, sh *shape) error {
	for st.shape.Load() == sh {
		pause := st.pause.Load()
		if pause == nil {
			return nil
		}
		select {
		case <-*pause:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
