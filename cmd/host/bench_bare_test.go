package main

import (
	"errors"
	"sync"
	"testing"
	"time"
)

func TestBareWrites(t *testing.T) {
	b := &bench{dir: t.TempDir(), quick: true}
	var mu sync.Mutex
	seen, most := map[int]bool{}, 0
	err := atRate(t.Context(), 2000, 100*time.Millisecond, func(i int) error {
		mu.Lock()
		defer mu.Unlock()
		if seen[i] {
			t.Errorf("call %d was made twice", i)
		}
		seen[i], most = true, max(most, i)
		return nil
	})
	if err != nil || len(seen) == 0 {
		t.Errorf("%d calls, %v", len(seen), err)
	}
	failure := errors.New("as it is told")
	if err := atRate(t.Context(), 2000, time.Minute, func(int) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("%v", err)
	}
	took, err := b.bareFiles(t.Context(), 10, 10)
	if err != nil || len(took) == 0 || quantile(took, 0.01) <= 0 {
		t.Errorf("%d writes, %v", len(took), err)
	}
	if left := listDir(t, b.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
