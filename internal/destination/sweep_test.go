package destination

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// What a kill left is swept when it is old enough; everything else stays, and nothing is removed outside the folder.
func TestSweep(t *testing.T) {
	t.Parallel()
	root, outside := t.TempDir(), t.TempDir()
	const uuid = "6fa459ea-ee8a-3ca4-894e-db77e160355e"
	const partial = ".2026-11-22T00.04.05-" + uuid + ".partial"
	const probe = ".probe-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	old := time.Now().Add(-time.Hour)
	place := func(dir, name string, at time.Time) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	stay := []string{
		"a/2026-11-22T00.04.05-" + uuid, // a document
		"a/.2026-11-22T00.04.05-" + uuid + ".partial.txt",
		"a/.download.partial", "a/.probe-mine", "a/b.partial", // of others
		"other/" + partial,      // in a folder that is not asked about
		"a/" + partial + "/own", // below a folder of that name
	}
	for _, name := range stay {
		place(root, name, old)
	}
	place(root, "a/fresh/"+partial, time.Now()) // being written, perhaps by another host
	place(root, "a/x/y/"+partial, old)
	place(root, "a/x/"+partial, old)
	place(root, "a/x/"+probe, old)
	place(outside, partial, old)
	if err := os.Symlink(outside, filepath.Join(root, "a", "away")); err != nil {
		t.Fatal(err)
	}
	d := open(t, Options{Folders: []string{root}})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Sweep(cancelled, "file://"+root+"/a"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for range 2 {
		if err := d.Sweep(t.Context(), "file://"+root+"/a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(root, "a", "away")); err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(append(stay, "a/fresh/"+partial)))
	if got := slices.Sorted(maps.Keys(files(t, root))); !slices.Equal(got, want) {
		t.Errorf("left %q; want %q", got, want)
	}
	if len(listed(t, outside)) != 1 {
		t.Error("a link led out")
	}
}

func TestSweepOfWhatHasNothing(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := open(t, Options{Folders: []string{root}})
	for _, uri := range []string{"stream:s", "s3://bucket/x", "https://example.com/x", "file://" + root + "/not/there"} {
		if err := d.Sweep(t.Context(), uri); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if err := d.Sweep(t.Context(), "file:///elsewhere"); !errors.Is(err, ErrMisconfigured) {
		t.Errorf("a folder that is not allowed: %v", err)
	}
}
