package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// model is what a journal has acknowledged, and what it may have kept besides.
type model struct {
	shards      [3][]string // acknowledged data in order
	trimmed     [3]int      // of those, how many may be gone from the front
	pending     [3][]string // put when the last failure or crash hit: may follow, all of a put or none
	checkpoints map[string]journal.Checkpoint
}

// settle takes over what a reopened journal shows and checks it against what was acknowledged.
func (m *model) settle(t *rapid.T, j *journal.Journal) {
	if dmg := j.Damage(); len(dmg) > 0 {
		t.Fatalf("a crash looks like damage: %v", dmg)
	}
	took, left := false, false
	for shard := range m.shards {
		oldest, next := j.Bounds(uint32(shard))
		skip := int(record.Counter(oldest)) - 1
		have := int(record.Counter(next)) - 1
		if skip > m.trimmed[shard] {
			t.Fatalf("shard %d begins at record %d, retention reached %d", shard, skip, m.trimmed[shard])
		}
		full := append(append([]string(nil), m.shards[shard]...), m.pending[shard]...)
		if have != len(m.shards[shard]) && have != len(full) {
			t.Fatalf("shard %d has %d records, acknowledged %d, with the unanswered put %d", shard, have, len(m.shards[shard]), len(full))
		}
		if len(m.pending[shard]) > 0 {
			took, left = took || have == len(full), left || have < len(full)
		}
		m.shards[shard], m.pending[shard] = full[:have], nil
		m.trimmed[shard] = max(skip, 0)
		got := readShard(t, j, uint32(shard))
		if len(got) != have-skip {
			t.Fatalf("shard %d serves %d records of %d", shard, len(got), have-skip)
		}
		for i, r := range got {
			if string(r.Data) != full[skip+i] || record.Counter(r.Sequence) != uint64(skip+i+1) {
				t.Fatalf("shard %d record %d is (%d, %q), want %q", shard, skip+i, r.Sequence, r.Data, full[skip+i])
			}
		}
	}
	if took && left {
		t.Fatalf("a part of a put is there, and another is not")
	}
	for _, name := range []string{"a", "b"} {
		want := m.checkpoints[name]
		got, _ := j.Checkpoint(name, 0)
		if got.Revision < want.Revision || got.Revision == want.Revision && (got.Sequence != want.Sequence || !bytes.Equal(got.State, want.State)) {
			t.Fatalf("checkpoint %q is %+v, acknowledged %+v", name, got, want)
		}
		m.checkpoints[name] = got
	}
}

func readShard(t *rapid.T, j *journal.Journal, shard uint32) []record.Record {
	r, err := j.Reader(shard, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []record.Record
	for {
		run, ok, err := r.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return out
		}
		for rec := range run.All() {
			out = append(out, rec)
		}
	}
}

// put appends to one or several shards and notes the outcome.
func (m *model) put(t *rapid.T, j *journal.Journal, n int) error {
	var parts []journal.Part
	var data [3][]string
	for shard := range data {
		if shard > 0 && !rapid.Bool().Draw(t, "more") {
			break
		}
		var w record.Builder
		for range rapid.IntRange(1, 4).Draw(t, "records") {
			d := fmt.Sprintf("%d/%d %s", n, len(data[shard]), bytes.Repeat([]byte("x"), rapid.IntRange(0, 300).Draw(t, "size")))
			if err := w.Append(record.Record{Key: []byte("k"), Data: []byte(d)}); err != nil {
				t.Fatal(err)
			}
			data[shard] = append(data[shard], d)
		}
		parts = append(parts, journal.Part{Shard: uint32(shard), Records: w.Run()})
	}
	err := j.Append(context.Background(), parts)
	for shard := range data {
		if err == nil {
			m.shards[shard] = append(m.shards[shard], data[shard]...)
		} else {
			m.pending[shard] = data[shard]
		}
	}
	return err
}

func (m *model) save(t *rapid.T, j *journal.Journal) {
	if err := m.trySave(t, j); err != nil {
		t.Fatal(err)
	}
}

// trySave saves a checkpoint and notes it when that succeeds.
func (m *model) trySave(t *rapid.T, j *journal.Journal) error {
	name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "consumer")
	c := m.checkpoints[name]
	c.Consumer, c.Sequence = name, c.Sequence+1
	c.State = bytes.Repeat([]byte{byte(c.Sequence)}, rapid.IntRange(0, 50).Draw(t, "state"))
	rev, err := j.SaveCheckpoint(context.Background(), c)
	if err != nil {
		return err
	}
	c.Revision = rev
	m.checkpoints[name] = c
	return nil
}

