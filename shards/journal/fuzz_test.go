package journal_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/shardmill/shardmill/shards/journal"
)

// FuzzOpen gives a journal any bytes for its last segment and its mark: it opens or says why not, serves nothing that does
// not check, and takes new records.
func FuzzOpen(f *testing.F) {
	d := newDisk()
	j, err := journal.Open(context.Background(), options(d, 2))
	if err != nil {
		f.Fatal(err)
	}
	put(f, j, 0, "one", "two")
	if _, err := j.SaveCheckpoint(f.Context(), journal.Checkpoint{Consumer: "c", Sequence: 1, State: []byte("state")}); err != nil {
		f.Fatal(err)
	}
	put(f, j, 1, "three")
	if err := j.Close(); err != nil {
		f.Fatal(err)
	}
	segment, acked := filepath.Join(dir, "0000000000000001.seg"), filepath.Join(dir, "acked")
	files := d.snapshot(f)
	f.Add(files[segment], files[acked])
	f.Add(files[segment][:len(files[segment])/2], files[acked])
	f.Add(files[segment], []byte{})
	f.Fuzz(func(t *testing.T, seg, mark []byte) {
		bad := newDisk()
		bad.put(segment, seg)
		bad.put(acked, mark)
		j, err := journal.Open(t.Context(), options(bad, 2))
		if err != nil {
			return
		}
		defer j.Close()
		for shard := range uint32(2) {
			got, err := readAll(t, j, shard, 0)
			var damage *journal.DamageError
			if err != nil && !errors.As(err, &damage) {
				t.Errorf("shard %d: %v", shard, err)
			}
			for _, r := range got {
				if s := string(r.Data); s != "one" && s != "two" && s != "three" {
					t.Errorf("served %q", s)
				}
			}
		}
		first := put(t, j, 0, fmt.Sprint(len(seg)))
		if r, err := j.Reader(0, first); err != nil {
			t.Error(err)
		} else if run, ok, err := r.TryNext(); err != nil || !ok || run.First().Sequence != first {
			t.Errorf("the new record: %v, %v", ok, err)
		}
	})
}
