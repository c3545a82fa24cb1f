package destination

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/internal/egress"
	"github.com/shardmill/shardmill/internal/field"
)

// Field is how refusals of Check call the URI: as the API does.
const Field = "onFailure"

const (
	defaultTimeout = 30 * time.Second
	checkTimeout   = 10 * time.Second
	contentType    = "application/json"
)

// Options are what destinations may be. The zero value allows public HTTP addresses and nothing else.
type Options struct {
	Streams Streams       // nil: no streams
	S3      S3            // where buckets are; without credentials there are none
	Hosts   []egress.Host // HTTP hosts that may have private addresses
	Folders []string      // absolute paths; files must be below one of them

	Timeout    time.Duration         // of one delivery over the network; 0 = 30 s
	Registerer prometheus.Registerer // nil = none
}

// Streams are the streams of the host. It is safe for concurrent use. Its methods fail with ErrMisconfigured when there is no stream of that name,
// or when it can never take the record.
type Streams interface {
	// MaxRecord is the most bytes of data that a record of the stream may have. It does not block.
	MaxRecord(stream string) (int, error)
	// Put returns when the record is on disk. It does not keep data.
	Put(ctx context.Context, stream, key string, data []byte) error
}

// Document is one document to deliver. Deliver only reads it.
type Document struct {
	ID    string // the same at every try to deliver it; a UUID
	Key   string // its place below a prefix or folder, the same at every try; see triggers/event.ObjectKey
	Shard string // that its records are of, as it is written: shardId-000000000000; in a stream, the document's partition key
	Whole []byte // with the payload
	Brief []byte // without; for streams whose records cannot be as large as the whole
}

// Destinations delivers documents. Its methods are safe for concurrent use.
type Destinations struct {
	opts    Options
	s3      *store // nil without credentials
	http    *poster
	metrics *metrics
}

// New makes the destinations of a host. Errors are settings that cannot be.
func New(o Options) (*Destinations, error) {
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	for _, f := range o.Folders {
		if _, err := cleanFolder(f); err != nil {
			return nil, fmt.Errorf("destination: %w", err)
		}
	}
	d := &Destinations{opts: o, http: newPoster(o.Hosts)}
	if o.S3.AccessKey != "" {
		s, err := newStore(o.S3)
		if err != nil {
			return nil, fmt.Errorf("destination: %w", err)
		}
		d.s3 = s
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	d.metrics = m
	return d, nil
}

// Close lets go of idle connections. No delivery may be under way.
func (d *Destinations) Close() {
	d.http.close()
	if d.s3 != nil {
		d.s3.close()
	}
	d.metrics.unregister(d.opts.Registerer)
}

// Check refuses a URI to which nothing can be delivered as things are: a *field.Error of Field. It looks at what is there (the stream, the bucket, the
// folder, the host's addresses) and leaves nothing behind; it does not post. Other errors: the context's.
func (d *Destinations) Check(ctx context.Context, uri string) error {
	t, err := parse(uri)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, errCheckTimeout)
	defer cancel()
	if err := d.check(ctx, &t); err != nil {
		if refused := (*field.Error)(nil); errors.As(err, &refused) {
			return err
		}
		if err := ctx.Err(); err != nil && !errors.Is(context.Cause(ctx), errCheckTimeout) {
			return err
		}
		return refuse(uri, err.Error())
	}
	return nil
}

var errCheckTimeout = fmt.Errorf("no answer within %v", checkTimeout)

func (d *Destinations) check(ctx context.Context, t *target) error {
	switch t.scheme {
	case schemeStream:
		return d.checkStream(t)
	case schemeS3:
		b, err := d.bucket(t)
		if err != nil {
			return err
		}
		return b.Check(ctx)
	case schemeFile:
		f, err := d.folder(t)
		if err != nil {
			return err
		}
		return f.Check()
	}
	return d.http.check(ctx, t.url)
}

// Deliver tries once to store a document, and returns when it is stored. Errors: ErrMisconfigured, the context's, others that may pass.
func (d *Destinations) Deliver(ctx context.Context, uri string, doc Document) error {
	t, err := parse(uri)
	if err != nil {
		return fmt.Errorf("destination: %w", Misconfigured(err))
	}
	begin := time.Now()
	n, err := d.deliver(ctx, &t, &doc)
	d.metrics.delivered(t.scheme, n, time.Since(begin), err)
	if errors.Is(err, ErrMisconfigured) {
		return fmt.Errorf("destination: deliver to %s, which needs to be mended: %w", t.shown(), err)
	}
	if err != nil {
		return fmt.Errorf("destination: deliver to %s: %w", t.shown(), err)
	}
	return nil
}

// deliver stores a document and returns how many bytes of it.
func (d *Destinations) deliver(ctx context.Context, t *target, doc *Document) (int, error) {
	if err := doc.check(); err != nil {
		return 0, err
	}
	if t.scheme == schemeStream {
		return d.putRecord(ctx, t.name, doc)
	}
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	var err error
	body := bytes.NewReader(doc.Whole)
	switch t.scheme {
	case schemeS3:
		var b Bucket
		if b, err = d.bucket(t); err == nil {
			err = b.Put(ctx, doc.Key, contentType, body)
		}
	case schemeFile:
		var f Folder
		if f, err = d.folder(t); err == nil {
			err = f.Put(ctx, doc.Key, contentType, body)
		}
	default:
		err = d.http.post(ctx, t.url, doc.ID, doc.Whole)
	}
	return len(doc.Whole), err
}

var (
	idForm  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	keyForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}(/[A-Za-z0-9_.-]{1,128})*$`)
)

// maxKey leaves room for the prefix in a key of S3, which has 1,024 bytes.
const maxKey = 1024 - maxPrefix

// check refuses what would mean something in a path or a header.
func (doc *Document) check() error {
	if !idForm.MatchString(doc.ID) {
		return fmt.Errorf("a document's ID is %q: it needs letters, digits, - and _", doc.ID)
	}
	if len(doc.Key) > maxKey || !keyForm.MatchString(doc.Key) || unclean(doc.Key) {
		return fmt.Errorf("a document's key is %q: its parts need letters, digits, - . and _", doc.Key)
	}
	return nil
}
