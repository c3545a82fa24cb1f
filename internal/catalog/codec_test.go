package catalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// image is a snapshot file with the given base and records behind it.
func image(t testing.TB, base, records []change) []byte {
	t.Helper()
	live, last := map[id]change{}, uint64(0)
	for _, c := range base {
		live[c.id], last = c, max(last, c.revision)
	}
	s := newSnapshot("", live, last)
	b, err := s.image()
	if err != nil {
		t.Fatal(err)
	}
	end := s.end
	for _, c := range records {
		end += copy(b[end:], appendChange(nil, c, s.seed))
	}
	return b
}

func put(key, value string, revision uint64) change {
	return change{id{"t", key}, opPut, []byte(value), revision}
}

func del(key string, revision uint64) change {
	return change{id{"t", key}, opDelete, nil, revision}
}

func mustDecode(t testing.TB, b []byte) saved {
	t.Helper()
	s, err := decodeSaved(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// values is what a saved or held copy holds, with revisions.
func values(live map[id]change) map[string]string {
	m := map[string]string{}
	for i, c := range live {
		m[i.key] = fmt.Sprintf("%s@%d", c.value, c.revision)
	}
	return m
}

func TestDecodeWhole(t *testing.T) {
	b := image(t, []change{put("a", "1", 3), put("b", "2", 5)}, []change{put("a", "3", 6), del("b", 7), put("c", "", 9)})
	s := mustDecode(t, b)
	want := map[string]string{"a": "3@6", "c": "@9"}
	if s.state != saveWhole || s.last != 9 || !maps.Equal(values(s.live), want) || s.deleted[id{"t", "b"}] != 7 {
		t.Errorf("decoded %+v", s)
	}
	if s.header.last != 5 || s.header.capacity != uint64(len(b)) {
		t.Errorf("the header is %+v", s.header)
	}
}

// TestDecodeDamage damages a file in the ways that matter and checks the state and what
// is still believed.
func TestDecodeDamage(t *testing.T) {
	records := []change{put("a", "3", 6), del("b", 7), put("c", "4", 9)}
	b := image(t, []change{put("a", "1", 3), put("b", "2", 5)}, records)
	size := encodedSize(put("a", "1", 3))
	first := headerBytes + 2*size // the first record behind the base
	tests := []struct {
		name  string
		harm  func(b []byte) []byte
		state saveState
		live  map[string]string
	}{
		{"last record", func(b []byte) []byte { b[first+2*size+9] ^= 4; return b }, saveTail, map[string]string{"a": "3@6"}},
		{"last record zeroed", func(b []byte) []byte { clear(b[first+2*size:]); return b }, saveWhole, map[string]string{"a": "3@6"}},
		{"a deletion", func(b []byte) []byte { b[first+size+9] ^= 4; return b }, saveDamaged, map[string]string{"a": "3@6", "b": "2@5", "c": "4@9"}},
		{"a record zeroed", func(b []byte) []byte { clear(b[first : first+size]); return b }, saveDamaged, map[string]string{"a": "1@3", "c": "4@9"}},
		{"a record's length", func(b []byte) []byte { b[first+24] ^= 0x80; return b }, saveDamaged, map[string]string{"a": "1@3", "c": "4@9"}},
		{"base", func(b []byte) []byte { b[headerBytes+4] ^= 1; return b }, saveDamaged, map[string]string{"a": "3@6", "c": "4@9"}},
		{"the end of the base, nothing behind it", func(b []byte) []byte { clear(b[first:]); b[first-1-size/2] ^= 1; return b }, saveDamaged, map[string]string{"a": "1@3"}},
		{"the end of the base zeroed", func(b []byte) []byte { clear(b[first-size:]); return b }, saveDamaged, map[string]string{"a": "1@3"}},
		{"unused", func(b []byte) []byte { b[len(b)-1] = 1; return b }, saveTail, map[string]string{"a": "3@6", "c": "4@9"}},
		{"header", func(b []byte) []byte { b[33] ^= 1; return b }, saveDamaged, map[string]string{}},
		{"magic", func(b []byte) []byte { b[0] ^= 1; return b }, saveDamaged, map[string]string{}},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, saveDamaged, map[string]string{"a": "3@6", "c": "4@9"}},
		{"grown", func(b []byte) []byte { return append(b, 0) }, saveDamaged, map[string]string{"a": "3@6", "c": "4@9"}},
		{"empty", func([]byte) []byte { return nil }, saveDamaged, map[string]string{}},
		{"a record twice", func(b []byte) []byte { copy(b[first+size:], b[first:first+size]); return b }, saveDamaged, map[string]string{"a": "3@6", "b": "2@5", "c": "4@9"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := mustDecode(t, tc.harm(slices.Clone(b)))
			if s.state != tc.state || !maps.Equal(values(s.live), tc.live) {
				t.Errorf("state %d (%s), %v; want state %d, %v", s.state, s.reason, values(s.live), tc.state, tc.live)
			}
			if (s.reason == "") != (s.state == saveWhole) {
				t.Errorf("the reason of state %d is %q", s.state, s.reason)
			}
		})
	}
}

// TestRecordsOfAnotherFileAreRefused puts a record of an older file behind the end, as a
// disk may that loses a write.
func TestRecordsOfAnotherFileAreRefused(t *testing.T) {
	old := image(t, nil, []change{put("a", "old", 8)})
	b := image(t, nil, []change{put("a", "new", 9)})
	end := mustDecode(t, b).end
	copy(b[end:], old[headerBytes:end])
	if s := mustDecode(t, b); s.state != saveTail || values(s.live)["a"] != "new@9" {
		t.Errorf("state %d, %v", s.state, values(s.live))
	}
}

func TestNewerVersionIsRefusedAndKept(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	mustCreate(t, h.table(t, "t"), "k", "v")
	h.close(t)
	b := readFile(t, snapshotFile(dir))
	b[8]++
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	writeFile(t, snapshotFile(dir), b)
	h, err := tryHouse(t, dir, Options{AcceptDamage: true})
	if !errors.Is(err, ErrVersion) {
		t.Errorf("the error is %v", err)
	}
	h.close(t)
	if !bytes.Equal(readFile(t, snapshotFile(dir)), b) {
		t.Error("the file was changed")
	}
}

// TestGoldenFile pins the format: a file written by the first version must be readable
// by every later one.
func TestGoldenFile(t *testing.T) {
	base := []change{put("a", "1", 3), {id{"streams", "flüge"}, opPut, []byte(`{"shards":4}`), 5}}
	const generation = 0x0123456789abcdef
	b := make([]byte, headerBytes, 512)
	for _, c := range base {
		b = appendChange(b, c, seed(generation))
	}
	fileHeader{capacity: 512, generation: generation, last: 5, base: uint64(len(b))}.put(b)
	b = appendChange(b, put("a", "2", 6), seed(generation))
	b = appendChange(b, del("a", 7), seed(generation))
	b = b[:512]
	golden := filepath.Join("testdata", "tables-v1.snap")
	if os.Getenv("SHARDMILL_UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		writeFile(t, golden, b)
	}
	if !bytes.Equal(readFile(t, golden), b) {
		t.Error("the encoding has changed")
	}
	s := mustDecode(t, readFile(t, golden))
	if s.state != saveWhole || s.last != 7 || !maps.Equal(values(s.live), map[string]string{"flüge": `{"shards":4}@5`}) {
		t.Errorf("decoded %+v", s)
	}
}

// TestSnapshotIsAMap writes random changes in random groups, with reopening and failing
// files in between, and compares with a map.
func TestSnapshotIsAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		s := newSnapshot(dir, map[id]change{}, 0)
		if err := s.rewrite(); err != nil {
			rt.Fatal(err)
		}
		defer func() { s.abandon() }()
		want, revision := map[string]string{}, uint64(0)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0: // the process ends and another begins
				s.abandon()
				if s, err = reopen(dir); err != nil {
					rt.Fatal(err)
				}
			case 1: // writes to the file fail from now on
				_ = s.file.Close()
			default:
				var group []change
				for range rapid.IntRange(1, 4).Draw(rt, "group") {
					revision += uint64(rapid.IntRange(1, 3).Draw(rt, "gap"))
					c := drawChange(rt, revision)
					group = append(group, c)
					delete(want, c.id.key)
					if c.op == opPut {
						want[c.id.key] = fmt.Sprintf("%s@%d", c.value, c.revision)
					}
				}
				if err := s.commit(group); err != nil {
					rt.Fatal(err)
				}
			}
			if got, err := readSaved(dir); err != nil || got.state != saveWhole || got.last < revision || !maps.Equal(values(got.live), want) {
				rt.Fatalf("on disk is state %d (%s), last %d of %d, %v; want %v; %v",
					got.state, got.reason, got.last, revision, values(got.live), want, err)
			}
		}
	})
}

