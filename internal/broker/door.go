package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// InboxSubjects are all that clients of a door may subscribe to: where answers to their requests go.
const InboxSubjects = "_INBOX.>"

const (
	// doorPending is how many bytes may wait to be sent to one connection before the server closes it. The door's
	// own connection, which takes what all clients send, has the same limit.
	doorPending       = 128 << 20
	doorConnections   = 4096
	doorSubscriptions = 1024 // of one connection

	doorReconnect = 50 * time.Millisecond
)

// DoorOptions say where a door listens and what it lets in.
type DoorOptions struct {
	// Listen is HOST:PORT; port 0 takes a free one. Required.
	Listen string
	// Subjects are what clients may publish to, with NATS's wildcards. Required.
	Subjects []string
	// MaxPayload is the most bytes of a message, its headers included. 0 means 1 MiB.
	MaxPayload int
	// MaxConnections is how many clients may be connected at once. 0 means 4096.
	MaxConnections int
	// Logger gets the server's log lines. Nil means slog.Default().
	Logger *slog.Logger
}

// Door is a second NATS server, for clients outside of the process: it has no JetStream and shares nothing with a
// [Broker]. Its methods may be called from several goroutines.
type Door struct {
	server *server.Server
	conn   *nats.Conn
	close  sync.Once
}

// OpenDoor starts a door; clients can connect when it returns.
func OpenDoor(ctx context.Context, o DoorOptions) (*Door, error) {
	if len(o.Subjects) == 0 {
		return nil, errors.New("broker: open door: DoorOptions.Subjects is empty")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("broker: open door: %w", err)
	}
	settings, err := o.settings()
	if err != nil {
		return nil, fmt.Errorf("broker: open door %s: %w", o.Listen, err)
	}
	log := &doorLog{serverLog: serverLog{log: o.Logger}}
	srv, err := server.NewServer(settings)
	if err != nil {
		return nil, fmt.Errorf("broker: open door %s: %w: %w", o.Listen, ErrStart, err)
	}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start() // returns when it listens, or has said in the log why it cannot
	d := &Door{server: srv}
	if log.lastFatal() != "" || !srv.ReadyForConnections(readyTimeout) {
		d.stop()
		return nil, fmt.Errorf("broker: open door %s: %w: %s", o.Listen, ErrStart, log.lastFatal())
	}
	if err := d.connect(settings.Users[0], o.Logger); err != nil {
		d.stop()
		return nil, fmt.Errorf("broker: open door %s: %w: connect: %w", o.Listen, ErrStart, err)
	}
	return d, nil
}

// settings are the server's. The first user is the host's own; whoever does not say who he is, is the second.
func (o DoorOptions) settings() (*server.Options, error) {
	host, text, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q is none", text)
	}
	listen := int(port)
	if listen == 0 {
		listen = server.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if o.MaxPayload == 0 {
		o.MaxPayload = server.MAX_PAYLOAD_SIZE
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = doorConnections
	}
	account := server.NewAccount("doors")
	return &server.Options{
		ServerName:      "shardmill-door",
		Host:            host,
		Port:            listen,
		NoSigs:          true,
		NoLog:           true,
		NoSystemAccount: true,
		Accounts:        []*server.Account{account},
		Users: []*server.User{
			{Username: "host", Password: rand.Text(), Account: account},
			{Username: "guest", Password: rand.Text(), Account: account, Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: o.Subjects},
				Subscribe: &server.SubjectPermission{Allow: []string{InboxSubjects}},
			}},
		},
		NoAuthUser:       "guest",
		MaxPayload:       int32(o.MaxPayload),
		MaxPending:       doorPending,
		MaxConn:          o.MaxConnections + 1, // the host's own
		MaxSubs:          doorSubscriptions,
		MaxClosedClients: 16, // the server keeps what it knew of closed clients
	}, nil
}

// connect makes the host's connection. The server closes a connection that does not keep up; this one comes back.
func (d *Door) connect(user *server.User, log *slog.Logger) error {
	conn, err := dial(
		nats.InProcessServer(d.server),
		nats.UserInfo(user.Username, user.Password),
		nats.Name("shardmill"),
		nats.NoEcho(),
		nats.Timeout(readyTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(doorReconnect),
		nats.ReconnectBufSize(-1), // what cannot be sent is an error at once
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("the door's own connection was closed; it is opened again", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("the door's own connection", "error", err)
		}),
	)
	d.conn = conn
	return err
}

// Conn returns the host's in-process connection, which may publish and subscribe to everything. It belongs to the
// door: callers never close it.
func (d *Door) Conn() *nats.Conn { return d.conn }

// Addr is where clients connect.
func (d *Door) Addr() net.Addr { return d.server.Addr() }

// Close disconnects the clients, stops the server and waits until it has shut down. It may be called more than once;
// it returns nil.
func (d *Door) Close() error {
	d.close.Do(d.stop)
	return nil
}

func (d *Door) stop() {
	if d.conn != nil {
		d.conn.Close()
	}
	d.server.Shutdown()
	d.server.WaitForShutdown()
}
