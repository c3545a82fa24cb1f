package agent

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

const (
	ghostFor  = time.Minute     // how long a copy of a truncated file is looked for
	copyFor   = 3 * time.Second // without growth, what looks like the copy of a file is a file of its own
	leastCopy = 256             // bytes in common that make a file look like a copy
	settled   = time.Second     // a folder that changed later than so long ago may be changed again within its time stamp
)

// folder is what a follower knows of its flow's folder.
type folder struct {
	listed  time.Time // when it was last listed
	changed time.Time // its time of modification then
	stale   bool      // it must be listed again

	stored  map[fileID]position // from the file of positions, of files not found yet
	ghosts  []ghost             // what was read of files that have been truncated
	waiting map[fileID]waiting  // files that look like copies in the making
}

// ghost is the position in a file that has been truncated since.
type ghost struct {
	position
	of    fileID
	since time.Time
}

// waiting is how large a file was when it was last seen to grow.
type waiting struct {
	size  int64
	since time.Time
}

// found is a file in the folder.
type found struct {
	id   fileID
	path string
	info fs.FileInfo
}

// begin finds the files that are there at the start: those that were followed before go on at their position, even under another
// name; for a flow that never ran the configuration says where to begin.
func (f *follower) begin() {
	f.folder.waiting = map[fileID]waiting{}
	f.folder.stored = map[fileID]position{}
	stored, known := f.positions.of(f.flow.Name())
	for _, pos := range stored {
		f.folder.stored[pos.fileID] = pos
	}
	now := time.Now()
	all := f.scan(now)
	if known {
		for _, c := range all {
			if pos, ok := f.folder.stored[c.id]; ok && (f.matches(c.path) || c.info.Size() > pos.Offset && same(c, &pos)) {
				f.adopt(c, now)
			}
		}
		f.order()
		// What is stored and not there may have been replaced by a file under the same name.
		for _, pos := range f.folder.stored {
			f.folder.ghosts = append(f.folder.ghosts, ghost{pos, pos.fileID, now})
		}
		clear(f.folder.stored)
		f.folder.stale = true
		return
	}
	for _, c := range all {
		if !f.matches(c.path) {
			continue
		}
		if t := f.adopt(c, now); t != nil && !f.flow.FromStart {
			if err := t.toEnd(c.info.Size()); err != nil {
				f.failed("read "+t.Path, err)
			}
		}
	}
	f.order()
	// Saved before anything is read: what is written from now on is new also after a crash.
	var marks []position
	for _, t := range f.files {
		marks = append(marks, t.position)
	}
	f.positions.acknowledge(f.flow.Name(), marks)
	if err := f.positions.save(); err != nil {
		f.failed("save positions", err)
	}
}

// matches tells whether a file is one of the flow's by its name. Compressed ones never are.
func (f *follower) matches(path string) bool {
	name := filepath.Base(path)
	for _, suffix := range []string{".gz", ".bz2", ".zip"} {
		if strings.HasSuffix(strings.ToLower(name), suffix) {
			return false
		}
	}
	ok, _ := doublestar.Match(f.flow.Pattern, name)
	return ok
}

// scans bounds how often a folder is listed again because it was changed meanwhile.
const scans = 10

// scan is all regular files of the folder, the oldest first. A file that was renamed between the listing and the look at what is
// under its name would be missing while its successor is there, and be read after that: so it lists until nothing changes.
func (f *follower) scan(now time.Time) []found {
	f.folder.listed, f.folder.stale = now, false
	if info, err := os.Stat(f.flow.Dir); err == nil {
		f.folder.changed = info.ModTime()
	}
	all := f.once()
	quiet := now.Sub(f.folder.changed) >= settled // nothing has changed since so long ago: once is enough, unless something does now
	for range scans {
		if info, err := os.Stat(f.flow.Dir); quiet && err == nil && info.ModTime().Equal(f.folder.changed) {
			break
		}
		before := all
		if all = f.once(); slices.EqualFunc(before, all, func(a, b found) bool { return a.id == b.id && a.path == b.path }) {
			break
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(a.info.ModTime().Compare(b.info.ModTime()), strings.Compare(b.path, a.path))
	})
	return all
}

// once lists the folder once, by name.
func (f *follower) once() []found {
	entries, err := os.ReadDir(f.flow.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.failed("list "+f.flow.Dir, err)
	} else {
		f.passed("list " + f.flow.Dir)
	}
	// Links come last: a file has one name.
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int { return int(a.Type()&fs.ModeSymlink) - int(b.Type()&fs.ModeSymlink) })
	var all []found
	twice := map[fileID]bool{}
	for _, e := range entries {
		path := filepath.Join(f.flow.Dir, e.Name())
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && !twice[identity(info)] {
			all = append(all, found{identity(info), path, info})
			twice[identity(info)] = true
		}
	}
	return all
}

// due tells whether the folder has to be listed: it has changed, or has not been looked at for long.
func (f *follower) due(now time.Time) bool {
	if f.folder.stale || len(f.folder.waiting) > 0 || now.Sub(f.folder.listed) >= f.flow.Refresh {
		return true
	}
	info, err := os.Stat(f.flow.Dir)
	return err == nil && (!info.ModTime().Equal(f.folder.changed) || f.folder.listed.Sub(info.ModTime()) < settled)
}

