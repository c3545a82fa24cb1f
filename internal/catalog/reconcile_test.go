package catalog

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
)

func copyOf(state saveState, last uint64, records ...change) saved {
	s := saved{state: state, reason: "for a test", live: map[id]change{}, deleted: map[id]uint64{}}
	for _, c := range records {
		s.apply(c)
	}
	s.last = max(s.last, last)
	return s
}

func stream(last uint64, messages ...change) held {
	h := held{last: last, live: map[id]change{}, markers: map[id]uint64{}}
	for _, c := range messages {
		if c.op == opDelete {
			h.markers[c.id] = c.revision
		} else {
			h.live[c.id] = c
		}
	}
	return h
}

func TestReconcile(t *testing.T) {
	a1, a2, b3 := put("a", "1", 1), put("a", "2", 2), put("b", "3", 3)
	fault := stream(3, a2, b3)
	fault.faults = []string{"read it: timeout"}
	crowded := stream(markersKept+3, a2, b3)
	for n := range markersKept + 1 {
		crowded.markers[id{"t", fmt.Sprintf("gone %d", n)}] = uint64(n + 3)
	}
	unknown := stream(3, a2, b3)
	unknown.absent = true
	tests := []struct {
		name    string
		s       saved
		h       held
		live    map[string]string
		alarms  string // kinds, joined
		restore bool
		rewrite bool
		damaged bool // an error without AcceptDamage; live is then what is served with it
	}{
		{"new", saved{}, stream(0), map[string]string{}, "", false, true, false},
		{"equal", copyOf(saveWhole, 3, a2, b3), stream(3, a2, b3), map[string]string{"a": "2@2", "b": "3@3"}, "", false, false, false},
		{"a write not acknowledged", copyOf(saveWhole, 2, a2), stream(3, a2, b3), map[string]string{"a": "2@2", "b": "3@3"}, "", false, true, false},
		{"a deletion not acknowledged", copyOf(saveWhole, 2, a2), stream(3, del("a", 3)), map[string]string{}, "", false, true, false},
		{"the same, cut short", copyOf(saveTail, 2, a2), stream(3, a2, b3), map[string]string{"a": "2@2", "b": "3@3"}, "", false, true, false},
		{"the end is lost", copyOf(saveWhole, 3, a2, b3), stream(2, a2), map[string]string{"a": "2@2", "b": "3@3"}, "jetstream_restored", true, true, false},
		{"the middle is lost", copyOf(saveWhole, 3, a2, b3), stream(3, b3), map[string]string{"a": "2@2", "b": "3@3"}, "jetstream_restored", true, true, false},
		{"an old value is back", copyOf(saveWhole, 3, a2, b3), stream(3, a1, b3), map[string]string{"a": "2@2", "b": "3@3"}, "jetstream_restored", true, true, false},
		{"another value", copyOf(saveWhole, 3, a2, b3), stream(3, put("a", "x", 2), b3), map[string]string{"a": "2@2", "b": "3@3"}, "jetstream_restored", true, true, false},
		{"a deleted entry is back", copyOf(saveWhole, 3, a2, del("b", 3)), stream(3, a2, put("b", "0", 1)), map[string]string{"a": "2@2"}, "jetstream_restored", true, true, false},
		{"a deletion that was compacted is lost", copyOf(saveWhole, 3, a2), stream(3, a2, put("b", "0", 1)), map[string]string{"a": "2@2"}, "jetstream_restored", true, true, false},
		{"only a number is lost", copyOf(saveWhole, 3, a2), stream(2, a2), map[string]string{"a": "2@2"}, "jetstream_restored", true, true, false},
		{"the middle is lost and more is there", copyOf(saveWhole, 3, a2, b3), stream(5, b3, put("c", "5", 5)), map[string]string{"a": "2@2", "b": "3@3", "c": "5@5"}, "jetstream_restored", true, true, false},
		{"JetStream cannot read", copyOf(saveWhole, 3, a2, b3), fault, map[string]string{"a": "2@2", "b": "3@3"}, "jetstream_restored", true, true, false},
		{"JetStream does not know the stream", copyOf(saveWhole, 3, a2, b3), unknown, map[string]string{"a": "2@2", "b": "3@3"}, "jetstream_restored", true, true, false},
		{"too many markers", copyOf(saveWhole, markersKept+3, a2, b3), crowded, map[string]string{"a": "2@2", "b": "3@3"}, "", true, true, false},
		{"bytes behind the end", copyOf(saveTail, 3, a2, b3), stream(3, a2, b3), map[string]string{"a": "2@2", "b": "3@3"}, "snapshot_damaged", false, true, false},
		{"snapshot gone", saved{}, stream(3, a2, b3), map[string]string{"a": "2@2", "b": "3@3"}, "snapshot_damaged", false, true, false},
		{"snapshot damaged", copyOf(saveDamaged, 3, b3), stream(3, a2, b3), map[string]string{"a": "2@2", "b": "3@3"}, "snapshot_damaged", false, true, false},
		{"snapshot damaged, an older record left", copyOf(saveDamaged, 3, a1, b3), stream(3, a2, b3), map[string]string{"a": "2@2", "b": "3@3"}, "snapshot_damaged", false, true, false},
		{"snapshot damaged, its deletion left", copyOf(saveDamaged, 4, a2, del("b", 4)), stream(4, a2), map[string]string{"a": "2@2"}, "snapshot_damaged", false, true, false},
		{"both: an entry is missing", copyOf(saveDamaged, 3, a2, b3), stream(3, b3), map[string]string{"a": "2@2", "b": "3@3"}, "damage_accepted", true, true, true},
		{"both: the stream is short", copyOf(saveDamaged, 3, b3), stream(2, a2), map[string]string{"a": "2@2", "b": "3@3"}, "damage_accepted", true, true, true},
		{"both: a deleted entry is back", copyOf(saveDamaged, 4, a2, del("b", 4)), stream(4, a2, b3), map[string]string{"a": "2@2"}, "damage_accepted", true, true, true},
		{"both: a tail and a short stream", copyOf(saveTail, 3, a2, b3), stream(2, a2), map[string]string{"a": "2@2", "b": "3@3"}, "damage_accepted", true, true, true},
		{"both: gone and unreadable", saved{}, fault, map[string]string{"a": "2@2", "b": "3@3"}, "damage_accepted", true, true, true},
		{"a tail, loss, and more is there", copyOf(saveTail, 3, a2, b3), stream(4, b3), map[string]string{"a": "2@2", "b": "3@3"}, "jetstream_restored", true, true, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			p := reconcile(tc.s, tc.h, false)
			if (p.err != nil) != tc.damaged {
				t.Fatalf("the error is %v", p.err)
			}
			if tc.damaged {
				if !errors.Is(p.err, ErrDamaged) || !strings.Contains(p.err.Error(), snapshotName) {
					t.Errorf("the error is %v", p.err)
				}
				p = reconcile(tc.s, tc.h, true)
			}
			checkPlan(t, p, tc.s, tc.h)
			var kinds []string
			for _, a := range p.alarms {
				kinds = append(kinds, string(a.Kind))
			}
			if got := strings.Join(kinds, " "); got != tc.alarms {
				t.Errorf("alarms %q, want %q", got, tc.alarms)
			}
			if got := values(p.live); !maps.Equal(got, tc.live) || p.restore != tc.restore || p.rewrite != tc.rewrite {
				t.Errorf("%v, restore %t, rewrite %t; want %v, %t, %t", got, p.restore, p.rewrite, tc.live, tc.restore, tc.rewrite)
			}
		})
	}
}

// checkPlan demands what must hold of every plan.
func checkPlan(t *testing.T, p plan, s saved, h held) {
	t.Helper()
	if p.restore && !p.rewrite {
		t.Error("JetStream gets new revisions and the snapshot does not learn them")
	}
	if p.restore && p.next <= max(s.last, h.last) {
		t.Errorf("new revisions begin at %d; %d and %d have been given", p.next, s.last, h.last)
	}
	if p.restore && len(p.alarms) == 0 && len(h.markers) <= markersKept {
		t.Error("JetStream is made anew without an alarm")
	}
	if p.aside && !p.rewrite {
		t.Error("the damaged file is put aside and none takes its place")
	}
}
