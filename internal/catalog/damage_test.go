package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// sweepEnv sets the stride of the sweeps over every byte of the catalog's files: 1 for
// every byte. Unset, they take a sample.
const sweepEnv = "SHARDMILL_SWEEP_STRIDE"

func stride(t testing.TB, usual int) int {
	t.Helper()
	s := os.Getenv(sweepEnv)
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a number from 1 on", sweepEnv, s)
	}
	return n
}

// damageSnapshot flips a bit of the snapshot file; a negative offset counts from its end.
func damageSnapshot(t testing.TB, dir string, offset int64) {
	t.Helper()
	flip(t, snapshotFile(dir), offset)
}

func flip(t testing.TB, path string, offset int64) {
	t.Helper()
	b := readFile(t, path)
	if offset < 0 {
		offset += int64(len(b))
	}
	b[offset] ^= 1 << (offset % 8)
	writeFile(t, path, b)
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
}

// specimen is a small catalog on disk, with entries that were made, changed, deleted
// and made again, and what must be found in it.
type specimen struct {
	dir   string
	want  map[id]string
	last  uint64 // highest revision acknowledged
	files []string
}

func newSpecimen(t testing.TB) *specimen {
	t.Helper()
	s := &specimen{dir: t.TempDir(), want: map[id]string{}}
	h := openHouse(t, s.dir)
	streams, mappings := h.table(t, "streams"), h.table(t, "mappings")
	for i := range 6 {
		key := fmt.Sprintf("s%d", i)
		r := mustCreate(t, streams, key, "first "+key)
		if i%2 == 0 {
			mustUpdate(t, streams, key, "second "+key, r)
		}
	}
	mustCreate(t, mappings, "m.1", `{"stream":"s1"}`)
	mustCreate(t, mappings, "gone", "x")
	mustDelete(t, streams, "s3")
	mustDelete(t, streams, "s4")
	mustCreate(t, streams, "s4", "third s4")
	mustDelete(t, mappings, "gone")
	s.last = h.catalog.keeper.durable
	s.want = everything(h)
	h.close(t)
	s.files = listFiles(t, s.dir)
	return s
}

func everything(h *house) map[id]string {
	all := map[id]string{}
	h.catalog.mu.Lock()
	tables := slices.Collect(maps.Values(h.catalog.tables))
	h.catalog.mu.Unlock()
	for _, table := range tables {
		for k, v := range content(table) {
			all[id{table.name, k}] = v
		}
	}
	return all
}

func listFiles(t testing.TB, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, path)
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// copyTo makes a copy that may be damaged.
func (s *specimen) copyTo(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// jetStreamFiles are the files of JetStream.
func (s *specimen) jetStreamFiles() []string {
	return slices.DeleteFunc(slices.Clone(s.files), func(f string) bool {
		return !strings.HasPrefix(f, "nats"+string(filepath.Separator))
	})
}

// check opens a damaged copy and demands that everything is there, that no revision is
// given twice, and that the damage is gone at the next open. It returns the alarms.
func (s *specimen) check(t testing.TB, dir, what string) []Alarm {
	t.Helper()
	h, err := tryHouse(t, dir, Options{})
	if err != nil {
		h.close(t)
		t.Errorf("%s: open: %v", what, err)
		return nil
	}
	alarms := h.catalog.Alarms()
	if got := everything(h); !maps.Equal(got, s.want) {
		t.Errorf("%s: the tables hold %v, want %v; alarms %v", what, got, s.want, alarms)
	}
	if r := mustCreate(t, h.table(t, "streams"), "new", "x"); r <= s.last {
		t.Errorf("%s: revision %d is given again, %d was acknowledged", what, r, s.last)
	}
	want := everything(h)
	h.close(t)
	h, err = tryHouse(t, dir, Options{})
	if err != nil {
		h.close(t)
		t.Errorf("%s: second open: %v", what, err)
		return alarms
	}
	if got := everything(h); !maps.Equal(got, want) {
		t.Errorf("%s: after the second open the tables hold %v, want %v", what, got, want)
	}
	if again := h.catalog.Alarms(); len(again) != 0 {
		t.Errorf("%s: alarms again at the second open: %v", what, again)
	}
	h.close(t)
	return alarms
}

// each runs f for 0, step, 2*step … below n, on several goroutines: most of the time of
// opening and closing goes into nats-server's waiting for itself.
func each(n, step int, f func(i int)) {
	var wg sync.WaitGroup
	turns := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range turns {
				f(i)
			}
		})
	}
	for i := 0; i < n; i += step {
		turns <- i
	}
	close(turns)
	wg.Wait()
}

