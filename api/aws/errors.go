package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/shards"
)

// The codes of errors that more than one place names.
const (
	codeAccessDenied    = "AccessDeniedException"
	codeDryRun          = "DryRunOperationException"
	codeExpiredIterator = "ExpiredIteratorException"
	codeExpiredToken    = "ExpiredNextTokenException"
	codeInternal        = "InternalFailureException"
	codeInUse           = "ResourceInUseException"
	codeInvalid         = "InvalidArgumentException"
	codeLimit           = "LimitExceededException"
	codeNotFound        = "ResourceNotFoundException"
	codeSerialization   = "SerializationException"
	codeUnavailable     = "ServiceUnavailableException"
	codeThrottled       = "ProvisionedThroughputExceededException"
	codeUnsupported     = "UnsupportedOperationException"
	codeValidation      = "ValidationException"
)

// fault is an error as the client sees it.
type fault struct {
	code    string
	status  int
	message string // "": the member is left out
}

// Error is code and message.
func (f *fault) Error() string {
	if f.message == "" {
		return f.code
	}
	return f.code + ": " + f.message
}

func faultf(code, format string, args ...any) *fault {
	return &fault{code: code, status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

func invalidArgument(format string, args ...any) *fault { return faultf(codeInvalid, format, args...) }

// unsupported refuses what would be a lie.
func unsupported(format string, args ...any) *fault { return faultf(codeUnsupported, format, args...) }

// errDryRun says that the request would have succeeded.
var errDryRun = faultf(codeDryRun, "Request would have succeeded, but DryRun flag is set.")

// sentinels is the one table from the engines' errors to codes and messages. The first row that matches counts.
var sentinels = []struct {
	err     error
	code    string
	status  int
	message func(c *call) string
}{
	{shards.ErrNotFound, codeNotFound, 400, func(c *call) string {
		return fmt.Sprintf("Stream %s under account %s not found.", c.names.stream, c.account)
	}},
	{shards.ErrNoShard, codeNotFound, 400, func(c *call) string {
		return fmt.Sprintf("Could not find shard %s in stream %s under account %s.", c.names.shard, c.names.stream, c.account)
	}},
	{shards.ErrNoConsumer, codeNotFound, 400, func(c *call) string {
		return fmt.Sprintf("Consumer %s under stream %s under account %s not found.", c.names.consumer, c.names.stream, c.account)
	}},
	{shards.ErrExists, codeInUse, 400, func(c *call) string {
		if c.names.consumer != "" {
			return fmt.Sprintf("Consumer %s under stream %s already exists for account %s.", c.names.consumer, c.names.stream, c.account)
		}
		return fmt.Sprintf("Stream %s under account %s already exists.", c.names.stream, c.account)
	}},
	{shards.ErrBusy, codeInUse, 400, func(c *call) string {
		return fmt.Sprintf("Stream %s under account %s not ACTIVE, instead in state UPDATING", c.names.stream, c.account)
	}},
	{shards.ErrShardClosed, codeInvalid, 400, func(c *call) string {
		return fmt.Sprintf("Shard %s in stream %s under account %s has already been merged or split, and thus is not eligible for merging or splitting.",
			c.names.shard, c.names.stream, c.account)
	}},
	{shards.ErrNotAdjacent, codeInvalid, 400, func(c *call) string {
		return fmt.Sprintf("Shards %s and %s in stream %s under account %s are not an adjacent pair of shards eligible for merging",
			c.names.shard, c.names.adjacent, c.names.stream, c.account)
	}},
	{shards.ErrThrottled, codeThrottled, 400, func(c *call) string { return c.rateMessage(c.names.shard) }},
	{shards.ErrDamaged, codeInternal, 500, text("Stored records are damaged: see the host's log, or GET /v1/streams/{name}/damage.")},
	{shards.ErrNoSpace, codeInternal, 500, text("The host's disk is full; nothing was stored.")},
	{shards.ErrFiles, codeLimit, 400, text("The host has nearly as many files open as it may: delete streams, or start it with a higher limit of open files.")},
	{shards.ErrReadOnly, codeInternal, 500, text("The host's disk takes no writes; nothing was stored.")},
	{shards.ErrDisk, codeInternal, 500, text("The host's disk failed at writing; nothing was acknowledged.")},
	{shards.ErrUnavailable, codeInternal, 500, text("The stream could not be opened: see the host's log.")},
	{shards.ErrClosed, codeInternal, 500, text("The host is stopping; try again when it is back.")},
	{catalog.ErrClosed, codeInternal, 500, text("The host is stopping; try again when it is back.")},
	{catalog.ErrNoSpace, codeInternal, 500, text("The host's disk is full; nothing was stored.")},
	{context.Canceled, codeInternal, 500, text("The request was given up.")},
	{context.DeadlineExceeded, codeInternal, 500, text("The request took too long and was given up.")},
}

func text(s string) func(*call) string { return func(*call) string { return s } }

// rateMessage is AWS's text for a shard over its limits.
func (c *call) rateMessage(shard string) string {
	return fmt.Sprintf("Rate exceeded for shard %s in stream %s under account %s.", shard, c.names.stream, c.account)
}

// faultOf is what an error is answered with. The text of one that nothing is known about goes to the log only.
func (c *call) faultOf(err error) *fault {
	if c.isLambda {
		return lambdaFaultOf(err)
	}
	var known *fault
	if errors.As(err, &known) {
		return known
	}
	var field *shards.FieldError
	if errors.As(err, &field) {
		return invalidArgument("%s", field.Error())
	}
	for _, row := range sentinels {
		if errors.Is(err, row.err) {
			return &fault{code: row.code, status: row.status, message: row.message(c)}
		}
	}
	return &fault{code: codeInternal, status: http.StatusInternalServerError, message: "Internal Service Failure"}
}

// cut is outside text for a message, at most 1,024 bytes of it.
func cut(s string) string {
	const most = 1024
	if len(s) <= most {
		return s
	}
	at := most
	for at > 0 && !utf8.RuneStart(s[at]) {
		at--
	}
	return s[:at] + "…"
}
