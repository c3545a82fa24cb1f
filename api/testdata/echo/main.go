// Echo is the function of this package's tests: it returns what it is invoked
// with, or fails in the way that the body asks for.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnInvoke(invoke)
	sdk.OnWindow(func(context.Context, *sdk.WindowEnd) error { return nil })
	sdk.OnTransform(transform)
	sdk.OnBatch(func(_ context.Context, b *sdk.Batch) error {
		fmt.Printf("batch of %d\n", b.Len())
		return nil
	})
}

func main() {}

func invoke(_ context.Context, in []byte) ([]byte, error) {
	switch string(in) {
	case "fail":
		return nil, errors.New("asked to fail")
	case "exit":
		os.Exit(3)
	case "loop":
		for i := 0; ; i++ {
			if i < 0 {
				break
			}
		}
	case "log":
		fmt.Println("one line")
		fmt.Fprintln(os.Stderr, "another line")
	}
	return in, nil
}

// transform drops, rejects or splits what asks for it.
func transform(_ context.Context, t *sdk.Transform) error {
	for i, r := range t.All() {
		verb, rest, _ := strings.Cut(string(r.Data), " ")
		switch verb {
		case "drop":
			t.Drop(i, rest)
		case "reject":
			t.Reject(i, rest)
		case "split":
			t.Replace(i, r)
			t.Replace(i, sdk.Record{Key: r.Key, Data: []byte{0xff}})
		case "fail":
			return errors.New(rest)
		}
	}
	return nil
}
