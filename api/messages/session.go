package messages

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/shardmill/shardmill/shards"
)

const (
	connectTime = 10 * time.Second // for the first packet
	packetTime  = time.Minute      // from a packet's first byte to its last
	writeTime   = 30 * time.Second // for a client to take what it is sent
	lingerTime  = time.Second      // for a client to close its side, when it has been sent away

	readBuffer = 16 << 10
	// bodyChunk is how much memory a packet gets before more of it has arrived.
	bodyChunk = 64 << 10
)

// errClientLeft is a client that said that it leaves.
var errClientLeft = errors.New("the client has disconnected")

// session is one MQTT client. Its goroutine reads; another writes.
type session struct {
	door    *mqttDoor
	conn    net.Conn
	name    string // the client's identifier, else its address
	connect connect
	out     *outbox // nil until the client is let in

	mu     sync.Mutex
	cause  error                   // why it was ended from outside
	cancel context.CancelCauseFunc // nil until it is served
}

func newSession(d *mqttDoor, conn net.Conn) *session {
	return &session{door: d, conn: conn, name: conn.RemoteAddr().String()}
}

// interrupt ends the session from outside; what was received is put and acknowledged. Only the first call counts.
func (s *session) interrupt(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = cause
	if s.cancel != nil {
		s.cancel(cause)
	}
}

// interruptible is a context that interrupt ends.
func (s *session) interruptible(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	reading, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = cancel
	if s.cause != nil {
		cancel(s.cause)
	}
	return reading, cancel
}

// serve speaks with the client until one of the two has enough. ctx ends when the host waits no longer.
func (s *session) serve(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { _ = s.conn.Close() })()
	defer s.conn.Close()
	reading, cancel := s.interruptible(ctx)
	defer cancel(nil)
	calm := unblock(reading, s.conn)
	defer calm()

	in := newPacketReader(reading, s.conn)
	if err := s.admit(in); err != nil {
		s.log(err)
		return
	}
	var writer sync.WaitGroup
	writer.Go(s.write)
	err := s.read(reading, in)
	calm()
	if !errors.Is(err, errClientLeft) && s.connect.will != nil {
		_ = s.door.publish(ctx, s, s.connect.will, noTicket)
	}
	if fault := (*protocolError)(nil); errors.As(err, &fault) {
		s.bid(ctx, &writer, fault)
	} else {
		s.out.close(nil)
		writer.Wait()
	}
	s.log(err)
}

// unblock ends reads from conn when ctx ends. Once calm has returned, it does not touch the connection any more.
func unblock(ctx context.Context, conn net.Conn) (calm func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	})
	return sync.OnceFunc(func() {
		if !stop() {
			<-done
		}
	})
}

// bid takes leave of a client that is still there: it gets the acknowledgements that are owed, and the reason.
//
// What it sends meanwhile is read and dropped. Otherwise a client that does not read while it cannot write would never
// take them, and closing a connection with unread bytes makes the system withdraw what the client has not read yet.
func (s *session) bid(ctx context.Context, writer *sync.WaitGroup, fault *protocolError) {
	var reader sync.WaitGroup
	_ = s.conn.SetReadDeadline(time.Time{})
	reader.Go(func() { _, _ = io.Copy(io.Discard, s.conn) })
	_ = s.out.drain(ctx)
	var last []byte
	if s.connect.level == level5 {
		last = appendDisconnect(nil, fault.code)
	}
	s.out.close(last)
	writer.Wait()
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = s.conn.SetReadDeadline(time.Now().Add(lingerTime))
		reader.Wait()
	}
	_ = s.conn.Close()
	reader.Wait()
}

// log tells of a client that was sent away for what it did.
func (s *session) log(err error) {
	fault := (*protocolError)(nil)
	if errors.As(err, &fault) && fault != errStopping && fault != errTakenOver {
		s.door.complaints.add("MQTT client was disconnected", s.name, err)
		return
	}
	s.door.log.Debug("MQTT client has gone", "client", s.name, "reason", err)
}

