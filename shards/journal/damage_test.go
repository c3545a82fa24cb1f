package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// acknowledged is what a journal has acknowledged: data by shard in order, and one checkpoint.
type acknowledged struct {
	data       map[uint32][]string
	checkpoint journal.Checkpoint
}

// history writes a small journal of several segments and closes it, or kills it. Its segments are files that another journal
// has left, so that behind what it writes there is something old.
func history(t *testing.T, closed bool) (*disk, acknowledged) {
	t.Helper()
	d := newDisk()
	former := options(d, 1)
	former.Dir = "/former"
	f := open(t, former)
	for i := range 100 {
		put(t, f, 0, fmt.Sprintf("record %d of a former journal", i))
	}
	f.Close()
	opt := options(d, 3)
	opt.Spares = spares(t, d)
	if err := opt.Spares.Salvage(former.Dir); err != nil {
		t.Fatal(err)
	}
	j := open(t, opt)
	a := acknowledged{data: map[uint32][]string{}}
	for i := range 24 {
		shard := uint32(i % 2) // shard 2 stays empty
		parts := []string{fmt.Sprintf("record %d of some length or other", i), fmt.Sprintf("and %d", i)}
		put(t, j, shard, parts...)
		a.data[shard] = append(a.data[shard], parts...)
		if i%5 == 0 {
			c := journal.Checkpoint{Consumer: "reader", Shard: shard, Sequence: uint64(i), State: []byte("state"), Revision: a.checkpoint.Revision}
			if c.Shard != 0 {
				continue
			}
			rev, err := j.SaveCheckpoint(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			c.Revision = rev
			a.checkpoint = c
		}
	}
	if _, n := j.Size(); n < 2 {
		t.Fatalf("%d segments: the test wants more", n)
	}
	if closed {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d = d.kill()
	reused := false
	for name, content := range d.snapshot(t) {
		if filepath.Dir(name) != dir {
			delete(d.files, name)
		}
		reused = reused || bytes.Contains(content, []byte("of a former journal"))
	}
	if !reused {
		t.Fatal("no file was used again")
	}
	return d, a
}

func spares(t testing.TB, d *disk) *journal.Spares {
	t.Helper()
	s, err := journal.OpenSpares(d, "/spares", 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verify opens a journal that something was done to and checks the promise: every acknowledged record is served as it was, or
// named as damaged, and no number is given twice.
func verify(t *testing.T, d *disk, a acknowledged) (alarms int) {
	t.Helper()
	j, err := journal.Open(t.Context(), options(d, 3))
	if err != nil {
		return 1 // named and refused
	}
	defer j.Close()
	for shard := uint32(0); shard < 3; shard++ {
		verifyShard(t, j, shard, a.data[shard])
	}
	if c, ok := j.Checkpoint("reader", 0); !ok || c.Revision != a.checkpoint.Revision || string(c.State) != "state" {
		if len(j.Damage()) == 0 {
			t.Errorf("the checkpoint is %+v, want %+v, and nothing is said", c, a.checkpoint)
		}
	}
	alarms = len(j.Damage())
	for shard := uint32(0); shard < 3; shard++ {
		first := put(t, j, shard, "new")
		if used := record.MakeSequence(1, uint64(len(a.data[shard]))); first <= used {
			t.Errorf("shard %d: the new record has number %d, and %d was given before", shard, first, used)
		}
	}
	return alarms
}

// verifyShard reads a shard, accepting damage where it is named.
func verifyShard(t *testing.T, j *journal.Journal, shard uint32, want []string) {
	t.Helper()
	var served []record.Record
	var lost []journal.DamageError
	from := uint64(0)
	for range 100 {
		got, err := readAll(t, j, shard, from)
		served = append(served, got...)
		if err == nil {
			break
		}
		var damage *journal.DamageError
		if !errors.As(err, &damage) {
			t.Fatalf("shard %d: %v", shard, err)
		}
		if damage.Stream != "orders" || damage.Shard != shard || damage.File == "" || damage.Last < damage.First {
			t.Errorf("damage badly named: %v", damage)
		}
		if !slices.ContainsFunc(j.Damage(), func(d journal.DamageError) bool { return d == *damage }) {
			t.Errorf("read error %v is not on the list %v", damage, j.Damage())
		}
		lost = append(lost, *damage)
		from = damage.Last + 1
	}
	at := map[uint64]string{}
	for _, r := range served {
		at[r.Sequence] = string(r.Data)
	}
	for i, data := range want {
		sequence := record.MakeSequence(1, uint64(i+1))
		got, ok := at[sequence]
		named := slices.ContainsFunc(lost, func(d journal.DamageError) bool { return d.First <= sequence && sequence <= d.Last })
		switch {
		case ok && got != data:
			t.Errorf("shard %d record %d: served %q, acknowledged %q", shard, i, got, data)
		case !ok && !named:
			t.Errorf("shard %d record %d is missing without an error; damage %v", shard, i, lost)
		}
	}
	for sequence, data := range at {
		if record.Counter(sequence) > uint64(len(want)) {
			t.Errorf("shard %d serves %q at %d, which was never put", shard, data, sequence)
		}
	}
}

// Every single byte of a journal, flipped in turn.
func TestEveryByteFlipped(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{true, false} {
		t.Run(map[bool]string{true: "closed", false: "killed"}[closed], func(t *testing.T) {
			t.Parallel()
			d, a := history(t, closed)
			if n := verify(t, d.kill(), a); n != 0 {
				t.Fatalf("%d alarms for a whole journal", n)
			}
			found := 0
			for name, content := range d.snapshot(t) {
				for at := range content {
					if testing.Short() && at%7 != 0 {
						continue
					}
					bad := d.kill()
					bad.files[name].content[at] ^= 1 << (at % 8)
					found += verify(t, bad, a)
					if t.Failed() {
						t.Fatalf("after flipping byte %d of %s", at, name)
					}
				}
			}
			if found == 0 {
				t.Error("no flip raised an alarm")
			}
		})
	}
}

// Every file cut to every length, and every file removed.
func TestEveryTruncation(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{true, false} {
		t.Run(map[bool]string{true: "closed", false: "killed"}[closed], func(t *testing.T) {
			t.Parallel()
			d, a := history(t, closed)
			names := []string{}
			for name := range d.snapshot(t) {
				names = append(names, name)
			}
			slices.Sort(names)
			for i, name := range names {
				content := d.snapshot(t)[name]
				for at := range content {
					if testing.Short() && at%7 != 0 {
						continue
					}
					bad := d.kill()
					bad.files[name].content = bad.files[name].content[:at]
					verify(t, bad, a)
					if t.Failed() {
						t.Fatalf("after cutting %s to %d", name, at)
					}
				}
				bad := d.kill()
				delete(bad.files, name)
				oldest := i == 0 && filepath.Ext(name) == ".seg"
				if oldest {
					continue // what retention does
				}
				if verify(t, bad, a) == 0 {
					t.Errorf("no alarm after removing %s", name)
				}
				if t.Failed() {
					t.Fatalf("after removing %s", name)
				}
			}
		})
	}
}

func TestAllSegmentsRemoved(t *testing.T) {
	d, a := history(t, true)
	for name := range d.snapshot(t) {
		if filepath.Ext(name) == ".seg" {
			delete(d.files, name)
		}
	}
	if verify(t, d, a) == 0 {
		t.Error("no alarm")
	}
}

// flipData flips a byte in the middle of the first stored copy of data.
func flipData(t *testing.T, d *disk, data string) {
	t.Helper()
	for name, content := range d.snapshot(t) {
		for at := range content {
			if at+len(data) <= len(content) && string(content[at:at+len(data)]) == data {
				d.files[name].content[at+len(data)/2] ^= 1
				return
			}
		}
	}
	t.Fatalf("%q is not on the disk", data)
}

func TestAcceptDamage(t *testing.T) {
	d, a := history(t, true)
	flipData(t, d, a.data[0][4])
	opt := options(d, 3)
	j := open(t, opt)
	got, err := readAll(t, j, 0, 0)
	var damage *journal.DamageError
	if !errors.As(err, &damage) || len(got) != 4 || damage.First != record.MakeSequence(1, 5) || damage.Last != damage.First+1 {
		t.Fatalf("read %d records and then %v", len(got), err)
	}
	expect(t, j, 1, 0, a.data[1]...) // the other shard goes on

	lost, err := j.AcceptDamage(t.Context(), 0)
	if err != nil || len(lost) != 1 || lost[0] != *damage {
		t.Fatalf("accepted %v, %v", lost, err)
	}
	check := func(j *journal.Journal) {
		t.Helper()
		r, err := j.Reader(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			run, ok, err := r.TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			n += run.Len()
		}
		if n != len(a.data[0])-2 || r.Lost() != 2 {
			t.Errorf("%d records and %d lost, want %d and 2", n, r.Lost(), len(a.data[0])-2)
		}
		if len(j.Damage()) != 0 {
			t.Errorf("still on the list: %v", j.Damage())
		}
	}
	check(j)
	j.Close()
	j = open(t, opt)
	check(j)
	for range 100 { // over several segments, so that the loss travels with the table
		put(t, j, 1, "some more data to fill segments with")
	}
	j.Close()
	check(open(t, opt))
	if _, err := j.AcceptDamage(t.Context(), 7); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("AcceptDamage of a closed journal: %v", err)
	}
}

func TestScrubFindsDamage(t *testing.T) {
	d := newDisk()
	opt := options(d, 1)
	j := open(t, opt)
	for i := range 100 {
		put(t, j, 0, fmt.Sprintf("this is record %d.", i))
	}
	j.Close()
	flipData(t, d, "this is record 7.")
	j = open(t, opt)
	if n := len(j.Damage()); n != 0 {
		t.Fatalf("opening reads footers only, and found %v", j.Damage())
	}
	if err := j.Scrub(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if dmg := j.Damage(); len(dmg) != 1 || dmg[0].First != record.MakeSequence(1, 8) {
		t.Errorf("scrub found %v", dmg)
	}
}

func TestForeignAndNewerFilesAreRefused(t *testing.T) {
	d, _ := history(t, true)
	other, _ := history(t, true)
	for name, content := range other.snapshot(t) {
		if filepath.Base(name) == "0000000000000002.seg" {
			d.files[name].content = content
		}
	}
	if _, err := journal.Open(t.Context(), options(d, 3)); !errors.Is(err, journal.ErrFormat) {
		t.Errorf("a segment of another journal: %v", err)
	}
}

// The same on a real disk: a byte of the last acknowledged record, after an orderly close.
func TestDamageOnRealDisk(t *testing.T) {
	opt := journal.Options{Dir: filepath.Join(t.TempDir(), "j"), Name: "orders", Shards: []journal.Shard{{ID: 0, Epoch: 1}}}
	j := open(t, opt)
	put(t, j, 0, "one", "two")
	put(t, j, 0, "three")
	j.Close()
	file := filepath.Join(opt.Dir, "0000000000000001.seg")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.Index(b, 't') // of "two" or "three": whichever is first
	for i := range b {
		if string(b[i:min(i+5, len(b))]) == "three" {
			at = i
		}
	}
	b[at] ^= 1
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	j = open(t, opt)
	got, err := readAll(t, j, 0, 0)
	var damage *journal.DamageError
	if len(got) != 2 || !errors.As(err, &damage) || damage.File != file {
		t.Errorf("%d records, then %v", len(got), err)
	}
}
