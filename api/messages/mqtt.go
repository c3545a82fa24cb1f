package messages

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

const (
	maxSessions = 4096
	// maxReading is how many bytes of packets above bodyChunk may be on their way in, of all clients together.
	maxReading = 128 << 20
	// acceptPause is how long the listener waits when the process has no file descriptor left.
	acceptPause = 100 * time.Millisecond
)

// Why a session is ended from outside.
var (
	errStopping  = &protocolError{reasonStopping, "the host is stopping"}
	errTakenOver = &protocolError{reasonTakenOver, "another client has connected with this identifier"}
)

// mqttDoor puts what MQTT clients publish.
type mqttDoor struct {
	listener   net.Listener
	rules      []Rule
	intake     *intake
	reading    *semaphore.Weighted // large packets that are being read
	metrics    doorMetrics
	clients    prometheus.Gauge
	log        *slog.Logger
	complaints complaints
	expire     context.CancelFunc // ends what the drain time was not enough for
	wait       sync.WaitGroup     // the accepting goroutine and the sessions

	mu       sync.Mutex
	stopping bool
	sessions map[*session]struct{}
	byID     map[string]*session
}

func openMQTT(l net.Listener, rules []Rule, streams Streams, m *metrics, log *slog.Logger) *mqttDoor {
	ctx, cancel := context.WithCancel(context.Background())
	d := &mqttDoor{
		listener: l, rules: rules, intake: newIntake(streams), reading: semaphore.NewWeighted(maxReading),
		metrics: m.door("mqtt"), clients: m.mqttClients, log: log, complaints: complaints{log: log}, expire: cancel,
		sessions: map[*session]struct{}{}, byID: map[string]*session{},
	}
	d.wait.Go(func() { d.accept(ctx) })
	return d
}

// accept serves who connects until the listener is closed.
func (d *mqttDoor) accept(ctx context.Context) {
	for {
		conn, err := d.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			d.complaints.add("MQTT clients cannot be accepted", d.listener.Addr().String(), err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		s := newSession(d, conn)
		if !d.enter(s) {
			_ = conn.Close()
			continue
		}
		d.wait.Go(func() {
			s.serve(ctx)
			d.leave(s)
		})
	}
}

// enter notes a session. It says no when there are too many, or the door is closing.
func (d *mqttDoor) enter(s *session) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping || len(d.sessions) >= maxSessions {
		return false
	}
	d.sessions[s] = struct{}{}
	d.clients.Set(float64(len(d.sessions)))
	return true
}

// claim gives a session its client's identifier. Another session with that identifier is ended (MQTT 5.0, section
// 3.1.4).
func (d *mqttDoor) claim(s *session, id string) {
	d.mu.Lock()
	old := d.byID[id]
	d.byID[id] = s
	d.mu.Unlock()
	if old != nil {
		old.interrupt(errTakenOver)
	}
}

func (d *mqttDoor) leave(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, s)
	if d.byID[s.name] == s {
		delete(d.byID, s.name)
	}
	d.clients.Set(float64(len(d.sessions)))
}

// publish gives a message to its stream; ctx ends the wait for room. What is wrong with the message itself is settled
// at once and is no error.
func (d *mqttDoor) publish(ctx context.Context, s *session, m *publish, ticket uint64) error {
	d.metrics.received(len(m.payload))
	stream, one, err := d.route(m)
	if err != nil {
		d.metrics.failures.Inc()
		s.finish(ticket, err)
		return nil
	}
	it := item{from: s, id: ticket, one: one, size: cost(len(m.payload) + len(m.topic))}
	// A session that is being ended puts what it has read, if there is room without waiting.
	if d.intake.room.TryAcquire(it.size) {
		d.intake.add(stream, it)
		return nil
	}
	if err := d.intake.room.Acquire(ctx, it.size); err != nil {
		d.metrics.failures.Inc()
		s.finish(ticket, errLeftover)
		return context.Cause(ctx)
	}
	d.intake.add(stream, it)
	return nil
}

// route finds a message's stream and makes its record.
func (d *mqttDoor) route(m *publish) (stream string, r record.Record, err error) {
	for i := range d.rules {
		rule := &d.rules[i]
		if !rule.Matches(m.topic) {
			continue
		}
		key, err := rule.keyOf(m.topic, m.payload)
		return rule.stream, record.Record{Key: key, Data: m.payload}, err
	}
	return "", record.Record{}, errNoRule
}

// reasons is the one table from errors to what a client of MQTT 5.0 is told of a message that was not put (section
// 3.4.2.1). The first row that matches counts.
var reasons = []struct {
	err  error
	code reason
}{
	{errNoRule, reasonTopicName},
	{ErrNoKey, reasonPayload},
	{shards.ErrInvalid, reasonImplementation},
	{shards.ErrNotFound, reasonImplementation},
	{shards.ErrNoSpace, reasonQuota},
	{shards.ErrThrottled, reasonQuota},
}

func reasonOf(err error) reason {
	if err == nil {
		return reasonOK
	}
	for _, row := range reasons {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return reasonUnspecified
}

// close takes no more messages, and puts and acknowledges those that have been received.
func (d *mqttDoor) close(ctx context.Context) error {
	err := d.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	d.mu.Lock()
	d.stopping = true
	sessions := slices.Collect(maps.Keys(d.sessions))
	d.mu.Unlock()
	for _, s := range sessions {
		s.interrupt(errStopping)
	}
	stop := context.AfterFunc(ctx, d.expire)
	d.wait.Wait()
	stop()
	d.expire()
	return errors.Join(err, d.intake.close(ctx))
}

// newClientID is an identifier for a client that brought none.
func newClientID() string { return "shardmill-" + rand.Text() }
