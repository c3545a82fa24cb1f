package aws

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
)

// TestPotIsFair has something left for others however many keys take what they can, and all of it back in the end.
func TestPotIsFair(t *testing.T) {
	p := newPot(4096, 8)
	held := map[string]int64{}
	for i := range 30 {
		key := fmt.Sprint("dead", i)
		for p.try(key, 1) {
			held[key]++
		}
	}
	if held["dead0"] != 455 || held["dead1"] >= held["dead0"] || held["dead29"] == 0 || p.free < 100 {
		t.Errorf("%d are free, %v held", p.free, held)
	}
	if !p.try("another", 64) || p.try("another", 64) || !p.try("a third", 1) {
		t.Errorf("with %d free a key has not one piece, or more than its part", p.free)
	}
	if p.try("large", p.free+1) {
		t.Error("more is taken than is free")
	}
	p.release("another", 64)
	p.release("a third", 1)
	for key, n := range held {
		p.release(key, n)
	}
	if p.free != 4096 || len(p.held) != 0 {
		t.Errorf("%d are free, %v held", p.free, p.held)
	}
}

// TestPotWaits gives room to those who wait, for one key in the order of arrival, and past those who cannot have it yet; who leaves holds nothing.
func TestPotWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPot(4, 2)
		if !p.try("a", 1) || p.try("a", 1) {
			t.Fatal("a has not one piece")
		}
		order := make(chan string, 4)
		wait := func(ctx context.Context, name, key string, n int64) {
			go func() {
				if err := p.wait(ctx, key, n); err != nil {
					name += " gave up"
				}
				order <- name
			}()
			synctest.Wait()
		}
		next := func(want string) {
			t.Helper()
			synctest.Wait()
			select {
			case got := <-order:
				if got != want {
					t.Errorf("%s had its turn, want %s", got, want)
				}
			default:
				t.Errorf("nobody had a turn, want %s", want)
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		wait(ctx, "first", "a", 2)
		wait(t.Context(), "second", "a", 1)
		wait(t.Context(), "b's", "b", 2)
		next("b's") // past a, which has its part
		leave()
		next("first gave up")
		p.release("b", 2)
		p.grow("b", 5) // beyond what there is
		p.release("a", 1)
		if len(order) != 0 {
			t.Error("somebody had a turn while nothing was free")
		}
		p.release("b", 5)
		next("second")
		p.release("a", 1)
		if p.free != 4 || len(p.held)+len(p.line) != 0 {
			t.Errorf("%d are free, %v held, %v wait", p.free, p.held, p.line)
		}
	})
}
