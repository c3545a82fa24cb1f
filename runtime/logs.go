package runtime

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

// LogLine is one line that a function wrote to stdout or stderr.
type LogLine struct {
	Time       time.Time
	Function   string
	Version    int
	Invocation string // empty for what was written while the instance was made
	Level      string // "debug", "info", "warn" or "error"; sdk/abi.md §4 says how it is found
	Message    string // without the newline; at most 8 KiB

	failure bool // it is what the call's record says, and so is not noted
}

func (l *LogLine) size() int { return len(l.Message) + 128 }

// logRing keeps a function's latest log lines, up to a number of bytes.
type logRing = ring[LogLine]

func newLogRing(limit int) *logRing { return &logRing{limit: limit, size: (*LogLine).size} }

// Logs yields the function's log lines that are still kept, oldest first, from the given time on; the zero time is all
// of them. With follow it goes on as lines come, until ctx ends, the function is deleted or the runtime closes. A
// reader too slow for what comes is told in a line of its own how many it missed. After a restart
// there are those that were noted with the invocations that wrote them: of each the last, 8 KiB at most.
// Error: ErrNotFound.
func (rt *Runtime) Logs(ctx context.Context, name string, from time.Time, follow bool) (iter.Seq[LogLine], error) {
	f, err := rt.function("logs", name)
	if err != nil {
		return nil, err
	}
	missed := func(n uint64) LogLine {
		return LogLine{Time: time.Now(), Function: name, Level: abi.LevelWarn,
			Message: fmt.Sprintf("%d log lines were dropped before they could be read", n)}
	}
	return func(yield func(LogLine) bool) {
		for line := range f.logs.all(ctx, follow, missed) {
			if !line.Time.Before(from) && !yield(line) {
				return
			}
		}
	}, nil
}

// logLine is the failure as a line of the function's log, its stack included, so that it is found there whoever made the call.
func (e *FunctionError) logLine(now time.Time) LogLine {
	message := string(e.Kind) + ": " + e.Message
	if e.Stack != "" {
		message += "\n" + e.Stack
	}
	if len(message) > maxLineBytes {
		message = strings.ToValidUTF8(message[:maxLineBytes], "") + " …"
	}
	return LogLine{Time: now, Function: e.Function, Version: e.Version, Invocation: e.Invocation, Level: abi.LevelError, Message: message, failure: true}
}
