package runtime

import (
	"cmp"
	"slices"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

// How much of what invocations log is noted with them. The history is bounded, and functions that log much must not push out the
// records of the others.
const (
	maxNotedLog   = 8 << 10  // bytes of one invocation's lines, its last ones
	maxNotedLines = 32 << 10 // of all functions' in one round of notes, which they share
	minNotedLines = 1 << 10  // of one function's in a round
	lineCost      = 64       // what a line counts for beside its text
)

// notedInvocation is an invocation with the lines that it logged last. What it failed of is in the invocation already.
type notedInvocation struct {
	Invocation
	Lines []notedLine `json:"lines,omitempty"`
}

type notedLine struct {
	Time    time.Time `json:"t"`
	Level   string    `json:"l"`
	Message string    `json:"m"`
}

// withLines adds to invocations what the log has of them, at most so many bytes: first of those that failed, of the newer before the older.
// Of functions that log nothing it looks at nothing.
func (f *function) withLines(invocations []Invocation, most int) []notedInvocation {
	out := make([]notedInvocation, len(invocations))
	var said []*notedInvocation
	var since time.Time
	for n, i := range invocations {
		out[n].Invocation = i
		if i.LogLines > 0 {
			said = append(said, &out[n])
			if since.IsZero() || i.Started.Before(since) {
				since = i.Started
			}
		}
	}
	if len(said) == 0 {
		return out
	}
	slices.SortStableFunc(said, func(a, b *notedInvocation) int {
		if a.Failed() != b.Failed() {
			if a.Failed() {
				return -1
			}
			return 1
		}
		return b.Started.Compare(a.Started)
	})
	lines := map[string][]LogLine{}
	// A line of no call may stand there late, see starter.tell.
	for _, l := range f.logs.newest(func(l *LogLine) bool { return l.Invocation == "" || !l.Time.Before(since) }) {
		if !l.failure {
			lines[l.Invocation] = append(lines[l.Invocation], l)
		}
	}
	for _, i := range said {
		used := 0
		i.Lines, used = lastLines(lines[i.ID], min(most, maxNotedLog))
		most -= used
	}
	return out
}

// lastLines are the last of the lines, as many as fit.
func lastLines(lines []LogLine, most int) (out []notedLine, used int) {
	for _, l := range slices.Backward(lines) {
		text := cutText(l.Message, maxNotedText)
		if used+len(text)+lineCost > most {
			break
		}
		used += len(text) + lineCost
		out = append(out, notedLine{l.Time, l.Level, text})
	}
	slices.Reverse(out)
	return out, used
}

// recall takes the noted lines of invocations into the function's log, and what they failed of.
func (f *function) recall(invocations []notedInvocation) {
	var lines []LogLine
	for _, i := range invocations {
		last := i.Started.Add(i.Duration())
		for _, l := range i.Lines {
			lines = append(lines, LogLine{Time: l.Time, Function: i.Function, Version: i.Version, Invocation: i.ID, Level: cmp.Or(l.Level, abi.LevelInfo), Message: l.Message})
			if l.Time.After(last) {
				last = l.Time
			}
		}
		switch i.Outcome {
		case outcomeOK, outcomeThrottled, outcomeCanceled, outcomeHost:
			continue
		}
		failed := FunctionError{Function: i.Function, Version: i.Version, Invocation: i.ID, Kind: ErrorKind(i.Outcome), Message: i.Message, Stack: i.Stack}
		lines = append(lines, failed.logLine(last))
	}
	slices.SortStableFunc(lines, func(a, b LogLine) int { return a.Time.Compare(b.Time) })
	for _, l := range lines {
		f.logs.append(l)
	}
}
