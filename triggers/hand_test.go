package triggers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/internal/aggregate/aggregatetest"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

// aggregateOf is a stored record's data with user records of the data given, whose keys are "k" and its beginning.
func aggregateOf(data ...string) string {
	var users []aggregatetest.User
	for _, d := range data {
		users = append(users, aggregatetest.User{Key: "k" + d[:min(len(d), 8)], Data: d})
	}
	return string(aggregatetest.Encode(users...))
}

func TestAggregatesAreTakenApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var keys []string
		b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			for _, run := range c.Records {
				for r := range run.All() {
					keys = append(keys, fmt.Sprintf("%d:%s", r.Sequence-c.Source.First, r.Key))
				}
			}
			return nil
		}
		broken := aggregateOf("x", "y")
		broken = broken[:len(broken)-1] + "!"
		first := b.stream.put(0, "0", aggregateOf("1", "2", "3"), "4", broken, aggregateOf("5"))
		b.put(nil)
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"0", "1", "2", "3", "4", broken, "5"})
		if want := []string{"0:key", "1:k1", "1:k2", "1:k3", "2:key", "3:key", "4:k5"}; !slices.Equal(keys, want) {
			t.Errorf("sequence and key %q, want %q", keys, want)
		}
		if s := b.shard(0); s.Checkpoint != first+4 || s.Counts.Settled != 7 || s.Counts.Delivered != 7 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestAggregatesAreKeptWhenTheMappingSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		whole := aggregateOf("1", "2")
		b.stream.put(0, whole)
		s := b.put(func(m *Mapping) { m.Aggregated = true })
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{whole})
		if !s.Aggregated {
			t.Error("the setting is not told")
		}
		b.put(nil)
		b.stream.put(0, whole)
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{whole}, []string{"1", "2"})
	})
}

// A call has no more than BatchSize user records, and no more than the payload limit; the checkpoint passes a stored record with
// its last.
func TestAggregatesLargerThanACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var checkpoints []uint64
		b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			time.Sleep(time.Millisecond) // the checkpoint of the call before is saved
			checkpoints = append(checkpoints, b.shard(0).Checkpoint)
			return nil
		}
		first := b.stream.put(0, aggregateOf("1", "2"), aggregateOf("3", "4", "5", "6", "7"), "8")
		b.put(func(m *Mapping) { m.BatchSize = 3 })
		time.Sleep(time.Second)
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"1", "2", "3"}, []string{"4", "5", "6"}, []string{"7", "8"})
		if want := []uint64{0, first, first}; !slices.Equal(checkpoints, want) {
			t.Errorf("before the calls the checkpoint is %d, want %d", checkpoints, want)
		}
		large := strings.Repeat("x", maxPayload/2)
		b.stream.put(0, aggregateOf(large, large, "9"))
		time.Sleep(time.Second)
		wantData(t, b.functions.deliveries()[3:], []string{large}, []string{large, "9"})
	})
}

// A user record that is asked for again is delivered again with those behind it, while its stored record is unsettled.
func TestRetryInsideAnAggregate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = outcomes(runtime.ResultRetry, "", 3)
		first := b.stream.put(0, "0", aggregateOf("1", "2", "3", "4"), "5")
		b.put(nil)
		synctest.Wait()
		if s := b.shard(0); s.Checkpoint != first || s.Counts.Settled != 3 || s.State != ShardRetrying {
			t.Errorf("status %+v, want the checkpoint below the aggregate", s)
		}
		b.functions.setHandle(nil)
		time.Sleep(time.Minute)
		wantData(t, b.functions.deliveries(), []string{"0", "1", "2", "3", "4", "5"}, []string{"3", "4", "5"})
		if s := b.shard(0); s.Checkpoint != first+2 || s.Counts.Settled != 6 {
			t.Errorf("status %+v", s)
		}
	})
}

// After a restart a stored record that was settled in part is delivered from its beginning.
func TestRestartInsideAnAggregate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = outcomes(runtime.ResultRetry, "", 1)
		b.stream.put(0, aggregateOf("1", "2"))
		b.put(nil)
		synctest.Wait()
		b.close()
		b.functions.setHandle(nil)
		b.open()
		time.Sleep(time.Minute)
		wantData(t, b.functions.deliveries(), []string{"1", "2"}, []string{"1", "2"})
	})
}

func TestUserRecordsAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			return failure("no")
		}
		first := b.stream.put(0, aggregateOf("1", "2", "3"), "4")
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts = 2, 1 })
		time.Sleep(time.Minute)
		wantData(t, b.functions.deliveries(), []string{"1", "2"}, []string{"3", "4"})
		s := b.shard(0)
		if g := s.LastGivenUp; s.Counts.GivenUp != 4 || s.Checkpoint != first+1 || g.First != first || g.Last != first+1 || g.Records != 2 {
			t.Errorf("status %+v, given up %+v", s, g)
		}
	})
}

func TestOldAggregatesAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.put(0, aggregateOf("1", "2", "3"), "4")
		time.Sleep(2 * time.Minute)
		first := b.stream.put(0, "5")
		b.put(func(m *Mapping) { m.BatchSize, m.MaxRecordAge = 2, time.Minute })
		time.Sleep(time.Second)
		wantData(t, b.functions.deliveries(), []string{"5"})
		if s := b.shard(0); s.Counts.GivenUp != 4 || s.Checkpoint != first {
			t.Errorf("status %+v", s)
		}
	})
}

