package triggers

import (
	"context"
	"fmt"
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

// byKey is a function that checks the order within each key, whose records are "key.number" with ascending numbers.
type byKey struct {
	mu      sync.Mutex
	next    map[string]int
	running map[string]bool
	wrong   string
	takes   func(key string, number int) time.Duration
	fails   func(key string, number int) bool
}

func (f *byKey) handle(ctx context.Context, c runtime.Call, _ *runtime.Reply) error {
	texts := textOf(c.Records)
	var keys []string
	takes := time.Duration(0)
	f.mu.Lock()
	for _, text := range texts {
		key, digits, _ := strings.Cut(text, ".")
		number, _ := strconv.Atoi(digits)
		if f.running[key] {
			f.wrong = "two calls at once have records of " + key
		}
		keys = append(keys, key)
		if f.takes != nil {
			takes = max(takes, f.takes(key, number))
		}
	}
	for _, key := range keys {
		f.running[key] = true
	}
	f.mu.Unlock()
	sleep(ctx, takes)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range keys {
		delete(f.running, key)
	}
	for _, text := range texts {
		key, digits, _ := strings.Cut(text, ".")
		number, _ := strconv.Atoi(digits)
		if f.fails != nil && f.fails(key, number) {
			return failure("no " + text)
		}
	}
	for _, text := range texts {
		key, digits, _ := strings.Cut(text, ".")
		number, _ := strconv.Atoi(digits)
		if number > f.next[key] {
			f.wrong = fmt.Sprintf("%s came before %s.%d", text, key, f.next[key])
		}
		f.next[key] = max(f.next[key], number+1)
	}
	return ctx.Err()
}

func newByKey() *byKey { return &byKey{next: map[string]int{}, running: map[string]bool{}} }

func (f *byKey) check(t *testing.T, keys, numbers int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wrong != "" {
		t.Error(f.wrong)
	}
	for k := range keys {
		if key := fmt.Sprint("k", k); f.next[key] != numbers {
			t.Errorf("%s was handled up to %d, want %d", key, f.next[key], numbers)
		}
	}
}

// putKeys puts records "kN.number" of so many keys, in batches of all keys.
func (b *bench) putKeys(keys, from, to int) {
	b.t.Helper()
	for n := from; n < to; n++ {
		var list []record.Record
		for k := range keys {
			list = append(list, record.Record{Key: fmt.Append(nil, "k", k), Data: fmt.Appendf(nil, "k%d.%d", k, n)})
		}
		b.stream.putRecords(0, list)
	}
}

func TestLanesKeepTheOrderOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		f := newByKey()
		f.takes = func(key string, n int) time.Duration { return time.Duration(len(key)*n%7) * time.Millisecond }
		f.fails = func(key string, n int) bool { return n%13 == 5 && len(b.functions.deliveries())%3 != 0 }
		b.functions.handle = f.handle
		b.putKeys(23, 0, 40)
		b.put(func(m *Mapping) { m.Parallelization, m.BatchSize = 5, 7 })
		time.Sleep(time.Minute)
		b.putKeys(23, 40, 60)
		time.Sleep(time.Hour)
		f.check(t, 23, 60)
		if s := b.shard(0); s.Checkpoint != record.MakeSequence(1, 23*60) || s.Counts.Settled != 23*60 || s.State != ShardRunning || s.IteratorAge != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// A key that fails for ever holds up its lane and the checkpoint, and nothing else, also over a restart.
func TestSlowKeyHoldsUpItsLaneOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		f := newByKey()
		f.fails = func(key string, n int) bool { return key == "k3" && n == 2 }
		b.functions.handle = f.handle
		b.putKeys(8, 0, 100)
		b.put(func(m *Mapping) { m.Parallelization, m.BatchSize = 10, 1 })
		time.Sleep(time.Minute)
		f.mu.Lock()
		held := 0
		for k := range 8 {
			if f.next[fmt.Sprint("k", k)] != 100 {
				held++
			}
		}
		f.mu.Unlock()
		s := b.shard(0)
		if poison := record.MakeSequence(1, 2*8+4); held == 0 || held > 4 || s.Checkpoint != poison-1 || s.State != ShardRetrying || !strings.Contains(s.LastError, "k3.2") {
			t.Errorf("%d keys are held up, status %+v", held, s)
		}
		if s.IteratorAge != time.Minute {
			t.Errorf("iterator age %v", s.IteratorAge)
		}
		b.close()
		f.mu.Lock()
		f.fails = nil
		f.mu.Unlock()
		b.open()
		time.Sleep(time.Hour)
		f.check(t, 8, 100)
		if s := b.shard(0); s.Checkpoint != record.MakeSequence(1, 800) {
			t.Errorf("status %+v", s)
		}
	})
}

// What waits for a slow lane is bounded: the reader waits, and goes on when the lane does.
func TestLanesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		hold := make(chan struct{})
		b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			if string(c.Records[0].First().Key) == "slow" {
				<-hold
			}
			return nil
		}
		large := make([]byte, 1<<20)
		var list []record.Record
		for range 100 {
			list = append(list, record.Record{Key: []byte("slow"), Data: large})
		}
		b.stream.putRecords(0, list)
		b.put(func(m *Mapping) { m.Parallelization = 2 })
		synctest.Wait()
		b.Triggers.mu.Lock()
		p := b.Triggers.runners["m"].current().family.pollers[0]
		b.Triggers.mu.Unlock()
		held := 0
		p.fan.mu.Lock()
		for _, q := range p.fan.lanes {
			held += q.held + q.busy
		}
		p.fan.mu.Unlock()
		if held < maxDealt || held > maxDealt+64<<20 || p.fan.lanes[0].busy+p.fan.lanes[1].busy == 0 {
			t.Errorf("%d bytes wait, want about %d", held, maxDealt)
		}
		if age := b.shard(0).IteratorAge; age != 0 {
			t.Errorf("age %v", age)
		}
		close(hold)
		time.Sleep(time.Minute)
		if s := b.shard(0); s.Counts.Settled != 100 || s.Checkpoint != record.MakeSequence(1, 100) {
			t.Errorf("status %+v", s)
		}
	})
}

