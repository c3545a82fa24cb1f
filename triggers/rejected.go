package triggers

import (
	"log/slog"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

const (
	// maxRejectedReasons bounds the reasons that are told apart; the rest count as others.
	maxRejectedReasons = 10
	// rejectedInterval is the shortest time between two lines for one reason. What is rejected meanwhile is counted.
	rejectedInterval = time.Minute
)

// rejections keeps the log of what a shard's records were rejected for short: the first of a reason is logged at once, and
// after that how many there were, once an interval. It belongs to the poller's goroutine.
type rejections struct {
	reasons []string // in the order they came
	of      map[string]*rejection
}

type rejection struct {
	records     int // since the last line
	first, last uint64
	quiet       time.Time // no line before
}

// note counts the rejected records below retryFrom; at finds them, by ascending index.
func (r *rejections) note(outcomes []runtime.Outcome, retryFrom int, at func(i int) record.Run) {
	for _, o := range outcomes {
		if o.Result != runtime.ResultRejected || o.Index >= retryFrom {
			continue
		}
		g := r.group(o.Reason)
		if g.last = at(o.Index).First().Sequence; g.records == 0 {
			g.first = g.last
		}
		g.records++
	}
}

func (r *rejections) group(reason string) *rejection {
	if r.of == nil {
		r.of = make(map[string]*rejection)
	}
	g := r.of[reason]
	if g == nil && len(r.reasons) >= maxRejectedReasons {
		reason = "(other reasons)"
		g = r.of[reason]
	}
	if g == nil {
		g = &rejection{}
		r.of[reason] = g
		r.reasons = append(r.reasons, reason)
	}
	return g
}

// flush logs what is due, or everything, and forgets reasons that have not come again for an interval.
func (r *rejections) flush(log *slog.Logger, now time.Time, everything bool) {
	kept := r.reasons[:0]
	for _, reason := range r.reasons {
		g := r.of[reason]
		due := everything || !now.Before(g.quiet)
		if due && g.records == 0 {
			delete(r.of, reason)
			continue
		}
		kept = append(kept, reason)
		if due {
			log.Warn("the function rejected records", "reason", reason, "records", g.records, "first", g.first, "last", g.last)
			*g = rejection{quiet: now.Add(rejectedInterval)}
		}
	}
	r.reasons = kept
}
