package abi

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/shardmill/shardmill/sdk/record"
)

// ReplyWriter builds a guest's reply in memory that it keeps: reused from call to call it allocates nothing
// once it has grown. Its zero value is ready.
type ReplyWriter struct {
	outcomes []pendingOutcome
	unsorted bool
	reasons  []byte
	outputs  []*pendingOutput // the first `used` are of this call, in the order of their first record
	used     int
	state    []byte
	body     []byte
	arena    []byte
}

type pendingOutcome struct {
	index, reasonAt, reasonLen uint32
	result                     Result
}

type pendingOutput struct {
	stream  string
	records record.Builder
}

// Reset forgets what was written and keeps the memory. The reply finished before is overwritten by the next.
func (w *ReplyWriter) Reset() {
	w.outcomes, w.unsorted, w.reasons = w.outcomes[:0], false, w.reasons[:0]
	for _, out := range w.outputs[:w.used] {
		out.records.Reset()
	}
	w.used, w.state, w.body = 0, nil, nil
}

// Outcome says what became of the record with that index in the call. The last word on a record counts. A
// reason longer than MaxReasonBytes is cut.
func (w *ReplyWriter) Outcome(index int, result Result, reason string) {
	reason = cut(reason, MaxReasonBytes)
	if n := len(w.outcomes); n > 0 && w.outcomes[n-1].index >= uint32(index) {
		w.unsorted = true
	}
	w.outcomes = append(w.outcomes, pendingOutcome{
		index: uint32(index), result: result,
		reasonAt: uint32(len(w.reasons)), reasonLen: uint32(len(reason)),
	})
	w.reasons = append(w.reasons, reason...)
}

// Emit adds a record for a stream. Key, Data and ExplicitHash of r are copied. It fails with ErrLimit for a
// name of more than MaxNameBytes or more than MaxOutputs streams, with ErrMalformed for an empty name, and with
// record's errors for what no record can hold.
func (w *ReplyWriter) Emit(stream string, r record.Record) error {
	if len(stream) == 0 {
		return malformed("output", "stream name", "it is empty")
	}
	return w.put(stream, r)
}

// Replace adds, to the reply to a transform, a record that takes the place of the one with that index in the call. Key, Data and
// ExplicitHash of r are copied. Several for one record take its place together. It fails as Emit does.
func (w *ReplyWriter) Replace(index int, r record.Record) error {
	r.Sequence, r.Arrival = uint64(index), 0
	return w.put("", r)
}

func (w *ReplyWriter) put(stream string, r record.Record) error {
	if w.used > 0 && w.outputs[w.used-1].stream == stream {
		return w.outputs[w.used-1].records.Append(r)
	}
	out, err := w.output(stream)
	if err != nil {
		return err
	}
	if err := out.records.Append(r); err != nil {
		if out.records.Len() == 0 { // it was the stream's first: there is no section without records
			w.used--
		}
		return err
	}
	return nil
}

// output is the builder for a stream; one that earlier calls used is taken up again.
func (w *ReplyWriter) output(stream string) (*pendingOutput, error) {
	at := slices.IndexFunc(w.outputs, func(o *pendingOutput) bool { return o.stream == stream })
	switch {
	case at >= 0 && at < w.used:
		return w.outputs[at], nil
	case len(stream) > MaxNameBytes:
		return nil, overLimit("stream name", len(stream), MaxNameBytes)
	case w.used == MaxOutputs:
		return nil, overLimit("number of output streams", MaxOutputs+1, MaxOutputs)
	case at < 0 && len(w.outputs) < MaxOutputs:
		w.outputs = append(w.outputs, &pendingOutput{stream: strings.Clone(stream)})
		at = len(w.outputs) - 1
	case at < 0:
		at = w.used
		w.outputs[at].stream = strings.Clone(stream)
	}
	w.outputs[at], w.outputs[w.used] = w.outputs[w.used], w.outputs[at]
	w.used++
	return w.outputs[w.used-1], nil
}

// SetBody is the answer to a direct invocation. b is read by Finish, not before.
func (w *ReplyWriter) SetBody(b []byte) { w.body = b }

// SetState is the window's new state, at most MaxStateBytes. b is read by Finish, not before.
func (w *ReplyWriter) SetState(b []byte) { w.state = b }

// Finish is the reply of a call that went well, valid until the next Finish or Fail. It fails with ErrLimit
// when the state, or the whole, is too long.
func (w *ReplyWriter) Finish() ([]byte, error) {
	if len(w.state) > MaxStateBytes {
		return nil, overLimit("state", len(w.state), MaxStateBytes)
	}
	if len(w.outcomes)+w.used+len(w.state)+len(w.body) == 0 { // every record ok and nothing more: the usual reply
		return w.begin(ReplyHeaderSize), nil
	}
	w.settle()
	outcomes, outputs := w.outcomesSize(), w.outputsSize()
	size := ReplyHeaderSize + outcomes + outputs + uint64(align(len(w.state))) + uint64(align(len(w.body)))
	if size > math.MaxInt32 {
		return nil, overLimit("reply", int(min(size, math.MaxInt32)), math.MaxInt32)
	}
	b := w.begin(int(size))
	le := binary.LittleEndian
	le.PutUint32(b[16:], uint32(len(w.outcomes)))
	le.PutUint32(b[20:], uint32(outcomes))
	le.PutUint32(b[24:], uint32(w.used))
	le.PutUint32(b[28:], uint32(outputs))
	le.PutUint32(b[32:], uint32(len(w.state)))
	le.PutUint32(b[36:], uint32(len(w.body)))
	at := ReplyHeaderSize
	at += w.putOutcomes(b[at:])
	at += w.putOutputs(b[at:])
	at += putPadded(b[at:], w.state)
	putPadded(b[at:], w.body)
	return b, nil
}

