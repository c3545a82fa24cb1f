package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// fileWith is a file of a content, open and at its beginning.
func fileWith(t testing.TB, content string) *file {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f := &file{size: info.Size()}
	f.fileID, f.Path = identity(info), path
	if f.handle, _, err = open(path, f.fileID); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	f.restart(&Flow{})
	return f
}

// However a file is passed over, the position knows its beginning and what is before it, and can be gone back to.
func TestAdvance(t *testing.T) {
	content := strings.Repeat("0123456789abcdef\n", 200)
	f := fileWith(t, content)
	rapid.Check(t, func(t *rapid.T) {
		f.restart(&Flow{})
		var marks []position
		for f.Offset < f.size {
			chunk := make([]byte, rapid.IntRange(checkBytes+1, 1500).Draw(t, "chunk"))
			data, err := f.read(chunk, f.size)
			if err != nil || !strings.HasPrefix(content[f.Offset:], string(data)) || len(data) == 0 {
				t.Fatalf("at %d: %q, %v", f.Offset, data, err)
			}
			f.advance(data[:rapid.IntRange(1, len(data)).Draw(t, "taken")])
			marks = append(marks, f.position)
		}
		for _, pos := range marks {
			head := content[:min(pos.Offset, headBytes)]
			check := content[max(0, pos.Offset-checkBytes):pos.Offset]
			if pos.HeadLen != int64(len(head)) || pos.Head != hashOf([]byte(head)) || string(pos.Check) != check {
				t.Fatalf("at %d: %+v", pos.Offset, pos)
			}
			if err := f.resume(pos); err != nil || f.Offset != pos.Offset {
				t.Fatalf("back to %d: %v", pos.Offset, err)
			}
		}
	})
}

// One byte that is another before a position is noticed, in the part that is hashed and right before the position; so is a shorter file.
func TestChangedFile(t *testing.T) {
	content := bytes.Repeat([]byte("line of text\n"), 300)
	f := fileWith(t, string(content))
	f.advance(content[:3000])
	pos := f.position
	for name, change := range map[string]func() error{
		"beginning":      func() error { content[0] ^= 1; return os.WriteFile(f.Path, content, 0o600) },
		"end of head":    func() error { content[headBytes-1] ^= 1; return os.WriteFile(f.Path, content, 0o600) },
		"check":          func() error { content[3000-checkBytes] ^= 1; return os.WriteFile(f.Path, content, 0o600) },
		"right before":   func() error { content[2999] ^= 1; return os.WriteFile(f.Path, content, 0o600) },
		"shorter":        func() error { return os.Truncate(f.Path, 2999) },
		"empty":          func() error { return os.Truncate(f.Path, 0) },
		"as it was read": func() error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			was := bytes.Clone(content)
			if err := change(); err != nil {
				t.Fatal(err)
			}
			err := f.resume(pos)
			if changed := name != "as it was read"; errors.Is(err, errChanged) != changed {
				t.Errorf("%v", err)
			}
			copy(content, was)
			if err := os.WriteFile(f.Path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestToEnd(t *testing.T) {
	for content, want := range map[string]int64{
		"": 0, "half": 0, "\n": 1, "a\nb": 2, "a\nb\n": 4,
		"a\n" + strings.Repeat("x", 200<<10): 2,
		strings.Repeat("y\n", 100<<10):       200 << 10,
	} {
		f := fileWith(t, content)
		f.skip = 3
		if err := f.toEnd(f.size); err != nil || f.Offset != want {
			t.Errorf("of %d bytes: %d, %v; want %d", len(content), f.Offset, err, want)
		}
		if err := f.resume(f.position); err != nil {
			t.Errorf("of %d bytes: %v", len(content), err)
		}
	}
}

// A file is opened only while it is the one that was listed.
func TestOpenAnotherFile(t *testing.T) {
	f := fileWith(t, "x")
	if _, _, err := open(f.Path, fileID{1, 2}); !errors.Is(err, errChanged) {
		t.Errorf("%v", err)
	}
	if _, _, err := open(f.Path+"x", f.fileID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"app.log*", "app.log", true},
		{"app.log*", "app.log.1", true},
		{"app.log*", "app.log.1.GZ", false},
		{"*", ".hidden", true},
		{"*", "x.zip", false},
		{"*", "x.bz2", false},
		{"a?.log", "ab.log", true},
		{"[!a]*", "ab", false},
		{"{a,b}-[0-9].log", "b-7.log", true},
		{"{a,b}-[0-9].log", "c-7.log", false},
	} {
		f := &follower{flow: &Flow{Pattern: c.pattern}}
		if got := f.matches("/var/log/" + c.name); got != c.want {
			t.Errorf("%s matches %s: %v", c.pattern, c.name, got)
		}
	}
}

// A link to a file, or a second name, is not a second file.
func TestLinks(t *testing.T) {
	bubble(t, "", func(r *rig) {
		r.append("app.log.1", "1\n")
		r.must(os.Symlink("app.log.1", r.path("app.log")))
		r.must(os.Link(r.path("app.log.1"), r.path("app.log.2")))
		r.must(os.Symlink("nowhere", r.path("app.log.3")))
		r.must(os.Mkdir(r.path("app.log.d"), 0o700))
		r.start()
		r.append("app.log", "2\n")
		r.pass(time.Minute)
		r.append("app.log", "3\n")
		r.pass(2 * time.Second)
		r.wants("1\n", "2\n", "3\n")
		// The link leads to the next file, as programs that rotate by themselves do it.
		r.append("app.log.4", "4\n")
		r.must(os.Remove(r.path("app.log")))
		r.must(os.Symlink("app.log.4", r.path("app.log")))
		r.pass(2 * time.Second)
		r.wants("1\n", "2\n", "3\n", "4\n")
	})
}

// What cannot be read is told of once, and read when it can be.
func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
	}
	bubble(t, "", func(r *rig) {
		r.append("app.log", "1\n")
		r.must(os.Chmod(r.path("app.log"), 0))
		r.start()
		r.pass(time.Minute)
		if n := strings.Count(r.log.String(), "cannot be followed"); n != 1 {
			t.Errorf("the log tells %d times:\n%s", n, r.log.String())
		}
		r.must(os.Chmod(r.path("app.log"), 0o600))
		r.pass(r.config.Flows[0].Refresh + 2*time.Second)
		r.wants("1\n")
	})
}

