package journal

import (
	"math"

	"github.com/shardmill/shardmill/sdk/record"
)

// replay builds the state of a journal that is being opened from what was read of its segments.
type replay struct {
	j        *Journal
	scans    map[uint64]*scan // of the segments that were read whole
	findings *findings
	oldest   map[uint32]uint64 // by shard: where it began by the first word on it
	clear    bool              // an intact table has been met, so that the shards are known
}

// run builds the journal's state from what was read, oldest segment first.
func (p *replay) run() {
	var before *segment
	for _, s := range p.j.segments {
		if sc := p.scans[s.number]; sc == nil {
			p.footer(s)
		} else {
			p.follows(before, s, sc)
			p.scan(s, sc)
		}
		before = s
	}
	for _, s := range p.j.shards {
		// No segment holds more records than this, so that no number of a lost one is given again.
		s.next += p.findings.lostSegments * (math.MaxUint32 / record.RecordHeaderSize)
	}
	for _, known := range p.j.opt.Shards {
		if s := p.j.shards[known.ID]; s != nil {
			s.next = max(s.next, known.Next)
		}
	}
	for _, s := range p.j.shards {
		p.setFloor(s)
		p.gaps(s)
	}
}

// follows checks that a segment begins where the one before it ends.
func (p *replay) follows(before, s *segment, sc *scan) {
	if before == nil || before.number+1 != s.number || sc.first.number == 0 || before.last.number == 0 {
		return
	}
	if l := before.last; l.at != sc.first.at || l.checksum != sc.first.checksum {
		p.findings.lose(before.number)
		at := uint64(makePosition(before.number, before.end))
		p.findings.damage(DamageError{Shard: NoShard, First: at, Last: at, File: before.path, Offset: before.end,
			Reason: "the segment does not end where the next one says"})
	}
}

func (p *replay) shard(id uint32, next uint64) *shardState {
	s := p.j.shards[id]
	if s == nil {
		s = &shardState{id: id, next: next}
		p.j.shards[id] = s
	}
	return s
}

func (p *replay) footer(seg *segment) {
	for _, sp := range seg.spans {
		s := p.shard(sp.shard, sp.first)
		p.missed(s, seg, sp.first)
		s.spans = append(s.spans, sp)
		s.next = sp.next
	}
}

func (p *replay) scan(seg *segment, sc *scan) {
	j := p.j
	wasSealed := seg.sealed
	seg.sealed = false
	seg.spans = map[uint32]*span{}
	seg.end, seg.last, seg.arrivals = sc.end, sc.last, sc.times
	if sc.table {
		clear(j.checkpoints)
		j.checkpointBytes = 0
		j.accepted = nil
		for _, s := range j.shards {
			s.lost = nil
		}
		p.clear = true
	}
	for _, f := range sc.entries {
		switch f.header.kind {
		case kindRecords:
			p.records(seg, f)
		case kindShards:
			p.shardStates(seg, f)
		case kindCheckpoint:
			j.applyCheckpoint(decodeCheckpoint(f.header.shard, f.body))
		case kindLost:
			j.applyLoss(decodeLoss(f.header, f.body))
		}
	}
	if sc.table {
		p.forgetUnlisted(sc)
	}
	for _, d := range sc.bad {
		p.findings.damage(d)
	}
	for _, u := range sc.unknown {
		p.findings.damage(j.unknownDamage(seg, u))
	}
	if len(sc.unknown) > 0 || len(sc.bad) > 0 {
		seg.poisoned = true
		p.skipAhead(seg, sc)
	} else if wasSealed {
		// Its footer stands; only its table was wanted.
		seg.sealed = true
		for _, sp := range seg.spans {
			list := sp.live
			sp.sealed.Store(&list)
		}
	}
}

func (p *replay) shardStates(seg *segment, f found) {
	for b := f.body; len(b) >= shardStateSize; b = b[shardStateSize:] {
		id, next, oldest := le.Uint32(b), le.Uint64(b[8:]), le.Uint64(b[16:])
		if next == 0 {
			p.forget(id)
			continue
		}
		s := p.shard(id, next)
		p.bornAgain(s, next)
		if f.table {
			p.missed(s, seg, next)
			s.next = next
		}
		if seg == p.j.segments[0] {
			oldest = next // what the segments before had is gone
		}
		if _, ok := p.oldest[id]; !ok {
			p.oldest[id] = oldest
		}
	}
}

// forget takes a shard out that was forgotten when no segment had records of it. One of which there are records again, because a
// dropped segment could not be removed, is forgotten anew after the next Trim.
func (p *replay) forget(id uint32) {
	if s := p.j.shards[id]; s != nil && len(s.spans) == 0 {
		delete(p.j.shards, id)
		delete(p.oldest, id)
	}
}

