package triggers

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

func TestAhead(t *testing.T) {
	a := ahead{covered: 100, low: []uint64{0, 50, 20}, parked: map[string]uint64{"slow": 10}}
	keys := map[uint64]string{} // by lane
	for i := 0; len(keys) < 3; i++ {
		key := fmt.Sprint("key", i)
		keys[keyHash([]byte(key))%3] = key
	}
	for _, c := range []struct {
		key      string
		sequence uint64
		want     bool
	}{
		{keys[0], 100, true}, {keys[0], 101, false}, {keys[1], 49, true}, {keys[1], 50, false}, {keys[2], 19, true}, {keys[2], 20, false},
		{"slow", 9, true}, {"slow", 10, false}, {"slow", 99, false},
	} {
		if got := a.settled(&record.Record{Key: []byte(c.key), Sequence: c.sequence}); got != c.want {
			t.Errorf("%s at %d: %v", c.key, c.sequence, got)
		}
	}
}

// The lane of a key is the same in all versions of the program.
func TestKeyHash(t *testing.T) {
	if keyHash(nil) != 0xcbf29ce484222325 || keyHash([]byte("a")) != 0xaf63dc4c8601ec8c {
		t.Error("the hash is another one")
	}
}

// After a stop only what was not settled comes again, though it is far below what other lanes, or other keys, had settled.
func TestLanesAheadOverAStop(t *testing.T) {
	for name, change := range map[string]func(*Mapping){
		"lanes":            func(m *Mapping) { m.Parallelization, m.BatchSize = 4, 1 },
		"parked":           func(m *Mapping) { m.Isolate, m.BatchSize = true, 10 },
		"parked, in lanes": func(m *Mapping) { m.Isolate, m.Parallelization, m.BatchSize = true, 3, 10 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				f := newByKey()
				f.fails = func(key string, n int) bool { return key == "k3" && n == 2 }
				b.functions.handle = f.handle
				b.putKeys(8, 0, 50)
				b.put(change)
				time.Sleep(time.Minute)
				for _, again := range []bool{true, true, false} { // twice: what was ahead is kept while it is being passed over
					b.close()
					f.mu.Lock()
					handled := maps.Clone(f.next)
					if !again {
						f.fails = nil
					}
					f.mu.Unlock()
					before := len(b.functions.deliveries())
					b.open()
					if again {
						b.putKeys(8, handled["k0"], handled["k0"]+5)
					}
					time.Sleep(time.Minute)
					for _, d := range b.functions.deliveries()[before:] {
						for _, text := range d.Data {
							var k, n int
							if _, err := fmt.Sscanf(text, "k%d.%d", &k, &n); err != nil || n < handled[fmt.Sprint("k", k)] {
								t.Errorf("%s was handled before and came again (%v)", text, err)
							}
						}
					}
				}
				f.check(t, 8, 60)
				s := b.shard(0)
				if cp, _ := b.stream.Checkpoint("mapping/"+b.id(), 0); len(cp.State) != 0 || s.Checkpoint != record.MakeSequence(1, 480) {
					t.Errorf("status %+v, state %q", s, cp.State)
				}
			})
		})
	}
}

// Another number of lanes after a stop makes no difference; another way to see aggregates has all of them come again.
func TestAheadAndChanges(t *testing.T) {
	for _, aggregated := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			b.functions.handle = poison("2")
			b.stream.put(0, aggregateOf("1", "2", "3"), aggregateOf("4", "5", "6"))
			b.put(func(m *Mapping) { m.Parallelization, m.BatchSize = 10, 1 })
			time.Sleep(time.Minute)
			b.put(func(m *Mapping) { m.Parallelization, m.BatchSize, m.Disabled = 10, 1, true })
			b.functions.setHandle(nil)
			before := len(b.functions.deliveries())
			b.put(func(m *Mapping) { m.Parallelization, m.BatchSize, m.Aggregated = 3, 1, aggregated })
			time.Sleep(time.Minute)
			var got []string
			for _, d := range b.functions.deliveries()[before:] {
				got = append(got, d.Data...)
			}
			slices.Sort(got)
			want := []string{"2"}
			if aggregated {
				want = []string{aggregateOf("1", "2", "3"), aggregateOf("4", "5", "6")}
			}
			for _, data := range want {
				if !slices.Contains(got, data) {
					t.Errorf("%q did not come again: %q", data, got)
				}
			}
			if s := b.shard(0); s.Checkpoint != record.MakeSequence(1, 2) {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// Whatever bytes a checkpoint has, they are what encode makes of them again, or refused.
func FuzzAhead(f *testing.F) {
	a := ahead{aggregated: true, covered: 7, low: []uint64{1, 0, 3}, parked: map[string]uint64{"key": 5}}
	f.Add(a.encode())
	f.Add(a.encode()[:20])
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, blob []byte) {
		a, err := parseAhead(blob)
		if err != nil {
			return
		}
		again, err := parseAhead(a.encode())
		if len(a.parked) == int(blob[2]) && (err != nil || again.covered != a.covered || !slices.Equal(again.low, a.low) || !maps.Equal(again.parked, a.parked)) {
			t.Errorf("%v: %+v became %+v", err, a, again)
		}
		a.settled(&record.Record{Key: []byte("key"), Sequence: a.covered})
	})
}

// What a checkpoint says of what is ahead.
func TestStateOfLanes(t *testing.T) {
	before := &ahead{blob: []byte("before"), covered: 50}
	for name, c := range map[string]struct {
		f    *fan
		want string
	}{
		"nothing is ahead":                {&fan{pure: true, covered: 10}, ""},
		"lanes are":                       {&fan{pure: true, covered: 11}, string((&ahead{covered: 11}).encode())},
		"what was ahead is not passed":    {&fan{pure: true, covered: 11, before: before}, "before"},
		"what was ahead is passed":        {&fan{pure: true, covered: 50, before: before}, string((&ahead{covered: 50}).encode())},
		"aggregates were seen otherwise":  {&fan{covered: 11}, ""},
		"nor was what was ahead for that": {&fan{covered: 11, before: before}, ""},
	} {
		if got := c.f.ahead(10); string(got) != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
