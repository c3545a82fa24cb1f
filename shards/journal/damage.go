package journal

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// NoShard is the shard of damage that cannot be told to belong to one: First and Last are then places in the journal,
// segment number << 32 | offset, and serve only to tell one damage from another.
const NoShard = ^uint32(0)

// DamageError names stored bytes that do not check, or records that are not there and should be.
type DamageError struct {
	Stream string
	Shard  uint32 // NoShard when unknown
	First  uint64 // sequence numbers that cannot be served
	Last   uint64
	File   string
	Offset int64
	Reason string
}

// Error names all fields.
func (d *DamageError) Error() string {
	if d.Shard == NoShard {
		return fmt.Sprintf("stream %q is damaged: %s (%s, offset %d)", d.Stream, d.Reason, d.File, d.Offset)
	}
	return fmt.Sprintf("stream %q shard %d is damaged at sequence numbers %d to %d: %s (%s, offset %d)",
		d.Stream, d.Shard, d.First, d.Last, d.Reason, d.File, d.Offset)
}

// ledger is the damage of a journal that has been found and not been accepted, by shard. The journal's mutex guards it.
type ledger map[uint32]damageList

// lossControl is the entry by which accepted damage stays on record.
func lossControl(d DamageError) control {
	return control{kind: kindLost, shard: d.Shard, first: d.First, body: append(le.AppendUint64(nil, d.Last), d.Reason...)}
}

// lossHeaderSize is that of its body before the reason.
const lossHeaderSize = 8

// decodeLoss reads a body whose checksum has been verified.
func decodeLoss(h entryHeader, b []byte) DamageError {
	if len(b) < lossHeaderSize {
		return DamageError{Shard: h.shard}
	}
	return DamageError{Shard: h.shard, First: h.first, Last: le.Uint64(b), Reason: string(bytes.TrimRight(b[lossHeaderSize:], "\x00"))}
}

// applyLoss notes an accepted loss. The caller holds j.mu or is opening the journal.
func (j *Journal) applyLoss(d DamageError) {
	d.Stream, d.File, d.Offset = "", "", 0
	d.Reason = strings.ToValidUTF8(d.Reason, "?")
	if d.Shard == NoShard {
		j.accepted.add(d)
	} else if s := j.shards[d.Shard]; s != nil {
		s.lost.add(d)
	}
}

// lossesOf is the accepted damage of a shard or of NoShard. The caller holds j.mu or is opening the journal.
func (j *Journal) lossesOf(shard uint32) damageList {
	if shard == NoShard {
		return j.accepted
	}
	if s := j.shards[shard]; s != nil {
		return s.lost
	}
	return nil
}

// noteDamage puts on the list what of d is not there yet and has not been accepted, and raises the alarm for it. The caller
// holds j.mu or is opening the journal.
func (j *Journal) noteDamage(d DamageError) {
	list := j.ledger[d.Shard]
	added := false
	for _, part := range j.lossesOf(d.Shard).missing(d) {
		added = list.add(part) || added
	}
	if !added {
		return
	}
	j.ledger[d.Shard] = list
	j.opt.Metric.damage.Inc()
	j.log.Error("the journal is damaged", "shard", int64(int32(d.Shard)), "first", d.First, "last", d.Last, "file", d.File, "offset", d.Offset, "reason", d.Reason)
}

// meetDamage notes damage that a reader has come to at a sequence number, and returns it as it is listed. The caller holds j.mu.
func (j *Journal) meetDamage(d DamageError, sequence uint64) *DamageError {
	j.noteDamage(d)
	if listed := j.ledger[d.Shard].at(sequence); listed != nil {
		d = *listed
	}
	return &d
}

// Damage lists the damage that has been found since the journal was opened and not been accepted, by shard and sequence number.
// What touches in one shard and one file, for one reason, is one.
func (j *Journal) Damage() []DamageError {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []DamageError
	for _, shard := range slices.Sorted(maps.Keys(j.ledger)) {
		all = append(all, j.ledger[shard].values()...)
	}
	return all
}

// AcceptDamage durably gives up what the listed damage of a shard (or of NoShard) has taken, so that readers pass over
// it, and returns what is lost. Errors: those of Append.
func (j *Journal) AcceptDamage(ctx context.Context, shard uint32) (lost []DamageError, err error) {
	err = j.submit(ctx, &request{control: func(*groupPlan) ([]control, error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		if shard != NoShard && j.shards[shard] == nil {
			return nil, fmt.Errorf("%w: %d", ErrShard, shard)
		}
		lost = j.ledger[shard].values()
		controls := make([]control, len(lost))
		for i, d := range lost {
			controls[i] = lossControl(d)
		}
		if len(controls) > 0 {
			controls[0].apply = func() { j.applyLosses(shard, lost) }
		}
		return controls, nil
	}})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// applyLosses notes accepted losses and takes them off the list of damage. The caller holds j.mu.
func (j *Journal) applyLosses(shard uint32, lost []DamageError) {
	for _, d := range lost {
		j.applyLoss(d)
	}
	var left damageList
	for _, d := range j.ledger[shard] {
		for _, part := range j.lossesOf(shard).missing(*d) {
			left.add(part)
		}
	}
	j.setDamage(shard, left)
}

func (j *Journal) setDamage(shard uint32, list damageList) {
	if len(list) == 0 {
		delete(j.ledger, shard)
		return
	}
	j.ledger[shard] = list
}
