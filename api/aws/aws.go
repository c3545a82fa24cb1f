package aws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/flood"
	"github.com/shardmill/shardmill/shards"
)

// Streams is the log behind the operations; *shards.Store is one. Its methods may be called at the same time, and a change
// that has returned is durable.
type Streams interface {
	Create(ctx context.Context, c shards.Config) (d shards.Description, created bool, err error)
	Delete(ctx context.Context, name string) error
	List() []shards.Description
	Describe(ctx context.Context, name string) (shards.Description, error)
	Stream(name string) (*shards.Stream, error)
	Update(ctx context.Context, name string, c shards.Change) (shards.Description, error)
	Consumers
	Resharding
}

// Consumers are the registered consumers of the streams.
type Consumers interface {
	RegisterConsumer(ctx context.Context, stream, consumer string, tags map[string]string) (shards.Consumer, error)
	DeregisterConsumer(ctx context.Context, stream, consumer string) error
	UpdateConsumer(ctx context.Context, stream, consumer string, setTags map[string]string, removeTags []string) (shards.Consumer, error)
}

// Settings keeps what belongs to the account, or what Lambda has of a function, and not to a stream; *catalog.Table is one. A write that has returned is durable.
// Its errors are the catalog's.
type Settings interface {
	Get(key string) (catalog.Entry, error)
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string, revision uint64) error // revision 0: whichever there is
}

// Where the streams are said to be unless Options say otherwise.
const (
	DefaultRegion  = "us-east-1"
	DefaultAccount = "000000000000"
)

// Options of New. Streams and Settings are needed.
type Options struct {
	Streams   Streams
	Settings  Settings
	Functions Functions // with Mappings: serves Lambda's API too; nil: it does not
	Mappings  Mappings  // with Functions

	Destinations Destinations // of documents of asynchronous invocations, besides functions; nil: there are none

	Region     string                // part of every ARN; "": DefaultRegion
	Account    string                // 12 digits, part of every ARN; "": DefaultAccount
	Limits     shards.Limits         // of provisioned streams that are created here; shards.Unlimited is what the hardware can
	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: no metrics
}

// Handler serves the AWS surface. It is made by New.
type Handler struct {
	streams  Streams
	settings Settings
	region   string
	account  string
	limits   shards.Limits
	logger   *slog.Logger
	failures flood.Gate // of what is the host's fault, in the log
	metrics  *metrics
	table    map[string]operation
	lambda   *lambda // nil: Lambda's API is not served
	reads    *readLimits

	largePages    chan struct{}       // holds a token per page that may be large
	incoming      *semaphore.Weighted // bytes of bodies on their way in, see arrival
	subscriptions *subscriptions

	stop func()
	// untilStop gives a context that ends with its parent or by Stop.
	untilStop func(context.Context) (context.Context, context.CancelFunc)
}

var (
	regionForm  = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`)
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
)

// CheckPlace says whether a region and an account can be part of ARNs: a region is words of a-z and 0-9 with "-" between them, at most
// 64 characters, an account 12 digits.
func CheckPlace(region, account string) error {
	if len(region) > 64 || !regionForm.MatchString(region) {
		return fmt.Errorf("region is %q; it must look like %s", region, DefaultRegion)
	}
	if !accountForm.MatchString(account) {
		return fmt.Errorf("account is %q; it must have 12 digits", account)
	}
	return nil
}

// New makes the handler. Errors: a region or an account that cannot be part of an ARN. It panics when metrics of the same
// names are registered already.
func New(o Options) (*Handler, error) {
	if o.Region == "" {
		o.Region = DefaultRegion
	}
	if o.Account == "" {
		o.Account = DefaultAccount
	}
	if err := CheckPlace(o.Region, o.Account); err != nil {
		return nil, fmt.Errorf("aws: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Handler{
		streams: o.Streams, settings: o.Settings, region: o.Region, account: o.Account, limits: o.Limits,
		logger: o.Logger, metrics: newMetrics(o.Registerer), table: make(map[string]operation), reads: newReadLimits(), subscriptions: newSubscriptions(),
		largePages: make(chan struct{}, maxLargePages), incoming: semaphore.NewWeighted(maxIncoming),
	}
	for _, op := range operations() {
		h.table[op.name] = op
	}
	if o.Functions != nil && o.Mappings != nil {
		h.lambda = newLambda(o, h.functionARN)
	}
	stopping, stop := context.WithCancel(context.Background())
	h.stop = sync.OnceFunc(stop)
	h.untilStop = func(parent context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(parent)
		unhook := context.AfterFunc(stopping, func() { cancel(errStopping) })
		return ctx, func() { unhook(); cancel(nil) }
	}
	return h, nil
}

// errStopping ends the subscriptions when the host stops.
var errStopping = errors.New("the host is stopping")

// Stop ends the subscriptions; other requests are still served. It does not wait for them: http.Server.Shutdown does.
func (h *Handler) Stop() { h.stop() }

// Close ends what the handler does by itself, the asynchronous invocations of functions, and waits for it. It is called when no request comes
// any more.
func (h *Handler) Close() {
	h.Stop()
	if h.lambda != nil {
		h.lambda.events.stop()
	}
}

// ServeHTTP serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	c := &call{Handler: h, w: w, r: r, control: http.NewResponseController(w), isLambda: IsLambda(r.URL.Path)}
	c.identify()
	defer func() {
		v := recover()
		if v == nil {
			h.metrics.observe(c.operation.name, c.code, time.Since(begin))
			return
		}
		h.metrics.observe(c.operation.name, codeInternal, time.Since(begin))
		if v != http.ErrAbortHandler {
			h.logger.Error("request panicked", "operation", c.operation.name, "request", c.id, "panic", v, "stack", string(debug.Stack()))
		}
		panic(http.ErrAbortHandler)
	}()
	if !c.admit() {
		return
	}
	if err := c.run(); err != nil {
		c.fail(err)
	}
}

// run finds the operation and does it.
func (c *call) run() error {
	if err := c.resolve(); err != nil {
		return err
	}
	c.caller = authenticate(c.r)
	if c.operation.limit > maxPutBody {
		done, err := c.lambda.admitUpload(c.r.Context())
		if err != nil {
			return err
		}
		defer done()
	}
	body, err := c.readBody()
	if err != nil {
		return err
	}
	defer body.release()
	return c.operation.serve(c, body.b)
}

// fail answers an error.
func (c *call) fail(err error) {
	f := c.faultOf(err)
	c.code = f.code
	log := c.logger.With("operation", c.operation.name, "request", c.id, "access_key", c.caller.accessKey, "code", f.code, "error", err)
	switch {
	case c.r.Context().Err() != nil:
		log.Debug("client went away")
	case f.status >= http.StatusInternalServerError:
		// A full disk fails every put: the log has the first, and then one a minute.
		if unlogged, ok := c.failures.Admit(time.Now()); ok {
			log.Error("request failed", "unlogged", unlogged)
		}
	default:
		log.Debug("request refused")
	}
	if c.begun {
		// The answer has begun: cutting it off is the only way left to tell.
		panic(http.ErrAbortHandler)
	}
	c.writeFault(f)
}
