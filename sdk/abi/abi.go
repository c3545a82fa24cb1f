package abi

import (
	"errors"
	"fmt"
	"strconv"
)

// Version is the version of the ABI that this package speaks: what shardmill_abi_v1 returns, and what stands
// in every call and reply.
const Version = 1

// Names of the exports of a function module.
const (
	ExportMemory     = "memory"
	ExportInitialize = "_initialize"
	ExportVersion    = "shardmill_abi_v1"
	ExportInput      = "shardmill_input"
	ExportHandle     = "shardmill_handle"
	ExportKinds      = "shardmill_kinds"
	ExportResumed    = "shardmill_resumed"
	ExportRecord     = "shardmill_record"
)

// Limits, in bytes unless the name says otherwise.
const (
	CallHeaderSize  = 80
	ReplyHeaderSize = 40

	MaxNameBytes       = 256 // mapping, stream and function names
	MaxInvocationBytes = 128
	MaxStateBytes      = 6 << 20
	KeptStateBytes     = 1 << 20 // of a window's state; with more the window ends early
	MaxReasonBytes     = 1024
	MaxTypeBytes       = 256
	MaxMessageBytes    = 64 << 10
	MaxStackBytes      = 256 << 10
	MaxOutputs         = 256 // output sections in one reply

	callMagic  = "SMCL"
	replyMagic = "SMRP"

	failureHeaderSize = 16
	outcomeHeaderSize = 8
	outputHeaderSize  = 16

	alignment = 8
)

var (
	// ErrMalformed is returned by Parse, wrapped with the field that breaks the ABI and what was found in it.
	ErrMalformed = errors.New("malformed")
	// ErrLimit is returned when something to be encoded is over its limit, wrapped with the field, its size
	// and the limit.
	ErrLimit = errors.New("over the limit")
)

// Kind says what a call asks of the function.
type Kind uint8

// The call kinds. Their numbers are the ABI's.
const (
	KindBatch       Kind = 1 // records of one shard of a stream
	KindWindowClose Kind = 2 // the end of a tumbling window
	KindTransform   Kind = 3 // records on their way to a destination
	KindInvoke      Kind = 4 // a direct invocation: bytes in, bytes out
)

// Mask is the kind's bit in what shardmill_kinds returns.
func (k Kind) Mask() uint32 { return 1 << (k & 31) }

// String is the kind's name as it is shown to people.
func (k Kind) String() string {
	switch k {
	case KindBatch:
		return "stream batch"
	case KindWindowClose:
		return "window close"
	case KindTransform:
		return "transform"
	case KindInvoke:
		return "direct invoke"
	}
	return "kind " + strconv.Itoa(int(k))
}

func (k Kind) valid() bool { return k >= KindBatch && k <= KindInvoke }

// Result is what became of one record.
type Result uint8

// The results. A record without an outcome is ResultOK; the others travel in the reply.
const (
	ResultOK       Result = 0 // settled
	ResultDropped  Result = 1 // settled, and not wanted further
	ResultRetry    Result = 2 // to be delivered again
	ResultRejected Result = 3 // never to be retried: goes to the on-failure destination
)

// String is the result's name as it is shown to people.
func (r Result) String() string {
	switch r {
	case ResultOK:
		return "ok"
	case ResultDropped:
		return "dropped"
	case ResultRetry:
		return "retry"
	case ResultRejected:
		return "rejected"
	}
	return "result " + strconv.Itoa(int(r))
}

// FailureKind says how a call failed inside the guest.
type FailureKind uint16

// The failure kinds. After FailurePanic the instance must not be used again.
const (
	FailureError       FailureKind = 1 // the handler returned an error
	FailurePanic       FailureKind = 2 // the handler panicked
	FailureUnsupported FailureKind = 3 // there is no handler for this call kind
	FailureBadCall     FailureKind = 4 // the guest could not read the call
)

// String is the kind's name as it is shown to people.
func (k FailureKind) String() string {
	switch k {
	case FailureError:
		return "error"
	case FailurePanic:
		return "panic"
	case FailureUnsupported:
		return "unsupported"
	case FailureBadCall:
		return "bad call"
	}
	return "failure " + strconv.Itoa(int(k))
}

// Pack is what shardmill_handle returns for a reply of size bytes at ptr.
func Pack(ptr, size uint32) uint64 { return uint64(ptr)<<32 | uint64(size) }

// Unpack is the inverse of Pack.
func Unpack(packed uint64) (ptr, size uint32) { return uint32(packed >> 32), uint32(packed) }

func align(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

func align64(n uint64) uint64 { return (n + alignment - 1) &^ (alignment - 1) }

func malformed(what, field, format string, args ...any) error {
	return fmt.Errorf("abi: %w %s: %s: %s", ErrMalformed, what, field, fmt.Sprintf(format, args...))
}

func overLimit(field string, size, limit int) error {
	return fmt.Errorf("abi: %s has %d bytes: %w of %d", field, size, ErrLimit, limit)
}
