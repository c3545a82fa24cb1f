package destination

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// files are the files below a folder: path to content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		found[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func wantFile(t *testing.T, dir, name, content string) {
	t.Helper()
	if got := files(t, dir); len(got) != 1 || got[name] != content {
		t.Errorf("in %s: %q; want only %s with %q", dir, got, name, content)
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := open(t, Options{Folders: []string{"/not/there", root + "/"}})
	uri := "file://" + root + "/orders/failed"
	if err := d.Check(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	if left := listed(t, root); len(left) != 0 {
		t.Errorf("Check left %v", left)
	}
	doc := testDocument()
	for range 2 { // the second takes the place of the first
		if err := d.Deliver(t.Context(), uri, doc); err != nil {
			t.Fatal(err)
		}
		wantFile(t, root, "orders/failed/"+testKey, string(doc.Whole))
	}
	if err := d.Check(t.Context(), uri); err != nil {
		t.Error(err)
	}
	if err := d.Check(t.Context(), "file://"+root); err != nil {
		t.Error(err)
	}
}

func listed(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// A Put of another's key, or of what leads out, changes nothing.
func TestFolderRefuses(t *testing.T) {
	t.Parallel()
	root, outside := t.TempDir(), t.TempDir()
	d := open(t, Options{Folders: []string{root}})
	doc := testDocument()
	for name, err := range map[string]error{
		"file":    os.WriteFile(filepath.Join(root, "file"), nil, 0o600),
		"away":    os.Symlink(outside, filepath.Join(root, "away")),
		"dangles": os.Symlink("/nowhere", filepath.Join(root, "dangles")),
	} {
		if err != nil {
			t.Fatal(err)
		}
		uri := "file://" + root + "/" + name
		wantRefused(t, d, uri, name)
		if err := d.Deliver(t.Context(), uri, doc); err == nil {
			t.Errorf("%s: stored", name)
		}
	}
	for _, uri := range []string{"file://" + root + "/../x", "file://" + outside, "file:///", "file://" + root + "x"} {
		wantRefused(t, d, uri, "this host allows folders below "+root)
		wantFailure(t, d.Deliver(t.Context(), uri, doc), true, "this host allows folders below")
	}
	wantRefused(t, open(t, Options{}), "file://"+root, "this host allows no folders")
	gone := filepath.Join(root, "gone")
	d = open(t, Options{Folders: []string{gone}})
	wantRefused(t, d, "file://"+gone+"/a", "no such file or directory")
	wantFailure(t, d.Deliver(t.Context(), "file://"+gone+"/a", doc), true, "no such file or directory")
	if left := listed(t, outside); len(left) != 0 {
		t.Errorf("outside there is %v", left)
	}
	if err := (Folder{root, "."}).Put(t.Context(), "../x", "", bytes.NewReader(nil)); err == nil {
		t.Error("a key led out")
	}
}

// failing fails after some bytes.
type failing struct {
	io.ReadSeeker
	left int
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, f.err
	}
	n := min(len(p), f.left)
	f.left -= n
	return n, nil
}

// What fails on the way leaves the file that was there before, and nothing beside it.
func TestFolderKeepsTheFormer(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	f := Folder{root, "."}
	if err := f.Put(t.Context(), "a/b", "", strings.NewReader("before")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := f.Put(t.Context(), "a/b", "", &failing{strings.NewReader(""), 100_000, broken}); !errors.Is(err, broken) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Put(ctx, "a/b", "", strings.NewReader("after")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A folder stands where the file would: found at the very end, by the rename.
	if err := os.Mkdir(filepath.Join(root, "a", "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Put(t.Context(), "a/c", "", strings.NewReader("x")); err == nil {
		t.Error("a file took the place of a folder")
	}
	wantFile(t, root, "a/b", "before")
}

func TestFolderTogether(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	f := Folder{root, "x/y"}
	var wait sync.WaitGroup
	for i := range 32 {
		wait.Go(func() {
			if err := f.Put(t.Context(), fmt.Sprintf("%d/%d", i%4, i), "", strings.NewReader(strings.Repeat("z", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	got := files(t, root)
	for i := range 32 {
		if name := fmt.Sprintf("x/y/%d/%d", i%4, i); len(got[name]) != i {
			t.Errorf("%s has %q", name, got[name])
		}
	}
	if len(got) != 32 {
		t.Errorf("%d files", len(got))
	}
}

// halfway hands out half of its bytes, says so on standard output, and then nothing any more.
type halfway struct{ all *strings.Reader }

func (h halfway) Read(p []byte) (int, error) {
	if h.all.Len() <= int(h.all.Size())/2 {
		fmt.Println("half")
		select {}
	}
	return h.all.Read(p[:min(len(p), 512)])
}

func (h halfway) Seek(offset int64, whence int) (int64, error) { return h.all.Seek(offset, whence) }

// writeHalf is what the process that is killed does.
func writeHalf(dir string) {
	err := Folder{dir, "."}.Put(context.Background(), testKey, "", halfway{strings.NewReader(strings.Repeat("new", 10_000))})
	fmt.Println("ended", err)
}

// A process that is killed while it writes leaves no part of a file under its name; the same document can be stored after it.
func TestFolderKilled(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), "DESTINATION_TEST_WRITE="+root)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = c.Process.Kill()
	_ = c.Wait()
	if line != "half\n" {
		t.Fatalf("the process said %q, %v", line, err)
	}
	got := files(t, root)
	if _, ok := got[testKey]; ok || len(got) != 1 {
		t.Errorf("left: %d files, one of the name: %v", len(got), ok)
	}
	for name := range got {
		if base := filepath.Base(name); !strings.HasPrefix(base, ".") || !strings.HasSuffix(base, ".partial") {
			t.Errorf("left %s", name)
		}
	}
	if err := (Folder{root, "."}).Put(t.Context(), testKey, "", strings.NewReader("whole")); err != nil {
		t.Error(err)
	}
	wantFile(t, root, testKey, "whole")
}
