package abi

import "encoding/binary"

const (
	listHeaderSize  = 8
	entryHeaderSize = 16
)

// StateEntry is an entry of a state table on its way to a guest.
type StateEntry struct {
	Revision int64
	Key      []byte
	Value    []byte
}

// AppendStateList encodes entries as state_list gives them; more says that others follow. A key is shorter than 64 KiB.
func AppendStateList(b []byte, entries []StateEntry, more bool) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entries)))
	flag := uint32(0)
	if more {
		flag = 1
	}
	b = binary.LittleEndian.AppendUint32(b, flag)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.Revision))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Value)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(e.Key)))
		b = append(b, 0, 0)
		b = append(append(b, e.Key...), e.Value...)
		b = append(b, make([]byte, align(len(b))-len(b))...)
	}
	return b
}

// ParseStateList decodes what AppendStateList has encoded; the entries are views of b. Errors: ErrMalformed.
func ParseStateList(b []byte) (entries []StateEntry, more bool, err error) {
	if len(b) < listHeaderSize {
		return nil, false, malformed("state list", "header", "%d bytes", len(b))
	}
	count, flag, rest := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), b[listHeaderSize:]
	if flag > 1 || uint64(count) > uint64(len(rest)/entryHeaderSize) {
		return nil, false, malformed("state list", "header", "%d entries, flag %d", count, flag)
	}
	entries = make([]StateEntry, 0, count)
	for range count {
		if len(rest) < entryHeaderSize {
			return nil, false, malformed("state list", "entry", "%d bytes are left", len(rest))
		}
		key := uint64(binary.LittleEndian.Uint16(rest[12:]))
		value := uint64(binary.LittleEndian.Uint32(rest[8:]))
		end := entryHeaderSize + key + value
		if align64(end) > uint64(len(rest)) {
			return nil, false, malformed("state list", "entry", "%d bytes are left of %d", len(rest), end)
		}
		entries = append(entries, StateEntry{
			Revision: int64(binary.LittleEndian.Uint64(rest)), Key: rest[entryHeaderSize : entryHeaderSize+key], Value: rest[entryHeaderSize+key : end],
		})
		rest = rest[align64(end):]
	}
	if len(rest) > 0 {
		return nil, false, malformed("state list", "end", "%d bytes too many", len(rest))
	}
	return entries, flag == 1, nil
}
