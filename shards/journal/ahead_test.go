package journal_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shardmill/shardmill/shards/journal"
)

// early is a reader of shard 0 that reads ahead.
func early(t *testing.T, j *journal.Journal) *journal.Reader {
	t.Helper()
	r := readersOf(t, j, 1)[0]
	r.ReadAhead()
	return r
}

// readsOf tells the offset at which each read of a segment's file ends.
func (c *counted) readsOf(segment string) <-chan int64 {
	ends := make(chan int64, 1000)
	tell := func(name string, off int64, n int) error {
		if strings.HasSuffix(name, segment) {
			ends <- off + int64(n)
		}
		return nil
	}
	c.fail.Store(&tell)
	return ends
}

// Once a reader goes on from one stretch to the next, the one after it is read without being asked for, and nothing is read twice.
func TestReadAhead(t *testing.T) {
	j, c := long(t, 32<<20)
	ends := c.readsOf("1.seg")
	r := early(t, j)
	for range 9 { // 64 KiB each, of two shards in turn: behind the eighth comes the second MiB
		step(t, r)
	}
	late := time.After(time.Minute)
	for {
		select {
		case end := <-ends:
			if end < 3<<20 {
				continue
			}
		case <-late:
			t.Fatal("what comes after the second MiB is not read")
		}
		break
	}
	for step(t, r) {
	}
	if err := j.Close(); err != nil { // nothing is being read any more
		t.Fatal(err)
	}
	if got := c.bytes.Load(); got < longLog*90/100 || got > longLog*102/100 {
		t.Errorf("%d bytes were read of a log of %d", got, longLog)
	}
	if _, _, err := r.TryNext(); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// Where what may be read ahead is less than one stretch, nothing is.
func TestReadAheadKeepsToItsMemory(t *testing.T) {
	j, c := long(t, 3<<20)
	r := early(t, j)
	for n := 1; step(t, r); n++ {
		if got, most := c.bytes.Load(), int64(n)*128<<10+1<<20; got > most {
			t.Fatalf("%d bytes were read for %d records", got, n)
		}
	}
}

// Where a shard's batches lie far apart each is read when it is wanted: many small chunks would push each other out before.
func TestReadAheadLeavesSparseShards(t *testing.T) {
	opt := options(newDisk(), 8)
	opt.Sizes = journal.SegmentSizing{Segment: 4 << 20, First: 4 << 20}
	j := open(t, opt)
	data := strings.Repeat("x", 16<<10)
	for i := range 400 {
		put(t, j, uint32(i%8), data)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var reads [2]int64
	for i := range reads {
		c := &counted{disk: opt.FS.(*disk).kill()}
		opt := opt
		opt.FS, opt.Cache = c, journal.NewCache(32<<20)
		j := open(t, opt)
		c.reads.Store(0)
		r := readersOf(t, j, 1)[0]
		if i == 1 {
			r.ReadAhead()
		}
		for n := range 50 {
			if run, ok, err := r.TryNext(); !ok || err != nil || run.Len() != 1 {
				t.Fatalf("record %d: %v, %v", n, ok, err)
			}
			if got, most := c.reads.Load(), int64(n+3); got > most { // one a record, and the segments' indexes
				t.Fatalf("%d reads for %d records", got, n+1)
			}
		}
		reads[i] = c.reads.Load()
	}
	if reads[0] != reads[1] {
		t.Errorf("%d reads, and %d with reading ahead", reads[0], reads[1])
	}
}

// Readers side by side read the disk once, also when all read ahead.
func TestReadAheadIsShared(t *testing.T) {
	j, c := long(t, 2*longLog)
	var all sync.WaitGroup
	for range 10 {
		r := early(t, j)
		all.Go(func() {
			for step(t, r) {
			}
		})
	}
	all.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got := c.bytes.Load(); got > longLog*102/100 {
		t.Errorf("%d bytes were read of a log of %d", got, longLog)
	}
}

// What could not be read ahead is read again when the reader comes there; a place that is bad then is named, with what is in it and no more.
func TestReadAheadMeetsABadPlace(t *testing.T) {
	for name, lasting := range map[string]bool{"for a moment": false, "for good": true} {
		t.Run(name, func(t *testing.T) {
			const bad = 3<<20 + 1000
			j, c := long(t, 32<<20)
			var failed atomic.Int32
			met := make(chan struct{})
			fail := func(name string, off int64, n int) error {
				if !strings.HasSuffix(name, "2.seg") || off > bad || bad >= off+int64(n) {
					return nil
				}
				if failed.Add(1) == 1 {
					close(met)
				} else if !lasting {
					return nil
				}
				return syscall.EIO
			}
			c.fail.Store(&fail)
			r := early(t, j)
			_, next := j.Bounds(0)
			var damage *journal.DamageError
			for damage == nil && r.Position() < next {
				if _, _, err := r.TryNext(); err != nil && !errors.As(err, &damage) {
					t.Fatal(err)
				}
			}
			<-met
			if lasting != (damage != nil) {
				t.Fatalf("the reader met %v", damage)
			}
			if lasting && (damage.First != damage.Last || damage.First != r.Position()) {
				t.Errorf("at %d: %v", r.Position(), damage)
			}
			c.fail.Store(nil)
			for step(t, r) {
			}
			if r.Position() != next {
				t.Errorf("the reader ended at %d, want %d", r.Position(), next)
			}
		})
	}
}

// The bytes of a stored batch that have changed on disk are named to a reader that has them read ahead, as they are to others.
func TestReadAheadIsChecked(t *testing.T) {
	const bad = 3<<20 + 1000
	j, c := long(t, 32<<20)
	c.set(func(d *disk) {
		for name, n := range d.files {
			if strings.HasSuffix(name, "2.seg") {
				n.content[bad] ^= 1
			}
		}
	})
	r, other := early(t, j), readersOf(t, j, 1)[0]
	var found [2]journal.DamageError
	for i, r := range []*journal.Reader{r, other} {
		for {
			_, ok, err := r.TryNext()
			var damage *journal.DamageError
			if errors.As(err, &damage) {
				found[i] = *damage
				break
			}
			if !ok || err != nil {
				t.Fatalf("reader %d came to the end: %v", i, err)
			}
		}
	}
	if found[0].First != found[1].First || found[0].Last != found[1].Last || found[0].First != found[0].Last {
		t.Errorf("found %v and %v", &found[0], &found[1])
	}
}

// Closing waits for what is being read ahead.
func TestReadAheadEndsBeforeTheJournal(t *testing.T) {
	j, c := long(t, 32<<20)
	reading, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hold := func(name string, off int64, n int) error {
		if strings.HasSuffix(name, "1.seg") && off > 2<<20 && off < 3<<20 {
			once.Do(func() { close(reading) })
			<-release
		}
		return nil
	}
	c.fail.Store(&hold)
	r := early(t, j)
	for range 9 {
		step(t, r)
	}
	<-reading
	_, next := j.Bounds(0)
	tip, err := j.Reader(0, next)
	if err != nil {
		t.Fatal(err)
	}
	end := func() error { _, _, err := tip.TryNext(); return err }
	closed := make(chan error)
	go func() { closed <- j.Close() }()
	for !errors.Is(end(), journal.ErrClosed) { // until Close has begun
	}
	select {
	case err := <-closed:
		t.Fatalf("closed while it was being read: %v", err)
	default:
	}
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
