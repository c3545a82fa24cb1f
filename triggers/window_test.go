package triggers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// endings are windows that have ended.
type endings struct {
	mu   sync.Mutex
	list []string
}

// counting is a function that counts the records of a window in its state, and tells of each window that ended.
func counting(ended *endings) func(context.Context, runtime.Call, *runtime.Reply) error {
	return func(_ context.Context, c runtime.Call, reply *runtime.Reply) error {
		n := 0
		if len(c.State) > 0 {
			if _, err := fmt.Sscan(string(c.State), &n); err != nil {
				return failure(err.Error())
			}
		}
		if c.Kind == runtime.KindWindowClose {
			ended.mu.Lock()
			ended.list = append(ended.list, fmt.Sprintf("%s+%s: %d", c.Window.Start.Format("04:05"), c.Window.End.Sub(c.Window.Start), n))
			ended.mu.Unlock()
			return nil
		}
		for _, run := range c.Records {
			for r := range run.All() {
				if at := time.UnixMicro(r.Arrival); at.Before(c.Window.Start) || !at.Before(c.Window.End) {
					return failure("a record is not of the window")
				}
				n++
			}
		}
		reply.State = fmt.Append(nil, n)
		return nil
	}
}

func tumbling(length time.Duration) func(*Mapping) {
	return func(m *Mapping) { m.TumblingWindow, m.BatchSize = length, 2 }
}

func wantEnded(t *testing.T, ended *endings, from int, want ...string) {
	t.Helper()
	ended.mu.Lock()
	defer ended.mu.Unlock()
	if !slices.Equal(ended.list[min(from, len(ended.list)):], want) {
		t.Errorf("windows %q ended, want %q", ended.list, want)
	}
}

func TestTumblingWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var ended endings
		b.functions.handle = counting(&ended)
		b.put(tumbling(time.Minute))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		b.stream.put(0, "0", "1", "2")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		b.stream.put(0, "3")
		time.Sleep(26 * time.Second) // 01:06: the minute is over, and so is the grace
		synctest.Wait()
		wantEnded(t, &ended, 0, "00:00+1m0s: 4")
		b.stream.put(0, "4", "5", "6")
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		wantEnded(t, &ended, 0, "00:00+1m0s: 4", "01:00+1m0s: 3")
		b.stream.put(0, "7")
		time.Sleep(59 * time.Second)
		synctest.Wait()
		b.stream.put(0, "8") // the first record of the next window ends the one before
		synctest.Wait()
		wantEnded(t, &ended, 0, "00:00+1m0s: 4", "01:00+1m0s: 3", "05:00+1m0s: 1")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wantEnded(t, &ended, 3, "06:00+1m0s: 1")
		s := b.shard(0)
		cp, _ := b.stream.Checkpoint("mapping/"+b.id(), 0)
		if s.Counts.Settled != 9 || s.Checkpoint == 0 || len(cp.State) != 0 || s.IteratorAge != 0 || s.Attempt != 0 {
			t.Errorf("status %+v, checkpoint %+v", s, cp)
		}
		var kinds []runtime.Kind
		for _, d := range b.functions.deliveries()[:5] {
			kinds = append(kinds, d.Kind)
		}
		if !slices.Equal(kinds, []runtime.Kind{1, 1, 1, 2, 1}) {
			t.Errorf("kinds %v", kinds)
		}
	})
}

// A batch is cut at the end of a window, also in what is read at once.
func TestBatchesAreCutAtWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var ended endings
		b.functions.handle = counting(&ended)
		for range 6 {
			b.stream.put(0, "x")
			time.Sleep(4 * time.Second)
			synctest.Wait()
		}
		b.put(func(m *Mapping) { m.TumblingWindow = 10 * time.Second })
		synctest.Wait()
		wantEnded(t, &ended, 0, "00:00+10s: 3", "00:10+10s: 2")
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEnded(t, &ended, 2, "00:20+10s: 1")
	})
}

