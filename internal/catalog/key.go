package catalog

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of what a table holds. They are refused with ErrInvalid.
const (
	// MaxKeyBytes is the longest key of a table, in bytes of UTF-8.
	MaxKeyBytes = 256
	// MaxValueBytes is the longest value of a table.
	MaxValueBytes = 1 << 20
	// MaxNameBytes is the longest name of a table or of a blob bucket.
	MaxNameBytes = 64
)

// id names one entry: its table and its key.
type id struct{ table, key string }

func (i id) String() string { return fmt.Sprintf("%s/%q", i.table, i.key) }

func compareIDs(a, b id) int {
	if c := strings.Compare(a.table, b.table); c != 0 {
		return c
	}
	return strings.Compare(a.key, b.key)
}

// checkName accepts [a-z][a-z0-9_-]*: what is at once a NATS token, a bucket name and a
// folder's name on any file system.
func checkName(what, name string) error {
	if name == "" || len(name) > MaxNameBytes {
		return fmt.Errorf("%w: %s %q has %d bytes; the limit is 1 to %d", ErrInvalid, what, name, len(name), MaxNameBytes)
	}
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z'
		later := '0' <= c && c <= '9' || c == '_' || c == '-'
		if !letter && (i == 0 || !later) {
			return fmt.Errorf("%w: %s %q has %q at byte %d; it is a lower case letter, then letters, digits, - and _",
				ErrInvalid, what, name, c, i)
		}
	}
	return nil
}

func checkKey(key string) error {
	if key == "" || len(key) > MaxKeyBytes {
		return fmt.Errorf("%w: the key has %d bytes; the limit is 1 to %d", ErrInvalid, len(key), MaxKeyBytes)
	}
	if !utf8.ValidString(key) {
		return fmt.Errorf("%w: the key %q is not UTF-8", ErrInvalid, key)
	}
	return nil
}

func checkValue(value []byte) error {
	if len(value) > MaxValueBytes {
		return fmt.Errorf("%w: the value has %d bytes; the limit is %d", ErrInvalid, len(value), MaxValueBytes)
	}
	return nil
}

const hexDigits = "0123456789ABCDEF"

// plain says whether a byte of a key stands for itself in a NATS subject.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// encodeKey writes a key in NATS's key alphabet: bytes outside [A-Za-z0-9_-] become
// =XX. It is one to one, so two keys never share a subject.
func encodeKey(key string) string {
	var b strings.Builder
	for _, c := range []byte(key) {
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('=')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// decodeKey is the inverse of encodeKey; it refuses what encodeKey never writes.
func decodeKey(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if plain(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		if s[i] != '=' || i+2 >= len(s) {
			return "", fmt.Errorf("%q is not an encoded key", s)
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("%q is not an encoded key", s)
		}
		c := byte(hi<<4 | lo)
		if plain(c) {
			return "", fmt.Errorf("%q is not an encoded key", s)
		}
		b.WriteByte(c)
		i += 2
	}
	if err := checkKey(b.String()); err != nil {
		return "", err
	}
	return b.String(), nil
}

// subject is where an entry lives in the stream of the bucket.
func subject(i id) string { return subjectPrefix + i.table + "." + encodeKey(i.key) }

// parseSubject is the inverse of subject.
func parseSubject(s string) (id, error) {
	rest, ok := strings.CutPrefix(s, subjectPrefix)
	if !ok {
		return id{}, fmt.Errorf("subject %q is not of the catalog", s)
	}
	cut := strings.LastIndexByte(rest, '.')
	if cut < 0 {
		return id{}, fmt.Errorf("subject %q has no table", s)
	}
	key, err := decodeKey(rest[cut+1:])
	if err != nil {
		return id{}, fmt.Errorf("subject %q: %w", s, err)
	}
	return id{rest[:cut], key}, nil
}