// bornAgain makes a shard another one when its sequence numbers are of another epoch: the one before was forgotten, in a segment of
// which only the index was read, and its number given again.
func (p *replay) bornAgain(s *shardState, next uint64) {
	if e := record.Epoch(next); e != record.Epoch(s.next) && len(s.spans) == 0 {
		s.next, s.floor = record.MakeSequence(e, 1), lostFront{}
		delete(p.oldest, s.id)
	}
}

// forgetUnlisted takes out the shards that an intact table does not list: they were forgotten in a segment of which only the
// index was read.
func (p *replay) forgetUnlisted(sc *scan) {
	listed := map[uint32]bool{}
	for _, f := range sc.entries {
		for b := f.body; f.header.kind == kindShards && len(b) >= shardStateSize; b = b[shardStateSize:] {
			listed[le.Uint32(b)] = true
		}
	}
	for id := range p.j.shards {
		if !listed[id] {
			p.forget(id)
		}
	}
}

// setFloor notes where a shard should begin when something unknown was lost, so that its first records are not taken for
// dropped by retention when they are missing.
func (p *replay) setFloor(s *shardState) {
	if !p.findings.unknown {
		return
	}
	floor, ok := p.oldest[s.id]
	if !ok {
		floor = record.MakeSequence(record.Epoch(s.next), 1)
	}
	if floor < s.oldest() {
		s.floor = lostFront{floor, p.findings.since}
	}
}

func (p *replay) records(seg *segment, f found) {
	s := p.shard(f.header.shard, f.header.first)
	p.disown(s, f.stored.first)
	if f.stored.first < s.next {
		p.findings.damage(DamageError{Shard: s.id, First: f.stored.first, Last: f.stored.next() - 1, File: seg.path, Offset: int64(f.stored.offset),
			Reason: "records stand twice in the journal; the first are served"})
		return
	}
	p.missed(s, seg, f.stored.first)
	seg.spanOf(s).add(f.stored)
	s.next = f.stored.next()
}

// disown takes back batches that a later one of the same numbers stands for: their group was refused, and what began the next segment
// in its place no longer says so.
func (p *replay) disown(s *shardState, first uint64) {
	for n := len(s.spans); n > 0 && s.next > first; n = len(s.spans) {
		sp := s.spans[n-1]
		if len(sp.live) == 0 || sp.live[len(sp.live)-1].first < first {
			return
		}
		sp.live = sp.live[:len(sp.live)-1]
		s.next = first
		if len(sp.live) > 0 {
			sp.next = sp.live[len(sp.live)-1].next()
			s.next = sp.next
			continue
		}
		delete(sp.seg.spans, s.id)
		s.spans = s.spans[:n-1]
		if n > 1 {
			s.next = s.spans[n-2].next
		}
	}
}

// missed notes that a shard of which no record has been met should have had some before a segment.
func (p *replay) missed(s *shardState, seg *segment, next uint64) {
	p.bornAgain(s, next)
	if len(s.spans) == 0 && s.next < next && s.floor.sequence == 0 {
		s.floor = lostFront{s.next, seg.number - 1}
	}
}

// skipAhead moves the next sequence numbers of the shards past what may have been lost behind their last stored batch,
// so that no acknowledged number is given again. A later table knows better and overrules it.
func (p *replay) skipAhead(seg *segment, sc *scan) {
	for _, s := range p.j.shards {
		last := int64(0)
		if sp := seg.spans[s.id]; sp != nil {
			last = int64(sp.live[len(sp.live)-1].offset)
		}
		lost := int64(0)
		for _, u := range sc.unknown {
			if u.offset > last {
				lost += u.size
			}
		}
		if lost > 0 {
			s.next += uint64(lost)/record.RecordHeaderSize + 1
		}
	}
}

// gaps names the sequence numbers of a shard that no segment has.
func (p *replay) gaps(s *shardState) {
	next := s.oldest()
	if len(s.spans) == 0 {
		if n := len(p.j.segments); n > 0 {
			p.gap(s.id, next, s.next, p.j.segments[n-1])
		}
		return
	}
	for _, sp := range s.spans {
		for _, e := range sp.live {
			p.gap(s.id, next, e.first, sp.seg)
			next = e.next()
		}
		if len(sp.live) == 0 {
			p.gap(s.id, next, sp.first, sp.seg)
			next = sp.next
		}
	}
	p.gap(s.id, next, s.next, s.spans[len(s.spans)-1].seg)
}

func (p *replay) gap(shard uint32, from, to uint64, seg *segment) {
	if from < to {
		p.findings.damage(DamageError{Shard: shard, First: from, Last: to - 1, File: seg.path, Reason: "records are missing"})
	}
}
