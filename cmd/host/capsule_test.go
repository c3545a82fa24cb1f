package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// A batch that fails is kept, fetched, and made again: with the module that failed, and with one that is mended.
func TestCapsuleAndReplay(t *testing.T) {
	t.Parallel()
	source := func(action string) string {
		return sdkFunction(t, "f", `package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnBatch(func(_ context.Context, b *sdk.Batch) error {
		for i, r := range b.All() {
			if string(r.Data) == `+"`{\"n\":2}`"+` {
				`+action+`
			}
			b.Emit("out", string(r.Key), []byte(fmt.Sprint("seen at ", time.Now().UnixNano())))
		}
		return nil
	})
}

var _ = errors.New

func main() {}
`)
	}
	bad, good := source(`_ = i; return errors.New("two is too many")`), source(`b.Reject(i, "two"); continue`)
	dir := t.TempDir()
	feed := filepath.Join(dir, "in.ndjson")
	writeFile(t, feed, `{"n":1}`+"\n"+`{"n":2}`+"\n"+`{"n":3}`+"\n")
	h := testHost(t)
	files := map[string]string{"BAD": bad, "GOOD": good, "FEED": feed, "FILE": filepath.Join(dir, "c.capsule"), "NOTONE": feed}
	play(t, h, files, []step{
		{line: "stream create in", stdout: `.`},
		{line: "stream create out", stdout: `.`},
		{line: "function deploy f BAD --emit out", stdout: `Version: +1\n`},
		{line: "stream put in FEED --key /n", stdout: `^3 records put`},
		{line: "mapping create m --stream in --function f --keep-failed --max-attempts 2", stdout: `Capsules: +failed\n`},
		{line: "mapping update m --keep-sample 2", status: exitUsage, stderr: `--keep-sample is 2; it must be 0 to 1`},
	})
	client, err := (&app{endpoint: h.url()}).client()
	if err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	var id string
	until(t, "the failed batch is kept", func() bool {
		list, err := client.Capsules(t.Context(), "m")
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return false
		}
		id = list[0].ID
		return true
	})
	files["CAPSULE"] = id
	play(t, h, files, []step{
		{line: "capsule list", stdout: `failed +f v1 +m +shardId-000000000000 +3 +error +two is too many`},
		{line: "capsule list --mapping none", stdout: `^ID[^\n]*\n$`},
		{line: "capsule get CAPSULE -o FILE", stdout: `^wrote .*c.capsule`},
		{line: "replay CAPSULE", stdout: `outcome +error +error\n.*message +two is too many +two is too many\n.*Both came to the same.`},
		{line: "replay FILE --function GOOD", status: exitFailure, stdout: `outcome +error +ok\n.*record +- +[012] rejected two\n.*output 1 +- +out .*seen at [0-9]+\n`, stderr: `then and now differ`},
		{line: "replay FILE --function BAD --output json", stdout: `"same":true,"diverged":false`},
		{line: "replay NOTONE", status: exitFailure, stderr: `this is no capsule`},
		{line: "replay none", status: exitFailure, stderr: `There is no capsule "none"; "shardmill capsule list" shows`},
		{line: "replay ./none.capsule", status: exitFailure, stderr: `none.capsule`},
		{line: "mapping update m --keep-slow 1s", stdout: `Capsules: +failed, slower than 1s\n`},
		{line: "function deploy f GOOD --emit out", stdout: `Version: +2\n`},
		{line: "capsule delete CAPSULE", stdout: `deleted`},
		{line: "capsule delete CAPSULE", status: exitFailure, stderr: `no capsule`},
	})
	if text, err := os.ReadFile(files["FILE"]); err != nil || !regexp.MustCompile(`"settings":\{`).Match(text) {
		t.Errorf("the capsule does not hold the mapping's settings: %v", err)
	}
}
