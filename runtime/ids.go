package runtime

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// idMaker makes the ids of invocations: ULIDs, of which those of one millisecond ascend, as long as no earlier one is asked for. They are what ulid.Make gives, without what that leaves to the
// garbage collector for each: what is handed to an io.Reader is allocated.
type idMaker struct {
	mu      sync.Mutex
	entropy *ulid.MonotonicEntropy
	last    ulid.ULID
}

func newIDs() *idMaker { return &idMaker{entropy: ulid.Monotonic(dice{}, 0)} }

// at is a new id for something that happens now.
func (s *idMaker) at(now time.Time) string {
	ms := ulid.Timestamp(now)
	s.mu.Lock()
	err := s.last.SetTime(ms)
	if err == nil && s.entropy.MonotonicRead(ms, s.last[6:]) != nil { // the millisecond began so near to the greatest number that there is none left
		s.entropy = ulid.Monotonic(dice{}, 0)
		err = s.entropy.MonotonicRead(ms, s.last[6:])
	}
	id := s.last
	s.mu.Unlock()
	if err != nil {
		panic(err) // the year is before 1970, or after 10889
	}
	return id.String()
}

// dice are the process's random numbers, as package ulid wants them. They are not for secrets: an id is none.
type dice struct{}

func (dice) Int63n(n int64) int64 { return rand.Int64N(n) }

func (dice) Read(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], rand.Uint64())
		rest = rest[copy(rest, b[:]):]
	}
	return len(p), nil
}
