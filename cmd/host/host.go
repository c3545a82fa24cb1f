package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/api/aws"
	"github.com/shardmill/shardmill/internal/broker"
	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/destination"
	"github.com/shardmill/shardmill/internal/secrets"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

const defaultDrain = 10 * time.Second

// hostConfig is what a host is started with.
type hostConfig struct {
	dataDir     string
	listen      string        // HOST:PORT of the API; port 0 takes a free one
	listenElse  string        // where to listen when listen is taken; "" is nowhere
	adminListen string        // HOST:PORT of the admin listener
	drain       time.Duration // what work under way gets to end in when the host stops; 0 = it is cut off at once
	retryBase   time.Duration // first and longest wait before a batch is tried again; 0 = the triggers' own
	retryMax    time.Duration
	logger      *slog.Logger

	allowHosts      []string // names besides localhost that requests to a loopback listener may be for
	trustKeys       string   // PEM file; functions must be signed with one of its keys when it is given
	functionHosts   []string // HTTP hosts with private addresses that functions may call
	stateTotal      api.Size // how much all state tables, and one of them, may hold; 0 = the defaults
	stateTable      api.Size
	idleMemory      api.Size // of all functions' idle instances; 0 = the default
	idleTimeout     time.Duration
	secretsKey      string // file with the key of the secrets; "" is one in the data directory, made when it is needed
	tlsCert, tlsKey string // PEM files; the API is served over TLS when they are given

	aws awsConfig // the AWS surface

	doors doorConfig // beside the API

	failures failureConfig // on-failure destinations

	acceptDamage bool // open a catalog of which both copies are damaged with what is left of it
}

// host is one running host: the packages wired together, and its two listeners.
//
// They are started from the back (data directory, broker, catalog, shards, runtime, triggers, API, doors) and stopped from
// the front, so that what stops can still use all that it stands on.
type host struct {
	dir    *dataDir
	config hostConfig
	ready  atomic.Pointer[error] // why the host cannot serve; nil when it can
	failed chan error            // a listener that has failed
	stops  []func(ctx context.Context) error
	wait   sync.WaitGroup

	apiListener, adminListener net.Listener
	mqttListener               net.Listener // nil without the door
	certificate                *certificate // of the API's listener; nil without TLS

	catalog   *catalog.Catalog
	settings  *catalog.Table // of the AWS surface
	streams   *shards.Store
	secrets   *secrets.Store
	state     *state.Store
	functions *runtime.Runtime
	mappings  *triggers.Triggers
	capsules  *capsule.Store

	destinations *destination.Destinations
}

var (
	errStarting = errors.New("the host is starting")
	errStopping = errors.New("the host is stopping")
)

// startHost starts a host and returns when it serves. An error leaves nothing running.
func startHost(ctx context.Context, config hostConfig) (*host, error) {
	h := &host{config: config, failed: make(chan error, 2)}
	h.ready.Store(&errStarting)
	if err := h.start(ctx); err != nil {
		return nil, errors.Join(err, h.close())
	}
	h.ready.Store(nil)
	return h, nil
}

// start opens one part after the other; each leaves in h.stops how it is closed.
func (h *host) start(ctx context.Context) error {
	h.onStop(func(context.Context) error { // the last of all, for another host may have the directory then
		if h.dir == nil {
			return nil
		}
		return h.dir.Close()
	})
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := h.bind(metrics); err != nil {
		return err
	}
	var err error
	if h.dir, err = openDataDir(h.config.dataDir); err != nil {
		return err
	}
	if err := h.open(ctx, metrics); err != nil {
		return err
	}
	if err := h.serveAPI(ctx, metrics); err != nil {
		return err
	}
	return h.openDoors(ctx, metrics)
}

// bind takes the ports before anything is opened or made, so that a host whose port is taken fails at once and leaves nothing. All but the
// admin listener's are served last.
func (h *host) bind(metrics *prometheus.Registry) error {
	err := h.listenAdmin(metrics)
	if err != nil {
		return err
	}
	if h.certificate, err = openCertificate(h.config.tlsCert, h.config.tlsKey, h.config.logger.With("part", "tls")); err != nil {
		return err
	}
	h.apiListener, err = listen("listen", h.config.listen)
	if errors.Is(err, syscall.EADDRINUSE) && h.config.listenElse != "" {
		h.apiListener, err = listen("listen", h.config.listenElse)
	}
	if err != nil {
		return err
	}
	h.onStop(func(context.Context) error { return closeListener(h.apiListener) })
	return h.bindDoors()
}

