package triggers

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

func TestPutIsIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		m := Mapping{Name: "m", Stream: "s", Function: "f"}
		made, created, err := b.Put(t.Context(), m)
		if err != nil || !created {
			t.Fatalf("first put: created %v, %v", created, err)
		}
		want := Mapping{Name: "m", Stream: "s", Function: "f", BatchSize: 100, StartingPosition: Oldest, Parallelization: 1}
		if diff := cmp.Diff(want, made.Mapping); diff != "" {
			t.Errorf("defaults: (-want +got)\n%s", diff)
		}
		if made.State != Enabled || len(made.Shards) != 2 || len(made.ID) != 36 {
			t.Errorf("status %+v", made)
		}
		revision := b.table.revision
		time.Sleep(time.Second)
		again, created, err := b.Put(t.Context(), m)
		if err != nil || created || again.ID != made.ID || !again.Modified.Equal(made.Modified) || b.table.revision != revision {
			t.Errorf("second put: %+v, created %v, %v, want nothing changed", again, created, err)
		}
		b.close()
		b.open()
		opened, err := b.Get("m")
		if diff := cmp.Diff(made, opened, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("after a restart: %v (-want +got)\n%s", err, diff)
		}
		if list := b.List(); len(list) != 1 || list[0].Name != "m" {
			t.Errorf("list %+v", list)
		}
	})
}

