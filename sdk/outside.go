package sdk

import (
	"context"
	"errors"
	"fmt"
)

// Errors of what a function reaches beyond its call. They come wrapped with what was asked for and what the host says about it.
var (
	// ErrDenied: the function's configuration does not grant it.
	ErrDenied = errors.New("not granted")
	// ErrNotFound: there is nothing of that name.
	ErrNotFound = errors.New("not found")
	// ErrConflict: it is not as the caller expected.
	ErrConflict = errors.New("changed meanwhile")
	// ErrInvalid: a name or a value is out of its limits.
	ErrInvalid = errors.New("invalid")
	// ErrUnavailable: the host cannot do it now. It may pass.
	ErrUnavailable = errors.New("unavailable")
	// ErrNoCall: there is no call under way: the handler has returned.
	ErrNoCall = errors.New("no call is under way")
)

// Outside is what handlers reach beyond their call under go test, where there is no host: package sdktest has one. Its errors are
// those of this package. In WebAssembly the host is asked, and there is none.
type Outside interface {
	// Secret is the value of a secret. The caller owns it.
	Secret(name string) ([]byte, error)
	// Fetch is sdk/abi.md §6.2.
	Fetch(r *Request) (*Response, error)
	// StateGet, StatePut, StateDelete and StateList are sdk/abi.md §6.1. The caller owns what they return.
	StateGet(table, key string) (Entry, error)
	StatePut(table, key string, value []byte, expected int64) (revision int64, err error)
	StateDelete(table, key string, expected int64) error
	StateList(table, prefix, after string, limit int) (list []Entry, more bool, err error)
}

// With has the guest's handlers reach o. In WebAssembly it changes nothing.
func (g *Guest) With(o Outside) *Guest {
	g.outside = o
	return g
}

// Secret is the value of a secret as it is now. The function's configuration must grant it, by its name. The value belongs to
// the caller; it should not be kept in package variables, because it may be changed while the instance lives. ctx must be the
// handler's, or come from it; any other panics. Errors: ErrDenied, ErrNotFound, ErrUnavailable, ErrNoCall.
func Secret(ctx context.Context, name string) ([]byte, error) {
	value, err := callOf(ctx, "Secret").secret(name)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	return value, nil
}

// callOf is the call that ctx belongs to.
func callOf(ctx context.Context, function string) *callContext {
	c, ok := ctx.Value(callKey{}).(*callContext)
	if !ok {
		panic("sdk: " + function + " needs the context of a call")
	}
	return c
}
