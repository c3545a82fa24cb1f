package runtime

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/sdk/abi"
)

// retelling gives the answers of a tape again, and secrets at any time. As long as the guest asks what is on the tape, in its order, it gets the
// tape's answers. From the first other question on, it gets that of the same question, as far as there is one, and what it asks of state is answered from what the tape
// tells of the tables, and the guest's own changes.
type retelling struct {
	answers []capsule.Answer
	secrets map[string][]byte // of the tape: what is on it is without their values
	given   map[string][]byte // all that can be read, on the tape or not
	lacks   string            // why there may be less on the tape than was asked, in words; "" = all is

	next    int  // answer, as long as the guest follows the tape
	strayed bool // it does not
	told    []bool
	missing []string // questions that had no answer, for people; the first maxMissing
	misses  int

	// own are the entries of tables, by entryOf: those that the guest has changed, and from when it strays also those that the tape tells of.
	own     map[string]remembered
	changed map[string]bool // tables that it has changed since it strayed
	last    int64           // the last revision that a change of the guest's was given
}

// maxMissing is how many questions without an answer are remembered.
const maxMissing = 100

// ownRevision is in the revisions that package state gives to changes of a call under way.
const ownRevision = int64(1) << 62

// remembered is an entry of a state table. A revision of 0 means that there is none.
type remembered struct {
	revision int64
	value    []byte
}

func newRetelling(t *capsule.Tape, format int, secrets map[string][]byte) *retelling {
	r := &retelling{answers: t.Answers, told: make([]bool, len(t.Answers)), own: map[string]remembered{}, secrets: map[string][]byte{}, given: secrets}
	for _, name := range t.Secrets {
		if value, ok := secrets[name]; ok {
			r.secrets[name] = value
		}
	}
	switch {
	case format == 1:
		r.lacks = "; it was made before answers were kept"
	case t.Cut:
		r.lacks = fmt.Sprintf("; it has the first %d only", len(t.Answers))
	}
	return r
}

// retell answers a question from the tape.
func (v *visit) retell(ctx context.Context, r *retelling, q *question) int64 {
	if q.door == abi.ImportSecret {
		if value, ok := r.given[string(q.parts[0])]; ok {
			r.tick(q)
			return v.hand(value)
		}
	}
	// Secrets that were handed over are read whenever the guest likes: one that keeps them from call to call reads them at other times.
	for r.next < len(r.answers) && r.answers[r.next].Door == abi.ImportSecret && r.answers[r.next].Status >= 0 && q.door != abi.ImportSecret {
		r.next++
	}
	if !r.strayed && r.next < len(r.answers) && r.is(r.next, q.digest(r.secrets)) {
		r.follow(&r.answers[r.next], q)
		r.next++
		return v.repeat(ctx, r, r.next-1)
	}
	if !r.strayed {
		r.stray()
	}
	switch q.door {
	case abi.ImportStateGet, abi.ImportStatePut, abi.ImportStateDelete:
		return v.recall(r, q)
	}
	at := -1
	if q.door == abi.ImportStateList {
		at = r.listed(q)
	} else {
		at = r.find(q)
	}
	if at < 0 {
		return v.miss(r, q)
	}
	return v.repeat(ctx, r, at)
}

func (r *retelling) is(at int, digest []byte) bool { return bytes.Equal(r.answers[at].Asked, digest) }

// find is the answer to a question: one that was not given yet, or for what may be asked twice any; -1 for none.
func (r *retelling) find(q *question) int {
	digest, again := q.digest(r.secrets), -1
	for at := range r.answers {
		if r.is(at, digest) && !r.told[at] {
			return at
		}
		if r.is(at, digest) && q.door != abi.ImportHTTPFetch {
			again = at
		}
	}
	return again
}

// repeat gives an answer of the tape.
func (v *visit) repeat(ctx context.Context, r *retelling, at int) int64 {
	a := &r.answers[at]
	r.told[at] = true
	if w, ok := ctx.Value(watchKey{}).(*watch); ok && a.Over {
		w.end(stopTimeout)
		return int64(abi.StatusUnavailable)
	}
	if a.Door == abi.ImportSecret && a.Status >= 0 {
		return v.refuse(abi.StatusUnavailable, "the value of secret %q is in no capsule, and was not given", a.Name)
	}
	v.result = a.Restore(r.secrets)
	return a.Status
}

// miss answers a question that the tape has no answer to.
func (v *visit) miss(r *retelling, q *question) int64 {
	a := q.answer(r.secrets)
	r.misses++
	if len(r.missing) < maxMissing {
		r.missing = append(r.missing, a.String())
	}
	return v.refuse(abi.StatusUnavailable, "the capsule has no answer to %s%s", a.String(), r.lacks)
}

