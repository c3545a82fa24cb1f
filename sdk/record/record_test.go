package record_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

var hash = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// The golden batches: every SDK reads these files and must see these records.
var golden = map[string][]record.Record{
	"empty": {},
	"one":   {{Sequence: record.MakeSequence(1, 1), Arrival: 1_700_000_000_123_456, Key: []byte("DFW"), Data: []byte(`{"delay":12}`)}},
	"many": {
		{Sequence: record.MakeSequence(3, 7), Arrival: 1, Key: []byte("a"), Data: []byte("")},
		{Sequence: record.MakeSequence(3, 8), Arrival: 1, Key: []byte("schlüssel"), Data: []byte{0, 255, 1, 254}, ExplicitHash: hash},
		{Sequence: record.MakeSequence(3, 9), Arrival: -5, Key: []byte(""), Data: []byte(strings.Repeat("x", 1000))},
		{Sequence: record.MakeSequence(3, 10), Arrival: 1 << 50, Key: []byte("12345678"), Data: []byte("12345678")},
	},
	"unstamped": {{Key: []byte("k"), Data: []byte("no sequence number yet")}},
}

func encode(t testing.TB, records []record.Record) record.Batch {
	t.Helper()
	var w record.Builder
	for _, r := range records {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return w.Finish()
}

func decode(run record.Run) []record.Record {
	out := []record.Record{}
	for r := range run.All() {
		out = append(out, r)
	}
	return out
}

func TestGolden(t *testing.T) {
	for name, records := range golden {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".batch")
			if *update {
				if err := os.WriteFile(file, encode(t, records), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := encode(t, records); !bytes.Equal(got, want) {
				t.Errorf("encoded\n%x\nfile\n%x", []byte(got), want)
			}
			batch, err := record.Parse(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(records, decode(batch.Run())); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	var w record.Builder
	for _, c := range []struct {
		name string
		r    record.Record
		want error
	}{
		{"long key", record.Record{Key: make([]byte, record.MaxKeyBytes+1)}, record.ErrKeyTooLong},
		{"short hash", record.Record{ExplicitHash: []byte{1}}, record.ErrHashSize},
		{"empty hash", record.Record{ExplicitHash: []byte{}}, record.ErrHashSize},
	} {
		if err := w.Append(c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if w.Len() != 0 || w.Size() != 0 {
		t.Errorf("refused records were added: %d, %d bytes", w.Len(), w.Size())
	}
}

func TestParseRefuses(t *testing.T) {
	good := encode(t, golden["many"])
	change := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] ^= b
		return c
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":        {nil, record.ErrMalformed},
		"half a header":  {good[:12], record.ErrMalformed},
		"magic":          {change(0, 1), record.ErrMalformed},
		"newer version":  {change(8, 3), record.ErrVersion},
		"unknown flag":   {change(11, 1), record.ErrMalformed},
		"length":         {change(12, 8), record.ErrChecksum},
		"odd length":     {change(12, 1), record.ErrMalformed},
		"count":          {change(16, 1), record.ErrChecksum},
		"reserved":       {change(20, 1), record.ErrMalformed},
		"data":           {change(len(good)-10, 1), record.ErrChecksum},
		"truncated by 8": {good[:len(good)-8], record.ErrMalformed},
	} {
		if _, err := record.Parse(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestParseFindsEveryFlippedByte(t *testing.T) {
	good := encode(t, golden["many"])
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 0x40
		if _, err := record.Parse(bad); err == nil {
			t.Errorf("byte %d flipped and not found", at)
		}
	}
}

func TestStampAndSequence(t *testing.T) {
	batch := encode(t, golden["many"])
	record.Stamp(batch.Run(), record.MakeSequence(9, 100), 77)
	want := record.MakeSequence(9, 100)
	for r := range batch.Run().All() {
		if r.Sequence != want || r.Arrival != 77 {
			t.Errorf("stamped (%d, %d), want (%d, 77)", r.Sequence, r.Arrival, want)
		}
		want++
	}
	if e, c := record.Epoch(want), record.Counter(want); e != 9 || c != 104 {
		t.Errorf("epoch %d counter %d, want 9 and 104", e, c)
	}
	if a, b := record.MakeSequence(2, 1), record.MakeSequence(1, 1<<44-1); a <= b {
		t.Error("a child's first number is not above its parent's last")
	}
}

func TestPutHeaderWithoutChecksum(t *testing.T) {
	batch := encode(t, golden["many"])
	record.PutHeader(batch, batch.Len(), len(batch)-record.HeaderSize, false)
	parsed, err := record.Parse(batch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden["many"], decode(parsed.Run())); diff != "" {
		t.Error(diff)
	}
}

func records() *rapid.Generator[[]record.Record] {
	one := rapid.Custom(func(t *rapid.T) record.Record {
		r := record.Record{
			Arrival: rapid.Int64().Draw(t, "arrival"),
			Key:     rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "key"),
			Data:    rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "data"),
		}
		if rapid.Bool().Draw(t, "has hash") {
			r.ExplicitHash = hash
		}
		return r
	})
	return rapid.SliceOfN(one, 0, 20)
}

func TestRunOperations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := records().Draw(t, "records")
		first := uint64(rapid.IntRange(1, 1000).Draw(t, "first"))
		for i := range want {
			want[i].Sequence = first + uint64(i)
		}
		var w record.Builder
		for _, r := range want {
			before := w.Size()
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
			if w.Size()-before != r.Size() {
				t.Fatalf("Size says %d, it took %d", r.Size(), w.Size()-before)
			}
		}
		run := w.Run()
		equal := func(what string, run record.Run, want []record.Record) {
			t.Helper()
			if diff := cmp.Diff(append([]record.Record{}, want...), decode(run)); diff != "" || run.Len() != len(want) {
				t.Fatalf("%s: %d records (-want +got):\n%s", what, run.Len(), diff)
			}
			if _, err := record.ParseRun(run.Bytes(), run.Len()); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		n := rapid.IntRange(-1, len(want)+1).Draw(t, "split")
		at := min(max(n, 0), len(want))
		head, tail := run.Split(n)
		equal("head", head, want[:at])
		equal("tail", tail, want[at:])

		from := first + uint64(rapid.IntRange(-1, len(want)+1).Draw(t, "from"))
		skip := min(max(int(from)-int(first), 0), len(want))
		equal("from", run.From(from), want[skip:])

		size := rapid.IntRange(0, run.Size()+10).Draw(t, "size")
		head, tail = run.SplitSize(size)
		if head.Size() > size || head.Len()+tail.Len() != run.Len() {
			t.Fatalf("SplitSize(%d) gave %d bytes and %d+%d of %d records", size, head.Size(), head.Len(), tail.Len(), run.Len())
		}
		if next := tail.First(); tail.Len() > 0 && head.Size()+next.Size() <= size {
			t.Fatalf("SplitSize(%d): one more record would have fitted", size)
		}

		var again record.Builder
		a, b := run.Split(at)
		if err := errors.Join(again.AppendRun(a), again.AppendRun(b)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Finish(), w.Finish()) {
			t.Fatal("ranges copied together are not the batch")
		}
		if len(want) > 0 && run.Last().Sequence != want[len(want)-1].Sequence {
			t.Fatalf("Last is %d", run.Last().Sequence)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, records := range golden {
		f.Add([]byte(encode(f, records)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		batch, err := record.Parse(b)
		if err != nil {
			return
		}
		n, size := 0, 0
		for r := range batch.Run().All() {
			n++
			size += r.Size()
		}
		if n != batch.Len() || size != len(batch)-record.HeaderSize {
			t.Errorf("%d records of %d bytes in a batch that says %d and %d", n, size, batch.Len(), len(batch)-record.HeaderSize)
		}
	})
}

func FuzzParseRun(f *testing.F) {
	for _, records := range golden {
		f.Add([]byte(encode(f, records)[record.HeaderSize:]), len(records))
	}
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		run, err := record.ParseRun(b, n)
		if err != nil {
			return
		}
		got := 0
		for range run.All() {
			got++
		}
		if got != run.Len() {
			t.Errorf("iterated %d of %d", got, run.Len())
		}
	})
}

func TestAllocations(t *testing.T) {
	r := record.Record{Key: []byte("partition"), Data: make([]byte, 1024), ExplicitHash: hash}
	var w record.Builder
	build := func() {
		w.Reset()
		for range 100 {
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
		}
		w.Finish()
	}
	build()
	if n := testing.AllocsPerRun(100, build); n != 0 {
		t.Errorf("encoding 100 records allocates %v times", n)
	}
	batch := w.Finish()
	var sum int
	if n := testing.AllocsPerRun(100, func() {
		parsed, err := record.Parse(batch)
		if err != nil {
			t.Fatal(err)
		}
		for r := range parsed.Run().All() {
			sum += len(r.Data)
		}
	}); n != 0 {
		t.Errorf("reading 100 records allocates %v times", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	r := record.Record{Key: []byte("partition"), Data: make([]byte, 1024)}
	var w record.Builder
	b.ReportAllocs()
	b.SetBytes(100 * int64(r.Size()))
	for b.Loop() {
		w.Reset()
		for range 100 {
			if err := w.Append(r); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkFinish(b *testing.B) {
	benchmark(b, func(w *record.Builder) int { return len(w.Finish()) })
}

func BenchmarkParse(b *testing.B) {
	benchmark(b, func(w *record.Builder) int {
		batch, err := record.Parse(w.Finish())
		if err != nil {
			b.Fatal(err)
		}
		return batch.Len()
	})
}

func BenchmarkIterate(b *testing.B) {
	benchmark(b, func(w *record.Builder) int {
		n := 0
		for r := range w.Run().All() {
			n += len(r.Key) + len(r.Data)
		}
		return n
	})
}

func BenchmarkStamp(b *testing.B) {
	benchmark(b, func(w *record.Builder) int {
		record.Stamp(w.Run(), 1, 2)
		return 1
	})
}

// benchmark runs f over a batch of 100 records of 1 KiB and reports bytes and records per second.
func benchmark(b *testing.B, f func(*record.Builder) int) {
	var w record.Builder
	for range 100 {
		if err := w.Append(record.Record{Key: []byte("partition"), Data: make([]byte, 1024)}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.SetBytes(int64(w.Size()))
	for b.Loop() {
		if f(&w) == 0 {
			b.Fatal("nothing done")
		}
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "records/s")
}

// AnyPrefix says what looking at each record says.
func TestAnyPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w record.Builder
		prefix := rapid.SampledFrom([]string{"", "a", "ab", "\xf3\x89"}).Draw(t, "prefix")
		want := false
		for _, r := range records().Draw(t, "records") {
			if rapid.IntRange(0, 5).Draw(t, "marked") == 0 {
				r.Data = append([]byte(prefix), r.Data...)
			}
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
			want = want || bytes.HasPrefix(r.Data, []byte(prefix))
		}
		if got := w.Run().AnyPrefix(prefix); got != want {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}
