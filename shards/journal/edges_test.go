package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// isSealed says whether a segment's file ends with an index, and nothing behind it.
func isSealed(content []byte) bool {
	return len(content) > 128 && string(content[len(content)-64:len(content)-60]) == "SMJF"
}

func lastSegment(d *disk) (n int) {
	for d.files[segmentFile(n+1)] != nil {
		n++
	}
	return n
}

// What was prepared and not used of a segment is given back when it ends.
func TestSealedSegmentsAreCut(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 1))
	for range 8 {
		put(t, j, 0, strings.Repeat("x", 300))
		put(t, j, 0, strings.Repeat("larger than what is left", 150))
	}
	j.Close()
	if lastSegment(d) < 4 {
		t.Fatalf("%d segments: the test wants more", lastSegment(d))
	}
	for n := 1; n < lastSegment(d); n++ {
		if c := d.files[segmentFile(n)].content; !isSealed(c) {
			t.Errorf("segment %d has %d bytes, and its index is not at their end", n, len(c))
		}
	}
}

// Opening writes the index of segments that lost theirs, and cuts nothing off where it is not known that nothing follows.
func TestLostIndexIsWrittenAgain(t *testing.T) {
	d, want := several(t)
	cut := func(n int) []byte {
		c := d.files[segmentFile(n)].content
		end := binary.LittleEndian.Uint64(c[len(c)-64+8:])
		d.files[segmentFile(n)].content = c[:end:end]
		return d.files[segmentFile(n)].content
	}
	cut(2)
	j := open(t, options(d, 1))
	expect(t, j, 0, 0, want...)
	if c := d.files[segmentFile(2)].content; !isSealed(c) {
		t.Error("the index was not written again")
	}
	j.Close()

	c := cut(2)
	last := bytes.LastIndex(c, []byte("SMJG"))
	c[last+9] ^= 1 // its last group, and what says that there is one
	d.files[segmentFile(3)].content[64+9] ^= 1
	before := bytes.Clone(c)
	j = open(t, options(d, 1))
	if _, err := readAll(t, j, 0, 0); err == nil || len(j.Damage()) == 0 {
		t.Errorf("%v, damage %v", err, j.Damage())
	}
	if after := d.files[segmentFile(2)].content; !bytes.HasPrefix(after, before) {
		t.Errorf("a damaged segment of %d bytes was written to: %d bytes", len(before), len(after))
	}
}

// A segment in another state than the next one was begun after: an older copy, or one of a journal that went its own way from a
// copy.
func TestSegmentsOfTwoLives(t *testing.T) {
	d := newDisk()
	opt := func(d *disk) journal.Options {
		opt := options(d, 1)
		opt.Sizes.First = 2048
		return opt
	}
	j := open(t, opt(d))
	put(t, j, 0, "common")
	j.Close()
	other := d.kill()
	lives := map[*disk]string{d: "this life", other: "another life"}
	for d, life := range lives {
		j := open(t, opt(d))
		for i := range 60 {
			put(t, j, 0, fmt.Sprintf("%s, record %d", life, i))
		}
		j.Close()
	}
	d.files[segmentFile(1)] = other.files[segmentFile(1)]
	for n := lastSegment(d); n > 2; n-- { // so that the second is read whole
		delete(d.files, segmentFile(n))
	}
	delete(d.files, filepath.Join(dir, "acked"))
	again := open(t, opt(d))
	found := false
	for _, dmg := range again.Damage() {
		found = found || strings.Contains(dmg.Reason, "does not end where the next one says")
	}
	if !found {
		t.Errorf("segments that do not belong together are served; damage %v", again.Damage())
	}
}

