package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/shardmill/shardmill/internal/flood"
	"github.com/shardmill/shardmill/internal/secrets"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

// Streams is the log behind the streams' routes; *shards.Store is one. Its
// methods may be called at the same time.
type Streams interface {
	Create(ctx context.Context, c shards.Config) (d shards.Description, created bool, err error)
	Update(ctx context.Context, name string, c shards.Change) (shards.Description, error)
	Delete(ctx context.Context, name string) error
	Split(ctx context.Context, name string, shard shards.ShardID, at shards.Hash) (shards.Description, error)
	Merge(ctx context.Context, name string, shard, adjacent shards.ShardID) (shards.Description, error)
	Resize(ctx context.Context, name string, shards int) (shards.Description, error)
	List() []shards.Description
	Describe(ctx context.Context, name string) (shards.Description, error)
	Stream(name string) (*shards.Stream, error)
}

// Functions are the functions behind their routes; *runtime.Runtime is one. Its
// methods may be called at the same time.
type Functions interface {
	DeployProven(ctx context.Context, name string, wasm []byte, c runtime.Config, proof runtime.Proof) (runtime.Function, error)
	Submit(ctx context.Context, name string, wasm []byte, c runtime.Config, proof runtime.Proof) (runtime.Function, error)
	Get(name string) (runtime.Function, error)
	List() []runtime.Function
	Delete(ctx context.Context, name string) error
	DeleteVersion(ctx context.Context, name string, version int) error
	Code(ctx context.Context, name string, version int) ([]byte, error)
	PutAlias(ctx context.Context, name string, a runtime.Alias) (stored runtime.Alias, created bool, err error)
	DeleteAlias(ctx context.Context, name, alias string) error
	Rollback(ctx context.Context, name string, version int) (runtime.Function, error)
	Reserve(ctx context.Context, name string, calls int) (runtime.Function, error)
	Invoke(ctx context.Context, call runtime.Call, reply *runtime.Reply) error
	Costs(name string) (runtime.Costs, error)
	FunctionLogs
	FunctionPast
}

// Mappings are the event source mappings behind their routes;
// *triggers.Triggers is one. Its methods may be called at the same time.
type Mappings interface {
	Put(ctx context.Context, m triggers.Mapping) (s triggers.Status, created bool, err error)
	Ensure(ctx context.Context, m triggers.Mapping) (s triggers.Status, created bool, err error)
	Update(ctx context.Context, name string, change func(was triggers.Status, m *triggers.Mapping) error) (triggers.Status, error)
	Seek(ctx context.Context, name string, to triggers.Target) (triggers.Status, error)
	Get(name string) (triggers.Status, error)
	List() []triggers.Status
	Delete(ctx context.Context, name string) error
	MappingShadows
}

// MappingShadows are versions that are tried beside those that serve mappings.
type MappingShadows interface {
	PutShadow(ctx context.Context, mapping string, s triggers.Shadow) (status triggers.ShadowStatus, created bool, err error)
	Shadow(mapping string) (triggers.ShadowStatus, error)
	DeleteShadow(ctx context.Context, mapping string) error
	Promote(ctx context.Context, mapping, id string) (triggers.Status, error)
}

// Secrets are the secrets behind their routes; *secrets.Store is one. Its methods
// may be called at the same time.
type Secrets interface {
	Set(ctx context.Context, name string, value []byte) (s secrets.Secret, created bool, err error)
	List() []secrets.Secret
	Delete(ctx context.Context, name string) error
}

// State are the state tables behind their routes; *state.Store is one. Its methods
// may be called at the same time.
type State interface {
	Tables() []state.TableSize
	Begin() *state.Batch
	Drop(match func(state.Table) bool) (int, error)
}

// Options of New. All up to Capsules are needed.
type Options struct {
	Streams   Streams
	Functions Functions
	Mappings  Mappings
	Secrets   Secrets
	State     State
	Capsules  Capsules

	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: no metrics
	Version    string                // what GET /v1/version says; "" is "devel"
	Limits     Limits
}

