package triggers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

func TestPauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.stream.put(0, "0")
		b.put(nil)
		synctest.Wait()
		s := b.put(func(m *Mapping) { m.Disabled = true })
		if s.State != Disabled || s.Shards[0].State != ShardStopped || s.Counts().Settled != 1 {
			t.Errorf("paused: %+v", s)
		}
		b.stream.put(0, "1")
		b.stream.put(1, "a")
		time.Sleep(time.Hour)
		wantData(t, b.functions.deliveries(), []string{"0"})
		b.close()
		b.open()
		time.Sleep(time.Hour)
		wantData(t, b.functions.deliveries(), []string{"0"})
		if _, err := b.Seek(t.Context(), "m", Target{Position: Newest, Shard: "shardId-000000000001"}); err != nil {
			t.Error(err)
		}
		m := Mapping{Name: "m", Stream: "s", Function: "f", BatchSize: 7}
		if s, created, err := b.Ensure(t.Context(), m); err != nil || created || s.State != Disabled || s.BatchSize != 7 {
			t.Errorf("put again: %+v, %t, %v", s, created, err)
		}
		b.put(nil)
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"0"}, []string{"1"})
		m.Disabled = true
		if s, _, err := b.Ensure(t.Context(), m); err != nil || s.State != Enabled {
			t.Errorf("put again: %+v, %v", s, err)
		}
		if s, _ := b.Get("m"); s.State != Enabled {
			t.Errorf("resumed: %+v", s)
		}
	})
}

// A pause lets the attempt under way end, and counts its outcome; a batch that is being retried has its attempts again afterwards.
func TestPauseUnderABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, _ *runtime.Reply) error {
			time.Sleep(time.Second)
			if c.Records[0].First().Data[0] == '1' && len(b.functions.deliveries()) < 4 {
				return failure("not yet")
			}
			return nil
		}
		first := b.stream.put(0, "0", "1", "2")
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts = 1, 3 })
		time.Sleep(500 * time.Millisecond)
		s := b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts, m.Disabled = 1, 3, true })
		if s.Shards[0].Checkpoint != first {
			t.Errorf("the attempt under way did not count: %+v", s.Shards[0])
		}
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts = 1, 3 })
		time.Sleep(3 * time.Second)
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts, m.Disabled = 1, 3, true })
		b.put(func(m *Mapping) { m.BatchSize, m.MaxAttempts = 1, 3 })
		time.Sleep(time.Minute)
		if s := b.shard(0); s.Checkpoint != first+2 || s.Counts.Settled != 3 || s.Counts.GivenUp != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// An invocation that outlasts the drain time is cut off by a pause, and delivered again.
func TestPauseCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, _ *runtime.Reply) error {
			<-ctx.Done()
			return ctx.Err()
		}
		b.stream.put(0, "0")
		b.put(nil)
		synctest.Wait()
		start := time.Now()
		if s := b.put(func(m *Mapping) { m.Disabled = true }); s.State != Disabled || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %+v", time.Since(start), s)
		}
		b.functions.setHandle(nil)
		b.put(nil)
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"0"}, []string{"0"})
	})
}

func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		event := func(n string) string { return `{"n":` + n + `}` }
		first := b.stream.put(0, event("1"), "no JSON", event("7"), event("2"))
		only := func(pattern string) func(*Mapping) {
			return func(m *Mapping) { m.Filters, m.BatchSize = []string{pattern}, 2 }
		}
		b.put(only(`{"data": {"n": [{"numeric": [">", 5]}]}}`))
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{event("7")})
		if s := b.shard(0); s.Checkpoint != first+3 || s.Counts.Polled != 4 || s.Counts.Filtered != 3 || s.Counts.Settled != 1 {
			t.Errorf("status %+v", s)
		}
		// A read that is filtered as a whole invokes nothing, and moves the checkpoint.
		b.stream.put(0, event("3"), event("4"))
		synctest.Wait()
		if s := b.shard(0); s.Checkpoint != first+5 || s.Counts.OK != 1 || s.IteratorAge != 0 {
			t.Errorf("status %+v", s)
		}
		// The size counts what matches.
		b.stream.put(0, event("8"), event("1"), event("1"), event("9"), event("1"), event("10"))
		synctest.Wait()
		wantData(t, b.functions.deliveries()[1:], []string{event("8"), event("9")}, []string{event("10")})
		if s := b.shard(0); s.Checkpoint != first+11 {
			t.Errorf("status %+v", s)
		}
		// A change holds from the next batch on. Of what no record has is warned, and it is as the pattern says.
		if s := b.put(only(`{"metadata": ["x"]}`)); !strings.HasPrefix(s.Warning, `filter pattern 1 asks for "metadata", which no record has`) || s.State != Enabled {
			t.Errorf("%s: %q", s.State, s.Warning)
		}
		if s := b.put(only(`{"data": {"n": [1]}}`)); s.Warning != "" {
			t.Errorf("warning %q", s.Warning)
		}
		b.stream.put(0, event("8"), event("1"))
		synctest.Wait()
		wantData(t, b.functions.deliveries()[3:], []string{event("1")})
	})
}

