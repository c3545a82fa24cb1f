package journal_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// shardSet is what a journal should hold of shards that come and go.
type shardSet struct {
	next     map[uint32]uint64 // by known shard
	saved    map[uint32]bool   // those with a checkpoint
	unlisted map[uint32]bool   // known ones that Open is not told of
}

func (m *shardSet) options(d *disk) journal.Options {
	opt := options(d, 0)
	for id, next := range m.next {
		if !m.unlisted[id] {
			opt.Shards = append(opt.Shards, journal.Shard{ID: id, Epoch: record.Epoch(next)})
		}
	}
	return opt
}

func (m *shardSet) check(t *rapid.T, j *journal.Journal) {
	if damage := j.Damage(); len(damage) > 0 {
		t.Fatalf("damage: %v", damage)
	}
	if got := j.Shards(); !slices.Equal(got, slices.Sorted(maps.Keys(m.next))) {
		t.Fatalf("shards %v, want %v", got, slices.Sorted(maps.Keys(m.next)))
	}
	for id, want := range m.next {
		oldest, next := j.Bounds(id)
		if next != want || oldest > next {
			t.Fatalf("shard %d is from %d to %d, want to %d", id, oldest, next, want)
		}
		if got := readShard(t, j, id); len(got) != int(next-oldest) {
			t.Fatalf("%d records of shard %d, want %d", len(got), id, next-oldest)
		}
		if _, ok := j.Checkpoint("c", id); ok != m.saved[id] {
			t.Fatalf("checkpoint of shard %d: %v", id, ok)
		}
	}
}

// Shards are added, used, trimmed and forgotten, over kills and losses of power.
func TestShardsComeAndGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		d := newDisk()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		m := &shardSet{next: map[uint32]uint64{0: record.MakeSequence(1, 1)}, saved: map[uint32]bool{}, unlisted: map[uint32]bool{}}
		start := func() *journal.Journal {
			j, err := journal.Open(ctx, m.options(d))
			if err != nil {
				t.Fatal(err)
			}
			m.check(t, j)
			return j
		}
		j := start()
		defer func() { j.Close() }()
		restart := func(after *disk) {
			old := j
			d = after
			j = start()
			old.Close()
		}
		for n := range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := rapid.SampledFrom(slices.Sorted(maps.Keys(m.next))).Draw(t, "shard")
			var err error
			switch rapid.SampledFrom([]string{"put", "put", "add", "save", "trim", "forget", "forget", "unlist", "kill", "power", "reopen"}).Draw(t, "step") {
			case "put":
				var b record.Builder
				for range rapid.IntRange(1, 3).Draw(t, "records") {
					if err := b.Append(record.Record{Key: []byte("k"), Data: make([]byte, rapid.IntRange(0, 400).Draw(t, "size"))}); err != nil {
						t.Fatal(err)
					}
				}
				err = j.Append(ctx, []journal.Part{{Shard: id, Records: b.Run()}})
				m.next[id] += uint64(b.Run().Len())
			case "add":
				var added []journal.Shard
				for id := range rapid.Uint32Range(1, 5).Draw(t, "added") {
					s := journal.Shard{ID: id, Epoch: uint32(n) + 2}
					added = append(added, s)
					if m.next[id] == 0 {
						m.next[id] = record.MakeSequence(s.Epoch, 1)
					}
				}
				err = j.AddShards(ctx, added)
			case "save":
				if !m.saved[id] {
					_, err = j.SaveCheckpoint(ctx, journal.Checkpoint{Consumer: "c", Shard: id})
					m.saved[id] = true
				}
			case "trim":
				_, err = j.Trim(ctx, 1<<60)
			case "forget":
				if oldest, next := j.Bounds(id); oldest == next && id > 0 {
					delete(m.next, id)
					delete(m.unlisted, id)
				}
				err = j.Forget(ctx, []uint32{id})
				delete(m.saved, id)
				if id == 0 && m.next[0] > 0 && !slices.Contains(j.Shards(), 0) {
					m.next[0] = record.MakeSequence(uint32(n)+2, 1)
					err = j.AddShards(ctx, []journal.Shard{{ID: 0, Epoch: uint32(n) + 2}})
				}
			case "unlist":
				m.unlisted[id] = id > 0
			case "kill":
				restart(d.kill())
			case "power":
				restart(d.powerCut(rng))
			case "reopen":
				j.Close()
				restart(d)
			}
			if err != nil {
				t.Fatal(err)
			}
			m.check(t, j)
		}
		restart(d.powerCut(rng))
	})
}

// A shard that is known to have come further than the journal has lost records: that is damage, and can be accepted.
func TestShardThatShouldBeLonger(t *testing.T) {
	d := newDisk()
	opt := options(d, 2)
	j := open(t, opt)
	put(t, j, 0, "a", "b")
	j.Close()
	opt.Shards[0].Next = record.MakeSequence(1, 6)
	lost := func(shard uint32, read int, first, last uint64) {
		t.Helper()
		got, err := readAll(t, j, shard, 0)
		var damage *journal.DamageError
		if !errors.As(err, &damage) || len(got) != read || damage.First != first || damage.Last != last {
			t.Errorf("shard %d: %d records, then %v", shard, len(got), err)
		}
	}
	for range 2 { // found again by the next opening
		j = open(t, opt)
		lost(0, 2, record.MakeSequence(1, 3), record.MakeSequence(1, 5))
		if _, next := j.Bounds(0); next != record.MakeSequence(1, 6) {
			t.Errorf("shard 0 goes on at %d", next)
		}
		j.Close()
	}
	opt.Shards = append(opt.Shards, journal.Shard{ID: 7, Epoch: 3, Next: record.MakeSequence(3, 3)})
	j = open(t, opt)
	lost(7, 0, record.MakeSequence(3, 1), record.MakeSequence(3, 2))
	for _, id := range []uint32{0, 7} {
		if _, err := readAll(t, j, id, 0); err == nil {
			t.Error("no damage")
		}
		if lost, err := j.AcceptDamage(t.Context(), id); err != nil || len(lost) != 1 {
			t.Errorf("accepted %v, %v", lost, err)
		}
	}
	expect(t, j, 0, 0, "a", "b")
	expect(t, j, 7, 0)
	j.Close()
	j = open(t, opt)
	expect(t, j, 0, 0, "a", "b")
	expect(t, j, 7, 0)
	expect(t, j, 1, 0)
}

// A seal is taken back, and ends with the journal.
func TestSealAndUnseal(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 1))
	put(t, j, 0, "a")
	if err := j.Seal(t.Context(), []uint32{0}); err != nil {
		t.Fatal(err)
	}
	err := j.Append(t.Context(), []journal.Part{{Records: run(t, "b")}})
	if !errors.Is(err, journal.ErrSealed) {
		t.Errorf("put: %v", err)
	}
	j.Unseal([]uint32{0})
	put(t, j, 0, "b")
	expect(t, j, 0, 0, "a", "b")
	j.Close()
	if err := j.Seal(t.Context(), []uint32{0}); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("sealed after Close: %v", err)
	}
	for name, err := range map[string]error{
		"AddShards": j.AddShards(t.Context(), []journal.Shard{{ID: 5, Epoch: 1}}), "Forget": j.Forget(t.Context(), []uint32{0}),
	} {
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := fmt.Sprint(j.Shards()); got != "[0]" {
		t.Errorf("shards %s", got)
	}
}
