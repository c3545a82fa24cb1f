package journal_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/shards/journal"
)

// inFolder counts the files of a folder and their bytes.
func inFolder(t *testing.T, d *disk, dir string) (n, bytes int) {
	t.Helper()
	for name, content := range d.snapshot(t) {
		if filepath.Dir(name) == dir {
			n, bytes = n+1, bytes+len(content)
		}
	}
	return n, bytes
}

// Dropped segments are kept up to the limit, taken over by the next start, and used again by any journal that shares them.
func TestSpares(t *testing.T) {
	d := newDisk()
	const limit = 10 << 10
	open1 := func() *journal.Spares {
		t.Helper()
		s, err := journal.OpenSpares(d, "/spares", limit)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	opt := options(d, 1)
	opt.Spares = open1()
	j := open(t, opt)
	fill := func(j *journal.Journal, name string) (want []string) {
		t.Helper()
		for i := range 120 {
			data := fmt.Sprintf("%s: record %d", name, i)
			put(t, j, 0, data)
			want = append(want, data)
		}
		return want
	}
	fill(j, "first")
	if _, err := j.Trim(t.Context(), 1<<60); err != nil {
		t.Fatal(err)
	}
	kept, bytes := inFolder(t, d, "/spares")
	if kept < 2 || bytes > limit {
		t.Fatalf("%d spares of %d bytes after Trim, the limit is %d", kept, bytes, limit)
	}
	j.Close()

	other := options(d, 1)
	other.Dir, other.Spares = "/other", open1()
	if again, _ := inFolder(t, d, "/spares"); again != kept {
		t.Fatalf("%d spares after a restart, %d before", again, kept)
	}
	j = open(t, other)
	want := fill(j, "second")
	if left, _ := inFolder(t, d, "/spares"); left >= kept {
		t.Errorf("none of %d spares was used", kept)
	}
	expect(t, j, 0, 0, want...)
	other.Spares = nil
	reopened := func(d *disk) {
		t.Helper()
		other.FS = d
		j := open(t, other)
		expect(t, j, 0, 0, want...)
		if err := j.Scrub(t.Context(), nil); err != nil || len(j.Damage()) > 0 {
			t.Errorf("%v, %v", err, j.Damage())
		}
	}
	reopened(d.kill())
	j.Close()
	reopened(d)
}

func TestSparesLimit(t *testing.T) {
	d := newDisk()
	opt := options(d, 1)
	j := open(t, opt)
	for i := range 100 {
		put(t, j, 0, fmt.Sprintf("record %d", i))
	}
	j.Close()
	none, err := journal.OpenSpares(d, "/spares", 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := none.Salvage(dir); err != nil {
		t.Fatal(err)
	}
	if n, _ := inFolder(t, d, "/spares"); n != 0 {
		t.Errorf("%d files over the limit", n)
	}
	if n, _ := inFolder(t, d, dir); n < 3 {
		t.Errorf("%d files are left in the journal's folder", n)
	}
	if err := none.Salvage("/nowhere"); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
}

// A full disk gets the spares back.
func TestFullDiskTakesSpares(t *testing.T) {
	d := newDisk()
	opt := options(d, 1)
	opt.Spares = spares(t, d)
	j := open(t, opt)
	for i := range 120 {
		put(t, j, 0, fmt.Sprintf("record %d", i))
	}
	if _, err := j.Trim(t.Context(), 1<<60); err != nil {
		t.Fatal(err)
	}
	if n, _ := inFolder(t, d, "/spares"); n == 0 {
		t.Fatal("no spares: the test proves nothing")
	}
	d.set(func(d *disk) { d.capacity = d.used() })
	big := []journal.Part{{Records: run(t, strings.Repeat("x", 9000))}} // larger than any spare
	if err := j.Append(t.Context(), big); !errors.Is(err, journal.ErrNoSpace) {
		t.Fatalf("%v, want ErrNoSpace", err)
	}
	if n, _ := inFolder(t, d, "/spares"); n != 0 {
		t.Errorf("%d spares are still there", n)
	}
	if err := j.Append(t.Context(), big); err != nil {
		t.Errorf("with the spares' space: %v", err)
	}
}
