package lambda

import (
	goruntime "runtime"
	"runtime/debug"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

// Calls leave their garbage behind for as long only as it is less than what Go itself would collect in the midst of one.
func TestGarbageIsCollectedBetweenCalls(t *testing.T) {
	ordinaryGOGC(t)
	payload := eventOf(500, 1024)
	collections := func() int {
		var m goruntime.MemStats
		goruntime.ReadMemStats(&m)
		return int(m.NumGC)
	}
	var handled int
	call := invoker(NewHandler(func(e events.KinesisEvent) { handled = collections() }), nil)
	between := 0
	const calls = 60
	for range calls {
		if _, err := call(t.Context(), payload); err != nil {
			t.Fatal(err)
		}
		between += collections() - handled
	}
	if between < calls/4 || between > calls/2 {
		t.Errorf("behind %d calls of %d bytes garbage was collected %d times", calls, len(payload), between)
	}
}

// A function that keeps much is not made to have it marked more often than Go would.
func TestLargeHeapsAreLeftToGo(t *testing.T) {
	ordinaryGOGC(t)
	var c collector
	if !c.called(collectAfter) || c.called(collectAfter-1) {
		t.Error("a small heap is not collected when it should be")
	}
	keep := make([]byte, 32<<20)
	goruntime.GC()
	if c.called(collectAfter) || c.called(100*collectAfter) {
		t.Error("a heap of 32 MiB is collected")
	}
	goruntime.KeepAlive(keep)
}

// ordinaryGOGC has garbage collected as a function has it that sets no GOGC, whatever the tests are run with.
func ordinaryGOGC(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	goruntime.GC()
}
