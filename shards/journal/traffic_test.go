package journal_test

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/shards/journal"
)

// neighbours are two journals on one disk, of which the second waits for it until release is called.
func neighbours(t *testing.T) (j *journal.Journal, d *disk, release func()) {
	d = newDisk()
	opt := options(d, 1)
	opt.Sizes.First, opt.Traffic = 4096, journal.NewTraffic() // no segment is made ahead
	j = open(t, opt)
	opt.Dir, opt.Name = "/other", "other"
	other := open(t, opt)
	return j, d, held(t, d, other)
}

// synced is how often.
func (d *disk) synced() (n int) {
	d.set(func(d *disk) { n = d.syncs })
	return n
}

// While another journal waits for the disk, a checkpoint that may wait is written with the next put, in one group, and with nothing else
// when it has waited long enough or is wanted at once.
func TestCheckpointRidesOnThePut(t *testing.T) {
	for name, c := range map[string]struct {
		then func(t *testing.T, j *journal.Journal, hurry chan struct{}, cancel func())
		took time.Duration
		more int // syncs
	}{
		"a put":           {func(t *testing.T, j *journal.Journal, _ chan struct{}, _ func()) { put(t, j, 0, "a") }, 0, 1},
		"nobody":          {func(*testing.T, *journal.Journal, chan struct{}, func()) {}, 250 * time.Millisecond, 1},
		"hurry":           {func(_ *testing.T, _ *journal.Journal, hurry chan struct{}, _ func()) { close(hurry) }, 0, 1},
		"the context":     {func(_ *testing.T, _ *journal.Journal, _ chan struct{}, cancel func()) { cancel() }, 0, 1},
		"the journal end": {func(_ *testing.T, j *journal.Journal, _ chan struct{}, _ func()) { j.Close() }, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, d, release := neighbours(t)
				defer release()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				hurry, saved := make(chan struct{}), make(chan error, 1)
				began := time.Now()
				go func() {
					_, err := j.SaveCheckpointBy(ctx, journal.Checkpoint{Consumer: "c", Sequence: 7}, hurry)
					saved <- err
				}()
				synctest.Wait()
				if cp, ok := j.Checkpoint("c", 0); ok {
					t.Fatalf("it was written at once: %+v", cp)
				}
				syncs := d.synced()
				c.then(t, j, hurry, cancel)
				if err := <-saved; err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				if cp, ok := j.Checkpoint("c", 0); !ok || cp.Sequence != 7 {
					t.Errorf("the checkpoint is %+v, %v", cp, ok)
				}
				if more := d.synced() - syncs; more != c.more {
					t.Errorf("%d syncs, want %d", more, c.more)
				}
			})
		})
	}
}

// A checkpoint is written at once when nobody waits for the disk, though it may wait, and when others do, but it may not.
func TestCheckpointDoesNotWaitForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		alone := open(t, options(newDisk(), 1))
		if _, err := alone.SaveCheckpointBy(t.Context(), journal.Checkpoint{Consumer: "c"}, make(chan struct{})); err != nil {
			t.Error(err)
		}
		j, _, release := neighbours(t)
		defer release()
		if _, err := j.SaveCheckpoint(t.Context(), journal.Checkpoint{Consumer: "c"}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("they waited %v", took)
		}
	})
}

// A segment that is filled ahead keeps no checkpoint waiting, of its own journal or another: nobody waits for it, and no put may come to ride on.
func TestCheckpointDoesNotWaitForSegmentsMadeAhead(t *testing.T) {
	for n, what := range []string{"its header", "what it is filled with"} {
		t.Run(what, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { checkpointBesideSegment(t, int64(n+1)) }) })
	}
}

// checkpointBesideSegment saves checkpoints while a sync of a segment that is made ahead, the first or the second, does not end.
func checkpointBesideSegment(t *testing.T, held int64) {
	d := newDisk()
	creating := &createsHeld{disk: d, entered: make(chan string, 8), leave: make(chan struct{})}
	opt := options(creating, 1)
	opt.Sizes, opt.Traffic = journal.SegmentSizing{Segment: 4096, First: 4096}, journal.NewTraffic()
	own := open(t, opt)
	opt.Dir, opt.Name, opt.FS = "/other", "other", newDisk()
	other := open(t, opt)
	creating.hold("/journal")
	put(t, own, 0, strings.Repeat("x", 2500))
	<-creating.entered
	filling, leave := make(chan struct{}), make(chan struct{})
	var syncs atomic.Int64
	d.set(func(d *disk) {
		d.gate = func() {
			if syncs.Add(1) == held {
				close(filling)
				<-leave
			}
		}
	})
	close(creating.leave)
	<-filling
	began := time.Now()
	for name, j := range map[string]*journal.Journal{"its own journal": own, "another": other} {
		if _, err := j.SaveCheckpointBy(t.Context(), journal.Checkpoint{Consumer: "c", Sequence: 7}, make(chan struct{})); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("that of %s waited %v", name, took)
		}
		if cp, ok := j.Checkpoint("c", 0); !ok || cp.Sequence != 7 {
			t.Errorf("that of %s is %+v, %v", name, cp, ok)
		}
	}
	close(leave)
}