// The number of lanes changes while records come and are retried; no key's order suffers.
func TestLanesChangeLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		f := newByKey()
		f.takes = func(key string, n int) time.Duration { return time.Duration(len(key)+n%5) * 10 * time.Millisecond }
		f.fails = func(key string, n int) bool { return n%17 == 5 && len(b.functions.deliveries())%4 != 0 }
		b.functions.handle = f.handle
		at := 0
		for _, n := range []int{1, 4, 10, 1, 2, 3, 1} {
			b.putKeys(11, at, at+30)
			at += 30
			b.put(func(m *Mapping) { m.Parallelization, m.BatchSize, m.BatchWindow = n, 5, 20*time.Millisecond })
			time.Sleep(200 * time.Millisecond)
		}
		time.Sleep(time.Hour)
		f.check(t, 11, at)
		if s := b.shard(0); s.Checkpoint != record.MakeSequence(1, uint64(11*at)) || s.Counts.Settled != uint64(11*at) {
			t.Errorf("status %+v", s)
		}
	})
}

// Aggregates and filters work with lanes: the checkpoint passes a stored record when all its user records are settled in their lanes.
func TestLanesOfUserRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		hold := make(chan struct{})
		b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			if textOf(c.Records)[0] == "9" {
				<-hold
			}
			return nil
		}
		first := b.stream.put(0, aggregateOf("1", "2", "3"), aggregateOf("4", "9", "5"), "6")
		b.put(func(m *Mapping) { m.Parallelization, m.BatchSize = 10, 1 })
		synctest.Wait()
		if s := b.shard(0); s.Checkpoint != first || s.Counts.Settled < 4 {
			t.Errorf("status %+v", s)
		}
		close(hold)
		synctest.Wait()
		b.put(func(m *Mapping) {
			m.Parallelization, m.BatchSize, m.Filters = 10, 1, []string{`{"partitionKey": ["none"]}`}
		})
		b.stream.put(0, "7", "8")
		synctest.Wait()
		if s := b.shard(0); s.Checkpoint != first+4 || s.Counts.Settled != 7 || s.Counts.Filtered != 2 {
			t.Errorf("status %+v", s)
		}
	})
}

// Each lane has a batch window of its own; the end of the shard does not wait for it.
func TestLanesAndTheBatchWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.put(func(m *Mapping) { m.Parallelization, m.BatchSize, m.BatchWindow = 2, 2, 10*time.Second })
		start := time.Now()
		b.stream.put(0, "0")
		time.Sleep(4 * time.Second)
		b.stream.put(0, "1", "2")
		time.Sleep(time.Minute)
		calls := b.functions.deliveries()
		wantData(t, calls, []string{"0", "1"}, []string{"2"})
		if a, c := calls[0].Time.Sub(start), calls[1].Time.Sub(start); a != 4*time.Second || c != 14*time.Second {
			t.Errorf("delivered after %v and %v", a, c)
		}
		b.stream.put(0, "3") // at once: the window is over
		synctest.Wait()
		b.stream.put(0, "4")
		synctest.Wait()
		wantData(t, b.functions.deliveries()[2:], []string{"3"})
		b.stream.change(0, func(s *fakeShard) { s.closed = true })
		synctest.Wait()
		if s := b.shard(0); s.State != ShardEnded || s.Checkpoint != record.MakeSequence(1, 5) {
			t.Errorf("status %+v", s)
		}
	})
}

// A stop lets every lane finish the call under way, begins none, and saves what is settled.
func TestLanesStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		f := newByKey()
		f.takes = func(string, int) time.Duration { return time.Second }
		b.functions.handle = f.handle
		b.putKeys(6, 0, 10)
		b.put(func(m *Mapping) { m.Parallelization, m.BatchSize = 3, 1 })
		time.Sleep(500 * time.Millisecond)
		before := len(b.functions.deliveries())
		b.close()
		if s := b.shard(0); len(b.functions.deliveries()) != before || s.State != ShardStopped || s.Counts.Settled != uint64(before) {
			t.Errorf("%d calls, then %+v", before, s)
		}
		b.open()
		time.Sleep(time.Hour)
		f.check(t, 6, 10)
	})
}

func TestLanesAndAnotherOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		status := b.put(func(m *Mapping) { m.Parallelization = 4 })
		if _, err := b.stream.SaveCheckpoint(t.Context(), shards.Checkpoint{Consumer: "mapping/" + status.ID, Sequence: record.MakeSequence(1, 0)}); err != nil {
			t.Fatal(err)
		}
		b.putKeys(8, 0, 3)
		time.Sleep(time.Minute)
		if s := b.shard(0); s.State != ShardStopped || !strings.Contains(s.LastError, "another owner") {
			t.Errorf("status %+v", s)
		}
	})
}
