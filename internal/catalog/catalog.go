package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Errors of the catalog. All are wrapped with the operation and what it was about.
var (
	// ErrNotFound: there is no entry with this key, or no blob with this digest.
	ErrNotFound = errors.New("not found")
	// ErrExists: Create found an entry with this key.
	ErrExists = errors.New("exists already")
	// ErrConflict: the entry has another revision than the writer expected.
	ErrConflict = errors.New("changed by somebody else meanwhile")
	// ErrInvalid: a name, key, value, revision or blob is outside the limits. Nothing
	// was changed.
	ErrInvalid = errors.New("invalid")
	// ErrNoSpace: the disk has less free than a write may need. Nothing was changed.
	// Deletions, and updates as large as what they replace, may use a reserve.
	ErrNoSpace = errors.New("not enough space on disk")
	// ErrUnknownOutcome: the write may have happened. Read the entry to find out; if
	// it is there, it may be gone after a crash.
	ErrUnknownOutcome = errors.New("it is not known whether the write happened")
	// ErrDamaged: both copies of something are damaged.
	ErrDamaged = errors.New("damaged")
	// ErrVersion: the snapshot file was written by a newer version of the program.
	ErrVersion = errors.New("format version is not known")
	// ErrClosed: the catalog has been closed.
	ErrClosed = errors.New("the catalog is closed")
)

// Options of a catalog. JetStream and Dir are required.
type Options struct {
	// JetStream keeps the tables and the blobs.
	JetStream jetstream.JetStream
	// Dir is the directory of the snapshot file and the second copies of blobs. It is
	// made when it does not exist, and no other catalog may use it at the same time.
	Dir string
	// Logger gets alarms and failures. Nil means slog.Default().
	Logger *slog.Logger
	// Registerer gets the metrics. Nil means they are not registered.
	Registerer prometheus.Registerer
	// AcceptDamage opens a catalog of which both copies are damaged with what either
	// can prove. False means that Open fails with ErrDamaged.
	AcceptDamage bool
}

// Catalog is an open catalog. Its methods may be called from several goroutines.
type Catalog struct {
	js      jetstream.JetStream
	dir     string
	space   *space
	bell    *alarmBell
	metrics *metrics
	log     *slog.Logger
	keeper  *keeper
	follow  jetstream.ConsumeContext
	halt    context.CancelFunc // ends the keeper and the watches
	running sync.WaitGroup     // the keeper and the watches
	writing sync.WaitGroup     // calls that change something

	mu     sync.Mutex
	tables map[string]*Table
	blobs  map[string]*Blobs
	closed bool
	life   chan struct{} // closed by Close: ends the watches
}

// Open opens the catalog: it reads the snapshot and what JetStream has, compares them,
// repairs the one from the other with an alarm where they differ, and holds all tables
// in memory. It fails with ErrDamaged, naming what was found, if both are damaged.
func Open(ctx context.Context, o Options) (*Catalog, error) {
	if o.JetStream == nil || o.Dir == "" {
		return nil, fmt.Errorf("catalog: open: %w: Options.JetStream and Options.Dir are required", ErrInvalid)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("catalog: open: %w", err)
	}
	c := &Catalog{
		js: o.JetStream, dir: o.Dir, space: &space{dir: o.Dir, free: freeBytes}, metrics: m, log: o.Logger,
		bell:   &alarmBell{log: o.Logger, metrics: m},
		tables: map[string]*Table{}, blobs: map[string]*Blobs{}, life: make(chan struct{}),
	}
	if err := c.open(ctx, o.AcceptDamage); err != nil {
		return nil, fmt.Errorf("catalog: open %s: %w", o.Dir, err)
	}
	return c, nil
}

func (c *Catalog) open(ctx context.Context, acceptDamage bool) error {
	if err := os.MkdirAll(c.dir, 0o750); err != nil {
		return err
	}
	save, err := readSaved(c.dir)
	if err != nil {
		return err
	}
	stream, h, err := load(ctx, c.js)
	if err != nil {
		return err
	}
	p := reconcile(save, h, acceptDamage)
	for _, a := range p.alarms {
		c.bell.ring(a)
	}
	if p.err != nil {
		return p.err
	}
	snap, stream, err := c.settle(ctx, save, h, p, stream)
	if err != nil {
		return err
	}
	for _, e := range snap.live {
		c.table(e.id.table).put(e)
	}
	if !p.restore {
		for i, revision := range h.markers {
			c.table(i.table).markers[i.key] = revision
		}
	}
	if err := c.start(ctx, stream, snap); err != nil {
		snap.abandon()
		return err
	}
	if free, err := c.space.free(c.dir); err == nil && free >= reserveBytes+ballastBytes {
		c.space.fillBallast()
	}
	return nil
}