// TestFlipEveryByteOfJetStream flips a bit in every byte of JetStream's files in turn
// and finds every definition each time.
func TestFlipEveryByteOfJetStream(t *testing.T) {
	s := newSpecimen(t)
	step := stride(t, 53)
	var mu sync.Mutex
	alarmed, tried := 0, 0
	for _, file := range s.jetStreamFiles() {
		size := len(readFile(t, filepath.Join(s.dir, file)))
		each(size, step, func(i int) {
			dir := s.copyTo(t)
			flip(t, filepath.Join(dir, file), int64(i))
			a := s.check(t, dir, fmt.Sprintf("%s, byte %d", file, i))
			_ = os.RemoveAll(dir)
			mu.Lock()
			defer mu.Unlock()
			tried++
			if len(a) > 0 {
				alarmed++
			}
		})
	}
	t.Logf("%d flips in %d files, %d with an alarm", tried, len(s.jetStreamFiles()), alarmed)
	if alarmed == 0 {
		t.Error("no flip raised an alarm: the specimen is not what the catalog reads")
	}
}

// TestTruncateJetStream cuts JetStream's files at every length, and removes each.
func TestTruncateJetStream(t *testing.T) {
	s := newSpecimen(t)
	step := stride(t, 73)
	for _, file := range s.jetStreamFiles() {
		size := len(readFile(t, filepath.Join(s.dir, file)))
		each(size, step, func(i int) {
			dir := s.copyTo(t)
			if err := os.Truncate(filepath.Join(dir, file), int64(i)); err != nil {
				t.Error(err)
			}
			s.check(t, dir, fmt.Sprintf("%s cut to %d", file, i))
			_ = os.RemoveAll(dir)
		})
		dir := s.copyTo(t)
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
		s.check(t, dir, file+" removed")
	}
}

// TestJetStreamGone removes all of JetStream.
func TestJetStreamGone(t *testing.T) {
	s := newSpecimen(t)
	dir := s.copyTo(t)
	if err := os.RemoveAll(natsDir(dir)); err != nil {
		t.Fatal(err)
	}
	alarms := s.check(t, dir, "JetStream gone")
	if len(alarms) != 1 || alarms[0].Kind != AlarmJetStreamRestored || len(alarms[0].Lost) == 0 || alarms[0].Time.IsZero() {
		t.Errorf("the alarms are %v", alarms)
	}
}

// specimens are the two forms of a snapshot: a base with records behind it, and, as it is
// after it was made anew, a base alone.
func specimens(t *testing.T) map[string]*specimen {
	t.Helper()
	records, base := newSpecimen(t), newSpecimen(t)
	save, err := readSaved(catalogDir(base.dir))
	if err != nil {
		t.Fatal(err)
	}
	s := newSnapshot(catalogDir(base.dir), save.live, save.last)
	if err := s.rewrite(); err != nil {
		t.Fatal(err)
	}
	s.abandon()
	return map[string]*specimen{"records": records, "base": base}
}

