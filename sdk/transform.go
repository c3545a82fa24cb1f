package sdk

import (
	"fmt"
	"iter"

	"github.com/shardmill/shardmill/sdk/abi"
)

// Transform is the records of one call on their way to a destination, and what the handler makes of them. A record of which it says nothing goes
// on as it is. It belongs to the handler's call, as a Batch does.
type Transform struct{ batch *Batch }

// Len is the number of records.
func (t *Transform) Len() int { return t.batch.Len() }

// All yields each record with its index. Nothing is allocated.
func (t *Transform) All() iter.Seq2[int, Record] { return t.batch.All() }

// Call is what this call is about.
func (t *Transform) Call() *Call { return t.batch.call }

// Replace puts r in the place of the i-th record: mostly that record with other Data. Key, Data and ExplicitHash are copied. Several for one record take its
// place one after the other; of a record that is dropped or rejected they count for nothing. A record that cannot be encoded fails the call when
// the handler returns; an index that is not in the transform panics.
func (t *Transform) Replace(i int, r Record) {
	b := t.batch
	b.must(i, "replacement")
	if err := b.writer.Replace(i, r); err != nil && b.err == nil {
		b.err = fmt.Errorf("replace record %d: %w", i, err)
	}
}

// Drop has the i-th record not go on. The reason may be empty. As with Reject, the last word on a record counts, a reason is cut at 1,024 bytes, and
// an index that is not in the transform panics.
func (t *Transform) Drop(i int, reason string) { t.batch.outcome(i, abi.ResultDropped, reason) }

// Reject has the i-th record count as failed: it goes, as it came, to where the delivery stream stores what could not be transformed.
func (t *Transform) Reject(i int, reason string) { t.batch.outcome(i, abi.ResultRejected, reason) }

// Emit is Batch.Emit: it adds a record to be put to a stream beside what the transform hands on.
func (t *Transform) Emit(stream, key string, data []byte) { t.batch.Emit(stream, key, data) }

// EmitRecord is Batch.EmitRecord.
func (t *Transform) EmitRecord(stream string, r Record) { t.batch.EmitRecord(stream, r) }

// OnTransform registers the function's handler of records on their way to a destination. Call it from init, once; a second call panics.
func OnTransform(h TransformHandler) {
	if h == nil || registered.Transform != nil {
		panic("sdk: OnTransform needs a handler, and only one")
	}
	registered.Transform = h
}
