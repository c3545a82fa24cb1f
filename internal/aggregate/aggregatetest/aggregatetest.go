// Package aggregatetest makes KPL aggregated records for tests.
package aggregatetest

import (
	"crypto/md5"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// User is one user record.
type User struct {
	Key  string
	Hash string // explicit hash key in decimal; "" = none
	Data string
}

// Encode is the data of the stored record that holds the users, in order.
func Encode(users ...User) []byte {
	keys, hashes := table{at: map[string]uint64{}}, table{at: map[string]uint64{}}
	var records []byte
	for _, u := range users {
		var m []byte
		m = protowire.AppendTag(m, 1, protowire.VarintType)
		m = protowire.AppendVarint(m, keys.index(u.Key))
		if u.Hash != "" {
			m = protowire.AppendTag(m, 2, protowire.VarintType)
			m = protowire.AppendVarint(m, hashes.index(u.Hash))
		}
		m = protowire.AppendTag(m, 3, protowire.BytesType)
		m = protowire.AppendString(m, u.Data)
		records = protowire.AppendTag(records, 3, protowire.BytesType)
		records = protowire.AppendBytes(records, m)
	}
	var body []byte
	for i, entries := range [][]string{keys.entries, hashes.entries} {
		for _, entry := range entries {
			body = protowire.AppendTag(body, protowire.Number(i+1), protowire.BytesType)
			body = protowire.AppendString(body, entry)
		}
	}
	return Seal(append(body, records...))
}

// table holds each entry once.
type table struct {
	entries []string
	at      map[string]uint64
}

func (t *table) index(entry string) uint64 {
	i, ok := t.at[entry]
	if !ok {
		i = uint64(len(t.entries))
		t.at[entry] = i
		t.entries = append(t.entries, entry)
	}
	return i
}

// Seal puts magic and checksum around any message.
func Seal(message []byte) []byte {
	sum := md5.Sum(message)
	return slices.Concat([]byte("\xf3\x89\x9a\xc2"), message, sum[:])
}
