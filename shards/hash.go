package shards

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/bits"
)

// Hash is a hash key: a point on the ring of 2^128 of them, as its high and low 64 bits. In text it is a
// decimal number from 0 to 340282366920938463463374607431768211455.
type Hash struct{ Hi, Lo uint64 }

// MaxHash is the greatest hash key, 2^128-1.
var MaxHash = Hash{1<<64 - 1, 1<<64 - 1}

// HashKey is the hash key of a partition key: the MD5 of its bytes, read big-endian. It allocates nothing.
func HashKey(key []byte) Hash {
	sum := md5.Sum(key)
	return Hash{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}
}

// ParseHash reads a decimal hash key without sign or leading zeros. Its error is a *FieldError, ErrInvalid.
func ParseHash(s string) (Hash, error) {
	ok := len(s) >= 1 && len(s) <= 39 && (s == "0" || s[0] != '0')
	for _, c := range []byte(s) {
		ok = ok && c >= '0' && c <= '9'
	}
	var n big.Int
	if ok {
		n.SetString(s, 10)
	}
	if !ok || n.BitLen() > 128 {
		return Hash{}, invalid("explicitHashKey", s, "a decimal number from 0 to "+MaxHash.String())
	}
	var b [16]byte
	n.FillBytes(b[:])
	return hashOf(b[:]), nil
}

// hashOf reads 16 bytes, big-endian.
func hashOf(b []byte) Hash {
	return Hash{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:16])}
}

// Bytes is the hash key as 16 bytes, big-endian: what record.Record.ExplicitHash takes.
func (h Hash) Bytes() [16]byte {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], h.Hi)
	binary.BigEndian.PutUint64(b[8:], h.Lo)
	return b
}

// Compare is -1, 0 or 1 as h is less than, equal to or greater than o.
func (h Hash) Compare(o Hash) int {
	return cmp.Or(cmp.Compare(h.Hi, o.Hi), cmp.Compare(h.Lo, o.Lo))
}

// String is the decimal form.
func (h Hash) String() string {
	b := h.Bytes()
	return new(big.Int).SetBytes(b[:]).String()
}

// MarshalText is the decimal form.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the decimal form.
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

func (h Hash) less(o Hash) bool { return h.Hi < o.Hi || h.Hi == o.Hi && h.Lo < o.Lo }

func (h Hash) next() Hash {
	lo, carry := bits.Add64(h.Lo, 1, 0)
	return Hash{h.Hi + carry, lo}
}

func (h Hash) previous() Hash {
	lo, borrow := bits.Sub64(h.Lo, 1, 0)
	return Hash{h.Hi - borrow, lo}
}

// hashRange is the hash keys from start to end, both included.
type hashRange struct{ start, end Hash }

// narrow says whether a range has fewer than four hash keys, so that no shard of it can be split.
func (r hashRange) narrow() bool {
	lo, borrow := bits.Sub64(r.end.Lo, r.start.Lo, 0)
	hi, _ := bits.Sub64(r.end.Hi, r.start.Hi, borrow)
	return hi == 0 && lo < 3
}

// middle is the first hash key of the upper half of a range of two or more.
func (r hashRange) middle() Hash {
	lo, borrow := bits.Sub64(r.end.Lo, r.start.Lo, 0)
	hi, _ := bits.Sub64(r.end.Hi, r.start.Hi, borrow)
	lo, carry := bits.Add64(lo>>1|hi<<63, r.start.Lo, 0)
	return Hash{hi>>1 + r.start.Hi + carry, lo}.next()
}

// Middle is the first hash key of the upper half of a range of two or more, both ends included: where to split it.
func Middle(start, end Hash) Hash { return hashRange{start, end}.middle() }

// evenRanges divides the ring into n ranges the way Kinesis does: each floor(2^128/n) wide, the last one
// taking the remainder. n is at least 1.
func evenRanges(n int) []hashRange {
	if n < 1 {
		panic(fmt.Sprintf("shards: ring divided into %d ranges", n))
	}
	ranges := make([]hashRange, n)
	if n > 1 { // the width, and so the division by 1, would not fit in 128 bits
		hi, rest := bits.Div64(1, 0, uint64(n))
		lo, _ := bits.Div64(rest, 0, uint64(n))
		for i := range ranges {
			over, start := bits.Mul64(lo, uint64(i))
			ranges[i].start = Hash{hi*uint64(i) + over, start}
			if i > 0 {
				ranges[i-1].end = ranges[i].start.previous()
			}
		}
	}
	ranges[n-1].end = MaxHash
	return ranges
}
