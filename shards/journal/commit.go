package journal

import (
	"errors"
	"hash/crc32"
	"slices"
	"time"
)

func updateEntries(sum uint32, header []byte) uint32 { return crc32.Update(sum, castagnoli, header) }

// active is the segment that is written to, one of number 0 when there is none. Only the writer and Open may ask.
func (j *Journal) active() *segment {
	if j.writer.act == nil {
		j.writer.act = &segment{}
	}
	return j.writer.act
}

func (j *Journal) setActive(s *segment) {
	j.writer.act = s
	j.mu.Lock()
	defer j.mu.Unlock()
	j.segments = append(j.segments, s)
}

// commit writes one group for the requests and gives those that fail their error. Only the writer calls it.
func (j *Journal) commit(reqs []*request) {
	p := j.plan(reqs)
	defer p.forget()
	if p.requests == 0 || p.size == 0 {
		return
	}
	arrival, err := j.write(p)
	if err != nil {
		j.opt.Metric.failures.Inc()
		err = j.wrap("put", err)
		j.giveBackSpares(err)
		for _, r := range reqs {
			if r.err == nil {
				r.err = err
			}
		}
		return
	}
	for _, r := range reqs {
		if r.err == nil {
			for i := range r.parts {
				r.parts[i].Arrival = arrival
			}
		}
	}
	j.opt.Metric.groupPuts.Observe(float64(p.requests))
}

// giveBackSpares removes the spare files when an error says that the disk is full.
func (j *Journal) giveBackSpares(err error) {
	if errors.Is(err, ErrNoSpace) && j.opt.Spares != nil {
		j.opt.Spares.drop(j.log)
	}
}

// write makes room, puts the group on disk and then makes it known.
func (j *Journal) write(p *groupPlan) (arrival int64, err error) {
	if err := j.makeRoom(int64(groupHeaderSize + p.size)); err != nil {
		return 0, err
	}
	now := j.clock()
	group := p.encode(j, now, 0)
	if err := j.writeGroup(group); err != nil {
		return 0, err
	}
	j.publish(p, group, now)
	j.prepareAhead()
	return now, nil
}

// clock is the time of a group: it does not run backwards, unless the machine's clock was set back by more than
// ten seconds, which is then believed.
func (j *Journal) clock() int64 {
	now, last := micros(), j.active().arrivals.last
	if now < last && last-now < 10e6 {
		return last
	}
	return now
}

// writeGroup writes at the active segment's end and syncs. After a failure the segment is never written again.
func (j *Journal) writeGroup(group []byte) error {
	seg := j.active()
	began := time.Now()
	_, err := seg.file.WriteAt(group, seg.end)
	if err == nil {
		err = j.opt.Traffic.sync(seg.file)
	}
	if err != nil {
		seg.poisoned = true
		j.log.Error("a write to the journal failed; its segment is closed", "file", seg.path, "offset", seg.end, "error", err)
		return err
	}
	h, _ := decodeGroupHeader(group, j.id.seed(seg.number))
	end := seg.end + int64(len(group))
	if err := j.acked.advance(h.number, makePosition(seg.number, end)); err != nil {
		seg.poisoned = true
		return err
	}
	j.opt.Metric.sync.Observe(time.Since(began).Seconds())
	j.opt.Metric.groups.Inc()
	j.opt.Metric.groupBytes.Observe(float64(len(group)))
	return nil
}

// publish lets readers see a group that is on disk.
func (j *Journal) publish(p *groupPlan, group []byte, now int64) {
	seg := j.active()
	h, _ := decodeGroupHeader(group, j.id.seed(seg.number))
	cached := &cachedGroup{at: makePosition(seg.number, seg.end), size: int64(len(group))}
	cached.bytes.Store(&group)
	var wake []chan struct{}

	j.mu.Lock()
	for _, s := range p.shards {
		seg.spanOf(s).add(s.plan.stored)
		s.next = s.plan.stored.next()
		if s.wake != nil {
			wake = append(wake, s.wake)
			s.wake = nil
		}
	}
	for _, c := range p.controls {
		if c.apply != nil {
			c.apply()
		}
	}
	seg.note(h, now)
	if len(p.shards) > 0 {
		j.tail.add(cached)
	}
	j.mu.Unlock()

	if len(p.shards) > 0 {
		j.opt.Cache.add(cached)
	}
	for _, c := range wake {
		close(c)
	}
}

