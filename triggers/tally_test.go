package triggers

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// A bucket holds the durations from the end of the one before to its own.
func TestBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "duration"))
		at := bucketOf(d)
		if us := d.Truncate(time.Microsecond); us >= endOf(at) || at > 3 && us < endOf(at-1).Truncate(time.Microsecond) {
			t.Fatalf("%v is in bucket %d, which ends at %v", d, at, endOf(at))
		}
	})
}

func TestQuantiles(t *testing.T) {
	var s Side
	if s.Quantile(0.5) != 0 {
		t.Error("of nothing")
	}
	for i := range 1000 {
		s.ran(&attempt{reply: &runtime.Reply{Version: 7, Duration: time.Duration(i+1) * time.Millisecond, Fuel: 10}}, 2)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 0.001: time.Millisecond} {
		if got := s.Quantile(q); got < want || float64(got) > 1.25*float64(want) {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	if s.Calls != 1000 || s.Records != 2000 || s.Fuel != 10000 || s.Version != 7 {
		t.Errorf("%+v", s)
	}
	var sum Side
	sum.add(&s)
	sum.add(&Side{Version: 3, Buckets: make([]uint32, 200)})
	if sum.Version != 7 || sum.Quantile(0.5) != s.Quantile(0.5) || len(s.Buckets) == 200 {
		t.Errorf("%+v", sum)
	}
}

func TestIdentical(t *testing.T) {
	for _, c := range []struct {
		c    Comparison
		want float64
	}{{Comparison{}, 1}, {Comparison{Calls: 3}, 1}, {Comparison{Same: 3, Changed: 1}, 0.75}, {Comparison{Missing: 1}, 0}, {Comparison{Same: 1, Extra: 1}, 0.5}} {
		if got := c.c.Identical(); got != c.want {
			t.Errorf("%+v: %v", c.c, got)
		}
	}
}

// The most that a tally can be fits into a checkpoint, and comes back as it was.
func TestTallyFits(t *testing.T) {
	y := &tally{found: tallied{Format: tallyFormat}}
	for range 10 {
		f := findings{request: &request{n: 2}}
		for range maxFindings {
			f.note(false, Difference{What: OutputChanged, Stream: string(make([]byte, 256)), Key: make([]byte, 65535), Old: make([]byte, 1<<20), New: make([]byte, 1<<20)})
		}
		y.compared(&f, 2, 1, time.Now())
	}
	y.ran(&[2]attempt{{reply: new(runtime.Reply)}, {reply: &runtime.Reply{Duration: 15 * time.Minute}}}, 2)
	state, _ := y.due(time.Now(), true)
	found, err := parseTally(state)
	if err != nil || len(found.Differences) != maxDifferences || found.Calls != 10 || found.Sides[candidate].Calls != 1 || len(state) > 256<<10 {
		t.Errorf("%d bytes, %d differences, %v", len(state), len(found.Differences), err)
	}
	if state, _ := y.due(time.Now(), true); state != nil {
		t.Error("nothing has changed")
	}
	if !y.saved(0, shards.ErrRevision) || y.saved(0, shards.ErrRevision) || y.saved(3, nil) {
		t.Error("what fails is said once")
	}
	if state, revision := y.due(time.Now(), true); state == nil || revision != 3 {
		t.Errorf("what failed is saved again: %d", revision)
	}
}

func FuzzParseTally(f *testing.F) {
	whole, err := json.Marshal(tallied{Format: 1, Differences: []Difference{{What: OutputExtra, New: []byte("x")}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{nil, whole, []byte(`{"format":2}`), []byte(`{"format":1,"sides":[{"buckets":[-1]}]}`), []byte(`[]`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		found, err := parseTally(state)
		if err != nil {
			return
		}
		var sum Side
		sum.add(&found.Sides[serving])
		sum.Quantile(0.99)
		found.Identical()
	})
}

func FuzzStates(f *testing.F) {
	f.Add([]byte(nil), []byte("x"))
	f.Add([]byte{1, 0, 0, 0}, []byte{})
	f.Add([]byte{255, 255, 255, 255, 1}, []byte("y"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got := splitStates(joinStates(a, b))
		if string(got[serving]) != string(a) || string(got[candidate]) != string(b) {
			t.Errorf("%q and %q became %q", a, b, got)
		}
		splitStates(a)
	})
}

func TestBudget(t *testing.T) {
	b := budget{most: 2}
	now := time.Unix(100, 0)
	for i, want := range []bool{true, true, false, false} {
		if b.take(now) != want {
			t.Errorf("%d", i)
		}
	}
	if !b.take(now.Add(time.Second)) {
		t.Error("in the next second")
	}
}

// What cannot be read, or cannot be saved, is begun anew, and holds up nothing.
func TestTallyThatIsBroken(t *testing.T) {
	b := newShadowBench(t, 1, nil)
	s := b.shadow(Shadow{Qualifier: "2"})
	b.close()
	cp, _ := b.stream.Checkpoint("shadow/"+s.ID, 0)
	cp.Consumer, cp.State = "shadow/"+s.ID, []byte(`{"format":9}`)
	if _, err := b.stream.SaveCheckpoint(t.Context(), cp); err != nil {
		t.Fatal(err)
	}
	b.open()
	if s := b.found(); s.Records != 0 || s.State != Enabled {
		t.Errorf("%+v", s)
	}
	b.stream.saveErr = func(cp shards.Checkpoint) error {
		if cp.Consumer == "shadow/"+s.ID {
			return shards.ErrRevision
		}
		return nil
	}
	if err := b.DeleteShadow(t.Context(), "m"); err != nil {
		t.Error(err)
	}
}

// The more a tally has to say, the less often it is written; for the last time it always is.
func TestTallyRests(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		differences int
		rests       time.Duration
	}{{0, time.Second}, {maxDifferences, tallyRests}} {
		y := &tally{found: tallied{Format: tallyFormat}, dirty: true}
		for range c.differences {
			y.found.Differences = append(y.found.Differences, Difference{Old: make([]byte, 3<<10), New: make([]byte, 3<<10)})
		}
		if state, _ := y.due(now, false); state == nil {
			t.Fatal("the first save has to wait")
		}
		y.dirty = true
		early, _ := y.due(now.Add(c.rests-time.Millisecond), false)
		if c.differences > 0 && early != nil {
			t.Errorf("with %d differences it is saved again at once", c.differences)
		}
		y.dirty = true
		if state, _ := y.due(now.Add(2*c.rests), false); state == nil {
			t.Errorf("with %d differences it is not saved after %v", c.differences, 2*c.rests)
		}
		y.dirty = true
		if state, _ := y.due(now.Add(2*c.rests), true); state == nil {
			t.Error("the last save has to wait")
		}
	}
}