// Files are closed: those of sealed segments but the last used, of dropped ones, and all of a closed journal.
func TestFilesAreClosed(t *testing.T) {
	d := newDisk()
	opt := options(d, 1)
	opt.Cache, opt.Spares = journal.NewCache(1), spares(t, d)
	j := open(t, opt)
	handles := func() (n int) {
		d.set(func(d *disk) { n = d.open })
		return n
	}
	for i := range 600 {
		put(t, j, 0, fmt.Sprintf("this is record %d", i))
	}
	if _, n := j.Size(); n < 25 {
		t.Fatalf("%d segments: the test wants more", n)
	}
	if _, err := readAll(t, j, 0, 0); err != nil {
		t.Fatal(err)
	}
	const most = 16 + 3 // sealed ones, the active one, the one being made, and the mark
	if n := handles(); n > most {
		t.Errorf("%d files are open, want at most %d", n, most)
	}
	if _, err := j.Trim(t.Context(), 1<<60); err != nil {
		t.Fatal(err)
	}
	if n := handles(); n > 3 {
		t.Errorf("%d files are open after retention, want at most 3", n)
	}
	j.Close()
	if n := handles(); n != 0 {
		t.Errorf("%d files are open after Close", n)
	}
	j = open(t, opt)
	j.Close()
	if n := handles(); n != 0 {
		t.Errorf("%d files are open after opening and Close", n)
	}
}

// A group takes puts up to its size, and leaves the rest to the next.
func TestGroupSizeIsLimited(t *testing.T) {
	d := newDisk()
	opt := options(d, 1)
	opt.Sizes = journal.SegmentSizing{First: 32 << 20} // so that no other is made meanwhile
	j := open(t, opt)
	release := held(t, d, j)
	errs := make(chan error, 6)
	for i := range 6 {
		parts := []journal.Part{{Records: run(t, strings.Repeat("x", 1<<20))}}
		queue(t, j, i+1, func() { errs <- j.Append(context.Background(), parts) })
	}
	syncs := 0
	d.set(func(d *disk) { syncs = d.syncs })
	release()
	for range 6 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	d.set(func(d *disk) {
		if n := d.syncs - syncs; n != 1+2 { // what was held, and 3 of the 6 in each group of at most 4 MiB
			t.Errorf("%d groups, want 3", n)
		}
	})
}

// A quota that is used up is a full disk.
func TestQuotaIsNoSpace(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 1))
	put(t, j, 0, "before")
	d.set(func(d *disk) { d.writeErr = syscall.EDQUOT })
	if err := j.Append(t.Context(), []journal.Part{{Records: run(t, "no")}}); !errors.Is(err, journal.ErrNoSpace) || !errors.Is(err, syscall.EDQUOT) {
		t.Errorf("%v, want ErrNoSpace", err)
	}
	d.set(func(d *disk) { d.writeErr = nil })
	put(t, j, 0, "after")
	expect(t, j, 0, 0, "before", "after")
}

// Arrival times do not go back with the clock, unless it was set back by more than ten seconds.
func TestClockSetBack(t *testing.T) {
	for _, c := range []struct {
		back     time.Duration
		believed bool
	}{{time.Second, false}, {9999 * time.Millisecond, false}, {10 * time.Second, true}, {time.Hour, true}} {
		t.Run(c.back.String(), func(t *testing.T) {
			d := newDisk()
			arrival := func(after time.Duration) (at int64) {
				synctest.Test(t, func(t *testing.T) { // each begins at the same time
					time.Sleep(after)
					j := open(t, options(d, 1))
					defer j.Close()
					parts := []journal.Part{{Records: run(t, "x")}}
					if err := j.Append(t.Context(), parts); err != nil {
						t.Fatal(err)
					}
					at = parts[0].Arrival
				})
				return at
			}
			first, second := arrival(c.back), arrival(0)
			want := first
			if c.believed {
				want = first - c.back.Microseconds()
			}
			if second != want {
				t.Errorf("the second record arrived %v µs after the first, want %v", second-first, want-first)
			}
		})
	}
}

// watched is a disk that tells of renames and of folders being synced before they happen.
type watched struct {
	*disk
	rename  func(from, to string)
	syncDir func(dir string) error
}

func (w *watched) Rename(from, to string) error {
	w.rename(from, to)
	return w.disk.Rename(from, to)
}