// note moves the segment's end behind a group that lies there.
func (s *segment) note(h groupHeader, now int64) {
	s.last = groupLink{number: h.number, at: makePosition(s.number, s.end), checksum: h.checksum}
	s.end += groupHeaderSize + int64(h.size)
	s.size.Store(max(s.size.Load(), s.end))
	s.arrivals.note(now)
}

// makeRoom begins a new segment when the active one cannot take n more bytes.
func (j *Journal) makeRoom(n int64) error {
	seg := j.active()
	full := seg.end+n > seg.limit && seg.end > seg.tableEnd
	if seg.number == 0 || seg.poisoned || seg.sealed || full {
		return j.roll()
	}
	return nil
}

// roll ends the active segment and begins the next with its table.
func (j *Journal) roll() error {
	old := j.active()
	next, err := j.takePrepared()
	if next == nil && err == nil {
		if next, err = j.createSegment(old.number+1, j.nextLimit(), j.opt.Traffic.sync); err == nil {
			err = j.fill(next, min(next.limit, j.opt.Sizes.First), nil)
		}
	}
	if err != nil {
		return errors.Join(err, j.discard(next))
	}
	next.last, next.arrivals.last = old.last, old.arrivals.last
	if old.number > 0 && !old.poisoned && !old.sealed {
		j.seal(old)
	}
	j.writer.act = next
	if err := j.writeTable(next); err != nil {
		j.writer.act = old
		return errors.Join(err, j.discard(next))
	}
	next.began = time.Now()
	j.setActive(next)
	j.opt.Metric.segments.Inc()
	return nil
}

// seal ends a segment with its index. The index can be made again from the groups, so that it is not synced and
// a failure costs nothing but the next opening's time.
func (j *Journal) seal(s *segment) {
	b := s.footer(j.id.seed(s.number))
	_, err := s.file.WriteAt(b, s.end)
	if err == nil {
		err = s.file.Truncate(s.end + int64(len(b)))
	}
	if err != nil {
		j.log.Warn("cannot write the index of a journal segment", "file", s.path, "error", err)
	} else {
		s.size.Store(s.end + int64(len(b)))
	}
	j.mu.Lock()
	for _, sp := range s.spans {
		list := sp.live
		if err != nil {
			sp.offset = 0 // only memory has the list
		}
		sp.sealed.Store(&list)
		sp.live = nil
	}
	s.sealed = true
	j.mu.Unlock()
	j.files.keepOpened(s)
}

// tableSize is the size of the table that a new segment begins with.
func (j *Journal) tableSize() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := groupHeaderSize + entryHeaderSize + len(j.shards)*shardStateSize + int(j.checkpointBytes)
	for _, d := range j.losses() {
		n += entryHeaderSize + align8(lossHeaderSize+len(d.Reason))
	}
	return n
}

// table is the journal's own state: the shards' next sequence numbers, the checkpoints and the accepted losses.
func (j *Journal) table() []control {
	j.mu.Lock()
	defer j.mu.Unlock()
	body := make([]byte, 0, len(j.shards)*shardStateSize)
	var controls []control
	for _, s := range j.shards {
		body = appendShardState(body, s)
	}
	for _, d := range j.losses() {
		controls = append(controls, lossControl(*d))
	}
	for _, c := range j.checkpoints {
		controls = append(controls, checkpointControl(c))
	}
	return append(controls, control{kind: kindShards, body: body})
}

// losses is the accepted damage of what is still there. The caller holds j.mu.
func (j *Journal) losses() damageList {
	oldest := uint64(0)
	if len(j.segments) > 0 {
		oldest = j.segments[0].number
	}
	all := slices.Clone(j.accepted.from(uint64(makePosition(oldest, 0))))
	for _, s := range j.shards {
		all = append(all, s.lost.from(s.oldest())...)
	}
	return all
}

// writeTable writes the first group of a segment.
func (j *Journal) writeTable(seg *segment) error {
	p := &groupPlan{controls: j.table()}
	for _, c := range p.controls {
		p.size += entryHeaderSize + align8(len(c.body))
	}
	now := j.clock()
	group := p.encode(j, now, groupIsTable)
	if err := j.writeGroup(group); err != nil {
		return err
	}
	h, _ := decodeGroupHeader(group, j.id.seed(seg.number))
	seg.note(h, now)
	seg.tableEnd = seg.end
	return nil
}
