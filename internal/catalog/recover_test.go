package catalog

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/internal/broker"
)

// TestAcceptDamage damages both copies and opens with what can be proved.
func TestAcceptDamage(t *testing.T) {
	s := newSpecimen(t)
	dir := s.copyTo(t)
	if err := os.RemoveAll(natsDir(dir)); err != nil {
		t.Fatal(err)
	}
	damageSnapshot(t, dir, headerBytes+9)
	h, err := tryHouse(t, dir, Options{})
	h.close(t)
	if !errors.Is(err, ErrDamaged) {
		t.Fatalf("the error is %v", err)
	}
	if h, err = tryHouse(t, dir, Options{AcceptDamage: true}); err != nil {
		t.Fatal(err)
	}
	alarms := h.catalog.Alarms()
	if len(alarms) != 1 || alarms[0].Kind != AlarmDamageAccepted || len(alarms[0].Lost) == 0 {
		t.Errorf("the alarms are %v", alarms)
	}
	got := everything(h)
	for i, v := range got {
		if s.want[i] != v {
			t.Errorf("%v holds %q, want %q", i, v, s.want[i])
		}
	}
	if len(got) < len(s.want)-1 {
		t.Errorf("one record is damaged, and of %d entries %d are left", len(s.want), len(got))
	}
	if r := mustCreate(t, h.table(t, "streams"), "new", ""); r < s.last+restoreGap {
		t.Errorf("the next revision is %d, too near to %d", r, s.last)
	}
	h.close(t)
	if _, err := os.Stat(filepath.Join(catalogDir(dir), damagedName)); err != nil {
		t.Errorf("the damaged file was not kept: %v", err)
	}
	h = openHouse(t, dir)
	wantNoAlarms(t, h.catalog)
	h.close(t)
}

// TestRestoreCutShort stops a restore after each number of entries, as a crash does, and
// finds everything at the next open.
func TestRestoreCutShort(t *testing.T) {
	s := newSpecimen(t)
	save, err := readSaved(catalogDir(s.dir))
	if err != nil {
		t.Fatal(err)
	}
	all := sortedByRevision(save.live)
	for n := range len(all) + 1 {
		dir := s.copyTo(t)
		b, err := broker.Open(t.Context(), broker.Options{Dir: natsDir(dir), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		part := map[id]change{}
		for _, c := range all[:n] {
			part[c.id] = c
		}
		if _, _, err := restore(t.Context(), b.JetStream(), part, save.last+1); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		alarms := s.check(t, dir, fmt.Sprintf("restored %d of %d entries", n, len(all)))
		if n < len(all) && len(alarms) == 0 {
			t.Errorf("restored %d of %d entries: no alarm", n, len(all))
		}
	}
}

// TestLostAckOfJetStream leaves a write in JetStream that never reached the snapshot,
// as a crash between the two does: it is taken up, without an alarm.
func TestLostAckOfJetStream(t *testing.T) {
	s := newSpecimen(t)
	for _, tail := range []bool{false, true} {
		dir := s.copyTo(t)
		b, err := broker.Open(t.Context(), broker.Options{Dir: natsDir(dir), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := publish(t.Context(), b.JetStream(), id{"streams", "late"}, opPut, []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := publish(t.Context(), b.JetStream(), id{"streams", "s0"}, opDelete, nil, anyRevision); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if tail { // the record was half written
			file := readFile(t, snapshotFile(dir))
			copy(file[usedBytes(t, dir):], "half a record")
			writeFile(t, snapshotFile(dir), file)
		}
		h := openHouse(t, dir)
		wantNoAlarms(t, h.catalog)
		want := maps.Clone(s.want)
		want[id{"streams", "late"}] = "v"
		delete(want, id{"streams", "s0"})
		if got := everything(h); !maps.Equal(got, want) {
			t.Errorf("half a record %t: %v, want %v", tail, got, want)
		}
		h.close(t)
		h = openHouse(t, dir)
		wantNoAlarms(t, h.catalog)
		h.close(t)
	}
}

// TestSnapshotGrows writes more than a file has room for.
func TestSnapshotGrows(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	table := h.table(t, "t")
	value := strings.Repeat("v", 10_000)
	for i := range 20 {
		mustCreate(t, table, fmt.Sprint(i), value)
	}
	h.close(t)
	s, err := readSaved(catalogDir(dir))
	if err != nil || s.state != saveWhole || len(s.live) != 20 {
		t.Fatalf("state %d (%s), %d entries, %v", s.state, s.reason, len(s.live), err)
	}
	if s.header.capacity <= minFileBytes {
		t.Errorf("the file has %d bytes", s.header.capacity)
	}
}

// TestSnapshotCannotBeWritten takes the snapshot's file and directory away while the
// catalog is open: writes are refused, the tables say what JetStream has, and once the
// directory is back, the next write makes everything durable.
func TestSnapshotCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	table := h.table(t, "t")
	r := mustCreate(t, table, "k", "1")
	away := catalogDir(dir) + ".away"
	if err := os.Rename(catalogDir(dir), away); err != nil {
		t.Fatal(err)
	}
	if err := h.catalog.keeper.snapshot.file.Close(); err != nil {
		t.Fatal(err)
	}
	h.catalog.space.dir = dir // the free space is asked of a directory that is there
	if _, err := table.Update(t.Context(), "k", []byte("2"), r); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
	if h.catalog.Err() == nil {
		t.Error("the catalog does not say that its snapshot is behind")
	}
	e, err := table.Get("k")
	if err != nil || string(e.Value) != "2" {
		t.Errorf("the table holds %q, %v", e.Value, err)
	}
	if err := os.Rename(away, catalogDir(dir)); err != nil {
		t.Fatal(err)
	}
	until(t, "the snapshot is written again", func() bool { return h.catalog.Err() == nil })
	if s, err := readSaved(catalogDir(dir)); err != nil || !maps.Equal(values(s.live), map[string]string{"k": "2@2"}) {
		t.Errorf("on disk is %v, %v", values(s.live), err)
	}
	mustCreate(t, table, "l", "3")
	s, err := readSaved(catalogDir(dir))
	if err != nil || !maps.Equal(values(s.live), map[string]string{"k": "2@2", "l": "3@3"}) {
		t.Errorf("on disk is %v, %v", values(s.live), err)
	}
	h.close(t)
}

// TestLeftoverTemporaryFile leaves what a crash leaves while the file is made anew.
func TestLeftoverTemporaryFile(t *testing.T) {
	s := newSpecimen(t)
	dir := s.copyTo(t)
	writeFile(t, snapshotFile(dir)+".tmp", []byte("half a file"))
	if alarms := s.check(t, dir, "leftover"); len(alarms) != 0 {
		t.Errorf("the alarms are %v", alarms)
	}
}

// TestForeignMessage puts a message into the bucket that no catalog writes: it is not
// served, and the next open says so.
func TestForeignMessage(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	if _, err := h.broker.JetStream().Publish(t.Context(), subjectPrefix+"no-table", []byte("x")); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, h.table(t, "t"), "k", "v")
	h.close(t)
	h = openHouse(t, dir)
	defer h.close(t)
	if got := everything(h); !maps.Equal(got, map[id]string{{"t", "k"}: "v"}) {
		t.Errorf("the tables hold %v", got)
	}
	alarms := h.catalog.Alarms()
	if len(alarms) != 1 || !slices.ContainsFunc(alarms[0].Lost, func(s string) bool { return strings.Contains(s, "no-table") }) {
		t.Errorf("the alarms are %v", alarms)
	}
}
