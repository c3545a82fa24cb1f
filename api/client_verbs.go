package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/shardmill/shardmill/runtime"
)

// CreateStream makes a stream; created is false when it was there with the same
// shape. The problem is of KindConflict when it has another shape.
func (c *Client) CreateStream(ctx context.Context, name string, config StreamConfig) (s Stream, created bool, err error) {
	status, err := c.call(ctx, http.MethodPut, []string{"streams", name}, &config, &s)
	return s, status == http.StatusCreated, err
}

// UpdateStream changes a stream's settings and returns it as it is then.
func (c *Client) UpdateStream(ctx context.Context, name string, change StreamChange) (s Stream, err error) {
	_, err = c.call(ctx, http.MethodPatch, []string{"streams", name}, &change, &s)
	return s, err
}

// SplitShard closes a shard and opens two in its place; at is the first hash key
// of the upper one, "" the middle. It returns the stream as it is then.
func (c *Client) SplitShard(ctx context.Context, name, shard, at string) (s Stream, err error) {
	_, err = c.call(ctx, http.MethodPost, []string{"streams", name, "split"}, &SplitShard{Shard: shard, At: at}, &s)
	return s, err
}

// MergeShards closes two shards whose hash keys are side by side and opens one in
// their place. It returns the stream as it is then.
func (c *Client) MergeShards(ctx context.Context, name, shard, adjacent string) (s Stream, err error) {
	_, err = c.call(ctx, http.MethodPost, []string{"streams", name, "merge"}, &MergeShards{Shard: shard, Adjacent: adjacent}, &s)
	return s, err
}

// ResizeStream gives a stream another number of open shards, of equal ranges, and
// returns it as it is then.
func (c *Client) ResizeStream(ctx context.Context, name string, shards int) (s Stream, err error) {
	_, err = c.call(ctx, http.MethodPost, []string{"streams", name, "resize"}, &ResizeStream{Shards: shards}, &s)
	return s, err
}

// Streams lists all streams, without their shards.
func (c *Client) Streams(ctx context.Context) ([]Stream, error) {
	var list StreamList
	_, err := c.call(ctx, http.MethodGet, []string{"streams"}, nil, &list)
	return list.Streams, err
}

// Stream describes a stream and its shards.
func (c *Client) Stream(ctx context.Context, name string) (s Stream, err error) {
	_, err = c.call(ctx, http.MethodGet, []string{"streams", name}, nil, &s)
	return s, err
}

// DeleteStream deletes a stream and its records.
func (c *Client) DeleteStream(ctx context.Context, name string) error {
	_, err := c.call(ctx, http.MethodDelete, []string{"streams", name}, nil, nil)
	return err
}

// Put puts records, at most 10,000, and returns when they are on disk. Records
// that were refused are told in the answer's results; when each was, the error is
// a *Problem with the answer as its Put.
func (c *Client) Put(ctx context.Context, stream string, records []PutRecord) (a PutAnswer, err error) {
	_, err = c.call(ctx, http.MethodPost, []string{"streams", stream, "records"}, &PutRecords{Records: records}, &a)
	return a, err
}

// PutBatch puts the records of one encoded record batch (sdk/record). With
// results the answer has one result per record.
func (c *Client) PutBatch(ctx context.Context, stream string, batch []byte, results bool) (a PutAnswer, err error) {
	r := request{method: http.MethodPost, path: []string{"streams", stream, "records"}, body: bytes.NewReader(batch), kind: typeBatch}
	if results {
		r.query = url.Values{"results": {"true"}}
	}
	_, err = c.finish(ctx, r, &a)
	return a, err
}

// LineOptions of PutLines.
type LineOptions struct {
	Key      string            // JSON pointer to each line's partition key; "" gives each line a random one
	Results  bool              // answer a result per record
	Progress func(bytes int64) // called with the bytes sent so far, from one goroutine; may be nil
}