// Limits bound what one request may take. A zero field means its default.
type Limits struct {
	Document  int64         // bytes of a JSON body that defines something; 0: 1 MiB
	Records   int64         // bytes of a JSON body or raw batch of records; 0: 64 MiB
	Module    int64         // bytes of a WebAssembly module; 0: 64 MiB, as much as the runtime takes
	Invoke    int64         // bytes of the body of a direct invocation; 0: 6 MiB
	BodyIdle  time.Duration // the longest pause in a body; 0: 30 s
	LinesIdle time.Duration // the longest pause in a body of NDJSON; 0: 5 min
	WriteIdle time.Duration // the longest time a client may leave an answer unread; 0: 1 min
}

func (l Limits) withDefaults() Limits {
	if l.Document == 0 {
		l.Document = 1 << 20
	}
	if l.Records == 0 {
		l.Records = 64 << 20
	}
	if l.Module == 0 {
		l.Module = 64 << 20
	}
	if l.Invoke == 0 {
		l.Invoke = 6 << 20
	}
	if l.BodyIdle == 0 {
		l.BodyIdle = 30 * time.Second
	}
	if l.LinesIdle == 0 {
		l.LinesIdle = 5 * time.Minute
	}
	if l.WriteIdle == 0 {
		l.WriteIdle = time.Minute
	}
	return l
}

// Handler is the native surface. It is made by New.
type Handler struct {
	streams   Streams
	functions Functions
	mappings  Mappings
	secrets   Secrets
	state     State
	capsules  Capsules
	logger    *slog.Logger
	metrics   *metrics
	limits    Limits
	version   string
	document  func() []byte // the OpenAPI document, made when it is first asked for
	router    chi.Router
	origin    *http.CrossOriginProtection
	failures  map[Kind]*flood.Gate // of what is the host's fault, in the log
	incoming  *semaphore.Weighted  // bytes of bodies on their way in, see arrival

	stop func()
	// untilStop gives a context that ends with its parent or by Stop.
	untilStop func(context.Context) (context.Context, context.CancelFunc)
}

// New makes the handler of the native surface: everything under /v1. It panics
// when metrics of the same names are registered already.
func New(o Options) *Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Version == "" {
		o.Version = "devel"
	}
	stopping, stop := context.WithCancel(context.Background())
	h := &Handler{
		streams: o.Streams, functions: o.Functions, mappings: o.Mappings, secrets: o.Secrets, state: o.State, capsules: o.Capsules,
		logger: o.Logger, metrics: newMetrics(o.Registerer), limits: o.Limits.withDefaults(), version: o.Version,
		incoming: semaphore.NewWeighted(maxIncoming),
		router:   chi.NewRouter(), origin: http.NewCrossOriginProtection(),
		stop: sync.OnceFunc(stop), failures: make(map[Kind]*flood.Gate, len(kinds)),
	}
	for _, row := range kinds {
		h.failures[row.kind] = new(flood.Gate)
	}
	h.untilStop = func(parent context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(parent)
		unhook := context.AfterFunc(stopping, func() { cancel(errStopping) })
		return ctx, func() { unhook(); cancel(nil) }
	}
	table := routes()
	h.document = sync.OnceValue(func() []byte { return openAPI(table, o.Version) })
	for _, rt := range table {
		h.router.Method(rt.method, rt.path, h.serve(rt))
	}
	h.router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, problem(KindNoRoute, "There is nothing at %s; GET /v1/openapi.json describes every path.", quote(r.URL.Path)))
	})
	h.router.MethodNotAllowed(h.refuseMethod)
	return h
}

// errStopping ends the requests that would go on for ever when the host stops.
var errStopping = problem(KindStopping, "The host is stopping; go on when it is back.")

