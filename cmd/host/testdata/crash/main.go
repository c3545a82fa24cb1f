// Crash is the function of the crash test's mappings: it passes records on to the stream "out-" and the mapping's name, at the end of a
// window where there are windows. Some records fail once, and, where the mapping gives records up, some always.
package main

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnBatch(batch)
	sdk.OnWindow(window)
}

func main() {}

func batch(_ context.Context, b *sdk.Batch) error {
	call := b.Call()
	state := bytes.Clone(b.State())
	for _, r := range b.All() {
		switch sum := crc32.ChecksumIEEE(r.Data); {
		case sum%199 == 0 && (call.Mapping == "bisect" || call.Mapping == "isolate"):
			return errors.New("poison")
		case sum%401 == 0 && call.Attempt == 1:
			return errors.New("not yet")
		}
		if b.Window() != (sdk.Window{}) {
			state = append(append(state, r.Data...), '\n')
			continue
		}
		b.Emit("out-"+call.Mapping, string(r.Key), r.Data)
	}
	b.SetState(state)
	return nil
}

func window(_ context.Context, w *sdk.WindowEnd) error {
	for line := range bytes.Lines(w.State()) {
		w.Emit("out-"+w.Call().Mapping, "k", bytes.TrimSuffix(line, []byte("\n")))
	}
	return nil
}
