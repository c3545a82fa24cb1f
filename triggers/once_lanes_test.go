package triggers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/internal/aggregate/aggregatetest"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

func TestLanesPutOnce(t *testing.T) {
	for writes := range 16 {
		for lanes := 1; lanes <= 4; lanes++ {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				b.functions.handle, b.stream.saveErr = copying(b.outlet, "a", "b"), b.outlet.checkSave
				b.putKeys(5, 0, 3)
				b.outlet.crash(writes)
				b.put(func(m *Mapping) { m.ExactlyOnce, m.BatchSize, m.Parallelization = true, 2, 3 })
				time.Sleep(time.Second)
				restart(b, true)
				b.put(func(m *Mapping) { m.ExactlyOnce, m.BatchSize, m.Parallelization = true, 2, lanes })
				b.putKeys(5, 3, 5)
				time.Sleep(time.Minute)
				synctest.Wait()
				want := map[string]int{}
				for _, d := range b.functions.deliveries() {
					for _, text := range d.Data {
						want[text] = 1
					}
				}
				if got := b.outlet.emitted("a"); len(want) != 25 || !maps.Equal(got, want) || !maps.Equal(b.outlet.emitted("b"), want) {
					t.Errorf("after %d writes, with %d lanes: emitted %v", writes, lanes, got)
				}
				if s := b.shard(0); s.Checkpoint == 0 || s.State != ShardRunning || s.Attempt != 0 || s.IteratorAge != 0 {
					t.Errorf("after %d writes, with %d lanes: %+v", writes, lanes, s)
				}
			})
		}
	}
}

// What a lane had settled above the checkpoint stays known while a batch that reaches beyond it is settled in parts: a second crash puts it no second time.
func TestLanesAheadAreRememberedBehindThem(t *testing.T) {
	for _, window := range []time.Duration{0, 15 * time.Minute} { // that the mapping has from the second life on
		lanesAheadAreRemembered(t, window)
	}
}

func lanesAheadAreRemembered(t *testing.T, window time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		put := copying(b.outlet, "a")
		var life atomic.Int32
		life.Store(1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			switch texts, life := textOf(c.Records), life.Load(); {
			case life == 1 && texts[0] == "slow", life == 2 && texts[0] != "slow":
				<-ctx.Done()
				return ctx.Err()
			case life == 2:
				reply.Outcomes = []runtime.Outcome{{Index: 1, Result: runtime.ResultRetry}}
				return b.outlet.emit(ctx, &c, reply, emission{"a", texts[:1]})
			}
			return put(ctx, c, reply)
		}
		key := map[uint64][]byte{} // by lane
		for i := range 20 {
			k := fmt.Append(nil, "k", i)
			key[keyHash(k)%2] = k
		}
		b.stream.putRecords(0, []record.Record{
			{Key: key[0], Data: []byte("slow")}, {Key: key[0], Data: []byte("1")}, {Key: key[1], Data: []byte("ahead")}, {Key: key[0], Data: []byte("3")},
		})
		b.put(func(m *Mapping) { m.ExactlyOnce, m.Parallelization = true, 2 })
		time.Sleep(time.Minute)
		for n := range int32(2) {
			life.Store(n + 2)
			restart(b, true)
			b.put(func(m *Mapping) { m.ExactlyOnce, m.TumblingWindow = true, window })
			b.stream.putRecords(0, []record.Record{{Key: key[0], Data: fmt.Append(nil, "life ", n+2)}})
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		want := map[string]int{"slow": 1, "1": 1, "ahead": 1, "3": 1, "life 2": 1, "life 3": 1}
		if got := b.outlet.emitted("a"); !maps.Equal(got, want) {
			t.Errorf("with a window of %v: emitted %v", window, got)
		}
	})
}

