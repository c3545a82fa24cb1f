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
)

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
	into := bodies.Get().(*body)
	b := into.b[:0]
	if need := min(max(int(size)+1, 512), trusted); cap(b) < need { // one byte more, so that the end is seen without growing
		b = make([]byte, 0, need)
	}
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, min(len(b), max(int(size)+1-len(b), 512))) // doubled, up to what is to come
		}
		_ = c.control.SetReadDeadline(time.Now().Add(bodyIdle))
		n, err := c.r.Body.Read(b[len(b):cap(b)])
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
		return nil, bodyFault(err)
	}
}

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

// bodyFault is what an error of reading is answered with; nil is a body that is too large.
func bodyFault(err error) error {
	switch {
	case err == nil, err == io.EOF:
		return errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &fault{code: "RequestTimeoutException", status: http.StatusRequestTimeout,
			message: "No byte of the body came for 30 seconds."}
	}
	return &fault{code: codeSerialization, status: http.StatusBadRequest, message: "The body broke off before its end."}
}
