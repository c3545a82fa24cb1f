package lambda

import (
	goruntime "runtime"
	"runtime/metrics"
)

// collector collects garbage at the end of a call, when all that the call made is garbage. Left alone, Go begins somewhere in the midst of
// one: it marks half an event, which is about to be garbage, and every pointer that the decoder writes meanwhile costs several times as
// much, on the only thread there is. What it takes is the call's, its time and its fuel.
type collector struct {
	read    int  // bytes of events since the last time
	largest int  // event so far: memory for one like it stays
	over    bool // the function keeps more than it would be marked for so often
	samples []metrics.Sample
}

const (
	collectAfter = 2 << 20 // bytes of events, which make about as much garbage
	// What may be live beside the memory for events: 384 KiB are Go's own and the decoder's tables, the rest the function's. To mark a MiB
	// of small objects this often costs more than is saved.
	collectKept = 640 << 10
)

// called is told at the end of every call how many bytes its event had.
func (c *collector) called(n int) {
	c.read, c.largest = c.read+n, max(c.largest, n)
	if c.over || c.read < collectAfter {
		return
	}
	c.read = 0
	if c.samples == nil {
		c.samples = []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/heap/live:bytes"}}
	}
	if c.sample(0) != 100 { // the author has decided
		return
	}
	goruntime.GC()
	c.over = c.sample(1) > uint64(c.largest+c.largest/4+collectKept) // package sdk adds a quarter to what it needs
}

// sample is the value of a metric now; the largest number if this Go does not have it.
func (c *collector) sample(i int) uint64 {
	metrics.Read(c.samples[i : i+1])
	if v := c.samples[i].Value; v.Kind() == metrics.KindUint64 {
		return v.Uint64()
	}
	return 1<<64 - 1
}