// PutLines puts NDJSON, one record a line, while it is read from body, however
// long it is. A put that ends early is a *Problem whose Put says what was put and
// from which line on to send again.
func (c *Client) PutLines(ctx context.Context, stream string, body io.Reader, o LineOptions) (a PutAnswer, err error) {
	query := url.Values{}
	if o.Key != "" {
		query.Set("key", o.Key)
	}
	if o.Results {
		query.Set("results", "true")
	}
	if o.Progress != nil {
		body = &progressReader{r: body, tell: o.Progress}
	}
	_, err = c.finish(ctx, request{
		method: http.MethodPost, path: []string{"streams", stream, "records"}, query: query,
		body: wideReader{body}, kind: typeLines, large: true,
	}, &a)
	return a, err
}

// progressReader tells how far a body has been read.
type progressReader struct {
	r    io.Reader
	sent int64
	tell func(int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.sent += int64(n)
	p.tell(p.sent)
	return n, err
}

// wideReader sends a body in chunks of 256 KiB where net/http would take 32.
type wideReader struct{ io.Reader }

// WriteTo copies the body with a large buffer.
func (w wideReader) WriteTo(to io.Writer) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{w.Reader}, make([]byte, lineBuffer))
}

// ReadOptions of Records.
type ReadOptions struct {
	Shard  string // "" is all shards
	From   string // "oldest", "newest", a sequence number or an RFC 3339 time; "" is oldest
	Limit  int    // the most records; 0 is without limit
	Follow bool   // go on with records as they arrive, until ctx ends

	// Deaggregate yields the user records of KPL-aggregated records in place of these.
	Deaggregate bool
}

