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

// lingerTime is how long a client that is still sending has to see an early answer.
const lingerTime = 2 * time.Second

// guard is the request's body behind a guard. stopped, which may be nil, ends
// reading early.
func (c *call) guard(body io.Reader, idle time.Duration, stopped context.Context) *guardedBody {
	c.body = &guardedBody{raw: c.r.Body, r: body, control: http.NewResponseController(c.w), idle: idle, stopped: stopped}
	return c.body
}

// refuse answers with a problem. Where the body has been read in part, what the
// client still sends is read and thrown away for a moment: closing the
// connection at once would reset it, and the client might never see the answer.
func (c *call) refuse(p *Problem) {
	linger := c.body != nil && c.body.partly && c.r.ProtoMajor == 1
	control := http.NewResponseController(c.w)
	if linger {
		linger = control.EnableFullDuplex() == nil
		c.w.Header().Set("Connection", "close")
	}
	writeProblem(c.w, c.r, p)
	if !linger || control.Flush() != nil {
		return
	}
	control.SetReadDeadline(time.Now().Add(lingerTime))
	trickle(c.body.raw)
}

// trickle reads a body slowly until it fails: fast enough to see its end, slow
// enough not to take in what nobody wants.
func trickle(body io.Reader) {
	buf := make([]byte, 32<<10)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := body.Read(buf); err != nil {
			return
		}
		<-tick.C
	}
}

// guardedBody is a body with a guard against clients that stop sending: a read
// that waits longer than idle fails with the problem body-stalled. The guard
// ends with the body, so that it does not cut the work after it.
type guardedBody struct {
	raw     io.Reader // the body itself, where r cuts it off
	r       io.Reader
	control *http.ResponseController
	idle    time.Duration
	stopped context.Context // ends reading early; may be nil
	partly  bool            // a read has begun and none has come to the end

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
	g.partly = err != io.EOF
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
