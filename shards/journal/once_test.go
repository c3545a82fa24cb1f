package journal_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

func once(t testing.TB, j *journal.Journal, shard uint32, m journal.Marker, data ...string) bool {
	t.Helper()
	put, err := j.AppendOnce(t.Context(), []journal.Part{{Shard: shard, Records: run(t, data...)}}, m)
	if err != nil {
		t.Fatal(err)
	}
	return put
}

func TestAppendOnce(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 2))
	first := journal.Marker{Producer: "p/1", Ordinal: 1, Note: []byte("1 to 3")}
	if !once(t, j, 0, first, "a", "b") || once(t, j, 0, first, "a", "b") || once(t, j, 1, first, "other words") {
		t.Error("the first put is put once")
	}
	if !once(t, j, 1, journal.Marker{Producer: "p/2", Ordinal: 7}, "c") {
		t.Error("another producer is held for the first")
	}
	for name, m := range map[string]journal.Marker{
		"another note": {Producer: "p/1", Ordinal: 1, Note: []byte("1 to 4")}, "an older one": {Producer: "p/2", Ordinal: 6},
		"no name": {Ordinal: 1}, "no ordinal": {Producer: "p/3"}, "a long name": {Producer: strings.Repeat("x", 513), Ordinal: 1},
	} {
		if put, err := j.AppendOnce(t.Context(), []journal.Part{{Records: run(t, "no")}}, m); put || !errors.Is(err, journal.ErrMarker) {
			t.Errorf("%s: %v, %v", name, put, err)
		}
	}
	for _, shard := range []uint32{5, journal.NoShard} {
		if put, err := j.AppendOnce(t.Context(), []journal.Part{{Shard: shard, Records: run(t, "no")}}, journal.Marker{Producer: "p/3", Ordinal: 1}); put || !errors.Is(err, journal.ErrShard) {
			t.Errorf("shard %d: %v, %v", shard, put, err)
		}
	}
	if _, err := j.SaveCheckpoint(t.Context(), journal.Checkpoint{Consumer: "c", Shard: journal.NoShard}); !errors.Is(err, journal.ErrShard) {
		t.Errorf("a consumer's checkpoint in no shard: %v", err)
	}
	for range 2 {
		expect(t, j, 0, 0, "a", "b")
		expect(t, j, 1, 0, "c")
		m, ok := j.Marker("p/1")
		if !ok || m.Producer != "p/1" || m.Ordinal != 1 || string(m.Note) != "1 to 3" {
			t.Errorf("marker %+v, %v", m, ok)
		}
		if got := j.Producers("p/"); !slices.Equal(got, []string{"p/1", "p/2"}) {
			t.Errorf("producers %q", got)
		}
		d = d.kill()
		j = open(t, options(d, 2))
	}
	if once(t, j, 0, first, "a", "b") || !once(t, j, 0, journal.Marker{Producer: "p/1", Ordinal: 9}, "d") {
		t.Error("after a restart")
	}
	expect(t, j, 0, 0, "a", "b", "d")
}

// A sealed shard refuses the put with its marker.
func TestAppendOnceToASealedShard(t *testing.T) {
	j := open(t, options(newDisk(), 2))
	if err := j.Seal(t.Context(), []uint32{1}); err != nil {
		t.Fatal(err)
	}
	m := journal.Marker{Producer: "p", Ordinal: 1}
	parts := []journal.Part{{Shard: 0, Records: run(t, "a")}, {Shard: 1, Records: run(t, "b")}}
	if put, err := j.AppendOnce(t.Context(), parts, m); put || !errors.Is(err, journal.ErrSealed) {
		t.Errorf("%v, %v", put, err)
	}
	if _, ok := j.Marker("p"); ok {
		t.Error("there is a marker without its put")
	}
	expect(t, j, 0, 0)
	if !once(t, j, 0, m, "a", "b") {
		t.Error("it is not put where there is room")
	}
}

// Markers stay when the shards go that their records went to, and go when they are deleted.
func TestMarkersOutliveShards(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 2))
	once(t, j, 1, journal.Marker{Producer: "p/1", Ordinal: 1}, "a")
	once(t, j, 1, journal.Marker{Producer: "p/10", Ordinal: 1}, "b")
	once(t, j, 1, journal.Marker{Producer: "q", Ordinal: 1}, "c")
	for i := range 100 {
		put(t, j, 0, fmt.Sprint(i))
	}
	if _, err := j.Trim(t.Context(), 1<<60); err != nil {
		t.Fatal(err)
	}
	if err := j.Forget(t.Context(), []uint32{1}); err != nil {
		t.Fatal(err)
	}
	if shards := j.Shards(); len(shards) != 1 {
		t.Fatalf("shards %v: the test proves nothing", shards)
	}
	d = d.kill()
	opt := options(d, 0)
	j = open(t, opt)
	if got := j.Producers(""); len(got) != 3 || len(j.Damage()) > 0 {
		t.Errorf("producers %q, damage %v", got, j.Damage())
	}
	for range 2 {
		if err := j.DeleteMarkers(t.Context(), "p/"); err != nil {
			t.Fatal(err)
		}
	}
	opt.FS = d.kill()
	if got := open(t, opt).Producers(""); !slices.Equal(got, []string{"q"}) {
		t.Errorf("producers %q after a deletion", got)
	}
}

