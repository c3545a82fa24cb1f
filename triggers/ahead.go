package triggers

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
)

// ahead says which records above a checkpoint's position are settled, because their lanes were ahead of the slowest: in each lane, and for each
// parked key, everything below the lowest record that it had in hand. It is the state of the checkpoint of a shard with lanes:
//
//	0   1   format: 4
//	1   1   lanes
//	2   1   parked keys
//	3   1   1 when KPL aggregates were handed over as they are stored, else 0
//	4   4   user record of upto
//	8   8   sequence number of upto: from there on nothing was dealt yet; little-endian, as all
//	16  12  for each lane the lowest record in hand: sequence number (8), user record (4); 0 = none
//	        for each parked key: the lowest record in hand (8, 4), the key's length (2), the key
//
// Format 2 is the same without user records, and has in place of upto the last record that was dealt.
type ahead struct {
	blob       []byte
	aggregated bool
	upto       place
	low        []place
	parked     map[string]place
}

const (
	aheadFormat    = 4
	oldAheadFormat = 2
	aheadHeader    = 16
)

var errCheckpointState = errors.New("the state in the checkpoint cannot be read; move the mapping with seek to go on without it")

// keyHash decides on the lane of a key. Checkpoints rely on it: it must not change.
func keyHash(key []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(key)
	return h.Sum64()
}

// settled says whether a record has been settled that is at a place.
func (a *ahead) settled(key []byte, at place) bool {
	if !a.upto.after(at) {
		return false
	}
	low, parked := a.parked[string(key)]
	if !parked {
		low = a.low[keyHash(key)%uint64(len(a.low))]
	}
	return low == place{} || low.after(at)
}

// encode makes the blob.
func (a *ahead) encode() []byte {
	b := make([]byte, aheadHeader, aheadHeader+12*len(a.low))
	b[0], b[1], b[2] = aheadFormat, byte(len(a.low)), byte(len(a.parked))
	if a.aggregated {
		b[3] = 1
	}
	binary.LittleEndian.PutUint32(b[4:], a.upto.inside)
	binary.LittleEndian.PutUint64(b[8:], a.upto.sequence)
	for _, low := range a.low {
		b = low.append(b)
	}
	for key, low := range a.parked {
		b = low.append(b)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(key)))
		b = append(b, key...)
	}
	return b
}

func (p place) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, p.sequence)
	return binary.LittleEndian.AppendUint32(b, p.inside)
}

// parseAhead reads what encode made, now or in an earlier version.
func parseAhead(blob []byte) (*ahead, error) {
	if len(blob) < aheadHeader || blob[0] != aheadFormat && blob[0] != oldAheadFormat || blob[1] == 0 || blob[3] > 1 {
		return nil, errCheckpointState
	}
	a := &ahead{blob: blob, aggregated: blob[3] == 1, parked: map[string]place{}}
	r := aheadReader{rest: blob[aheadHeader:], old: blob[0] == oldAheadFormat}
	a.upto = place{binary.LittleEndian.Uint64(blob[8:]), binary.LittleEndian.Uint32(blob[4:])}
	if r.old {
		a.upto = place{a.upto.sequence + 1, 0}
	}
	for range blob[1] {
		a.low = append(a.low, r.place())
	}
	for range blob[2] {
		low := r.place()
		key := r.take(2)
		if key != nil {
			key = r.take(int(binary.LittleEndian.Uint16(key)))
		}
		a.parked[string(key)] = low
	}
	if r.bad || len(r.rest) > 0 {
		return nil, errCheckpointState
	}
	return a, nil
}

// aheadReader reads the places and keys of a blob.
type aheadReader struct {
	rest []byte
	old  bool // there are no user records
	bad  bool // the blob is too short
}

// take is the next n bytes; nil when there are fewer.
func (r *aheadReader) take(n int) []byte {
	if len(r.rest) < n {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *aheadReader) place() (p place) {
	if b := r.take(8); b != nil {
		p.sequence = binary.LittleEndian.Uint64(b)
	}
	if r.old {
		return p
	}
	if b := r.take(4); b != nil {
		p.inside = binary.LittleEndian.Uint32(b)
	}
	return p
}
