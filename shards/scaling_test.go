package shards

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

func TestBucket(t *testing.T) {
	type take struct {
		after          time.Duration
		records, bytes int
		whole          bool
		want           bool
	}
	for name, takes := range map[string][]take{
		"records": {{0, 1000, 0, false, true}, {0, 1, 0, false, false}, {time.Millisecond, 1, 0, false, true}, {0, 1, 0, false, false}, {time.Hour, 1000, 0, false, true}},
		"bytes":   {{0, 1, 1 << 20, false, true}, {0, 1, 1, false, false}, {time.Second / 2, 1, 1 << 19, false, true}, {0, 1, 1, false, false}},
		"larger than a second's worth": {{0, 1, 1, false, true}, {0, 1, 4 << 20, false, false}, {time.Second, 1, 4 << 20, false, true},
			{3 * time.Second, 1, 1, false, false}, {time.Second + time.Microsecond, 1, 1, false, true}},
		"all or nothing": {{0, 5000, 100, true, true}, {4 * time.Second, 1, 1, true, false}, {time.Second, 1, 1, true, true}, {0, 1000, 1, false, false}},
		"nothing over":   {{0, 600, 0, false, true}, {0, 401, 0, false, false}, {0, 400, 0, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bucket
			now := testNow
			for i, c := range takes {
				now = now.Add(c.after)
				if got := b.take(now, c.records, c.bytes, c.whole); got != c.want {
					t.Errorf("take %d: %v", i, got)
				}
				b.take(now.Add(-time.Minute), 1<<40, 0, false) // a clock that is late fills nothing
			}
		})
	}
	var b bucket
	b.take(testNow, 1000, 1<<20, false)
	b.back(1000, 1<<20)
	if !b.take(testNow, 1000, 1<<20, false) {
		t.Error("what was given back is not there")
	}
}

func TestLimitsOfPuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		st := r.create(t, Config{Name: "s", Shards: 2, Limits: LimitsAWS, MaxRecordBytes: 2 << 20})
		low, high := Hash{}.Bytes(), MaxHash.Bytes()
		var records []record.Record
		for i := range 1500 {
			records = append(records, record.Record{Key: []byte("k"), Data: []byte{byte(i)}, ExplicitHash: low[:]})
		}
		records = append(records, record.Record{Key: []byte("k"), ExplicitHash: high[:]}, record.Record{})
		results, err := st.Put(t.Context(), records, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, res := range results {
			switch {
			case i < 1000 && (res.Err != nil || res.Sequence != seq(1, uint64(i)+1)):
				t.Fatalf("record %d: %+v", i, res)
			case i >= 1000 && i < 1500 && (!errors.Is(res.Err, ErrThrottled) || res.Shard != 0 || res.Sequence != 0):
				t.Fatalf("record %d: %+v", i, res)
			case i == 1500 && (res.Err != nil || res.Shard != 1):
				t.Errorf("in the other shard: %+v", res)
			case i == 1501 && !errors.Is(res.Err, ErrInvalid):
				t.Errorf("the invalid one: %+v", res)
			}
		}
		run := func(hashes ...[16]byte) record.Run {
			var b record.Builder
			for _, h := range hashes {
				if err := b.Append(record.Record{Key: []byte("k"), ExplicitHash: h[:]}); err != nil {
					t.Fatal(err)
				}
			}
			return b.Run()
		}
		results, err = st.PutRun(t.Context(), run(low, high), []Result{})
		if err != nil || !errors.Is(results[0].Err, ErrThrottled) || results[1].Err != nil {
			t.Errorf("%+v, %v", results, err)
		}
		for _, hashes := range [][][16]byte{{low}, {high, low}} {
			if _, err := st.PutRun(t.Context(), run(hashes...), nil); !errors.Is(err, ErrThrottled) {
				t.Errorf("all or nothing: %v", err)
			}
		}
		sh := st.shape.Load()
		if got := sh.flows[1].bucket.records; got != limitRecords-2 {
			t.Errorf("what was refused as a whole was not given back: %v", got)
		}
		time.Sleep(time.Second)
		if _, err := st.PutRun(t.Context(), run(low, high), nil); err != nil {
			t.Errorf("a second later: %v", err)
		}
		if _, err := r.Update(t.Context(), "s", Change{Limits: ptr(Unlimited)}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			results, err = st.Put(t.Context(), records[:1500], results[:0])
			if i := slices.IndexFunc(results, func(r Result) bool { return r.Err != nil }); i >= 0 || err != nil {
				t.Errorf("without limits: record %d, %v", i, err)
			}
		}
	})
}