func drawChange(rt *rapid.T, revision uint64) change {
	key := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "key")
	if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
		return del(key, revision)
	}
	size := rapid.SampledFrom([]int{0, 1, 7, 100, 20_000}).Draw(rt, "size")
	return put(key, string(bytes.Repeat([]byte{'v'}, size)), revision)
}

func reopen(dir string) (*snapshot, error) {
	from, err := readSaved(dir)
	if err != nil {
		return nil, err
	}
	s := newSnapshot(dir, from.live, from.last)
	return s, s.resume(from)
}

// FuzzDecodeSaved checks that no file makes the decoder panic or believe what has no
// valid checksum, and that what it believes can be written and read again.
func FuzzDecodeSaved(f *testing.F) {
	whole := image(f, []change{put("a", "1", 3)}, []change{put("b", "2", 6), del("a", 7)})[:1024]
	binary.LittleEndian.PutUint64(whole[16:], uint64(len(whole)))
	binary.LittleEndian.PutUint32(whole[60:], crc32.Checksum(whole[:60], castagnoli))
	f.Add(whole)
	f.Add(whole[:100])
	f.Add([]byte(fileMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSaved(b)
		if err != nil {
			if !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		for i, c := range s.live {
			if c.id != i || c.op != opPut || c.revision > s.last || len(c.value) > MaxValueBytes || i.key == "" || i.table == "" {
				t.Fatalf("believed %+v as %v, last %d", c, i, s.last)
			}
			if s.deleted[i] != 0 {
				t.Fatalf("%v is live and deleted", i)
			}
		}
		if s.state == saveWhole && uint64(s.end) < s.header.base {
			t.Fatal("a file whose base is cut short is whole")
		}
		if s.state == saveWhole && s.header.capacity != uint64(len(b)) {
			t.Fatal("a file of the wrong length is whole")
		}
		n := newSnapshot("", s.live, s.last)
		again, err := n.image()
		if err != nil {
			t.Fatal(err)
		}
		if r, err := decodeSaved(again); err != nil || r.state != saveWhole || r.last != s.last || len(r.live) != len(s.live) {
			// Two entries of one revision cannot come from a catalog; a forged file
			// may have them, and its image is then not whole.
			if !sharesRevision(s.live) {
				t.Fatalf("written again it is state %d (%s), %d entries of %d: %v", r.state, r.reason, len(r.live), len(s.live), err)
			}
		}
	})
}

func sharesRevision(live map[id]change) bool {
	seen := map[uint64]bool{0: true}
	for _, c := range live {
		if seen[c.revision] {
			return true
		}
		seen[c.revision] = true
	}
	return false
}
