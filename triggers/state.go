package triggers

import "encoding/binary"

// state is what a checkpoint has beside its position: that of an open window, or what lanes have settled above it, or neither; and for
// ExactlyOnce calls, around the others:
//
//	0   1   format: 3; 1 is that of a window alone, 2 of lanes alone
//	1   7   reserved: 0
//	8   8   the number of the last call with outputs that is settled; little-endian, as all
//	16  4   so many user records of the stored record behind the position are settled
//	20  4   reserved: 0
//	24      the state of the window or of the lanes; nothing when there is none
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
	b := make([]byte, callsHeader, callsHeader+len(inner))
	b[0] = callsFormat
	binary.LittleEndian.PutUint64(b[8:], c.ordinal)
	binary.LittleEndian.PutUint32(b[16:], c.inside)
	return append(b, inner...)
}

// parseState reads the state of a checkpoint.
func parseState(blob []byte) (s state, err error) {
	if len(blob) > 0 && blob[0] == callsFormat {
		if len(blob) < callsHeader {
			return state{}, errCheckpointState
		}
		s.calls = calls{ordinal: binary.LittleEndian.Uint64(blob[8:]), inside: binary.LittleEndian.Uint32(blob[16:])}
		s.calls.skip = s.calls.inside
		blob = blob[callsHeader:]
	}
	if len(blob) > 0 && blob[0] == aheadFormat {
		s.ahead, err = parseAhead(blob)
		return s, err
	}
	s.window, err = parseWindow(blob)
	return s, err
}