// open opens the engines.
func (h *host) open(ctx context.Context, metrics prometheus.Registerer) error {
	log := h.config.logger
	nats, err := broker.Open(ctx, broker.Options{Dir: h.dir.nats(), Logger: log.With("part", "nats")})
	if err != nil {
		return err
	}
	h.onStop(func(context.Context) error { return nats.Close() })

	h.catalog, err = catalog.Open(ctx, catalog.Options{
		JetStream: nats.JetStream(), Dir: h.dir.catalog(), Logger: log.With("part", "catalog"), Registerer: metrics,
		AcceptDamage: h.config.acceptDamage,
	})
	if errors.Is(err, catalog.ErrDamaged) {
		return fmt.Errorf("%w; put a copy of the data directory in its place, or start once with --accept-catalog-damage to go on with what is left", err)
	}
	if err != nil {
		return err
	}
	h.onStop(func(context.Context) error { return h.catalog.Close() })

	h.streams, err = shards.Open(ctx, shards.Options{
		Dir: h.dir.streams(), Catalog: h.catalog, Logger: log.With("part", "shards"), Registerer: metrics,
	})
	if err != nil {
		return err
	}
	h.onStop(func(context.Context) error { return h.streams.Close() })
	if err := h.openRuntime(ctx, metrics); err != nil {
		return err
	}
	return h.openTriggers(ctx, metrics)
}

func (h *host) openRuntime(ctx context.Context, metrics prometheus.Registerer) error {
	definitions, err := h.catalog.Table(ctx, "functions")
	if err != nil {
		return err
	}
	code, err := h.catalog.Blobs(ctx, "code")
	if err != nil {
		return err
	}
	h.daily("stored code of functions is damaged", code.Scrub)
	if h.capsules, err = capsule.Open(h.dir.capsules(), h.config.logger.With("part", "capsules")); err != nil {
		return err
	}
	h.onStop(func(context.Context) error { return h.capsules.Close() })
	past, err := h.catalog.History(ctx, "invocations", runtime.HistoryBytes)
	if err != nil {
		return err
	}
	if err := h.openSecrets(ctx); err != nil {
		return err
	}
	if err := h.openState(metrics); err != nil {
		return err
	}
	fetcher, err := h.openFetcher()
	if err != nil {
		return err
	}
	trust, err := readTrust(h.config.trustKeys)
	if err != nil {
		return err
	}
	if h.settings, err = h.catalog.Table(ctx, "aws"); err != nil {
		return err
	}
	published := aws.Published(h.settings)
	h.functions, err = runtime.Open(ctx, runtime.Options{
		CompileScript: compileScript, CompileModule: compileModule, FindLines: findLines(),
		History: past, Capsules: h.capsules, Trust: trust, Pinned: func(function string, version int) bool {
			return h.namedByMapping(function, version) || published(function, version)
		},
		IdleBytes: int64(h.config.idleMemory), IdleTimeout: h.config.idleTimeout,
		CacheDir: h.dir.cache(), Functions: definitions, Code: code, Emitter: emitter{h.streams}, OnceEmitter: emitter{h.streams},
		Doors:  runtime.Doors{Secrets: readSecrets{h.secrets}, State: h.state, HTTP: fetcher},
		Logger: h.config.logger.With("part", "runtime"), Registerer: metrics,
	})
	if err != nil {
		return err
	}
	h.onStop(h.functions.Close)
	return nil
}

// namedByMapping is whether a mapping names that version of a function, which must then be kept. While the host starts, when an upload that an
// earlier host left may be taken into service and the mappings are not known yet, it may be any; and while it stops.
func (h *host) namedByMapping(function string, version int) bool {
	if h.ready.Load() != nil {
		return true
	}
	return slices.ContainsFunc(h.mappings.List(), func(s triggers.Status) bool {
		named := func(f, qualifier string) bool {
			number, _, err := runtime.ParseQualifier(qualifier)
			return err == nil && number == version && f == function
		}
		return named(s.Mapping.Function, s.Mapping.Qualifier) || s.Shadow != nil && named(s.Shadow.Function, s.Shadow.Qualifier)
	})
}

func (h *host) openTriggers(ctx context.Context, metrics prometheus.Registerer) error {
	definitions, err := h.catalog.Table(ctx, "mappings")
	if err != nil {
		return err
	}
	if h.destinations, err = h.openDestinations(metrics); err != nil {
		return err
	}
	h.mappings, err = triggers.Open(ctx, triggers.Options{
		Streams: triggers.FromStore(h.streams), Functions: h.functions, Definitions: definitions, Markers: h.streams, Leftovers: h.streams,
		Events:       h.events,
		Failures:     failures{h.destinations, h.streams, h.settings, h.config.aws.region, h.config.aws.account},
		DrainTimeout: h.config.drain, RetryBase: h.config.retryBase, RetryMax: h.config.retryMax,
		Logger: h.config.logger.With("part", "triggers"), Registerer: metrics,
	})
	if err != nil {
		return err
	}
	h.sweepFailures(h.destinations)
	return nil // they are stopped with the API's server, see drain
}

