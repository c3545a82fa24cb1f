package shards

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

func TestSplitAndMerge(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s", Shards: 2})
	put(t, st, "a", "b", "c", "d", "e", "f") // in both shards
	before, _ := r.Describe(t.Context(), "s")
	quarter := Hash{1 << 62, 0}
	d, err := r.Split(t.Context(), "s", 0, quarter)
	if err != nil || len(d.Shards) != 4 {
		t.Fatalf("%d shards, %v", len(d.Shards), err)
	}
	closed := d.Shards[0]
	if closed.State != ShardClosed || closed.Last != before.Shards[0].Next-1 || closed.Last == seq(1, 0) || closed.Closed.IsZero() {
		t.Errorf("the parent is %+v", closed)
	}
	child := func(id ShardID, epoch uint32, start, end Hash, parents ...ShardID) ShardDescription {
		return ShardDescription{ID: id, Epoch: epoch, State: ShardOpen, StartHash: start, EndHash: end, Parents: parents,
			Created: closed.Closed, Oldest: seq(epoch, 1), Next: seq(epoch, 1)}
	}
	half := Hash{1 << 63, 0}
	want := []ShardDescription{child(2, 2, Hash{}, quarter.previous(), 0), child(3, 2, quarter, half.previous(), 0)}
	if diff := cmp.Diff(want, d.Shards[2:]); diff != "" {
		t.Error(diff)
	}
	d, err = r.Merge(t.Context(), "s", 1, 3) // the upper one first
	if err != nil || len(d.Shards) != 5 {
		t.Fatalf("%d shards, %v", len(d.Shards), err)
	}
	closed = d.Shards[3]
	if diff := cmp.Diff(child(4, 3, quarter, MaxHash, 1, 3), d.Shards[4]); diff != "" {
		t.Error(diff)
	}
	if closed.Last != seq(2, 0) {
		t.Errorf("an empty shard has ended at %d", closed.Last)
	}
	if got := put(t, st, "a", "b", "c", "d"); slices.ContainsFunc(got, func(r Result) bool { return r.Shard != 2 && r.Shard != 4 }) {
		t.Errorf("put into %+v", got)
	}
	r.reopen(t)
	after, _ := r.Describe(t.Context(), "s")
	for i := range after.Shards {
		if got := after.Shards[i]; got.Last != d.Shards[i].Last || got.Closed != d.Shards[i].Closed || got.State != d.Shards[i].State {
			t.Errorf("after a restart %+v, it was %+v", got, d.Shards[i])
		}
	}
	st = r.stream(t, "s")
	rd, err := st.Reader(0, Start{Kind: Newest})
	if err != nil {
		t.Fatal(err)
	}
	var end *ShardEndError
	if _, err := rd.Next(t.Context()); !errors.As(err, &end) || !slices.Equal(end.Children, []ShardID{2, 3}) {
		t.Errorf("at the newest of a closed shard: %v", err)
	}
}