// drawStored is a batch of aggregates and plain records, with what is to be handed over and the stored record that each is from.
func drawStored(t *rapid.T) (b batch, users []string, from []uint64) {
	next := record.MakeSequence(1, 1)
	for range rapid.IntRange(1, 4).Draw(t, "runs") {
		var w record.Builder
		for range rapid.IntRange(1, 4).Draw(t, "stored") {
			var data []string
			for range rapid.IntRange(0, 5).Draw(t, "users") {
				data = append(data, fmt.Sprint(len(users)))
				users, from = append(users, data[len(data)-1]), append(from, next)
			}
			r := record.Record{Data: []byte(aggregateOf(data...))}
			if len(data) == 0 || len(data) == 1 && rapid.Bool().Draw(t, "plain") {
				if len(data) == 0 {
					users, from = append(users, fmt.Sprint(len(users))), append(from, next)
				}
				r.Data = []byte(users[len(users)-1])
			}
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
			next++
		}
		record.Stamp(w.Run(), next-uint64(w.Len()), 1)
		b.runs = append(b.runs, w.Run())
		b.records += w.Len()
		b.bytes += w.Size()
	}
	return b, users, from
}

// Whatever is stored and however it is settled, the calls have each user record in order, no more of them than allowed, and a stored
// record is done with when its last user record is.
func TestHand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, users, from := drawStored(t)
		var h hand
		m := Mapping{BatchSize: rapid.IntRange(1, 12).Draw(t, "batch size")}
		for at := 0; b.records > 0; {
			h.fill(&b, &m)
			var got []string
			for _, run := range h.runs {
				for r := range run.All() {
					if i := len(got); r.Sequence != from[at+i] || h.sequence(&b, i) != r.Sequence {
						t.Fatalf("record %d is of %d and said to be of %d, want %d", at+i, r.Sequence, h.sequence(&b, i), from[at+i])
					}
					got = append(got, string(r.Data))
				}
			}
			if h.records != len(got) || h.apart && len(got) > m.BatchSize || !slices.Equal(got, users[at:at+len(got)]) {
				t.Fatalf("%d records %q, want %q", h.records, got, users[at:])
			}
			for n := 1; n <= b.records; n++ {
				want := len(got)
				if i := slices.Index(from[at:at+len(got)], b.sequence(n-1)+1); i >= 0 {
					want = i
				}
				if h.of(n) != want {
					t.Fatalf("of the first %d stored records there are %d, want %d", n, h.of(n), want)
				}
			}
			settle := rapid.IntRange(1, len(got)).Draw(t, "settle")
			at += settle
			want := uint64(0)
			if at == len(users) || from[at] != from[at-1] {
				want = from[at-1]
			} else if i := slices.Index(from, from[at]); i >= at-settle+1 {
				want = from[i-1]
			}
			if last := h.drop(&b, settle); last != want {
				t.Fatalf("settled up to user record %d: the last stored is %d, want %d", at, last, want)
			}
		}
		if h.builder != nil || h.runs != nil {
			t.Fatal("memory is held while the shard is idle")
		}
	})
}

// storedBatch is a batch of n records with the data given.
func storedBatch(t testing.TB, n int, data string) *batch {
	t.Helper()
	var w record.Builder
	for range n {
		if err := w.Append(record.Record{Key: []byte("key"), Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	record.Stamp(w.Run(), record.MakeSequence(1, 1), 1)
	return &batch{runs: []record.Run{w.Run()}, records: n, bytes: w.Size()}
}

// handAll hands a batch over, call by call, and returns how many records that were.
func handAll(h *hand, stored *batch, m *Mapping) (records int) {
	b := *stored
	b.runs = append([]record.Run(nil), stored.runs...)
	for b.records > 0 {
		h.fill(&b, m)
		records += h.records
		h.drop(&b, h.records)
	}
	return records
}

// Neither looking for aggregates nor taking them apart allocates per record.
func TestHandAllocations(t *testing.T) {
	var users []string
	for i := range 300 {
		users = append(users, fmt.Sprint("user record ", i))
	}
	for name, c := range map[string]struct {
		b    *batch
		want int
	}{
		"plain":      {storedBatch(t, 100, strings.Repeat("x", 1000)), 100},
		"aggregates": {storedBatch(t, 10, aggregateOf(users...)), 3000},
	} {
		var h hand
		m := Mapping{BatchSize: 100}
		handAll(&h, c.b, &m)
		records := 0
		n := testing.AllocsPerRun(20, func() { records = handAll(&h, c.b, &m) })
		if records != c.want || n > 10 {
			t.Errorf("%s: %v allocations for %d records, want at most 10 for %d", name, n, records, c.want)
		}
	}
}

func BenchmarkHand(b *testing.B) {
	var users []string
	for i := range 300 {
		users = append(users, fmt.Sprint("user record ", i))
	}
	for name, stored := range map[string]*batch{
		"plain":      storedBatch(b, 100, strings.Repeat("x", 1000)),
		"aggregates": storedBatch(b, 10, aggregateOf(users...)),
	} {
		b.Run(name, func(b *testing.B) {
			var h hand
			m := Mapping{BatchSize: 100}
			records := 0
			b.ReportAllocs()
			for b.Loop() {
				records += handAll(&h, stored, &m)
			}
			b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
