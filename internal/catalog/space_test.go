package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// until waits for a condition that nothing tells of.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-t.Context().Done():
			t.Fatalf("waiting until %s: %v", what, t.Context().Err())
		}
	}
}

// disk is a disk as full as a test says.
type disk struct{ free atomic.Uint64 }

func (d *disk) of() func(string) (uint64, error) {
	return func(string) (uint64, error) { return d.free.Load(), nil }
}

func TestFreeBytes(t *testing.T) {
	if free, err := freeBytes(t.TempDir()); err != nil || free == 0 {
		t.Errorf("%d, %v", free, err)
	}
	none := filepath.Join(t.TempDir(), "none")
	s := &space{dir: none, free: freeBytes}
	for _, err := range []error{s.forWrite(0), s.forRelief()} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a missing directory: %v", err)
		}
	}
}

func TestSpace(t *testing.T) {
	for _, tc := range []struct {
		free   uint64
		n      int
		write  bool
		relief bool
	}{
		{reserveBytes, 0, true, true},
		{reserveBytes - 1, 0, false, true},
		{reserveBytes + 3, 1, false, true},
		{reserveBytes + 4, 1, true, true},
		{reliefBytes, 0, false, true},
		{reliefBytes - 1, 0, false, false},
		{0, 0, false, false},
	} {
		var d disk
		d.free.Store(tc.free)
		s := &space{dir: t.TempDir(), free: d.of()}
		if err := s.forWrite(tc.n); (err == nil) != tc.write || err != nil && !errors.Is(err, ErrNoSpace) {
			t.Errorf("%d free, %d wanted: %v", tc.free, tc.n, err)
		}
		if err := s.forRelief(); (err == nil) != tc.relief || err != nil && !errors.Is(err, ErrNoSpace) {
			t.Errorf("%d free, for relief: %v", tc.free, err)
		}
	}
}

func ballast(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, ballastName))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestFullDisk has a disk without a free byte: what takes space is refused, what makes space is not, for as long as the ballast
// lasts; and when there is space again, all is as before.
func TestFullDisk(t *testing.T) {
	h := newHouse(t)
	var d disk
	d.free.Store(1 << 30)
	h.catalog.space.free = d.of()
	table := h.table(t, "t")
	const steps = ballastBytes / ballastStep
	for i := range steps + 2 {
		mustCreate(t, table, fmt.Sprint(i), "value")
	}
	code, err := h.catalog.Blobs(t.Context(), "code")
	if err != nil {
		t.Fatal(err)
	}
	digest, err := code.Put(t.Context(), []byte("module"))
	if err != nil {
		t.Fatal(err)
	}
	if got := ballast(t, h.catalog.dir); got != ballastBytes {
		t.Errorf("the ballast has %d bytes", got)
	}

	d.free.Store(0)
	if _, err := table.Create(t.Context(), "new", nil); !errors.Is(err, ErrNoSpace) {
		t.Errorf("create: %v", err)
	}
	if _, err := code.Put(t.Context(), []byte("another")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("put: %v", err)
	}
	e, err := table.Get("0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Update(t.Context(), "0", []byte(strings.Repeat("x", 1000)), e.Revision); !errors.Is(err, ErrNoSpace) {
		t.Errorf("an update that takes space: %v", err)
	}
	mustUpdate(t, table, "0", "VALUE", e.Revision)
	if err := code.Delete(t.Context(), digest); err != nil {
		t.Error(err)
	}
	for i := range steps - 2 {
		mustDelete(t, table, fmt.Sprint(i))
	}
	if err := table.Delete(t.Context(), fmt.Sprint(steps), 0); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a deletion after the ballast is used up: %v", err)
	}

	d.free.Store(reliefBytes)
	mustDelete(t, table, fmt.Sprint(steps))
	d.free.Store(1 << 30)
	mustCreate(t, table, "new", "")
	if got := ballast(t, h.catalog.dir); got != ballastBytes {
		t.Errorf("the ballast has %d bytes again", got)
	}
}
