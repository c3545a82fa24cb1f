package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openAt(t *testing.T, path string) *positions {
	t.Helper()
	p, err := openPositions(path, 7*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What was acknowledged is known after a restart; files that were not seen for a while are forgotten, flows never.
func TestPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "below", "positions")
		p := openAt(t, path)
		if _, known := p.of("f"); known {
			t.Error("a flow is known that never ran")
		}
		old := position{fileID: fileID{1, 2}, Path: "/old", Offset: 7, HeadLen: 7, Head: "x", Check: []byte("abc")}
		kept := position{fileID: fileID{1, 3}, Path: "/kept", Offset: 1 << 40, Check: []byte{}, Discard: true, Ended: true}
		p.acknowledge("f", []position{old, kept})
		p.acknowledge("empty", nil)
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
		p = openAt(t, path)
		old.Seen, kept.Seen = time.Now(), time.Now()
		files, known := p.of("f")
		if len(files) == 2 && files[0].Inode != 2 {
			files[0], files[1] = files[1], files[0]
		}
		if diff := cmp.Diff([]position{old, kept}, files, cmp.AllowUnexported(position{}, fileID{})); diff != "" || !known {
			t.Errorf("known %v (-want +got):\n%s", known, diff)
		}
		time.Sleep(6 * 24 * time.Hour)
		p.seen("f", []fileID{kept.fileID, {9, 9}})
		time.Sleep(2 * 24 * time.Hour)
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
		p = openAt(t, path)
		defer p.close()
		if files, _ := p.of("f"); len(files) != 1 || files[0].Path != "/kept" {
			t.Errorf("after 8 days: %+v", files)
		}
		if files, known := p.of("empty"); len(files) != 0 || !known {
			t.Errorf("a flow without files: %v, %v", files, known)
		}
	})
}

// Saves are apart, and one that fails is tried again.
func TestPositionsAreSavedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p := openAt(t, filepath.Join(dir, "positions"))
		ctx, cancel := context.WithCancel(context.Background())
		var reports []bool
		done := make(chan struct{})
		go func() {
			p.keep(ctx, func(err error) { reports = append(reports, err == nil) })
			close(done)
		}()
		if err := os.Mkdir(p.path+".new", 0o700); err != nil {
			t.Fatal(err)
		}
		p.acknowledge("f", nil)
		time.Sleep(saveInterval / 2)
		synctest.Wait()
		if err := os.Remove(p.path + ".new"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * saveInterval)
		cancel()
		<-done
		if diff := cmp.Diff([]bool{false, true}, reports); diff != "" {
			t.Error(diff)
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
}

// A file of another program, or one that is damaged, is refused and left as it is.
func TestForeignPositions(t *testing.T) {
	for content, want := range map[string]string{
		"SQLite format 3\x00":     "Amazon Kinesis Agent",
		"":                        "damaged",
		"{":                       "damaged",
		`{"format":2,"flows":{}}`: "format is 2",
		`{"format":1,"flows":{"f":[{"offset":-1}]}}`:                     "makes no sense",
		`{"format":1,"flows":{"f":[{"offset":1,"headLength":2}]}}`:       "makes no sense",
		`{"format":1,"flows":{"f":[{"offset":1,"check":"AAAA"}]}}`:       "makes no sense",
		`{"format":1,"flows":{"f":[{"offset":9999,"headLength":2000}]}}`: "makes no sense",
	} {
		path := filepath.Join(t.TempDir(), "positions")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openPositions(path, time.Hour)
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", content, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("%q became %q, %v", content, b, err)
		}
	}
}

func FuzzParsePositions(f *testing.F) {
	f.Add([]byte(`{"format":1,"flows":{"f":[{"device":1,"inode":2,"path":"/x","offset":3,"headLength":3,"head":"00","check":"YWJj","seen":"2026-01-01T00:00:00Z"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parsePositions(data)
		if err != nil {
			return
		}
		for _, list := range all.Flows {
			for _, pos := range list {
				holds(strings.NewReader("0123456789"), &pos) // does not panic
			}
		}
	})
}
