package sdk

import (
	"context"
	"time"
)

// Window is a tumbling window: a stretch of time that the records of its batches arrived in. Its zero value is none.
type Window struct {
	Start, End time.Time // End is exclusive
	EndedEarly bool      // at its end: its state had become larger than 1 MiB, and the window goes on with an empty one
}

// WindowHandler handles the end of a tumbling window: w has the state that the window's batches have left, and is valid until it returns.
// An error has the host call it again, as the mapping's retry policy says; until it succeeds the shard waits.
type WindowHandler func(ctx context.Context, w *WindowEnd) error

// WindowEnd is the end of a tumbling window of one shard.
type WindowEnd struct{ batch *Batch }

// Window says which window has ended.
func (w *WindowEnd) Window() Window { return w.batch.window }

// State is what the last batch of the window has set; a view. It is empty when none has.
func (w *WindowEnd) State() []byte { return w.batch.state }

// Call is what this call is about.
func (w *WindowEnd) Call() *Call { return w.batch.call }

// Emit is Batch.Emit.
func (w *WindowEnd) Emit(stream, key string, data []byte) { w.batch.Emit(stream, key, data) }

// EmitRecord is Batch.EmitRecord.
func (w *WindowEnd) EmitRecord(stream string, r Record) { w.batch.EmitRecord(stream, r) }

// Window is the tumbling window that all records of the batch are in; its zero value when the mapping has none.
func (b *Batch) Window() Window { return b.window }

// State is what the window's batches before this one have left: a view, empty in the first.
func (b *Batch) State() []byte { return b.state }

// SetState gives the window another state, for its next batch and its end; without it the state stays. It is read when the handler has
// returned. More than 1 MiB ends the window early, more than 6 MiB fails the call. It has an effect only when the mapping has a window.
func (b *Batch) SetState(state []byte) {
	if b.writer == nil {
		panic("sdk: a batch was used after its handler returned")
	}
	if !b.window.Start.Equal(b.window.End) {
		b.writer.SetState(state)
	}
}

// OnWindow registers the function's handler of the end of tumbling windows. Call it from init, once; a second call panics.
func OnWindow(h WindowHandler) {
	if h == nil || registered.Window != nil {
		panic("sdk: OnWindow needs a handler, and only one")
	}
	registered.Window = h
}
