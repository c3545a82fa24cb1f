package api

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/shardmill/shardmill/runtime"
)

// PutAlias makes an alias of a function or changes it; created is true when it is new.
func (c *Client) PutAlias(ctx context.Context, function, alias string, config AliasConfig) (a Alias, created bool, err error) {
	status, err := c.call(ctx, http.MethodPut, []string{"functions", function, "aliases", alias}, &config, &a)
	return a, status == http.StatusCreated, err
}

// Alias describes an alias.
func (c *Client) Alias(ctx context.Context, function, alias string) (a Alias, err error) {
	_, err = c.call(ctx, http.MethodGet, []string{"functions", function, "aliases", alias}, nil, &a)
	return a, err
}

// DeleteAlias deletes an alias; one that a mapping uses only with force.
func (c *Client) DeleteAlias(ctx context.Context, function, alias string, force bool) error {
	return c.remove(ctx, force, "functions", function, "aliases", alias)
}

// DeleteVersion deletes one version that is not $LATEST and has no alias; one that a mapping uses only with force.
func (c *Client) DeleteVersion(ctx context.Context, function string, version int, force bool) error {
	return c.remove(ctx, force, "functions", function, "versions", strconv.Itoa(version))
}

// DeleteFunction deletes a function and its versions; one that a mapping uses only with force.
func (c *Client) DeleteFunction(ctx context.Context, name string, force bool) error {
	return c.remove(ctx, force, "functions", name)
}

func (c *Client) remove(ctx context.Context, force bool, path ...string) error {
	r := request{method: http.MethodDelete, path: path}
	if force {
		r.query = url.Values{"force": {"true"}}
	}
	_, err := c.finish(ctx, r, nil)
	return err
}

// Rollback makes what an older version of a function was the newest version again.
func (c *Client) Rollback(ctx context.Context, function string, version int) (f Function, err error) {
	_, err = c.call(ctx, http.MethodPost, []string{"functions", function, "rollback"}, &Rollback{Version: version}, &f)
	return f, err
}

// Reserve bounds the calls of a function that may run at once, over all its versions; nil takes the bound away.
func (c *Client) Reserve(ctx context.Context, function string, calls *int) (f Function, err error) {
	_, err = c.call(ctx, http.MethodPut, []string{"functions", function, "concurrency"}, &Reservation{Reserved: calls}, &f)
	return f, err
}

// Code is what a version was uploaded as.
type Code struct {
	Bytes    []byte
	Digest   string // sha256:…
	Language string // "javascript" or "typescript"; "" is a WebAssembly module
}

// Code is what a version was uploaded as; version 0 is the newest.
func (c *Client) Code(ctx context.Context, function string, version int) (*Code, error) {
	r := request{method: http.MethodGet, path: []string{"functions", function, "code"}}
	if version != 0 {
		r.query = url.Values{"version": {strconv.Itoa(version)}}
	}
	resp, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	code := &Code{Digest: resp.Header.Get(headerDigest)}
	switch resp.Header.Get("Content-Type") {
	case typeScript:
		code.Language = string(runtime.JavaScript)
	case typeTyped:
		code.Language = string(runtime.TypeScript)
	}
	if code.Bytes, err = io.ReadAll(resp.Body); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return code, nil
}

// InvocationOptions of Invocations.
type InvocationOptions struct {
	Failed bool // only those that failed
	Follow bool // go on with calls as they end, until ctx ends
	Logs   bool // each with its log lines
}

// Invocations yields what became of a function's latest calls, oldest first. An error is the last element.
func (c *Client) Invocations(ctx context.Context, function string, o InvocationOptions) iter.Seq2[Invocation, error] {
	query := url.Values{}
	if o.Failed {
		query.Set("failed", "true")
	}
	if o.Follow {
		query.Set("follow", "true")
	}
	if o.Logs {
		query.Set("logs", "true")
	}
	return lines[Invocation](c, ctx, request{method: http.MethodGet, path: []string{"functions", function, "invocations"}, query: query})
}

// Invocation describes one of a function's latest calls, with its log lines.
func (c *Client) Invocation(ctx context.Context, function, id string) (i Invocation, err error) {
	_, err = c.call(ctx, http.MethodGet, []string{"functions", function, "invocations", id}, nil, &i)
	return i, err
}

// Costs tells what a function's calls have cost.
func (c *Client) Costs(ctx context.Context, function string) (out FunctionCosts, err error) {
	_, err = c.call(ctx, http.MethodGet, []string{"functions", function, "costs"}, nil, &out)
	return out, err
}

// Capsules lists the invocations of a mapping that are kept, or all with "", the newest first.
func (c *Client) Capsules(ctx context.Context, mapping string) ([]Capsule, error) {
	r := request{method: http.MethodGet, path: []string{"capsules"}}
	if mapping != "" {
		r.query = url.Values{"mapping": {mapping}}
	}
	var list CapsuleList
	_, err := c.finish(ctx, r, &list)
	return list.Capsules, err
}

// Capsule is a capsule's file.
func (c *Client) Capsule(ctx context.Context, id string) ([]byte, error) {
	resp, err := c.do(ctx, request{method: http.MethodGet, path: []string{"capsules", id}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	file, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return file, nil
}

// DeleteCapsule deletes a capsule.
func (c *Client) DeleteCapsule(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodDelete, []string{"capsules", id}, nil, nil)
	return err
}
