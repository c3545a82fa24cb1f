package api

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
)

// SetSecret sets a secret's value; created is true when it is new.
func (c *Client) SetSecret(ctx context.Context, name string, value []byte) (s Secret, created bool, err error) {
	status, err := c.finish(ctx, request{
		method: http.MethodPut, path: []string{"secrets", name}, body: bytes.NewReader(value), kind: typeBytes, accept: typeJSON,
	}, &s)
	return s, status == http.StatusCreated, err
}

// Secrets lists all secrets. Their values cannot be read.
func (c *Client) Secrets(ctx context.Context) ([]Secret, error) {
	var list SecretList
	_, err := c.call(ctx, http.MethodGet, []string{"secrets"}, nil, &list)
	return list.Secrets, err
}

// DeleteSecret deletes a secret.
func (c *Client) DeleteSecret(ctx context.Context, name string) error {
	_, err := c.call(ctx, http.MethodDelete, []string{"secrets", name}, nil, nil)
	return err
}

// StateTables lists the state tables that functions keep.
func (c *Client) StateTables(ctx context.Context) ([]StateTable, error) {
	var list StateTableList
	_, err := c.call(ctx, http.MethodGet, []string{"state"}, nil, &list)
	return list.Tables, err
}

// DeleteState deletes what a state table holds: the shared one, or, with a function's name, that function's own ones.
func (c *Client) DeleteState(ctx context.Context, name, function string) error {
	r := request{method: http.MethodDelete, path: []string{"state", name}}
	if function != "" {
		r.query = url.Values{"function": {function}}
	}
	_, err := c.finish(ctx, r, nil)
	return err
}
