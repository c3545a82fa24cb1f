package sdk

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

// Request is an HTTP request. Its zero value but for URL is a GET.
type Request struct {
	Method  string // "" is GET
	URL     string // http or https, at most 8 KiB
	Header  []Header
	Body    []byte        // at most 6 MiB
	Timeout time.Duration // 0: as long as the call may run
}

// Header is one header field.
type Header = abi.HTTPHeader

// Response is the answer to a request. The caller owns it.
type Response struct {
	Status int
	Header []Header
	Body   []byte
}

// Get is the first header field of a name, in whatever case; "" when there is none.
func (r *Response) Get(name string) string {
	for _, h := range r.Header {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// Fetch makes an HTTP request that the function's configuration grants, by method and server, and returns when all of the answer is there; whatever its
// status, that is no error. Redirects are followed to servers that are granted. Nothing is tried twice. What is sent counts even when the call
// fails, and a batch that is delivered again sends it again. ctx must be the handler's, or come from it; any other panics; a deadline that it has is
// kept. Errors: ErrDenied, ErrInvalid, ErrUnavailable when there is no answer, ErrNoCall.
func Fetch(ctx context.Context, r *Request) (*Response, error) {
	c := callOf(ctx, "Fetch")
	own := *r
	if own.Method == "" {
		own.Method = "GET"
	}
	if deadline, ok := ctx.Deadline(); ok {
		if left := max(time.Until(deadline), time.Millisecond); own.Timeout == 0 || left < own.Timeout {
			own.Timeout = left
		}
	}
	answer, err := c.fetch(&own)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return answer, nil
}