// list looks for files that are new, have another name, or are gone.
func (f *follower) list(now time.Time) {
	if !f.due(now) {
		return
	}
	all := f.scan(now)
	for _, t := range f.files {
		t.named, t.missed = false, false
	}
	var there []fileID
	added := false
	for _, c := range all {
		t := f.known[c.id]
		if t != nil && t.Path != c.path {
			t.renamed = true
			t.Path = c.path
		}
		if !f.matches(c.path) {
			continue
		}
		there = append(there, c.id)
		if t == nil {
			if f.copying(c, now) {
				continue
			}
			if t = f.adopt(c, now); t == nil {
				continue
			}
			added = true
		}
		t.named = true
		f.reopen(t, c)
	}
	if added {
		f.order()
	}
	f.folder.ghosts = slices.DeleteFunc(f.folder.ghosts, func(g ghost) bool { return now.Sub(g.since) >= ghostFor })
	f.positions.seen(f.flow.Name(), there)
}

// order sorts the files by when they were first found to be written: the copy of a truncated file comes before the file.
func (f *follower) order() {
	slices.SortStableFunc(f.files, func(a, b *file) int { return a.first.Compare(b.first) })
}

// reopen goes on with a file that was closed because it was idle, when it has changed.
func (f *follower) reopen(t *file, c found) {
	if t.handle != nil || c.info.Size() == t.size && c.info.ModTime().Equal(t.written) {
		return
	}
	handle, _, err := open(c.path, c.id)
	if err != nil {
		f.failed("open "+c.path, err)
		return
	}
	f.passed("open " + c.path)
	t.handle = handle
	if t.resume(t.position) != nil {
		f.truncated(t)
		t.missed = false
	}
}

// adopt begins to follow a file: behind what was read of it, or of the file that it is a copy of. It is nil when that cannot be.
func (f *follower) adopt(c found, now time.Time) *file {
	handle, info, err := open(c.path, c.id)
	if err != nil {
		f.failed("open "+c.path, err)
		return nil
	}
	f.passed("open " + c.path)
	t := &file{handle: handle, size: info.Size(), written: info.ModTime(), first: info.ModTime(), grown: now, named: f.matches(c.path)}
	if info.ModTime().Before(now) {
		t.grown = info.ModTime()
	}
	t.fileID, t.Path = c.id, c.path
	t.restart(f.flow)
	delete(f.folder.waiting, c.id)
	if pos, ok := f.folder.stored[c.id]; ok {
		delete(f.folder.stored, c.id)
		t.renamed = pos.Path != c.path
		if t.resume(pos) != nil {
			f.log.Info("a file was truncated or written anew meanwhile; it is read from its beginning", "file", c.path)
			f.folder.ghosts = append(f.folder.ghosts, ghost{pos, c.id, now})
		}
	} else {
		f.resumeCopy(t)
	}
	f.known[c.id] = t
	f.files = append(f.files, t)
	f.log.Info("a file is followed", "file", c.path, "position", t.Offset)
	return t
}

// resumeCopy goes on behind what was read of the truncated file that t is a copy of, if it is one.
func (f *follower) resumeCopy(t *file) {
	for i, g := range f.folder.ghosts {
		if g.HeadLen < leastCopy || t.size < g.Offset || t.resume(g.position) != nil {
			continue
		}
		f.log.Info("a file is the copy of one that was truncated", "file", t.Path, "position", g.Offset)
		t.renamed = true
		f.buffer.mark(t.position) // what is before it is in this buffer, or was sent before
		if original := f.known[g.of]; original != nil && !original.first.After(t.first) {
			original.first = t.first.Add(1) // its new content comes after the copy
		}
		f.folder.ghosts = slices.Delete(f.folder.ghosts, i, i+1)
		return
	}
}

// copying tells whether a new file may be a copy in the making of one that is going to be truncated: then it waits, until
// that happens or it has not grown for a while.
func (f *follower) copying(c found, now time.Time) bool {
	looks := slices.ContainsFunc(f.files, func(t *file) bool { return t.HeadLen >= leastCopy && begins(c, t) })
	w, ok := f.folder.waiting[c.id]
	if !looks {
		delete(f.folder.waiting, c.id)
		return false
	}
	if !ok || w.size != c.info.Size() {
		w = waiting{c.info.Size(), now}
	}
	f.folder.waiting[c.id] = w
	return now.Sub(w.since) < copyFor
}

// same tells whether a file holds what is before a position.
func same(c found, pos *position) bool {
	handle, _, err := open(c.path, c.id)
	if err != nil {
		return false
	}
	defer handle.Close()
	_, ok := holds(handle, pos)
	return ok
}

// begins tells whether a file begins as t does, as far as either is long; an empty one does not.
func begins(c found, t *file) bool {
	n := min(c.info.Size(), t.HeadLen)
	if n == 0 {
		return false
	}
	handle, _, err := open(c.path, c.id)
	if err != nil {
		return false
	}
	defer handle.Close()
	head := make([]byte, n)
	_, err = handle.ReadAt(head, 0)
	return err == nil && string(head) == string(t.head[:n])
}