// Changes that meet are all there in the end, and one that fails changes nothing.
func TestUpdatesLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		was := b.put(nil)
		ctx := context.Background()
		var all sync.WaitGroup
		for _, change := range []func(*Mapping){
			func(m *Mapping) { m.BatchSize = 7 }, func(m *Mapping) { m.MaxAttempts = 8 }, func(m *Mapping) { m.Disabled = true },
			func(m *Mapping) { m.Tags = map[string]string{"a": "b"} }, func(m *Mapping) { m.Bisect = true },
		} {
			all.Go(func() {
				if _, err := b.Update(ctx, "m", func(_ Status, m *Mapping) error { change(m); return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		got, err := b.Get("m")
		if err != nil || got.BatchSize != 7 || got.MaxAttempts != 8 || !got.Disabled || got.Tags["a"] != "b" || !got.Bisect {
			t.Errorf("%+v, %v", got.Mapping, err)
		}

		refuse := errors.New("no")
		_, err = b.Update(ctx, "m", func(s Status, m *Mapping) error {
			if s.ID != was.ID {
				t.Errorf("it changes %s", s.ID)
			}
			m.BatchSize, m.Tags["a"] = 9, "c"
			return refuse
		})
		if !errors.Is(err, refuse) {
			t.Errorf("error %v", err)
		}
		if _, err := b.Update(ctx, "m", func(_ Status, m *Mapping) error { m.BatchSize = -1; return nil }); !errors.Is(err, ErrInvalid) {
			t.Errorf("error %v", err)
		}
		if _, err := b.Update(ctx, "m", func(_ Status, m *Mapping) error { m.Name, m.BatchSize = "other", 10; return nil }); err != nil {
			t.Error(err)
		}
		if now, _ := b.Get("m"); now.BatchSize != 10 || now.Tags["a"] != "b" || len(b.List()) != 1 {
			t.Errorf("%+v", now.Mapping)
		}
		if _, err := b.Update(ctx, "none", func(Status, *Mapping) error { t.Error("called"); return nil }); !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v", err)
		}
	})
}

func TestPutRefusesWhatIsNotValid(t *testing.T) {
	b := newBench(t, 1)
	b.functions.set("transforms", 1<<runtime.KindTransform)
	b.functions.set("batches", 1<<runtime.KindBatch)
	now := time.Now()
	tests := []struct {
		field  string
		change func(*Mapping)
	}{
		{"name", func(m *Mapping) { m.Name = "" }},
		{"name", func(m *Mapping) { m.Name = "a b" }},
		{"name", func(m *Mapping) { m.Name = ".." }},
		{"name", func(m *Mapping) { m.Name = "a/b" }},
		{"name", func(m *Mapping) { m.Name = "a\n" }},
		{"name", func(m *Mapping) { m.Name = strings.Repeat("x", 129) }},
		{"stream", func(m *Mapping) { m.Stream = "" }},
		{"stream", func(m *Mapping) { m.Stream = "unknown" }},
		{"function", func(m *Mapping) { m.Function = "" }},
		{"function", func(m *Mapping) { m.Function = "unknown" }},
		{"function", func(m *Mapping) { m.Function = "transforms" }},
		{"batchSize", func(m *Mapping) { m.BatchSize = -1 }},
		{"batchSize", func(m *Mapping) { m.BatchSize = 10_001 }},
		{"batchWindow", func(m *Mapping) { m.BatchWindow = -time.Second }},
		{"batchWindow", func(m *Mapping) { m.BatchWindow = 301 * time.Second }},
		{"maxAttempts", func(m *Mapping) { m.MaxAttempts = -1 }},
		{"maxAttempts", func(m *Mapping) { m.MaxAttempts = 10_002 }},
		{"maxRecordAge", func(m *Mapping) { m.MaxRecordAge = time.Second }},
		{"maxRecordAge", func(m *Mapping) { m.MaxRecordAge = -1 }},
		{"maxRecordAge", func(m *Mapping) { m.MaxRecordAge = 7*24*time.Hour + 1 }},
		{"filters[1]", func(m *Mapping) { m.Filters = []string{`{"data": {"n": [1]}}`, `{"data": 1}`} }},
		{"filters[10]", func(m *Mapping) { m.Filters = slices.Repeat([]string{`{"data": {"n": [1]}}`}, 11) }},
		{"filters[0]", func(m *Mapping) { m.Filters = []string{strings.Repeat(" ", 4097)} }},
		{"parallelization", func(m *Mapping) { m.Parallelization = 11 }},
		{"parallelization", func(m *Mapping) { m.Parallelization = -1 }},
		{"parallelization", func(m *Mapping) { m.Parallelization, m.TumblingWindow = 2, time.Minute }},
		{"tumblingWindow", func(m *Mapping) { m.TumblingWindow = time.Millisecond }},
		{"tumblingWindow", func(m *Mapping) { m.TumblingWindow = 16 * time.Minute }},
		{"function", func(m *Mapping) { m.Function, m.TumblingWindow = "batches", time.Minute }},
		{"onFailure", func(m *Mapping) { m.OnFailure = "sqs:x" }},
		{"onFailure", func(m *Mapping) { m.OnFailure = "stream:" + strings.Repeat("x", 1024) }},
		{"consumer", func(m *Mapping) { m.Consumer = "nobody" }},
		{"tags", func(m *Mapping) { m.Tags = map[string]string{"": "x"} }},
		{"tags", func(m *Mapping) { m.Tags = map[string]string{"x": strings.Repeat("x", 257)} }},
		{"tags", func(m *Mapping) {
			m.Tags = map[string]string{}
			for i := range 51 {
				m.Tags[fmt.Sprint(i)] = "x"
			}
		}},
		{"startingPosition", func(m *Mapping) { m.StartingPosition = "TRIM_HORIZON" }},
		{"startingTime", func(m *Mapping) { m.StartingTime = now }},
		{"startingTime", func(m *Mapping) { m.StartingPosition = AtTime }},
		{"startingTime", func(m *Mapping) { m.StartingPosition, m.StartingTime = AtTime, now.Add(time.Hour) }},
	}
	for _, tt := range tests {
		m := Mapping{Name: "m", Stream: "s", Function: "f"}
		tt.change(&m)
		_, _, err := b.Put(t.Context(), m)
		var field *FieldError
		if !errors.Is(err, ErrInvalid) || !errors.As(err, &field) || field.Field != tt.field || field.Limit == "" {
			t.Errorf("put %+v: %v, want a FieldError for %s", m, err, tt.field)
		}
	}
	if len(b.table.entries) != 0 || len(b.stream.checkpoints) != 0 || len(b.List()) != 0 {
		t.Errorf("refused mappings have left something: %v, %v", b.table.entries, b.stream.checkpoints)
	}
	longest := Mapping{
		Name: strings.Repeat("x", 128), Stream: "s", Function: "f", BatchSize: 10_000, BatchWindow: 300 * time.Second,
		StartingPosition: AtTime, StartingTime: now, MaxAttempts: 10_000, MaxRecordAge: 7 * 24 * time.Hour, Parallelization: 10,
		Filters: slices.Repeat([]string{`{"data": {"n": [1]}}`}, 10), Tags: map[string]string{"k": strings.Repeat("v", 256)},
	}
	if _, _, err := b.Put(t.Context(), longest); err != nil {
		t.Errorf("a mapping at all its limits: %v", err)
	}
}

// Every setting is kept over a restart, and the same again changes nothing.
func TestEverySettingIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.register("fan")
		b.functions.versions = []int{4}
		m := Mapping{
			Name: "m", Stream: "s", Function: "f", BatchSize: 7, BatchWindow: time.Second, StartingPosition: AtTime,
			StartingTime: time.Now().Add(-time.Hour).UTC(), MaxAttempts: 3, MaxRecordAge: time.Hour, Parallelization: 1, TumblingWindow: time.Minute, ReportItemFailures: true, Bisect: true, Isolate: true, ExactlyOnce: true,
			Filters: []string{`{"data": {"n": [1]}}`}, OnFailure: "stream:failed", FailureTrace: true, Qualifier: "4", Consumer: "fan", Disabled: true,
			EventCounts: true, Tags: map[string]string{"team": "x"}, Aggregated: true,
			Capsules: Capsules{Failed: true, Slow: time.Second, Sample: 0.5},
		}
		for v, i := reflect.ValueOf(m), 0; i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("the test leaves %s out", v.Type().Field(i).Name)
			}
		}
		made, _, err := b.Put(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		b.close()
		b.open()
		opened, err := b.Get("m")
		if diff := cmp.Diff(m, opened.Mapping); diff != "" || err != nil {
			t.Errorf("after a restart: %v (-want +got)\n%s", err, diff)
		}
		again, created, err := b.Put(t.Context(), m)
		if err != nil || created || !again.Modified.Equal(made.Modified) {
			t.Errorf("the same again: created %v, %v, %+v", created, err, again)
		}
	})
}

