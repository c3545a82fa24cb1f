package aggregate

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/internal/aggregate/aggregatetest"
)

type user = aggregatetest.User

// read is what a Reader yields of data, in the form it was made from; nil for an ordinary record.
func read(t testing.TB, r *Reader, data []byte) []user {
	t.Helper()
	if !r.Split(data) {
		if _, more := r.Next(); more || r.Len() != 0 {
			t.Fatal("an ordinary record has user records")
		}
		return nil
	}
	var users []user
	for {
		rec, more := r.Next()
		if !more {
			break
		}
		if rec.Index != len(users) {
			t.Fatalf("user record %d has index %d", len(users), rec.Index)
		}
		u := user{Key: string(rec.Key), Data: string(rec.Data)}
		if rec.ExplicitHash != nil {
			u.Hash = new(big.Int).SetBytes(rec.ExplicitHash).String()
		}
		users = append(users, u)
	}
	if len(users) != r.Len() || len(users) == 0 {
		t.Fatalf("%d user records, Len says %d", len(users), r.Len())
	}
	return users
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Aggregates of another library are read, and the encoder of our tests makes the same user records.
func TestGolden(t *testing.T) {
	var many []user
	for i := range 300 {
		many = append(many, user{Key: fmt.Sprint("k", i%200), Data: fmt.Sprint("record ", i)})
	}
	for name, want := range map[string][]user{
		"plain.bin": {{Key: "LAX", Data: `{"delay":12}`}, {Key: "JFK", Data: `{"delay":-3}`}, {Key: "LAX", Data: `{"delay":0}`}},
		"hashes.bin": {
			{Key: "a", Hash: "340282366920938463463374607431768211455", Data: "first"},
			{Key: "b", Data: "\x00\xff\n"},
			{Key: "München", Hash: "170141183460469231731687303715884105728", Data: "third"},
		},
		"many.bin": many,
	} {
		t.Run(name, func(t *testing.T) {
			var r Reader
			if got := read(t, &r, golden(t, name)); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if got := read(t, &r, aggregatetest.Encode(want...)); !slices.Equal(got, want) {
				t.Errorf("encoded and read: %q, want %q", got, want)
			}
		})
	}
}

// message builds protobuf by hand.
type message []byte

func (m message) bytes(field protowire.Number, v string) message {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), v)
}

func (m message) number(field protowire.Number, v uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), v)
}