// admit reads CONNECT and answers it.
func (s *session) admit(in *packetReader) error {
	in.idle = connectTime
	in.await()
	first, err := in.buffered.Peek(1)
	if err != nil {
		return err
	}
	if first[0] != byte(packetConnect)<<4 {
		return &protocolError{reasonProtocol, "the first packet is not CONNECT"}
	}
	_, n, err := in.next()
	if err != nil {
		return err
	}
	if n > bodyChunk {
		return &protocolError{reasonTooLarge, fmt.Sprintf("a CONNECT of %d bytes", n)}
	}
	body, err := in.body(n)
	if err != nil {
		return err
	}
	s.connect, err = parseConnect(body)
	if err == nil {
		err = s.connect.admissible()
	}
	if fault := (*protocolError)(nil); errors.As(err, &fault) {
		_ = s.conn.SetWriteDeadline(time.Now().Add(writeTime))
		_, _ = s.conn.Write(appendConnackError(nil, s.connect.level, fault.code))
		return err
	}
	assigned := ""
	if s.name = s.connect.clientID; s.name == "" {
		assigned = newClientID()
		s.name = assigned
	}
	in.idle = time.Duration(s.connect.keepAlive) * time.Second * 3 / 2
	s.out = newOutbox(s.connect.level)
	s.out.unsent = appendConnack(nil, &s.connect, assigned)
	s.door.claim(s, s.name)
	return nil
}

// admissible says what a client may not ask for.
func (c *connect) admissible() error {
	switch {
	case c.clientID == "" && c.level == level311 && !c.clean:
		return &protocolError{reasonClientID, "a client without identifier asks for a session that stays"}
	case c.will != nil && c.will.qos == 2 && c.level == level5:
		return errQoS2
	}
	return nil
}

var errQoS2 = &protocolError{reasonQoS, "QoS 2 is not offered: a message that is sent again would be put again"}

// read takes packets until the session ends, and says why it does.
func (s *session) read(ctx context.Context, in *packetReader) error {
	for {
		err := s.readPacket(ctx, in)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &protocolError{reasonKeepAlive, "nothing was heard of the client"}
		default:
			return err
		}
	}
}

// readPacket reads a packet and does what it asks for.
func (s *session) readPacket(ctx context.Context, in *packetReader) error {
	first, n, err := in.next()
	if err != nil {
		return err
	}
	if n > bodyChunk {
		// The packet counts here until it counts in the intake.
		if err := s.door.reading.Acquire(ctx, int64(n)); err != nil {
			return err
		}
		defer s.door.reading.Release(int64(n))
	}
	body, err := in.body(n)
	if err != nil {
		return err
	}
	return s.packet(ctx, packetType(first>>4), first&0x0f, body)
}

// packet does what a packet asks for.
func (s *session) packet(ctx context.Context, kind packetType, flags byte, body []byte) error {
	level := s.connect.level
	if wanted := requiredFlags[kind]; kind != packetPublish && flags != wanted {
		return malformed("packet %d has flags %#x", kind, flags)
	}
	switch kind {
	case packetPublish:
		m, err := parsePublish(level, flags, body)
		if err != nil {
			return err
		}
		return s.published(ctx, &m)
	case packetPingreq:
		if err := parseEmpty(body); err != nil {
			return err
		}
		return s.out.send(ctx, appendPacket(nil, packetPingresp, nil))
	case packetSubscribe, packetUnsubscribe:
		id, filters, err := parseFilters(kind, level, body)
		if err != nil {
			return err
		}
		return s.out.send(ctx, appendRefusal(nil, kind, level, id, filters))
	case packetDisconnect:
		code, err := parseDisconnect(level, body)
		if err == nil && code != reasonWithWill {
			err = errClientLeft
		}
		if err == nil {
			err = io.EOF
		}
		return err
	}
	return &protocolError{reasonProtocol, fmt.Sprintf("packet %d may not be sent to this server, or not twice", kind)}
}

