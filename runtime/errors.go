package runtime

import (
	"errors"
	"fmt"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/field"
)

// Errors of every method. They come wrapped with the operation and the function's name.
var (
	// ErrNotFound: there is no such function.
	ErrNotFound = errors.New("function not found")
	// ErrNoVersion: there is such a function, but without that version. It is an ErrNotFound too.
	ErrNoVersion = error(&missing{"the function has no such version"})
	// ErrNoAlias: there is such a function, but without that alias. It is an ErrNotFound too.
	ErrNoAlias = error(&missing{"the function has no such alias"})
	// ErrInUse: a version is needed by something that names it.
	ErrInUse = errors.New("the version is in use")
	// ErrClosed: the runtime is closing or closed.
	ErrClosed = errors.New("runtime is closed")
	// ErrNoSpace: the disk has no room for the code or the definition. Nothing has changed.
	ErrNoSpace = catalog.ErrNoSpace
)

// missing is something that a function does not have. It has a text of its own, because ErrNotFound's says that there is no function.
type missing struct{ text string }

func (e *missing) Error() string { return e.text }

// Is makes it an ErrNotFound.
func (e *missing) Is(target error) bool { return target == ErrNotFound }

// Errors of Deploy: nothing has changed.
var (
	// ErrInvalid: the name, the configuration or the code breaks a rule or a limit. What is wrapped is a
	// *FieldError.
	ErrInvalid = field.ErrInvalid
	// ErrSuperseded: something else came after the upload and before it was ready: a newer upload, which serves or waits, or the function's deletion. The text says which.
	ErrSuperseded = errors.New("a newer upload has taken its place, or the function was deleted")
	// ErrCompilerEnded: the process that compiles was ended from outside, again and again: by the system, which is short of memory, or by somebody. The code is not at
	// fault. It is what Options.CompileModule and Options.CompileScript answer when that has happened once.
	ErrCompilerEnded = errors.New("the machine has ended the compiler, perhaps for want of memory; the code is not at fault")
)

// Errors of Invoke that are not the function's fault. The function has not run, or what it did counts for
// nothing.
var (
	// ErrThrottled: every instance that the function's concurrency allows was busy until the call's context
	// ended. The context's own error is wrapped as well.
	ErrThrottled = errors.New("every instance of the function is busy")
	// ErrNothingReserved: the function's reserved concurrency is 0, which somebody has set so that it does not run. It is an ErrThrottled too.
	ErrNothingReserved = error(nothingReserved{})
	// ErrUnsupported: the function does not handle this kind of call.
	ErrUnsupported = errors.New("the function does not handle this kind of call")
	// ErrUnavailable: the version's code cannot be loaded: it is damaged, gone, or does not compile any more.
	ErrUnavailable = errors.New("the function's code cannot be loaded")
	// ErrEmit: the Emitter did not take the function's output records. Its own error is wrapped.
	ErrEmit = errors.New("output records could not be put")
	// ErrRefused, wrapped in an Emitter's error, says that a record can never be put: its key or its data is out of the stream's
	// limits. That is the function's failure, of kind FailRefused.
	ErrRefused = errors.New("the stream does not take an output record")
)

type nothingReserved struct{}

func (nothingReserved) Error() string {
	return "the function's reserved concurrency is 0: it does not run until that is raised or removed"
}

// Is makes it an ErrThrottled.
func (nothingReserved) Is(target error) bool { return target == ErrThrottled }

// FieldError names what was refused and the rule that it broke: Field is "name", "timeout", "memory", "fuel", "concurrency", "idleMemory", "isolation", "emit" or "code". It is an
// ErrInvalid.
type FieldError = field.Error

// badCode is the refusal of a module: problem is what is wrong with it, limit what a module has to be there.
func badCode(problem, limit string) error {
	return &FieldError{Field: "code", Problem: problem, Limit: limit}
}

// ErrorKind is the way in which a function failed.
type ErrorKind string

// The kinds of FunctionError. They are stable words, for metrics and for clients.
const (
	FailError     ErrorKind = "error"           // the handler returned an error, or panicked and the SDK caught it
	FailTrap      ErrorKind = "trap"            // a WebAssembly trap: unreachable, out of bounds, stack overflow …
	FailTimeout   ErrorKind = "timeout"         // it ran longer than its configured timeout
	FailFuel      ErrorKind = "fuel"            // it executed more instructions than its configured limit
	FailMemory    ErrorKind = "memory"          // it needed more memory than its configured limit
	FailExit      ErrorKind = "exit"            // it called proc_exit; a Go guest's fatal errors end so, with code 2
	FailMalformed ErrorKind = "malformed_reply" // what it returned breaks the ABI
	FailDenied    ErrorKind = "denied"          // it emitted to a stream that it was not granted
	FailRefused   ErrorKind = "refused"         // it emitted a record that is out of the stream's limits, or its state is larger than it may be
	FailConflict  ErrorKind = "conflict"        // it compared with state that another call has changed meanwhile
)

// FunctionError is a failure of the function itself. None of its outputs was put, except, with FailRefused, those to streams
// that it named before, and, with FailRefused and FailConflict for its state, all of them. Nothing of its state was changed. The next call of the function
// is not affected: an instance that may be in an undefined state has been thrown away.
type FunctionError struct {
	Function   string
	Version    int
	Invocation string
	Kind       ErrorKind
	Message    string // one sentence or what the function said; at most 64 KiB
	Type       string // the error's type in the guest's language, when it said one
	Stack      string // functions, innermost first, and below each "\tfile:line" where the module has lines; or the guest language's own trace; may be empty
	ExitCode   int    // for FailExit
}

// Error names function, version and kind, and gives the message.
func (e *FunctionError) Error() string {
	return fmt.Sprintf("function %s version %d failed (%s): %s", e.Function, e.Version, e.Kind, e.Message)
}
