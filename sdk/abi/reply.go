package abi

import (
	"encoding/binary"
	"iter"

	"github.com/shardmill/shardmill/sdk/record"
)

// Failure is why a call failed inside the guest. The slices are views into the reply.
type Failure struct {
	Kind    FailureKind
	Type    []byte // the error's type in the guest's language; may be empty
	Message []byte
	Stack   []byte // in the guest language's own form; may be empty
}

// Outcome is what became of one record that is not simply ok. Reason is a view into the reply.
type Outcome struct {
	Index  int // of the record in the call, from 0
	Result Result
	Reason []byte
}

// Output is a run of records to put to one stream. Both fields are views into the reply. The records carry
// key, data and explicit hash; sequence and arrival mean nothing. For KindTransform Stream may be empty: then the
// sequence number is the index of the record that this one takes the place of, see Replacements.
type Output struct {
	Stream  []byte
	Records record.Run
}

// Reply is a guest's reply, as the host reads it. It may be parsed into again; everything that it returns is a
// view into the bytes last parsed.
type Reply struct {
	failure  Failure
	outcomes []byte
	outputs  []byte
	state    []byte
	body     []byte
	emitted  int  // records of outputs that name a stream
	unsorted bool // the replacements of a transform are not in the order of the records
}

// usualReply is that of a call that succeeded, with every record ok and nothing more: right for every kind of call.
const usualReply = replyMagic + "\x01\x00\x00\x00\x28\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// Parse checks every byte of the reply in b, to a call of the given kind with that many records, and keeps
// views of its parts. It fails with ErrMalformed, naming the field; the reply is then empty.
func (r *Reply) Parse(b []byte, kind Kind, records int) error {
	if string(b) == usualReply {
		none := b[len(b):len(b):len(b)]
		*r = Reply{outcomes: none, outputs: none, state: none, body: none}
		return nil
	}
	err := r.parse(b, kind, records)
	if err != nil {
		*r = Reply{}
	}
	return err
}

func (r *Reply) parse(b []byte, kind Kind, records int) error {
	*r = Reply{}
	if err := checkReplyHeader(b); err != nil {
		return err
	}
	le := binary.LittleEndian
	s := sections{rest: b[ReplyHeaderSize:]}
	failure := s.take("error section length", le.Uint32(b[12:]))
	r.outcomes = s.take("outcomes section length", le.Uint32(b[20:]))
	r.outputs = s.take("output sections length", le.Uint32(b[28:]))
	r.state = s.take("state length", le.Uint32(b[32:]))
	r.body = s.take("body length", le.Uint32(b[36:]))
	if s.err != nil {
		return s.err
	}
	if len(s.rest) != 0 {
		return malformed("reply", "length", "%d bytes behind the last section", len(s.rest))
	}
	if err := r.checkUse(b[6] == 1, kind); err != nil {
		return err
	}
	if b[6] == 1 {
		if err := r.failure.parse(failure); err != nil {
			return err
		}
	} else if len(failure) > 0 {
		return malformed("reply", "error section length", "%d, with status 0", len(failure))
	}
	if err := checkOutcomes(r.outcomes, le.Uint32(b[16:]), records, kind); err != nil {
		return err
	}
	return r.checkOutputs(le.Uint32(b[24:]), kind, records)
}

func checkReplyHeader(b []byte) error {
	le := binary.LittleEndian
	if len(b) < ReplyHeaderSize || len(b)%alignment != 0 {
		return malformed("reply", "length", "%d bytes are not a multiple of %d from %d on", len(b), alignment, ReplyHeaderSize)
	}
	switch {
	case string(b[:4]) != replyMagic:
		return malformed("reply", "magic", "%q is not %q", b[:4], replyMagic)
	case le.Uint16(b[4:]) != Version:
		return malformed("reply", "version", "%d, this host reads %d", le.Uint16(b[4:]), Version)
	case b[6] > 1:
		return malformed("reply", "status", "%d is unknown", b[6])
	case b[7] != 0:
		return malformed("reply", "flags", "%#x are unknown", b[7])
	case uint64(le.Uint32(b[8:])) != uint64(len(b)):
		return malformed("reply", "length", "%d in the header, %d returned", le.Uint32(b[8:]), len(b))
	}
	return nil
}

// sections takes the padded sections of a reply one after the other.
type sections struct {
	rest []byte
	err  error // the first failure; take returns nil from then on
}

