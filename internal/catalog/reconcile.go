package catalog

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// held is what JetStream gave back when the catalog was opened.
type held struct {
	absent  bool     // the stream was not known and was made
	faults  []string // what JetStream could not read, in its words
	last    uint64   // the stream's last sequence number
	live    map[id]change
	markers map[id]uint64 // deletions: revision of each
}

// plan is what Open does about the two copies.
type plan struct {
	live    map[id]change // what the tables hold
	restore bool          // JetStream's stream is made anew from live
	rewrite bool          // the snapshot file is made anew from live
	aside   bool          // the damaged snapshot file is kept
	next    uint64        // with restore: lower bound of new revisions
	alarms  []Alarm
	err     error // both copies are damaged and that was not accepted
}

// restoreGap keeps the revisions given after a restore from both damaged copies apart
// from any given before: how many were lost is not known.
const restoreGap = 1 << 20

// markersKept is how many deletion markers JetStream may hold, unless there are as many
// entries. They are never purged one by one: nats-server (2.15) does not make the
// removal of its oldest messages durable, and after a crash what a purged marker had
// deleted is back.
const markersKept = 1000

// reconcile compares the snapshot with what JetStream came back with. A snapshot that
// is whole tells of every acknowledged change: what it says is true up to its last
// revision, and what JetStream has beyond that was written and not yet acknowledged.
func reconcile(s saved, h held, acceptDamage bool) plan {
	switch s.state {
	case saveAbsent:
		return reconcileAbsent(h, acceptDamage)
	case saveDamaged:
		return reconcileDamaged(s, h, acceptDamage)
	}
	lost := contradictions(s, h)
	if h.absent { // it was made before the snapshot was
		lost = append(lost, fmt.Sprintf("stream %s is not known", streamName))
	}
	behind := h.last > s.last
	if s.state == saveTail && len(lost) > 0 && !behind {
		return bothDamaged(s, h, lost, acceptDamage)
	}
	p := plan{live: overlay(s, h), rewrite: behind || s.state == saveTail}
	if len(lost) > 0 {
		p.restore, p.rewrite = true, true
		p.next = max(s.last, h.last) + 1
		p.alarms = append(p.alarms, Alarm{
			Kind:   AlarmJetStreamRestored,
			Detail: fmt.Sprintf("JetStream stream %s has lost acknowledged definitions; restored from %s", streamName, snapshotName),
			Lost:   lost,
		})
	}
	if len(h.markers) > max(markersKept, len(p.live)) && !p.restore {
		p.restore, p.rewrite = true, true
		p.next = h.last + 1
	}
	if s.state == saveTail && !behind {
		// A write cut short by a crash is one JetStream had already taken. This is not.
		p.aside = true
		p.alarms = append(p.alarms, Alarm{
			Kind:   AlarmSnapshotDamaged,
			Detail: fmt.Sprintf("%s: %s, and JetStream has no change they could be; the file was made anew", snapshotName, s.reason),
		})
	}
	return p
}

// reconcileAbsent opens a catalog without a snapshot: a new one, unless JetStream has
// something.
func reconcileAbsent(h held, acceptDamage bool) plan {
	if len(h.faults) > 0 {
		return bothDamaged(saved{reason: snapshotName + " is missing"}, h, h.faults, acceptDamage)
	}
	p := plan{live: h.live, rewrite: true}
	if h.last > 0 {
		p.restore, p.next = h.absent, h.last+restoreGap
		p.alarms = []Alarm{{
			Kind:   AlarmSnapshotDamaged,
			Detail: fmt.Sprintf("%s is missing; made anew from JetStream, whose own losses can no longer be found", snapshotName),
		}}
	}
	return p
}

