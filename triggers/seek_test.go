package triggers

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

func TestSeek(t *testing.T) {
	for name, c := range map[string]struct {
		to   Target
		want [][]string // delivered after it
	}{
		"oldest":           {Target{Position: Oldest}, [][]string{{"0", "1"}, {"2"}, {"a"}, {"b"}}},
		"oldest, a shard":  {Target{Position: Oldest, Shard: "shardId-000000000001"}, [][]string{{"a"}, {"b"}}},
		"newest":           {Target{Position: Newest}, nil},
		"time":             {Target{Position: AtTime, Time: time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC)}, [][]string{{"2"}, {"b"}}},
		"sequence":         {Target{Sequence: record.MakeSequence(1, 2), Shard: "shardId-000000000000"}, [][]string{{"1"}, {"2"}}},
		"behind the last":  {Target{Sequence: record.MakeSequence(1, 4), Shard: "shardId-000000000000"}, nil},
		"newest of one":    {Target{Position: Newest, Shard: "shardId-000000000000"}, nil},
		"time of the past": {Target{Position: AtTime, Time: time.Unix(0, 0)}, [][]string{{"0", "1"}, {"2"}, {"a"}, {"b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 2)
				b.stream.put(0, "0", "1")
				b.stream.put(1, "a")
				time.Sleep(time.Second)
				b.stream.put(0, "2")
				b.stream.put(1, "b")
				b.put(func(m *Mapping) { m.BatchSize = 2 })
				synctest.Wait()
				before := len(b.functions.deliveries())
				s, err := b.Seek(t.Context(), "m", c.to)
				if err != nil || s.State != Enabled || s.Counts().Settled < 5 {
					t.Fatalf("seek: %v, %+v", err, s)
				}
				time.Sleep(time.Second)
				got := map[string]int{}
				for _, d := range b.functions.deliveries()[before:] {
					for _, data := range d.Data {
						got[data]++
					}
				}
				want := 0
				for _, batch := range c.want {
					for _, data := range batch {
						if want++; got[data] != 1 {
							t.Errorf("%q was delivered %d times", data, got[data])
						}
					}
				}
				if len(got) != want {
					t.Errorf("delivered again: %v, want %v", got, c.want)
				}
				b.stream.put(0, "new")
				synctest.Wait()
				if calls := b.functions.deliveries(); calls[len(calls)-1].Data[0] != "new" {
					t.Error("it does not go on")
				}
			})
		})
	}
}

// The batch under way is finished before the position moves, and nothing of the batch in hand comes after it.
func TestSeekUnderABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, _ *runtime.Reply) error {
			time.Sleep(time.Second)
			return nil
		}
		b.stream.put(0, numbered(0, 10)...)
		b.put(func(m *Mapping) { m.BatchSize = 1 })
		time.Sleep(2500 * time.Millisecond)
		if _, err := b.Seek(t.Context(), "m", Target{Position: Newest}); err != nil {
			t.Fatal(err)
		}
		b.stream.put(0, "new")
		time.Sleep(time.Minute)
		wantData(t, b.functions.deliveries(), []string{"0"}, []string{"1"}, []string{"2"}, []string{"new"})
	})
}

// After a seek parents are read before their children again.
func TestSeekOverAReshard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.put(0, "parent")
		b.put(nil)
		synctest.Wait()
		b.stream.reshard(2, 0)
		b.stream.put(1, "left")
		b.stream.put(2, "right")
		synctest.Wait()
		if _, err := b.Seek(t.Context(), "m", Target{Position: Oldest}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		calls := b.functions.deliveries()
		if len(calls) != 6 || calls[3].Data[0] != "parent" || b.shard(0).State != ShardEnded || b.shard(1).State != ShardRunning {
			t.Errorf("deliveries %+v", calls)
		}
	})
}

func TestSeekRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.put(nil)
		now := time.Now()
		for field, to := range map[string]Target{
			"position": {}, "shard": {Sequence: 1}, "sequence": {Sequence: 1, Position: Oldest, Shard: "shardId-000000000000"},
			"time": {Position: AtTime, Time: now.Add(time.Hour)},
		} {
			var refused *FieldError
			if _, err := b.Seek(t.Context(), "m", to); !errors.As(err, &refused) || refused.Field != field {
				t.Errorf("seek to %+v: %v, want %s", to, err, field)
			}
		}
		for _, to := range []Target{
			{Position: Oldest, Shard: "shardId-000000000007"}, {Position: Oldest, Time: now}, {Position: AtTime},
			{Sequence: record.MakeSequence(9, 9), Shard: "shardId-000000000000"},
		} {
			if _, err := b.Seek(t.Context(), "m", to); !errors.Is(err, ErrInvalid) {
				t.Errorf("seek to %+v: %v", to, err)
			}
		}
		if _, err := b.Seek(t.Context(), "unknown", Target{Position: Oldest}); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		b.streams.remove("s")
		synctest.Wait()
		if _, err := b.Seek(t.Context(), "m", Target{Position: Oldest}); !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
	})
}

// A seek whose checkpoint cannot be saved says so, and the mapping goes on where it was.
func TestSeekThatCannotBeSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.put(0, "0")
		b.put(nil)
		synctest.Wait()
		b.stream.saveErr = func(shards.Checkpoint) error { return shards.ErrNoSpace }
		if _, err := b.Seek(t.Context(), "m", Target{Position: Oldest}); !errors.Is(err, shards.ErrNoSpace) {
			t.Error(err)
		}
		b.stream.saveErr = nil
		b.stream.put(0, "1")
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"0"}, []string{"1"})
	})
}
