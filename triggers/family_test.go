package triggers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

func TestFamily(t *testing.T) {
	var f family
	grow := func(listed []shards.ShardID, parents map[shards.ShardID][]shards.ShardID) (ready []shards.ShardID) {
		var made []*poller
		for _, id := range f.missing(listed) {
			p := &poller{shard: id, parents: parents[id], saver: &saver{}}
			p.progress.status.Counts.Settled = 1
			made = append(made, p)
		}
		f.take(made, listed)
		f.take(made, listed) // another one was faster
		for _, p := range f.ready() {
			ready = append(ready, p.shard)
		}
		return ready
	}
	parents := map[shards.ShardID][]shards.ShardID{3: {1}, 4: {1}, 5: {2, 3}, 6: {0}, 7: {6}, 8: {7, 5}}
	for _, step := range []struct {
		ends   int // a shard; -1 = none
		listed []shards.ShardID
		ready  []shards.ShardID
	}{
		{-1, []shards.ShardID{1, 2}, []shards.ShardID{1, 2}},
		{-1, []shards.ShardID{1, 2}, nil},
		{1, []shards.ShardID{1, 2, 3, 4, 5}, []shards.ShardID{3, 4}},
		{3, []shards.ShardID{1, 2, 3, 4, 5}, nil},                          // 5 waits for 2
		{2, []shards.ShardID{2, 3, 4, 5, 6, 7, 8}, []shards.ShardID{5, 6}}, // the parent of 6 is gone
		{6, []shards.ShardID{4, 5, 8}, nil},                                // 7 is gone without having been read; 8 waits for 5
		{5, []shards.ShardID{4, 8}, []shards.ShardID{8}},
	} {
		if step.ends >= 0 {
			f.end(f.byShard[shards.ShardID(step.ends)])
		}
		if ready := grow(step.listed, parents); !slices.Equal(ready, step.ready) {
			t.Errorf("%v ends, %v are there: %v start, want %v", step.ends, step.listed, ready, step.ready)
		}
	}
	var left []shards.ShardID
	for _, p := range f.pollers {
		left = append(left, p.shard)
	}
	if !slices.Equal(left, []shards.ShardID{4, 8}) || len(f.byShard) != 2 || f.past.Settled != 6 {
		t.Errorf("%v are left, %d counted of the others", left, f.past.Settled)
	}
}

// TestChildrenWaitForTheirParents: until what is in the parents is settled and its checkpoint saved.
func TestChildrenWaitForTheirParents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.functions.setHandle(func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			if c.Source.Shard == 1 && c.Attempt < 4 { // for some seconds
				return failure("not now")
			}
			return nil
		})
		b.put(nil)
		b.stream.saveDelay = 10 * time.Second
		b.stream.put(0, "a")
		b.stream.put(1, "b")
		b.stream.reshard(1, 0, 1)
		b.stream.put(2, "c")
		b.stream.reshard(2, 2)
		b.stream.put(3, "d")
		b.stream.put(4, "e")
		synctest.Wait()
		time.Sleep(9 * time.Second)
		synctest.Wait()
		for i := range 2 {
			if s := b.shard(i); s.Counts.Delivered == 0 {
				t.Errorf("shard %d: %+v", i, s)
			}
		}
		if all := b.functions.deliveries(); slices.ContainsFunc(all, func(d delivery) bool { return d.Shard > 1 }) {
			t.Errorf("a child was read: %+v", all)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		wantOrder(t, b.functions.deliveries(), "b", "c", "d")
		wantOrder(t, b.functions.deliveries(), "a", "c", "e")
		s, err := b.Get("m")
		if err != nil || len(s.Shards) != 5 || s.Shards[2].State != ShardEnded || s.Shards[4].State != ShardRunning || s.Counts().Settled != 5 {
			t.Errorf("%+v, %v", s.Shards, err)
		}
		if d := b.functions.deliveries(); !strings.Contains(fmt.Sprint(d), "[c]") || d[len(d)-1].Time.Sub(d[0].Time) < 20*time.Second {
			t.Errorf("two saves of ten seconds are between %+v", d)
		}
	})
}

// wantOrder looks for the last deliveries of records in the order given.
func wantOrder(t *testing.T, all []delivery, data ...string) {
	t.Helper()
	at := -1
	for _, want := range data {
		found := -1
		for i, d := range all {
			if slices.Contains(d.Data, want) {
				found = i
			}
		}
		if found <= at {
			t.Errorf("%q is delivery %d, the one before is %d of %+v", want, found, at, all)
		}
		at = found
	}
}

