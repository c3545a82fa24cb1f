package runtime

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
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
}

func (l *LogLine) size() int { return len(l.Message) + 128 }

// logRing keeps a function's latest log lines, up to a number of bytes.
type logRing struct {
	limit int

	mu     sync.Mutex
	lines  []LogLine     // lines[head:] are kept
	head   int           // index of the oldest line kept
	first  uint64        // number of that line; the next line gets first+len(lines)-head
	bytes  int           // of the lines kept
	wake   chan struct{} // closed with the next line; nil when nobody waits
	closed bool
}

func newLogRing(limit int) *logRing { return &logRing{limit: limit} }

func (r *logRing) append(line LogLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	r.bytes += line.size()
	for r.bytes > r.limit && len(r.lines)-r.head > 1 {
		r.bytes -= r.lines[r.head].size()
		r.lines[r.head] = LogLine{}
		r.head++
		r.first++
	}
	if r.head > len(r.lines)/2 {
		n := copy(r.lines, r.lines[r.head:])
		clear(r.lines[n:])
		r.lines, r.head = r.lines[:n], 0
	}
	r.wakeAll()
}

// close ends everyone who follows.
func (r *logRing) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.wakeAll()
}

func (r *logRing) wakeAll() {
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

// read copies some lines from number next on into buf. When there are none yet it returns a channel that is closed
// when that may have changed; nil when there will be none.
func (r *logRing) read(next uint64, buf []LogLine) (lines []LogLine, number uint64, wait <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = max(next, r.first)
	kept := r.lines[r.head:]
	lines = append(buf[:0], kept[next-r.first:][:min(uint64(cap(buf)), uint64(len(kept))-(next-r.first))]...)
	if len(lines) > 0 || r.closed {
		return lines, next, nil
	}
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	return nil, next, r.wake
}

// Logs yields the function's log lines that are still kept, oldest first, from the given time on; the zero time is all
// of them. With follow it goes on as lines come, until ctx ends, the function is deleted or the runtime closes. A
// reader too slow for what comes is told in a line of its own how many it missed. Lines are kept in memory only.
// Error: ErrNotFound.
func (rt *Runtime) Logs(ctx context.Context, name string, from time.Time, follow bool) (iter.Seq[LogLine], error) {
	f, err := rt.function("logs", name)
	if err != nil {
		return nil, err
	}
	return func(yield func(LogLine) bool) {
		buf := make([]LogLine, 0, 64)
		for next, started := uint64(0), false; ; {
			lines, number, wait := f.logs.read(next, buf)
			if missed := number - next; started && missed > 0 {
				notice := LogLine{Time: time.Now(), Function: name, Level: abi.LevelWarn,
					Message: fmt.Sprintf("%d log lines were dropped before they could be read", missed)}
				if !yield(notice) {
					return
				}
			}
			for _, line := range lines {
				if !line.Time.Before(from) && !yield(line) {
					return
				}
			}
			next, started = number+uint64(len(lines)), true
			if len(lines) > 0 {
				continue
			}
			if !follow || wait == nil {
				return
			}
			select {
			case <-wait:
			case <-ctx.Done():
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
	return LogLine{Time: now, Function: e.Function, Version: e.Version, Invocation: e.Invocation, Level: abi.LevelError, Message: message}
}
