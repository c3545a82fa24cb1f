package messages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// MaxMessageBytes is the most that one message may come to, its headers included: a record of the largest size with
// its key, or a record batch.
const MaxMessageBytes = 16 << 20

// Subjects are what the NATS door takes: a stream's name behind "put.".
const Subjects = "put.>"

// Streams finds streams by name. Its error is ErrNotFound of package shards when there is none. It is called by
// several goroutines.
type Streams interface {
	Stream(name string) (Stream, error)
}

// Stream takes records. Put blocks until they are on disk, appends a result for each to results, and does not keep the
// records; its error means that none of them is acknowledged. Records of one call and one key keep their order, and
// calls that follow each other do.
type Stream interface {
	Put(ctx context.Context, records []record.Record, results []shards.Result) ([]shards.Result, error)
}

// FromStore is the streams of a store.
func FromStore(s *shards.Store) Streams { return store{s} }

type store struct{ *shards.Store }

func (s store) Stream(name string) (Stream, error) {
	st, err := s.Store.Stream(name)
	if err != nil {
		return nil, err
	}
	return st, nil
}

// Options say which doors are opened, and on what.
type Options struct {
	// Streams take the records. Required.
	Streams Streams
	// NATS is the host's own connection to the server that clients reach. It has to see their messages to Subjects, and
	// to reach their inboxes. It is the caller's to close, after the doors. Nil: no NATS door.
	NATS *nats.Conn
	// MQTT is where MQTT clients connect. The doors close it. Nil: no MQTT door.
	MQTT net.Listener
	// Rules say where MQTT messages go: the first whose filter matches the topic counts.
	Rules []Rule
	// Logger gets what no client can be told. Nil means slog.Default().
	Logger *slog.Logger
	// Registerer gets the metrics. Nil: none are shown.
	Registerer prometheus.Registerer
}

// Doors are the open doors.
type Doors struct {
	metrics *metrics
	nats    *natsDoor // nil when it is not open
	mqtt    *mqttDoor // nil when it is not open
}

// Open opens the doors that o names.
func Open(ctx context.Context, o Options) (*Doors, error) {
	if o.Streams == nil {
		return nil, errors.New("messages: open: Options.Streams is nil")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("messages: open: %w", err)
	}
	d := &Doors{metrics: newMetrics(o.Registerer)}
	if o.NATS != nil {
		var err error
		log := o.Logger.With("door", "nats")
		if d.nats, err = openNATS(o.NATS, o.Streams, d.metrics.door("nats"), log); err != nil {
			d.metrics.unregister()
			return nil, fmt.Errorf("messages: open the NATS door: %w", err)
		}
	}
	if o.MQTT != nil {
		d.mqtt = openMQTT(o.MQTT, o.Rules, o.Streams, d.metrics, o.Logger.With("door", "mqtt"))
	}
	return d, nil
}

// Close stops taking messages, puts and acknowledges those that have been received, and returns when nothing of the
// doors runs any more. When ctx ends before, the messages that wait are refused; a put under way is waited for in any
// case. Its error says that messages were refused so.
func (d *Doors) Close(ctx context.Context) error {
	var closing sync.WaitGroup
	var errs [2]error
	if d.mqtt != nil {
		closing.Go(func() { errs[0] = d.mqtt.close(ctx) })
	}
	if d.nats != nil {
		closing.Go(func() { errs[1] = d.nats.close(ctx) })
	}
	closing.Wait()
	d.metrics.unregister()
	return errors.Join(errs[:]...)
}