// TestWaitingIsShown, and lasts over a restart.
func TestWaitingIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		failing := func(context.Context, runtime.Call, *runtime.Reply) error { return failure("no") }
		b.functions.setHandle(failing)
		b.put(func(m *Mapping) { m.StartingPosition = Newest })
		b.stream.put(0, "a")
		b.stream.reshard(2, 0)
		b.stream.put(1, "b")
		for range 2 {
			synctest.Wait()
			if s := b.shard(0); s.State != ShardRetrying {
				t.Errorf("the parent is %+v", s)
			}
			b.close()
			b.open()
			synctest.Wait()
			if s := b.shard(1); s.State != ShardWaiting {
				t.Errorf("the child is %+v", s)
			}
		}
		b.functions.setHandle(nil)
		time.Sleep(time.Minute)
		wantOrder(t, b.functions.deliveries(), "a", "b") // from the child's oldest record on, although the mapping began at the newest
		b.close()
		n := len(b.functions.deliveries())
		b.open()
		b.stream.put(2, "c")
		time.Sleep(time.Second)
		if all := b.functions.deliveries(); len(all) != n+1 || all[n].Data[0] != "c" {
			t.Errorf("after a restart %+v", all[n:])
		}
	})
}

// TestShardThatIsGone: nothing of it can be saved or read any more, and its children go on.
func TestShardThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.stream.saveErr = func(cp shards.Checkpoint) error {
			if cp.Shard == 0 {
				return fmt.Errorf("save: %w", shards.ErrNoShard)
			}
			return nil
		}
		b.put(nil)
		b.stream.put(0, "a")
		synctest.Wait()
		b.stream.reshard(1, 0, 1)
		b.stream.put(2, "b")
		synctest.Wait()
		wantOrder(t, b.functions.deliveries(), "a", "b")
		if s := b.shard(0); s.State != ShardEnded || s.LastError != "" {
			t.Errorf("status %+v", s)
		}
	})
}

// keyed plays a function that wants each key's numbers in order, from 0 on and without a gap; a number may come again only when
// a delivery is repeated.
type keyed struct {
	mu    sync.Mutex
	next  map[string]int
	wrong []string
	count int
	rng   *rand.Rand
}

func (k *keyed) handle(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rng.IntN(20) == 0 {
		return failure("once in a while")
	}
	for _, run := range c.Records {
		for r := range run.All() {
			key := string(r.Key)
			if n, err := strconv.Atoi(string(r.Data)); err != nil || n != k.next[key] {
				k.wrong = append(k.wrong, fmt.Sprintf("%s of %s: %s, want %d", key, shards.ShardID(c.Source.Shard), r.Data, k.next[key]))
			}
			k.next[key]++
			k.count++
		}
	}
	return nil
}

// TestReshardUnderAMapping reshards a real stream while it is written and mapped, and stops and starts the mappings in between.
// Each stop is a graceful one, so that every record is handled once.
func TestReshardUnderAMapping(t *testing.T) {
	h := newHost(t, Options{})
	table := &fakeTable{}
	k := &keyed{next: map[string]int{}, rng: rand.New(rand.NewPCG(1, 2))}
	functions := &fakeFunctions{kinds: map[string]runtime.Kinds{"f": runtime.AllKinds}, handle: k.handle}
	open := func() *Triggers {
		tr, err := Open(t.Context(), Options{
			Streams: FromStore(h.store), Functions: functions, Definitions: table, RetryBase: time.Millisecond, RetryMax: time.Millisecond,
		})
		h.check(err)
		return tr
	}
	in := h.create("in", 2)
	tr := open()
	_, _, err := tr.Put(t.Context(), Mapping{Name: "m", Stream: "in", Function: "f", BatchSize: 7})
	h.check(err)
	rng := rand.New(rand.NewPCG(3, 4))
	const keys, rounds = 20, 60
	for i := range rounds {
		var list []record.Record
		for key := range keys {
			list = append(list, record.Record{Key: fmt.Append(nil, "key ", key), Data: fmt.Append(nil, i)})
		}
		_, err := in.Put(t.Context(), list, nil)
		h.check(err)
		switch {
		case i%20 == 10:
			h.check(tr.Close(t.Context()))
			tr = open()
		case i%3 == 0:
			_, err = h.store.Resize(t.Context(), "in", 1+rng.IntN(6))
			h.check(err)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for handled := 0; handled < keys*rounds && time.Now().Before(deadline); <-tick.C {
		k.mu.Lock()
		handled = k.count
		k.mu.Unlock()
	}
	h.check(tr.Close(t.Context()))
	if k.count != keys*rounds || len(k.wrong) > 0 {
		t.Errorf("%d records were handled of %d; wrong: %v", k.count, keys*rounds, k.wrong[:min(10, len(k.wrong))])
	}
}