func (w *watched) SyncDir(dir string) error {
	if err := w.syncDir(dir); err != nil {
		return err
	}
	return w.disk.SyncDir(dir)
}

// A spare gets a segment's name only when the segment's header is durable in it: else a crash would show its former life.
func TestSpareGetsItsHeaderFirst(t *testing.T) {
	d := newDisk()
	reused := 0
	w := &watched{disk: d, syncDir: func(string) error { return nil }, rename: func(from, to string) {
		if filepath.Dir(to) != dir {
			return
		}
		reused++
		d.set(func(d *disk) {
			var number uint64
			if _, err := fmt.Sscanf(filepath.Base(to), "%016x.seg", &number); err != nil {
				t.Error(err)
			}
			if b := d.files[from].synced; string(b[:4]) != "SMJS" || binary.LittleEndian.Uint64(b[32:]) != number {
				t.Errorf("the file that becomes segment %d begins with %q of %d", number, b[:4], binary.LittleEndian.Uint64(b[32:]))
			}
		})
	}}
	opt := options(d, 1)
	opt.Spares = spares(t, d)
	opt.FS = w
	j := open(t, opt)
	for range 2 {
		for i := range 120 {
			put(t, j, 0, fmt.Sprintf("this is record %d", i))
		}
		if _, err := j.Trim(t.Context(), 1<<60); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	if reused == 0 {
		t.Error("no spare was used: the test proves nothing")
	}
}

// A dropped segment's file is nobody's before it is durable that its old name is gone; then it can be used again, also when that
// took a second try.
func TestSpareIsUsedWhenItsOldNameIsGone(t *testing.T) {
	d := newDisk()
	shared := spares(t, d)
	other := options(d, 1)
	other.Dir, other.Spares = "/other", shared
	other.Sizes.First = other.Sizes.Segment // so that every spare fits
	o := open(t, other)
	opt := options(d, 1)
	opt.Spares, opt.Sizes = shared, other.Sizes
	failing := true
	w := &watched{disk: d, rename: func(string, string) {}}
	w.syncDir = func(name string) error {
		if kept, _ := inFolder(t, d, "/spares"); name == dir && kept > 0 && failing {
			return syscall.EIO
		}
		return nil
	}
	opt.FS = w
	j := open(t, opt)
	for i := range 120 {
		put(t, j, 0, fmt.Sprintf("this is record %d", i))
	}
	if _, err := j.Trim(t.Context(), 1<<60); err == nil {
		t.Fatal("Trim says nothing of the failure")
	}
	used := func() bool {
		before, _ := inFolder(t, d, "/spares")
		for i := range 200 {
			put(t, o, 0, fmt.Sprintf("this is record %d", i))
			if now, _ := inFolder(t, d, "/spares"); now < before {
				return true
			}
		}
		return false
	}
	if kept, _ := inFolder(t, d, "/spares"); kept != 1 || used() {
		t.Errorf("%d spares; one was used whose old name a crash would bring back", kept)
	}
	failing = false
	if _, err := j.Trim(t.Context(), 1<<60); err != nil {
		t.Fatal(err)
	}
	kept, _ := inFolder(t, d, "/spares")
	for range kept {
		if !used() {
			t.Errorf("a spare is never used")
			break
		}
	}
}

// A shard that was never written to, as the sealed numbers say, and is forgotten takes its damage with it.
func TestForgottenShardTakesItsDamage(t *testing.T) {
	d := newDisk()
	opt := options(d, 1)
	opt.Shards = append(opt.Shards, journal.Shard{ID: 7, Epoch: 1, Next: record.MakeSequence(1, 5)})
	j := open(t, opt)
	if _, err := readAll(t, j, 7, 0); err == nil || len(j.Damage()) != 1 {
		t.Fatalf("%v, damage %v: the test proves nothing", err, j.Damage())
	}
	if err := j.Forget(t.Context(), []uint32{7}); err != nil {
		t.Fatal(err)
	}
	if dmg := j.Damage(); len(dmg) > 0 {
		t.Errorf("damage of a shard that is not there: %v", dmg)
	}
}
