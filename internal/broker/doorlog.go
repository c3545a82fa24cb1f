package broker

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// What clients of a door can bring into the log: lines in a minute.
const doorLines = 10

// doorLog is the log of a server that strangers speak to. What they do wrong is a line each, at warning level, and is
// limited; the rest is counted and said with the first line of a later minute.
type doorLog struct {
	serverLog

	mu      sync.Mutex
	minute  time.Time // when the lines began to be counted
	lines   int
	dropped int
}

// chosen begins the formats of what the server warns of at every start and is meant to be so: a payload above 8 MiB,
// and the host's own password, which is random and leaves the process nowhere.
var chosen = []string{"Maximum payloads over", "Plaintext passwords detected"}

// Warnf logs a warning.
func (l *doorLog) Warnf(format string, args ...any) {
	for _, prefix := range chosen {
		if strings.HasPrefix(format, prefix) {
			l.print(slog.LevelDebug, format, args)
			return
		}
	}
	l.limited(format, args)
}

// Errorf logs what the server calls an error and is a client's.
func (l *doorLog) Errorf(format string, args ...any) { l.limited(format, args) }

func (l *doorLog) limited(format string, args []any) {
	dropped, ok := l.admit(time.Now())
	if !ok {
		l.print(slog.LevelDebug, format, args)
		return
	}
	l.log.Warn(fmt.Sprintf(format, args...), "component", "nats-server", "unlogged", dropped)
}

// admit says whether a line may be logged, and how many were not since the last one.
func (l *doorLog) admit(now time.Time) (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.minute) >= time.Minute {
		l.minute, l.lines = now, 0
	}
	if l.lines == doorLines {
		l.dropped++
		return 0, false
	}
	l.lines++
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}
