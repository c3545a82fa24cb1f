package journal_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/shards/journal"
)

// interruption happens at one of the next changes of a disk: the process is killed, the power is cut, or the change fails.
type interruption struct {
	mu    sync.Mutex
	after *disk // that a restart finds, when it has happened
	err   bool  // an error was given
}

// interrupt lets it happen at the n-th change from now on.
func interrupt(t *rapid.T, d *disk, rng *rand.Rand, how string) *interruption {
	i := &interruption{}
	left := rapid.IntRange(0, 12).Draw(t, "changes before")
	tear := rapid.Float64Range(0, 1).Draw(t, "part of a write")
	failure := rapid.SampledFrom([]error{syscall.EIO, syscall.ENOSPC}).Draw(t, "error")
	d.set(func(d *disk) {
		d.before = func(n *inode, w *write) error {
			i.mu.Lock()
			defer i.mu.Unlock()
			if left--; left != -1 {
				return nil
			}
			if how == "fail" {
				i.err = true
				return failure
			}
			i.after = d.kill()
			if w != nil {
				i.after = d.killIn(n, write{at: w.at, data: slices.Clone(w.data[:int(tear*float64(len(w.data)))])})
			}
			if how == "power" {
				i.after = i.after.powerCut(rng)
			}
			return nil
		}
	})
	return i
}

// end takes the interruption off the disk and says whether it has happened.
func (i *interruption) end(d *disk) (after *disk, failed bool) {
	d.set(func(d *disk) { d.before = nil })
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.after, i.err
}

// copyOf is the model before something of which it is not known whether it happened.
func (m *model) copyOf() model {
	c := *m
	c.checkpoints = maps.Clone(m.checkpoints)
	for shard := range c.shards {
		c.shards[shard] = slices.Clone(m.shards[shard])
	}
	return c
}

// unanswered goes back to what was known before, and takes the records of a put since then for pending.
func (m *model) unanswered(before model) {
	trimmed := m.trimmed
	for shard := range before.shards {
		if before.pending[shard] = m.pending[shard]; len(m.shards[shard]) > len(before.shards[shard]) {
			before.pending[shard] = m.shards[shard][len(before.shards[shard]):]
		}
	}
	*m = before
	m.trimmed = trimmed
}

// A kill, a loss of power or a failure at any change of the disk that a put, a checkpoint, retention, or opening makes.
func TestInterruptedAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDisk()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		m := &model{checkpoints: map[string]journal.Checkpoint{}}
		start := func() (*journal.Journal, error) {
			spares, err := journal.OpenSpares(d, "/spares", 20<<10)
			if err != nil {
				return nil, err
			}
			opt := options(d, 3)
			opt.Spares = spares
			return journal.Open(context.Background(), opt)
		}
		j, err := start()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { j.Close() }()
		for n := range rapid.IntRange(1, 30).Draw(t, "steps") {
			before := m.copyOf()
			how := rapid.SampledFrom([]string{"", "kill", "power", "fail"}).Draw(t, "interruption")
			i := &interruption{}
			if how != "" {
				i = interrupt(t, d, rng, how)
			}
			what := rapid.SampledFrom([]string{"put", "put", "save", "trim", "open"}).Draw(t, "step")
			opened := (*journal.Journal)(nil)
			err := error(nil)
			switch what {
			case "put":
				err = m.put(t, j, n)
			case "save":
				err = m.trySave(t, j)
			case "trim":
				for shard := range m.trimmed {
					m.trimmed[shard] = len(m.shards[shard])
				}
				_, err = j.Trim(context.Background(), 1<<60)
			case "open":
				j.Close()
				opened, err = start()
			}
			after, failed := i.end(d)
			if opened != nil {
				j = opened
			}
			switch {
			case after != nil:
				m.unanswered(before)
				old := j
				d = after
				if j, err = start(); err != nil {
					j = old
					t.Fatalf("%s in %s: the journal does not open again: %v", how, what, err)
				}
				old.Close()
				m.settle(t, j)
			case err != nil && !failed:
				t.Fatalf("%s: %v", what, err)
			case err != nil:
				if !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("%s: %v is not the disk's error", what, err)
				}
				m.unanswered(before)
				m.pending = [3][]string{} // refused, once the next put has succeeded
				if what == "open" {
					if j, err = start(); err != nil {
						t.Fatalf("opening after a failure: %v", err)
					}
				}
				if err := m.put(t, j, n); err != nil {
					t.Fatalf("a put after a failure: %v", err)
				}
				m.settle(t, j)
			}
		}
		old := j
		d = d.powerCut(rng)
		if j, err = start(); err != nil {
			j = old
			t.Fatal(err)
		}
		old.Close()
		m.settle(t, j)
	})
}

// After a failed write or sync of a segment nothing more is written to its file.
func TestNothingIsWrittenAfterAFailure(t *testing.T) {
	for name, set := range map[string]func(*disk, error){
		"write": func(d *disk, err error) { d.writeErr = err },
		"sync":  func(d *disk, err error) { d.syncErr = err },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk()
			opt := options(d, 1)
			opt.Sizes = journal.SegmentSizing{}
			j := open(t, opt)
			put(t, j, 0, "before")
			d.set(func(d *disk) { set(d, syscall.EIO) })
			if err := j.Append(t.Context(), []journal.Part{{Records: run(t, "refused")}}); !errors.Is(err, journal.ErrDisk) {
				t.Fatalf("%v, want ErrDisk", err)
			}
			failed := d.files[segmentFile(1)]
			d.set(func(d *disk) {
				set(d, nil)
				d.before = func(n *inode, w *write) error {
					if n == failed {
						t.Error("the segment was changed after its failure")
					}
					return nil
				}
			})
			put(t, j, 0, "after")
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			d.set(func(d *disk) { d.before = nil })
			expect(t, open(t, options(d.kill(), 1)), 0, 0, "before", "after")
		})
	}
}
