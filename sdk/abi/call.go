package abi

import (
	"encoding/binary"
	"math"
)

// FlagWindowEnded is set in a call's flags when its tumbling window ended early.
const FlagWindowEnded = 1

// Call is the head of one call, as the host writes it. The body and the window's state are copied behind it by
// the host itself, straight from where they lie.
type Call struct {
	Kind       Kind
	Flags      uint8
	Mapping    string // event source mapping, or delivery stream; at most MaxNameBytes, as the next two
	Stream     string
	Function   string
	Invocation string // identifies this call in logs; at most MaxInvocationBytes
	Version    uint32 // of the function, from 1
	Shard      uint32
	Attempt    uint32 // 1 for the first delivery
	Deadline   int64  // µs since the Unix epoch; 0: none

	WindowStart, WindowEnd int64 // µs since the Unix epoch; 0 without a window
}

// Size is how many bytes the whole call takes with a body and a state of the given lengths. It fails with
// ErrLimit when a field, or the whole, is too long, and with ErrMalformed for an unknown kind.
func (c *Call) Size(bodyLen, stateLen int) (int, error) {
	switch {
	case !c.Kind.valid():
		return 0, malformed("call", "kind", "%d is unknown", c.Kind)
	case len(c.Mapping) > MaxNameBytes:
		return 0, overLimit("mapping name", len(c.Mapping), MaxNameBytes)
	case len(c.Stream) > MaxNameBytes:
		return 0, overLimit("stream name", len(c.Stream), MaxNameBytes)
	case len(c.Function) > MaxNameBytes:
		return 0, overLimit("function name", len(c.Function), MaxNameBytes)
	case len(c.Invocation) > MaxInvocationBytes:
		return 0, overLimit("invocation id", len(c.Invocation), MaxInvocationBytes)
	case stateLen > MaxStateBytes:
		return 0, overLimit("state", stateLen, MaxStateBytes)
	case bodyLen > math.MaxInt32-2*MaxStateBytes: // so that offsets fit an i32 anywhere
		return 0, overLimit("body", bodyLen, math.MaxInt32-2*MaxStateBytes)
	}
	return c.bodyOffset() + align(bodyLen) + align(stateLen), nil
}

func (c *Call) bodyOffset() int {
	return align(CallHeaderSize + len(c.Mapping) + len(c.Stream) + len(c.Function) + len(c.Invocation))
}

// Put writes the head of the call into dst, which has at least the bytes that Size said, and returns the parts
// of dst into which the caller then copies the body and the state. All padding is written.
func (c *Call) Put(dst []byte, bodyLen, stateLen int) (body, state []byte) {
	le := binary.LittleEndian
	bodyAt := c.bodyOffset()
	stateAt := bodyAt + align(bodyLen)
	_ = dst[CallHeaderSize-1]
	copy(dst, callMagic)
	le.PutUint16(dst[4:], Version)
	dst[6], dst[7] = byte(c.Kind), c.Flags
	le.PutUint16(dst[8:], CallHeaderSize)
	le.PutUint16(dst[10:], uint16(len(c.Mapping)))
	le.PutUint16(dst[12:], uint16(len(c.Stream)))
	le.PutUint16(dst[14:], uint16(len(c.Function)))
	le.PutUint16(dst[16:], uint16(len(c.Invocation)))
	le.PutUint16(dst[18:], 0)
	le.PutUint32(dst[20:], c.Version)
	le.PutUint32(dst[24:], c.Shard)
	le.PutUint32(dst[28:], c.Attempt)
	le.PutUint64(dst[32:], uint64(c.Deadline))
	le.PutUint32(dst[40:], uint32(bodyAt))
	le.PutUint32(dst[44:], uint32(bodyLen))
	le.PutUint32(dst[48:], 0)
	le.PutUint32(dst[52:], 0)
	if stateLen > 0 {
		le.PutUint32(dst[52:], uint32(stateAt))
	}
	le.PutUint32(dst[56:], uint32(stateLen))
	le.PutUint32(dst[60:], 0)
	le.PutUint64(dst[64:], uint64(c.WindowStart))
	le.PutUint64(dst[72:], uint64(c.WindowEnd))
	at := CallHeaderSize
	for _, name := range [...]string{c.Mapping, c.Stream, c.Function, c.Invocation} {
		at += copy(dst[at:], name)
	}
	clear(dst[at:bodyAt])
	clear(dst[bodyAt+bodyLen : stateAt])
	end := stateAt + align(stateLen)
	clear(dst[stateAt+stateLen : end])
	return dst[bodyAt : bodyAt+bodyLen : bodyAt+bodyLen], dst[stateAt : stateAt+stateLen : stateAt+stateLen]
}

// CallView is a call as the guest reads it. Its slices are views into the parsed bytes.
type CallView struct {
	Kind                    Kind
	Flags                   uint8
	Version, Shard, Attempt uint32
	Deadline                int64 // µs since the Unix epoch; 0: none
	WindowStart, WindowEnd  int64 // µs since the Unix epoch; 0 without a window
	Mapping, Stream         []byte
	Function, Invocation    []byte
	Body                    []byte // for KindBatch and KindTransform a record batch, not yet checked
	State                   []byte
}

// Parse reads the call in b, which it must fill, into v. It fails with ErrMalformed, and then v is not to be used.
// What a later host may have added behind the known header is skipped.
func (v *CallView) Parse(b []byte) error {
	le := binary.LittleEndian
	if len(b) < CallHeaderSize {
		return malformed("call", "length", "%d bytes, the header has %d", len(b), CallHeaderSize)
	}
	if string(b[:4]) != callMagic {
		return malformed("call", "magic", "%q is not %q", b[:4], callMagic)
	}
	if n := le.Uint16(b[4:]); n != Version {
		return malformed("call", "version", "%d, this function reads %d", n, Version)
	}
	*v = CallView{
		Kind: Kind(b[6]), Flags: b[7],
		Version: le.Uint32(b[20:]), Shard: le.Uint32(b[24:]), Attempt: le.Uint32(b[28:]),
		Deadline:    int64(le.Uint64(b[32:])),
		WindowStart: int64(le.Uint64(b[64:])), WindowEnd: int64(le.Uint64(b[72:])),
	}
	names := uint64(le.Uint16(b[8:]))
	if names < CallHeaderSize {
		return malformed("call", "header size", "%d is less than %d", names, CallHeaderSize)
	}
	for i, name := range [...]*[]byte{&v.Mapping, &v.Stream, &v.Function, &v.Invocation} {
		length := uint64(le.Uint16(b[10+2*i:]))
		if names+length > uint64(len(b)) {
			return malformed("call", "names", "they end behind the call's %d bytes", len(b))
		}
		*name = b[names : names+length : names+length]
		names += length
	}
	var err error
	if v.Body, err = section(b, names, "body", le.Uint32(b[40:]), le.Uint32(b[44:])); err != nil {
		return err
	}
	v.State, err = section(b, names, "state", le.Uint32(b[52:]), le.Uint32(b[56:]))
	return err
}

// section is the part of a call at offset; an empty one is nil wherever it is said to be.
func section(b []byte, low uint64, field string, offset, length uint32) ([]byte, error) {
	if length == 0 {
		return nil, nil
	}
	end := uint64(offset) + uint64(length)
	if uint64(offset) < low || offset%alignment != 0 || end > uint64(len(b)) {
		return nil, malformed("call", field, "%d bytes at %d do not lie in the %d of the call", length, offset, len(b))
	}
	return b[offset:end:end], nil
}
