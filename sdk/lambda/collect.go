package lambda

import (
	goruntime "runtime"
	"runtime/metrics"
)

// collector collects garbage between calls, when what the last one made is garbage as a whole. Left alone, Go begins in the middle of a
// call: it marks half an event, which is about to be garbage, and every pointer that the decoder writes meanwhile costs several times as
// much, on the only thread there is.
type collector struct {
	read int // bytes of events since the last time
	goal []metrics.Sample
}

const (
	collectAfter = 2 << 20 // bytes of events, which make about as much garbage
	// A heap that is to grow beyond this is larger than the least of Go, 4 MiB, by what the function keeps or by its GOGC. Go knows better then
	// when it pays to mark that.
	collectBelow = 8 << 20
)

// called is told of every call that has ended, and how many bytes its event had. It reports whether garbage was collected.
func (c *collector) called(n int) bool {
	if c.read += n; c.read < collectAfter {
		return false
	}
	c.read = 0
	if c.goal == nil {
		c.goal = []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	}
	metrics.Read(c.goal)
	if c.goal[0].Value.Kind() != metrics.KindUint64 || c.goal[0].Value.Uint64() > collectBelow {
		return false
	}
	goruntime.GC()
	return true
}
