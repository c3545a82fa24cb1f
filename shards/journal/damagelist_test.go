package journal

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func batch(first, last uint64, reason string) DamageError {
	return DamageError{Stream: "s", Shard: 1, First: first, Last: last, File: "f", Offset: int64(first), Reason: reason}
}

func TestDamageListJoins(t *testing.T) {
	elsewhere := batch(3, 4, "x")
	elsewhere.File = "g"
	for name, c := range map[string]struct {
		add  []DamageError
		want []DamageError
	}{
		"apart":               {[]DamageError{batch(5, 6, "x"), batch(1, 2, "x")}, []DamageError{batch(1, 2, "x"), batch(5, 6, "x")}},
		"behind":              {[]DamageError{batch(1, 2, "x"), batch(3, 4, "x")}, []DamageError{batch(1, 4, "x")}},
		"before":              {[]DamageError{batch(3, 4, "x"), batch(1, 2, "x")}, []DamageError{batch(1, 4, "x")}},
		"between":             {[]DamageError{batch(1, 2, "x"), batch(5, 6, "x"), batch(3, 4, "x")}, []DamageError{batch(1, 6, "x")}},
		"known":               {[]DamageError{batch(1, 6, "x"), batch(3, 4, "y")}, []DamageError{batch(1, 6, "x")}},
		"twice":               {[]DamageError{batch(1, 2, "x"), batch(1, 2, "x")}, []DamageError{batch(1, 2, "x")}},
		"another reason":      {[]DamageError{batch(1, 2, "x"), batch(3, 4, "y")}, []DamageError{batch(1, 2, "x"), batch(3, 4, "y")}},
		"another file":        {[]DamageError{batch(1, 2, "x"), elsewhere}, []DamageError{batch(1, 2, "x"), elsewhere}},
		"no more than is new": {[]DamageError{batch(3, 4, "x"), batch(1, 6, "y")}, []DamageError{batch(1, 2, "y"), batch(3, 4, "x"), {Stream: "s", Shard: 1, First: 5, Last: 6, File: "f", Offset: 1, Reason: "y"}}},
		"upside down":         {[]DamageError{batch(6, 1, "x")}, []DamageError{}},
	} {
		t.Run(name, func(t *testing.T) {
			var l damageList
			for _, d := range c.add {
				l.add(d)
			}
			if got := l.values(); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// The list is a set of sequence numbers, each with the reason that was noted first.
func TestDamageListIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l damageList
		model := map[uint64]string{}
		for range rapid.IntRange(1, 40).Draw(t, "ranges") {
			first := rapid.Uint64Range(0, 60).Draw(t, "first")
			d := batch(first, first+rapid.Uint64Range(0, 9).Draw(t, "length"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "reason"))
			isNew := false
			for n := d.First; n <= d.Last; n++ {
				if _, ok := model[n]; !ok {
					model[n], isNew = d.Reason, true
				}
			}
			if l.add(d) != isNew {
				t.Fatalf("adding %v: new is %v", d, !isNew)
			}
		}
		for n := range uint64(75) {
			reason, ok := model[n]
			if d := l.at(n); ok != (d != nil) || ok && d.Reason != reason {
				t.Fatalf("%d: %v, want %q", n, d, reason)
			}
		}
		for i, d := range l {
			if d.Last < d.First || i > 0 && (d.First <= l[i-1].Last || l[i-1].touches(d)) {
				t.Fatalf("not sorted and joined at %d: %v", i, l.values())
			}
		}
		cut := rapid.Uint64Range(0, 75).Draw(t, "cut")
		for _, d := range l.from(cut) {
			if d.Last < cut {
				t.Fatalf("%v is below %d", d, cut)
			}
		}
	})
}

func openDamaged(t testing.TB) *Journal {
	t.Helper()
	j, err := Open(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "j"), Name: "s", Shards: []Shard{{ID: 1, Epoch: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// 20,000 damaged batches that touch are one damage; 20,000 that do not are listed, accepted and remembered one by one. Noted in any
// order, and however often.
func TestManyDamagedBatches(t *testing.T) {
	const n = 20_000
	for name, c := range map[string]struct {
		every uint64
		want  int
	}{"touching": {2, 1}, "apart": {3, n}} {
		t.Run(name, func(t *testing.T) {
			j := openDamaged(t)
			for range 2 {
				for _, i := range rand.Perm(n) {
					first := uint64(i)*c.every + 1
					d := batch(first, first+1, "x")
					d.Offset = 0
					j.note(&d)
				}
			}
			if got := len(j.Damage()); got != c.want {
				t.Fatalf("%d listed, want %d", got, c.want)
			}
			lost, err := j.AcceptDamage(t.Context(), 1)
			if err != nil || len(lost) != c.want || len(j.Damage()) != 0 {
				t.Fatalf("%d accepted, %d left, %v", len(lost), len(j.Damage()), err)
			}
			dir := j.opt.Dir
			j.Close()
			j, err = Open(t.Context(), Options{Dir: dir, Name: "s"})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			last := batch((n-1)*c.every+1, (n-1)*c.every+2, "x")
			j.note(&last)
			if kept := j.shards[1].lost; len(kept) != c.want || len(j.Damage()) != 0 {
				t.Errorf("%d losses after opening again, damage %v", len(kept), j.Damage())
			}
		})
	}
}

// BenchmarkDamage notes one more damaged batch where there are many, and accepts that many: the time of one note grows with the
// logarithm of their number, that of one accept with the number.
func BenchmarkDamage(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		var l damageList
		for i := range n {
			l.add(batch(uint64(i)*3, uint64(i)*3+1, "x"))
		}
		b.Run(fmt.Sprintf("note/listed=%d", n), func(b *testing.B) {
			known := batch(uint64(n/2)*3, uint64(n/2)*3+1, "x")
			for b.Loop() {
				l.add(known)
			}
		})
		b.Run(fmt.Sprintf("accept/listed=%d", n), func(b *testing.B) {
			j := openDamaged(b)
			lost := l.values()
			for b.Loop() {
				j.ledger[1] = l
				j.applyLosses(1, lost)
			}
		})
	}
}
