package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
)

// maxAnswer bounds what the client reads of an answer that is one JSON value.
const maxAnswer = 64 << 20

// ClientOptions of NewClient. The zero value works.
type ClientOptions struct {
	HTTP      *http.Client // nil: a client of its own without an overall timeout
	UserAgent string       // "" is "shardmill"
}

// Client calls the verbs of a host over HTTP. It is safe for concurrent use.
// Errors that the host answers are *Problem; others are about reaching it. A
// call ends early when its context does. Nothing is retried.
type Client struct {
	base  string
	http  *http.Client
	agent string
	own   *http.Transport // what Close closes
}

// NewClient makes a client for the host at an endpoint such as
// "http://127.0.0.1:4780"; the scheme may be left out.
func NewClient(endpoint string, o ClientOptions) (*Client, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("endpoint %q: want http://host:port or https://host:port", endpoint)
	}
	c := &Client{base: strings.TrimRight(u.String(), "/"), http: o.HTTP, agent: o.UserAgent}
	if c.agent == "" {
		c.agent = "shardmill"
	}
	if c.http == nil {
		c.own = http.DefaultTransport.(*http.Transport).Clone()
		c.own.MaxIdleConnsPerHost = 64
		c.own.WriteBufferSize = 64 << 10
		c.own.DisableCompression = true
		c.http = &http.Client{Transport: c.own}
	}
	return c, nil
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one call of a verb.
type request struct {
	method string
	path   []string // segments after /v1; they are escaped
	query  url.Values
	body   io.Reader
	kind   string // the body's media type
	accept string
	large  bool   // the body is large: ask before sending it
	match  string // If-Match; "" = none
}

// do sends a request and gives the answer when it is a good one; the caller
// closes its body. Any other is a *Problem.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	target := c.base + "/v1"
	for _, segment := range r.path {
		escaped := url.PathEscape(segment)
		if strings.Trim(segment, ".") == "" { // ".." would be another path on its way
			escaped = strings.ReplaceAll(segment, ".", "%2E")
		}
		target += "/" + escaped
	}
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, r.body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.agent)
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if r.match != "" {
		req.Header.Set("If-Match", r.match)
	}
	if r.large {
		req.Header.Set("Expect", "100-continue")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unwrapCall(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readProblem(resp)
}

// unwrapCall takes the method and URL off an error of net/http where it is the
// context's, and else says what could not be reached.
func unwrapCall(err error) error {
	var call *url.Error
	if errors.As(err, &call) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return call.Err
	}
	return fmt.Errorf("the host cannot be reached: %w", err)
}

// readProblem reads the problem of an answer; one that holds none becomes a
// problem of its status.
func readProblem(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	p := &Problem{}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == typeProblem && json.Unmarshal(b, p) == nil {
		return p
	}
	return &Problem{
		Type: "about:blank", Title: http.StatusText(resp.StatusCode), Status: resp.StatusCode,
		Detail: fmt.Sprintf("The answer has status %s and is not one of Shardmill's: is the endpoint right?", resp.Status),
	}
}

// call sends a request with in as JSON body, unless it is nil, and reads the
// answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, method string, path []string, in, out any) (status int, err error) {
	r := request{method: method, path: path, accept: typeJSON}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, fmt.Errorf("request body: %w", err)
		}
		r.body, r.kind = bytes.NewReader(b), typeJSON
	}
	return c.finish(ctx, r, out)
}

// finish sends a request and reads the whole answer.
func (c *Client) finish(ctx context.Context, r request, out any) (status int, err error) {
	resp, err := c.do(ctx, r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, fmt.Errorf("answer: %w", err)
	}
	if out == nil {
		return resp.StatusCode, nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return 0, fmt.Errorf("answer: %w", err)
	}
	return resp.StatusCode, nil
}

// Version names the host's version.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	_, err = c.call(ctx, http.MethodGet, []string{"version"}, nil, &v)
	return v, err
}

// OpenAPI is the host's OpenAPI document.
func (c *Client) OpenAPI(ctx context.Context) ([]byte, error) {
	resp, err := c.do(ctx, request{method: http.MethodGet, path: []string{"openapi.json"}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}

// lines yields the values of an NDJSON answer as they arrive. It ends with the
// answer; an error of reading is yielded last.
func lines[T any](c *Client, ctx context.Context, r request) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		r.accept = typeLines
		resp, err := c.do(ctx, r)
		if err != nil {
			yield(zero, err)
			return
		}
		defer resp.Body.Close()
		reader := newLineReader(resp.Body, maxAnswer, resp.ContentLength)
		for {
			readErr := reader.fill()
			for {
				line, state := reader.take()
				if state == lineNone {
					break
				}
				var v T
				if err := json.Unmarshal(line, &v); err != nil {
					yield(zero, fmt.Errorf("answer: %w", err))
					return
				}
				if !yield(v, nil) {
					return
				}
			}
			if readErr == io.EOF {
				return
			}
			if readErr != nil {
				if ctx.Err() != nil {
					readErr = ctx.Err()
				} else {
					readErr = fmt.Errorf("the connection to the host broke off: %w", readErr)
				}
				yield(zero, readErr)
				return
			}
		}
	}
}
