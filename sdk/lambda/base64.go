package lambda

import (
	"encoding/binary"
	"sync"
	"unsafe"
)

// Base64 is decoded with tables that take two characters at once, many groups in each turn of a loop: in WebAssembly a turn costs a jump through
// a table, and encoding/base64 takes six times as long.

// pairs is for two characters, as a little-endian number, what they add to the three bytes of their group of four, as such a number:
// leads the first two, ends the last two, shifted right by 8.
type pairs struct{ leads, ends [1 << 16]uint16 }

// Two characters of the alphabet never have these bits, all others do.
const (
	badLead = 1 << 8
	badEnd  = 1 << 4
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

var base64Pairs = sync.OnceValue(func() *pairs {
	p := new(pairs)
	for i := range p.leads {
		p.leads[i], p.ends[i] = badLead, badEnd
	}
	for i := range len(alphabet) {
		for j := range len(alphabet) {
			at, bits := pair(alphabet[i], alphabet[j]), uint16(i<<6|j)
			p.leads[at] = bits>>4 | bits<<12
			p.ends[at] = bits>>8 | bits<<8
		}
	}
	return p
})

func pair(first, second byte) uint16 { return uint16(first) | uint16(second)<<8 }

// decode decodes base64 with padding, into memory of s. It is false where encoding/base64 refuses src, and where src has line breaks.
func (p *pairs) decode(src []byte, s *slab) ([]byte, bool) {
	if len(src)%4 != 0 {
		return nil, false
	}
	size := len(src) / 4 * 3
	for i := 1; i <= 2 && i <= len(src) && src[len(src)-i] == '='; i++ {
		size--
	}
	dst := s.take(size)
	n, bad := p.blocks(dst, src)
	for ; n/4*3+8 <= len(dst); n += 8 {
		x := binary.LittleEndian.Uint64(src[n:])
		a, b := p.leads[x&0xffff], p.ends[x>>16&0xffff]
		c, e := p.leads[x>>32&0xffff], p.ends[x>>48]
		bad |= (a|c)&badLead | (b|e)&badEnd
		binary.LittleEndian.PutUint64(dst[n/4*3:], uint64(a)|uint64(b)<<8|uint64(c)<<24|uint64(e)<<32)
	}
	for ; len(src)-n > 4 || len(src)-n == 4 && size%3 == 0; n += 4 {
		lead, end := p.leads[pair(src[n], src[n+1])], p.ends[pair(src[n+2], src[n+3])]
		bad |= lead&badLead | end&badEnd
		group, to := uint32(lead)|uint32(end)<<8, dst[n/4*3:]
		to[0], to[1], to[2] = byte(group), byte(group>>8), byte(group>>16)
	}
	if n < len(src) { // with padding
		lead, end := p.leads[pair(src[n], src[n+1])], uint16(0)
		if size%3 == 2 {
			end = p.ends[pair(src[n+2], alphabet[0])]
			dst[size-1] = byte(lead>>8) | byte(end)
		}
		dst[n/4*3] = byte(lead)
		bad |= lead&badLead | end&badEnd
	}
	return dst, bad == 0
}

// blocks decodes as many whole blocks from the front of src as leave room in dst, and says how many characters they have. What it returns
// besides is 0 if all of them are in the alphabet.
func (p *pairs) blocks(dst, src []byte) (n int, bad uint16) {
	const block, written = 64, 50 // characters, and how many bytes are written for them, 2 more than they stand for
	var badLeads, badEnds uint64
	leads, ends := &p.leads, &p.ends
	for ; n+block <= len(src) && n/4*3+written <= len(dst); n += block {
		from, to := unsafe.Pointer(&src[n]), unsafe.Pointer(&dst[n/4*3])
		x := *(*uint64)(unsafe.Add(from, 0))
		a, b, c, e := uint64(leads[x&0xffff]), uint64(ends[x>>16&0xffff]), uint64(leads[x>>32&0xffff]), uint64(ends[x>>48])
		*(*uint64)(unsafe.Add(to, 0)) = a | b<<8 | c<<24 | e<<32
		badLeads, badEnds = badLeads|a|c, badEnds|b|e
		x = *(*uint64)(unsafe.Add(from, 8))
		a, b, c, e = uint64(leads[x&0xffff]), uint64(ends[x>>16&0xffff]), uint64(leads[x>>32&0xffff]), uint64(ends[x>>48])
		*(*uint64)(unsafe.Add(to, 6)) = a | b<<8 | c<<24 | e<<32
		badLeads, badEnds = badLeads|a|c, badEnds|b|e
		x = *(*uint64)(unsafe.Add(from, 16))
		a, b, c, e = uint64(leads[x&0xffff]), uint64(ends[x>>16&0xffff]), uint64(leads[x>>32&0xffff]), uint64(ends[x>>48])
		*(*uint64)(unsafe.Add(to, 12)) = a | b<<8 | c<<24 | e<<32
		badLeads, badEnds = badLeads|a|c, badEnds|b|e
		x = *(*uint64)(unsafe.Add(from, 24))
		a, b, c, e = uint64(leads[x&0xffff]), uint64(ends[x>>16&0xffff]), uint64(leads[x>>32&0xffff]), uint64(ends[x>>48])
		*(*uint64)(unsafe.Add(to, 18)) = a | b<<8 | c<<24 | e<<32
		badLeads, badEnds = badLeads|a|c, badEnds|b|e
		x = *(*uint64)(unsafe.Add(from, 32))
		a, b, c, e = uint64(leads[x&0xffff]), uint64(ends[x>>16&0xffff]), uint64(leads[x>>32&0xffff]), uint64(ends[x>>48])
		*(*uint64)(unsafe.Add(to, 24)) = a | b<<8 | c<<24 | e<<32
		badLeads, badEnds = badLeads|a|c, badEnds|b|e
		x = *(*uint64)(unsafe.Add(from, 40))
		a, b, c, e = uint64(leads[x&0xffff]), uint64(ends[x>>16&0xffff]), uint64(leads[x>>32&0xffff]), uint64(ends[x>>48])
		*(*uint64)(unsafe.Add(to, 30)) = a | b<<8 | c<<24 | e<<32
		badLeads, badEnds = badLeads|a|c, badEnds|b|e
		x = *(*uint64)(unsafe.Add(from, 48))
		a, b, c, e = uint64(leads[x&0xffff]), uint64(ends[x>>16&0xffff]), uint64(leads[x>>32&0xffff]), uint64(ends[x>>48])
		*(*uint64)(unsafe.Add(to, 36)) = a | b<<8 | c<<24 | e<<32
		badLeads, badEnds = badLeads|a|c, badEnds|b|e
		x = *(*uint64)(unsafe.Add(from, 56))
		a, b, c, e = uint64(leads[x&0xffff]), uint64(ends[x>>16&0xffff]), uint64(leads[x>>32&0xffff]), uint64(ends[x>>48])
		*(*uint64)(unsafe.Add(to, 42)) = a | b<<8 | c<<24 | e<<32
		badLeads, badEnds = badLeads|a|c, badEnds|b|e
	}
	return n, uint16(badLeads&badLead | badEnds&badEnd)
}
