package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func streamFile(dir, name string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", "T", "msgs", name)
}

// TestBlocksAreReadAtEveryStart flips, in turn, each bit of the sequence number of a
// message in the middle. Read with an index, such a block costs all memory there is; here
// the server must notice the checksum and start with what is before the damage.
func TestBlocksAreReadAtEveryStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]*c") // what means something in a glob pattern
	b := open(t, dir)
	testStream(t, b.JetStream())
	const messages = 5
	for i := range messages {
		if _, err := b.JetStream().Publish(t.Context(), "t.a", fmt.Appendf(nil, "message %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	block, err := os.ReadFile(streamFile(dir, "1.blk"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(streamFile(dir, "index.db"))
	if err != nil {
		t.Fatalf("the server writes no index any more: %v", err)
	}
	// A message begins with its length in 4 bytes; its number is in the next 8.
	third := 2*len(block)/messages + 4
	for bit := range 64 {
		if err := os.WriteFile(streamFile(dir, "index.db"), index, 0o600); err != nil {
			t.Fatal(err)
		}
		block[third+bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(streamFile(dir, "1.blk"), block, 0o600); err != nil {
			t.Fatal(err)
		}
		block[third+bit/8] ^= 1 << (bit % 8)
		b := open(t, dir)
		if _, err := os.Stat(streamFile(dir, "index.db")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("bit %d: the index was left: %v", bit, err)
		}
		info, err := testStream(t, b.JetStream()).Info(t.Context())
		if err != nil || info.State.Msgs != 2 {
			t.Errorf("bit %d: %d messages, want those before the damage: %v", bit, info.State.Msgs, err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDropIndexesWithoutAny(t *testing.T) {
	if err := dropIndexes(t.TempDir()); err != nil {
		t.Error(err)
	}
}
