package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// emitter puts what functions emit into the host's own streams.
type emitter struct{ streams *shards.Store }

// Emit returns when the records are durable.
func (e emitter) Emit(ctx context.Context, em runtime.Emission) error {
	stream, err := e.streams.Stream(em.Stream)
	if err == nil {
		_, err = stream.PutRun(ctx, em.Records, nil)
	}
	return ofEmission(&em, err)
}

// Check says whether the stream takes the records.
func (e emitter) Check(em runtime.Emission) error {
	stream, err := e.streams.Stream(em.Stream)
	if err == nil {
		err = stream.CheckRun(em.Records)
	}
	return ofEmission(&em, err)
}

// EmitOnce puts the records under a mark, if they are not there, and returns when they are durable.
func (e emitter) EmitOnce(ctx context.Context, em runtime.Emission, m runtime.Mark) error {
	stream, err := e.streams.Stream(em.Stream)
	if err == nil {
		_, err = stream.PutOnce(ctx, em.Records, shards.Marker(m))
	}
	return ofEmission(&em, err)
}

// ofEmission is an error of a put in the runtime's terms.
func ofEmission(em *runtime.Emission, err error) error {
	if errors.Is(err, shards.ErrInvalid) {
		return fmt.Errorf("%w: %w", runtime.ErrRefused, err)
	}
	if errors.Is(err, shards.ErrNotFound) {
		return fmt.Errorf("function %s emits to stream %q, which does not exist: create it: %w", em.Function, em.Stream, err)
	}
	return err
}
