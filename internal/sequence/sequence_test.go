package sequence

import (
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

const streamID = "01KBKT5N9Q0000000000000000"

func (n Numbering) text(shard uint32, sequence uint64) string {
	return string(n.Append(nil, shard, sequence))
}

// TestOrder checks the order that clients rely on.
func TestOrder(t *testing.T) {
	n := Of(streamID)
	inOrder := []string{
		string(n.AppendCounter(nil, 15, 1, 0)), n.text(15, record.MakeSequence(1, 1)), n.text(15, record.MakeSequence(1, 2)), n.text(15, record.MakeSequence(1, 1<<40)),
		n.Last(15, 1), string(n.AppendCounter(nil, 16, 2, 0)), n.text(16, record.MakeSequence(2, 1)), n.Last(16, 2),
	}
	for i, s := range inOrder {
		if len(s) != Digits {
			t.Errorf("%s has %d digits", s, len(s))
		}
		if i > 0 && s <= inOrder[i-1] {
			t.Errorf("%s comes behind %s", s, inOrder[i-1])
		}
	}
	num, ok := n.Parse(inOrder[2])
	if !ok || num.Shard != 15 || num.Sequence() != record.MakeSequence(1, 2) {
		t.Errorf("%s is read as %+v, %t", inOrder[2], num, ok)
	}
}

// TestParseRefuses has texts that are no number of the stream.
func TestParseRefuses(t *testing.T) {
	n := Of(streamID)
	good := n.text(15, record.MakeSequence(1, 1))
	for _, s := range []string{
		"", "1", "0" + good, good[1:], good[:Digits-1] + "x", strings.Repeat("9", Digits), strings.Repeat("0", Digits), "-" + good[1:], "+" + good[1:],
		string(Of("01KBKT5N9Q0000000000000000").AppendCounter(nil, 1, 1, maxCounter+1)), // a counter that no record has
		Numbering{created: 1}.text(15, record.MakeSequence(1, 1)),                       // another stream's
	} {
		if num, ok := n.Parse(s); ok {
			t.Errorf("%q is read as %+v", s, num)
		}
	}
	if Of("not an ID") != (Numbering{}) {
		t.Error("an ID that is none has a numbering")
	}
}

// TestWide reads and writes what math/big does.
func TestWide(t *testing.T) {
	if got := string(appendWide(nil, wide{2 << 56})); got != "49039857307708443467467104868809893875799651909875269632" {
		t.Errorf("2^185 is %s", got)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		digits := []byte{byte('1' + random.IntN(9))}
		for len(digits) < Digits {
			digits = append(digits, byte('0'+random.IntN(10)))
		}
		w, ok := parseWide(string(digits))
		var b [24]byte
		want, _ := new(big.Int).SetString(string(digits), 10)
		want.FillBytes(b[:])
		for i, c := range b {
			if byte(w[i/8]>>(56-8*(i%8))) != c {
				t.Fatalf("%s is read as %x, %t", digits, w, ok)
			}
		}
		if again := string(appendWide(nil, w)); again != string(digits) {
			t.Fatalf("%s is written as %s", digits, again)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	n, into := Of(streamID), make([]byte, 0, Digits)
	if got := testing.AllocsPerRun(100, func() {
		into = n.Append(into[:0], 7, 1<<44+12345)
		if _, ok := n.Parse(string(into)); !ok {
			t.Error("not read")
		}
	}); got > 1 { // the string
		t.Errorf("%v allocations", got)
	}
}

func FuzzParse(f *testing.F) {
	n := Numbering{1_800_000_000}
	f.Add(n.text(12, record.MakeSequence(3, 77)))
	f.Add(n.Last(0, 1))
	f.Add("0")
	f.Fuzz(func(t *testing.T, s string) {
		num, ok := n.Parse(s)
		if !ok {
			return
		}
		if again := string(n.AppendCounter(nil, num.Shard, num.Epoch, num.Counter)); again != s {
			t.Fatalf("%s is read as %+v, which is %s", s, num, again)
		}
		num.Sequence()
	})
}

// BenchmarkAppend writes one sequence number.
func BenchmarkAppend(b *testing.B) {
	b.ReportAllocs()
	n, into := Numbering{1_800_000_000}, make([]byte, 0, 64)
	for b.Loop() {
		into = n.Append(into[:0], 7, 1<<44+12345)
	}
}
