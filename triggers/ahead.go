package triggers

import (
	"encoding/binary"
	"errors"
	"hash/fnv"

	"github.com/shardmill/shardmill/sdk/record"
)

// ahead says which records above a checkpoint's position are settled, because their lanes were ahead of the slowest: in each lane, and for each
// parked key, everything below the lowest record that it had in hand. It is the state of the checkpoint of a shard with lanes:
//
//	0   1   format: 2
//	1   1   lanes
//	2   1   parked keys
//	3   1   1 when KPL aggregates were handed over as they are stored, else 0
//	4   4   reserved: 0
//	8   8   covered: what is above was not dealt yet; little-endian, as all
//	16  8   for each lane the lowest record in hand, 0 = none
//	        for each parked key: the lowest record in hand (8), the key's length (2), the key
type ahead struct {
	blob       []byte
	aggregated bool
	covered    uint64
	low        []uint64
	parked     map[string]uint64
}

const (
	aheadFormat = 2
	aheadHeader = 16
)

var errCheckpointState = errors.New("the state in the checkpoint cannot be read; move the mapping with seek to go on without it")

// keyHash decides on the lane of a key. Checkpoints rely on it: it must not change.
func keyHash(key []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(key)
	return h.Sum64()
}

// settled says whether a record has been settled.
func (a *ahead) settled(r *record.Record) bool {
	if r.Sequence > a.covered {
		return false
	}
	low, parked := a.parked[string(r.Key)]
	if !parked {
		low = a.low[keyHash(r.Key)%uint64(len(a.low))]
	}
	return low == 0 || r.Sequence < low
}

// encode makes the blob.
func (a *ahead) encode() []byte {
	b := make([]byte, aheadHeader, aheadHeader+8*len(a.low))
	b[0], b[1], b[2] = aheadFormat, byte(len(a.low)), byte(len(a.parked))
	if a.aggregated {
		b[3] = 1
	}
	binary.LittleEndian.PutUint64(b[8:], a.covered)
	for _, low := range a.low {
		b = binary.LittleEndian.AppendUint64(b, low)
	}
	for key, low := range a.parked {
		b = binary.LittleEndian.AppendUint64(b, low)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(key)))
		b = append(b, key...)
	}
	return b
}

// parseAhead reads what encode made.
func parseAhead(blob []byte) (*ahead, error) {
	if len(blob) < aheadHeader || blob[0] != aheadFormat || blob[1] == 0 || blob[3] > 1 {
		return nil, errCheckpointState
	}
	a := &ahead{blob: blob, aggregated: blob[3] == 1, covered: binary.LittleEndian.Uint64(blob[8:]), parked: map[string]uint64{}}
	rest := blob[aheadHeader:]
	for range blob[1] {
		if len(rest) < 8 {
			return nil, errCheckpointState
		}
		a.low = append(a.low, binary.LittleEndian.Uint64(rest))
		rest = rest[8:]
	}
	for range blob[2] {
		if len(rest) < 10 {
			return nil, errCheckpointState
		}
		low, n := binary.LittleEndian.Uint64(rest), int(binary.LittleEndian.Uint16(rest[8:]))
		if rest = rest[10:]; len(rest) < n {
			return nil, errCheckpointState
		}
		a.parked[string(rest[:n])] = low
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return nil, errCheckpointState
	}
	return a, nil
}