// A put that is tried again because a shard of it closed meanwhile is charged once to the shards that go on.
func TestLimitsOfPutsThatAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		st := r.create(t, Config{Name: "s", Shards: 2, Limits: LimitsAWS})
		low, high := Hash{}.Bytes(), MaxHash.Bytes()
		records := []record.Record{
			{Key: []byte("k"), Data: make([]byte, 99), ExplicitHash: low[:]}, {Key: []byte("k"), Data: make([]byte, 99), ExplicitHash: high[:]},
		}
		var b record.Builder
		for _, rec := range records {
			if err := b.Append(rec); err != nil {
				t.Fatal(err)
			}
		}
		before := st.shape.Load()
		if _, err := r.Split(t.Context(), "s", 0, Hash{1, 0}); err != nil {
			t.Fatal(err)
		}
		// What a put finds that had the shape from before the split.
		for name, put := range map[string]func() error{
			"record by record": func() error { _, err := st.put(t.Context(), before, records, nil, time.Now()); return err },
			"of a run": func() error {
				_, err := st.putRun(t.Context(), before, b.Run(), []Result{}, time.Now(), nil)
				return err
			},
			"all or nothing": func() error { _, err := st.putRun(t.Context(), before, b.Run(), nil, time.Now(), nil); return err },
		} {
			if err := put(); !errors.Is(err, journal.ErrSealed) {
				t.Fatalf("%s: %v", name, err)
			}
			if got := &before.flows[1].bucket; got.records != limitRecords || got.bytes != limitBytes {
				t.Errorf("%s: %v records and %v bytes are left for the second try", name, got.records, got.bytes)
			}
		}
		if results, err := st.Put(t.Context(), records, nil); err != nil || results[1].Shard != 1 {
			t.Fatalf("%+v, %v", results, err)
		}
		if got := &before.flows[1].bucket; got.records != limitRecords-1 || got.bytes != limitBytes-100 {
			t.Errorf("after the put %v records and %v bytes are left", got.records, got.bytes)
		}
	})
}

func TestWatch(t *testing.T) {
	s := Scaling{}.withDefaults()
	var w watch
	key := []Hash{{1, 2}}
	for i, c := range []struct {
		records, bytes uint64 // in the interval
		hot, cold      time.Duration
		samples        int
	}{
		{1e6, 1e9, 0, 0, 0}, // of before it was watched
		{5001, 0, 10 * time.Second, 0, 1}, {0, 6 << 20, 20 * time.Second, 0, 2}, {5000, 5 << 20, 0, 0, 0},
		{100, 100, 0, 10 * time.Second, 0}, {0, 0, 0, 20 * time.Second, 0}, {626, 0, 0, 0, 0}, {0, 1 << 20, 0, 0, 0}, {6000, 0, 10 * time.Second, 0, 1},
	} {
		w.look(s, w.records+c.records, w.bytes+c.bytes, key, 10*time.Second)
		if w.hot != c.hot || w.cold != c.cold || len(w.samples) != c.samples {
			t.Errorf("step %d: hot %v, cold %v, %d samples", i, w.hot, w.cold, len(w.samples))
		}
	}
}