func (s *sections) take(field string, length uint32) []byte {
	padded := align64(uint64(length))
	switch {
	case s.err != nil:
		return nil
	case padded > uint64(len(s.rest)):
		s.err = malformed("reply", field, "%d bytes with %d left", length, len(s.rest))
		return nil
	case !zero(s.rest[length:padded]):
		s.err = malformed("reply", field, "the padding after %d bytes is not zero", length)
		return nil
	}
	part := s.rest[:length:length]
	s.rest = s.rest[padded:]
	return part
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// checkUse refuses sections that a reply of this status to this kind of call does not have.
func (r *Reply) checkUse(failed bool, kind Kind) error {
	hasOutcomes := !failed && (kind == KindBatch || kind == KindTransform)
	hasState := !failed && (kind == KindBatch || kind == KindWindowClose)
	hasBody := !failed && kind == KindInvoke
	switch {
	case len(r.outcomes) > 0 && !hasOutcomes:
		return malformed("reply", "outcomes section length", "%d, where there are none", len(r.outcomes))
	case len(r.outputs) > 0 && failed:
		return malformed("reply", "output sections length", "%d, with status 1", len(r.outputs))
	case len(r.state) > 0 && !hasState:
		return malformed("reply", "state length", "%d, where there is none", len(r.state))
	case len(r.state) > MaxStateBytes:
		return malformed("reply", "state length", "%d is more than %d", len(r.state), MaxStateBytes)
	case len(r.body) > 0 && !hasBody:
		return malformed("reply", "body length", "%d, where there is none", len(r.body))
	}
	return nil
}

func (f *Failure) parse(b []byte) error {
	le := binary.LittleEndian
	if len(b) < failureHeaderSize {
		return malformed("reply", "error section length", "%d is less than %d", len(b), failureHeaderSize)
	}
	kind := FailureKind(le.Uint16(b))
	typeLen, messageLen, stackLen := uint64(le.Uint16(b[2:])), uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:]))
	end := failureHeaderSize + typeLen + messageLen + stackLen
	switch {
	case kind < FailureError || kind > FailureBadCall:
		return malformed("reply", "error kind", "%d is unknown", kind)
	case typeLen > MaxTypeBytes:
		return malformed("reply", "error type length", "%d is more than %d", typeLen, MaxTypeBytes)
	case messageLen > MaxMessageBytes:
		return malformed("reply", "error message length", "%d is more than %d", messageLen, MaxMessageBytes)
	case stackLen > MaxStackBytes:
		return malformed("reply", "error stack length", "%d is more than %d", stackLen, MaxStackBytes)
	case le.Uint32(b[12:]) != 0:
		return malformed("reply", "error section", "its reserved field is not 0")
	case align64(end) != uint64(len(b)) || !zero(b[end:]):
		return malformed("reply", "error section length", "%d, its parts fill %d and zeros", len(b), end)
	}
	b = b[failureHeaderSize:]
	f.Kind = kind
	f.Type, b = b[:typeLen:typeLen], b[typeLen:]
	f.Message, b = b[:messageLen:messageLen], b[messageLen:]
	f.Stack = b[:stackLen:stackLen]
	return nil
}

func checkOutcomes(b []byte, count uint32, records int, kind Kind) error {
	le := binary.LittleEndian
	next := int64(0) // the least index that may follow
	for i := range count {
		if len(b) < outcomeHeaderSize {
			return malformed("reply", "outcomes section length", "it ends in outcome %d of %d", i+1, count)
		}
		index, reasonLen := int64(le.Uint32(b)), int(le.Uint16(b[6:]))
		size := align(outcomeHeaderSize + reasonLen)
		switch {
		case index < next:
			return malformed("reply", "outcome index", "%d where at least %d is due", index, next)
		case index >= int64(records):
			return malformed("reply", "outcome index", "%d in a call of %d records", index, records)
		case b[4] < byte(ResultDropped) || b[4] > byte(ResultRejected):
			return malformed("reply", "outcome result", "%d is unknown", b[4])
		case kind == KindTransform && Result(b[4]) == ResultRetry:
			return malformed("reply", "outcome result", "a %s has no %s", kind, ResultRetry)
		case b[5] != 0:
			return malformed("reply", "outcome", "the reserved byte of record %d is not 0", index)
		case reasonLen > MaxReasonBytes:
			return malformed("reply", "outcome reason length", "%d is more than %d", reasonLen, MaxReasonBytes)
		case size > len(b):
			return malformed("reply", "outcome reason length", "%d with %d bytes left", reasonLen, len(b))
		case !zero(b[outcomeHeaderSize+reasonLen : size]):
			return malformed("reply", "outcome", "the padding of record %d is not zero", index)
		}
		next, b = index+1, b[size:]
	}
	if len(b) != 0 {
		return malformed("reply", "outcomes section length", "%d bytes behind %d outcomes", len(b), count)
	}
	return nil
}

