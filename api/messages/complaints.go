package messages

import (
	"log/slog"
	"sync"
	"time"
)

// complaintEvery is how often a door logs, at most, that messages fail of which nobody else is told.
const complaintEvery = time.Minute

// complaints log failures that no client hears of: the first at once, then one a minute with the number of those in
// between.
type complaints struct {
	log *slog.Logger

	mu       sync.Mutex
	next     time.Time
	unlogged int
}

func (c *complaints) add(what, where string, err error) {
	if unlogged, ok := c.admit(time.Now()); ok {
		c.log.Warn(what, "where", where, "error", err, "unlogged", unlogged)
	}
}

// admit says whether a failure is logged, and how many were not since the last one.
func (c *complaints) admit(now time.Time) (unlogged int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.next) {
		c.unlogged++
		return 0, false
	}
	unlogged, c.unlogged, c.next = c.unlogged, 0, now.Add(complaintEvery)
	return unlogged, true
}
