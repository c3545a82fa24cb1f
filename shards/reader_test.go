package shards

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/sdk/record"
)

// next reads one run, which must be there, and returns its data as texts.
func next(t testing.TB, r *Reader) []string {
	t.Helper()
	run, err := r.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var data []string
	for rec := range run.All() {
		data = append(data, string(rec.Data))
	}
	return data
}

func reader(t testing.TB, st *Stream, start Start) *Reader {
	t.Helper()
	r, err := st.Reader(0, start)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReaderStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newRig(t).create(t, Config{Name: "s"})
		var times []time.Time
		for _, key := range []string{"1", "2", "3"} {
			times = append(times, time.Now())
			put(t, st, key)
			time.Sleep(time.Second)
		}
		for name, c := range map[string]struct {
			start Start
			want  []string
		}{
			"zero":                     {Start{}, []string{"1", "2", "3"}},
			"newest":                   {Start{Kind: Newest}, nil},
			"at the first":             {Start{Kind: AtSequence, Sequence: seq(1, 1)}, []string{"1", "2", "3"}},
			"at the second":            {Start{Kind: AtSequence, Sequence: seq(1, 2)}, []string{"2", "3"}},
			"at the next":              {Start{Kind: AtSequence, Sequence: seq(1, 4)}, nil},
			"at before the first":      {Start{Kind: AtSequence, Sequence: seq(1, 0)}, []string{"1", "2", "3"}},
			"after none":               {Start{Kind: AfterSequence}, []string{"1", "2", "3"}},
			"after before the first":   {Start{Kind: AfterSequence, Sequence: seq(1, 0)}, []string{"1", "2", "3"}},
			"after the second":         {Start{Kind: AfterSequence, Sequence: seq(1, 2)}, []string{"3"}},
			"after the last":           {Start{Kind: AfterSequence, Sequence: seq(1, 3)}, nil},
			"at a time before all":     {Start{Kind: AtTime, Time: times[0].Add(-time.Hour)}, []string{"1", "2", "3"}},
			"at the time of second":    {Start{Kind: AtTime, Time: times[1]}, []string{"2", "3"}},
			"between second and third": {Start{Kind: AtTime, Time: times[1].Add(time.Millisecond)}, []string{"3"}},
			"now":                      {Start{Kind: AtTime, Time: time.Now()}, nil},
		} {
			t.Logf("%s", name)
			r := reader(t, st, c.start)
			var got []string
			for len(got) < len(c.want) {
				got = append(got, next(t, r)...)
			}
			_, more, err := r.TryNext()
			if !slices.Equal(got, c.want) || more || err != nil {
				t.Errorf("%s: read %q and more %v, %v, want %q", name, got, more, err, c.want)
			}
			if r.Position() != seq(1, 4) || r.Trimmed() != 0 || r.Skipped() != 0 {
				t.Errorf("%s: at %d, trimmed %d, skipped %d", name, r.Position(), r.Trimmed(), r.Skipped())
			}
		}
		for name, c := range map[string]struct {
			start Start
			field string
		}{
			"at a number to come":    {Start{Kind: AtSequence, Sequence: seq(1, 5)}, "sequenceNumber"},
			"after a number to come": {Start{Kind: AfterSequence, Sequence: seq(1, 4)}, "sequenceNumber"},
			"of another epoch":       {Start{Kind: AtSequence, Sequence: seq(2, 1)}, "sequenceNumber"},
			"of no epoch":            {Start{Kind: AtSequence, Sequence: 1}, "sequenceNumber"},
			"in the future":          {Start{Kind: AtTime, Time: time.Now().Add(time.Second)}, "time"},
			"of no kind":             {Start{Kind: 17}, "start"},
		} {
			t.Logf("%s", name)
			_, err := st.Reader(0, c.start)
			checkField(t, err, c.field)
		}
		if _, err := st.Reader(1, Start{}); !errors.Is(err, ErrNoShard) {
			t.Errorf("reader of a shard that is not there: %v", err)
		}
	})
}

func TestReaderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newRig(t).create(t, Config{Name: "s"})
		r := reader(t, st, Start{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("ended after %v with %v", time.Since(begin), err)
		}
		got := make(chan []string)
		go func() { got <- next(t, r) }()
		synctest.Wait()
		put(t, st, "a", "b")
		if data := <-got; !slices.Equal(data, []string{"a", "b"}) {
			t.Errorf("read %q", data)
		}
	})
}

