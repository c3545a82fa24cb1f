package shards

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testLogCheckpoints(t *testing.T, l *logUnderTest) {
	mustAppend(t, l, 0, "1", "2", "3")
	save := func(c Checkpoint, want error) uint64 {
		t.Helper()
		revision, err := l.SaveCheckpoint(t.Context(), c)
		if !errors.Is(err, want) || err != nil && want == nil {
			t.Fatalf("save %+v: %v, want %v", c, err, want)
		}
		return revision
	}
	if c, ok := l.Checkpoint("a", 0); ok {
		t.Errorf("a checkpoint out of nothing: %+v", c)
	}
	save(Checkpoint{Consumer: "a", Revision: 1}, ErrRevision)
	one := save(Checkpoint{Consumer: "a", Sequence: seq(1, 1), State: []byte("state")}, nil)
	save(Checkpoint{Consumer: "a"}, ErrRevision)
	two := save(Checkpoint{Consumer: "a", Sequence: seq(1, 2), State: []byte{0, 1}, Revision: one}, nil)
	if one == 0 || two <= one {
		t.Errorf("revisions %d and then %d", one, two)
	}
	save(Checkpoint{Consumer: "a", Revision: one}, ErrRevision)
	save(Checkpoint{Consumer: "a", Shard: 7}, nil)
	save(Checkpoint{Consumer: "b", Sequence: seq(1, 3)}, nil)
	check := func() {
		t.Helper()
		want := Checkpoint{Consumer: "a", Sequence: seq(1, 2), State: []byte{0, 1}, Revision: two}
		got, ok := l.Checkpoint("a", 0)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("%v %s", ok, diff)
		}
	}
	check()
	l.reopen()
	check()
	if got := l.Consumers(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("consumers %q", got)
	}
	for range 2 { // the second time there is none
		if err := l.DeleteCheckpoints(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	l.reopen()
	_, a := l.Checkpoint("a", 0)
	_, a7 := l.Checkpoint("a", 7)
	_, b := l.Checkpoint("b", 0)
	if a || a7 || !b {
		t.Errorf("after the deletion: a %v, a in shard 7 %v, b %v", a, a7, b)
	}
	if got := l.Consumers(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("consumers %q", got)
	}
	save(Checkpoint{Consumer: "a"}, nil)
}

func testLogReopen(t *testing.T, l *logUnderTest) {
	for i := range 10 {
		mustAppend(t, l, 0, fmt.Sprint(i))
		l.reopen()
		mustAppend(t, l, 7, fmt.Sprint(i))
	}
	for i, r := range readLog(t, logReader(t, l, 0, 0), 10) {
		if string(r.Data) != fmt.Sprint(i) || r.Sequence != seq(1, uint64(i)+1) {
			t.Errorf("record %d is %q, %d", i, r.Data, r.Sequence)
		}
	}
	readLog(t, logReader(t, l, 7, 0), 10)
}

func testNoDamage(t *testing.T, l *logUnderTest) {
	mustAppend(t, l, 0, "fine")
	calls := 0
	for _, between := range []func(context.Context) error{nil, func(context.Context) error { calls++; return nil }} {
		if err := l.Scrub(t.Context(), between); err != nil {
			t.Error(err)
		}
	}
	if calls == 0 {
		t.Error("Scrub did not call between")
	}
	stop := errors.New("stop")
	if err := l.Scrub(t.Context(), func(context.Context) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Scrub ended with %v", err)
	}
	if d := l.Damage(); len(d) > 0 {
		t.Errorf("damage: %v", d)
	}
	if lost, err := l.AcceptDamage(t.Context(), 0); len(lost) > 0 || err != nil {
		t.Errorf("accepted %v, %v", lost, err)
	}
	readLog(t, logReader(t, l, 0, 0), 1)
}
