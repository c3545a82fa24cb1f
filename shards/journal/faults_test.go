package journal_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

func segmentFile(n int) string { return filepath.Join(dir, fmt.Sprintf("%016x.seg", n)) }

// several writes some segments and closes the journal.
func several(t *testing.T) (*disk, []string) {
	t.Helper()
	d := newDisk()
	j := open(t, options(d, 1))
	var want []string
	for i := range 120 {
		want = append(want, fmt.Sprintf("this is record %d", i))
		put(t, j, 0, want[i])
	}
	if _, n := j.Size(); n < 4 {
		t.Fatalf("%d segments: the test wants more", n)
	}
	j.Close()
	return d.kill(), want
}

// A segment of which nothing can be read says nothing of the age of others.
func TestEmptiedSegmentExpiresNothing(t *testing.T) {
	d, want := several(t)
	d.files[segmentFile(3)].content = d.files[segmentFile(3)].content[:64]
	j := open(t, options(d, 1))
	if n, err := j.Trim(t.Context(), time.Now().Add(-time.Hour).UnixMicro()); n != 0 || err != nil {
		t.Errorf("Trim dropped %d segments of records that are seconds old, %v", n, err)
	}
	if got, err := readAll(t, j, 0, 0); len(got) == 0 || string(got[0].Data) != want[0] || err == nil {
		t.Errorf("%d records, %v", len(got), err)
	}
}

// Records that a wrong clock stamped as old do not take younger ones with them, and do not hide them from a search by time.
func TestWrongClockExpiresNothing(t *testing.T) {
	d, want := several(t)
	synctest.Test(t, func(t *testing.T) { // where it is the year 2000
		j := open(t, options(d, 1))
		put(t, j, 0, "from the year 2000")
		j.Close()
	})
	j := open(t, options(d, 1))
	if n, err := j.Trim(t.Context(), time.Now().Add(-time.Hour).UnixMicro()); n != 0 || err != nil {
		t.Errorf("Trim dropped %d segments, %v", n, err)
	}
	expect(t, j, 0, 0, append(want, "from the year 2000")...)
	if at, err := j.SequenceAt(0, time.Now().Add(-time.Hour).UnixMicro()); at != record.MakeSequence(1, 1) || err != nil {
		t.Errorf("an hour ago begins with record %d, %v", record.Counter(at), err)
	}
}

// A bad sector that takes the last records of a segment and the beginning of its index.
func TestIndexAndRecordsDamaged(t *testing.T) {
	d, want := several(t)
	c := d.files[segmentFile(2)].content
	end := binary.LittleEndian.Uint64(c[len(c)-64+8:])
	clear(c[end/512*512 : end/512*512+512])
	j := open(t, options(d, 1))
	got, err := readAll(t, j, 0, 0)
	var damage *journal.DamageError
	if !errors.As(err, &damage) || len(got) == 0 || string(got[len(got)-1].Data) != want[len(got)-1] {
		t.Errorf("%d records, %v", len(got), err)
	}
}

// A put that failed stays refused, also when what disowned it is damaged.
func TestRefusedPutIsNotServed(t *testing.T) {
	d := newDisk()
	j := open(t, options(d, 1))
	d.set(func(d *disk) { d.syncErr = syscall.EIO })
	if err := j.Append(t.Context(), []journal.Part{{Records: run(t, "refused")}}); err == nil {
		t.Fatal("a put to a failing disk succeeded")
	}
	d.set(func(d *disk) { d.syncErr = nil })
	put(t, j, 0, "acknowledged")
	j.Close()
	d = d.kill()
	d.files[segmentFile(2)].content[64] ^= 1 // its first group's header, which says where the segment before ends
	j = open(t, options(d, 1))
	expect(t, j, 0, 0, "acknowledged")
	if len(j.Damage()) == 0 {
		t.Error("the damage is not named")
	}
}

// The newest segment is kept when its header is damaged, even if the mark has not come so far.
func TestNewestSegmentIsKept(t *testing.T) {
	d, want := several(t)
	newest := 0
	for d.files[segmentFile(newest+1)] != nil {
		newest++
	}
	d.files[segmentFile(newest)].content[20] ^= 1
	clear(d.files[filepath.Join(dir, "acked")].content) // as far behind as it can be
	j, err := journal.Open(t.Context(), options(d, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	got, err := readAll(t, j, 0, 0)
	if len(got) != len(want) && err == nil || len(j.Damage()) == 0 {
		t.Errorf("%d of %d records, %v, damage %v", len(got), len(want), err, j.Damage())
	}
	if next := put(t, j, 0, "new"); record.Counter(next) <= uint64(len(want)) {
		t.Errorf("number %d is given again", record.Counter(next))
	}
}

// A flag in the stored batch does not switch its checksum off.
func TestChecksumCannotBeSwitchedOff(t *testing.T) {
	d, want := several(t)
	data := "this is record 5"
	for name, content := range d.snapshot(t) {
		for at := range content {
			if at > 100 && at+len(data) < len(content) && string(content[at:at+len(data)]) == data && content[at+len(data)] == 0 {
				batch := at - 1 - record.RecordHeaderSize - record.HeaderSize // the key has one byte
				d.files[name].content[batch+10] ^= 1
				d.files[name].content[at] ^= 1
			}
		}
	}
	got, err := readAll(t, open(t, options(d, 1)), 0, 0)
	if len(got) != 5 || err == nil {
		t.Errorf("%d of %d records, %v", len(got), len(want), err)
	}
}

// What Trim could not remove is removed later, and no hole is left that looks like damage.
func TestTrimGoesOnAfterAFailure(t *testing.T) {
	d, _ := several(t)
	j := open(t, options(d, 1))
	j.Close()
	failing := &removeFails{disk: d, times: 2}
	opt := options(d, 1)
	opt.FS = failing
	j = open(t, opt)
	before := time.Now().Add(time.Hour).UnixMicro()
	if _, err := j.Trim(t.Context(), before); err == nil {
		t.Fatal("Trim says nothing of the failure")
	}
	j.Close()
	j = open(t, opt)
	if dmg := j.Damage(); len(dmg) > 0 {
		t.Errorf("a failed Trim looks like damage: %v", dmg)
	}
	for range 3 {
		if _, err := j.Trim(t.Context(), before); err == nil {
			break
		}
	}
	if n, _ := inFolder(t, d, dir); n != 2 {
		t.Errorf("%d files are left, want a segment and the mark", n)
	}
}

type removeFails struct {
	*disk
	times int
}

func (f *removeFails) Remove(name string) error {
	if f.times--; f.times >= 0 {
		return syscall.EIO
	}
	return f.disk.Remove(name)
}
