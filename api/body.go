package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// guardedBody is a body with a guard against clients that stop sending: a read
// that waits longer than idle fails with the problem body-stalled. The guard
// ends with the body, so that it does not cut the work after it.
type guardedBody struct {
	r       io.Reader
	control *http.ResponseController
	idle    time.Duration
	stopped context.Context // ends reading early; may be nil

	mu   sync.Mutex
	over bool // reading has ended: deadlines are not set any more
}

func (g *guardedBody) Read(p []byte) (int, error) {
	// Where deadlines are not supported there is no connection to guard.
	g.control.SetReadDeadline(time.Now().Add(g.idle))
	if err := g.stop(); err != nil {
		return 0, err
	}
	n, err := g.r.Read(p)
	if err == nil {
		return n, nil
	}
	g.control.SetReadDeadline(time.Time{})
	if stopped := g.stop(); stopped != nil && err != io.EOF {
		return n, stopped
	}
	return n, bodyError(err, g.idle)
}

// interrupt ends a read that waits.
func (g *guardedBody) interrupt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.over {
		g.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// finish lifts the guard. net/http watches the connection for its end while a
// handler works on, and would take a deadline for that.
func (g *guardedBody) finish() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	g.control.SetReadDeadline(time.Time{})
}

// stop is why reading ends early, nil while it does not.
func (g *guardedBody) stop() error {
	if g.stopped == nil || g.stopped.Err() == nil {
		return nil
	}
	return context.Cause(g.stopped)
}

// bodyError is the problem behind an error of reading a body. io.EOF is none.
func bodyError(err error, idle time.Duration) error {
	var large *http.MaxBytesError
	switch {
	case err == nil || err == io.EOF:
		return err
	case errors.As(err, &large):
		return tooLarge("body", large.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		p := problem(KindBodyStalled, "No byte of the body came for %v; send it without such a pause. A blank line keeps NDJSON alive.", idle)
		p.Field, p.Limit = "body", idle.String()
		return p
	}
	p := problem(KindBodyCut, "The body broke off before its end (%v); send it again.", err)
	p.Field = "body"
	return p
}
