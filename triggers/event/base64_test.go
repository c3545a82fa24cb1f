package event

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"testing"
)

func TestAppendBase64(t *testing.T) {
	data := make([]byte, 300)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	for n := range data {
		want := "front" + base64.StdEncoding.EncodeToString(data[:n])
		if got := appendBase64([]byte("front"), data[:n]); string(got) != want { // there is no room
			t.Fatalf("%d bytes: got %s, want %s", n, got, want)
		}
		room := bytes.Repeat([]byte{'~'}, 500)
		got := appendBase64(append(room[:0], "front"...), data[:n])
		if string(got) != want {
			t.Fatalf("%d bytes: got %s, want %s", n, got, want)
		}
		if behind := room[len(got):]; len(bytes.Trim(behind, "~")) > 0 {
			t.Fatalf("%d bytes: behind them was written %q", n, behind)
		}
	}
}

func BenchmarkAppendBase64(b *testing.B) {
	// As in a stored batch, there is memory in front of the data: the encoder begins with a load that masks out the four bytes there, and where
	// their page has never been touched that takes it three times as long.
	data, dst := bytes.Repeat([]byte{7}, 2048)[64:1088], make([]byte, 2048)
	b.SetBytes(int64(len(data)))
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			appendBase64(dst[:0], data)
		}
	})
	b.Run("encoding", func(b *testing.B) {
		for b.Loop() {
			base64.StdEncoding.AppendEncode(dst[:0], data)
		}
	})
}
