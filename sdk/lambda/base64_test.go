package lambda

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"testing"
)

// sameAsBase64 compares decode with encoding/base64, which takes line breaks besides.
func sameAsBase64(t *testing.T, src []byte) {
	t.Helper()
	got, ok := base64Pairs().decode(src, new(slab))
	want, err := base64.StdEncoding.AppendDecode(nil, src)
	if err != nil || bytes.ContainsAny(src, "\r\n") {
		if ok {
			t.Fatalf("%q is decoded; encoding/base64: %v", src, err)
		}
		return
	}
	if !ok || !bytes.Equal(got, want) || cap(got) != len(got) {
		t.Fatalf("%q: got %x (%d of %d), %t; want %x", src, got, len(got), cap(got), ok, want)
	}
}

func TestDecodeBase64(t *testing.T) {
	data := make([]byte, 300)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	for n := range data {
		encoded := []byte(base64.StdEncoding.EncodeToString(data[:n]))
		sameAsBase64(t, encoded)
		for cut := range min(5, len(encoded)) {
			sameAsBase64(t, encoded[:len(encoded)-cut])
		}
	}
	// Every byte at every place of a block, of the groups behind it, and of padding.
	for _, size := range []int{3, 4, 5, 48, 53, 100} {
		encoded := []byte(base64.StdEncoding.EncodeToString(data[:size]))
		for at, was := range encoded {
			for c := range 256 {
				encoded[at] = byte(c)
				sameAsBase64(t, encoded)
			}
			encoded[at] = was
		}
	}
}

func FuzzDecodeBase64(f *testing.F) {
	f.Add([]byte("ZGF0YQ=="), 0)
	f.Add([]byte("===="), 20)
	f.Fuzz(func(t *testing.T, src []byte, front int) {
		sameAsBase64(t, src)
		sameAsBase64(t, append(bytes.Repeat([]byte("AZaz09+/"), front&31), src...))
	})
}

func BenchmarkDecodeBase64(b *testing.B) {
	data := make([]byte, 1024)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	src, dst := []byte(base64.StdEncoding.EncodeToString(data)), make([]byte, 1026)
	pairs := base64Pairs()
	b.SetBytes(int64(len(src)))
	b.Run("here", func(b *testing.B) {
		var s slab
		for b.Loop() {
			pairs.decode(src, &s)
		}
	})
	b.Run("encoding", func(b *testing.B) {
		for b.Loop() {
			_, _ = base64.StdEncoding.Decode(dst, src) // of what was encoded
		}
	})
}

func TestSlab(t *testing.T) {
	var s slab
	var before, all [][]byte
	for i := range 5000 {
		n := rand.IntN(200)
		if i%100 == 0 {
			n = rand.IntN(2 * slabBytes)
		}
		b := s.take(n)
		if len(b) != n || cap(b) != n || bytes.ContainsFunc(b, func(r rune) bool { return r != 0 }) {
			t.Fatalf("%d bytes: %d of %d, %x", n, len(b), cap(b), b)
		}
		for j := range b {
			b[j] = byte(i)
		}
		before, all = append(before, bytes.Clone(b)), append(all, b)
	}
	for i, b := range all {
		if !bytes.Equal(b, before[i]) {
			t.Fatalf("value %d was written over", i)
		}
	}
	if got := s.text([]byte("shardId-000000000006:495")); got != "shardId-000000000006:495" {
		t.Errorf("got %q", got)
	}
}

// What one kept value keeps is bounded, however many are taken.
func TestSlabIsSharedByFew(t *testing.T) {
	for _, n := range []int{0, 1, 100, 1024, 4096, 4097, 1 << 20} {
		var s slab
		s.take(n)
		whole := n + len(s.rest)
		if whole > slabTakes*n || whole > max(slabBytes, n) || s.takes >= slabTakes {
			t.Errorf("%d bytes are of %d, for %d more values", n, whole, s.takes)
		}
	}
}