func TestPutRefusesToChangeWhereItBegan(t *testing.T) {
	b := newBench(t, 1)
	b.streams.create("other", 1)
	b.put(nil)
	for field, change := range map[string]func(*Mapping){
		"stream":           func(m *Mapping) { m.Stream = "other" },
		"startingPosition": func(m *Mapping) { m.StartingPosition = Newest },
	} {
		m := Mapping{Name: "m", Stream: "s", Function: "f"}
		change(&m)
		if _, _, err := b.Put(t.Context(), m); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), field) {
			t.Errorf("changing %s: %v, want ErrConflict", field, err)
		}
	}
	at := Mapping{Name: "at", Stream: "s", Function: "f", StartingPosition: AtTime, StartingTime: time.Now()}
	if _, _, err := b.Put(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if _, created, err := b.Put(t.Context(), at); err != nil || created {
		t.Errorf("the same time again: created %v, %v", created, err)
	}
	at.StartingTime = at.StartingTime.Add(-time.Second)
	if _, _, err := b.Put(t.Context(), at); !errors.Is(err, ErrConflict) {
		t.Errorf("changing startingTime: %v, want ErrConflict", err)
	}
}

func TestChangesHoldFromTheNextAttemptAndReplayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.set("g", runtime.AllKinds)
		b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			if time.Sleep(time.Second); c.Function == "f" && string(c.Records[0].First().Data) == "2" {
				return failure("f cannot")
			}
			return nil
		}
		b.stream.put(0, numbered(0, 6)...)
		b.put(func(m *Mapping) { m.BatchSize = 2 })
		time.Sleep(1500 * time.Millisecond) // within the second batch, which is going to fail
		s := b.put(func(m *Mapping) { m.Function, m.BatchSize = "g", 3 })
		if s.Function != "g" || s.Modified.Equal(s.Created) {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Minute)
		calls := b.functions.deliveries()
		wantData(t, calls, []string{"0", "1"}, []string{"2", "3"}, []string{"2", "3"}, []string{"4", "5"})
		for i, want := range []string{"f", "f", "g", "g"} {
			if calls[i].Function != want {
				t.Errorf("delivery %d went to %q, want %q", i, calls[i].Function, want)
			}
		}
		b.close()
		b.open()
		synctest.Wait()
		if n := len(b.functions.deliveries()); n != 4 {
			t.Errorf("%d deliveries after a restart, want no further ones", n)
		}
		if s, _ := b.Get("m"); s.Function != "g" || s.BatchSize != 3 {
			t.Errorf("after a restart: %+v", s)
		}
	})
}

func TestStartingPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.put(0, "old")
		time.Sleep(time.Minute)
		at := time.Now()
		b.stream.put(0, "later")
		for _, m := range []Mapping{
			{Name: "oldest"},
			{Name: "newest", StartingPosition: Newest},
			{Name: "time", StartingPosition: AtTime, StartingTime: at},
		} {
			m.Stream, m.Function = "s", m.Name
			b.functions.set(m.Name, runtime.AllKinds)
			if _, _, err := b.Put(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		b.stream.put(0, "new")
		synctest.Wait()
		got := map[string]string{}
		for _, c := range b.functions.deliveries() {
			got[c.Function] += strings.Join(c.Data, ",") + ","
		}
		want := map[string]string{"oldest": "old,later,new,", "newest": "new,", "time": "later,new,"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("records by mapping: (-want +got)\n%s", diff)
		}
	})
}

