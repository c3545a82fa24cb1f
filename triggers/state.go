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
type state struct {
	window window
	ahead  *ahead
	calls  calls
}

const (
	callsFormat = 3
	callsHeader = 24
)

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
	if len(blob) > 0 && (blob[0] == aheadFormat || blob[0] == oldAheadFormat) {
		s.ahead, err = parseAhead(blob)
		return s, err
	}
	s.window, err = parseWindow(blob)
	return s, err
}