// Random puts, checkpoints, retention, kills, losses of power and failing disks: whatever was acknowledged is there.
func TestCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDisk()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		m := &model{checkpoints: map[string]journal.Checkpoint{}}
		start := func() *journal.Journal {
			opt := options(d, 3)
			spares, err := journal.OpenSpares(d, "/spares", 20<<10)
			if err != nil {
				t.Fatal(err)
			}
			opt.Spares = spares
			j, err := journal.Open(context.Background(), opt)
			if err != nil {
				t.Fatal(err)
			}
			m.settle(t, j)
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
		for n := range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"put", "put", "put", "save", "trim", "kill", "power", "reopen", "failing sync", "failing write", "dies in sync", "killed in sync"}).Draw(t, "step") {
			case "put":
				if err := m.put(t, j, n); err != nil {
					t.Fatal(err)
				}
			case "save":
				m.save(t, j)
			case "trim":
				if _, err := j.Trim(context.Background(), 1<<60); err != nil {
					t.Fatal(err)
				}
				for shard := range m.trimmed {
					m.trimmed[shard] = len(m.shards[shard])
				}
			case "kill":
				restart(d.kill())
			case "power":
				restart(d.powerCut(rng))
			case "reopen":
				j.Close()
				restart(d)
			case "failing sync":
				m.failing(t, j, d, n, func(d *disk, err error) { d.syncErr = err })
			case "failing write":
				m.failing(t, j, d, n, func(d *disk, err error) { d.writeErr = err })
			case "dies in sync":
				// The put is on its way to the disk when the power goes.
				d.set(func(d *disk) { d.syncErr = syscall.EIO })
				_ = m.put(t, j, n)
				restart(d.powerCut(rng))
			case "killed in sync":
				// The put is written, and neither synced nor answered.
				d.set(func(d *disk) { d.syncErr = syscall.EIO })
				_ = m.put(t, j, n)
				restart(d.kill())
			}
		}
		restart(d.powerCut(rng))
	})
}

// failing lets the disk fail for one put; the next one must succeed, and disown the failed one.
func (m *model) failing(t *rapid.T, j *journal.Journal, d *disk, n int, set func(*disk, error)) {
	d.set(func(d *disk) { set(d, syscall.EIO) })
	err := m.put(t, j, n)
	d.set(func(d *disk) { set(d, nil) })
	if !errors.Is(err, journal.ErrDisk) {
		t.Fatalf("a put to a failing disk: %v, want ErrDisk", err)
	}
	m.pending = [3][]string{}
	if err := m.put(t, j, n); err != nil {
		t.Fatalf("a put after the disk has recovered: %v", err)
	}
	m.settle(t, j)
}

func TestFullDisk(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 1))
	put(t, j, 0, "before")
	d.set(func(d *disk) { d.capacity = d.used() })
	var want []string
	full := false
	for i := range 200 {
		data := fmt.Sprintf("record %d", i)
		err := j.Append(t.Context(), []journal.Part{{Records: run(t, data)}})
		if err != nil {
			if !errors.Is(err, journal.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("a put to a full disk: %v, want ErrNoSpace", err)
			}
			full = true
			continue
		}
		want = append(want, data)
	}
	if !full {
		t.Fatal("the disk was never full: the test proves nothing")
	}
	expect(t, j, 0, 0, append([]string{"before"}, want...)...)
	d.set(func(d *disk) { d.capacity = 0 })
	put(t, j, 0, "after")
	expect(t, j, 0, 0, append(append([]string{"before"}, want...), "after")...)
	j.Close()
	expect(t, open(t, options(d.kill(), 1)), 0, 0, append(append([]string{"before"}, want...), "after")...)
}

func TestReadOnlyDisk(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 1))
	put(t, j, 0, "before")
	d.set(func(d *disk) { d.writeErr = syscall.EROFS })
	if err := j.Append(t.Context(), []journal.Part{{Records: run(t, "no")}}); !errors.Is(err, journal.ErrReadOnly) {
		t.Errorf("%v, want ErrReadOnly", err)
	}
	expect(t, j, 0, 0, "before")
	j.Close()
	j = open(t, options(d, 1))
	expect(t, j, 0, 0, "before")
	d.set(func(d *disk) { d.writeErr = nil })
	put(t, j, 0, "after")
	expect(t, j, 0, 0, "before", "after")
}

// Many putters and readers at once, over many segments.
func TestConcurrentPutsAndReads(t *testing.T) {
	opt := options(newDisk(), 4)
	opt.Cache = journal.NewCache(2048) // so that readers meet the cache, the open segment and sealed ones
	j := open(t, opt)
	const putters, puts = 8, 60
	var wg sync.WaitGroup
	for p := range putters {
		wg.Go(func() {
			for i := range puts {
				put(t, j, uint32(p%4), fmt.Sprintf("%d:%d", p, i))
			}
		})
	}
	for shard := range uint32(4) {
		wg.Go(func() {
			r, err := j.Reader(shard, 0)
			if err != nil {
				t.Error(err)
				return
			}
			seen := map[string]int{}
			for n := 0; n < 2*puts; {
				run, err := r.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				for rec := range run.All() {
					n++
					var p, i int
					if _, err := fmt.Sscanf(string(rec.Data), "%d:%d", &p, &i); err != nil || seen[fmt.Sprint(p)] != i {
						t.Errorf("shard %d: %q after %d of that putter", shard, rec.Data, seen[fmt.Sprint(p)])
					}
					seen[fmt.Sprint(p)]++
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := j.Scrub(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if len(j.Damage()) > 0 {
		t.Error(j.Damage())
	}
}