func TestReshardRefused(t *testing.T) {
	r := newRig(t)
	r.create(t, Config{Name: "s", Shards: 3})
	r.create(t, Config{Name: "demand", Mode: OnDemand})
	r.create(t, Config{Name: "full", Shards: MaxShards})
	mid := Hash{1 << 60, 0}
	if _, err := r.Split(t.Context(), "s", 0, mid); err != nil { // 0 → 3, 4
		t.Fatal(err)
	}
	d, _ := r.Describe(t.Context(), "s")
	split := func(id ShardID, at Hash) error { _, err := r.Split(t.Context(), "s", id, at); return err }
	merge := func(a, b ShardID) error { _, err := r.Merge(t.Context(), "s", a, b); return err }
	for name, c := range map[string]struct{ err, want error }{
		"split closed":     {split(0, mid.previous()), ErrShardClosed},
		"split unknown":    {split(9, mid), ErrNoShard},
		"merge closed":     {merge(1, 0), ErrShardClosed},
		"merge unknown":    {merge(1, 9), ErrNoShard},
		"merge with a gap": {merge(3, 1), ErrNotAdjacent},
		"merge the ends":   {merge(3, 2), ErrNotAdjacent},
		"merge with self":  {merge(1, 1), ErrNotAdjacent},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	end, start := d.Shards[3].EndHash, d.Shards[4].StartHash
	for _, at := range []Hash{{}, {0, 1}, end, end.next(), MaxHash} {
		checkField(t, split(3, at), "at", at.String(), "greater than 1 ")
	}
	checkField(t, split(4, start), "at")
	checkField(t, split(4, start.next()), "at")
	for name, err := range map[string]error{
		"Split": func() error { _, err := r.Split(t.Context(), "none", 0, mid); return err }(),
		"Merge": func() error { _, err := r.Merge(t.Context(), "none", 0, 1); return err }(),
		"Size":  func() error { _, err := r.Resize(t.Context(), "none", 3); return err }(),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := r.Split(t.Context(), "full", 0, Hash{0, 1 << 60})
	checkField(t, err, "shards", "1001")
	_, err = r.Resize(t.Context(), "s", 1001)
	checkField(t, err, "shards", "1001")
	_, err = r.Resize(t.Context(), "demand", 5)
	checkField(t, err, "mode", "on-demand")
	if again, _ := r.Describe(t.Context(), "s"); !cmp.Equal(d, again) {
		t.Error("a change that was refused has changed something")
	}
	// Two splits of the smallest ranges that can be.
	if err := errors.Join(split(3, Hash{0, 2}), split(5, Hash{0, 1})); err == nil {
		t.Error("a shard of two hash keys was split")
	}
}

func TestListedShardsAreLimited(t *testing.T) {
	r := newRig(t)
	r.create(t, Config{Name: "s", Shards: 1000})
	var err error
	for i := range 5 {
		if _, err = r.Resize(t.Context(), "s", 1000-i%2); err != nil {
			break
		}
	}
	checkField(t, err, "shards", "closed", "4000")
}

func TestGenerationsAreLimited(t *testing.T) {
	d := testDefinition(1)
	d.Shards[0].Epoch = maxEpoch - 1
	re := newResharding(&d, testNow)
	if err := errors.Join(re.split(0, Hash{1 << 63, 0}), re.check()); err != nil {
		t.Fatal(err)
	}
	if err := re.merge(1, 2); err != nil {
		t.Fatal(err)
	}
	checkField(t, re.check(), "shards", "generations")
}

// TestResizeLineage looks at what resizing makes: the ranges, and what clients of Kinesis expect of parents and children.
func TestResizeLineage(t *testing.T) {
	for _, sizes := range [][]int{{1, 2, 4, 8, 4, 2, 1}, {3, 5, 7, 4, 9, 1}, {5, 3}, {10, 1}, {1, 1000, 999, 1}, {7, 7}, {4, 3, 6, 2, 9}} {
		d := testDefinition(sizes[0])
		for _, n := range sizes[1:] {
			old := d
			r := newResharding(&d, testNow.Add(time.Hour))
			if err := errors.Join(r.resize(n), r.check()); err != nil {
				t.Fatalf("%v to %d: %v", sizes, n, err)
			}
			if r.changed == (old.open() == n) {
				t.Errorf("from %d to %d: changed %v", old.open(), n, r.changed)
			}
			checkRanges(t, &d, n)
			checkLineage(t, &old, &d)
			if ranges := len(d.Shards) - len(old.Shards); ranges > 2*max(n, old.open()) {
				t.Errorf("from %d to %d takes %d new shards", old.open(), n, ranges)
			}
		}
	}
}

func checkRanges(t *testing.T, d *definition, n int) {
	t.Helper()
	rt, err := newRouting(d.Shards)
	if err != nil || len(rt.slots) != n {
		t.Fatalf("%d open shards, want %d: %v", len(rt.slots), n, err)
	}
	for i, want := range evenRanges(n) {
		if s := d.Shards[rt.slots[i]]; s.StartHash != want.start || s.EndHash != want.end {
			t.Errorf("range %d of %d is %v to %v", i, n, s.StartHash, s.EndHash)
		}
	}
}

// checkLineage: a shard has at most two parents, which are adjacent, older and closed; the children of a closed shard cover
// it; an only child has two parents; shards that stay are as they were.
func checkLineage(t *testing.T, old, d *definition) {
	t.Helper()
	for _, s := range d.Shards {
		was, known := old.shard(s.ID)
		if known && was.State == ShardOpen && s.State == ShardOpen && !cmp.Equal(*was, s) {
			t.Errorf("%v has changed: %+v", s.ID, s)
		}
		if !known && (len(s.Parents) < 1 || len(s.Parents) > 2) {
			t.Errorf("%v has the parents %v", s.ID, s.Parents)
		}
		for _, id := range s.Parents {
			p, ok := d.shard(id)
			if !ok || p.State != ShardClosed || p.Epoch >= s.Epoch || p.ID >= s.ID {
				t.Errorf("%v of epoch %d has the parent %+v", s.ID, s.Epoch, p)
			} else if p.EndHash.less(s.StartHash) || s.EndHash.less(p.StartHash) {
				t.Errorf("%v takes nothing from its parent %v", s.ID, id)
			}
		}
		if s.State != ShardClosed {
			continue
		}
		children := d.children(s.ID)
		if len(children) == 0 {
			t.Errorf("%v is closed and has no children", s.ID)
			continue
		}
		low, high := MaxHash, Hash{}
		for _, id := range children {
			c, _ := d.shard(id)
			if c.StartHash.less(low) {
				low = c.StartHash
			}
			if high.less(c.EndHash) {
				high = c.EndHash
			}
		}
		only, _ := d.shard(children[0])
		if s.StartHash.less(low) || high.less(s.EndHash) || len(children) == 1 && len(only.Parents) != 2 {
			t.Errorf("%v from %v to %v has the children %v", s.ID, s.StartHash, s.EndHash, children)
		}
	}
}

func TestMiddle(t *testing.T) {
	for _, c := range []struct{ start, end, want Hash }{
		{Hash{}, MaxHash, Hash{1 << 63, 0}}, {Hash{}, Hash{0, 1}, Hash{0, 1}}, {Hash{0, 5}, Hash{0, 8}, Hash{0, 7}},
		{Hash{1, 1<<64 - 1}, Hash{2, 2}, Hash{2, 1}}, {MaxHash.previous(), MaxHash, MaxHash},
	} {
		if got := (hashRange{c.start, c.end}).middle(); got != c.want {
			t.Errorf("middle of %v to %v is %v, want %v", c.start, c.end, got, c.want)
		}
	}
}

// TestBlockedReaderIsWoken has readers wait at the end of shards that are closed: one with records, one without.
func TestBlockedReaderIsWoken(t *testing.T) {
	for name, r := range map[string]*rig{"memory": newRig(t), "journal": journalRig(t)} {
		t.Run(name, func(t *testing.T) {
			st := r.create(t, Config{Name: "s", Shards: 2})
			id := put(t, st, "k")[0].Shard
			blocked := make(chan error)
			for _, shard := range []ShardID{0, 1} {
				rd, err := st.Reader(shard, Start{Kind: Newest})
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					_, err := rd.Next(context.Background())
					_, again := rd.Next(context.Background())
					blocked <- errors.Join(err, again)
				}()
			}
			if _, err := r.Merge(t.Context(), "s", 0, 1); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				var end *ShardEndError
				if err := <-blocked; !errors.As(err, &end) || !slices.Equal(end.Children, []ShardID{2}) {
					t.Errorf("woken with %v", err)
				}
			}
			rd, err := st.Reader(id, Start{})
			if err != nil {
				t.Fatal(err)
			}
			if run, err := rd.Next(t.Context()); err != nil || string(run.First().Key) != "k" {
				t.Errorf("the closed shard's record: %v", err)
			}
			if _, ok, err := rd.TryNext(); ok || !errors.Is(err, ErrShardEnd) {
				t.Errorf("behind it: %v, %v", ok, err)
			}
		})
	}
}

