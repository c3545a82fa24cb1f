package messages

import (
	"context"
	"log/slog"
	"strings"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// Headers of a message to the NATS door.
const (
	// HeaderKey is the partition key. A message that is no record batch needs it.
	HeaderKey = "Shardmill-Partition-Key"
	// HeaderHash is the explicit hash key, decimal. It may be left out.
	HeaderHash = "Shardmill-Explicit-Hash-Key"
	// HeaderType says what the payload is: TypeBatch, or else one record's data.
	HeaderType = "Content-Type"
)

// TypeBatch is the content type of a record batch, as package sdk/record lays it out.
const TypeBatch = "application/vnd.shardmill.records"

// Headers of an answer that is a problem, as NATS services give them.
const (
	headerErrorCode = "Nats-Service-Error-Code"
	headerError     = "Nats-Service-Error"
)

const (
	subjectPrefix = "put."
	inboxPrefix   = "_INBOX."

	// flushTime is how long the last answers may take to reach the server.
	flushTime = 5 * time.Second
)

// natsDoor puts what arrives on Subjects.
type natsDoor struct {
	conn       *nats.Conn
	sub        *nats.Subscription
	over       chan struct{} // closed when the subscription has handed over its last message
	intake     *intake
	metrics    doorMetrics
	complaints complaints
}

func openNATS(conn *nats.Conn, streams Streams, m doorMetrics, log *slog.Logger) (*natsDoor, error) {
	d := &natsDoor{
		conn: conn, over: make(chan struct{}), intake: newIntake(streams), metrics: m, complaints: complaints{log: log},
	}
	sub, err := conn.Subscribe(Subjects, d.receive)
	if err != nil {
		return nil, err
	}
	d.sub = sub
	sub.SetClosedHandler(func(string) { close(d.over) })
	// What waits is bounded by the intake, which answers what it cannot take; the client library would drop it.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	return d, conn.Flush()
}

// natsOrigin is where the answer to a message goes.
type natsOrigin struct {
	door   *natsDoor
	stream string
	reply  string // "" when nobody waits for it
}

// receive takes a message. It is called by one goroutine, and does not wait for the put.
func (d *natsDoor) receive(m *nats.Msg) {
	d.metrics.received(len(m.Data))
	from := &natsOrigin{door: d, stream: strings.TrimPrefix(m.Subject, subjectPrefix)}
	if strings.HasPrefix(m.Reply, inboxPrefix) { // a client can listen nowhere else
		from.reply = m.Reply
	}
	it := item{from: from}
	if err := read(m, &it); err != nil {
		from.refuse(err)
		return
	}
	it.size = cost(len(m.Data))
	if !d.intake.room.TryAcquire(it.size) {
		from.refuse(errBusy)
		return
	}
	d.intake.add(from.stream, it)
}

// read makes the records of a message, which are views of it.
func read(m *nats.Msg, it *item) error {
	if isBatch(header(m.Header, HeaderType)) {
		batch, err := record.Parse(m.Data)
		switch {
		case err != nil:
			return err
		case len(batch) < len(m.Data):
			return &shards.FieldError{Field: "payload", Problem: "has bytes behind the batch", Limit: "one record batch"}
		case batch.Len() == 0:
			return &shards.FieldError{Field: "payload", Problem: "has no record", Limit: "a record batch of at least one record"}
		}
		it.batch = batch.Run()
		return nil
	}
	key := header(m.Header, HeaderKey)
	if key == "" {
		return errNoKey
	}
	// The bytes of a string are not written to, here as little as anywhere.
	it.one = record.Record{Key: unsafe.Slice(unsafe.StringData(key), len(key)), Data: m.Data}
	if text := header(m.Header, HeaderHash); text != "" {
		hash, err := shards.ParseHash(text)
		if err != nil {
			return err
		}
		b := hash.Bytes()
		it.one.ExplicitHash = b[:]
	}
	return nil
}

// header is a header's first value. Clients are free in the case of its name.
func header(h nats.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	for other, values := range h {
		if len(values) > 0 && strings.EqualFold(other, name) {
			return values[0]
		}
	}
	return ""
}

// isBatch says whether a content type is TypeBatch, with parameters or without.
func isBatch(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(kind), TypeBatch)
}

// settled answers a message.
func (o *natsOrigin) settled(it *item, results []shards.Result, err error) {
	if err != nil {
		o.refuse(err)
		return
	}
	put := o.door.metrics.settled(results)
	if it.batch.Len() > 0 {
		s := summarize(results, put)
		if o.reply == "" && s.first != nil {
			o.door.complaints.add("records of a message without a reply subject were not put", o.stream, s.first)
		}
		o.answer(s.encode())
		return
	}
	if err := results[0].Err; err != nil {
		o.tell(err)
		return
	}
	if o.reply != "" {
		o.answer(appendResult(nil, results[0]), nil)
	}
}

// refuse counts a message that was not put and says why.
func (o *natsOrigin) refuse(err error) {
	o.door.metrics.failures.Inc()
	o.tell(err)
}

// tell answers with a problem, or logs where nobody waits for an answer.
func (o *natsOrigin) tell(err error) {
	if o.reply == "" {
		o.door.complaints.add("message without a reply subject was not put", o.stream, err)
		return
	}
	p := problemOf(err)
	o.answer(p.encode(), p)
}

// answer sends the answer to a message; p is the problem in it, nil when it is none.
func (o *natsOrigin) answer(body []byte, p *problem) {
	if o.reply == "" {
		return
	}
	m := &nats.Msg{Subject: o.reply, Data: body}
	if p != nil {
		m.Header = nats.Header{headerErrorCode: {p.code()}, headerError: {p.Title}}
	}
	if err := o.door.conn.PublishMsg(m); err != nil {
		o.door.complaints.add("an answer could not be sent", o.stream, err)
	}
}

// close takes no more messages, and puts and answers those that have been received.
func (d *natsDoor) close(ctx context.Context) error {
	_ = d.sub.Drain() // its error says that the connection has been closed, and with it the subscription
	select {
	case <-d.over:
	case <-ctx.Done():
		_ = d.sub.Unsubscribe()
		<-d.over
	}
	err := d.intake.close(ctx)
	// Answers are on their way when the server has taken them; a server that has gone takes none.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	if !d.conn.IsClosed() {
		_ = d.conn.FlushWithContext(flush)
	}
	return err
}