func (r *Reply) checkOutputs(count uint32, kind Kind, records int) error {
	if count > MaxOutputs {
		return malformed("reply", "output section count", "%d is more than %d", count, MaxOutputs)
	}
	b, last := r.outputs, uint64(0)
	for i := range count {
		out, size, err := parseOutput(b)
		if err != nil {
			return err
		}
		if len(out.Stream) == 0 && kind != KindTransform {
			return malformed("reply", "output stream name length", "0 in section %d of %d", i+1, count)
		}
		b = b[size:]
		if len(out.Stream) == 0 {
			if last, err = r.checkReplacements(out.Records, last, records); err != nil {
				return err
			}
			continue
		}
		if r.emitted += out.Records.Len(); r.emitted < 0 {
			return malformed("reply", "output record count", "overflows")
		}
	}
	if len(b) != 0 {
		return malformed("reply", "output sections length", "%d bytes behind %d sections", len(b), count)
	}
	return nil
}

// parseOutput reads and checks the output section at the start of b, and says how long it is.
func parseOutput(b []byte) (out Output, size int, err error) {
	le := binary.LittleEndian
	if len(b) < outputHeaderSize {
		return out, 0, malformed("reply", "output sections length", "the last section has %d bytes, its header %d", len(b), outputHeaderSize)
	}
	length, records := uint64(le.Uint32(b)), uint64(le.Uint32(b[8:]))
	count, nameLen := le.Uint32(b[4:]), int(le.Uint16(b[12:]))
	at := align(outputHeaderSize + nameLen)
	switch {
	case length > uint64(len(b)):
		return out, 0, malformed("reply", "output section length", "%d with %d bytes left", length, len(b))
	case nameLen > MaxNameBytes:
		return out, 0, malformed("reply", "output stream name length", "%d is more than %d", nameLen, MaxNameBytes)
	case uint64(at)+records != length:
		return out, 0, malformed("reply", "output section length", "%d, its parts have %d", length, uint64(at)+records)
	case le.Uint16(b[14:]) != 0 || !zero(b[outputHeaderSize+nameLen:at]):
		return out, 0, malformed("reply", "output section", "reserved bytes or padding are not zero")
	case count == 0 || uint64(count) > records/record.RecordHeaderSize:
		return out, 0, malformed("reply", "output record count", "%d in %d bytes", count, records)
	}
	out.Stream = b[outputHeaderSize : outputHeaderSize+nameLen : outputHeaderSize+nameLen]
	if out.Records, err = record.ParseRun(b[at:length:length], int(count)); err != nil {
		return Output{}, 0, malformed("reply", "output records", "for stream %q: %v", out.Stream, err)
	}
	return out, int(length), nil
}

// Failed says whether the call failed inside the guest; Failure then says why.
func (r *Reply) Failed() bool { return r.failure.Kind != 0 }

// Failure is why the call failed; zero unless Failed.
func (r *Reply) Failure() Failure { return r.failure }

// Outcomes yields the records that are not simply ok, by ascending index.
func (r *Reply) Outcomes() iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		for b := r.outcomes; len(b) > 0; {
			end := outcomeHeaderSize + int(binary.LittleEndian.Uint16(b[6:]))
			o := Outcome{
				Index:  int(binary.LittleEndian.Uint32(b)),
				Result: Result(b[4]),
				Reason: b[outcomeHeaderSize:end:end],
			}
			if !yield(o) {
				return
			}
			b = b[align(end):]
		}
	}
}

// Outputs yields the runs of records to put, in the order in which they are to be put.
func (r *Reply) Outputs() iter.Seq[Output] {
	return func(yield func(Output) bool) {
		for b := r.outputs; len(b) > 0; {
			out, size, err := parseOutput(b)
			if err != nil || !yield(out) { // Parse has checked these bytes
				return
			}
			b = b[size:]
		}
	}
}

// Emitted is the number of records in all outputs that name a stream.
func (r *Reply) Emitted() int { return r.emitted }

// State is the window's new state; empty when there is none.
func (r *Reply) State() []byte { return r.state }

// Body is the answer to a direct invocation.
func (r *Reply) Body() []byte { return r.body }