// Two puts of one ordinal that are planned into the same group are one, and a deletion there counts.
func TestMarkersWithinAGroup(t *testing.T) {
	d := newDisk()
	opt := options(d, 1)
	opt.Sizes = journal.SegmentSizing{}
	j := open(t, opt)
	release := held(t, d, j)
	type answer struct {
		put bool
		err error
	}
	answers := make(chan answer, 3)
	putOnce := func() {
		put, err := j.AppendOnce(context.Background(), []journal.Part{{Records: run(t, "a")}}, journal.Marker{Producer: "p", Ordinal: 1})
		answers <- answer{put, err}
	}
	deleted := make(chan error, 1)
	queue(t, j, 1, putOnce)
	queue(t, j, 2, putOnce)
	queue(t, j, 3, func() { deleted <- j.DeleteMarkers(context.Background(), "p") })
	queue(t, j, 4, putOnce)
	release()
	puts := 0
	for range 3 {
		a := <-answers
		if a.err != nil {
			t.Error(a.err)
		}
		if a.put {
			puts++
		}
	}
	if err := <-deleted; err != nil || puts != 2 {
		t.Errorf("%d were put, want 2; deleted %v", puts, err)
	}
	expect(t, j, 0, 0, "held", "a", "a")
	if m, ok := j.Marker("p"); !ok || m.Ordinal != 1 {
		t.Errorf("marker %+v, %v", m, ok)
	}
}

// Markers count for the limit of the checkpoints; one that does not fit is refused with its records.
func TestMarkersHaveALimit(t *testing.T) {
	opt := options(newDisk(), 1)
	opt.Sizes.Checkpoints = 2000
	j := open(t, opt)
	if err := save(j, "c", 0, 1700); err != nil {
		t.Fatal(err)
	}
	parts := []journal.Part{{Records: run(t, "a")}}
	if put, err := j.AppendOnce(t.Context(), parts, journal.Marker{Producer: "p", Ordinal: 1, Note: make([]byte, 300)}); put || !errors.Is(err, journal.ErrMarkers) {
		t.Errorf("%v, %v", put, err)
	}
	expect(t, j, 0, 0)
	once(t, j, 0, journal.Marker{Producer: "p", Ordinal: 1}, "a")
}

// A kill, a loss of power or a failure at any change of the disk that a put makes: tried until it succeeds, each put is there once and
// whole, though each try has other records.
func TestAppendOnceInterruptedAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDisk()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		start := func() *journal.Journal {
			j, err := journal.Open(context.Background(), options(d, 3))
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		j := start()
		defer func() { j.Close() }()
		puts := rapid.IntRange(1, 20).Draw(t, "puts")
		for n := 1; n <= puts; n++ {
			for try := 0; ; try++ {
				how := rapid.SampledFrom([]string{"", "kill", "power", "fail"}).Draw(t, "interruption")
				i := &interruption{}
				if how != "" && try < 5 {
					i = interrupt(t, d, rng, how)
				}
				_, err := j.AppendOnce(context.Background(), tryOf(t, n, try), journal.Marker{Producer: "p", Ordinal: uint64(n), Note: []byte{byte(n)}})
				after, failed := i.end(d)
				if after != nil {
					j.Close()
					d = after
					j = start()
					continue
				}
				if err != nil && !failed {
					t.Fatal(err)
				}
				if err == nil {
					break
				}
			}
		}
		j.Close()
		d = d.kill()
		j = start()
		wantOnce(t, j, puts)
	})
}

// tryOf is a put of one to three shards, whose records tell of the put, of the try, and of how many shards they are in.
func tryOf(t *rapid.T, n, try int) []journal.Part {
	var parts []journal.Part
	shards := rapid.IntRange(1, 3).Draw(t, "shards")
	for shard := range shards {
		var w record.Builder
		for range rapid.IntRange(1, 3).Draw(t, "records") {
			text := fmt.Sprintf("%d %d %d %s", n, try, shards, strings.Repeat("x", rapid.IntRange(0, 300).Draw(t, "size")))
			if err := w.Append(record.Record{Key: []byte("k"), Data: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		parts = append(parts, journal.Part{Shard: uint32(shard), Records: w.Run()})
	}
	return parts
}

// wantOnce wants each put from 1 on once: one try of it, in all its shards and in order.
func wantOnce(t *rapid.T, j *journal.Journal, puts int) {
	if dmg := j.Damage(); len(dmg) > 0 {
		t.Fatalf("a crash looks like damage: %v", dmg)
	}
	tries, in, want := map[int]int{}, map[int]int{}, map[int]int{}
	for shard := range uint32(3) {
		last := 0
		for _, r := range readShard(t, j, shard) {
			var n, try, shards int
			if _, err := fmt.Sscanf(string(r.Data), "%d %d %d", &n, &try, &shards); err != nil {
				t.Fatal(err)
			}
			if was, known := tries[n]; known && was != try {
				t.Fatalf("put %d is there as try %d and as try %d", n, was, try)
			}
			if n < last {
				t.Fatalf("put %d after %d", n, last)
			}
			if n != last {
				in[n]++
			}
			tries[n], want[n], last = try, shards, n
		}
	}
	for n := 1; n <= puts; n++ {
		if in[n] == 0 || in[n] != want[n] {
			t.Fatalf("put %d is in %d shards of %d", n, in[n], want[n])
		}
	}
	if m, ok := j.Marker("p"); !ok || m.Ordinal != uint64(puts) || m.Note[0] != byte(puts) {
		t.Fatalf("marker %+v, %v", m, ok)
	}
}