// Lanes that begin within an aggregate put nothing before the checkpoint tells of them, and not of those before: after a crash it would be put again.
func TestOtherLanesWithinAnAggregate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		gate, put := make(chan struct{}), copying(b.outlet, "a")
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			select {
			case <-gate:
				return put(ctx, c, reply)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var full atomic.Bool
		full.Store(true)
		b.stream.saveErr = func(c shards.Checkpoint) error {
			if s, _ := parseState(c.State); full.Load() && s.ahead != nil && len(s.ahead.low) == 2 {
				return errors.New("the disk is full")
			}
			return nil
		}
		want := map[string]int{}
		var list []record.Record
		for range 5 {
			var users []aggregatetest.User
			for i := range 100 {
				text := fmt.Sprint(len(want), strings.Repeat(" ", 60<<10))
				users, want[text] = append(users, aggregatetest.User{Key: fmt.Sprint("k", i%5), Data: text}), 1
			}
			list = append(list, record.Record{Key: []byte("a"), Data: aggregatetest.Encode(users...)})
		}
		b.stream.putRecords(0, list)
		lanes := func(n int) {
			b.put(func(m *Mapping) { m.ExactlyOnce, m.BatchSize, m.Parallelization = true, 10, n })
		}
		lanes(4)
		synctest.Wait() // as much is dealt as there is room for
		lanes(2)
		for range 6 {
			gate <- struct{}{}
		}
		synctest.Wait() // a little more is, and then other lanes are wanted
		close(gate)
		time.Sleep(time.Second)
		cp, _ := b.stream.Checkpoint("mapping/"+b.id(), 0)
		if s, err := parseState(cp.State); err != nil || s.ahead == nil || len(s.ahead.low) != 4 || s.ahead.upto.inside == 0 {
			t.Errorf("the lanes before have ended with %+v, %v", s.ahead, err)
		}
		full.Store(false)
		restart(b, true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := b.outlet.emitted("a"); !maps.Equal(got, want) {
			twice := 0
			for _, n := range got {
				twice += n - 1
			}
			t.Errorf("%d of %d texts are put, and %d of them again", len(got), len(want), twice)
		}
	})
}

// The numbers of lanes' calls go on when a mapping is moved, and markers of lanes that the checkpoint cannot have had are passed over.
func TestNumbersOfLanes(t *testing.T) {
	o := new(outlet)
	put := func(lane int, ordinal uint64) {
		d := doubt{lane: lane, lanes: max(lane+1, 0), last: place{9, 0}, settles: place{9, 0}}
		mark := runtime.Mark{Producer: producerOf("id", 0, lane), Ordinal: ordinal, Note: d.note()}
		if err := o.put(emission{"a", []string{"x"}}, true, mark); err != nil {
			t.Fatal(err)
		}
	}
	put(noLane, 3)
	put(2, 7)
	was := calls{lanes: [MaxParallelization]uint64{0, 5, 6}}
	s, err := parseState(carryOn(o, "id")(0, was.wrap(nil)))
	if want := [MaxParallelization]uint64{0, 5, 7}; err != nil || s.calls.ordinal != 3 || s.calls.lanes != want {
		t.Errorf("carried on with %+v, %v", s.calls, err)
	}

	for name, c := range map[string]struct {
		calls calls
		ahead *ahead
		doubt bool
	}{
		"next":               {calls{lanes: [MaxParallelization]uint64{0, 0, 6}}, nil, true},
		"next, same lanes":   {calls{lanes: [MaxParallelization]uint64{0, 0, 6}}, &ahead{low: make([]place, 3)}, true},
		"next, other lanes":  {calls{lanes: [MaxParallelization]uint64{0, 0, 6}}, &ahead{low: make([]place, 4)}, false},
		"settled":            {calls{lanes: [MaxParallelization]uint64{0, 0, 7}}, nil, false},
		"an old checkpoint":  {calls{lanes: [MaxParallelization]uint64{0, 0, 5}}, nil, false},
		"a checkpoint of no": {calls{}, nil, false},
	} {
		b := &poller{r: &runner{markers: o}, calls: c.calls, log: slog.New(slog.DiscardHandler)}
		b.feed.ahead = c.ahead
		d, err := b.recallLane(&settings{ID: "id"}, 2)
		if (d != nil) != c.doubt || err != nil || d == nil && b.calls.lanes[2] != 7 {
			t.Errorf("%s: %+v, %v; then %+v", name, d, err, b.calls)
		}
	}
	if _, err := parseMarker(shards.Marker{Note: (&doubt{lane: 2, lanes: 2, last: place{9, 0}}).note()}, 2); err == nil {
		t.Error("lane 2 of 2 was read")
	}
}