// What is put after Put has returned is delivered, even when the host ends before any batch is settled.
func TestNewestIsFixedWhenTheMappingIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.stream.put(0, "old")
		b.functions.handle = func(context.Context, runtime.Call, *runtime.Reply) error { return failure("not yet") }
		b.put(func(m *Mapping) { m.StartingPosition = Newest })
		if cp := b.shard(1).Checkpoint; cp != record.MakeSequence(2, 0) {
			t.Errorf("the empty shard's checkpoint is %d", cp)
		}
		b.stream.put(0, "new")
		synctest.Wait()
		b.close()
		b.stream.put(0, "newer")
		b.functions.setHandle(nil)
		b.open()
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"new"}, []string{"new", "newer"})
	})
}

func TestPutThatCannotBeStoredLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		m := Mapping{Name: "m", Stream: "s", Function: "f", StartingPosition: Newest}
		b.table.fail = catalog.ErrNoSpace
		if _, _, err := b.Put(t.Context(), m); !errors.Is(err, ErrNoSpace) {
			t.Errorf("put: %v", err)
		}
		b.table.fail = nil
		b.stream.saveErr = func(cp shards.Checkpoint) error {
			if cp.Shard == 1 {
				return shards.ErrNoSpace
			}
			return nil
		}
		if _, _, err := b.Put(t.Context(), m); !errors.Is(err, shards.ErrNoSpace) {
			t.Errorf("put: %v", err)
		}
		if len(b.table.entries) != 0 || len(b.stream.checkpoints) != 0 || len(b.List()) != 0 {
			t.Errorf("left: %v, %v", b.table.entries, b.stream.checkpoints)
		}
		b.stream.saveErr = nil
		b.put(nil)
		b.table.fail = errors.New("the catalog is full")
		m = Mapping{Name: "m", Stream: "s", Function: "f", BatchSize: 7}
		if _, _, err := b.Put(t.Context(), m); !errors.Is(err, b.table.fail) {
			t.Errorf("change: %v", err)
		}
		if s, _ := b.Get("m"); s.BatchSize != 100 {
			t.Errorf("the change that was not stored holds: %+v", s)
		}
	})
}

func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.put(0, "0")
		b.functions.handle = func(context.Context, runtime.Call, *runtime.Reply) error {
			time.Sleep(5 * time.Second)
			return nil
		}
		b.put(nil)
		synctest.Wait()
		deleted := make(chan error)
		go func() { deleted <- b.Delete(context.Background(), "m") }()
		time.Sleep(time.Second)
		if s, err := b.Get("m"); err != nil || s.State != Deleting {
			t.Errorf("while its batch is under way: %+v, %v", s, err)
		}
		if err := <-deleted; err != nil {
			t.Fatal(err)
		}
		if _, err := b.Get("m"); !errors.Is(err, ErrNotFound) {
			t.Errorf("get: %v", err)
		}
		if err := b.Delete(t.Context(), "m"); !errors.Is(err, ErrNotFound) {
			t.Errorf("delete again: %v", err)
		}
		if len(b.table.entries) != 0 || len(b.stream.checkpoints) != 0 {
			t.Errorf("left: %v, %v", b.table.entries, b.stream.checkpoints)
		}
		b.put(nil) // anew, from its starting position on
		time.Sleep(time.Minute)
		wantData(t, b.functions.deliveries(), []string{"0"}, []string{"0"})
	})
}

func TestDeleteThatCannotBeStoredLeavesTheMappingRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.put(nil)
		b.table.fail = errors.New("the catalog is full")
		if err := b.Delete(t.Context(), "m"); !errors.Is(err, b.table.fail) {
			t.Errorf("delete: %v", err)
		}
		b.stream.put(0, "0")
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"0"})
		if s, _ := b.Get("m"); s.State != Enabled {
			t.Errorf("state %q", s.State)
		}
	})
}

func TestCloseCutsOffWhatOutlastsTheDrainTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, _ runtime.Call, _ *runtime.Reply) error {
			<-ctx.Done()
			return failure("cut off")
		}
		b.stream.put(0, "0")
		b.put(func(m *Mapping) { m.MaxAttempts = 1 })
		synctest.Wait()
		start := time.Now()
		err := b.Close(context.Background())
		if !errors.Is(err, ErrDrain) || time.Since(start) != 10*time.Second {
			t.Errorf("close: %v after %v", err, time.Since(start))
		}
		first := record.MakeSequence(1, 1)
		if want := fmt.Sprintf("mapping m, shardId-000000000000: the invocation for the records %d to %d", first, first); !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
		if s := b.shard(0); s.Counts.GivenUp != 0 || s.Counts.Failed != 0 || s.State != ShardStopped {
			t.Errorf("what was cut off counts: %+v", s)
		}
		b.functions.setHandle(nil)
		b.open()
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"0"}, []string{"0"})
	})
}

