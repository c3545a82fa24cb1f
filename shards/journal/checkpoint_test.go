package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

func TestCheckpoints(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 2))
	save := func(c journal.Checkpoint) uint64 {
		t.Helper()
		rev, err := j.SaveCheckpoint(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	first := save(journal.Checkpoint{Consumer: "m", Shard: 1, Sequence: 5, State: []byte("s")})
	second := save(journal.Checkpoint{Consumer: "m", Shard: 1, Sequence: 9, Revision: first})
	if second <= first {
		t.Errorf("revision %d after %d", second, first)
	}
	for name, stale := range map[string]uint64{"an old revision": first, "none": 0, "one of the future": second + 1} {
		if _, err := j.SaveCheckpoint(t.Context(), journal.Checkpoint{Consumer: "m", Shard: 1, Revision: stale}); !errors.Is(err, journal.ErrRevision) {
			t.Errorf("%s: %v, want ErrRevision", name, err)
		}
	}
	save(journal.Checkpoint{Consumer: "other", Shard: 0, Sequence: 1})
	for i := range 200 { // so that the checkpoint's own segment is long sealed
		put(t, j, 0, fmt.Sprintf("record %d", i))
	}
	if _, err := j.Trim(t.Context(), 1<<60); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, ok := j.Checkpoint("m", 1)
		if !ok || c.Sequence != 9 || c.Revision != second || len(c.State) != 0 {
			t.Errorf("checkpoint %+v, %v", c, ok)
		}
		if n := len(j.Checkpoints()); n != 2 {
			t.Errorf("%d checkpoints", n)
		}
		j.Close()
		j = open(t, options(d, 2))
	}
	if err := j.DeleteCheckpoints(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	if _, ok := j.Checkpoint("m", 1); ok {
		t.Error("a deleted checkpoint is there")
	}
	again := save(journal.Checkpoint{Consumer: "m", Shard: 1, Sequence: 1})
	if again <= second {
		t.Errorf("the revision after a deletion, %d, could be mistaken for the old %d", again, second)
	}
	j.Close()
	j = open(t, options(d, 2))
	if c, _ := j.Checkpoint("m", 1); c.Revision != again {
		t.Errorf("after deletion and opening: %+v", c)
	}
}

func TestCheckpointRefusals(t *testing.T) {
	j := open(t, options(newDisk(), 1))
	for name, c := range map[string]journal.Checkpoint{
		"no consumer":   {},
		"long consumer": {Consumer: strings.Repeat("c", journal.MaxConsumerBytes+1)},
		"large state":   {Consumer: "c", State: make([]byte, journal.MaxStateBytes+1)},
		"unknown shard": {Consumer: "c", Shard: 4},
	} {
		if _, err := j.SaveCheckpoint(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if n := len(j.Checkpoints()); n != 0 {
		t.Errorf("%d checkpoints after refusals", n)
	}
}

// Of many who save from the same revision, one wins.
func TestCheckpointRace(t *testing.T) {
	j := open(t, options(newDisk(), 1))
	var wins atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := j.SaveCheckpoint(t.Context(), journal.Checkpoint{Consumer: "c", Sequence: uint64(i)})
			switch {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, journal.ErrRevision):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d saves won", wins.Load())
	}
}

func TestTrimAndTime(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 2))
	put(t, j, 0, "old")
	put(t, j, 1, "old too")
	got, _ := readAll(t, j, 1, 0)
	middle := got[0].Arrival + 1
	for time.Now().UnixMicro() <= middle {
		put(t, j, 1, "old as well") // until the clock has moved
	}
	if n, err := j.Trim(t.Context(), got[0].Arrival); err != nil || n != 0 {
		t.Errorf("nothing is older, and Trim dropped %d, %v", n, err)
	}
	first := put(t, j, 0, "new")
	if at, err := j.SequenceAt(0, middle); err != nil || at != first {
		t.Errorf("first at the time: %d, %v, want %d", at, err, first)
	}
	if at, _ := j.SequenceAt(0, 0); at != record.MakeSequence(1, 1) {
		t.Errorf("first at time 0: %d", at)
	}
	if at, _ := j.SequenceAt(0, 1<<60); at != first+1 {
		t.Errorf("first in the future: %d, want the next number %d", at, first+1)
	}
	if n, err := j.Trim(t.Context(), 1<<60); err != nil || n == 0 {
		t.Fatalf("Trim dropped %d, %v", n, err)
	}
	if oldest, next := j.Bounds(0); oldest != next || next != first+1 {
		t.Errorf("after Trim: bounds %d and %d, want both %d", oldest, next, first+1)
	}
	r, _ := j.Reader(0, record.MakeSequence(1, 1))
	if _, ok, err := r.TryNext(); ok || err != nil || r.Trimmed() != first+1-record.MakeSequence(1, 1) {
		t.Errorf("reader of a trimmed shard: %v, %v, trimmed %d", ok, err, r.Trimmed())
	}
	if put(t, j, 0, "newer") != first+1 {
		t.Error("Trim changed the numbers")
	}
	expect(t, j, 0, 0, "newer")
	j.Close()
	j = open(t, options(d.kill(), 2))
	expect(t, j, 0, 0, "newer")
	expect(t, j, 1, 0)
	if j.LastArrival(0) == 0 || j.LastArrival(1) != 0 {
		t.Errorf("last arrivals %d, %d", j.LastArrival(0), j.LastArrival(1))
	}
}
