// Echo is the function of the tests against a real host: what it does with a record is said by the record; the variable of that name is added to it.
package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/shardmill/shardmill/sdk"
)

func init() { sdk.OnBatch(echo) }

func main() {}

func echo(_ context.Context, b *sdk.Batch) error {
	for i, r := range b.All() {
		word, _, _ := strings.Cut(string(r.Data), " ")
		switch {
		case word == "reject":
			b.Reject(i, "as it says")
		case word == "later" && b.Call().Attempt == 1:
			b.Retry(i, "not yet")
		case word == "fail":
			return errors.New("as it says")
		case word == "trap":
			panic("as it says")
		case word == "spin":
			for {
			}
		default:
			b.Emit("out", string(r.Key), append(r.Data[:len(r.Data):len(r.Data)], os.Getenv(word)...))
		}
	}
	return nil
}