func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		st := r.create(t, Config{Name: "s"})
		reader := reader(t, st, Start{})
		behind := func(want time.Duration) {
			t.Helper()
			if got := reader.Behind(); got != want {
				t.Errorf("behind by %v, want %v", got, want)
			}
		}
		behind(0)
		put(t, st, "1")
		time.Sleep(time.Minute)
		put(t, st, "2")
		behind(time.Minute)
		time.Sleep(time.Second)
		behind(time.Minute + time.Second)
		next(t, reader)
		behind(time.Second)
		next(t, reader)
		time.Sleep(time.Hour)
		behind(0)

		put(t, st, "3")
		at := put(t, st, "4")[0].Sequence
		next(t, reader)
		r.memLog(t, st).damage(0, at, at)
		time.Sleep(time.Second)
		behind(time.Second)
		if reader.Position() != at {
			t.Errorf("looking moved the position to %d", reader.Position())
		}
	})
}

// TestRetention has a log whose segments hold three puts, so that expired records stand in kept segments.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		st := r.create(t, Config{Name: "s", Retention: time.Hour})
		slow, blocked := reader(t, st, Start{}), reader(t, st, Start{Kind: Newest})
		numbers := make(chan uint64, 1)
		go func() {
			run, err := blocked.Next(context.Background())
			if err != nil {
				t.Error(err)
			}
			numbers <- run.First().Sequence
		}()
		for range 10 { // at 0, 10, … 90 minutes
			put(t, st, "x", "y")
			time.Sleep(10 * time.Minute)
		}
		if got := <-numbers; got != seq(1, 1) {
			t.Errorf("the blocked reader woke at %d", got)
		}
		// It is minute 100: what arrived before minute 40 is expired, 4 puts of 2 records.
		oldest := seq(1, 9)
		d, err := r.Describe(t.Context(), "s")
		if err != nil || d.Shards[0].Oldest != oldest || d.Shards[0].Next != seq(1, 21) {
			t.Errorf("described from %d to %d, %v", d.Shards[0].Oldest, d.Shards[0].Next, err)
		}
		if stored, _ := st.log.Bounds(0); stored == seq(1, 1) || stored > oldest {
			t.Errorf("the log keeps from %d on; this test wants expired records in a kept segment", stored)
		}
		for name, start := range map[string]Start{
			"oldest": {}, "by time": {Kind: AtTime, Time: time.Now().Add(-2 * time.Hour)}, "after none": {Kind: AfterSequence},
		} {
			fresh := reader(t, st, start)
			if fresh.Position() != oldest {
				t.Errorf("%s begins at %d", name, fresh.Position())
			}
			next(t, fresh)
			if fresh.Trimmed() != 0 {
				t.Errorf("%s: trimmed %d", name, fresh.Trimmed())
			}
		}
		for name, late := range map[string]*Reader{"slow": slow, "by number": reader(t, st, Start{Kind: AfterSequence, Sequence: seq(1, 1)})} {
			want := uint64(8)
			if name == "by number" {
				want = 7
			}
			run, err := late.Next(t.Context())
			if err != nil || run.First().Sequence != oldest || late.Trimmed() != want || late.Skipped() != 0 {
				t.Errorf("%s: first %d, trimmed %d, skipped %d, %v", name, run.First().Sequence, late.Trimmed(), late.Skipped(), err)
			}
		}
		time.Sleep(2 * time.Hour) // everything expires; the reader waits and goes on with what comes
		go func() {
			run, err := slow.Next(context.Background())
			if err != nil {
				t.Error(err)
			}
			numbers <- run.First().Sequence
		}()
		synctest.Wait()
		put(t, st, "z")
		if got := <-numbers; got != seq(1, 21) || slow.Trimmed() != 18 {
			t.Errorf("went on at %d, trimmed %d", got, slow.Trimmed())
		}
	})
}

// TestRetentionWithinABatch has a batch of which only the end is retained, as a log may merge puts.
func TestRetentionWithinABatch(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s", Retention: time.Hour})
	put(t, st, "1", "2", "3", "4")
	log := r.memLog(t, st)
	run := log.shards[0].stored[0].run
	head, tail := run.Split(3)
	record.Stamp(head, seq(1, 1), time.Now().Add(-2*time.Hour).UnixMicro())
	record.Stamp(tail, seq(1, 4), time.Now().UnixMicro())
	rd := reader(t, st, Start{Kind: AtSequence, Sequence: seq(1, 2)})
	if got := next(t, rd); !slices.Equal(got, []string{"4"}) || rd.Trimmed() != 2 || rd.Position() != seq(1, 5) {
		t.Errorf("read %q, trimmed %d, at %d", got, rd.Trimmed(), rd.Position())
	}
}