// State and position are saved together: after a crash the window goes on with both.
func TestWindowsAfterACrash(t *testing.T) {
	for _, after := range []time.Duration{0, 3 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			var ended endings
			b.functions.handle = counting(&ended)
			b.stream.put(0, "0", "1", "2")
			b.put(tumbling(time.Minute))
			time.Sleep(time.Second)
			synctest.Wait()
			b.stream.saveErr = func(shards.Checkpoint) error { return errors.New("the host is going down") }
			b.stream.put(0, "3", "4") // counted, and not saved
			time.Sleep(time.Second)
			synctest.Wait()
			now, cancel := context.WithCancel(context.Background())
			cancel()
			_ = b.Close(now)
			b.stream.saveErr = nil
			time.Sleep(after)
			synctest.Wait()
			b.open()
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			synctest.Wait()
			wantEnded(t, &ended, 0, "00:00+1m0s: 5")
		})
	}
}

// The close of a window is tried again and holds up the shard; it is given up as a batch is.
func TestCloseThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var ended endings
		count := counting(&ended)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			if c.Kind == runtime.KindWindowClose && c.Window.Start.Second() == 0 {
				return failure("no database")
			}
			return count(ctx, c, reply)
		}
		b.stream.put(0, "0")
		b.put(toFailures(func(m *Mapping) { m.TumblingWindow, m.MaxAttempts, m.FailureTrace = 10*time.Second, 3, true }))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		b.stream.put(0, "1")
		synctest.Wait()
		if s := b.shard(0); s.State != ShardRetrying || s.Attempt != 1 || !strings.Contains(s.LastError, "no database") || s.Counts.Settled != 1 {
			t.Errorf("while the window does not close: %+v", s)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEnded(t, &ended, 0, "00:10+10s: 1")
		got, _ := b.failures.deliveries()
		if len(got) != 1 || got[0].Count != 0 || got[0].Attempts != 3 || got[0].Window.Start.Second() != 0 || got[0].Window.End.IsZero() || string(got[0].State) != "1" || got[0].Reason != AttemptsExhausted || !got[0].Traced {
			t.Errorf("delivered %+v", got)
		}
		if s := b.shard(0); s.State != ShardRunning || s.Counts.Settled != 2 || s.Counts.GivenUp != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// What is given up, or rejected, in a window goes to the destination with the state that the failed call had; and so does a state that was too large.
func TestFailuresInWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			if c.Kind == runtime.KindWindowClose {
				return failure("no database")
			}
			switch data := textOf(c.Records)[0]; data {
			case "1":
				return failure("poison")
			case "3":
				reply.State = bytes.Repeat([]byte{'x'}, 2<<20)
				return outcomes(runtime.ResultRejected, "no", 0)(ctx, c, reply)
			default:
				reply.State = append(slices.Clone(c.State), data...)
			}
			return nil
		}
		b.stream.put(0, numbered(0, 4)...)
		b.put(toFailures(func(m *Mapping) { m.TumblingWindow, m.BatchSize, m.MaxAttempts = time.Minute, 1, 1 }))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		got, _ := b.failures.deliveries()
		var told []string
		for _, f := range got {
			told = append(told, fmt.Sprintf("%s %d %.3s %d %v %v", f.Reason, f.Count, f.State, len(f.State)>>10, f.Window.EndedEarly, f.Window.End.Sub(f.Window.Start)))
		}
		want := []string{"RetryAttemptsExhausted 1 0 0 false 1m0s", "RecordRejected 1 02 0 false 1m0s", "RetryAttemptsExhausted 0 xxx 2048 true 1m0s"}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("delivered: (-want +got)\n%s", diff)
		}
	})
}

