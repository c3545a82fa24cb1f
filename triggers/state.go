package triggers

import "encoding/binary"

// state is what a checkpoint has beside its position: that of an open window, or what lanes have settled above it, or neither; and for
// ExactlyOnce calls, around the others:
//
//	0   1   format: 3; 1 is that of a window alone, 4 and 2 of lanes alone
//	1   1   lanes that have numbers of their own
//	2   6   reserved: 0
//	8   8   the number of the last call with outputs that is settled; little-endian, as all
//	16  4   so many user records of the stored record behind the position are settled
//	20  4   reserved: 0
//	24  8   for each of the lanes the number of its last call with outputs that is settled
//	        the state of the window or of the lanes; nothing when there is none
//
// A window that was opened before the checkpoint had passed what lanes had settled has both, behind one another:
//
//	0   1   format: 5
//	1   3   reserved: 0
//	4   4   size of the state of the lanes
//	        the state of the lanes, and that of the window
type state struct {
	window window
	ahead  *ahead
	calls  calls
}

const (
	callsFormat = 3
	callsHeader = 24

	bothFormat = 5
	bothHeader = 8
	// maxBothAhead is more than lanes take that have no parked keys, and leaves room for the largest state of a window.
	maxBothAhead = 256
)

// both is the state of a window, and with it that of lanes. Either may be nil. That of lanes with parked keys, which are not
// exactly-once, may be left out: what they had settled is delivered again after a crash.
func both(window, ahead []byte) []byte {
	switch {
	case window == nil:
		return ahead
	case ahead == nil || len(ahead) > maxBothAhead:
		return window
	}
	b := make([]byte, bothHeader, bothHeader+len(ahead)+len(window))
	b[0] = bothFormat
	binary.LittleEndian.PutUint32(b[4:], uint32(len(ahead)))
	return append(append(b, ahead...), window...)
}

// wrap makes the state of a window or of lanes, which may be nil, that of a checkpoint.
func (c *calls) wrap(inner []byte) []byte {
	if !c.used() {
		return inner
	}
	lanes := len(c.lanes)
	for lanes > 0 && c.lanes[lanes-1] == 0 {
		lanes--
	}
	b := make([]byte, callsHeader, callsHeader+8*lanes+len(inner))
	b[0], b[1] = callsFormat, byte(lanes)
	binary.LittleEndian.PutUint64(b[8:], c.ordinal)
	binary.LittleEndian.PutUint32(b[16:], c.inside)
	for _, ordinal := range c.lanes[:lanes] {
		b = binary.LittleEndian.AppendUint64(b, ordinal)
	}
	return append(b, inner...)
}

// parseState reads the state of a checkpoint.
func parseState(blob []byte) (s state, err error) {
	if len(blob) > 0 && blob[0] == callsFormat {
		if len(blob) < callsHeader || int(blob[1]) > len(s.calls.lanes) || len(blob) < callsHeader+8*int(blob[1]) {
			return state{}, errCheckpointState
		}
		s.calls.ordinal, s.calls.inside = binary.LittleEndian.Uint64(blob[8:]), binary.LittleEndian.Uint32(blob[16:])
		s.calls.skip = s.calls.inside
		lanes := int(blob[1])
		blob = blob[callsHeader:]
		for i := range lanes {
			s.calls.lanes[i] = binary.LittleEndian.Uint64(blob)
			blob = blob[8:]
		}
	}
	if len(blob) > 0 && blob[0] == bothFormat {
		if len(blob) < bothHeader {
			return state{}, errCheckpointState
		}
		size := binary.LittleEndian.Uint32(blob[4:])
		if blob = blob[bothHeader:]; size > maxBothAhead || int(size) > len(blob) {
			return state{}, errCheckpointState
		}
		if s.ahead, err = parseAhead(blob[:size]); err != nil {
			return state{}, err
		}
		s.window, err = parseWindow(blob[size:])
		return s, err
	}
	if len(blob) > 0 && (blob[0] == aheadFormat || blob[0] == oldAheadFormat) {
		s.ahead, err = parseAhead(blob)
		return s, err
	}
	s.window, err = parseWindow(blob)
	return s, err
}
