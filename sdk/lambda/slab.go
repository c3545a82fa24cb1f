package lambda

import "unsafe"

// slab cuts the memory of several values out of one allocation: in WebAssembly Go's allocations cost by their number, and those of a KiB more than decoding what they hold.
// Whoever keeps one value keeps the memory of its neighbours too, so they are few: 16 values at most, of 16 KiB together.
type slab struct {
	rest  []byte
	takes int // that rest is still for
}

const (
	slabTakes = 16
	slabBytes = 16 << 10
)

// take is n bytes, all zero.
func (s *slab) take(n int) []byte {
	if n > slabBytes/4 {
		return make([]byte, n)
	}
	if s.takes == 0 || n > len(s.rest) {
		s.takes = max(1, min(slabTakes, slabBytes/max(n, 1)))
		s.rest = make([]byte, s.takes*n)
	}
	b := s.rest[:n:n]
	s.rest, s.takes = s.rest[n:], s.takes-1
	return b
}

// text is a copy of b as a string.
func (s *slab) text(b []byte) string {
	to := s.take(len(b))
	copy(to, b)
	return unsafe.String(unsafe.SliceData(to), len(to))
}