// Records yields the records of a stream as they arrive. An element with an
// error and a Shard is about that shard alone, the others go on; one without is
// the last.
func (c *Client) Records(ctx context.Context, stream string, o ReadOptions) iter.Seq2[Record, error] {
	query := url.Values{}
	if o.Shard != "" {
		query.Set("shard", o.Shard)
	}
	if o.From != "" {
		query.Set("from", o.From)
	}
	if o.Limit != 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.Follow {
		query.Set("follow", "true")
	}
	if o.Deaggregate {
		query.Set("deaggregate", "true")
	}
	all := lines[Record](c, ctx, request{method: http.MethodGet, path: []string{"streams", stream, "records"}, query: query})
	return func(yield func(Record, error) bool) {
		for r, err := range all {
			if r.Problem != nil {
				err = r.Problem
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Damage lists a stream's damaged records.
func (c *Client) Damage(ctx context.Context, stream string) ([]Damage, error) {
	var list DamageList
	_, err := c.call(ctx, http.MethodGet, []string{"streams", stream, "damage"}, nil, &list)
	return list.Damage, err
}

// AcceptDamage gives a shard's damaged records up and says which they were.
func (c *Client) AcceptDamage(ctx context.Context, stream, shard string) ([]Damage, error) {
	var lost LostRecords
	_, err := c.call(ctx, http.MethodPost, []string{"streams", stream, "damage", "accept"}, &AcceptDamage{Shard: shard}, &lost)
	return lost.Lost, err
}

// Deploy deploys a module as a function's next version; created is false when
// its newest version is the same already.
func (c *Client) Deploy(ctx context.Context, name string, module io.Reader, config FunctionConfig) (f Function, created bool, err error) {
	return c.DeployProven(ctx, name, module, config, Proof{})
}

// Proof is what an upload says of its module.
type Proof struct {
	Digest    string // "sha256:<hex>" that it must have; "" asks nothing
	Signature []byte // ed25519, over the text of its digest; nil is none

	// Language is javascript or typescript where the code is a source that stands alone; "" is a module.
	Language string
}

// DeployProven is Deploy of a module that has to be what the proof says.
func (c *Client) DeployProven(ctx context.Context, name string, module io.Reader, config FunctionConfig, proof Proof) (f Function, created bool, err error) {
	f, status, err := c.upload(ctx, name, module, config, proof, true)
	return f, status == http.StatusCreated, err
}

// Submit is DeployProven that does not wait for the module to be compiled: it is the function's Update until it serves, or has failed.
func (c *Client) Submit(ctx context.Context, name string, module io.Reader, config FunctionConfig, proof Proof) (f Function, err error) {
	f, _, err = c.upload(ctx, name, module, config, proof, false)
	return f, err
}

func (c *Client) upload(ctx context.Context, name string, module io.Reader, config FunctionConfig, proof Proof, wait bool) (f Function, status int, err error) {
	query := url.Values{"wait": {strconv.FormatBool(wait)}, "emit": config.Emit, "secrets": config.Secrets, "state": config.State, "http": config.HTTP, "env": config.Env.Pairs()}
	if config.Timeout != 0 {
		query.Set("timeout", config.Timeout.String())
	}
	if config.Memory != 0 {
		query.Set("memory", strconv.FormatInt(int64(config.Memory), 10))
	}
	if config.IdleMemory != 0 {
		query.Set("idleMemory", strconv.FormatInt(int64(config.IdleMemory), 10))
	}
	if config.Fuel != 0 {
		query.Set("fuel", strconv.Itoa(config.Fuel))
	}
	if config.Isolation != "" {
		query.Set("isolation", config.Isolation)
	}
	if config.Concurrency != 0 {
		query.Set("concurrency", strconv.Itoa(config.Concurrency))
	}
	if proof.Digest != "" {
		query.Set("digest", proof.Digest)
	}
	if proof.Signature != nil {
		query.Set("signature", base64.StdEncoding.EncodeToString(proof.Signature))
	}
	status, err = c.finish(ctx, request{
		method: http.MethodPut, path: []string{"functions", name}, query: query, body: module, kind: mediaTypeOf(runtime.Language(proof.Language)), large: true,
	}, &f)
	return f, status, err
}

// Functions lists all functions, without their older versions.
func (c *Client) Functions(ctx context.Context) ([]Function, error) {
	var list FunctionList
	_, err := c.call(ctx, http.MethodGet, []string{"functions"}, nil, &list)
	return list.Functions, err
}

// Function describes a function and its versions.
func (c *Client) Function(ctx context.Context, name string) (f Function, err error) {
	_, err = c.call(ctx, http.MethodGet, []string{"functions", name}, nil, &f)
	return f, err
}

// Answer is what a direct invocation returned.
type Answer struct {
	ID          string // its log lines carry it
	Version     int    // that ran
	ContentType string // of Body
	Body        []byte
}

// Invoke calls a function with a body. A failure of the function itself is a
// *Problem of KindFunctionFailed with Function set. qualifier is a version's number,
// an alias, or "" for the newest.
func (c *Client) Invoke(ctx context.Context, name, qualifier string, body []byte) (i Answer, err error) {
	r := request{method: http.MethodPost, path: []string{"functions", name, "invoke"}, query: qualified(qualifier), body: bytes.NewReader(body), kind: typeBytes}
	resp, err := c.do(ctx, r)
	if err != nil {
		return i, err
	}
	defer resp.Body.Close()
	if i.Body, err = io.ReadAll(resp.Body); err != nil {
		return i, fmt.Errorf("answer: %w", err)
	}
	i.ID = resp.Header.Get(headerInvocation)
	i.Version, _ = strconv.Atoi(resp.Header.Get(headerVersion))
	i.ContentType, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return i, nil
}

// Transform calls a function with records on their way to a destination, at most 10,000, and says what it makes of them. Errors and qualifier are
// those of Invoke.
func (c *Client) Transform(ctx context.Context, name, qualifier string, records []PutRecord) (t Transformed, err error) {
	b, err := json.Marshal(&PutRecords{Records: records})
	if err != nil {
		return t, fmt.Errorf("request body: %w", err)
	}
	_, err = c.finish(ctx, request{
		method: http.MethodPost, path: []string{"functions", name, "transform"}, query: qualified(qualifier), body: bytes.NewReader(b), kind: typeJSON, accept: typeJSON,
	}, &t)
	return t, err
}

// qualified is the query that names a version or an alias.
func qualified(qualifier string) url.Values {
	if _, notNumber := strconv.Atoi(qualifier); notNumber == nil {
		return url.Values{"version": {qualifier}}
	} else if qualifier != "" {
		return url.Values{"alias": {qualifier}}
	}
	return nil
}

// LogOptions of Logs.
type LogOptions struct {
	From   time.Time // leaves out older lines; the zero time is all that is kept
	Follow bool      // go on with lines as they are written, until ctx ends
}

// Logs yields what a function logged. An error is the last element.
func (c *Client) Logs(ctx context.Context, name string, o LogOptions) iter.Seq2[LogLine, error] {
	query := url.Values{}
	if !o.From.IsZero() {
		query.Set("from", o.From.Format(time.RFC3339Nano))
	}
	if o.Follow {
		query.Set("follow", "true")
	}
	return lines[LogLine](c, ctx, request{method: http.MethodGet, path: []string{"functions", name, "logs"}, query: query})
}

// PutMapping makes or changes an event source mapping; created is true when it
// is new.
func (c *Client) PutMapping(ctx context.Context, name string, config MappingConfig) (m Mapping, created bool, err error) {
	status, err := c.call(ctx, http.MethodPut, []string{"mappings", name}, &config, &m)
	return m, status == http.StatusCreated, err
}

// UpdateMapping changes an event source mapping: change is given its settings. What somebody else has changed meanwhile is not lost: then change is called
// again, with what it is now. An error of change is returned, and nothing is changed.
func (c *Client) UpdateMapping(ctx context.Context, name string, change func(*MappingConfig) error) (Mapping, error) {
	for {
		m, err := c.Mapping(ctx, name)
		if err != nil {
			return Mapping{}, err
		}
		if err := change(&m.MappingConfig); err != nil {
			return Mapping{}, err
		}
		body, err := json.Marshal(&m.MappingConfig)
		if err != nil {
			return Mapping{}, fmt.Errorf("request body: %w", err)
		}
		var now Mapping
		_, err = c.finish(ctx, request{
			method: http.MethodPut, path: []string{"mappings", name}, accept: typeJSON,
			body: bytes.NewReader(body), kind: typeJSON, match: strconv.Quote(m.Modified.Format(time.RFC3339Nano)),
		}, &now)
		if p := (*Problem)(nil); errors.As(err, &p) && p.Kind() == KindConflict {
			if later, again := c.Mapping(ctx, name); again == nil && !later.Modified.Equal(m.Modified) {
				continue
			}
		}
		return now, err
	}
}

// Mappings lists all event source mappings, without their shards.
func (c *Client) Mappings(ctx context.Context) ([]Mapping, error) {
	var list MappingList
	_, err := c.call(ctx, http.MethodGet, []string{"mappings"}, nil, &list)
	return list.Mappings, err
}

// Mapping describes an event source mapping and how far it is.
func (c *Client) Mapping(ctx context.Context, name string) (m Mapping, err error) {
	_, err = c.call(ctx, http.MethodGet, []string{"mappings", name}, nil, &m)
	return m, err
}

// SeekMapping moves an event source mapping to another position.
func (c *Client) SeekMapping(ctx context.Context, name string, to SeekMapping) (m Mapping, err error) {
	_, err = c.call(ctx, http.MethodPost, []string{"mappings", name, "seek"}, &to, &m)
	return m, err
}

// PutShadow tries another version beside the one that serves a mapping; created is true when that shadow is new.
func (c *Client) PutShadow(ctx context.Context, mapping string, config ShadowConfig) (s Shadow, created bool, err error) {
	status, err := c.call(ctx, http.MethodPut, []string{"mappings", mapping, "shadow"}, &config, &s)
	return s, status == http.StatusCreated, err
}

// Shadow shows what a mapping's shadow has found.
func (c *Client) Shadow(ctx context.Context, mapping string) (s Shadow, err error) {
	_, err = c.call(ctx, http.MethodGet, []string{"mappings", mapping, "shadow"}, nil, &s)
	return s, err
}

// DeleteShadow removes a mapping's shadow.
func (c *Client) DeleteShadow(ctx context.Context, mapping string) error {
	_, err := c.call(ctx, http.MethodDelete, []string{"mappings", mapping, "shadow"}, nil, nil)
	return err
}

// PromoteShadow has a mapping's shadow serve; id is that of the shadow that is meant, or "".
func (c *Client) PromoteShadow(ctx context.Context, mapping, id string) (m Mapping, err error) {
	_, err = c.call(ctx, http.MethodPost, []string{"mappings", mapping, "promote"}, &PromoteShadow{id}, &m)
	return m, err
}

// DeleteMapping deletes an event source mapping and its checkpoints.
func (c *Client) DeleteMapping(ctx context.Context, name string) error {
	_, err := c.call(ctx, http.MethodDelete, []string{"mappings", name}, nil, nil)
	return err
}
