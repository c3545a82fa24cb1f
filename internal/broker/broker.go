package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	maxPayload = 4 << 20
	maxMemory  = 64 << 20
	// maxStore only has to be larger than any disk: with a limit of 0 the server
	// takes three quarters of what is free when it starts, and refuses to start
	// on a full disk.
	maxStore = 1 << 60

	readyTimeout = 30 * time.Second
)

// ErrStart is wrapped by the errors of Open that come from the server itself.
var ErrStart = errors.New("the embedded NATS server did not start")

// Options say where the broker keeps its files and where it logs.
type Options struct {
	// Dir is where JetStream keeps its files. It is made when it does not exist.
	// Required.
	Dir string
	// Logger gets the server's log lines. Nil means slog.Default().
	Logger *slog.Logger
}

// Broker is a running NATS server and one connection to it. Its methods may be
// called from several goroutines.
type Broker struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	close  sync.Once
}

// Open starts the server on o.Dir and waits until JetStream has recovered its streams.
// Recovery cannot be interrupted: ctx is looked at before and after it.
func Open(ctx context.Context, o Options) (*Broker, error) {
	if o.Dir == "" {
		return nil, errors.New("broker: open: Options.Dir is empty")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("broker: open %s: %w", o.Dir, err)
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("broker: open: %w", err)
	}
	if err := dropIndexes(o.Dir); err != nil {
		return nil, fmt.Errorf("broker: open: %w", err)
	}
	srv, err := startServer(o)
	if err != nil {
		return nil, fmt.Errorf("broker: open %s: %w", o.Dir, err)
	}
	b := &Broker{server: srv}
	if err := b.connect(ctx, o.Logger); err != nil {
		b.stop()
		return nil, fmt.Errorf("broker: open %s: %w", o.Dir, err)
	}
	return b, nil
}

func startServer(o Options) (*server.Server, error) {
	log := &serverLog{log: o.Logger}
	srv, err := server.NewServer(&server.Options{
		ServerName:             "shardmill",
		DontListen:             true,
		NoSigs:                 true,
		NoLog:                  true,
		JetStream:              true,
		StoreDir:               o.Dir,
		SyncAlways:             true,
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      maxStore,
		MaxPayload:             maxPayload,
		DisableJetStreamBanner: true,
		MaxClosedClients:       16, // the server keeps what it knew of closed clients; ours is one
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start() // with DontListen it returns when everything is up
	if log.lastFatal() != "" || !srv.ReadyForConnections(readyTimeout) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("%w: %s", ErrStart, log.lastFatal())
	}
	return srv, nil
}

// dial connects. On a machine that is so busy that a greeting takes seconds, the server's first PING comes in the midst
// of it, and the client takes it for a wrong answer: then it is done again.
func dial(options ...nats.Option) (conn *nats.Conn, err error) {
	for begun := time.Now(); ; {
		conn, err = nats.Connect("", options...)
		if err == nil || !strings.Contains(err.Error(), "got 'PING'") || time.Since(begun) >= readyTimeout {
			return conn, err
		}
	}
}

func (b *Broker) connect(ctx context.Context, log *slog.Logger) error {
	conn, err := dial(
		nats.InProcessServer(b.server),
		nats.Name("shardmill"),
		nats.NoReconnect(),
		nats.Timeout(readyTimeout),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("NATS connection", "subject", subject, "error", err)
		}),
	)
	if err != nil {
		return fmt.Errorf("%w: connect: %w", ErrStart, err)
	}
	b.conn = conn
	if b.js, err = jetstream.New(conn); err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	if _, err := b.js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("%w: JetStream does not answer: %w", ErrStart, err)
	}
	return nil
}

// Conn returns the broker's in-process connection. It belongs to the broker: callers
// subscribe and publish on it and never close it.
func (b *Broker) Conn() *nats.Conn { return b.conn }

// JetStream returns the JetStream context on Conn.
func (b *Broker) JetStream() jetstream.JetStream { return b.js }

// Close closes the connection, stops the server and waits until it has shut down. It
// may be called more than once; it returns nil.
func (b *Broker) Close() error {
	b.close.Do(b.stop)
	return nil
}

func (b *Broker) stop() {
	if b.conn != nil {
		b.conn.Close()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
}