func TestReaderStopsAtDamage(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s"})
	for _, key := range []string{"1", "2", "3", "4"} {
		put(t, st, key)
	}
	r.memLog(t, st).damage(0, seq(1, 2), seq(1, 3))
	rd := reader(t, st, Start{})
	next(t, rd)
	want := DamageError{Stream: "s", Shard: 0, First: seq(1, 2), Last: seq(1, 3), File: "memory", Offset: 7, Reason: "made by a test"}
	for range 2 { // it stays
		var damage *DamageError
		if _, err := rd.Next(t.Context()); !errors.Is(err, ErrDamaged) || !errors.As(err, &damage) || *damage != want {
			t.Fatalf("at the damage: %v", err)
		}
		if _, _, err := rd.TryNext(); !errors.Is(err, ErrDamaged) {
			t.Fatalf("at the damage: %v", err)
		}
	}
	listed, err := st.Damage()
	if diff := cmp.Diff([]DamageError{want}, listed); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if diff := cmp.Diff(listed, r.Damage()); diff != "" {
		t.Error(diff)
	}
	if _, err := st.AcceptDamage(t.Context(), 9); !errors.Is(err, ErrNoShard) {
		t.Errorf("accepted in a shard that is not there: %v", err)
	}
	lost, err := st.AcceptDamage(t.Context(), 0)
	if diff := cmp.Diff(listed, lost); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if got := next(t, rd); !slices.Equal(got, []string{"4"}) || rd.Skipped() != 2 || rd.Trimmed() != 0 {
		t.Errorf("read %q, skipped %d, trimmed %d", got, rd.Skipped(), rd.Trimmed())
	}
	if left := r.Damage(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := st.Scrub(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestExpiredDamageIsPassed has damage whose records would not be served any more.
func TestExpiredDamageIsPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		st := r.create(t, Config{Name: "s", Retention: time.Hour})
		put(t, st, "1")
		time.Sleep(30 * time.Minute)
		put(t, st, "2")
		r.memLog(t, st).damage(0, seq(1, 1), seq(1, 1))
		rd := reader(t, st, Start{})
		if _, err := rd.Next(t.Context()); !errors.Is(err, ErrDamaged) {
			t.Errorf("before it expires: %v", err)
		}
		time.Sleep(31 * time.Minute)
		if got := next(t, rd); !slices.Equal(got, []string{"2"}) || rd.Trimmed() != 1 {
			t.Errorf("read %q, trimmed %d", got, rd.Trimmed())
		}
	})
}

// TestClosedShard opens a stream that was resharded: the parents are read to their end.
func TestClosedShard(t *testing.T) {
	r := newRig(t)
	d := resharded()
	if _, err := r.table.Create(t.Context(), "s", d.encode()); err != nil {
		t.Fatal(err)
	}
	log, err := r.disk.open(t.Context(), r.folder(d.ID), &d)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, log, 0, "before the split")
	r.reopen(t)
	st := r.stream(t, "s")
	rd := reader(t, st, Start{})
	if got := next(t, rd); got[0] != "before the split" {
		t.Errorf("read %q", got)
	}
	for range 2 {
		_, err := rd.Next(t.Context())
		var end *ShardEndError
		if !errors.Is(err, ErrShardEnd) || !errors.As(err, &end) || end.Shard != 0 || !slices.Equal(end.Children, []ShardID{2, 3}) {
			t.Fatalf("at the end: %v", err)
		}
		if _, ok, err := rd.TryNext(); ok || !errors.Is(err, ErrShardEnd) {
			t.Fatalf("at the end: %v, %v", ok, err)
		}
	}
	if _, err := reader(t, st, Start{Kind: Newest}).Next(t.Context()); !errors.Is(err, ErrShardEnd) {
		t.Errorf("the newest of a closed shard: %v", err)
	}
	for i, res := range put(t, st, "a", "b", "c", "d", "e", "f") {
		if s, _ := d.find(res.Shard); d.Shards[s].State != ShardOpen || record.Epoch(res.Sequence) != d.Shards[s].Epoch {
			t.Errorf("record %d went to %v, %d", i, res.Shard, res.Sequence)
		}
	}
}

