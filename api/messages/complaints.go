package messages

import (
	"log/slog"
	"time"

	"github.com/shardmill/shardmill/internal/flood"
)

// complaints log failures that no client hears of: the first at once, then one a minute with the number of those in
// between.
type complaints struct {
	log  *slog.Logger
	gate flood.Gate
}

func (c *complaints) add(what, where string, err error) {
	if unlogged, ok := c.gate.Admit(time.Now()); ok {
		c.log.Warn(what, "where", where, "error", err, "unlogged", unlogged)
	}
}
