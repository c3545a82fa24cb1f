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
	a := ahead{upto: place{101, 3}, low: []place{{}, {50, 0}, {20, 2}}, parked: map[string]place{"slow": {10, 0}}}
	keys := map[uint64]string{} // by lane
	for i := 0; len(keys) < 3; i++ {
		key := fmt.Sprint("key", i)
		keys[keyHash([]byte(key))%3] = key
	}
	for _, c := range []struct {
		key  string
		at   place
		want bool
	}{
		{keys[0], place{100, 9}, true}, {keys[0], place{101, 2}, true}, {keys[0], place{101, 3}, false},
		{keys[1], place{49, 0}, true}, {keys[1], place{50, 0}, false}, {keys[2], place{20, 1}, true}, {keys[2], place{20, 2}, false},
		{"slow", place{9, 0}, true}, {"slow", place{10, 0}, false}, {"slow", place{99, 0}, false},
	} {
		if got := a.settled([]byte(c.key), c.at); got != c.want {
			t.Errorf("%s at %v: %v", c.key, c.at, got)
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
	a := ahead{aggregated: true, upto: place{7, 1}, low: []place{{1, 2}, {}, {3, 0}}, parked: map[string]place{"key": {5, 0}}}
	f.Add(a.encode())
	f.Add(a.encode()[:20])
	f.Add(oldAhead)
	f.Fuzz(func(t *testing.T, blob []byte) {
		a, err := parseAhead(blob)
		if err != nil {
			return
		}
		again, err := parseAhead(a.encode())
		if len(a.parked) == int(blob[2]) && (err != nil || again.upto != a.upto || !slices.Equal(again.low, a.low) || !maps.Equal(again.parked, a.parked)) {
			t.Errorf("%v: %+v became %+v", err, a, again)
		}
		a.settled([]byte("key"), a.upto)
	})
}

// oldAhead is of before user records had places.
var oldAhead = []byte("\x02\x02\x01\x00\x00\x00\x00\x00\x64\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00" + "\x32\x00\x00\x00\x00\x00\x00\x00" + "\x0a\x00\x00\x00\x00\x00\x00\x00\x03\x00key")

func TestOldAhead(t *testing.T) {
	a, err := parseAhead(oldAhead)
	if err != nil || a.upto != (place{101, 0}) || !slices.Equal(a.low, []place{{}, {50, 0}}) || !maps.Equal(a.parked, map[string]place{"key": {10, 0}}) {
		t.Errorf("%+v, %v", a, err)
	}
}

// What a checkpoint says of what is ahead.
func TestStateOfLanes(t *testing.T) {
	in := func(lows ...place) (lanes []*queue) {
		for _, low := range lows {
			lanes = append(lanes, &queue{low: low})
		}
		return lanes
	}
	text := func(a ahead) string { return string(a.encode()) }
	none := place{}
	before := &ahead{blob: []byte("before"), upto: place{50, 0}, low: []place{none, {20, 0}, {30, 0}}}
	for name, c := range map[string]struct {
		f    *fan
		want string
	}{
		"nothing is ahead":         {&fan{upto: place{11, 0}}, ""},
		"within an aggregate":      {&fan{upto: place{11, 3}, dealt: 1, lanes: in(none)}, text(ahead{upto: place{11, 3}, low: []place{none}})},
		"lanes are":                {&fan{upto: place{12, 0}, dealt: 2, lanes: in(none, place{11, 0})}, text(ahead{upto: place{12, 0}, low: []place{none, {11, 0}}})},
		"other lanes were":         {&fan{upto: place{12, 0}, dealt: 2, lanes: in(none, place{11, 0}), before: before}, "before"},
		"what was ahead is passed": {&fan{upto: place{50, 0}, dealt: 1, lanes: in(place{11, 0}), before: before}, text(ahead{upto: place{50, 0}, low: []place{{11, 0}}})},
		"the same lanes were": {
			&fan{upto: place{25, 0}, dealt: 3, lanes: in(none, none, none), before: before}, text(ahead{upto: place{50, 0}, low: []place{none, {25, 0}, {30, 0}}}),
		},
		"and have something in hand": {
			&fan{upto: place{40, 0}, dealt: 3, lanes: in(none, place{22, 0}, place{31, 0}), before: before}, text(ahead{upto: place{50, 0}, low: []place{none, {22, 0}, {31, 0}}}),
		},
	} {
		if got := c.f.ahead(10); string(got) != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
