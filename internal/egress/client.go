package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

const (
	maxIdle      = 16 // idle connections kept per host
	maxConns     = 64 // connections to one host
	maxRedirects = 5
)

// Client makes requests. Its methods may be called from several goroutines.
type Client struct {
	http      *http.Client
	transport *http.Transport
}

// NewClient makes a client over a dialer.
func NewClient(d Dialer) *Client {
	c := &Client{transport: &http.Transport{
		DialContext: d.Dial, ForceAttemptHTTP2: true, TLSHandshakeTimeout: DialTimeout, MaxIdleConnsPerHost: maxIdle,
		MaxConnsPerHost: maxConns, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
	}}
	c.http = &http.Client{Transport: c.transport, CheckRedirect: follow}
	return c
}

// Close lets go of idle connections. No request may be under way.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// allowedKey is how the requests of a redirect find what may be asked for.
type allowedKey struct{}

func follow(next *http.Request, via []*http.Request) error {
	allowed := next.Context().Value(allowedKey{}).(func(string, *url.URL) error)
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: it was redirected more than %d times", ErrRefused, maxRedirects)
	}
	if err := allowed(next.Method, next.URL); err != nil {
		return fmt.Errorf("%w: a redirect: %w", ErrRefused, err)
	}
	return nil
}

// Fetch makes a request and reads the whole answer, by its timeout and while ctx lasts. allowed is asked about each redirect. Errors: ErrRefused, ErrTooLarge,
// those of the network, without the URL, in which there may be a token.
func (c *Client) Fetch(ctx context.Context, r *abi.HTTPRequest, allowed func(method string, u *url.URL) error) (*abi.HTTPResponse, error) {
	ctx = context.WithValue(ctx, allowedKey{}, allowed)
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.Timeout)*time.Millisecond)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "shardmill")
	for _, h := range r.Header {
		req.Header.Add(h.Name, h.Value)
	}
	resp, err := c.http.Do(req)
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return nil, e.Err
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, abi.MaxResponseBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > abi.MaxResponseBody {
		return nil, ErrTooLarge
	}
	out := &abi.HTTPResponse{Status: resp.StatusCode, Body: body}
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		for _, value := range resp.Header[name] {
			out.Header = append(out.Header, abi.HTTPHeader{Name: name, Value: value})
		}
	}
	return out, nil
}

// ErrTooLarge: the answer is larger than a function may have.
var ErrTooLarge = fmt.Errorf("the answer has more than %d bytes", abi.MaxResponseBody)
