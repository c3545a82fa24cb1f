package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entryHeader is checksum and revision.
const entryHeader = 12

// id is the table's name in the file.
func (t *Table) id() string {
	if t.Shared {
		return "s" + t.Name
	}
	b := make([]byte, 0, 16+len(t.Function)+len(t.Mapping)+len(t.Name))
	b = append(b, 'p')
	for _, owner := range []string{t.Function, t.Mapping} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(owner)))
		b = append(b, owner...)
	}
	b = binary.BigEndian.AppendUint32(b, t.Shard)
	return string(append(b, t.Name...))
}

// decodeTable is the inverse of id.
func decodeTable(id string) (t Table, ok bool) {
	if id == "" {
		return t, false
	}
	kind, rest := id[0], id[1:]
	switch kind {
	case 's':
		return Table{Name: rest, Shared: true}, rest != ""
	case 'p':
	default:
		return t, false
	}
	owner := func() (s string, ok bool) {
		if len(rest) < 2 {
			return "", false
		}
		n := int(rest[0])<<8 | int(rest[1])
		if len(rest) < 2+n {
			return "", false
		}
		s, rest = rest[2:2+n], rest[2+n:]
		return s, true
	}
	if t.Function, ok = owner(); !ok {
		return t, false
	}
	if t.Mapping, ok = owner(); !ok || len(rest) < 5 {
		return t, false
	}
	t.Shard, t.Name = binary.BigEndian.Uint32([]byte(rest[:4])), rest[4:]
	return t, true
}

// appendEntry encodes an entry as it is stored.
func appendEntry(b []byte, id string, key []byte, revision uint64, value []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, revision)
	b = append(b, value...)
	binary.BigEndian.PutUint32(b[at:], entrySum(b[at+4:], id, key))
	return b
}

func entrySum(rest []byte, id string, key []byte) uint32 {
	sum := crc32.Update(0, castagnoli, rest)
	sum = crc32.Update(sum, castagnoli, []byte(id))
	sum = crc32.Update(sum, castagnoli, binary.BigEndian.AppendUint32(nil, uint32(len(id))))
	return crc32.Update(sum, castagnoli, key)
}

// decodeEntry reads a stored entry; value is a part of it. The error is an ErrDamaged that names it.
func decodeEntry(stored []byte, id string, key []byte) (revision uint64, value []byte, err error) {
	if len(stored) < entryHeader || binary.BigEndian.Uint32(stored) != entrySum(stored[4:], id, key) {
		t, _ := decodeTable(id)
		return 0, nil, fmt.Errorf("%w: key %q of table %s", ErrDamaged, key, t)
	}
	return binary.BigEndian.Uint64(stored[4:]), stored[entryHeader:], nil
}

// String names the table for people.
func (t Table) String() string {
	if t.Shared {
		return t.Name
	}
	if t.Mapping == "" {
		return fmt.Sprintf("%s of function %s", t.Name, t.Function)
	}
	return fmt.Sprintf("%s of mapping %s, shard %d", t.Name, t.Mapping, t.Shard)
}

func (z Size) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(z.Keys)), uint64(z.Bytes))
}

func decodeSize(b []byte) (Size, bool) {
	if len(b) != 16 {
		return Size{}, false
	}
	z := Size{Keys: int64(binary.BigEndian.Uint64(b)), Bytes: int64(binary.BigEndian.Uint64(b[8:]))}
	return z, z.Keys >= 0 && z.Bytes >= 0
}