// settle carries out the plan: both copies agree when it returns.
func (c *Catalog) settle(ctx context.Context, save saved, h held, p plan, stream jetstream.Stream) (*snapshot, jetstream.Stream, error) {
	live, last := p.live, max(h.last, save.last)
	if p.restore {
		var err error
		if stream, live, err = restore(ctx, c.js, p.live, p.next); err != nil {
			return nil, nil, err
		}
		last = p.next - 1 + uint64(len(live))
	}
	snap := newSnapshot(c.dir, live, last)
	if p.aside {
		if err := keepDamaged(c.dir); err != nil {
			return nil, nil, err
		}
	}
	var err error
	if p.rewrite {
		err = snap.rewrite()
	} else {
		err = snap.resume(save)
	}
	if err != nil {
		snap.abandon()
		return nil, nil, err
	}
	return snap, stream, nil
}

// start begins to follow the stream behind the last revision of the snapshot.
func (c *Catalog) start(ctx context.Context, stream jetstream.Stream, snap *snapshot) error {
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   snap.last + 1,
	})
	if err != nil {
		return fmt.Errorf("follow stream %s: %w", streamName, err)
	}
	c.keeper = newKeeper(snap, c.applied, c.metrics, c.log)
	c.follow, err = consumer.Consume(c.received, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		c.log.Debug("catalog follows its stream", "stream", streamName, "error", err)
	}))
	if err != nil {
		return fmt.Errorf("follow stream %s: %w", streamName, err)
	}
	keep, halt := context.WithCancel(context.Background())
	c.halt = halt
	c.running.Go(func() { c.keeper.run(keep) })
	return nil
}

// received takes one message of the stream to the keeper.
func (c *Catalog) received(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		c.log.Error("catalog: a message without metadata", "subject", m.Subject(), "error", err)
		return
	}
	ch, err := toChange(m.Subject(), m.Headers(), m.Data(), meta.Sequence.Stream)
	if err != nil {
		c.log.Error("catalog: a message that no catalog writes", "stream", streamName, "error", err)
		return
	}
	c.keeper.offer(ch)
}

// applied takes a change that is durable into its table.
func (c *Catalog) applied(ch change) {
	c.mu.Lock()
	t := c.table(ch.id.table)
	c.mu.Unlock()
	t.apply(ch)
}

// Table returns the table with this name: a lower case letter, then letters, digits,
// - and _, at most MaxNameBytes. A table need not be made; it always returns the same
// *Table for a name. Errors: ErrInvalid, ErrClosed.
func (c *Catalog) Table(_ context.Context, name string) (*Table, error) {
	if err := checkName("table", name); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("catalog: table %s: %w", name, ErrClosed)
	}
	return c.table(name), nil
}

// table needs c.mu, or nobody else who knows c.
func (c *Catalog) table(name string) *Table {
	t := c.tables[name]
	if t == nil {
		t = newTable(c, name)
		c.tables[name] = t
	}
	return t
}

// Alarms returns the damage found since Open began, oldest first.
func (c *Catalog) Alarms() []Alarm { return c.bell.all() }

// Err returns nil while the snapshot has every change, and otherwise why not: the disk
// refused it, and the writes concerned were not acknowledged. Writing it is tried again
// every second and with the next write; it is nil again once that has succeeded.
func (c *Catalog) Err() error { return c.keeper.err() }

// Close waits for the writes under way, ends the watches and closes the files. It does
// not close JetStream. Calls after it fail with ErrClosed; a second Close does nothing.
func (c *Catalog) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.writing.Wait()
	c.follow.Stop()
	c.halt()
	close(c.life)
	c.running.Wait()
	<-c.follow.Closed()
	return nil
}

// begin registers a call that changes something; Close waits for the returned function
// to be called.
func (c *Catalog) begin() (end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	c.writing.Add(1)
	return c.writing.Done, nil
}