// What does not match neither fills a batch nor is handed over when its window ends.
func TestFiltersAndTheBatchWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.put(func(m *Mapping) {
			m.Filters, m.BatchSize, m.BatchWindow = []string{`{"partitionKey": ["none"]}`, `{"data": {"n": [1]}}`}, 2, 10*time.Second
		})
		start := time.Now()
		b.stream.put(0, `{}`, `{}`, `{}`)
		time.Sleep(5 * time.Second)
		b.stream.put(0, `{"n":1}`, `{}`, `{}`)
		time.Sleep(time.Minute)
		calls := b.functions.deliveries()
		wantData(t, calls, []string{`{"n":1}`})
		if at := calls[0].Time.Sub(start); at != 10*time.Second {
			t.Errorf("delivered after %v, want 10s", at)
		}
	})
}

func TestQualifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var got []string
		b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			got = append(got, fmt.Sprint(c.Version, c.Alias))
			return nil
		}
		b.functions.versions, b.functions.aliases = []int{1, 2}, []runtime.Alias{{Name: "prod", Version: 1}}
		for _, q := range []string{"", "$LATEST", "2", "prod"} {
			b.put(func(m *Mapping) { m.Qualifier = q })
			b.stream.put(0, "x")
			synctest.Wait()
		}
		if want := []string{"0", "0", "2", "0prod"}; !slices.Equal(got, want) {
			t.Errorf("versions %q, want %q", got, want)
		}
		for _, q := range []string{"3", "test", "-1x!", "0"} {
			var refused *FieldError
			_, _, err := b.Put(t.Context(), Mapping{Name: "m", Stream: "s", Function: "f", Qualifier: q})
			if !errors.As(err, &refused) || refused.Field != "qualifier" {
				t.Errorf("qualifier %q: %v", q, err)
			}
		}
	})
}

// A consumer that is deregistered while its mapping runs has it wait at once, and loses nothing when it comes back.
func TestConsumerGoesAndComesBack(t *testing.T) {
	for name, change := range map[string]func(*Mapping){
		"one lane": func(*Mapping) {}, "lanes": func(m *Mapping) { m.Parallelization = 3 }, "window": func(m *Mapping) { m.TumblingWindow = 10 * time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error { return nil }
				b.stream.register("fan")
				b.put(func(m *Mapping) { m.Consumer, m.BatchSize = "fan", 1; change(m) })
				b.stream.put(0, "0")
				time.Sleep(time.Second)
				b.stream.register()
				b.stream.put(0, "1")
				b.stream.put(0, "2")
				time.Sleep(time.Minute)
				s, err := b.Get("m")
				if err != nil || s.State != Blocked || s.Shards[0].State != ShardBlocked || s.Shards[0].Counts.Settled != 1 || s.Shards[0].IteratorAge < time.Minute {
					t.Errorf("without the consumer: %+v, %v", s, err)
				}
				b.stream.register("fan")
				time.Sleep(time.Minute)
				if s := b.shard(0); s.State != ShardRunning || s.Counts.Settled != 3 || s.Counts.Delivered != 3 || s.IteratorAge != 0 {
					t.Errorf("with the consumer again: %+v", s)
				}
				// A stop with records in hand delivers them afterwards.
				b.stream.register()
				b.stream.put(0, "3")
				time.Sleep(time.Minute)
				b.close()
				b.stream.register("fan")
				b.open()
				time.Sleep(time.Minute)
				if s := b.shard(0); s.State != ShardRunning || s.Counts.Settled != 1 {
					t.Errorf("after a restart: %+v", s)
				}
			})
		})
	}
}

func TestConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		m := Mapping{Name: "m", Stream: "s", Function: "f", Consumer: "fan"}
		var refused *FieldError
		if _, _, err := b.Put(t.Context(), m); !errors.As(err, &refused) || refused.Field != "consumer" {
			t.Error(err)
		}
		b.stream.register("fan")
		if _, _, err := b.Put(t.Context(), m); err != nil {
			t.Error(err)
		}
		b.stream.put(0, "0")
		synctest.Wait()
		b.close()
		b.stream.register()
		b.open()
		time.Sleep(time.Minute)
		b.stream.register("fan")
		time.Sleep(time.Minute)
		if s := b.shard(0); s.State != ShardRunning || s.LastError != "" {
			t.Errorf("with the consumer again, and without a record: %+v", s)
		}
		b.close()
		b.stream.register()
		b.open()
		b.stream.put(0, "1")
		time.Sleep(time.Minute)
		if s, _ := b.Get("m"); s.State != Blocked || s.Shards[0].State != ShardBlocked {
			t.Errorf("without the consumer: %+v", s)
		}
		b.stream.register("fan")
		time.Sleep(time.Minute)
		wantData(t, b.functions.deliveries(), []string{"0"}, []string{"1"})
		m.Consumer = ""
		if _, _, err := b.Put(t.Context(), m); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
	})
}
