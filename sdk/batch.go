package sdk

import (
	"fmt"
	"iter"
	"unsafe"

	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// Record is one record. In a batch its Key, Data and ExplicitHash are views that are valid until the handler
// returns.
type Record = record.Record

// Batch is the records of one call, and what the handler says about them. It belongs to the handler's call:
// using it after the handler has returned panics. It is not for use by several goroutines at once.
type Batch struct {
	run    record.Run
	call   *Call
	writer *abi.ReplyWriter // nil once the handler has returned
	err    error            // the first emit that failed
	window Window
	state  []byte // of the window, as the call has it
}

// Len is the number of records.
func (b *Batch) Len() int { return b.run.Len() }

// All yields each record with its index in the batch. Nothing is allocated. What the function does until it takes the next record
// is what this one costs, for `shardmill function costs`.
func (b *Batch) All() iter.Seq2[int, Record] {
	run := b.run.Bytes()
	return func(yield func(int, Record) bool) {
		for i, rest := 0, run; len(rest) >= record.RecordHeaderSize; i++ {
			// Written out here, and not taken from package record, because a call for each record is what an
			// iteration would then mostly cost in WebAssembly.
			lengths := load64(rest, 16)
			key := record.RecordHeaderSize
			var hash []byte
			if lengths>>48&1 != 0 {
				hash = rest[key : key+record.HashSize : key+record.HashSize]
				key += record.HashSize
			}
			data := key + int(uint16(lengths>>32))
			end := data + int(uint32(lengths))
			mark(i + 1)
			if !yield(i, Record{
				Sequence:     load64(rest, 0),
				Arrival:      int64(load64(rest, 8)),
				Key:          rest[key:data:data],
				Data:         rest[data:end:end],
				ExplicitHash: hash,
			}) {
				return
			}
			rest = rest[(end+7)&^7:]
		}
		mark(0) // what follows is done for all of them
	}
}

// Call is what this call is about: mapping, stream, shard, attempt. It stays valid after the handler.
func (b *Batch) Call() *Call { return b.call }

// Emit adds a record to be put to a stream when the handler has returned nil. key and data are copied. A
// record that cannot be encoded, or too many streams, fails the call when the handler returns. Whether the
// function may emit to that stream, and the limits of key and data, are the host's to check.
func (b *Batch) Emit(stream, key string, data []byte) {
	// A view of key's bytes: Emit copies them and writes nothing.
	b.EmitRecord(stream, Record{Key: unsafe.Slice(unsafe.StringData(key), len(key)), Data: data})
}

// EmitRecord is Emit for a whole record. Of r, Key, Data and ExplicitHash are taken, so a record of the batch may
// be passed on as it is.
func (b *Batch) EmitRecord(stream string, r Record) {
	if b.writer == nil {
		panic("sdk: a batch was used after its handler returned")
	}
	r.Sequence, r.Arrival = 0, 0
	if err := b.writer.Emit(stream, r); err != nil && b.err == nil {
		b.err = fmt.Errorf("emit to stream %q: %w", stream, err)
	}
}

// Drop settles the i-th record as not wanted: it counts as dropped, not as handled. The reason may be empty.
// As with the other outcomes, the last word on a record counts, a reason is cut at 1,024 bytes, and an index that
// is not in the batch panics.
func (b *Batch) Drop(i int, reason string) { b.outcome(i, abi.ResultDropped, reason) }

// Retry asks for the i-th record to be delivered again, later, as the mapping's retry policy says.
func (b *Batch) Retry(i int, reason string) { b.outcome(i, abi.ResultRetry, reason) }

// Reject settles the i-th record as one that no retry can help: it goes to the mapping's on-failure
// destination, with the reason.
func (b *Batch) Reject(i int, reason string) { b.outcome(i, abi.ResultRejected, reason) }

// must panics unless something may be said of the i-th record.
func (b *Batch) must(i int, what string) {
	if b.writer == nil {
		panic("sdk: a batch was used after its handler returned")
	}
	if i < 0 || i >= b.run.Len() {
		panic(fmt.Sprintf("sdk: %s for record %d of a batch of %d", what, i, b.run.Len()))
	}
}

func (b *Batch) outcome(i int, result abi.Result, reason string) {
	b.must(i, "outcome")
	b.writer.Outcome(i, result, reason)
}
