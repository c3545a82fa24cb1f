package journal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// Everything at once: puts, reads, checkpoints, retention, scrubs and accepted damage, until the journal is closed under them. Each
// reader sees its shard's numbers in order, with no hole but what retention has taken.
func TestEverythingAtOnce(t *testing.T) {
	d := newDisk()
	opt := options(d, 3)
	opt.Cache, opt.Spares = journal.NewCache(4096), spares(t, d)
	j := open(t, opt)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var work, puts sync.WaitGroup
	ended := func(err error) bool {
		if err != nil && !errors.Is(err, journal.ErrClosed) && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		return err != nil
	}
	for p := range 6 {
		puts.Go(func() {
			for i := range 150 {
				parts := []journal.Part{{Shard: uint32(p % 3), Records: run(t, fmt.Sprint(i))}, {Shard: uint32(i % 3), Records: run(t, "other", "")}}
				if ended(j.Append(ctx, parts)) {
					return
				}
			}
		})
		work.Go(func() {
			r, err := j.Reader(uint32(p%3), record.MakeSequence(1, 1))
			if err != nil {
				t.Error(err)
				return
			}
			next, trimmed := record.MakeSequence(1, 1), uint64(0)
			for {
				run, err := r.Next(ctx)
				if ended(err) {
					return
				}
				next += r.Trimmed() - trimmed
				trimmed = r.Trimmed()
				if first := run.First().Sequence; first != next {
					t.Errorf("reader %d: %d comes after %d", p, first, next-1)
					return
				}
				next += uint64(run.Len())
			}
		})
	}
	work.Go(func() {
		for revision, n := uint64(0), uint64(0); ; n++ {
			var err error
			if revision, err = j.SaveCheckpoint(ctx, journal.Checkpoint{Consumer: "c", Sequence: n, Revision: revision}); ended(err) {
				return
			}
		}
	})
	work.Go(func() {
		for ctx.Err() == nil {
			if _, err := j.Trim(ctx, 1<<60); ended(err) {
				return
			}
			if _, err := j.AcceptDamage(ctx, 1); ended(err) {
				return
			}
		}
	})
	work.Go(func() {
		for ctx.Err() == nil && !ended(j.Scrub(ctx, nil)) {
			j.Size()
			j.Checkpoints()
			if dmg := j.Damage(); len(dmg) > 0 {
				t.Errorf("damage: %v", dmg)
				return
			}
		}
	})
	puts.Wait()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	work.Wait()
	for shard := range uint32(3) {
		oldest, next := j.Bounds(shard)
		again := open(t, options(d.kill(), 3))
		if o, n := again.Bounds(shard); n != next || o < oldest {
			t.Errorf("shard %d: bounds %d to %d after the restart, %d to %d before", shard, o, n, oldest, next)
		}
	}
}