// Fail is the reply of a call that failed: nothing written so far is in it. Texts over their limits are cut. The
// reply is valid until the next Finish or Fail.
func (w *ReplyWriter) Fail(kind FailureKind, typ, message, stack string) []byte {
	typ, message, stack = cut(typ, MaxTypeBytes), cut(message, MaxMessageBytes), cut(stack, MaxStackBytes)
	length := align(failureHeaderSize + len(typ) + len(message) + len(stack))
	b := w.begin(ReplyHeaderSize + length)
	le := binary.LittleEndian
	b[6] = 1
	le.PutUint32(b[12:], uint32(length))
	s := b[ReplyHeaderSize:]
	le.PutUint16(s, uint16(kind))
	le.PutUint16(s[2:], uint16(len(typ)))
	le.PutUint32(s[4:], uint32(len(message)))
	le.PutUint32(s[8:], uint32(len(stack)))
	le.PutUint32(s[12:], 0)
	at := failureHeaderSize
	at += copy(s[at:], typ)
	at += copy(s[at:], message)
	at += copy(s[at:], stack)
	clear(s[at:])
	return b
}

// begin makes the arena size bytes long and writes the header's fixed part; the rest of it is zero.
func (w *ReplyWriter) begin(size int) []byte {
	if size > cap(w.arena) {
		// Its content need not be kept, so growing by a quarter is enough to settle. At least 512 bytes: the Go
		// allocator aligns those to 8.
		w.arena = nil
		w.arena = make([]byte, max(size+size/4, 512))
	}
	b := w.arena[:size:size]
	clear(b[:ReplyHeaderSize])
	copy(b, replyMagic)
	binary.LittleEndian.PutUint16(b[4:], Version)
	binary.LittleEndian.PutUint32(b[8:], uint32(size))
	return b
}

// settle puts the outcomes in order, the last word on each record only.
func (w *ReplyWriter) settle() {
	if !w.unsorted {
		return
	}
	slices.SortStableFunc(w.outcomes, func(a, b pendingOutcome) int { return int(int64(a.index) - int64(b.index)) })
	kept := w.outcomes[:0]
	for _, o := range w.outcomes {
		if n := len(kept); n > 0 && kept[n-1].index == o.index {
			kept[n-1] = o
			continue
		}
		kept = append(kept, o)
	}
	w.outcomes, w.unsorted = kept, false
}

func (w *ReplyWriter) outcomesSize() (size uint64) {
	for _, o := range w.outcomes {
		size += uint64(align(outcomeHeaderSize + int(o.reasonLen)))
	}
	return size
}

func (w *ReplyWriter) putOutcomes(b []byte) (at int) {
	for _, o := range w.outcomes {
		e := b[at : at+align(outcomeHeaderSize+int(o.reasonLen))]
		binary.LittleEndian.PutUint32(e, o.index)
		e[4], e[5] = byte(o.result), 0
		binary.LittleEndian.PutUint16(e[6:], uint16(o.reasonLen))
		putPadded(e[outcomeHeaderSize:], w.reasons[o.reasonAt:o.reasonAt+o.reasonLen])
		at += len(e)
	}
	return at
}

func (w *ReplyWriter) outputsSize() (size uint64) {
	for _, out := range w.outputs[:w.used] {
		size += uint64(align(outputHeaderSize+len(out.stream))) + uint64(out.records.Size())
	}
	return size
}

func (w *ReplyWriter) putOutputs(b []byte) (at int) {
	le := binary.LittleEndian
	for _, out := range w.outputs[:w.used] {
		run := out.records.Run()
		records := align(outputHeaderSize + len(out.stream))
		s := b[at : at+records+run.Size()]
		le.PutUint32(s, uint32(len(s)))
		le.PutUint32(s[4:], uint32(run.Len()))
		le.PutUint32(s[8:], uint32(run.Size()))
		le.PutUint16(s[12:], uint16(len(out.stream)))
		le.PutUint16(s[14:], 0)
		clear(s[outputHeaderSize+copy(s[outputHeaderSize:records], out.stream) : records])
		copy(s[records:], run.Bytes())
		at += len(s)
	}
	return at
}

// putPadded copies part and pads it, and says how many bytes that took.
func putPadded(b, part []byte) int {
	end := align(len(part))
	clear(b[copy(b, part):end])
	return end
}

// cut shortens s to at most limit bytes, between characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
