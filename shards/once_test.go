package shards

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

func testAppendOnce(t *testing.T, l *logUnderTest) {
	once := func(m journal.Marker, want error, texts ...string) bool {
		t.Helper()
		put, err := l.AppendOnce(t.Context(), []journal.Part{{Shard: 0, Records: runOf(t, texts...)}, {Shard: 7, Records: runOf(t, texts...)}}, m)
		if !errors.Is(err, want) || err != nil && want == nil {
			t.Fatalf("put %+v: %v, want %v", m, err, want)
		}
		return put
	}
	one := journal.Marker{Producer: "p/1", Ordinal: 1, Note: []byte("note")}
	if _, ok := l.Marker("p/1"); ok || len(l.Producers("")) > 0 {
		t.Error("a marker out of nothing")
	}
	if !once(one, nil, "a", "b") || once(one, nil, "c") {
		t.Error("it is not put once")
	}
	once(journal.Marker{Producer: "p/1", Ordinal: 1}, journal.ErrMarker, "no")
	if !once(journal.Marker{Producer: "p/1", Ordinal: 5}, nil, "d") {
		t.Error("the next is not put")
	}
	once(one, journal.ErrMarker, "no")
	once(journal.Marker{Producer: "q", Ordinal: 1}, nil, "e")
	l.reopen()
	if once(journal.Marker{Producer: "p/1", Ordinal: 5}, nil, "f") {
		t.Error("it is put again after a restart")
	}
	for _, shard := range []uint32{0, 7} {
		for i, r := range readLog(t, logReader(t, l, shard, 0), 4) {
			if want := []string{"a", "b", "d", "e"}[i]; string(r.Data) != want {
				t.Errorf("shard %d: record %d is %q, want %q", shard, i, r.Data, want)
			}
		}
	}
	if err := l.Seal(t.Context(), []uint32{7}); err != nil {
		t.Fatal(err)
	}
	once(journal.Marker{Producer: "q", Ordinal: 2}, journal.ErrSealed, "no")
	if m, ok := l.Marker("q"); !ok || m.Ordinal != 1 {
		t.Errorf("marker %+v, %v", m, ok)
	}
	if err := l.Forget(t.Context(), []uint32{0, 7}); err != nil {
		t.Fatal(err)
	}
	if got := l.Producers("p"); !slices.Equal(got, []string{"p/1"}) {
		t.Errorf("producers %q", got)
	}
	for range 2 {
		if err := l.DeleteMarkers(t.Context(), "p/"); err != nil {
			t.Fatal(err)
		}
	}
	l.reopen()
	if got := l.Producers(""); !slices.Equal(got, []string{"q"}) {
		t.Errorf("producers %q", got)
	}
}

// Puts of several producers, each tried twice, while the shards are split, merged and resized: each is there once.
func TestPutOnceThroughReshards(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s", Shards: 2})
	const producers, puts = 4, 100
	var putters sync.WaitGroup
	for p := range producers {
		putters.Go(func() {
			for n := range puts {
				var b record.Builder
				for i := range 5 {
					text := fmt.Appendf(nil, "%d/%d/%d", p, n, i)
					if err := b.Append(record.Record{Key: text, Data: text}); err != nil {
						t.Error(err)
					}
				}
				for try := range 2 {
					put, err := st.PutOnce(context.Background(), b.Run(), Marker{Producer: fmt.Sprint(p), Ordinal: uint64(n + 1)})
					if err != nil || put != (try == 0) {
						t.Errorf("try %d: %v, %v", try, put, err)
					}
				}
			}
		})
	}
	for i := range 12 {
		if _, err := r.Resize(t.Context(), "s", i%5+1); err != nil {
			t.Error(err)
		}
	}
	putters.Wait()
	seen := map[string]int{}
	for _, id := range st.Shards() {
		reader, err := st.Reader(id, Start{Kind: Oldest})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for run, err := reader.Next(ctx); err == nil; run, err = reader.Next(ctx) {
			for rec := range run.All() {
				seen[string(rec.Data)]++
			}
		}
	}
	if len(seen) != producers*puts*5 {
		t.Errorf("%d records, want %d", len(seen), producers*puts*5)
	}
	for text, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", text, n)
		}
	}
}

// Markers of all streams are found and deleted together, and go with their stream.
func TestMarkersOfTheStore(t *testing.T) {
	r := newRig(t)
	for i, name := range []string{"a", "b", "c"} {
		st := r.create(t, Config{Name: name})
		for _, producer := range []string{"p/1", "p/2", "q"} {
			if _, err := st.PutOnce(t.Context(), runOf(t, "x"), Marker{Producer: producer, Ordinal: uint64(3 - i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	newest := func(producer string, want uint64) {
		t.Helper()
		if m, ok := r.Marker(producer); ok != (want > 0) || m.Ordinal != want {
			t.Errorf("marker %+v, %v; want %d", m, ok, want)
		}
	}
	newest("p/1", 3)
	newest("p", 0)
	if err := r.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	newest("p/1", 2)
	if err := r.DeleteMarkers(t.Context(), "p/1"); err != nil {
		t.Fatal(err)
	}
	newest("p/1", 0)
	newest("p/2", 2)
	if got := r.Producers("p/"); len(got) != 1 || !got["p/2"] {
		t.Errorf("producers %v", got)
	}
	r.create(t, Config{Name: "a"})
	newest("q", 2)
}

// What is invalid is refused as a whole, and leaves no marker; CheckRun says so beforehand.
func TestPutOnceRefuses(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s", Shards: 3, MaxRecordBytes: 1024})
	var b record.Builder
	for _, n := range []int{1, 1025} {
		if err := b.Append(record.Record{Key: []byte("k"), Data: []byte(strings.Repeat("x", n))}); err != nil {
			t.Fatal(err)
		}
	}
	_, put := st.PutOnce(t.Context(), b.Run(), Marker{Producer: "p", Ordinal: 1})
	for name, err := range map[string]error{"put": put, "check": st.CheckRun(b.Run())} {
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "record 2 of 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := st.Marker("p"); ok {
		t.Error("there is a marker")
	}
	one, _ := b.Run().Split(1)
	if err := st.CheckRun(one); err != nil {
		t.Error(err)
	}
	if err := r.Delete(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if _, err := st.PutOnce(t.Context(), one, Marker{Producer: "p", Ordinal: 1}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := st.CheckRun(one); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// forgetful does not say what marker there is, as when the put that makes it is still under way.
type forgetful struct{ Log }

func (forgetful) Marker(string) (journal.Marker, bool) { return journal.Marker{}, false }

// What turns out to be there already, when it is appended, costs nothing of the stream's limits.
func TestPutOnceIsChargedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		st := r.create(t, Config{Name: "s", Limits: LimitsAWS})
		st.log = forgetful{st.log}
		run := runOf(t, "a", "b", "c")
		for i := range 3 {
			put, err := st.PutOnce(t.Context(), run, Marker{Producer: "p", Ordinal: 1})
			if err != nil || put != (i == 0) {
				t.Fatalf("put %d: %v, %v", i, put, err)
			}
		}
		if got := st.shape.Load().flows[0].bucket.records; got != limitRecords-3 {
			t.Errorf("the shard takes %v more records", got)
		}
	})
}
