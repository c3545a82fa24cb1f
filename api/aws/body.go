package aws

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// maxPutBody is the most that a put may have: 10 MiB of data and keys, which base64 makes a third larger, and up to six bytes for
	// each character of a key in JSON.
	maxPutBody = 16 << 20
	// maxBody is the most that any other request may have; the largest member of the model is a NextToken of 1 MiB.
	maxBody = 2 << 20
	// trusted is how much memory a body gets because its Content-Length says so; more comes as its bytes do.
	trusted = 1 << 20
	// maxKeptBody is the largest buffer that is kept for the next request.
	maxKeptBody = 2 << 20
	// bodyIdle is the longest pause in a body.
	bodyIdle = 30 * time.Second
	// bodyStart and bodyRate say how long a body may take from its first byte to its last: see bodyTime.
	bodyStart = time.Minute
	bodyRate  = 128 << 10 // bytes in a second
	// maxIncoming is how many bytes of bodies above unshared each may be on their way in, of all clients together.
	maxIncoming = 256 << 20
	// unshared is how much of a body does not count for maxIncoming: small requests come in beside any number of large ones.
	unshared = 64 << 10
)

// bodyTime is how long a body of at most so many bytes may take to come in.
func bodyTime(most int) time.Duration {
	return bodyStart + time.Duration(most/bodyRate)*time.Second
}

// body is a request's, in memory that is used again. Operations may change its bytes.
type body struct{ b []byte }

var bodies = sync.Pool{New: func() any { return new(body) }}

// release gives the memory back: nothing may point into it any more.
func (b *body) release() {
	if cap(b.b) > maxKeptBody {
		b.b = nil
	}
	bodies.Put(b)
}

// readBody reads the whole body.
func (c *call) readBody() (*body, error) {
	size, most := c.r.ContentLength, maxBody
	if c.operation.permission == put {
		most = maxPutBody
	}
	if c.operation.limit != 0 {
		most = c.operation.limit
	}
	if size > int64(most) {
		return nil, c.tooLarge(most)
	}
	in := arrival{incoming: c.incoming, until: time.Now().Add(bodyTime(most))}
	defer in.end()
	into := bodies.Get().(*body)
	b := into.b[:0]
	if need := min(max(int(size)+1, 512), trusted); cap(b) < need { // one byte more, so that the end is seen without growing
		b = make([]byte, 0, need)
	}
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, min(len(b), max(int(size)+1-len(b), 512))) // doubled, up to what is to come
		}
		end, err := in.admit(len(b), cap(b))
		if err != nil {
			into.release()
			return nil, err
		}
		_ = c.control.SetReadDeadline(in.deadline())
		n, err := c.r.Body.Read(b[len(b):end])
		b = b[:len(b)+n]
		into.b = b
		if err == nil && len(b) <= most {
			continue
		}
		_ = c.control.SetReadDeadline(time.Time{})
		if err == io.EOF && len(b) <= most {
			return into, nil
		}
		into.release()
		if (err == nil || err == io.EOF) && c.isLambda {
			return nil, c.tooLarge(most)
		}
		return nil, bodyFault(err, most, in.late())
	}
}

// arrival is a body on its way in: what it has of maxIncoming, and when it has to be there.
type arrival struct {
	incoming *semaphore.Weighted
	held     int64
	until    time.Time
}

// admit says up to where a body of which n bytes are there may be read, at most to end, which is more. It takes twice as much as is there, so that a
// large body asks a few times only. It does not wait: that would hold up the client, who can try again.
func (a *arrival) admit(n, end int) (int, error) {
	if may := unshared + int(a.held); n < may {
		return min(may, end), nil
	}
	more := int64(min(end, 2*n) - n)
	if !a.incoming.TryAcquire(more) {
		return 0, errIncoming
	}
	a.held += more
	return n + int(more), nil
}

// deadline is when the next byte has to be there.
func (a *arrival) deadline() time.Time {
	if next := time.Now().Add(bodyIdle); next.Before(a.until) {
		return next
	}
	return a.until
}

// late is whether the whole body has taken too long.
func (a *arrival) late() bool { return !time.Now().Before(a.until) }

func (a *arrival) end() { a.incoming.Release(a.held) }

// errIncoming is an answer that the SDKs try again, after a while.
var errIncoming = &fault{code: codeUnavailable, status: http.StatusServiceUnavailable,
	message: "Too many large requests are on their way in; try again in a moment."}

// errTooLarge is a body over maxBody.
var errTooLarge = &fault{code: "RequestEntityTooLargeException", status: http.StatusRequestEntityTooLarge,
	message: "The request is too large: a put may have 16 MiB, others 2 MiB."}

// tooLarge is the answer about a body over the limit of the operation.
func (c *call) tooLarge(most int) *fault {
	if c.isLambda {
		name := strings.TrimPrefix(c.operation.name, lambdaPrefix)
		if name == "Invoke" {
			name = invokeName
		}
		return payloadTooLarge(most, name)
	}
	return errTooLarge
}

// bodyFault is what an error of reading a body of at most so many bytes is answered with; nil is a body that is too large. late is whether
// all of it has taken too long.
func bodyFault(err error, most int, late bool) error {
	switch {
	case err == nil, err == io.EOF:
		return errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded) && late:
		return &fault{code: "RequestTimeoutException", status: http.StatusRequestTimeout,
			message: "The body did not come within " + bodyTime(most).String() + "."}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &fault{code: "RequestTimeoutException", status: http.StatusRequestTimeout,
			message: "No byte of the body came for 30 seconds."}
	}
	return &fault{code: codeSerialization, status: http.StatusBadRequest, message: "The body broke off before its end."}
}
