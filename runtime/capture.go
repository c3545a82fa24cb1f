package runtime

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

// Limits of what one invocation may log.
const (
	maxLineBytes       = 8 << 10
	maxInvocationLines = 1000
	maxInvocationBytes = 256 << 10

	maxTailBytes = 16 << 10
)

// capture turns what one instance writes into log lines of its invocation. It is used by the goroutine that
// runs the instance.
type capture struct {
	id      *identity
	ring    *logRing
	metrics *functionMetrics // nil in the trial of an upload

	hidden mask // in what is said to people

	invocation     string
	lines, bytes   int
	dropped        int
	logged         int // lines that the ring was given
	stdout, stderr lineWriter
}

func newCapture(id *identity, ring *logRing, metrics *functionMetrics) *capture {
	c := &capture{id: id, ring: ring, metrics: metrics}
	c.stdout = lineWriter{to: c, level: abi.LevelInfo}
	c.stderr = lineWriter{to: c, level: abi.LevelError, keepTail: true}
	return c
}

// begin starts an invocation.
func (c *capture) begin(invocation string) {
	c.invocation, c.lines, c.bytes, c.dropped, c.logged = invocation, 0, 0, 0, 0
	c.stderr.tail = c.stderr.tail[:0]
}

// end finishes it: what stands without a newline is a line as well.
func (c *capture) end() {
	c.stdout.flush()
	c.stderr.flush()
	if c.dropped > 0 {
		if c.metrics != nil {
			c.metrics.logsDropped.Add(float64(c.dropped))
		}
		c.put(abi.LevelWarn, fmt.Sprintf("%d more log lines were dropped: an invocation may write %d lines and %d KiB",
			c.dropped, maxInvocationLines, maxInvocationBytes>>10))
	}
}

func (c *capture) line(level string, text []byte) {
	if c.lines >= maxInvocationLines || c.bytes+len(text) > maxInvocationBytes {
		c.dropped++
		return
	}
	c.lines++
	c.bytes += len(text)
	if said, ok := abi.ParseLevel(text); ok {
		level = said
	}
	c.put(level, c.hidden.text(strings.ToValidUTF8(string(text), "\uFFFD")))
}

// note is a line of the host's about the invocation. It counts as one of the guest's, because a guest can cause as many as it likes.
func (c *capture) note(level, message string) {
	if c.lines >= maxInvocationLines || c.bytes+len(message) > maxInvocationBytes {
		c.dropped++
		return
	}
	c.lines++
	c.bytes += len(message)
	c.put(level, c.hidden.text(message))
}

// hide has a value be taken out of what is said from now on.
func (c *capture) hide(value []byte) { c.hidden.add(value) }

func (c *capture) put(level, message string) {
	c.logged++
	c.ring.append(LogLine{
		Time: time.Now(), Function: c.id.function, Version: c.id.number,
		Invocation: c.invocation, Level: level, Message: message,
	})
}

// lineWriter is a guest's stdout or stderr.
type lineWriter struct {
	to       *capture
	level    string
	partial  []byte
	cut      int // bytes of the line under way that were over the limit
	keepTail bool
	tail     []byte // the end of what was written in this invocation
}

// Write never fails and keeps nothing of p.
func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	if w.keepTail {
		w.remember(p)
	}
	for {
		line, rest, ended := bytes.Cut(p, []byte{'\n'})
		room := maxLineBytes - len(w.partial)
		w.partial = append(w.partial, line[:min(room, len(line))]...)
		w.cut += len(line) - min(room, len(line))
		if !ended {
			return n, nil
		}
		w.emit()
		p = rest
	}
}

func (w *lineWriter) emit() {
	if w.cut > 0 {
		w.partial = fmt.Appendf(w.partial[:maxLineBytes-48], "… (%d bytes more)", w.cut+48)
	}
	w.to.line(w.level, bytes.TrimSuffix(w.partial, []byte{'\r'}))
	w.partial, w.cut = w.partial[:0], 0
}

func (w *lineWriter) flush() {
	if len(w.partial) > 0 || w.cut > 0 {
		w.emit()
	}
}

func (w *lineWriter) remember(p []byte) {
	if len(p) > maxTailBytes {
		p = p[len(p)-maxTailBytes:]
	}
	if over := len(w.tail) + len(p) - 2*maxTailBytes; over > 0 {
		w.tail = append(w.tail[:0], w.tail[len(w.tail)-min(maxTailBytes, len(w.tail)):]...)
	}
	w.tail = append(w.tail, p...)
}

// complaint is what a guest said last on stderr when it ended itself: the sentence and what follows it. Go's
// run-time begins with "panic:" or "fatal error:"; of others the last line is taken.
func (w *lineWriter) complaint() (sentence, trace string) {
	text := strings.ToValidUTF8(strings.TrimSpace(string(w.tail)), "\uFFFD")
	at := -1
	for _, start := range []string{"panic: ", "fatal error: "} {
		if i := strings.LastIndex("\n"+text, "\n"+start); i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at < 0 {
		return text[strings.LastIndexByte(text, '\n')+1:], ""
	}
	sentence, trace, _ = strings.Cut(text[at:], "\n")
	return sentence, strings.TrimSpace(trace)
}
