package destination

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"time"
)

// leftover are the names of what a process that was killed can leave: files of documents that are not whole, by the last part of a document's
// key (see triggers/event.ObjectKey), and what Check makes. Files of others are not to look like them.
var leftover = regexp.MustCompile(`^\.(\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d-[0-9a-f-]{36}\.partial|probe-[A-Z2-7]{26})$`)

// Sweep removes what processes that were killed have left in the folder of a URI and below: files under a name of their own that were not written
// to for twice as long as a delivery may take, so that those of a host beside this one stay. Other URIs have nothing that it could remove. It
// looks at all files that are there, and ends with the context. Errors name what could not be looked at or removed; the rest is swept.
func (d *Destinations) Sweep(ctx context.Context, uri string) error {
	t, err := parse(uri)
	if err != nil || t.scheme != schemeFile {
		return err
	}
	f, err := d.folder(&t)
	if err != nil {
		return err
	}
	return f.sweep(ctx, time.Now().Add(-2*d.opts.Timeout))
}

// sweep removes leftovers that were last written to before a time.
func (f Folder) sweep(ctx context.Context, before time.Time) error {
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return ofFile(err)
	}
	defer func() { _ = root.Close() }()
	var failures error
	walked := fs.WalkDir(root.FS(), f.sub, func(name string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && entry.Type().IsRegular() && leftover.MatchString(entry.Name()) {
			err = dropOlder(root, name, entry, before)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && failures == nil { // one tells enough
			failures = err
		}
		return nil
	})
	return errors.Join(walked, failures)
}

func dropOlder(root *os.Root, name string, entry fs.DirEntry, before time.Time) error {
	info, err := entry.Info()
	if err != nil || !info.ModTime().Before(before) {
		return err
	}
	return root.Remove(name)
}