func TestScale(t *testing.T) {
	s := Scaling{MinShards: 2, MaxShards: 5}.withDefaults()
	ranges := evenRanges(4)
	// spread are hash keys of a range, evenly; the first hot of a hundred are one and the same.
	spread := func(r hashRange, hot int) (keys []Hash) {
		for i, sub := range evenRanges(100) {
			h := Hash{r.start.Hi + sub.start.Hi/4, sub.start.Lo}
			if i < hot {
				h = Hash{r.start.Hi + 1<<61, 7}
			}
			keys = append(keys, h)
		}
		return keys
	}
	shard := func(i int, hot, cold time.Duration, samples []Hash) observed {
		return observed{ShardID(i), ranges[i], hot, cold, samples}
	}
	quiet := func(i int) observed { return shard(i, 0, 0, nil) }
	cold := func(i int) observed { return shard(i, 0, s.ColdFor, nil) }
	hot := func(i, key int) observed { return shard(i, s.HotFor, 0, spread(ranges[i], key)) }
	for name, c := range map[string]struct {
		shards []observed
		listed int
		want   scaled
	}{
		"nothing to do":     {[]observed{quiet(0), quiet(1), quiet(2), quiet(3)}, 4, scaled{}},
		"not hot for long":  {[]observed{quiet(0), shard(1, s.HotFor-1, 0, nil), quiet(2), quiet(3)}, 4, scaled{}},
		"hot, not sampled":  {[]observed{quiet(0), shard(1, s.HotFor, 0, nil), quiet(2), quiet(3)}, 4, scaled{splits: []splitAt{{1, ranges[1].middle()}}}},
		"hot evenly":        {[]observed{hot(0, 0), quiet(1), quiet(2), quiet(3)}, 4, scaled{splits: []splitAt{{0, spread(ranges[0], 0)[50]}}}},
		"hot on a key":      {[]observed{quiet(0), hot(1, 60), quiet(2), quiet(3)}, 4, scaled{splits: []splitAt{{1, spread(ranges[1], 60)[60]}}}},
		"only on a key":     {[]observed{quiet(0), hot(1, 95), quiet(2), quiet(3)}, 4, scaled{}},
		"one and no other":  {[]observed{quiet(0), hot(1, 100), quiet(2), quiet(3)}, 4, scaled{}},
		"the hottest first": {[]observed{quiet(0), hot(1, 0), quiet(2), shard(3, 2*s.HotFor, 0, nil)}, 4, scaled{splits: []splitAt{{3, ranges[3].middle()}}}},
		"full":              {[]observed{hot(0, 0), hot(1, 0), quiet(2), quiet(3)}, MaxListedShards - 1, scaled{}},
		"cold pairs":        {[]observed{cold(0), cold(1), cold(2), cold(3)}, 4, scaled{merges: [][2]ShardID{{0, 1}, {2, 3}}}},
		"not neighbours":    {[]observed{cold(0), quiet(1), cold(2), quiet(3)}, 4, scaled{}},
		"as few as can be":  {[]observed{cold(0), cold(1)}, 2, scaled{}},
		"cold for too long": {[]observed{cold(0), cold(1), quiet(2), quiet(3)}, MaxListedShards * 4 / 5, scaled{}},
		"first the hot":     {[]observed{cold(0), cold(1), hot(2, 0), quiet(3)}, 4, scaled{splits: []splitAt{{2, spread(ranges[2], 0)[50]}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.scale(c.shards, c.listed)
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(scaled{}, splitAt{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestMedianOfNarrowShards splits nothing that cannot be split.
func TestMedianOfNarrowShards(t *testing.T) {
	for _, c := range []struct {
		hashRange
		want bool
	}{
		{hashRange{MaxHash, MaxHash}, false}, {hashRange{Hash{0, 1<<64 - 1}, Hash{1, 1}}, false}, {hashRange{Hash{}, Hash{0, 2}}, false},
		{hashRange{Hash{}, Hash{0, 3}}, true}, {hashRange{Hash{0, 1<<64 - 2}, Hash{1, 1}}, true}, {hashRange{Hash{}, Hash{0, 4}}, true},
	} {
		o := observed{hashRange: c.hashRange}
		at, ok := o.median()
		if ok != c.want {
			t.Errorf("%v to %v: %v", c.start, c.end, ok)
		}
		d := definition{Shards: []shardDefinition{{StartHash: c.start, EndHash: c.end, State: ShardOpen}}, NextShard: 1}
		if err := newResharding(&d, testNow).split(0, at); ok && err != nil {
			t.Error(err)
		}
		for range fewSamples {
			o.samples = append(o.samples, c.start, c.end)
		}
		if at, ok := o.median(); ok && (!c.start.next().less(at) || !at.less(c.end)) {
			t.Errorf("%v to %v is split at %v", c.start, c.end, at)
		}
	}
}

// onDemand puts into a stream every second for a time: as many records as rate says, of as many keys, from a first one on.
func onDemand(t *testing.T, st *Stream, seconds, rate, keys int) {
	t.Helper()
	var records []record.Record
	for second := range seconds {
		records = records[:0]
		for i := range rate {
			records = append(records, record.Record{Key: fmt.Append(nil, "key ", (second*rate+i)%keys)})
		}
		for part := range slices.Chunk(records, 10) {
			if _, err := st.Put(context.Background(), part, nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
	}
}

// slowRig takes 50 records a second for hot.
func slowRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.options.Scaling.Records = 50
	r.open(t)
	return r
}

// TestOnDemandScales has a stream grow with its traffic and shrink without it, and a single hot key end in a shard of its own.
func TestOnDemandScales(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := slowRig(t)
		st := r.create(t, Config{Name: "s", Mode: OnDemand})
		fixed := r.create(t, Config{Name: "fixed", Shards: 1})
		open := func() int { return st.def().open() }
		onDemand(t, st, 300, 100, 1000)
		onDemand(t, fixed, 60, 100, 1000)
		if n := open(); n != 4 {
			t.Errorf("%d shards for 25 records a second each", n)
		}
		onDemand(t, st, 300, 600, 3000)
		grown := open()
		if grown < 12 || grown > 32 {
			t.Errorf("%d shards for 600 records a second", grown)
		}
		onDemand(t, st, 120, 600, 3000)
		if n := open(); n != grown {
			t.Errorf("from %d to %d shards without need", grown, n)
		}
		onDemand(t, st, 600, 300, 1) // one key
		if n := open(); n > grown+3 {
			t.Errorf("from %d to %d shards for one key", grown, n)
		}
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if n := open(); n != 4 {
			t.Errorf("%d shards after a quiet night", n)
		}
		if fixed.def().open() != 1 {
			t.Error("a provisioned stream was scaled")
		}
		if _, err := r.Update(t.Context(), "s", Change{Mode: ptr(Provisioned)}); err != nil {
			t.Fatal(err)
		}
		onDemand(t, st, 100, 600, 3000)
		if n := open(); n != 4 {
			t.Errorf("%d shards, and nobody asked", n)
		}
		checkConsistent(t, r)
	})
}

// TestScalingOff has the traffic and no scaler.
func TestScalingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := slowRig(t)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r.options.Scaling.Interval = -1
		r.open(t)
		onDemand(t, r.create(t, Config{Name: "s", Mode: OnDemand}), 100, 600, 3000)
		if n := r.stream(t, "s").def().open(); n != 4 {
			t.Errorf("%d shards", n)
		}
	})
}

func TestScalingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := slowRig(t)
		st := r.create(t, Config{Name: "s", Mode: OnDemand})
		table := r.table
		r.defs = &crashes{memTable: table}
		onDemand(t, st, 50, 600, 3000)
		synctest.Wait() // the scaler may be writing its line at this moment
		if st.def().open() != 4 || !strings.Contains(r.logged.String(), "cannot be scaled") {
			t.Errorf("%d shards; logged: %s", st.def().open(), r.logged)
		}
	})
}
