package runtime

import (
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
)

func TestIDsAscend(t *testing.T) {
	s, now, last := newIDs(), time.UnixMilli(1_700_000_000_000), ""
	for n := range 2000 {
		at := now.Add(time.Duration(n) * time.Microsecond) // three milliseconds
		id := s.at(at)
		if id <= last {
			t.Fatalf("%s follows %s", id, last)
		}
		parsed, err := ulid.ParseStrict(id)
		if err != nil || parsed.Time() != uint64(at.UnixMilli()) {
			t.Fatalf("%s of %v: %v", id, at, err)
		}
		last = id
	}
}

func TestIDsAreNeverTheSame(t *testing.T) {
	s, now := newIDs(), time.Now()
	var all sync.Map
	var makers sync.WaitGroup
	for range 4 {
		makers.Go(func() {
			for range 500 {
				if _, has := all.LoadOrStore(s.at(now), true); has {
					t.Error("an id was made twice")
				}
			}
		})
	}
	makers.Wait()
	if a, b := newIDs().at(now), newIDs().at(now); a == b {
		t.Errorf("two makers begin with the same: %s", a)
	}
}

// An id costs its text and nothing else.
func TestIDAllocations(t *testing.T) {
	s, now := newIDs(), time.Now()
	if got := testing.AllocsPerRun(100, func() { _ = s.at(now) }); got > 1 {
		t.Errorf("an id allocates %v times", got)
	}
}
