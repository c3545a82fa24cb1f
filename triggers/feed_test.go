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
	"github.com/shardmill/shardmill/triggers/filter"
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

// drawStored is runs of aggregates and plain records, with what is to be handed over and the stored record that each is from.
func drawStored(t *rapid.T) (runs []record.Run, users []string, from []uint64) {
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
		runs = append(runs, w.Run())
	}
	return runs, users, from
}

// Whatever is stored and however it is settled, the batches have each user record, in order and no more of them than allowed, and a stored record is settled when its last user record is.
func TestFeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs, users, from := drawStored(t)
		lim := limits{records: rapid.IntRange(1, 12).Draw(t, "batch size"), bytes: maxPayload}
		var f feed
		var b batch
		var polled, filtered uint64
		for at := 0; at < len(users); {
			b.reset()
			for full := false; !full; {
				if f.empty() {
					if len(runs) == 0 {
						break
					}
					f.fill(runs[0], false)
					runs = runs[1:]
				}
				full = f.take(&b, &lim, nil)
				p, n := f.counted()
				polled, filtered = polled+p, filtered+n
			}
			got := textOf(b.runs)
			if b.records != len(got) || len(got) > lim.records {
				t.Fatalf("%d records %q", b.records, got)
			}
			at = settleAll(t, &b, users, from, at)
		}
		b.reset()
		if polled != uint64(len(users)) || filtered != 0 {
			t.Fatalf("%d polled and %d filtered of %d", polled, filtered, len(users))
		}
	})
}

func textOf(runs []record.Run) (list []string) {
	for _, run := range runs {
		for r := range run.All() {
			list = append(list, string(r.Data))
		}
	}
	return list
}

// settleAll settles a batch that begins with the at-th user record, in stretches, and returns what follows it.
func settleAll(t *rapid.T, b *batch, users []string, from []uint64, at int) int {
	for b.records > 0 {
		got := textOf(b.runs)
		if !slices.Equal(got, users[at:at+len(got)]) {
			t.Fatalf("the batch has %q, want %q", got, users[at:])
		}
		single := b.ascending()
		for i := range got {
			if r := single(i); r.Len() != 1 || r.First().Sequence != from[at+i] {
				t.Fatalf("record %d is %d, want %d", i, r.First().Sequence, from[at+i])
			}
		}
		n := rapid.IntRange(1, len(got)).Draw(t, "settle")
		if head := b.head(n); !slices.Equal(textOf(head), got[:n]) || b.last(head) != from[at+n-1] {
			t.Fatalf("the first %d are %q up to %d", n, textOf(head), b.last(head))
		}
		b.drop(n)
		at += n
		want := from[at-1]
		if at < len(users) && (b.records > 0 || from[at] == from[at-1]) {
			want = from[at] - 1
		}
		if from[at-1] == from[0] && want != from[0] {
			want = 0 // of what was before the first the feed knows nothing
			if b.records > 0 {
				want = from[0] - 1
			}
		}
		if b.settled() != want {
			t.Fatalf("settled up to user record %d: the last stored is %d, want %d", at, b.settled(), want)
		}
	}
	return at
}

// What a filter does not match is passed over: it counts for no limit, and the position goes behind it.
func TestFeedFilters(t *testing.T) {
	only, err := filter.Compile([]string{`{"data": {"n": [{"numeric": [">", 2]}]}}`})
	if err != nil {
		t.Fatal(err)
	}
	event := func(n int) string { return fmt.Sprintf(`{"n":%d}`, n) }
	var f feed
	var b batch
	lim := limits{records: 2, bytes: maxPayload}
	take := func(wantFull bool, settled uint64, want ...string) {
		t.Helper()
		b.reset()
		if full := f.take(&b, &lim, only); full != wantFull || !slices.Equal(textOf(b.runs), want) || b.covered != settled {
			t.Errorf("took %q up to %d, full %v; want %q up to %d, full %v", textOf(b.runs), b.covered, full, want, settled, wantFull)
		}
	}
	f.fill(runOf(t, 1, event(1), aggregateOf(event(5), event(0), event(6), event(7)), event(2), "no JSON"), false)
	take(true, 1, event(5), event(6))
	take(false, 4, event(7))
	if !f.empty() {
		t.Error("something is left")
	}
	f.fill(runOf(t, 5, event(1), event(2)), false)
	take(false, 6)
	if polled, filtered := f.counted(); polled != 9 || filtered != 6 {
		t.Errorf("%d polled and %d filtered", polled, filtered)
	}
}

// runOf is stored records with the data given.
func runOf(t testing.TB, first uint64, data ...string) record.Run {
	t.Helper()
	var w record.Builder
	for _, d := range data {
		if err := w.Append(record.Record{Key: []byte("key"), Data: []byte(d)}); err != nil {
			t.Fatal(err)
		}
	}
	record.Stamp(w.Run(), first, 1)
	return w.Run()
}

// feedAll makes batches of a run and returns how many records they had.
func feedAll(f *feed, b *batch, run record.Run, l *limits, only *filter.Filter) (records int) {
	f.fill(run, false)
	for !f.empty() {
		b.reset()
		f.take(b, l, only)
		records += b.records
	}
	b.reset()
	return records
}

func feedCases(tb testing.TB) map[string]struct {
	run  record.Run
	only *filter.Filter
	want int
} {
	var users, plain, few []string
	for i := range 300 {
		users = append(users, fmt.Sprint("user record ", i))
	}
	for range 100 {
		plain = append(plain, `{"n": 1, "text": "`+strings.Repeat("x", 1000)+`"}`)
	}
	for range 10 {
		few = append(few, aggregateOf(users...))
	}
	only, err := filter.Compile([]string{`{"data": {"n": [1]}}`})
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]struct {
		run  record.Run
		only *filter.Filter
		want int
	}{
		"plain":      {runOf(tb, 1, plain...), nil, 100},
		"filtered":   {runOf(tb, 1, plain...), only, 100},
		"aggregates": {runOf(tb, 1, few...), nil, 3000},
	}
}

// Neither looking for aggregates, nor taking them apart, nor filtering allocates per record.
func TestFeedAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("pools lose what they hold under the race detector")
	}
	for name, c := range feedCases(t) {
		var f feed
		var b batch
		l := limits{records: 100, bytes: maxPayload}
		feedAll(&f, &b, c.run, &l, c.only)
		records := 0
		n := testing.AllocsPerRun(20, func() { records = feedAll(&f, &b, c.run, &l, c.only) })
		if records != c.want || n > 10 {
			t.Errorf("%s: %v allocations for %d records, want at most 10 for %d", name, n, records, c.want)
		}
	}
}

func BenchmarkFeed(b *testing.B) {
	for name, c := range feedCases(b) {
		b.Run(name, func(b *testing.B) {
			var f feed
			var batch batch
			l := limits{records: 100, bytes: maxPayload}
			records := 0
			b.ReportAllocs()
			for b.Loop() {
				records += feedAll(&f, &batch, c.run, &l, c.only)
			}
			b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
