package journal_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/shardmill/shardmill/shards/journal"
)

// openFS counts the files that are open.
type openFS struct {
	journal.FS
	open, most atomic.Int64
}

func (c *openFS) Create(name string) (journal.File, error) { return c.counted(c.FS.Create(name)) }

func (c *openFS) Open(name string) (journal.File, error) { return c.counted(c.FS.Open(name)) }

func (c *openFS) counted(f journal.File, err error) (journal.File, error) {
	if err != nil {
		return nil, err
	}
	for n := c.open.Add(1); ; {
		if most := c.most.Load(); n <= most || c.most.CompareAndSwap(most, n) {
			return &openFile{File: f, of: c}, nil
		}
	}
}

// openFile is one of them.
type openFile struct {
	journal.File
	of     *openFS
	closed atomic.Bool
}

func (f *openFile) Close() error {
	if !f.closed.Swap(true) {
		f.of.open.Add(-1)
	}
	return f.File.Close()
}

// However many segments a journal has, it has the files of few open: the sixteen that were used last, and those that are written.
func TestFewFilesAreOpen(t *testing.T) {
	const few = 20
	d := &openFS{FS: newDisk()}
	j := open(t, options(d, 2))
	var want []string
	for n := range 600 {
		want = append(want, fmt.Sprintf("%04d %0200d", n, n))
		put(t, j, 0, want[n])
	}
	expect(t, j, 0, 0, want...)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := d.ReadDir(dir); err != nil || len(names) < 2*few {
		t.Fatalf("%d files, %v: the test wants more", len(names), err)
	}
	if n := d.open.Load(); n != 0 {
		t.Errorf("%d files are open when the journal is closed", n)
	}
	j = open(t, options(d, 2))
	for range 2 {
		expect(t, j, 0, 0, want...)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if n := d.most.Load(); n > few {
		t.Errorf("%d files were open at once", n)
	}
	if n := d.open.Load(); n != 0 {
		t.Errorf("%d files are open when the journal is closed again", n)
	}
}