// Stop ends the requests that have no end of their own: reads and logs that
// follow, and puts of NDJSON, which answer what they have put. It does not wait
// for them; http.Server.Shutdown does. Requests after it are still served.
func (h *Handler) Stop() { h.stop() }

// ServeHTTP serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.origin.Check(r); err != nil {
		writeProblem(w, r, problem(KindCrossOrigin, "A browser sent this from the page of another origin (%v); call the host from a program or from its own page.", err))
		return
	}
	h.router.ServeHTTP(w, r)
}

// refuseMethod answers a path that exists with another method.
func (h *Handler) refuseMethod(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		if h.router.Match(chi.NewRouteContext(), method, r.URL.Path) {
			allowed = append(allowed, method)
		}
	}
	limit := strings.Join(allowed, ", ")
	w.Header().Set("Allow", limit)
	p := problem(KindMethod, "%s does not take %s; it takes %s.", quote(r.URL.Path), r.Method, limit)
	p.Field, p.Value, p.Limit = "method", cut(r.Method), limit
	writeProblem(w, r, p)
}

// serve makes the http.Handler of a route: it counts, answers errors as
// problems, and catches panics.
func (h *Handler) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		watched := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			if v := recover(); v != nil {
				h.metrics.observe(rt, http.StatusInternalServerError, time.Since(begin))
				if v != http.ErrAbortHandler {
					h.logger.Error("request panicked", "method", r.Method, "route", rt.path, "panic", v, "stack", string(debug.Stack()))
				}
				panic(http.ErrAbortHandler)
			}
			h.metrics.observe(rt, watched.Status(), time.Since(begin))
		}()
		h.answer(rt, &call{Handler: h, w: watched, r: r}, watched)
	})
}

// answer runs a route's handler and answers its error.
func (h *Handler) answer(rt route, c *call, w middleware.WrapResponseWriter) {
	err := rt.action.serve(c)
	if err == nil {
		return
	}
	p := c.notFound(problemOf(err))
	log := h.logger.With("method", rt.method, "route", rt.path, "path", c.r.URL.Path, "error", err)
	switch {
	case c.r.Context().Err() != nil:
		log.Debug("client went away")
	case p.Status >= 500 && p.Kind() != KindFunctionFailed && p.Kind() != KindStopping && p.Kind() != KindBusy:
		// A full disk fails every put: the log has the first, and then one a minute of each kind.
		if unlogged, ok := h.failures[p.Kind()].Admit(time.Now()); ok {
			log.Error("request failed", "unlogged", unlogged)
		}
	default:
		log.Debug("request refused", "status", p.Status)
	}
	if w.Status() != 0 {
		// The answer has begun: cutting it off is the only way left to tell.
		panic(http.ErrAbortHandler)
	}
	c.refuse(p)
}

// NewServer is an http.Server for a handler, with the guards that a listener
// open to others needs: headers within 10 s and 64 KiB, idle connections closed
// after two minutes. It has no limit on a whole request or answer, because
// puts of NDJSON and follows go on for as long as they like; the handlers guard
// each read and write instead. HTTP/1.1 and HTTP/2 are served, told apart by
// a connection's first bytes; for TLS, give Serve a listener that hides it.
// Shutdown stops the handler's follows at once. The logger gets what net/http
// has to say.
func NewServer(h *Handler, logger *slog.Logger) *http.Server {
	return newServer(h, h.Stop, logger)
}

// NewAdminServer is NewServer for the admin handler.
func NewAdminServer(h http.Handler, logger *slog.Logger) *http.Server {
	return newServer(h, func() {}, logger)
}

func newServer(h http.Handler, stop func(), logger *slog.Logger) *http.Server {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		Protocols:         protocols,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	s.RegisterOnShutdown(stop)
	return s
}

// wrapf puts an operation and a name in front of an error that has none.
func wrapf(err error, format string, args ...any) error {
	if err == nil || errors.As(err, new(*Problem)) {
		return err
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
