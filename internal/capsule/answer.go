package capsule

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Answer is what the host has answered one call of a guest's that led outside: to a secret, a state table or a server.
type Answer struct {
	Door   string `json:"door"`             // the function's name in the ABI
	Asked  []byte `json:"asked"`            // Digest of what was asked
	Name   string `json:"name,omitempty"`   // of the secret or the table; of a request the method
	Key    []byte `json:"key,omitempty"`    // of the entry; of a list the prefix; of a request the URL
	Status int64  `json:"status,omitzero"`  // what the function returned; of a secret that was handed over, 0
	Result []byte `json:"result,omitempty"` // what it had for the guest, without values of secrets
	Cuts   []Cut  `json:"cuts,omitempty"`   // what was taken out of Result, by ascending At
	Over   bool   `json:"over,omitempty"`   // the time of the call ended while it waited for the answer
}

// Cut is a place of a Result that had the value of a secret.
type Cut struct {
	At     int    `json:"at"` // in what is left
	Size   int    `json:"size"`
	Secret string `json:"secret"`
}

// Limits of what is kept of answers.
const (
	MaxAnswers     = 1 << 16
	MaxAnswerBytes = 16 << 20 // of questions and answers together
	MinCutBytes    = 6        // shorter values are not cut out: they would be found in innocent data
	maxShown       = 200      // bytes of a key or URL that String shows
)

// String is what was asked, for people.
func (a *Answer) String() string {
	key := strings.ToValidUTF8(string(a.Key), "\uFFFD")
	if len(key) > maxShown {
		key = strings.ToValidUTF8(key[:maxShown], "") + "…"
	}
	switch {
	case len(a.Key) == 0:
		return fmt.Sprintf("%s %q", a.Door, a.Name)
	case strings.HasPrefix(a.Door, "state_"):
		return fmt.Sprintf("%s %q of table %q", a.Door, key, a.Name)
	}
	return fmt.Sprintf("%s %s %s", a.Door, a.Name, key)
}

// Digest is of what was asked of a door: the same for the same question, whatever the values of the secrets are that are in it.
func Digest(door string, parts [][]byte, secrets map[string][]byte) []byte {
	h := sha256.New()
	add := func(b []byte) {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(b))))
		_, _ = h.Write(b)
	}
	add([]byte(door))
	for _, part := range parts {
		left, cuts := cutOut(part, secrets, 1)
		add(left)
		add(binary.AppendUvarint(nil, uint64(len(cuts))))
		for _, c := range cuts {
			add(binary.AppendUvarint(nil, uint64(c.At)))
			add([]byte(c.Secret))
		}
	}
	return h.Sum(nil)[:16]
}

// CutOut takes the values of secrets out of b, which it leaves as it is.
func CutOut(b []byte, secrets map[string][]byte) (left []byte, cuts []Cut) {
	return cutOut(b, secrets, MinCutBytes)
}

// cutOut is CutOut of values of at least so many bytes. Where two begin at one place, it is the longer.
func cutOut(b []byte, secrets map[string][]byte, least int) (left []byte, cuts []Cut) {
	type value struct {
		name string
		text []byte
		next int // where it is found next; -1: nowhere
	}
	var values []*value
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if text := secrets[name]; len(text) >= least {
			if at := bytes.Index(b, text); at >= 0 {
				values = append(values, &value{name, text, at})
			}
		}
	}
	if len(values) == 0 {
		return b, nil
	}
	for from := 0; ; {
		var first *value
		for _, v := range values {
			if v.next >= 0 && v.next < from {
				if v.next = bytes.Index(b[from:], v.text); v.next >= 0 {
					v.next += from
				}
			}
			if v.next >= 0 && (first == nil || v.next < first.next || v.next == first.next && len(v.text) > len(first.text)) {
				first = v
			}
		}
		if first == nil {
			return append(left, b[from:]...), cuts
		}
		left = append(left, b[from:first.next]...)
		cuts = append(cuts, Cut{At: len(left), Size: len(first.text), Secret: first.name})
		from = first.next + len(first.text)
	}
}

// Restore is the Result with the values of secrets in it; the answer must be of a capsule that was decoded, or made here. A value of another
// size is cut, or filled up with spaces, so that what says how long something is stays true; so is one that is not given.
func (a *Answer) Restore(secrets map[string][]byte) []byte {
	if len(a.Cuts) == 0 {
		return a.Result
	}
	var out []byte
	from := 0
	for _, c := range a.Cuts {
		out = append(out, a.Result[from:c.At]...)
		value := secrets[c.Secret]
		taken := min(len(value), c.Size)
		out = append(out, value[:taken]...)
		out = append(out, bytes.Repeat([]byte{' '}, c.Size-taken)...)
		from = c.At
	}
	return append(out, a.Result[from:]...)
}

// checkAnswers looks at what whoever replays a tape relies on.
func (t *Tape) checkAnswers() error {
	if len(t.Answers) > MaxAnswers {
		return fmt.Errorf("it has %d answers, more than %d", len(t.Answers), MaxAnswers)
	}
	left := MaxAnswerBytes // of what is to be put back
	for i := range t.Answers {
		a, from := &t.Answers[i], 0
		for _, c := range a.Cuts {
			if c.At < from || c.At > len(a.Result) || c.Size < 0 || c.Size > left {
				return fmt.Errorf("answer %d: secrets were cut out of it where nothing was", i)
			}
			from, left = c.At, left-c.Size
		}
	}
	return nil
}
