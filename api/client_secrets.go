package api

import (
	"bytes"
	"context"
	"net/http"
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
