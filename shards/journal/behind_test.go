package journal_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// counted is a disk that counts what is read of segment files.
type counted struct {
	*disk
	bytes, reads atomic.Int64
	fail         atomic.Pointer[func(name string, off int64, n int) error] // asked before each read of a segment file
}

func (c *counted) Open(name string) (journal.File, error) {
	f, err := c.disk.Open(name)
	if err != nil || filepath.Ext(name) != ".seg" {
		return f, err
	}
	return &countedFile{f, c, name}, nil
}

type countedFile struct {
	journal.File
	c    *counted
	name string
}

func (f *countedFile) ReadAt(b []byte, off int64) (int, error) {
	if fail := f.c.fail.Load(); fail != nil {
		if err := (*fail)(f.name, off, len(b)); err != nil {
			return 0, err
		}
	}
	n, err := f.File.ReadAt(b, off)
	f.c.bytes.Add(int64(n))
	f.c.reads.Add(1)
	return n, err
}

const longLog = 16 << 20

// longDisk has what long begins with.
var longDisk struct {
	sync.Once
	*disk
}

// long is a journal of longLog bytes in records of 64 KiB, opened anew, so that its tail is not cached. The counts begin at 0.
func long(t *testing.T, cache int64) (*journal.Journal, *counted) {
	t.Helper()
	opt := options(newDisk(), 2)
	opt.Sizes = journal.SegmentSizing{Segment: 4 << 20, First: 4 << 20}
	longDisk.Do(func() {
		j := open(t, opt)
		data := strings.Repeat("x", 64<<10)
		for i := range longLog / len(data) {
			put(t, j, uint32(i%2), data)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		longDisk.disk = opt.FS.(*disk)
	})
	c := &counted{disk: longDisk.kill()}
	opt.FS, opt.Cache = c, journal.NewCache(cache)
	j := open(t, opt)
	c.bytes.Store(0)
	c.reads.Store(0)
	return j, c
}

func readersOf(t *testing.T, j *journal.Journal, n int) []*journal.Reader {
	t.Helper()
	var all []*journal.Reader
	for range n {
		r, err := j.Reader(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// step reads one stored batch; false at the end.
func step(t *testing.T, r *journal.Reader) bool {
	t.Helper()
	run, ok, err := r.TryNext()
	if err != nil || ok && (run.Len() != 1 || len(run.First().Data) != 64<<10) {
		t.Fatal(run.Len(), err)
	}
	return ok
}

// What ten readers that are close together want is read once, also when some are ahead of others.
func TestReadersBehindShareWhatTheyRead(t *testing.T) {
	for name, lead := range map[string]int{"side by side": 0, "one after the other": 6} { // records that each is ahead of the next
		t.Run(name, func(t *testing.T) {
			j, c := long(t, 8<<20)
			readers := readersOf(t, j, 10)
			for i, r := range readers {
				for range lead * i {
					step(t, r)
				}
			}
			for more := true; more; {
				more = false
				for _, r := range readers {
					more = step(t, r) || more
				}
			}
			if got := c.bytes.Load(); got > longLog*102/100 {
				t.Errorf("%d bytes were read of a log of %d", got, longLog)
			}
		})
	}
}

// Of readers that want the same at the same moment one reads.
func TestReadersBehindReadAtOnce(t *testing.T) {
	j, c := long(t, 2*longLog)
	var all sync.WaitGroup
	for _, r := range readersOf(t, j, 10) {
		all.Go(func() {
			for step(t, r) {
			}
		})
	}
	all.Wait()
	if got := c.bytes.Load(); got > longLog*102/100 {
		t.Errorf("%d bytes were read of a log of %d", got, longLog)
	}
}

// Readers that are farther apart than the cache is large read for themselves, and one that is alone reads nothing twice.
func TestReadersFarApartReadForThemselves(t *testing.T) {
	j, c := long(t, 4<<20)
	for i, r := range readersOf(t, j, 2) {
		for step(t, r) {
		}
		if got, want := c.bytes.Load(), int64(i+1)*longLog; got < want*90/100 || got > want*102/100 {
			t.Errorf("%d bytes were read by %d readers of a log of %d", got, i+1, longLog)
		}
	}
}

// One that reads the whole log takes nothing from those at the tail.
func TestReadersBehindLeaveTheTail(t *testing.T) {
	j, c := long(t, 4<<20)
	from := put(t, j, 0, "first")
	for range 32 {
		put(t, j, 0, strings.Repeat("y", 64<<10))
	}
	r, err := j.Reader(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for r.Position() < from {
		step(t, r)
	}
	reads := c.reads.Load()
	if reads == 0 {
		t.Fatal("nothing was read of the disk")
	}
	if got, err := readAll(t, j, 0, from); err != nil || len(got) != 33 || c.reads.Load() != reads {
		t.Errorf("%d records with %d reads, %v", len(got), c.reads.Load()-reads, err)
	}
}

// A place that cannot be read is named to each reader, with the records that are in it and no others; and it is read again when the disk gives it back.
func TestReadersBehindMeetABadPlace(t *testing.T) {
	j, c := long(t, 8<<20)
	const bad = 1 << 20 // an offset in the second segment, within one record
	fail := func(name string, off int64, n int) error {
		if strings.HasSuffix(name, "2.seg") && off <= bad && bad < off+int64(n) {
			return syscall.EIO
		}
		return nil
	}
	c.fail.Store(&fail)
	readers := append(readersOf(t, j, 3), other(t, j)...)
	var met sync.WaitGroup
	var named [6]*journal.DamageError
	for i, r := range readers {
		met.Go(func() {
			for {
				_, ok, err := r.TryNext()
				if errors.As(err, &named[i]) || !ok {
					return
				}
			}
		})
	}
	met.Wait()
	c.fail.Store(nil)
	stopped := 0
	for i, d := range named {
		if d == nil {
			continue
		}
		stopped++
		if d.First != d.Last || d.First != readers[i].Position() {
			t.Errorf("reader %d at %d: %v", i, readers[i].Position(), d)
		}
		for step(t, readers[i]) {
		}
	}
	if stopped != 3 {
		t.Errorf("%d readers met the bad place, want the 3 of one shard", stopped)
	}
	for _, r := range readers {
		if _, next := j.Bounds(0); record.Counter(r.Position()) != record.Counter(next) {
			t.Errorf("a reader ended at %d, want %d", r.Position(), next)
		}
	}
}

// other is three readers of shard 1.
func other(t *testing.T, j *journal.Journal) []*journal.Reader {
	t.Helper()
	var all []*journal.Reader
	for range 3 {
		r, err := j.Reader(1, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}
