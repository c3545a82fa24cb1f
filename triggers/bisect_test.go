package triggers

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/runtime"
)

// poison fails every call that has one of the records.
func poison(data ...string) func(context.Context, runtime.Call, *runtime.Reply) error {
	return func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
		for _, d := range textOf(c.Records) {
			if slices.Contains(data, d) {
				return failure("poisoned by " + d)
			}
		}
		return nil
	}
}

func TestBisect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = poison("5")
		first := b.stream.put(0, numbered(0, 8)...)
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts, m.Bisect = 8, 2, true })
		b.stream.put(0, numbered(8, 8)...)
		time.Sleep(time.Hour)
		wantData(t, b.functions.deliveries(), numbered(0, 8), numbered(0, 4), numbered(4, 4), numbered(4, 2), []string{"4"},
			[]string{"5"}, []string{"5"}, numbered(6, 2), numbered(8, 8))
		s := b.shard(0)
		if g := s.LastGivenUp; g == nil || g.First != first+5 || g.Records != 1 || g.Attempts != 2 || s.Checkpoint != first+15 {
			t.Errorf("status %+v, given up %+v", s, g)
		}
	})
}

// The batch after a division is whole again, also when the setting is taken away while a batch is divided.
func TestBisectIsSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = poison("3")
		b.stream.put(0, numbered(0, 4)...)
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts, m.Bisect = 4, 1, true })
		synctest.Wait()
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts = 4, 1 })
		time.Sleep(time.Minute)
		wantData(t, b.functions.deliveries(), numbered(0, 4), numbered(0, 2), numbered(2, 2))
		if g := b.shard(0).LastGivenUp; g == nil || g.Records != 2 {
			t.Errorf("given up: %+v", g)
		}
	})
}

// The one record that fails is found with at most ⌈log2 n⌉+1 calls beyond its own and the batch's, without waiting; it alone is given up.
func TestIsolateFindsTheCulprit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(rt, "records")
		bad := rapid.IntRange(0, n-1).Draw(rt, "culprit")
		attempts := rapid.IntRange(1, 3).Draw(rt, "attempts")
		var err error
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			b.functions.handle = poison(fmt.Sprint(bad))
			b.stream.put(0, numbered(0, n)...)
			start := time.Now()
			b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts, m.Isolate = n, attempts, true })
			synctest.Wait()
			if attempts == 1 && time.Since(start) != 0 {
				err = fmt.Errorf("the search took %v", time.Since(start))
			}
			time.Sleep(time.Minute)
			calls := b.functions.deliveries()
			most := 1 + bits.Len(uint(n-1)) + 1 + attempts
			if c := b.shard(0).Counts; c.GivenUp != 1 || c.Settled != uint64(n-1) || len(calls) > most {
				err = fmt.Errorf("%d calls, at most %d are wanted; %+v", len(calls), most, c)
			}
			if g := b.shard(0).LastGivenUp; g == nil || g.Records != 1 || g.Attempts != attempts {
				err = fmt.Errorf("given up: %+v", g)
			}
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func TestIsolateSeveralCulprits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = poison("2", "6")
		b.stream.put(0, numbered(0, 8)...)
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts, m.Isolate = 8, 1, true })
		synctest.Wait()
		wantData(t, b.functions.deliveries(), numbered(0, 8), numbered(0, 4), numbered(0, 2), []string{"2"},
			numbered(3, 5), numbered(3, 2), []string{"5"}, []string{"6"}, []string{"7"})
		if c := b.shard(0).Counts; c.GivenUp != 2 || c.Settled != 6 {
			t.Errorf("counts %+v", c)
		}
	})
}

// A function that names what it cannot handle is not searched for it.
func TestIsolateWhatAReplyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			if i := slices.Index(textOf(c.Records), "3"); i >= 0 {
				return outcomes(runtime.ResultRetry, "not this", i)(ctx, c, reply)
			}
			return nil
		}
		b.stream.put(0, numbered(0, 8)...)
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts, m.Isolate = 8, 2, true })
		time.Sleep(time.Minute)
		wantData(t, b.functions.deliveries(), numbered(0, 8), []string{"3"}, []string{"3"}, numbered(4, 4))
	})
}
