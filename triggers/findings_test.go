package triggers

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// outputsNamed makes outputs of "stream/key=data" words.
func outputsNamed(words string) (list []output) {
	for _, w := range strings.Fields(words) {
		target, data, _ := strings.Cut(w, "=")
		stream, key, _ := strings.Cut(target, "/")
		list = append(list, output{stream, record.Record{Key: []byte(key), Data: []byte(data)}})
	}
	return list
}

// noted is what was found, in words.
func noted(f *findings) string {
	var words []string
	for _, d := range f.list {
		words = append(words, fmt.Sprintf("%s %s/%s %s>%s", d.What, d.Stream, d.Key, d.Old, d.New))
	}
	return fmt.Sprintf("%d same, %d changed, %d missing, %d extra: %s", f.same, f.changed, f.missing, f.extra, strings.Join(words, ", "))
}

func TestOutputsAreMatched(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"", "", "0 same, 0 changed, 0 missing, 0 extra: "},
		{"s/a=1 s/b=2", "s/a=1 s/b=2", "2 same, 0 changed, 0 missing, 0 extra: "},
		{"s/a=1 s/b=2", "s/b=2 s/a=1", "2 same, 0 changed, 0 missing, 0 extra: "}, // of different keys
		{"s/a=1 s/a=2", "s/a=2 s/a=1", "1 same, 0 changed, 1 missing, 1 extra: extra s/a >2, missing s/a 2>"},
		{"s/a=1", "s/a=2", "0 same, 1 changed, 0 missing, 0 extra: changed s/a 1>2"},
		{"s/a=1", "r/a=1", "0 same, 0 changed, 1 missing, 1 extra: missing s/a 1>, extra r/a >1"},
		{"s/a=1 s/b=2", "s/b=2", "1 same, 0 changed, 1 missing, 0 extra: missing s/a 1>"},
		{"", "s/b=2", "0 same, 0 changed, 0 missing, 1 extra: extra s/b >2"},
		{"s/a=1 s/a=2 s/a=3", "s/a=1 s/a=x s/a=2 s/a=3", "3 same, 0 changed, 0 missing, 1 extra: extra s/a >x"},
		{"s/a=1 s/a=2 s/a=3", "s/a=1 s/a=x s/a=3", "2 same, 1 changed, 0 missing, 0 extra: changed s/a 2>x"},
		{"s/a=1 s/a=2 s/a=3 s/b=9", "s/a=3 s/b=9", "2 same, 0 changed, 2 missing, 0 extra: missing s/a 1>, missing s/a 2>"},
		{"s/a=", "s/a=1", "0 same, 1 changed, 0 missing, 0 extra: changed s/a >1"},
	} {
		f := findings{request: &request{n: 2}}
		f.outputs(outputsNamed(c.old), outputsNamed(c.new))
		if got := noted(&f); got != c.want {
			t.Errorf("%q and %q: %s, want %s", c.old, c.new, got, c.want)
		}
	}
	f := findings{request: &request{n: 2}}
	hashed := outputsNamed("s/a=1")
	hashed[0].record.ExplicitHash = make([]byte, 16)
	f.outputs(outputsNamed("s/a=1"), hashed)
	if f.changed != 1 {
		t.Errorf("another hash key: %s", noted(&f))
	}
}

// Whatever the outputs are, each is counted once, on its side; and lists that are equal have no differences.
func TestOutputsAreCountedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprintf("s/%d=%d", rapid.IntRange(0, 1).Draw(t, "key"), rapid.IntRange(0, 3).Draw(t, "data"))
		})
		most := rapid.SampledFrom([]int{3, 200}).Draw(t, "most")
		old := outputsNamed(strings.Join(rapid.SliceOfN(word, 0, most).Draw(t, "old"), " "))
		new := outputsNamed(strings.Join(rapid.SliceOfN(word, 0, most).Draw(t, "new"), " "))
		f := findings{request: &request{n: 2}}
		f.outputs(slices.Clone(old), slices.Clone(new))
		if f.same+f.changed+f.missing != len(old) || f.same+f.changed+f.extra != len(new) || len(f.list) > maxFindings {
			t.Fatalf("%d and %d outputs: %s", len(old), len(new), noted(&f))
		}
		f = findings{request: &request{n: 2}}
		f.outputs(old, old)
		if f.differs() || f.same != len(old) {
			t.Fatalf("with itself: %s", noted(&f))
		}
	})
}

func TestOutcomesAreMatched(t *testing.T) {
	var b record.Builder
	for i := range 4 {
		if err := b.Append(record.Record{Key: fmt.Append(nil, "k", i)}); err != nil {
			t.Fatal(err)
		}
	}
	record.Stamp(b.Run(), 100, 1)
	head, tail := b.Run().Split(2)
	f := findings{request: &request{head: []record.Run{head, tail}, n: 4}, first: 100, last: 103}
	f.outcomes(
		[]runtime.Outcome{{Index: 0, Result: abi.ResultDropped}, {Index: 1, Result: abi.ResultRetry}, {Index: 3, Result: abi.ResultRejected, Reason: "x"}},
		[]runtime.Outcome{{Index: 0, Result: abi.ResultDropped}, {Index: 2, Result: abi.ResultDropped, Reason: "y"}, {Index: 3, Result: abi.ResultRejected, Reason: "z"}},
	)
	want := "1 same, 3 changed, 0 missing, 0 extra: outcome /k1 asked for again>ok, outcome /k2 ok>dropped: y, outcome /k3 rejected: x>rejected: z"
	if got := noted(&f); got != want || f.list[2].First != 103 || f.list[2].Last != 103 {
		t.Errorf("%s, want %s", got, want)
	}
}

// What is kept of a difference is bounded, and no view of what it was made of.
func TestDifferencesAreBounded(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 2*maxSide)
	f := findings{request: &request{n: 2}, first: 5, last: 6}
	for range 2 * maxFindings {
		f.note(false, Difference{What: OutputMissing, Stream: "s", Old: data})
	}
	data[0] = 'y'
	d := f.list[0]
	if len(f.list) != maxFindings || f.missing != 2*maxFindings || len(d.Old) != maxSide || d.Old[0] != 'x' || !d.Cut || d.New != nil || d.First != 5 || d.Last != 6 {
		t.Errorf("%d kept of %d: %+v", len(f.list), f.missing, d)
	}
}