func TestCheckpoints(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s", Shards: 2})
	at := put(t, st, "k", "k")[1]
	one, err := st.SaveCheckpoint(t.Context(), Checkpoint{Consumer: "c", Shard: uint32(at.Shard), Sequence: at.Sequence, State: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.SaveCheckpoint(t.Context(), Checkpoint{Consumer: "c", Shard: uint32(at.Shard)}); !errors.Is(err, ErrRevision) {
		t.Errorf("saved over another's: %v", err)
	}
	r.reopen(t)
	st = r.stream(t, "s")
	want := Checkpoint{Consumer: "c", Shard: uint32(at.Shard), Sequence: at.Sequence, State: []byte("x"), Revision: one}
	got, ok := st.Checkpoint("c", at.Shard)
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("%v %s", ok, diff)
	}
	for name, c := range map[string]struct {
		c     Checkpoint
		field string
	}{
		"no consumer":      {Checkpoint{}, "consumer"},
		"long consumer":    {Checkpoint{Consumer: string(make([]byte, 257))}, "consumer"},
		"large state":      {Checkpoint{Consumer: "d", State: make([]byte, MaxCheckpointState+1)}, "state"},
		"number to come":   {Checkpoint{Consumer: "d", Shard: uint32(at.Shard), Sequence: at.Sequence + 1}, "sequenceNumber"},
		"number elsewhere": {Checkpoint{Consumer: "d", Sequence: seq(2, 1)}, "sequenceNumber"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := st.SaveCheckpoint(t.Context(), c.c)
			checkField(t, err, c.field)
		})
	}
	if _, err := st.SaveCheckpoint(t.Context(), Checkpoint{Consumer: "c", Shard: 2}); !errors.Is(err, ErrNoShard) {
		t.Errorf("in a shard that is not there: %v", err)
	}
	if err := st.DeleteCheckpoints(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if c, ok := st.Checkpoint("c", at.Shard); ok {
		t.Errorf("after the deletion: %+v", c)
	}
}

// Checkpoints are deleted by their consumers in all streams; a stream that cannot is told, and holds up no other.
func TestDeleteCheckpointsOfSeveral(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"a", "b"} {
		st := r.create(t, Config{Name: name, Shards: 2})
		for _, consumer := range []string{"c", "d"} {
			for _, shard := range st.Shards() {
				if _, err := st.SaveCheckpoint(t.Context(), Checkpoint{Consumer: consumer, Shard: uint32(shard)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := st.PutOnce(t.Context(), runOf(t, "k"), Marker{Producer: "c", Ordinal: 1}); err != nil {
			t.Fatal(err)
		}
	}
	there := func(name, consumer string) bool {
		_, ok := r.stream(t, name).Checkpoint(consumer, r.stream(t, name).Shards()[1])
		return ok
	}
	var asked []string
	if err := r.DeleteCheckpoints(t.Context(), func(consumer string) bool { asked = append(asked, consumer); return consumer == "d" }); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(asked); !slices.Equal(asked, []string{"c", "c", "d", "d"}) {
		t.Errorf("asked about %q", asked)
	}
	if there("a", "d") || there("b", "d") || !there("a", "c") || !there("b", "c") {
		t.Error("not those of one consumer are gone")
	}
	if err := r.memLog(t, r.stream(t, "a")).Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteCheckpoints(t.Context(), func(string) bool { return true }); !errors.Is(err, ErrClosed) {
		t.Errorf("with a stream that takes nothing: %v", err)
	}
	if there("b", "c") {
		t.Error("the other stream was not gone on with")
	}
	if m, ok := r.Marker("c"); !ok || m.Ordinal != 1 {
		t.Errorf("the producer's marker: %+v", m)
	}
}

func TestUpkeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := r.create(t, Config{Name: "a"}), r.create(t, Config{Name: "b"})
		scrubs := func() [2]int {
			synctest.Wait()
			var n [2]int
			for i, st := range []*Stream{a, b} {
				log := r.memLog(t, st)
				log.mu.Lock()
				n[i] = log.scrubs
				log.mu.Unlock()
			}
			return n
		}
		for _, step := range []struct {
			after time.Duration
			want  [2]int
		}{
			{firstScrub - time.Second, [2]int{0, 0}},
			{2 * time.Second, [2]int{1, 0}}, // the first is pausing
			{scrubPause, [2]int{1, 1}},
			{scrubPause + 23*time.Hour, [2]int{1, 1}},
			{time.Hour, [2]int{2, 1}},
			{scrubPause, [2]int{2, 2}},
		} {
			time.Sleep(step.after)
			if got := scrubs(); got != step.want {
				t.Errorf("after %v more: scrubbed %v times, want %v", step.after, got, step.want)
			}
		}
	})
}
