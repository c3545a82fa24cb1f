package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const anyPort = "127.0.0.1:0"

func openDoor(t *testing.T, o DoorOptions) *Door {
	t.Helper()
	if o.Listen == "" {
		o.Listen = anyPort
	}
	if o.Subjects == nil {
		o.Subjects = []string{"put.>"}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d, err := OpenDoor(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// guest connects from outside; what the server reproaches it with arrives in the channel.
func guest(t *testing.T, d *Door, options ...nats.Option) (*nats.Conn, chan error) {
	t.Helper()
	reproaches := make(chan error, 16)
	options = append(options, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { reproaches <- err }))
	conn, err := nats.Connect("nats://"+d.Addr().String(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn, reproaches
}

func TestDoorAnswersGuests(t *testing.T) {
	d := openDoor(t, DoorOptions{MaxPayload: 16 << 20})
	_, err := d.Conn().Subscribe("put.>", func(m *nats.Msg) { _ = m.Respond([]byte(m.Subject)) })
	if err != nil {
		t.Fatal(err)
	}
	conn, _ := guest(t, d)
	if got := conn.MaxPayload(); got != 16<<20 {
		t.Errorf("the payload limit is %d", got)
	}
	for _, size := range []int{0, 1, 12 << 20} {
		answer, err := conn.Request("put.a.b", make([]byte, size), 10*time.Second)
		if err != nil || string(answer.Data) != "put.a.b" {
			t.Fatalf("%d bytes: %v, %v", size, answer, err)
		}
	}
}

// Guests reach nothing but the subjects that are named, whatever they call themselves.
func TestDoorKeepsGuestsOut(t *testing.T) {
	b := open(t, t.TempDir())
	testStream(t, b.JetStream())
	d := openDoor(t, DoorOptions{})
	overheard := make(chan *nats.Msg, 16)
	if _, err := d.Conn().ChanSubscribe(">", overheard); err != nil {
		t.Fatal(err)
	}
	conn, reproaches := guest(t, d)
	for _, subject := range []string{"$JS.API.INFO", "$KV.x.y", "$O.x", "$SYS.REQ.SERVER.PING", "t.a", "_INBOX.x", "put", ">"} {
		if err := conn.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := <-reproaches; !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("publish to %s: %v", subject, err)
		}
	}
	for _, subject := range []string{">", "put.>", "put.a", "$SYS.>", "$JS.>", "*.>"} {
		if _, err := conn.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := <-reproaches; !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("subscribe to %s: %v", subject, err)
		}
	}
	if len(overheard) != 0 {
		t.Errorf("%v came through", <-overheard)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if info, err := js.AccountInfo(ctx); err == nil {
		t.Errorf("JetStream answers a guest: %v", info)
	}
	for _, user := range []string{"host", "guest", "sys", "admin"} {
		if c, err := nats.Connect("nats://"+d.Addr().String(), nats.UserInfo(user, "guess")); err == nil {
			c.Close()
			t.Errorf("%s with a guessed password is let in", user)
		}
	}
}

func TestDoorLimits(t *testing.T) {
	d := openDoor(t, DoorOptions{MaxConnections: 2})
	guest(t, d)
	guest(t, d)
	if c, err := nats.Connect("nats://" + d.Addr().String()); err == nil {
		c.Close()
		t.Error("a third client of two is let in")
	}
	d = openDoor(t, DoorOptions{MaxPayload: 100})
	conn, _ := guest(t, d)
	if err := conn.Publish("put.a", make([]byte, 101)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("101 bytes of 100: %v", err)
	}
}

// The server closes a connection that does not keep up. The door's own comes back, with its subscriptions.
func TestDoorComesBack(t *testing.T) {
	d := openDoor(t, DoorOptions{})
	if _, err := d.Conn().Subscribe("put.>", func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	back := make(chan struct{})
	d.Conn().SetReconnectHandler(func(*nats.Conn) { close(back) })
	id, err := d.Conn().GetClientID()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.server.DisconnectClientByID(id); err != nil {
		t.Fatal(err)
	}
	<-back
	if err := d.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	conn, _ := guest(t, d)
	if _, err := conn.Request("put.a", nil, 10*time.Second); err != nil {
		t.Error(err)
	}
}

func TestDoorIsClosed(t *testing.T) {
	d := openDoor(t, DoorOptions{})
	addr := d.Addr().String()
	closed := make(chan struct{})
	conn, _ := guest(t, d, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	<-closed
	if !conn.IsClosed() || !d.Conn().IsClosed() {
		t.Error("a connection is still open")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	l.Close()
}

func TestOpenDoorErrors(t *testing.T) {
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	subjects := []string{"put.>"}
	tests := []struct {
		name string
		ctx  context.Context
		o    DoorOptions
		says string
	}{
		{"no subjects", t.Context(), DoorOptions{Listen: anyPort}, "Subjects"},
		{"no address", t.Context(), DoorOptions{Subjects: subjects}, "missing port"},
		{"no port", t.Context(), DoorOptions{Listen: "localhost", Subjects: subjects}, "missing port"},
		{"port of letters", t.Context(), DoorOptions{Listen: "localhost:x", Subjects: subjects}, `"x"`},
		{"port taken", t.Context(), DoorOptions{Listen: l.Addr().String(), Subjects: subjects}, "address already in use"},
		{"cancelled", cancelled, DoorOptions{Listen: anyPort, Subjects: subjects}, "canceled"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tc.o.Logger = slog.New(slog.DiscardHandler)
			d, err := OpenDoor(tc.ctx, tc.o)
			if err == nil {
				_ = d.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "broker: open door") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A client cannot fill the log: ten lines a minute, then a count.
func TestDoorLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		l := &doorLog{serverLog: serverLog{log: slog.New(slog.NewTextHandler(&out, nil))}}
		l.Warnf("Maximum payloads over %v are generally discouraged", "8 MiB")
		if got := out.String(); got != "" {
			t.Errorf("it warns of a limit of ours: %s", got)
		}
		for range 25 {
			l.Errorf("violation")
		}
		if got := strings.Count(out.String(), "violation"); got != doorLines {
			t.Errorf("%d lines", got)
		}
		time.Sleep(time.Minute)
		l.Warnf("again")
		if got := out.String(); !strings.Contains(got, "level=WARN msg=again") || !strings.Contains(got, "unlogged=15") {
			t.Errorf("the log ends with %s", got[strings.LastIndex(got, "time="):])
		}
		if strings.Contains(out.String(), "level=ERROR") {
			t.Error("a client's fault is an error of the host")
		}
	})
}

func TestDoorStartsQuietly(t *testing.T) {
	var out lockedBuffer
	d := openDoor(t, DoorOptions{MaxPayload: 16 << 20, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "" {
		t.Errorf("a healthy start and stop logs:\n%s", got)
	}
}