// requiredFlags are the flags of the packets that have no choice (MQTT 5.0, section 2.1.3).
var requiredFlags = [16]byte{6: 2, packetSubscribe: 2, packetUnsubscribe: 2}

// published puts a message.
func (s *session) published(ctx context.Context, m *publish) error {
	ticket := noTicket
	switch m.qos {
	case 1:
		var err error
		if ticket, err = s.out.expect(ctx, m.id); err != nil {
			return err
		}
	case 2:
		return errQoS2
	}
	return s.door.publish(ctx, s, m, ticket)
}

// settled acknowledges a message, as an origin.
func (s *session) settled(it *item, results []shards.Result, err error) {
	if err == nil {
		s.door.metrics.settled(results)
		err = results[0].Err
	} else {
		s.door.metrics.failures.Inc()
	}
	s.finish(it.id, err)
}

// finish says what became of a message: to the client, or in the log where MQTT has no word for it.
func (s *session) finish(ticket uint64, err error) {
	if err != nil && (ticket == noTicket || s.connect.level == level311) {
		s.door.complaints.add("MQTT message was not put", s.name, err)
	}
	if ticket != noTicket && !s.out.settle(ticket, reasonOf(err)) {
		s.interrupt(&protocolError{reasonUnspecified, "a message was not put, which cannot be said in MQTT 3.1.1"})
	}
}

// write sends what is in the outbox until it is closed.
func (s *session) write() {
	var packets []byte
	for more := true; more; {
		packets, more = s.out.take(packets)
		if len(packets) == 0 {
			continue
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := s.conn.Write(packets); err != nil {
			s.interrupt(fmt.Errorf("write: %w", err))
			_ = s.conn.Close()
			return
		}
	}
}

// packetReader cuts a connection into packets.
type packetReader struct {
	conn        net.Conn
	interrupted func() bool
	buffered    *bufio.Reader
	idle        time.Duration // how long the next packet may be waited for; 0: forever
	deadline    time.Time
}

func newPacketReader(ctx context.Context, conn net.Conn) *packetReader {
	r := &packetReader{conn: conn, interrupted: func() bool { return ctx.Err() != nil }}
	r.buffered = bufio.NewReaderSize(r, readBuffer)
	return r
}

// Read is for the buffer: it reads from the connection, by the deadline.
func (r *packetReader) Read(b []byte) (int, error) {
	if err := r.conn.SetReadDeadline(r.deadline); err != nil {
		return 0, err
	}
	// Whoever interrupts sets a deadline that has passed; it must not be overwritten.
	if r.interrupted() {
		return 0, os.ErrDeadlineExceeded
	}
	return r.conn.Read(b)
}

// await begins the wait for a packet.
func (r *packetReader) await() {
	r.deadline = time.Time{}
	if r.idle > 0 {
		r.deadline = time.Now().Add(r.idle)
	}
}

// next returns a packet's first byte and the length of its body, which is to be read then.
func (r *packetReader) next() (first byte, n int, err error) {
	r.await()
	if first, err = r.buffered.ReadByte(); err != nil {
		return 0, 0, err
	}
	r.deadline = time.Now().Add(packetTime)
	if n, err = r.length(); err != nil {
		return first, 0, err
	}
	if n > MaxMessageBytes {
		return first, 0, &protocolError{reasonTooLarge, fmt.Sprintf("a packet of %d bytes; at most %d are taken", n, MaxMessageBytes)}
	}
	return first, n, nil
}

// body reads the body of a packet, which is the caller's then.
func (r *packetReader) body(n int) ([]byte, error) {
	r.deadline = time.Now().Add(packetTime)
	var body []byte
	for len(body) < n {
		at := len(body)
		grown := make([]byte, min(n, max(bodyChunk, 2*at)))
		copy(grown, body)
		body = grown
		if _, err := io.ReadFull(r.buffered, body[at:]); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// length reads the remaining length (MQTT 5.0, section 2.1.4).
func (r *packetReader) length() (n int, err error) {
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.buffered.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, nil
		}
	}
	return 0, malformed("the remaining length has more than four bytes")
}