// scrubInterval is how often stored code and state are read and checked; journals have a scrub of their own.
const scrubInterval = 24 * time.Hour

// daily has everything of one sort read now and then, so that damage is found early: a damaged copy of code can be healed while the other is good.
func (h *host) daily(problem string, scrub func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var scrubbing sync.WaitGroup
	scrubbing.Go(func() {
		tick := time.NewTicker(scrubInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := scrub(ctx); err != nil && ctx.Err() == nil {
				h.config.logger.Error(problem, "error", err)
			}
		}
	})
	h.onStop(func(context.Context) error { cancel(); scrubbing.Wait(); return nil })
}

// onStop adds to what close does; the last one added is the first to be done.
func (h *host) onStop(f func(ctx context.Context) error) { h.stops = append(h.stops, f) }

// addr is the API's address, HOST:PORT.
func (h *host) addr() string { return h.apiListener.Addr().String() }

// url is where the API is reached.
func (h *host) url() string {
	if h.certificate != nil {
		return "https://" + h.addr()
	}
	return "http://" + h.addr()
}

// adminAddr is the admin listener's address.
func (h *host) adminAddr() string { return h.adminListener.Addr().String() }

// notReady says why the host cannot serve, nil when it can.
func (h *host) notReady() error {
	if reason := h.ready.Load(); reason != nil {
		return *reason
	}
	if err := h.catalog.Err(); err != nil {
		return fmt.Errorf("definitions cannot be stored: %w", err)
	}
	if err := h.state.Err(); err != nil {
		return fmt.Errorf("what functions keep cannot be stored: %w", err)
	}
	return h.dir.disk.check(h.dir.cache(), lowSpace) // the cache, because a probe that a crash leaves there is no matter
}

// listenAdmin serves the admin listener from the start, so that a probe sees a host that lives and is not ready yet.
func (h *host) listenAdmin(metrics *prometheus.Registry) error {
	var err error
	if h.adminListener, err = listen("admin-listen", h.config.adminListen); err != nil {
		return err
	}
	handler := api.NewAdmin(api.AdminOptions{
		Checks: []api.Check{{Name: "host", Ready: h.notReady}}, Gatherer: metrics,
	})
	server := api.NewAdminServer(h.guarded(handler, h.adminListener), h.config.logger.With("part", "admin"))
	h.serve(server, h.adminListener)
	h.onStop(func(context.Context) error { return server.Close() })
	return nil
}

func (h *host) serveAPI(ctx context.Context, metrics prometheus.Registerer) error {
	log := h.config.logger.With("part", "api")
	handler := api.New(api.Options{
		Streams: h.streams, Functions: h.functions, Mappings: mappings{h.mappings, h.state}, Secrets: h.secrets, State: h.state, Capsules: h.capsules,
		Logger: log, Registerer: metrics, Version: buildVersion().Version,
	})
	amazon, err := h.openAWS(ctx, metrics)
	if err != nil {
		return err
	}
	server := api.NewServer(handler, log)
	h.onStop(func(context.Context) error { amazon.Close(); return nil })
	server.RegisterOnShutdown(amazon.Stop)
	under := newRequests(h.guarded(bySurface(server.Handler, amazon), h.apiListener))
	server.Handler = under
	l := h.apiListener
	if h.certificate != nil {
		l = h.certificate.listener(l)
	}
	h.serve(server, l)
	h.onStop(func(ctx context.Context) error { return h.drain(ctx, server, under) })
	return nil
}

// guarded is a handler that is shielded, on a loopback listener, from web pages that take this machine's address as theirs.
func (h *host) guarded(handler http.Handler, l net.Listener) http.Handler {
	if addr, ok := l.Addr().(*net.TCPAddr); ok && addr.IP.IsLoopback() {
		return api.GuardHosts(handler, h.config.allowHosts)
	}
	return handler
}

func (h *host) serve(server *http.Server, l net.Listener) {
	h.wait.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			h.failed <- err
		}
	})
}

func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return l, nil
}

// closeListener closes a listener that a server may have closed before.
func closeListener(l net.Listener) error {
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
