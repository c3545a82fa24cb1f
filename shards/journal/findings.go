package journal

import "fmt"

// findings are what opening a journal finds wrong with it.
type findings struct {
	j            *Journal
	list         []DamageError // told at the end, when it is known what has been accepted
	unknown      bool          // something was lost of which it is not known what it was
	since        uint64        // the oldest segment of which that is true
	lostSegments uint64        // missing at the journal's end
}

func (f *findings) damage(d DamageError) {
	d.Stream = f.j.opt.Name
	f.list = append(f.list, d)
}

// lose notes that a segment has lost something of which it is not known what it was.
func (f *findings) lose(segment uint64) {
	if !f.unknown || segment < f.since {
		f.since = segment
	}
	f.unknown = true
}

// missing notes segments whose files are not there.
func (f *findings) missing(from, to uint64) {
	f.lose(from)
	f.damage(DamageError{
		Shard: NoShard, First: uint64(makePosition(from, 0)), Last: uint64(makePosition(to, 0)), File: f.j.segmentPath(from),
		Reason: fmt.Sprintf("%d segment files are missing", to-from+1),
	})
}

// report raises the alarm for the damage that has not been accepted.
func (f *findings) report() {
	for _, d := range f.list {
		f.j.noteDamage(d)
	}
}
