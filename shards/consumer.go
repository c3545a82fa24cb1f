package shards

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// MaxConsumers is the most consumers that can be registered with a stream.
const MaxConsumers = 20

// Consumer is a name that is registered with a stream for reading it (enhanced fan-out, in AWS's words). The store
// keeps it; it is not needed for reading or for checkpoints.
type Consumer struct {
	Name    string    // 1 to 128 of a-z A-Z 0-9 _ . -
	Created time.Time // in whole milliseconds
	Tags    map[string]string
}

// RegisterConsumer adds a consumer to a stream, durably. Errors: ErrNotFound, ErrExists, ErrInvalid (also of the field
// "consumers": the stream has MaxConsumers).
func (s *Store) RegisterConsumer(ctx context.Context, stream, consumer string, tags map[string]string) (Consumer, error) {
	c := Consumer{Name: consumer, Created: time.Now().UTC().Truncate(time.Millisecond), Tags: withTags(nil, tags, nil)}
	_, err := s.change(ctx, stream, func(def *definition) error {
		i, found := def.consumer(consumer)
		switch {
		case !isName(consumer):
			return invalid("consumer", consumer, nameLimit())
		case found:
			return ErrExists
		case len(def.Consumers) >= MaxConsumers:
			return invalid("consumers", fmt.Sprintf("%d registered", len(def.Consumers)), fmt.Sprintf("at most %d", MaxConsumers))
		}
		def.Consumers = slices.Insert(slices.Clone(def.Consumers), i, c)
		return checkTags(c.Tags)
	})
	if err != nil {
		return Consumer{}, fmt.Errorf("shards: register consumer %s of %q: %w", consumer, stream, err)
	}
	c.Tags = maps.Clone(c.Tags)
	return c, nil
}

// DeregisterConsumer removes a consumer from a stream, durably. Its checkpoints stay: they belong to who made them.
// Errors: ErrNotFound, ErrNoConsumer.
func (s *Store) DeregisterConsumer(ctx context.Context, stream, consumer string) error {
	_, err := s.change(ctx, stream, func(def *definition) error {
		i, found := def.consumer(consumer)
		if !found {
			return ErrNoConsumer
		}
		def.Consumers = slices.Delete(slices.Clone(def.Consumers), i, i+1)
		return nil
	})
	if err != nil {
		return fmt.Errorf("shards: deregister consumer %s of %q: %w", consumer, stream, err)
	}
	return nil
}

// UpdateConsumer changes a consumer's tags, durably: those of removeTags go, then setTags are set. Errors: ErrNotFound,
// ErrNoConsumer, ErrInvalid.
func (s *Store) UpdateConsumer(ctx context.Context, stream, consumer string, setTags map[string]string, removeTags []string) (Consumer, error) {
	var c Consumer
	_, err := s.change(ctx, stream, func(def *definition) error {
		i, found := def.consumer(consumer)
		if !found {
			return ErrNoConsumer
		}
		def.Consumers = slices.Clone(def.Consumers)
		def.Consumers[i].Tags = withTags(def.Consumers[i].Tags, setTags, removeTags)
		c = def.Consumers[i]
		return checkTags(c.Tags)
	})
	if err != nil {
		return Consumer{}, fmt.Errorf("shards: update consumer %s of %q: %w", consumer, stream, err)
	}
	c.Tags = maps.Clone(c.Tags)
	return c, nil
}

// consumer is where a consumer is among the definition's, or belongs.
func (d *definition) consumer(name string) (int, bool) {
	return slices.BinarySearchFunc(d.Consumers, name, func(c Consumer, name string) int { return cmp.Compare(c.Name, name) })
}

// HasConsumer says whether a consumer is registered with the stream.
func (st *Stream) HasConsumer(name string) bool {
	_, found := st.def().consumer(name)
	return found
}