// reconcileDamaged opens a catalog whose snapshot is damaged. The records that can
// still be checked are evidence against JetStream: only if it agrees with all of them
// is it believed.
func reconcileDamaged(s saved, h held, acceptDamage bool) plan {
	if lost := contradictions(s, h); len(lost) > 0 {
		return bothDamaged(s, h, lost, acceptDamage)
	}
	return plan{live: h.live, restore: h.absent, next: max(s.last, h.last) + restoreGap, rewrite: true, aside: true, alarms: []Alarm{{
		Kind:   AlarmSnapshotDamaged,
		Detail: fmt.Sprintf("%s: %s; made anew from JetStream, which agrees with what can be read of it", snapshotName, s.reason),
	}}}
}

// bothDamaged is an error, or, when that was accepted, the newest of each entry that
// either copy can prove.
func bothDamaged(s saved, h held, lost []string, acceptDamage bool) plan {
	detail := fmt.Sprintf("%s (%s) and JetStream stream %s are both damaged", snapshotName, s.reason, streamName)
	if !acceptDamage {
		return plan{err: fmt.Errorf("%w: %s: %s", ErrDamaged, detail, strings.Join(lost, "; "))}
	}
	live := map[id]change{}
	for _, c := range s.live {
		if c.revision >= max(h.live[c.id].revision, h.markers[c.id]) {
			live[c.id] = c
		}
	}
	for _, c := range h.live {
		if c.revision > max(s.live[c.id].revision, s.deleted[c.id]) {
			live[c.id] = c
		}
	}
	return plan{
		live: live, restore: true, rewrite: true, aside: true,
		next:   max(s.last, h.last) + restoreGap,
		alarms: []Alarm{{Kind: AlarmDamageAccepted, Detail: detail + "; what either can prove is served", Lost: lost}},
	}
}

// overlay is the snapshot with the changes JetStream has beyond it.
func overlay(s saved, h held) map[id]change {
	live := make(map[id]change, len(s.live))
	for i, c := range s.live {
		if h.markers[i] <= s.last {
			live[i] = c
		}
	}
	for i, c := range h.live {
		if c.revision > s.last {
			live[i] = c
		}
	}
	return live
}

// contradictions lists, as sentences in a fixed order, where JetStream disagrees with
// what the snapshot proves.
func contradictions(s saved, h held) []string {
	list := slices.Clone(h.faults)
	if h.last < s.last {
		list = append(list, fmt.Sprintf("the stream ends at revision %d, %d was acknowledged", h.last, s.last))
	}
	var about []string
	for i, c := range s.live {
		if text := missing(s, h, i, c); text != "" {
			about = append(about, text)
		}
	}
	for i, c := range h.live {
		if text := resurrected(s, i, c); text != "" {
			about = append(about, text)
		}
	}
	slices.Sort(about)
	return append(list, about...)
}

// newer says whether a revision JetStream has of an entry can be a change after the one
// the snapshot has. A whole snapshot has every change up to s.last; of a damaged one a
// record between may be missing.
func newer(s saved, revision, than uint64) bool {
	if s.state == saveDamaged {
		return revision > than
	}
	return revision > s.last
}

func missing(s saved, h held, i id, c change) string {
	if got, ok := h.live[i]; ok {
		switch {
		case newer(s, got.revision, c.revision):
			return ""
		case got.revision != c.revision:
			return fmt.Sprintf("%s is at revision %d, %d was acknowledged", i, got.revision, c.revision)
		case !bytes.Equal(got.value, c.value):
			return fmt.Sprintf("%s has another value at revision %d", i, c.revision)
		}
		return ""
	}
	if marker, ok := h.markers[i]; ok && newer(s, marker, c.revision) {
		return ""
	}
	return fmt.Sprintf("%s at revision %d is missing", i, c.revision)
}

func resurrected(s saved, i id, c change) string {
	if _, ok := s.live[i]; ok {
		return ""
	}
	known := s.last
	if s.state == saveDamaged {
		known = s.deleted[i]
	}
	if c.revision > known {
		return ""
	}
	return fmt.Sprintf("%s, deleted, is back at revision %d", i, c.revision)
}