// TestFlipEveryByteOfTheSnapshot flips every byte of the snapshot that is in use, and a
// sample of those that are not, and finds every definition each time. Unless JetStream
// shows that a write was cut short there, each flip raises an alarm.
func TestFlipEveryByteOfTheSnapshot(t *testing.T) {
	step := stride(t, 41)
	for form, s := range specimens(t) {
		used := usedBytes(t, s.dir)
		check := func(i int) {
			dir := s.copyTo(t)
			flip(t, snapshotFile(dir), int64(i))
			alarms := s.check(t, dir, fmt.Sprintf("%s, byte %d of %d", form, i, used))
			lastRecord := form == "records" && i >= used-recordAround(t, s.dir, i)
			if len(alarms) == 0 && !lastRecord {
				t.Errorf("%s: byte %d of the snapshot is damaged without an alarm", form, i)
			}
			_ = os.RemoveAll(dir)
		}
		each(used, step, check)
		each(minFileBytes-used, 8191, func(i int) { check(used + i) })
	}
}

// usedBytes is the offset behind the last record.
func usedBytes(t testing.TB, dir string) int {
	t.Helper()
	s, err := readSaved(catalogDir(dir))
	if err != nil || s.state != saveWhole {
		t.Fatalf("the specimen's snapshot is in state %d: %s, %v", s.state, s.reason, err)
	}
	return s.end
}

// recordAround is the length of the record that offset lies in, 0 if in none.
func recordAround(t testing.TB, dir string, offset int) int {
	t.Helper()
	b := readFile(t, snapshotFile(dir))
	h, err := parseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	for at := headerBytes; ; {
		_, size, ok := parseChange(b[at:], seed(h.generation))
		if !ok {
			return 0
		}
		if offset < at+size {
			return size
		}
		at += size
	}
}

// TestTruncateTheSnapshot cuts the snapshot at every length, and removes it.
func TestTruncateTheSnapshot(t *testing.T) {
	step := stride(t, 61)
	for form, s := range specimens(t) {
		used := usedBytes(t, s.dir)
		check := func(i int) {
			dir := s.copyTo(t)
			if err := os.Truncate(snapshotFile(dir), int64(i)); err != nil {
				t.Error(err)
			}
			if alarms := s.check(t, dir, fmt.Sprintf("%s, cut to %d", form, i)); len(alarms) == 0 {
				t.Errorf("%s: the snapshot is cut to %d without an alarm", form, i)
			}
			_ = os.RemoveAll(dir)
		}
		each(used, step, check)
		each(minFileBytes-used, 8191, func(i int) { check(used + i) })
		dir := s.copyTo(t)
		if err := os.Remove(snapshotFile(dir)); err != nil {
			t.Fatal(err)
		}
		if alarms := s.check(t, dir, form+" removed"); len(alarms) != 1 || alarms[0].Kind != AlarmSnapshotDamaged {
			t.Errorf("%s: the alarms are %v", form, alarms)
		}
	}
}

// TestBothDamaged removes JetStream's files and flips every byte of the snapshot in
// use: what is lost is never lost silently. Open fails and says what, or, where only
// bytes behind the last record are hit, raises an alarm.
func TestBothDamaged(t *testing.T) {
	for form, s := range specimens(t) {
		s.bothDamaged(t, form)
	}
}

func (s *specimen) bothDamaged(t *testing.T, form string) {
	t.Helper()
	each(usedBytes(t, s.dir), stride(t, 47), func(i int) {
		dir := s.copyTo(t)
		if err := os.RemoveAll(natsDir(dir)); err != nil {
			t.Error(err)
		}
		flip(t, snapshotFile(dir), int64(i))
		h, err := tryHouse(t, dir, Options{})
		if err == nil {
			if len(h.catalog.Alarms()) == 0 {
				t.Errorf("%s, byte %d: both are damaged, and there is no alarm", form, i)
			}
			h.close(t)
			return
		}
		h.close(t)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), snapshotName) || !strings.Contains(err.Error(), streamName) {
			t.Errorf("%s, byte %d: the error does not name both files: %v", form, i, err)
		}
		_ = os.RemoveAll(dir)
	})
}
