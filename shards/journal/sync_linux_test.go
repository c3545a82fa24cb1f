package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// More syncs at the same time than the kernel takes from us, again and again: each is answered, and nothing is left running (see TestMain).
func TestSyncsAtTheSameTime(t *testing.T) {
	d, dir := NewDisk(), t.TempDir()
	var all sync.WaitGroup
	for i := range maxPending + 20 {
		f, err := d.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for n := range 5 {
				if _, err := f.WriteAt([]byte("some bytes"), int64(10*n)); err != nil {
					t.Error(err)
				}
				if err := f.Sync(); err != nil {
					t.Error(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	d.syncs.mu.Lock()
	if n := len(d.syncs.slots); !d.syncs.refused && (n == 0 || len(d.syncs.free) != n) {
		t.Errorf("%d of %d slots are free", len(d.syncs.free), n)
	}
	d.syncs.mu.Unlock()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// with holds back a sync, so that those that begin meanwhile go to the kernel.
func with(s *syncer, f func()) {
	s.busy.Add(1)
	defer s.busy.Add(-1)
	f()
}

// What cannot be synced is an error, whoever does it, and so is a sync that the kernel says has failed.
func TestSyncFails(t *testing.T) {
	d := NewDisk()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	pipe, err := d.wrap(w, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if err := pipe.Sync(); !errors.Is(err, unix.EINVAL) {
			t.Errorf("a pipe was synced: %v", err)
		}
	}
	check()
	with(&d.syncs, check)
	with(&d.syncs, check) // the kernel is not asked again

	s := &syncer{slots: []*pendingSync{{done: make(chan unix.Errno, 1)}, {done: make(chan unix.Errno, 1)}}}
	s.complete([]ioEvent{{data: 1, result: -int64(unix.EIO)}, {data: 0}})
	if ok, failed := <-s.slots[0].done, <-s.slots[1].done; ok != 0 || failed != unix.EIO {
		t.Errorf("%v, %v", ok, failed)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// A disk that has been closed, and a file of no disk, sync as before.
func TestSyncWithoutTheKernelsHelp(t *testing.T) {
	d := NewDisk()
	path := filepath.Join(t.TempDir(), "file")
	f, err := d.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	check := func() {
		t.Helper()
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
	}
	with(&d.syncs, check)
	for range 2 {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		with(&d.syncs, check)
	}
	if f, err = (osFS{}).Open(path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	check()
}