// Without attempts or an age to end it, a close that fails is given up when the stream keeps nothing of its window any more, whoever fails.
func TestCloseThatFailsForEver(t *testing.T) {
	for _, failure := range []error{failure("no database"), runtime.ErrThrottled, runtime.ErrEmit} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			b.stream.retention = 24 * time.Hour
			start := time.Now()
			b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
				if c.Kind == runtime.KindWindowClose && c.Window.Start.Equal(start) {
					return failure
				}
				return nil
			}
			b.stream.put(0, "0")
			b.put(toFailures(tumbling(time.Minute)))
			time.Sleep(24 * time.Hour)
			b.stream.put(0, "1")
			synctest.Wait()
			if s := b.shard(0); s.Counts.Settled != 1 || s.State == ShardRunning {
				t.Errorf("while the window does not close: %+v", s)
			}
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			got, _ := b.failures.deliveries()
			if len(got) != 1 || got[0].Count != 0 || got[0].Reason != RecordExpired || !got[0].Window.Start.Equal(start) {
				t.Fatalf("delivered %+v", got)
			}
			if late := got[0].Time.Sub(start); late < 24*time.Hour+time.Minute || late > 24*time.Hour+2*time.Minute {
				t.Errorf("given up after %v", late)
			}
			if s := b.shard(0); s.State != ShardRunning || s.Counts.Settled != 2 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// A state of more than a mebibyte ends the window early, with that state; the window goes on with an empty one.
func TestLargeStateEndsTheWindowEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var mu sync.Mutex
		var log []string
		b.functions.handle = func(_ context.Context, c runtime.Call, reply *runtime.Reply) error {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf("%v %v %d KiB %v", c.Kind == runtime.KindWindowClose, textOf(c.Records), len(c.State)>>10, c.Window.EndedEarly))
			if c.Kind == runtime.KindBatch {
				reply.State = append(slices.Clone(c.State), bytes.Repeat([]byte{'x'}, 600<<10)...)
			}
			return nil
		}
		first := b.stream.put(0, "0", "1", "2", "3")
		b.put(func(m *Mapping) { m.TumblingWindow, m.BatchSize = time.Minute, 1 })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := b.shard(0); s.Checkpoint != first+3 || s.Counts.Settled != 4 || s.Counts.Retries != 0 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		want := []string{
			"false [0] 0 KiB false", "false [1] 600 KiB false", "true [] 1200 KiB true", "false [2] 0 KiB false", "false [3] 600 KiB false",
			"true [] 1200 KiB true", "true [] 0 KiB false",
		}
		synctest.Wait()
		if !slices.Equal(log, want) {
			t.Errorf("calls %q,\nwant %q", log, want)
		}
	})
}

// A reply that asks for records again settles with its state what is below them; one that settles nothing changes no state.
func TestWindowsAndPartialReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			reply.State = fmt.Appendf(slices.Clone(c.State), "%s;", textOf(c.Records)[0])
			switch n := len(b.functions.deliveries()); n {
			case 1:
				return outcomes(runtime.ResultRetry, "", 2)(ctx, c, reply)
			case 2:
				return outcomes(runtime.ResultRetry, "", 0)(ctx, c, reply)
			case 3:
				return failure("no")
			}
			return nil
		}
		b.stream.put(0, numbered(0, 4)...)
		b.put(func(m *Mapping) { m.TumblingWindow = 10 * time.Minute })
		time.Sleep(time.Minute)
		synctest.Wait()
		var states []string
		for _, d := range b.functions.deliveries() {
			states = append(states, d.State)
		}
		if !slices.Equal(states, []string{"", "0;", "0;", "0;"}) {
			t.Errorf("states %q", states)
		}
	})
}

// The end of a shard closes its window before its children begin.
func TestShardEndClosesTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var ended endings
		b.functions.handle = counting(&ended)
		b.stream.put(0, "0")
		b.put(tumbling(10 * time.Minute))
		synctest.Wait()
		b.stream.reshard(1, 0)
		b.stream.put(1, "1")
		synctest.Wait()
		wantEnded(t, &ended, 0, "00:00+10m0s: 1")
		if s := b.shard(0); s.State != ShardEnded || b.shard(1).Counts.Settled != 1 {
			t.Errorf("status %+v", s)
		}
	})
}

// What no filter matches opens no window, and does not keep one open.
func TestWindowsAndFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var ended endings
		b.functions.handle = counting(&ended)
		b.put(func(m *Mapping) { m.TumblingWindow, m.Filters = 10*time.Second, []string{`{"data": {"n": [1]}}`} })
		for range 10 {
			b.stream.put(0, `{"n":2}`)
			time.Sleep(3 * time.Second)
			synctest.Wait()
		}
		b.stream.put(0, `{"n":1}`)
		for range 10 {
			b.stream.put(0, `{"n":2}`)
			time.Sleep(3 * time.Second)
			synctest.Wait()
		}
		synctest.Wait()
		wantEnded(t, &ended, 0, "00:30+10s: 1")
	})
}