// Whatever is not an aggregate by the rules is an ordinary record; whatever protobuf allows is an aggregate.
func TestSplit(t *testing.T) {
	rec := func(m message) string { return string(m) }
	plain := rec(message{}.number(1, 0).bytes(3, "data"))
	flipped := aggregatetest.Encode(user{Key: "k", Data: "data"})
	flipped[7] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want []user
	}{
		"nothing":               {data: nil},
		"only the magic":        {data: []byte(Magic)},
		"an event":              {data: []byte(`{"delay":12,"origin":"LAX"}`)},
		"another magic":         {data: append([]byte("\xf3\x89\x9a\xc3"), aggregatetest.Encode(user{Key: "k", Data: "d"})[4:]...)},
		"a flipped bit":         {data: flipped},
		"cut":                   {data: flipped[:len(flipped)-1]},
		"no user records":       {data: aggregatetest.Seal(message{}.bytes(1, "k"))},
		"empty message":         {data: aggregatetest.Seal(nil)},
		"no protobuf":           {data: aggregatetest.Seal([]byte("\xff\xff\xff"))},
		"field cut":             {data: aggregatetest.Seal(message{}.bytes(1, "k").bytes(3, plain)[:5])},
		"key index too large":   {data: aggregatetest.Seal(message{}.bytes(1, "k").bytes(3, rec(message{}.number(1, 1).bytes(3, "d"))))},
		"hash index too large":  {data: aggregatetest.Seal(message{}.bytes(1, "k").bytes(3, rec(message{}.number(1, 0).number(2, 0).bytes(3, "d"))))},
		"no key":                {data: aggregatetest.Seal(message{}.bytes(1, "k").bytes(3, rec(message{}.bytes(3, "d"))))},
		"no data":               {data: aggregatetest.Seal(message{}.bytes(1, "k").bytes(3, rec(message{}.number(1, 0))))},
		"second record broken":  {data: aggregatetest.Seal(message{}.bytes(1, "k").bytes(3, plain).bytes(3, "\x08"))},
		"empty key":             {data: aggregatetest.Encode(user{Key: "", Data: "d"})},
		"key too long":          {data: aggregatetest.Encode(user{Key: strings.Repeat("ü", 257), Data: "d"})},
		"key not UTF-8":         {data: aggregatetest.Encode(user{Key: "\xff", Data: "d"})},
		"hash of 2^128":         {data: aggregatetest.Encode(user{Key: "k", Hash: "340282366920938463463374607431768211456", Data: "d"})},
		"hash of 39 nines":      {data: aggregatetest.Encode(user{Key: "k", Hash: strings.Repeat("9", 39), Data: "d"})},
		"hash of 40 digits":     {data: aggregatetest.Encode(user{Key: "k", Hash: strings.Repeat("0", 40), Data: "d"})},
		"hash not decimal":      {data: aggregatetest.Encode(user{Key: "k", Hash: "0x1", Data: "d"})},
		"empty data":            {aggregatetest.Encode(user{Key: "k"}), []user{{Key: "k"}}},
		"longest key":           {aggregatetest.Encode(user{Key: strings.Repeat("ü", 256)}), []user{{Key: strings.Repeat("ü", 256)}}},
		"tables at the end":     {aggregatetest.Seal(message{}.bytes(3, plain).bytes(1, "k")), []user{{Key: "k", Data: "data"}}},
		"unknown fields":        {aggregatetest.Seal(message{}.number(9, 1).bytes(1, "k").bytes(3, rec(message(plain).number(8, 3).bytes(4, "tag"))).bytes(7, "x")), []user{{Key: "k", Data: "data"}}},
		"field of another type": {aggregatetest.Seal(message{}.bytes(1, "k").number(3, 4).number(1, 1).bytes(3, rec(message(plain).bytes(1, "x").number(3, 1)))), []user{{Key: "k", Data: "data"}}},
		"the last field counts": {aggregatetest.Seal(message{}.bytes(1, "k").bytes(3, rec(message(plain).bytes(3, "last")))), []user{{Key: "k", Data: "last"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var r Reader
			if got := read(t, &r, c.data); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[0-9]{1,41}`).Draw(t, "digits")
		want, _ := new(big.Int).SetString(digits, 10)
		got, ok := parseHash([]byte(digits))
		if wantOK := want.BitLen() <= 128 && len(digits) <= 39; ok != wantOK {
			t.Fatalf("ok is %v, want %v", ok, wantOK)
		}
		if ok && new(big.Int).SetBytes(got[:]).Cmp(want) != 0 {
			t.Fatalf("got %x, want %x", got, want)
		}
	})
}

// A mark leads back to the same user record.
func TestMark(t *testing.T) {
	var r Reader
	read(t, &r, golden(t, "many.bin"))
	r.Return(Mark{})
	for range 120 {
		r.Next()
	}
	mark := r.Mark()
	first, _ := r.Next()
	read(t, &r, golden(t, "many.bin"))
	r.Return(mark)
	if again, _ := r.Next(); again.Index != 120 || mark.Index() != 120 || string(again.Data) != string(first.Data) {
		t.Errorf("behind the mark is %d %q, was %d %q", again.Index, again.Data, first.Index, first.Data)
	}
}

// Whatever the bytes: an aggregate that is read is one whose checksum is right, and its parts lie inside it.
func FuzzSplit(f *testing.F) {
	for _, name := range []string{"plain.bin", "hashes.bin"} {
		data := golden(f, name)
		f.Add(data[len(Magic) : len(data)-md5.Size])
	}
	f.Add([]byte{0x1a, 0x04, 0x08, 0x00, 0x1a, 0x00, 0x0a, 0x01, 'k'})
	var r Reader
	f.Fuzz(func(t *testing.T, body []byte) {
		read(t, &r, body)
		sealed := aggregatetest.Seal(body)
		users := read(t, &r, sealed)
		if users == nil {
			return
		}
		if again := read(t, &r, aggregatetest.Encode(users...)); !slices.Equal(again, users) {
			t.Fatalf("of %s: %q, and encoded again %q", hex.EncodeToString(sealed), users, again)
		}
	})
}

func TestAllocations(t *testing.T) {
	data := golden(t, "many.bin")
	var r Reader
	r.Split(data)
	if n := testing.AllocsPerRun(100, func() {
		r.Split(data)
		for _, more := r.Next(); more; _, more = r.Next() {
		}
	}); n != 0 {
		t.Errorf("%v allocations for an aggregate, want 0", n)
	}
}

func BenchmarkSplit(b *testing.B) {
	data := golden(b, "many.bin")
	var r Reader
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r.Split(data)
		for _, more := r.Next(); more; _, more = r.Next() {
		}
	}
	b.ReportMetric(float64(b.N*300)/b.Elapsed().Seconds(), "records/s")
}
