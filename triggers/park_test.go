package triggers

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

// isolating is a mapping that isolates, with so many attempts.
func isolating(lanes, attempts int) func(*Mapping) {
	return func(m *Mapping) {
		m.Isolate, m.Parallelization, m.MaxAttempts, m.BatchSize = true, lanes, attempts, 50
	}
}

// While the culprit is tried again and again, all other keys go on; those of its own key wait behind it, in order.
func TestTheShardKeepsMoving(t *testing.T) {
	for _, lanes := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			f := newByKey()
			f.fails = func(key string, n int) bool { return key == "k2" && n == 3 }
			b.functions.handle = f.handle
			b.putKeys(5, 0, 20)
			b.put(isolating(lanes, 0))
			time.Sleep(time.Minute)
			b.putKeys(5, 20, 40)
			time.Sleep(time.Minute)
			f.mu.Lock()
			for k := range 5 {
				want := 40
				if k == 2 {
					want = 3
				}
				if got := f.next[fmt.Sprint("k", k)]; got != want {
					t.Errorf("%d lanes: k%d was handled up to %d, want %d", lanes, k, got, want)
				}
			}
			f.fails = nil
			f.mu.Unlock()
			s := b.shard(0)
			if at := record.MakeSequence(1, 3*5+2); s.Checkpoint != at || s.State != ShardRetrying || s.Attempt < 3 || s.IteratorAge != 2*time.Minute {
				t.Errorf("%d lanes: status %+v, want the checkpoint %d", lanes, s, at)
			}
			time.Sleep(time.Minute)
			f.check(t, 5, 40)
			if s := b.shard(0); s.Checkpoint != record.MakeSequence(1, 200) || s.State != ShardRunning || s.Attempt != 0 || s.Counts.Settled != 200 {
				t.Errorf("%d lanes: status %+v", lanes, s)
			}
		})
	}
}

// A key may be parked again with a later record; and what is given up frees its lane.
func TestParkedKeysAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		f := newByKey()
		f.fails = func(key string, n int) bool { return n%5 == 1 && key != "k0" }
		b.functions.handle = f.handle
		b.putKeys(4, 0, 30)
		b.put(toFailures(isolating(1, 3)))
		time.Sleep(time.Hour)
		f.mu.Lock()
		next := f.next["k0"]
		f.mu.Unlock()
		if c := b.shard(0).Counts; next != 30 || c.GivenUp != 18 || c.Sent != 18 || c.Settled != 102 {
			t.Errorf("k0 up to %d, %+v", next, c)
		}
		got, _ := b.failures.deliveries()
		for _, failure := range got {
			if failure.Count != 1 || failure.Attempts != 3 || failure.Failed == nil {
				t.Errorf("delivered %+v", failure)
			}
		}
	})
}

// With more culprits than lanes for them the shard waits, and goes on when they are done.
func TestMoreCulpritsThanCanBeParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		f := newByKey()
		f.fails = func(key string, n int) bool { return n == 0 && key != "k29" }
		b.functions.handle = f.handle
		b.putKeys(30, 0, 3)
		b.put(isolating(1, 0))
		time.Sleep(time.Hour)
		if s := b.shard(0); s.State != ShardRetrying || s.Checkpoint > record.MakeSequence(1, 0) {
			t.Errorf("status %+v", s)
		}
		b.Triggers.mu.Lock()
		p := b.Triggers.runners["m"].current().family.pollers[0]
		b.Triggers.mu.Unlock()
		p.fan.mu.Lock()
		parked := len(p.fan.parked)
		p.fan.mu.Unlock()
		if parked != maxParked {
			t.Errorf("%d keys are parked", parked)
		}
		f.mu.Lock()
		f.fails = nil
		f.mu.Unlock()
		time.Sleep(time.Hour)
		f.check(t, 30, 3)
	})
}

// Stops, and the setting being taken away, lose nothing that is parked.
func TestParkedKeysOverAStopAndAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		f := newByKey()
		f.fails = func(key string, n int) bool { return key == "k1" && n == 2 }
		b.functions.handle = f.handle
		b.putKeys(3, 0, 10)
		b.put(isolating(2, 0))
		time.Sleep(time.Minute)
		b.close()
		b.open()
		time.Sleep(time.Minute)
		b.put(func(m *Mapping) { m.BatchSize = 50 })
		b.putKeys(3, 10, 20)
		time.Sleep(time.Minute)
		f.mu.Lock()
		f.fails = nil
		f.mu.Unlock()
		time.Sleep(time.Hour)
		f.mu.Lock()
		defer f.mu.Unlock()
		for k := range 3 {
			if f.next[fmt.Sprint("k", k)] != 20 {
				t.Errorf("k%d was handled up to %d", k, f.next[fmt.Sprint("k", k)])
			}
		}
		if s := b.shard(0); s.Checkpoint != record.MakeSequence(1, 60) || s.State != ShardRunning {
			t.Errorf("status %+v", s)
		}
	})
}
