// Remember is a function that keeps state: the body of a direct invocation, or the data of a record, says what to do.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/shardmill/shardmill/sdk"
)

//go:wasmimport shardmill state_put
func rawPut(table unsafe.Pointer, tableSize uint32, key unsafe.Pointer, keySize uint32, value unsafe.Pointer, size uint32, expected int64) int64

//go:wasmimport shardmill state_list
func rawList(table unsafe.Pointer, tableSize uint32, prefix unsafe.Pointer, prefixSize uint32, after unsafe.Pointer, afterSize, limit uint32) int64

func init() {
	sdk.OnInvoke(func(ctx context.Context, in []byte) ([]byte, error) { return do(ctx, string(in)) })
	sdk.OnBatch(func(ctx context.Context, b *sdk.Batch) error {
		for i, r := range b.All() {
			out, err := do(ctx, string(r.Data))
			if err != nil {
				return err
			}
			b.Drop(i, string(out))
		}
		return nil
	})
}

func main() {}

// do carries out "verb table key value", and answers what came of it.
func do(ctx context.Context, line string) ([]byte, error) {
	words := append(strings.SplitN(line, " ", 4), "", "", "")
	table, key, value := sdk.State(ctx, words[1]), words[2], words[3]
	switch words[0] {
	case "get":
		e, err := table.Get(key)
		return answer(string(e.Value), err)
	case "put":
		return answer("done", table.Put(key, []byte(value)))
	case "put-and-fail":
		return nil, errors.Join(table.Put(key, []byte(value)), errors.New("failed after a put"))
	case "emit":
		sdk.Emit(ctx, "out", key, []byte(value))
		return answer("done", table.Put(key, []byte(value)))
	case "delete":
		return answer("done", table.Delete(key))
	case "add": // counts up, and waits before it ends
		e, err := table.Get(key)
		if err != nil && !errors.Is(err, sdk.ErrNotFound) {
			return nil, err
		}
		n := 0
		fmt.Sscan(string(e.Value), &n)
		_, err = table.CAS(key, fmt.Append(nil, n+1), e.Revision)
		return answer(fmt.Sprint(n+1), err)
	case "cas":
		_, err := table.CAS(key, []byte(value), 12345)
		return answer("done", err)
	case "list":
		var out []string
		for e, err := range table.List(key) {
			if err != nil {
				return answer("", err)
			}
			out = append(out, e.Key+"="+string(e.Value))
		}
		return []byte(strings.Join(out, " ")), nil
	case "fill":
		for i := range 2000 {
			if err := table.Put(fmt.Sprintf("%s%04d", key, i), []byte(value)); err != nil {
				return answer("", err)
			}
		}
		return []byte("done"), nil
	case "large":
		return answer("done", table.Put(key, make([]byte, 1<<20+1)))
	case "raw":
		return fmt.Append(nil, odd()), nil
	}
	return nil, nil
}

func answer(text string, err error) ([]byte, error) {
	for _, known := range []error{sdk.ErrDenied, sdk.ErrNotFound, sdk.ErrConflict, sdk.ErrInvalid, sdk.ErrUnavailable} {
		if errors.Is(err, known) {
			return fmt.Appendf(nil, "%v | %v", known, err), nil
		}
	}
	return []byte(text), err
}

// odd calls the host with what no SDK gives it.
func odd() []int64 {
	at := func(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }
	far := unsafe.Pointer(uintptr(0xFFFFFFF0))
	return []int64{
		rawPut(at("own"), 3, at("k"), 1, far, 100, -1),
		rawPut(at("own"), 3, far, 100, at("v"), 1, -1),
		rawPut(far, 3000, at("k"), 1, at("v"), 1, -1),
		rawPut(at("own"), 3, at("k"), 1, at("v"), 1, -2),
		rawList(at("own"), 3, far, 100, at(""), 0, 0),
		rawList(at("own"), 3, at(""), 0, at(""), 0, 4_000_000_000),
	}
}
