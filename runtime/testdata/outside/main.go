// Outside is a function that tries what the host offers: the body of a direct invocation says what.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/shardmill/shardmill/sdk"
)

//go:wasmimport shardmill secret
func rawSecret(name unsafe.Pointer, size uint32) int64

//go:wasmimport shardmill result
func rawResult(ptr unsafe.Pointer, size uint32) uint32

// early is what a door answered before any call.
var early = rawSecret(unsafe.Pointer(unsafe.StringData("token")), 5)

var calls int

func init() {
	sdk.OnInvoke(invoke)
	sdk.OnBatch(batch)
}

func main() {}

func invoke(ctx context.Context, in []byte) ([]byte, error) {
	verb, rest, _ := strings.Cut(string(in), " ")
	switch verb {
	case "env":
		return []byte(strings.Join(os.Environ(), " ")), nil
	case "early":
		return fmt.Append(nil, early), nil
	case "secret":
		value, err := sdk.Secret(ctx, rest)
		return answer(value, err)
	case "tell": // logs the secret in many ways and fails with it
		value, err := sdk.Secret(ctx, rest)
		fmt.Println("it is", string(value))
		fmt.Fprintf(os.Stderr, "%s%s", value, value)
		return nil, fmt.Errorf("secret %s, %w", value, err)
	case "again": // logs what a call before has learned
		fmt.Println("it was", rest)
	case "shout":
		panic(rest)
	case "random":
		calls++
		return fmt.Append(nil, rand.Text(), " ", calls), nil
	case "raw":
		return fmt.Append(nil, odd()), nil
	}
	return nil, nil
}

// answer is a value, or the name of an error.
func answer(value []byte, err error) ([]byte, error) {
	for _, known := range []error{sdk.ErrDenied, sdk.ErrNotFound, sdk.ErrConflict, sdk.ErrInvalid, sdk.ErrUnavailable, sdk.ErrNoCall} {
		if errors.Is(err, known) {
			return fmt.Appendf(nil, "%v | %v", known, err), nil
		}
	}
	return value, err
}

// odd calls doors with what no SDK gives them.
func odd() []int64 {
	name := unsafe.Pointer(unsafe.StringData("token"))
	far := unsafe.Pointer(uintptr(0xFFFFFFF0))
	var small [2]byte
	answers := []int64{
		rawSecret(name, 0), rawSecret(name, 129), rawSecret(far, 5), rawSecret(name, 5),
		int64(rawResult(far, 100)), int64(rawResult(unsafe.Pointer(&small), 2)), int64(rawResult(nil, 0)),
	}
	return append(answers, int64(small[0]), int64(small[1]))
}

func batch(ctx context.Context, b *sdk.Batch) error {
	for i, r := range b.All() {
		value, err := sdk.Secret(ctx, string(r.Data))
		if err != nil {
			return err
		}
		b.Reject(i, "because of "+string(value))
	}
	return nil
}