// untold are the questions of the tape that were not asked, for people.
func (r *retelling) untold() (list []string, n int) {
	for at, told := range r.told {
		if told {
			continue
		}
		if n++; n <= maxMissing {
			list = append(list, r.answers[at].String())
		}
	}
	return list, n
}

// entryOf names an entry of a table, its key as a capsule has it.
func entryOf(table string, key []byte) string { return table + "\x00" + string(key) }

// stray learns from the tape how the tables were when the call began, and then what the guest has changed in them so far.
func (r *retelling) stray() {
	r.strayed, r.changed = true, map[string]bool{}
	known, changed := map[string]remembered{}, map[string]bool{}
	// What the call itself had changed by then tells nothing of before.
	learn := func(entry string, is remembered) {
		if _, twice := known[entry]; !twice && !changed[entry] && is.revision&ownRevision == 0 {
			known[entry] = is
		}
	}
	for at := range r.answers {
		a := &r.answers[at]
		e := entryOf(a.Name, a.Key)
		switch {
		case changes(a.Door):
			changed[e] = changed[e] || a.Status >= 0
		case a.Door == abi.ImportStateGet && a.Status == int64(abi.StatusNotFound):
			learn(e, remembered{})
		case a.Door == abi.ImportStateGet && a.Status >= 0:
			if view := a.Restore(r.secrets); len(view) >= 8 {
				learn(e, remembered{int64(binary.LittleEndian.Uint64(view)), view[8:]})
			}
		case a.Door == abi.ImportStateList && a.Status >= 0:
			list, _, err := abi.ParseStateList(a.Restore(r.secrets))
			if err != nil {
				continue // it is what another program has made
			}
			for _, l := range list {
				learn(entryOf(a.Name, hidden(l.Key, r.secrets)), remembered{l.Revision, l.Value})
			}
		}
	}
	maps.Copy(known, r.own)
	r.own = known
}

// follow notes a change of the guest's that the tape has too.
func (r *retelling) follow(a *capsule.Answer, q *question) {
	switch {
	case a.Status < 0:
	case a.Door == abi.ImportStatePut:
		r.last = max(r.last, a.Status&^ownRevision)
		r.own[entryOf(a.Name, a.Key)] = remembered{a.Status, bytes.Clone(q.parts[2])}
	case a.Door == abi.ImportStateDelete:
		r.own[entryOf(a.Name, a.Key)] = remembered{}
	}
}

// recall answers a question about an entry from what is known of it.
func (v *visit) recall(r *retelling, q *question) int64 {
	entry := entryOf(string(q.parts[0]), hidden(q.parts[1], r.secrets))
	is, known := r.own[entry]
	r.tick(q)
	if q.door == abi.ImportStateGet {
		switch {
		case !known:
			return v.miss(r, q)
		case is.revision == 0:
			return v.refuse(abi.StatusNotFound, "there is no key %q in state table %s", q.parts[1], q.parts[0])
		}
		v.result = append(binary.LittleEndian.AppendUint64(nil, uint64(is.revision)), is.value...)
		return int64(len(v.result))
	}
	put := q.door == abi.ImportStatePut
	if put && len(q.parts[2]) > abi.MaxStateValueBytes {
		return v.refuse(abi.StatusInvalid, "value is %d bytes; it must be at most %d bytes", len(q.parts[2]), abi.MaxStateValueBytes)
	}
	if expected := int64(binary.LittleEndian.Uint64(q.parts[q.n-1])); expected != abi.ExpectAny {
		if !known {
			return v.miss(r, q)
		}
		if expected != is.revision {
			return v.refuse(abi.StatusConflict, "the entry has changed: key %q of table %s", q.parts[1], q.parts[0])
		}
	}
	r.changed[string(q.parts[0])] = true
	v.result = nil
	if !put {
		r.own[entry] = remembered{}
		return 0
	}
	r.last++
	r.own[entry] = remembered{ownRevision | r.last, bytes.Clone(q.parts[2])}
	return ownRevision | r.last
}

// tick notes that a question of the tape was asked, whatever it was answered.
func (r *retelling) tick(q *question) {
	if at := r.find(q); at >= 0 {
		r.told[at] = true
	}
}

// listed is the tape's answer to a list of a table that was then as the guest has it now; -1 for none.
func (r *retelling) listed(q *question) int {
	table, digest := string(q.parts[0]), q.digest(r.secrets)
	if r.changed[table] {
		return -1
	}
	for at := range r.answers {
		if !r.is(at, digest) {
			continue
		}
		between := r.answers[min(at, r.next):max(at, r.next)]
		if !slices.ContainsFunc(between, func(a capsule.Answer) bool { return a.Name == table && a.Status >= 0 && changes(a.Door) }) {
			return at
		}
	}
	return -1
}

func changes(door string) bool { return door == abi.ImportStatePut || door == abi.ImportStateDelete }