// Windows can be switched on, made longer and switched off; with lanes there are none.
func TestWindowsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var ended endings
		count := counting(&ended)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			if c.Window.Start.IsZero() {
				return nil
			}
			return count(ctx, c, reply)
		}
		for _, length := range []time.Duration{0, 10 * time.Second, 20 * time.Second, 0, 40 * time.Second} {
			b.put(func(m *Mapping) { m.TumblingWindow = length })
			b.stream.put(0, "x")
			time.Sleep(time.Second)
			synctest.Wait()
		}
		b.put(func(m *Mapping) { m.Parallelization = 3 })
		b.stream.put(0, "x")
		time.Sleep(time.Second)
		synctest.Wait()
		b.stream.put(0, "x")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wantEnded(t, &ended, 0, "00:00+10s: 2", "00:00+40s: 1")
		if s := b.shard(0); s.Counts.Settled != 7 || s.State != ShardRunning {
			t.Errorf("status %+v", s)
		}
	})
}

// A pause keeps the window; a seek forgets it.
func TestWindowsPauseAndSeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var ended endings
		b.functions.handle = counting(&ended)
		b.stream.put(0, "0")
		b.put(tumbling(time.Minute))
		synctest.Wait()
		b.put(func(m *Mapping) { m.TumblingWindow, m.Disabled = time.Minute, true })
		b.stream.put(0, "1")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		b.put(tumbling(time.Minute))
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEnded(t, &ended, 0, "00:00+1m0s: 2")
		b.stream.put(0, "2")
		synctest.Wait()
		if _, err := b.Seek(t.Context(), "m", Target{Position: Oldest}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		wantEnded(t, &ended, 1, "00:00+1m0s: 2", "06:00+1m0s: 1")
	})
}

func TestStateThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		s := b.put(nil)
		b.close()
		if _, err := b.stream.SaveCheckpoint(t.Context(), shards.Checkpoint{Consumer: "mapping/" + s.ID, State: []byte{9, 9}}); err != nil {
			t.Fatal(err)
		}
		b.open()
		b.stream.put(0, "0")
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := b.shard(0); s.State != ShardBlocked || !strings.Contains(s.LastError, "seek") {
			t.Errorf("status %+v", s)
		}
		if _, err := b.Seek(t.Context(), "m", Target{Position: Oldest}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"0"})
	})
}

func TestWindowBounds(t *testing.T) {
	for _, c := range []struct {
		at, length, start time.Duration
	}{
		{0, time.Second, 0}, {999 * time.Millisecond, time.Second, 0}, {time.Second, time.Second, time.Second},
		{17 * time.Minute, 15 * time.Minute, 15 * time.Minute}, {-1 * time.Millisecond, time.Second, -time.Second},
	} {
		var w window
		w.open(c.at.Microseconds(), c.length)
		if w.start != c.start.Microseconds() || w.end-w.start != c.length.Microseconds() {
			t.Errorf("the window of %v at %v is %d to %d", c.length, c.at, w.start, w.end)
		}
	}
}

// Whatever bytes a checkpoint has, they are a window that is written the same, or refused.
func FuzzWindow(f *testing.F) {
	var w window
	w.open(time.Hour.Microseconds(), time.Minute)
	w.keep([]byte("state"))
	f.Add(w.blob)
	f.Add([]byte{})
	f.Add(w.blob[:20])
	f.Fuzz(func(t *testing.T, blob []byte) {
		w, err := parseWindow(blob)
		if err != nil || !w.isOpen() {
			return
		}
		again := window{start: w.start, end: w.end}
		again.keep(w.state)
		back, err := parseWindow(again.blob)
		if err != nil || back.start != w.start || back.end != w.end || !bytes.Equal(back.state, w.state) {
			t.Errorf("%v: %+v became %+v", err, w, back)
		}
	})
}