// With no time at all a stop is still orderly when nothing is under way.
func TestCloseWithoutTimeOfIdleMappings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 20)
		for i := range 20 {
			b.stream.put(i, "0")
		}
		b.put(nil)
		synctest.Wait()
		now, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Close(now); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseNamesCheckpointsThatAreNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.saveDelay = time.Minute
		b.stream.put(0, "0")
		b.put(nil)
		synctest.Wait()
		if err := b.Close(context.Background()); !errors.Is(err, ErrDrain) || !strings.Contains(err.Error(), "last checkpoint is not saved") {
			t.Errorf("close: %v", err)
		}
	})
}

func TestCloseNamesTenShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 12)
		b.functions.handle = func(ctx context.Context, _ runtime.Call, _ *runtime.Reply) error {
			<-ctx.Done()
			return ctx.Err()
		}
		for i := range 12 {
			b.stream.put(i, "0")
		}
		b.put(nil)
		synctest.Wait()
		err := b.Close(context.Background())
		if err == nil || strings.Count(err.Error(), "mapping m, ") != 10 || !strings.HasSuffix(err.Error(), "; 2 shards more") {
			t.Errorf("close: %v", err)
		}
	})
}

// A definition that is being changed holds up neither the end of reading nor the end of the drain time.
func TestCloseWhileAMappingIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.functions.handle = func(ctx context.Context, call runtime.Call, _ *runtime.Reply) error {
			if call.Source.Mapping == "m" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		b.stream.put(0, "0")
		b.put(nil)
		if _, _, err := b.Put(t.Context(), Mapping{Name: "other", Stream: "s", Function: "f"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		deleted := make(chan error, 1)
		go func() { deleted <- b.Delete(t.Context(), "m") }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		closed := make(chan error, 1)
		start := time.Now()
		go func() { closed <- b.Close(short) }()
		synctest.Wait()
		b.stream.put(1, "too late")
		synctest.Wait()
		if err := <-closed; err != nil || time.Since(start) != time.Second {
			t.Errorf("close: %v after %v", err, time.Since(start))
		}
		if err := <-deleted; err != nil {
			t.Errorf("delete: %v", err)
		}
		if n := len(b.functions.deliveries()); n != 2 {
			t.Errorf("%d deliveries, want those before the stop alone: one for each mapping", n)
		}
	})
}

func TestCloseEndsWaitsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.functions.handle = func(context.Context, runtime.Call, *runtime.Reply) error { return failure("no") }
		b.stream.put(0, "in a backoff")
		b.put(func(m *Mapping) { m.BatchWindow = time.Second })
		time.Sleep(10 * time.Second)
		b.stream.put(1, "in a window")
		start := time.Now()
		b.close()
		if took := time.Since(start); took != 0 {
			t.Errorf("close took %v", took)
		}
		for _, c := range b.functions.deliveries() {
			if c.Shard == 1 {
				t.Error("a batch that was being gathered was delivered")
			}
		}
		if s, _ := b.Get("m"); s.State != Stopped {
			t.Errorf("state %q", s.State)
		}
		if _, _, err := b.Put(t.Context(), Mapping{Name: "m", Stream: "s", Function: "f"}); !errors.Is(err, ErrClosed) {
			t.Errorf("put: %v, want ErrClosed", err)
		}
		if err := b.Delete(t.Context(), "m"); !errors.Is(err, ErrClosed) {
			t.Errorf("delete: %v, want ErrClosed", err)
		}
	})
}

func TestUnreadableDefinitionHarmsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.put(nil)
		b.close()
		b.table.entries["garbage"] = catalog.Entry{Key: "garbage", Value: []byte("{"), Revision: 77}
		b.table.entries["future"] = catalog.Entry{Key: "future", Value: []byte(`{"format":9}`), Revision: 78}
		b.open()
		for name, want := range map[string]string{"garbage": "cannot be read", "future": "has format 9, this host reads 1"} {
			if s, err := b.Get(name); err != nil || s.State != Failed || !strings.Contains(s.Reason, want) {
				t.Errorf("%s: %+v, %v", name, s, err)
			}
		}
		b.stream.put(0, "0")
		synctest.Wait()
		wantData(t, b.functions.deliveries(), []string{"0"})
		if err := b.Delete(t.Context(), "garbage"); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
}

func TestVerbsObserveTheirContext(t *testing.T) {
	b := newBench(t, 1)
	b.admin <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := b.Put(ctx, Mapping{}); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	<-b.admin
}
