// Package flood keeps a log readable when the same thing fails again and again: on a full disk, say, every put does.
package flood

import (
	"sync"
	"time"
)

// Every is how often, at most, a Gate lets an event through.
const Every = time.Minute

// Gate lets the first of many like events through at once, then one a minute with the number of those in between. Its zero value works; it may
// be used by many goroutines at the same time.
type Gate struct {
	mu   sync.Mutex
	next time.Time
	held int
}

// Admit says whether an event at a time is let through, and how many were not since the last one that was.
func (g *Gate) Admit(now time.Time) (held int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Before(g.next) {
		g.held++
		return 0, false
	}
	held, g.held, g.next = g.held, 0, now.Add(Every)
	return held, true
}
