package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/shardmill/shardmill/internal/state"
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

// StateOf names a state table: the shared one when Function is "", else one of a function's own.
type StateOf struct {
	Table    string
	Function string
	Mapping  string // of a function's own table: the mapping that it is for; "" is that of direct invocations
	Shard    int    // of a mapping's: the shard's number
}

func (t *StateOf) request(method string, key ...string) request {
	r := request{method: method, path: append([]string{"state", t.Table, "entries"}, key...), query: url.Values{}, accept: typeJSON}
	if t.Function != "" {
		r.query.Set("function", t.Function)
	}
	if t.Mapping != "" {
		r.query.Set("mapping", t.Mapping)
	}
	if t.Shard != 0 {
		r.query.Set("shard", strconv.Itoa(t.Shard))
	}
	return r
}

// What PutStateEntry and DeleteStateEntry can expect of an entry, besides its revision.
const (
	AnyRevision = state.Any    // it may be there or not
	NoEntry     = state.Absent // it must not be there
)

func expecting(r request, expected int64) request {
	if expected != AnyRevision {
		r.query.Set("expected", strconv.FormatInt(expected, 10))
	}
	return r
}

// StateEntries yields the entries of a state table whose keys begin with prefix, by the order of their bytes. An error is the last element.
func (c *Client) StateEntries(ctx context.Context, t StateOf, prefix string) iter.Seq2[StateEntry, error] {
	return func(yield func(StateEntry, error) bool) {
		for after, more := "", true; more; {
			r := t.request(http.MethodGet)
			r.query.Set("prefix", prefix)
			r.query.Set("after", after)
			var list StateEntryList
			if _, err := c.finish(ctx, r, &list); err != nil {
				yield(StateEntry{}, err)
				return
			}
			for _, e := range list.Entries {
				if after = e.Name(); !yield(e, nil) {
					return
				}
			}
			more = list.More
		}
	}
}

// StateEntry is the value of an entry and its revision.
func (c *Client) StateEntry(ctx context.Context, t StateOf, key string) (value []byte, revision int64, err error) {
	r := t.request(http.MethodGet, key)
	r.accept = ""
	resp, err := c.do(ctx, r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if value, err = io.ReadAll(resp.Body); err != nil {
		return nil, 0, fmt.Errorf("answer: %w", err)
	}
	revision, err = strconv.ParseInt(resp.Header.Get(headerRevision), 10, 64)
	return value, revision, err
}

// PutStateEntry puts an entry that is as expected: AnyRevision, NoEntry or its revision; else the error is a *Problem of KindConflict.
func (c *Client) PutStateEntry(ctx context.Context, t StateOf, key string, value []byte, expected int64) (s StoredEntry, err error) {
	r := expecting(t.request(http.MethodPut, key), expected)
	r.body, r.kind = bytes.NewReader(value), typeBytes
	_, err = c.finish(ctx, r, &s)
	return s, err
}

// DeleteStateEntry deletes an entry that is as expected, as of PutStateEntry.
func (c *Client) DeleteStateEntry(ctx context.Context, t StateOf, key string, expected int64) error {
	_, err := c.finish(ctx, expecting(t.request(http.MethodDelete, key), expected), nil)
	return err
}

// LoadState puts NDJSON into a state table while it is read. With a JSON pointer, each line is a value and has its key there; without, each
// line is a StateEntry. A load that ends early has stored its first entries, as many as the *Problem says.
func (c *Client) LoadState(ctx context.Context, t StateOf, key string, body io.Reader) (l LoadedEntries, err error) {
	r := t.request(http.MethodPost)
	if key != "" {
		r.query.Set("key", key)
	}
	r.body, r.kind, r.large = wideReader{body}, typeLines, true
	_, err = c.finish(ctx, r, &l)
	return l, err
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
