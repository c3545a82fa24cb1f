package triggers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// numbered is n data values from a on: "a", "a+1", …
func numbered(a, n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprint(a+i))
	}
	return list
}

// data of the deliveries, one slice each.
func delivered(calls []delivery) [][]string {
	var list [][]string
	for _, c := range calls {
		list = append(list, c.Data)
	}
	return list
}

func wantData(t *testing.T, got []delivery, want ...[]string) {
	t.Helper()
	if diff := cmp.Diff(want, delivered(got)); diff != "" {
		t.Errorf("deliveries: (-want +got)\n%s", diff)
	}
}

func TestBatchesAreCutAtBatchSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		first := b.stream.put(0, numbered(0, 5)...)
		b.stream.put(0, "5")
		b.stream.put(0, "6", "7")
		b.put(func(m *Mapping) { m.BatchSize = 3 })
		synctest.Wait()
		wantData(t, b.functions.deliveries(), numbered(0, 3), numbered(3, 3), numbered(6, 2))
		for i, d := range b.functions.deliveries() {
			if from := first + uint64(3*i); d.First != from || d.Last != from+uint64(len(d.Data))-1 {
				t.Errorf("batch %d is said to be %d to %d, want it to begin at %d", i, d.First, d.Last, from)
			}
		}
		s := b.shard(0)
		if s.Checkpoint != first+7 || s.State != ShardRunning || s.LastResult != ResultOK || s.Attempt != 0 || s.IteratorAge != 0 {
			t.Errorf("status %+v, want the checkpoint %d and nothing in hand", s, first+7)
		}
		if c := s.Counts; c.OK != 3 || c.Delivered != 8 || c.Settled != 8 || c.Retries != 0 || c.Saves == 0 {
			t.Errorf("counts %+v", c)
		}
	})
}

// A batch window begins when the call before has ended, and the first one with the mapping. After one that has ended without a record, what comes is handed over at once.
func TestBatchWindowBeginsWithTheEndOfTheCallBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(context.Context, runtime.Call, *runtime.Reply) error {
			time.Sleep(2 * time.Second)
			return nil
		}
		start := time.Now()
		b.put(func(m *Mapping) { m.BatchSize, m.BatchWindow = 3, 10*time.Second })
		for _, step := range []struct {
			at   time.Duration
			data []string
		}{
			{4, []string{"0"}},                     // handed over at 10, and done at 12
			{11, []string{"1"}},                    // during that call
			{21, []string{"2"}},                    // with it at 22, done at 24
			{90, []string{"3"}},                    // at once, done at 92
			{91, []string{"4"}},                    // at 102, done at 104
			{105, []string{"5", "6", "7", "8"}},    // three are a batch, done at 107; and one waits until 117
			{150, []string{"9", "10", "11", "12"}}, // at once, and one until 162
		} {
			time.Sleep(time.Until(start.Add(step.at * time.Second)))
			b.stream.put(0, step.data...)
		}
		time.Sleep(time.Minute)
		calls := b.functions.deliveries()
		wantData(t, calls, []string{"0"}, []string{"1", "2"}, []string{"3"}, []string{"4"}, []string{"5", "6", "7"}, []string{"8"}, []string{"9", "10", "11"}, []string{"12"})
		for i, want := range []time.Duration{10, 22, 90, 102, 105, 117, 150, 162} {
			if got := calls[i].Time.Sub(start); got != want*time.Second {
				t.Errorf("batch %d was delivered after %v, want %v", i, got, want*time.Second)
			}
		}
	})
}

// A call that fails ends as well: the window of what follows begins with the end of the last attempt.
func TestBatchWindowAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		fails := 3
		b.functions.handle = func(context.Context, runtime.Call, *runtime.Reply) error {
			if fails--; fails >= 0 {
				return failure("not yet")
			}
			return nil
		}
		b.put(func(m *Mapping) { m.BatchSize, m.BatchWindow = 2, 10*time.Second })
		b.stream.put(0, "0", "1", "2")
		time.Sleep(time.Minute)
		calls := b.functions.deliveries()
		wantData(t, calls, []string{"0", "1"}, []string{"0", "1"}, []string{"0", "1"}, []string{"0", "1"}, []string{"2"})
		if waited := calls[4].Time.Sub(calls[3].Time); waited != 10*time.Second {
			t.Errorf("the next batch came %v after the last attempt, want 10s", waited)
		}
	})
}

func TestBatchesAreCutAtThePayloadLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		mebibyte := func(n int) string { return strings.Repeat("x", n<<20) }
		b.stream.put(0, mebibyte(2), mebibyte(2), mebibyte(1), mebibyte(2), mebibyte(9))
		b.stream.put(0, "small")
		b.put(nil)
		synctest.Wait()
		var got [][]int
		for _, d := range b.functions.deliveries() {
			var sizes []int
			for _, data := range d.Data {
				sizes = append(sizes, len(data)>>20)
			}
			got = append(got, sizes)
		}
		if diff := cmp.Diff([][]int{{2, 2, 1}, {2}, {9}, {0}}, got); diff != "" {
			t.Errorf("MiB of the records of each batch: (-want +got)\n%s", diff)
		}
	})
}

func TestFailuresAreRetriedAndThenGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			if string(c.Records[0].First().Data) == "0" {
				return failure("poison")
			}
			return nil
		}
		first := b.stream.put(0, "0", "1")
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts = 2, 3 })
		b.stream.put(0, "2")
		synctest.Wait()
		if s := b.shard(0); s.State != ShardRetrying || s.Attempt != 1 || s.LastResult != ResultFailed || !strings.Contains(s.LastError, "poison") || s.Checkpoint != 0 {
			t.Errorf("after the first attempt: %+v", s)
		}
		time.Sleep(time.Minute)
		calls := b.functions.deliveries()
		wantData(t, calls, []string{"0", "1"}, []string{"0", "1"}, []string{"0", "1"}, []string{"2"})
		for i, most := range []time.Duration{time.Second, 2 * time.Second} {
			if wait := calls[i+1].Time.Sub(calls[i].Time); wait > most || wait < most/2 {
				t.Errorf("wait before attempt %d was %v, want %v to %v", i+2, wait, most/2, most)
			}
			if calls[i+1].Attempt != i+2 {
				t.Errorf("attempt %d was called attempt %d", i+2, calls[i+1].Attempt)
			}
		}
		s := b.shard(0)
		if s.State != ShardRunning || s.Checkpoint != first+2 || s.Counts.GivenUp != 2 || s.Counts.Retries != 2 || s.Counts.Failed != 3 {
			t.Errorf("at the end: %+v", s)
		}
		g := s.LastGivenUp
		if g == nil || g.First != first || g.Last != first+1 || g.Records != 2 || g.Attempts != 3 || g.Reason != AttemptsExhausted || !strings.Contains(g.Error, "poison") {
			t.Errorf("given up: %+v", g)
		}
	})
}

func TestFailuresAreRetriedWithoutLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(context.Context, runtime.Call, *runtime.Reply) error { return failure("always") }
		b.stream.put(0, "0")
		b.put(nil)
		time.Sleep(time.Hour)
		s := b.shard(0)
		if s.Counts.Failed < 120 || s.Counts.GivenUp != 0 || s.Checkpoint != 0 {
			t.Errorf("after an hour of failures: %+v", s)
		}
		if s.IteratorAge < time.Hour || s.IteratorAge > time.Hour+time.Minute {
			t.Errorf("iterator age %v, want an hour", s.IteratorAge)
		}
		b.functions.setHandle(nil)
		time.Sleep(30 * time.Second)
		if s := b.shard(0); s.Checkpoint == 0 || s.State != ShardRunning || s.LastError != "" || s.IteratorAge != 0 {
			t.Errorf("after it went well: %+v", s)
		}
	})
}

