// Poison is a function that works on a batch for a millisecond, and fails when a record in it is poison: the guest of the benchmark.
package main

import (
	"bytes"
	"context"
	"time"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnBatch(func(_ context.Context, b *sdk.Batch) error {
		began := time.Now()
		for _, r := range b.All() {
			if bytes.Equal(r.Data, []byte("panic poison")) {
				defer panic("this record is poison")
			}
		}
		for time.Since(began) < time.Millisecond {
		}
		return nil
	})
}

func main() {}