// gatedTable holds the next write of a definition up.
type gatedTable struct {
	*memTable
	reached, release chan struct{}
	err              error // what the write comes to
}

func (g *gatedTable) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	g.reached <- struct{}{}
	<-g.release
	if g.err != nil {
		return 0, g.err
	}
	return g.memTable.Update(ctx, key, value, revision)
}

// TestPutsDuringAChange looks at puts while the definition is being written.
func TestPutsDuringAChange(t *testing.T) {
	for _, outcome := range []error{nil, errDisk} {
		t.Run(fmt.Sprint(outcome), func(t *testing.T) {
			r := newRig(t)
			st := r.create(t, Config{Name: "s", Shards: 2})
			g := &gatedTable{r.table, make(chan struct{}), make(chan struct{}), outcome}
			r.defs = g
			split := make(chan error)
			go func() {
				_, err := r.Split(context.Background(), "s", 0, Hash{1 << 62, 0})
				split <- err
			}()
			<-g.reached
			low, high := Hash{0, 5}.Bytes(), MaxHash.Bytes()
			one := func(hash [16]byte) []record.Record { return []record.Record{{Key: []byte("k"), ExplicitHash: hash[:]}} }
			if _, err := st.Put(t.Context(), one(high), nil); err != nil {
				t.Errorf("put into the shard that stays: %v", err)
			}
			waiting := make(chan ShardID)
			for range 2 {
				go func() {
					results, err := st.Put(context.Background(), one(low), nil)
					if err != nil {
						t.Error(err)
					}
					waiting <- results[0].Shard
				}()
				go func() {
					run := runOf(t, "x")
					results, err := st.PutRun(context.Background(), run, []Result{})
					if err != nil {
						t.Error(err)
					}
					waiting <- results[0].Shard
				}()
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if results, err := st.Put(ctx, one(low), nil); !errors.Is(err, context.Canceled) || len(results) != 0 {
				t.Errorf("put with an ended context: %v, %v", results, err)
			}
			if _, err := r.Merge(t.Context(), "s", 0, 1); !errors.Is(err, ErrBusy) {
				t.Errorf("merged meanwhile: %v", err)
			}
			close(g.release)
			if err := <-split; !errors.Is(err, outcome) {
				t.Errorf("split: %v", err)
			}
			counts := make(map[ShardID]int)
			for range 4 {
				counts[<-waiting]++
			}
			want := map[ShardID]int{2: 2} // by the low hash key; the others by the key
			if outcome != nil {
				want = map[ShardID]int{0: 2}
			}
			want[st.mustShardOf(t, "key")] += 2
			if diff := cmp.Diff(want, counts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func (st *Stream) mustShardOf(t *testing.T, key string) ShardID {
	t.Helper()
	id, err := st.ShardOf([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestReshardOfUnknownOutcome gives a change up of which the write happens later, and goes on in the old shape until then.
func TestReshardOfUnknownOutcome(t *testing.T) {
	for _, restart := range []bool{false, true} {
		r := newRig(t)
		st := r.create(t, Config{Name: "s"})
		put(t, st, "a")
		late := &lateTable{memTable: r.table}
		r.defs = late
		if _, err := r.Split(t.Context(), "s", 0, Hash{1 << 63, 0}); !errors.Is(err, catalog.ErrUnknownOutcome) {
			t.Fatalf("split: %v", err)
		}
		if got := put(t, st, "b")[0]; got.Shard != 0 || got.Sequence != seq(1, 2) {
			t.Errorf("put %+v into the old shape", got)
		}
		if _, err := r.table.Update(t.Context(), "s", late.value, late.revision); err != nil {
			t.Fatal(err)
		}
		r.defs = r.table
		if restart {
			r.reopen(t)
		}
		d, err := r.Update(t.Context(), "s", Change{SetTags: map[string]string{"k": "v"}})
		if err != nil || len(d.Shards) != 3 || d.Shards[0].Last != seq(1, 2) || d.Tags["k"] != "v" {
			t.Errorf("%+v, %v", d, err)
		}
		st = r.stream(t, "s")
		if got := put(t, st, "c")[0]; got.Shard == 0 || got.Sequence != seq(2, 1) {
			t.Errorf("put %+v into the new shape", got)
		}
		if got := readShard(t, st, 0); len(got) != 2 {
			t.Errorf("%d records in the closed shard", len(got))
		}
	}
}

// lateTable remembers the write that it does not do.
type lateTable struct {
	*memTable
	value    []byte
	revision uint64
}

func (l *lateTable) Update(_ context.Context, _ string, value []byte, revision uint64) (uint64, error) {
	l.value, l.revision = value, revision
	return 0, catalog.ErrUnknownOutcome
}

// crashingLog is a log of which new shards are steps of a crashes.
type crashingLog struct {
	Log
	*crashes
}

func (l crashingLog) AddShards(ctx context.Context, shards []journal.Shard) error {
	if err := l.step(); err != nil {
		return err
	}
	return l.Log.AddShards(ctx, shards)
}

func (l crashingLog) Seal(ctx context.Context, shards []uint32) error {
	if err := l.step(); err != nil {
		return err
	}
	return l.Log.Seal(ctx, shards)
}

func (l crashingLog) Close() error { return l.Log.Close() }

// TestCrashDuringReshard crashes after every step of a change and looks at what the next start makes of it.
func TestCrashDuringReshard(t *testing.T) {
	changes := map[string]func(*Store) error{
		"split":  func(s *Store) error { _, err := s.Split(context.Background(), "s", 0, Hash{1 << 62, 0}); return err },
		"merge":  func(s *Store) error { _, err := s.Merge(context.Background(), "s", 0, 1); return err },
		"resize": func(s *Store) error { _, err := s.Resize(context.Background(), "s", 5); return err },
	}
	for name, change := range changes {
		for steps := range 4 {
			t.Run(fmt.Sprint(name, steps), func(t *testing.T) {
				r := newRig(t)
				put(t, r.create(t, Config{Name: "s", Shards: 2}), "a", "b", "c", "d")
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				c := &crashes{memTable: r.table, disk: r.disk, steps: steps}
				open := func(ctx context.Context, dir string, d *definition) (Log, error) {
					l, err := r.disk.open(ctx, dir, d)
					return crashingLog{l, c}, err
				}
				s, err := openStore(t.Context(), r.options, c, open, false)
				if err != nil {
					t.Fatal(err)
				}
				if err := change(s); (err == nil) != (steps >= 3) {
					t.Errorf("after %d steps: %v", steps, err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				r.open(t)
				checkConsistent(t, r)
				if n := len(r.stream(t, "s").Shards()); (n > 2) != (steps >= 3) {
					t.Errorf("%d shards after %d steps", n, steps)
				}
				if steps < 3 {
					if err := change(r.Store); err != nil {
						t.Errorf("changed again: %v", err)
					}
				}
				st := r.stream(t, "s")
				put(t, st, "a", "b", "c", "d")
				n := 0
				for _, id := range st.Shards() {
					n += len(readShard(t, st, id))
				}
				if n != 8 {
					t.Errorf("%d records, want 8", n)
				}
			})
		}
	}
}

// TestExpiredShardsLeave lets the parents of a change pass the retention, in real segments.
func TestExpiredShardsLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.logs = openSmallJournal
		r.reopen(t)
		st := r.create(t, Config{Name: "s", Shards: 2, Retention: time.Hour})
		put(t, st, "a", "b", "c", "d")
		for _, id := range []uint32{0, 1} {
			if _, err := st.SaveCheckpoint(t.Context(), Checkpoint{Consumer: "c", Shard: id}); err != nil {
				t.Fatal(err)
			}
		}
		rd, err := st.Reader(0, Start{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Resize(t.Context(), "s", 3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if got := st.Shards(); len(got) != 5 {
			t.Errorf("too soon: %v", got)
		}
		put(t, st, "e")
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := st.Shards(); !slices.Equal(got, []ShardID{2, 3, 4}) {
			t.Errorf("shards %v", got)
		}
		if _, ok := st.Checkpoint("c", 0); ok {
			t.Error("the checkpoint of a shard that is gone")
		}
		if _, err := rd.Next(t.Context()); !errors.Is(err, ErrShardEnd) || rd.Trimmed() == 0 {
			t.Errorf("the reader of a shard that is gone: %v, %d trimmed", err, rd.Trimmed())
		}
		_, err = st.Reader(0, Start{})
		if _, saveErr := st.SaveCheckpoint(t.Context(), Checkpoint{Consumer: "c"}); !errors.Is(err, ErrNoShard) || !errors.Is(saveErr, ErrNoShard) {
			t.Errorf("a reader: %v, a checkpoint: %v", err, saveErr)
		}
		r.reopen(t)
		st = r.stream(t, "s")
		time.Sleep(2 * time.Hour) // for the segment with the records, too
		synctest.Wait()
		if got := st.log.Shards(); !slices.Equal(got, []uint32{2, 3, 4}) {
			t.Errorf("the log knows %v", got)
		}
		d, err := r.Split(t.Context(), "s", 2, Hash{1 << 60, 0})
		if err != nil || d.Shards[len(d.Shards)-1].ID != 6 {
			t.Errorf("the newest shard is %v, %v", d.Shards[len(d.Shards)-1].ID, err)
		}
	})
}

// TestReshardUnderLoad has writers, readers that follow the children, and a resharder, on real journals. Every record is read
// once, in the order of its key.
func TestReshardUnderLoad(t *testing.T) {
	r := journalRig(t)
	st := r.create(t, Config{Name: "s", Shards: 2, MaxRecordBytes: 1024})
	l := &load{st: st, next: make(map[string]int)}
	stop := make(chan struct{})
	for w := range 4 {
		l.writers.Go(func() { l.write(t, w, stop) })
	}
	l.follow(t, st.Shards()...)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		if err := reshardAnyhow(r.Store, rng); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	l.writers.Wait()
	l.finish(t, r)
}

func reshardAnyhow(s *Store, rng *rand.Rand) error {
	ctx := context.Background()
	d, err := s.Describe(ctx, "s")
	if err != nil {
		return err
	}
	open := slices.DeleteFunc(d.Shards, func(s ShardDescription) bool { return s.State != ShardOpen })
	slices.SortFunc(open, func(a, b ShardDescription) int { return a.StartHash.Compare(b.StartHash) })
	i := rng.IntN(len(open))
	switch {
	case len(open) < 3 || len(open) < 8 && rng.IntN(2) == 0:
		_, err = s.Split(ctx, "s", open[i].ID, hashRange{open[i].StartHash, open[i].EndHash}.middle())
	case i+1 < len(open) && rng.IntN(3) > 0:
		_, err = s.Merge(ctx, "s", open[i].ID, open[i+1].ID)
	default:
		_, err = s.Resize(ctx, "s", 2+rng.IntN(5))
	}
	return err
}