// A delivery stream has as many lines in a record as fit, and no partition keys.
func TestAggregatedRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.configure("app.log", `"kinesisStream":null,"deliveryStream":"d","aggregatedRecordSizeBytes":6`)
		r.append("app.log", "ab\ncd\nef\n")
		r.start()
		r.pass(time.Second)
		r.wants("ab\ncd\n", "ef\n")
		if r.service.keys[0] != "" {
			t.Errorf("keys %q", r.service.keys)
		}
		r.stop()
	})
}

// Two flows may follow the same files, each at its own pace.
func TestTwoFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		other := r.config.Flows[0]
		other.Stream = "other"
		r.config.Flows = append(r.config.Flows, other)
		r.append("app.log", "1\n")
		r.start()
		r.pass(time.Second)
		r.wants("1\n", "1\n")
		r.stop()
		r.start()
		r.append("app.log", "2\n")
		r.pass(2 * time.Second)
		r.wants("1\n", "1\n", "2\n", "2\n")
		r.stop()
	})
}

// A file that is rotated while the folder is listed is never missing where its successor is there: it would be read after that.
func TestListingIsWhole(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "app.log")
	var made []fileID // in order
	add := func() {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, identity(info))
	}
	add()
	f := &follower{flow: &Flow{Dir: dir}, failing: map[string]bool{}}
	for i := range 200 {
		listed := make(chan []found)
		go func() { listed <- f.scan(time.Now()) }()
		for range i % 50 {
			goruntime.Gosched()
		}
		if err := os.Rename(name, fmt.Sprintf("%s.%06d", name, i)); err != nil {
			t.Error(err)
		}
		add()
		there := map[fileID]bool{}
		for _, c := range <-listed {
			there[c.id] = true
		}
		for i, id := range made {
			if !there[id] && slices.ContainsFunc(made[i:], func(id fileID) bool { return there[id] }) {
				t.Fatalf("file %d of %d is missing, and one made after it is there", i, len(made))
			}
		}
	}
}
