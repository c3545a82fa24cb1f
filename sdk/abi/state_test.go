package abi

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestStateList(t *testing.T) {
	for _, entries := range [][]StateEntry{
		nil,
		{{1, []byte("k"), []byte("value")}},
		{{1 << 62, bytes.Repeat([]byte("k"), MaxKeyBytes), nil}, {7, []byte("b"), bytes.Repeat([]byte("v"), 1000)}},
	} {
		for _, more := range []bool{false, true} {
			b := AppendStateList(nil, entries, more)
			got, m, err := ParseStateList(b)
			if err != nil || m != more || len(got) != len(entries) || len(b)%8 != 0 {
				t.Fatalf("%v, %v, %v", got, m, err)
			}
			for i, e := range got {
				if w := entries[i]; e.Revision != w.Revision || !bytes.Equal(e.Key, w.Key) || !bytes.Equal(e.Value, w.Value) {
					t.Errorf("entry %d is %v", i, e)
				}
			}
			for n := range b {
				if _, _, err := ParseStateList(b[:n]); !errors.Is(err, ErrMalformed) {
					t.Errorf("the first %d of %d bytes: %v", n, len(b), err)
				}
			}
		}
	}
}

// TestStateIsTheLaw looks up the layout of an entry and the limits of state in abi.md.
func TestStateIsTheLaw(t *testing.T) {
	b, err := os.ReadFile("../abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, law, found := strings.Cut(string(b), "### 6.1 State")
	if !found {
		t.Fatal("abi.md has no section 6.1")
	}
	law, _, _ = strings.Cut(law, "\n#")
	entry := AppendStateList(nil, []StateEntry{{9, []byte("key"), []byte("valuevalue")}}, false)[listHeaderSize:]
	checkTable(t, "6.1", law, entry, map[string]field{
		"revision": {number: 9}, "value length": {number: 10}, "key length": {number: 3}, "reserved": {},
	})
	flat := strings.Join(strings.Fields(law), " ")
	for phrase, holds := range map[string]bool{
		"a name of 1 to 64 bytes":            MaxTableNameBytes == 64,
		"a key of 1 to 512 bytes":            MaxKeyBytes == 512,
		"a value of at most 1,048,576 bytes": MaxStateValueBytes == 1<<20,
		"(0: 1,000) and 1,000":               MaxStateList == 1000,
		"-1 nothing, 0 that it is absent":    ExpectAny == -1 && ExpectAbsent == 0,
	} {
		if !holds || !strings.Contains(flat, phrase) {
			t.Errorf("abi.md and the code do not agree that %q", phrase)
		}
	}
}

func FuzzParseStateList(f *testing.F) {
	f.Add(AppendStateList(nil, []StateEntry{{1, []byte("k"), []byte("v")}}, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, more, err := ParseStateList(b)
		if err != nil {
			return
		}
		again, m, err := ParseStateList(AppendStateList(nil, entries, more))
		if err != nil || m != more || len(again) != len(entries) {
			t.Errorf("encoded again: %v, %v, %v", again, m, err)
		}
	})
}
