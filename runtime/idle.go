package runtime

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// idleMemory is the memory of the idle instances of all functions, and its bound. A nil one bounds and counts nothing.
type idleMemory struct {
	limit int64
	used  atomic.Int64
	pools func() []*pool // all that there are

	trimming sync.Mutex // held by the one that closes instances
}

// idleAge is when an idle instance was used last, and what it holds.
type idleAge struct {
	used  time.Time
	bytes int64
}

func (m *idleMemory) add(bytes int64) {
	if m != nil {
		m.used.Add(bytes)
	}
}

// check closes idle instances where they hold more than they may. No lock is held.
func (m *idleMemory) check() {
	if m == nil || m.used.Load() <= m.limit {
		return
	}
	m.trimming.Lock()
	defer m.trimming.Unlock()
	pools := m.pools()
	var ages []idleAge
	for _, p := range pools {
		ages = p.ages(ages)
	}
	since := cutOff(ages, m.limit)
	if since.IsZero() {
		return // somebody else has done it
	}
	for _, p := range pools {
		p.dropIdle(since)
	}
}

// cutOff is a time: where the instances that were not used since are closed, the others hold no more than the limit, and an eighth less, so that
// not every call has some closed. The one used last stays. Zero: all may stay.
func cutOff(ages []idleAge, limit int64) time.Time {
	held := int64(0)
	for _, a := range ages {
		held += a.bytes
	}
	if held <= limit || len(ages) < 2 {
		return time.Time{}
	}
	slices.SortFunc(ages, func(a, b idleAge) int { return a.used.Compare(b.used) })
	at := 0
	for ; at < len(ages)-1 && held > limit-limit/8; at++ {
		held -= ages[at].bytes
	}
	return ages[at].used
}
