package flood

import (
	"testing"
	"time"
)

func TestGate(t *testing.T) {
	var g Gate
	begin := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		after time.Duration
		held  int
		ok    bool
	}{
		{0, 0, true},
		{0, 0, false},
		{time.Second, 0, false},
		{Every - 1, 0, false},
		{Every, 3, true},
		{Every, 0, false},
		{5 * Every, 1, true},
		{10 * Every, 0, true},
	} {
		if held, ok := g.Admit(begin.Add(step.after)); held != step.held || ok != step.ok {
			t.Errorf("after %v: %d held, %v; want %d, %v", step.after, held, ok, step.held, step.ok)
		}
	}
}
