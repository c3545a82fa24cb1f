// Touch is a function that looks at every record of a batch and does nothing else: the guest of the benchmark.
package main

import (
	"context"

	"github.com/shardmill/shardmill/sdk"
)

var sum uint64

func init() {
	sdk.OnBatch(func(_ context.Context, b *sdk.Batch) error {
		for _, r := range b.All() {
			sum += uint64(len(r.Key)) + uint64(len(r.Data))
			if len(r.Data) > 0 {
				sum += uint64(r.Data[0]) + uint64(r.Data[len(r.Data)-1])
			}
		}
		return nil
	})
}

func main() {}
