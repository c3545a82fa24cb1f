package shards

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

var ringSize = new(big.Int).Lsh(big.NewInt(1), 128)

func bigHash(h Hash) *big.Int {
	b := h.Bytes()
	return new(big.Int).SetBytes(b[:])
}

// TestHashKey's values are from printf %s KEY | md5sum, read as one number.
func TestHashKey(t *testing.T) {
	for key, want := range map[string]string{
		"":          "281949768489412648962353822266799178366", // d41d8cd98f00b204e9800998ecf8427e
		"a":         "16955237001963240173058271559858726497",  // 0cc175b9c0f1b6a831c399e269772661
		"schlüssel": new(big.Int).SetBytes(sum("schlüssel")).String(),
	} {
		if got := HashKey([]byte(key)).String(); got != want {
			t.Errorf("%q: %s, want %s", key, got, want)
		}
	}
	key := []byte("partition key")
	if n := testing.AllocsPerRun(100, func() { HashKey(key) }); n != 0 {
		t.Errorf("HashKey allocates %v times", n)
	}
}

func sum(s string) []byte {
	b := md5.Sum([]byte(s))
	return b[:]
}

func TestParseHash(t *testing.T) {
	for _, good := range []string{"0", "1", "18446744073709551616", "340282366920938463463374607431768211455"} {
		h, err := ParseHash(good)
		if err != nil || h.String() != good {
			t.Errorf("%s: %v, %v", good, h, err)
		}
	}
	for _, bad := range []string{
		"", "-1", "+1", "00", "01", "1e3", "0x1", " 1", "１",
		"340282366920938463463374607431768211456", "1000000000000000000000000000000000000000",
	} {
		var field *FieldError
		if h, err := ParseHash(bad); !errors.Is(err, ErrInvalid) || !errors.As(err, &field) || field.Field != "explicitHashKey" {
			t.Errorf("%q: %v, %v", bad, h, err)
		}
	}
	var back struct{ H Hash }
	text, err := json.Marshal(struct{ H Hash }{MaxHash})
	if err != nil || json.Unmarshal(text, &back) != nil || back.H != MaxHash {
		t.Errorf("%s, %v, %v", text, back, err)
	}
	if json.Unmarshal([]byte(`{"H":"x"}`), &back) == nil {
		t.Error("x is a hash key")
	}
}

func TestHashArithmetic(t *testing.T) {
	hash := rapid.Custom(func(t *rapid.T) Hash {
		edge := rapid.SampledFrom([]uint64{0, 1, 1<<64 - 1})
		word := rapid.OneOf(rapid.Uint64(), edge)
		return Hash{word.Draw(t, "hi"), word.Draw(t, "lo")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := hash.Draw(t, "a"), hash.Draw(t, "b")
		if a.Compare(b) != bigHash(a).Cmp(bigHash(b)) || a.less(b) != (a.Compare(b) < 0) {
			t.Errorf("%v and %v compare to %d", a, b, a.Compare(b))
		}
		if want := new(big.Int).Add(bigHash(a), big.NewInt(1)); bigHash(a.next()).Cmp(want.Mod(want, ringSize)) != 0 {
			t.Errorf("behind %v comes %v", a, a.next())
		}
		if a.next().previous() != a {
			t.Errorf("before what follows %v is %v", a, a.next().previous())
		}
		bytes := a.Bytes()
		if hashOf(bytes[:]) != a {
			t.Errorf("%v does not survive its bytes", a)
		}
	})
}

// TestEvenRanges checks every number of shards against the formula of aws.md §2.7 in big integers.
func TestEvenRanges(t *testing.T) {
	for n := 1; n <= MaxShards; n++ {
		width := new(big.Int).Div(ringSize, big.NewInt(int64(n)))
		ranges := evenRanges(n)
		if len(ranges) != n {
			t.Fatalf("%d ranges for %d shards", len(ranges), n)
		}
		for i, r := range ranges {
			start := new(big.Int).Mul(width, big.NewInt(int64(i)))
			end := new(big.Int).Sub(new(big.Int).Add(start, width), big.NewInt(1))
			if i == n-1 {
				end = bigHash(MaxHash)
			}
			if bigHash(r.start).Cmp(start) != 0 || bigHash(r.end).Cmp(end) != 0 {
				t.Fatalf("shard %d of %d is %v to %v, want %v to %v", i, n, r.start, r.end, start, end)
			}
		}
	}
}

// TestRoutingCoversTheRing checks, for every number of shards, that each end of each range belongs to it.
func TestRoutingCoversTheRing(t *testing.T) {
	for n := 1; n <= MaxShards; n++ {
		d := newDefinition(Config{Name: "s", Shards: n, Retention: DefaultRetention, MaxRecordBytes: 1}, testNow)
		rt, err := newRouting(d.Shards)
		if err != nil {
			t.Fatalf("%d shards: %v", n, err)
		}
		for i, s := range d.Shards {
			for _, h := range []Hash{s.StartHash, s.EndHash} {
				if got := rt.slot(h); got != i {
					t.Fatalf("%d shards: %v goes to %d, want %d", n, h, got, i)
				}
			}
		}
	}
}

func TestRoutingFindsTheRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, MaxShards).Draw(t, "shards")
		d := newDefinition(Config{Name: "s", Shards: n}, testNow)
		rt, err := newRouting(d.Shards)
		if err != nil {
			t.Fatal(err)
		}
		h := HashKey(binary.BigEndian.AppendUint64(nil, rapid.Uint64().Draw(t, "key")))
		s := d.Shards[rt.slot(h)]
		if h.less(s.StartHash) || s.EndHash.less(h) {
			t.Errorf("%v was routed to %v to %v", h, s.StartHash, s.EndHash)
		}
	})
}

func TestShardID(t *testing.T) {
	for text, want := range map[string]ShardID{
		"shardId-000000000012": 12, "shardId-12": 12, "12": 12, "0": 0, "shardId-004294967295": 1<<32 - 1,
	} {
		if got, err := ParseShardID(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "shardId-", "x", "-1", "+1", "1.0", "4294967296", "shardid-1", "shardId-shardId-1", "1_000"} {
		if got, err := ParseShardID(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
	if s := ShardID(12).String(); s != "shardId-000000000012" {
		t.Error(s)
	}
}
