package journal_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// badSector answers EIO for reads of one place of one file, and for writes of a part of it, which have to read the rest. A file
// made anew lies elsewhere.
type badSector struct {
	*disk
	name     string
	from, to int64
}

func (b *badSector) Open(name string) (journal.File, error) {
	f, err := b.disk.Open(name)
	if err == nil && name == b.name {
		f = &badFile{f, b}
	}
	return f, err
}

type badFile struct {
	journal.File
	b *badSector
}

func (b *badSector) Create(name string) (journal.File, error) {
	if name == b.name {
		b.name = ""
	}
	return b.disk.Create(name)
}

func (f *badFile) WriteAt(p []byte, at int64) (int, error) {
	if end := at + int64(len(p)); at < f.b.to && f.b.from < end && (at > f.b.from || end < f.b.to) {
		return 0, syscall.EIO
	}
	return f.File.WriteAt(p, at)
}

func (f *badFile) ReadAt(p []byte, at int64) (int, error) {
	if at < f.b.to && f.b.from < at+int64(len(p)) {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, at)
}

// A sector that cannot be read, in a sealed segment and in the last one: named like any damage, and everything else is served.
func TestUnreadableSector(t *testing.T) {
	d, want := several(t)
	last := 0
	for d.files[segmentFile(last+1)] != nil {
		last++
	}
	for _, segment := range []int{2, last} {
		t.Run(fmt.Sprintf("segment %d of %d", segment, last), func(t *testing.T) {
			bad := &badSector{disk: d.kill(), name: segmentFile(segment), from: 300, to: 310}
			opt := options(bad.disk, 1)
			opt.FS = bad
			j := open(t, opt)
			if err := j.Scrub(t.Context(), nil); err != nil || len(j.Damage()) == 0 {
				t.Errorf("scrub: %v, %v", err, j.Damage())
			}
			served, lost, from := 0, 0, uint64(0)
			for range 50 {
				got, err := readAll(t, j, 0, from)
				served += len(got)
				var damage *journal.DamageError
				if err == nil {
					break
				}
				if !errors.As(err, &damage) {
					t.Fatal(err)
				}
				lost += int(damage.Last - damage.First + 1)
				from = damage.Last + 1
			}
			if served+lost < len(want) || served < len(want)/2 || lost == 0 {
				t.Errorf("%d served and %d named as lost of %d", served, lost, len(want))
			}
			if next := put(t, j, 0, "new"); record.Counter(next) <= uint64(len(want)) {
				t.Errorf("number %d is given again", record.Counter(next))
			}
		})
	}
}

// index is where a sealed segment's index begins, and its rows.
func index(content []byte) (lists, rows int64) {
	trailer := content[len(content)-64:]
	return int64(binary.LittleEndian.Uint64(trailer[8:])), int64(binary.LittleEndian.Uint64(trailer[16:]))
}

// A sector that cannot be read and holds no record costs no record: the journal opens, serves all and says so.
func TestUnreadableSectorBesideTheRecords(t *testing.T) {
	d, want := several(t)
	lists, rows := index(d.files[segmentFile(2)].content)
	size := int64(len(d.files[segmentFile(2)].content))
	for name, bad := range map[string]badSector{
		"the mark":            {name: filepath.Join(dir, "acked"), from: 0, to: 128},
		"a segment's header":  {name: segmentFile(2), from: 0, to: 64},
		"an index's trailer":  {name: segmentFile(2), from: size - 10, to: size},
		"an index's rows":     {name: segmentFile(2), from: rows, to: rows + 10},
		"an index's list":     {name: segmentFile(2), from: lists, to: rows},
		"the oldest's header": {name: segmentFile(1), from: 0, to: 64},
	} {
		t.Run(name, func(t *testing.T) {
			bad.disk = d.kill()
			opt := options(bad.disk, 1)
			opt.FS = &bad
			j := open(t, opt)
			expect(t, j, 0, 0, want...)
			if named := len(j.Damage()) > 0; named != (name != "an index's list") { // which is made again, and is no loss
				t.Errorf("damage %v", j.Damage())
			}
			put(t, j, 0, "new")
			j.Close()
			if name == "the mark" { // it has been made anew, on other sectors
				opt.FS = bad.disk
				if j = open(t, opt); len(j.Damage()) > 0 {
					t.Errorf("after opening again: %v", j.Damage())
				}
			}
		})
	}
}

// The groups of a segment and the lists of its index are gone, and its rows are not: what it held is named, listed, and passed over
// when it is accepted.
func TestGroupsAndIndexLost(t *testing.T) {
	for _, scrubbed := range []bool{false, true} {
		t.Run(fmt.Sprintf("scrubbed %v", scrubbed), func(t *testing.T) {
			d, want := several(t)
			c := d.files[segmentFile(2)].content
			_, rows := index(c)
			clear(c[64+48+32 : rows])
			j := open(t, options(d, 1))
			if scrubbed {
				if err := j.Scrub(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			got, err := readAll(t, j, 0, 0)
			var damage *journal.DamageError
			if !errors.As(err, &damage) || damage.Shard != 0 || int(record.Counter(damage.First)) != len(got)+1 {
				t.Fatalf("%d records, then %v", len(got), err)
			}
			lost, err := j.AcceptDamage(t.Context(), 0)
			if err != nil || len(lost) != 1 || lost[0] != *damage {
				t.Fatalf("accepted %v, %v, want %v", lost, err, damage)
			}
			got, err = readAll(t, j, 0, 0)
			if n := int(damage.Last - damage.First + 1); err != nil || len(got) != len(want)-n {
				t.Errorf("%d records, %v, want %d", len(got), err, len(want)-n)
			}
		})
	}
}

// A scrub goes on behind a segment of which nothing but the rows of its index can be read.
func TestScrubOfGroupsAndIndexLost(t *testing.T) {
	d, _ := several(t)
	c := d.files[segmentFile(2)].content
	_, rows := index(c)
	clear(c[64+48+32 : rows])
	opt := options(d, 1)
	opt.FS = &badSector{disk: d, name: segmentFile(2), from: 300, to: 310}
	flipData(t, d, "this is record 40")
	j := open(t, opt)
	if err := j.Scrub(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, dmg := range j.Damage() {
		if dmg.Shard == 0 {
			named = append(named, filepath.Base(dmg.File))
		}
	}
	if len(named) != 2 || named[0] != filepath.Base(segmentFile(2)) || named[0] == named[1] {
		t.Errorf("damage of the shard in %v, want it in segment 2 and a later one", named)
	}
}

// What was accepted is no alarm at the next start.
func TestAcceptedDamageIsNoAlarm(t *testing.T) {
	d, want := several(t)
	last := want[len(want)-1]
	flipData(t, d, last)
	alarms := func(j func(opt journal.Options)) float64 {
		reg := prometheus.NewRegistry()
		opt := options(d, 1)
		opt.Metric = journal.NewMetrics(reg)
		j(opt)
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			if m.GetName() == "shardmill_journal_damage_total" {
				return m.GetMetric()[0].GetCounter().GetValue()
			}
		}
		t.Fatal("no metric of damage")
		return 0
	}
	found := alarms(func(opt journal.Options) {
		j := open(t, opt)
		defer j.Close()
		if _, err := j.AcceptDamage(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	})
	again := alarms(func(opt journal.Options) { open(t, opt).Close() })
	if found != 1 || again != 0 {
		t.Errorf("%v alarms, and %v at the next start, want 1 and 0", found, again)
	}
}