// The case recorded from AWS (spec/aws.md §1.5, 5): batches of 3, 4 attempts, only the last record fails.
func TestProgressResetsTheQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			i := 0
			for _, run := range c.Records {
				for r := range run.All() {
					if string(r.Data) == "5" {
						return outcomes(runtime.ResultRetry, "not yet", i)(ctx, c, reply)
					}
					i++
				}
			}
			return nil
		}
		first := b.stream.put(0, numbered(0, 6)...)
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts = 3, 4 })
		time.Sleep(time.Hour)
		calls := b.functions.deliveries()
		wantData(t, calls, numbered(0, 3), numbered(3, 3), []string{"5"}, []string{"5"}, []string{"5"}, []string{"5"})
		s := b.shard(0)
		if g := s.LastGivenUp; g == nil || g.Records != 1 || g.Attempts != 4 || !strings.Contains(g.Error, "not yet") {
			t.Errorf("given up: %+v", g)
		}
		if c := s.Counts; c.Settled != 5 || c.GivenUp != 1 || c.Partial != 5 || s.Checkpoint != first+5 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestPartialReplyMovesTheCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = outcomes(runtime.ResultRetry, "", 7, 2)
		first := b.stream.put(0, numbered(0, 10)...)
		b.put(nil)
		synctest.Wait()
		if s := b.shard(0); s.Checkpoint != first+1 || s.State != ShardRetrying || s.LastResult != ResultPartial {
			t.Errorf("status %+v, want the checkpoint below the lowest record asked for again", s)
		}
		b.functions.setHandle(nil)
		time.Sleep(time.Minute)
		wantData(t, b.functions.deliveries(), numbered(0, 10), numbered(2, 8))
	})
}

func TestDroppedAndRejectedRecordsAreSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.close()
		var log bytes.Buffer
		o := b.options()
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		var err error
		if b.Triggers, err = Open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			if c.Attempt == 1 && len(c.Records) > 0 && c.Records[0].Len() == 40 {
				_ = outcomes(runtime.ResultDropped, "", 0, 1)(ctx, c, reply)
				_ = outcomes(runtime.ResultRejected, "no such airport", 2)(ctx, c, reply)
				_ = outcomes(runtime.ResultRejected, "bad date", 3)(ctx, c, reply)
				_ = outcomes(runtime.ResultRejected, "no such airport", 4)(ctx, c, reply)
				for i := 10; i < 30; i++ {
					_ = outcomes(runtime.ResultRejected, fmt.Sprint("reason ", i), i)(ctx, c, reply)
				}
				_ = outcomes(runtime.ResultRetry, "", 35)(ctx, c, reply)
				_ = outcomes(runtime.ResultRejected, "void", 36)(ctx, c, reply)
			}
			return nil
		}
		first := b.stream.put(0, numbered(0, 40)...)
		b.put(nil)
		time.Sleep(time.Minute)
		if c := b.shard(0).Counts; c.Dropped != 2 || c.Rejected != 23 || c.Settled != 40 || c.Retries != 1 {
			t.Errorf("counts %+v", c)
		}
		for _, want := range []string{
			fmt.Sprintf(`reason="no such airport" records=2 first=%d last=%d`, first+2, first+4),
			fmt.Sprintf(`reason="bad date" records=1 first=%d last=%d`, first+3, first+3),
			fmt.Sprintf(`reason="(other reasons)" records=12 first=%d last=%d`, first+18, first+29),
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, log.String())
			}
		}
		if strings.Contains(log.String(), "void") {
			t.Errorf("what a reply says behind the record asked for again counts:\n%s", log.String())
		}
	})
}

func TestThrottlesAndHostFailuresDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			switch n := len(b.functions.calls); {
			case n <= 10:
				return fmt.Errorf("invoke: %w", runtime.ErrThrottled)
			case n <= 20:
				return runtime.ErrEmit
			case n == 21:
				return failure("once")
			}
			return nil
		}
		b.stream.put(0, "0")
		b.put(func(m *Mapping) { m.MaxAttempts = 2 })
		synctest.Wait()
		if s := b.shard(0); s.State != ShardRetrying || s.LastResult != ResultThrottled {
			t.Errorf("throttled: %+v", s)
		}
		time.Sleep(5 * time.Minute)
		calls := b.functions.deliveries()
		for i, c := range calls[:21] {
			if c.Attempt != 1 {
				t.Errorf("delivery %d is called attempt %d, want 1: no attempt before it counts", i, c.Attempt)
			}
		}
		if s := b.shard(0); len(calls) != 22 || calls[21].Attempt != 2 || s.Counts.Throttled != 10 || s.Counts.Refused != 10 || s.Counts.OK != 1 || s.Counts.GivenUp != 0 {
			t.Errorf("%d deliveries, status %+v", len(calls), s)
		}
	})
}

func TestFunctionThatIsMissingIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.put(func(m *Mapping) { m.MaxAttempts = 1 })
		b.functions.set("f", 0)
		if s, _ := b.Get("m"); s.State != Blocked || !strings.Contains(s.Reason, `function is "f"; it must be the name of a function that exists`) {
			t.Errorf("state %q, reason %q", s.State, s.Reason)
		}
		b.stream.put(0, "0")
		time.Sleep(time.Hour)
		if s := b.shard(0); s.State != ShardBlocked || s.LastError == "" || s.Counts.GivenUp != 0 {
			t.Errorf("with records: %+v", s)
		}
		b.functions.set("f", runtime.AllKinds)
		time.Sleep(6 * time.Second)
		wantData(t, b.functions.deliveries(), []string{"0"})
		if s, _ := b.Get("m"); s.State != Enabled || s.Reason != "" || s.LastResult() != ResultOK {
			t.Errorf("after it came back: %+v", s)
		}
	})
}

func TestDeletedStreamFailsTheMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 3)
		b.put(nil)
		synctest.Wait()
		b.streams.remove("s")
		synctest.Wait()
		s, err := b.Get("m")
		if err != nil || s.State != Failed || s.Reason != `stream "s" has been deleted` || s.Shards[2].State != ShardStopped {
			t.Errorf("status %+v, %v", s, err)
		}
		// Another stream of that name is not the mapping's.
		b.streams.create("s", 1)
		b.close()
		b.open()
		if s, _ := b.Get("m"); s.State != Failed || !strings.Contains(s.Reason, "another one") {
			t.Errorf("with another stream: %+v", s)
		}
		if err := b.Delete(t.Context(), "m"); err != nil {
			t.Error(err)
		}
	})
}

func TestDamageStopsOneShardUntilItIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		first := b.stream.put(0, "0", "1")
		b.stream.put(0, "2", "3")
		b.stream.put(0, "4")
		b.stream.change(0, func(s *fakeShard) { s.damagedAt = 1 })
		b.put(nil)
		time.Sleep(time.Minute)
		b.stream.put(1, "other")
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"0", "1"}, []string{"other"})
		s := b.shard(0)
		if s.State != ShardDamaged || !strings.Contains(s.LastError, "checksum does not match") || s.Checkpoint != first+1 || s.IteratorAge < time.Minute {
			t.Errorf("damaged shard: %+v", s)
		}
		b.stream.change(0, func(s *fakeShard) { s.runs, s.damagedAt = append(s.runs[:1], s.runs[2]), -1 })
		time.Sleep(6 * time.Second)
		wantData(t, b.functions.deliveries(), []string{"0", "1"}, []string{"other"}, []string{"4"})
		if s := b.shard(0); s.State != ShardRunning || s.LastError != "" || s.Counts.Skipped != 2 || s.Checkpoint != first+4 {
			t.Errorf("after the damage was accepted: %+v", s)
		}
	})
}

func TestShardEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		first := b.stream.put(0, "0")
		b.stream.change(0, func(s *fakeShard) { s.closed = true })
		b.put(func(m *Mapping) { m.BatchWindow = time.Minute })
		synctest.Wait()
		if s := b.shard(0); s.State != ShardEnded || s.Checkpoint != first {
			t.Errorf("status %+v", s)
		}
	})
}

func TestRecordsTooOldAreGivenUpByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(context.Context, runtime.Call, *runtime.Reply) error { return runtime.ErrThrottled }
		first := b.stream.put(0, "0", "1")
		time.Sleep(30 * time.Second)
		b.stream.put(0, "2")
		b.put(func(m *Mapping) { m.MaxRecordAge = time.Minute })
		time.Sleep(36 * time.Second)
		s := b.shard(0)
		if g := s.LastGivenUp; g == nil || g.First != first || g.Last != first+1 || g.Reason != AgeExceeded || g.Attempts != 0 || g.Error != "" {
			t.Errorf("given up: %+v", g)
		}
		b.functions.setHandle(nil)
		time.Sleep(6 * time.Second)
		calls := b.functions.deliveries()
		wantData(t, calls[len(calls)-1:], []string{"2"})
		if s := b.shard(0); s.Counts.GivenUp != 2 || s.Counts.Settled != 1 || s.Checkpoint != first+2 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestIteratorAgeCountsWhatIsInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			time.Sleep(10 * time.Second)
			return nil
		}
		b.put(func(m *Mapping) { m.BatchSize = 1 })
		b.stream.put(0, "0", "1")
		time.Sleep(5 * time.Second)
		if age := b.shard(0).IteratorAge; age != 5*time.Second {
			t.Errorf("during the first batch the age is %v, want 5s", age)
		}
		time.Sleep(10 * time.Second)
		if age := b.shard(0).IteratorAge; age != 15*time.Second {
			t.Errorf("during the second batch the age is %v, want 15s", age)
		}
		time.Sleep(10 * time.Second)
		if age := b.shard(0).IteratorAge; age != 0 {
			t.Errorf("at the tip the age is %v, want 0", age)
		}
	})
}

func TestAnotherOwnerStopsThePoller(t *testing.T) {
	for name, idle := range map[string]bool{"idle after its batch": true, "busy": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 2)
				status := b.put(nil)
				stolen := shards.Checkpoint{Consumer: "mapping/" + status.ID, Sequence: record.MakeSequence(1, 0)}
				if _, err := b.stream.SaveCheckpoint(t.Context(), stolen); err != nil {
					t.Fatal(err)
				}
				b.stream.put(0, "0")
				synctest.Wait()
				if !idle {
					b.stream.put(0, "1")
				}
				synctest.Wait()
				if s := b.shard(0); s.State != ShardStopped || !strings.Contains(s.LastError, "another owner") || s.Checkpoint != 0 {
					t.Errorf("status %+v", s)
				}
				wantData(t, b.functions.deliveries(), []string{"0"})
				b.stream.put(1, "other shards go on")
				synctest.Wait()
				if s := b.shard(1); s.State != ShardRunning || s.Counts.Settled != 1 {
					t.Errorf("other shard: %+v", s)
				}
			})
		})
	}
}

func TestUnreadableShardIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var broken atomic.Bool
		broken.Store(true)
		r := &runner{log: slog.New(slog.DiscardHandler), retry: b.retry}
		r.settings.Store(&settings{limits: limits{records: 1, bytes: 1}})
		r.source = sourceFunc{b.stream, func() error {
			if broken.Load() {
				return errors.New("input/output error")
			}
			return nil
		}}
		p := &poller{r: r, log: r.log, saver: newSaver(b.stream, shards.Checkpoint{}, b.retry.Failure, nil)}
		p.lane.p = p
		ctx, cancel := context.WithCancelCause(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); p.run(ctx, ctx) }()
		time.Sleep(time.Minute)
		if s := p.report(time.Now()); s.State != ShardBlocked || s.LastError != "input/output error" {
			t.Errorf("status %+v", s)
		}
		broken.Store(false)
		time.Sleep(6 * time.Second)
		cancel(errStopped)
		<-done
		if s := p.report(time.Now()); s.State != ShardStopped {
			t.Errorf("status %+v", s)
		}
	})
}
