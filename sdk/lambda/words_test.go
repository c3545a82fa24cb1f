package lambda

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestStarts(t *testing.T) {
	long := []byte(strings.Repeat("0123456789", 30))
	for n := range long {
		prefix := bytes.Clone(long[:n])
		if !starts(long, prefix) || !starts(prefix, prefix) {
			t.Fatalf("%d bytes do not begin with themselves", n)
		}
		if starts(prefix, long[:n+1]) {
			t.Fatalf("%d bytes begin with %d", n, n+1)
		}
		for i := range prefix {
			prefix[i] ^= 0x80
			if starts(long, prefix) {
				t.Fatalf("of %d bytes, that at %d is not looked at", n, i)
			}
			prefix[i] ^= 0x80
		}
	}
}

// Every byte is found at every place, whatever stands around it.
func TestPlainLenAndQuoteAt(t *testing.T) {
	for c := range 256 {
		for at := range 140 {
			b := bytes.Repeat([]byte("+"), 141)
			b[at] = byte(c)
			want := len(b)
			if c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
				want = at
			}
			if got := plainLen(b); got != want {
				t.Fatalf("byte %#x at %d: plain are %d, want %d", c, at, got, want)
			}
			b[140] = '"'
			if want = 140; c == '"' {
				want = at
			} else if c < '+' {
				want = -1
			}
			if got := quoteAt(b); c < 0x80 && got != want {
				t.Fatalf("byte %#x at %d: the quotation mark is at %d, want %d", c, at, got, want)
			}
		}
	}
}

func TestPlainLenAndQuoteAtOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.OneOf(rapid.ByteRange('A', 'z'), rapid.Byte()), 0, 200).Draw(t, "bytes")
		want := 0
		for want < len(b) && b[want] >= ' ' && b[want] < 0x80 && b[want] != '"' && b[want] != '\\' {
			want++
		}
		if got := plainLen(b); got != want {
			t.Errorf("plain are %d, want %d: %q", got, want, b)
		}
		// Bytes that are not of base64 may be passed over, but never a quotation mark.
		if got := quoteAt(b); got >= 0 && got != bytes.IndexByte(b, '"') {
			t.Errorf("the quotation mark is at %d: %q", got, b)
		}
	})
}
