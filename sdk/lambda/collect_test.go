package lambda

import (
	goruntime "runtime"
	"runtime/debug"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

// Calls leave their garbage behind for as long only as it is less than what Go itself would collect in the midst of one.
func TestGarbageIsCollectedAtTheEndOfCalls(t *testing.T) {
	withGOGC(t, 100)
	payload := eventOf(6000, 1024)
	var handled int
	call := invoker(NewHandler(func(e events.KinesisEvent) { handled = collections() }), nil)
	behind := 0
	const calls = 5
	for range calls {
		if _, err := call(t.Context(), payload); err != nil {
			t.Fatal(err)
		}
		behind += collections() - handled
	}
	if behind < calls {
		t.Errorf("behind %d calls of %d bytes garbage was collected %d times", calls, len(payload), behind)
	}
}

// A function that keeps much is not made to have it marked more often than Go would, and GOGC is its author's.
func TestWhenGarbageIsCollected(t *testing.T) {
	for name, c := range map[string]struct {
		gogc, event, keeps, calls, want int
	}{
		"it keeps little":           {100, 8 << 20, 0, 5, 5},
		"small events":              {100, collectAfter / 4, 0, 5, 1},
		"it keeps much":             {100, 8 << 20, 16 << 20, 5, 1},
		"GOGC of the author":        {400, 8 << 20, 0, 5, 0},
		"none, by the author's own": {-1, 8 << 20, 0, 5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			withGOGC(t, c.gogc)
			keep := make([]byte, c.keeps)
			goruntime.GC()
			before := collections()
			var garbage collector
			for range c.calls {
				garbage.called(c.event)
			}
			if got := collections() - before; got != c.want {
				t.Errorf("garbage was collected %d times, want %d", got, c.want)
			}
			goruntime.KeepAlive(keep)
		})
	}
}

// withGOGC has garbage collected as with a GOGC, whatever the tests are run with.
func withGOGC(t *testing.T, percent int) {
	before := debug.SetGCPercent(percent)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	goruntime.GC()
}

// collections is how often garbage has been collected.
func collections() int {
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int(m.NumGC)
}