// Segments are made ahead by one journal at a time; one whose turn has not come when it needs its next segment makes it itself.
func TestSegmentsAreMadeInTurn(t *testing.T) {
	d := newDisk()
	creating := &createsHeld{disk: d, entered: make(chan string, 8), leave: make(chan struct{})}
	opt := options(creating, 1)
	opt.Sizes = journal.SegmentSizing{Segment: 4096, First: 4096}
	opt.Traffic = journal.NewTraffic()
	first := open(t, opt)
	opt.Dir, opt.Name = "/other", "other"
	other := open(t, opt)
	half := strings.Repeat("x", 2000)
	creating.hold("/journal") // before the put that has a segment made
	put(t, first, 0, half)
	put(t, first, 0, half[:500])
	if name := <-creating.entered; filepath.Base(name) != "0000000000000002.seg" {
		t.Fatalf("%s is being made", name)
	}
	for range 4 { // beyond the end of the second's segment, while the first has its turn
		put(t, other, 0, half[:1500])
	}
	if _, n := other.Size(); n < 2 {
		t.Errorf("the second has %d segments", n)
	}
	close(creating.leave)
	put(t, first, 0, half)
	expect(t, first, 0, 0, half, half[:500], half)
	expect(t, other, 0, 0, half[:1500], half[:1500], half[:1500], half[:1500])
}

// createsHeld is a disk on which files of one folder are made only when leave is closed.
type createsHeld struct {
	*disk
	mu      sync.Mutex
	folder  string
	entered chan string
	leave   chan struct{}
}

func (c *createsHeld) hold(folder string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.folder = folder
}

func (c *createsHeld) Create(name string) (journal.File, error) {
	c.mu.Lock()
	hold := filepath.Dir(name) == c.folder
	c.mu.Unlock()
	if hold {
		c.entered <- name
		<-c.leave
	}
	return c.disk.Create(name)
}

// However many journals are put to while the disk stands still, a bounded number of them waits for it: each of those has a thread.
func TestSoManyJournalsWriteAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const journals, most = 530, 512
		var all []*journal.Journal
		var syncing atomic.Int64
		traffic, leave := journal.NewTraffic(), make(chan struct{})
		for range journals {
			d := newDisk()
			opt := options(d, 1)
			opt.Sizes.First, opt.Traffic = 4096, traffic // no segment is made ahead
			all = append(all, open(t, opt))
			d.set(func(d *disk) { d.gate = func() { syncing.Add(1); <-leave } })
		}
		var group sync.WaitGroup
		for _, j := range all {
			for _, data := range []string{"a", "b"} {
				group.Go(func() {
					if err := j.Append(t.Context(), []journal.Part{{Records: run(t, data)}}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		synctest.Wait()
		if n := syncing.Load(); n != most {
			t.Errorf("%d journals wait for the disk, want %d", n, most)
		}
		close(leave)
		group.Wait()
		for _, j := range all {
			if oldest, next := j.Bounds(0); next-oldest != 2 {
				t.Fatalf("records %d to %d are there, want two", oldest, next)
			}
		}
	})
}

// Many journals that put at once to the real disk: what is acknowledged is there, in order, whoever gave his processor away.
func TestManyJournalsOnOneDisk(t *testing.T) {
	const journals, puts = 24, 40
	folder := t.TempDir()
	traffic := journal.NewTraffic()
	openOne := func(i int) *journal.Journal {
		opt := options(nil, 1)
		opt.Dir, opt.Name, opt.Traffic = filepath.Join(folder, strconv.Itoa(i)), strconv.Itoa(i), traffic
		return open(t, opt)
	}
	var group sync.WaitGroup
	want := make([]string, puts)
	for i := range want {
		want[i] = strings.Repeat("x", i+1)
	}
	for i := range journals {
		j := openOne(i)
		group.Go(func() {
			for _, data := range want {
				if err := j.Append(t.Context(), []journal.Part{{Records: run(t, data)}}); err != nil {
					t.Error(err)
				}
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i := range journals {
		expect(t, openOne(i), 0, 0, want...)
	}
}
