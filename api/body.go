package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
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

const (
	// maxIncoming is how many bytes of bodies that are read whole, above unshared each, may be on their way in, of all clients together.
	maxIncoming = 256 << 20
	// unshared is how much of a body does not count for maxIncoming: small requests come in beside any number of large ones.
	unshared = 64 << 10
	// trusted is how much memory a body gets because its Content-Length says so; more comes as its bytes do.
	trusted = 1 << 20
	// bodyStart and bodyRate say how long a whole body may take: see bodyTime.
	bodyStart = time.Minute
	bodyRate  = 128 << 10 // bytes in a second
)

// bodyTime is how long a body of at most limit bytes may take to come in.
func bodyTime(limit int64) time.Duration {
	return bodyStart + time.Duration(limit/bodyRate)*time.Second
}

// arrival is a body on its way in that is read whole: what it has of maxIncoming, and when it has to be there. The zero value is a body that is
// not held in memory and takes as long as it likes.
type arrival struct {
	incoming   *semaphore.Weighted
	most       int64 // bytes it may come to
	read, held int64
	took       time.Duration // what it may take
	until      time.Time
}

// admit says how many of n bytes, at least one, may be read now. It takes as much again as is there, so that a large body asks a few times only.
func (a *arrival) admit(n int) (int, error) {
	if a.incoming == nil || n == 0 {
		return n, nil
	}
	if a.read == unshared+a.held {
		more := max(1, min(a.read, a.most-a.read)) // one, to see the end
		if !a.incoming.TryAcquire(more) {
			return 0, errIncoming
		}
		a.held += more
	}
	return int(min(int64(n), unshared+a.held-a.read)), nil
}

// deadline is when the next byte has to be there.
func (a *arrival) deadline(idle time.Duration) time.Time {
	if next := time.Now().Add(idle); a.until.IsZero() || next.Before(a.until) {
		return next
	}
	return a.until
}

// late is whether the whole body has taken too long.
func (a *arrival) late() bool { return !a.until.IsZero() && !time.Now().Before(a.until) }

// end gives back what the body has of maxIncoming.
func (a *arrival) end() {
	if a.incoming != nil {
		a.incoming.Release(a.held)
		a.held, a.incoming = 0, nil
	}
}

var errIncoming = problem(KindBusy, "Too many large requests are on their way in; try again in a moment.")

// guardWhole is guard for a body of at most limit bytes that is read whole. The caller calls its arrival's end when it has been read.
func (c *call) guardWhole(limit int64) *guardedBody {
	g := c.guard(c.limited(limit), c.limits.BodyIdle, nil)
	took := bodyTime(limit)
	g.arrival = arrival{incoming: c.incoming, most: limit, took: took, until: time.Now().Add(took)}
	if c.r.ContentLength >= 0 {
		g.arrival.most = min(limit, c.r.ContentLength)
	}
	return g
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
	arrival arrival

	mu   sync.Mutex
	over bool // reading has ended: deadlines are not set any more
}

func (g *guardedBody) Read(p []byte) (int, error) {
	// Where deadlines are not supported there is no connection to guard.
	g.control.SetReadDeadline(g.arrival.deadline(g.idle))
	if err := g.stop(); err != nil {
		return 0, err
	}
	may, err := g.arrival.admit(len(p))
	if err != nil {
		g.partly = true
		g.control.SetReadDeadline(time.Time{})
		return 0, err
	}
	n, err := g.r.Read(p[:may])
	g.arrival.read += int64(n)
	g.partly = err != io.EOF
	if err == nil {
		return n, nil
	}
	g.control.SetReadDeadline(time.Time{})
	if stopped := g.stop(); stopped != nil && err != io.EOF {
		return n, stopped
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && g.arrival.late() {
		p := problem(KindBodyStalled, "The body did not come within %v; send it faster, or less at once.", g.arrival.took)
		p.Field, p.Limit = "body", g.arrival.took.String()
		return n, p
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
