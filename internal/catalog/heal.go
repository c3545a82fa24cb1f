package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Scrub reads and verifies both copies of every blob, makes bad ones anew from good
// ones, and raises an alarm for each. Damage is no error. Errors: ErrNoSpace, ErrClosed,
// and what the disk or JetStream says.
func (b *Blobs) Scrub(ctx context.Context) error {
	end, err := b.catalog.begin()
	if err != nil {
		return b.wrap("scrub", "", err)
	}
	defer end()
	release, err := b.take(ctx)
	if err != nil {
		return b.wrap("scrub", "", err)
	}
	defer release()
	if err := b.heal(ctx, true); err != nil {
		return b.wrap("scrub", "", err)
	}
	return nil
}

// heal looks at both copies of every listed blob and repairs. Unless deep, it looks only
// for their presence and size. It needs the turn.
func (b *Blobs) heal(ctx context.Context, deep bool) error {
	var whole []string // blobs whose file is good
	remake := false
	for _, e := range b.index.List() {
		size, err := strconv.ParseInt(string(e.Value), 10, 64)
		if err != nil {
			return fmt.Errorf("the size of blob %s is listed as %q", e.Key, e.Value)
		}
		fileErr := b.checkFile(e.Key, size, deep)
		objectErr := b.objects.check(ctx, e.Key, size, deep)
		if fileErr == nil && objectErr != nil {
			fileErr = b.checkFile(e.Key, size, true) // it is about to be the only copy
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case fileErr != nil:
			_, err := b.restoreFile(ctx, e.Key, fileErr)
			if errors.Is(err, ErrDamaged) {
				continue // the alarm is raised; the others can be served
			}
			if err != nil {
				return err
			}
		case objectErr != nil:
			remake = true
			b.alarm(AlarmBlobRestored, e.Key, "JetStream's copy", objectErr)
		}
		whole = append(whole, e.Key)
	}
	if remake {
		return b.remake(ctx, whole)
	}
	return nil
}

// remake makes the object store anew from the files. Where one message is damaged,
// nats-server (2.15) does not reliably replace it: it may remove the new one instead.
func (b *Blobs) remake(ctx context.Context, names []string) error {
	if err := b.objects.reset(ctx); err != nil {
		return err
	}
	for _, name := range names {
		data, err := b.readFile(name)
		if err != nil {
			return fmt.Errorf("blob %s: %w", name, err)
		}
		if err := b.objects.put(ctx, name, data); err != nil {
			return fmt.Errorf("blob %s: %w", name, err)
		}
	}
	return nil
}

// checkFile looks at the second copy of a blob.
func (b *Blobs) checkFile(name string, size int64, deep bool) error {
	if deep {
		_, err := b.readFile(name)
		return err
	}
	info, err := os.Stat(b.path(name))
	if err == nil && info.Size() != size {
		err = fmt.Errorf("it has %d bytes, not %d", info.Size(), size)
	}
	return err
}

// restoreFile makes the file anew from the object, and returns the content. cause is
// what is wrong with the file.
func (b *Blobs) restoreFile(ctx context.Context, name string, cause error) ([]byte, error) {
	data, err := b.objects.get(ctx, name)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		err = errors.Join(cause, err)
		b.alarm(AlarmBlobLost, name, "both copies", err)
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	b.alarm(AlarmBlobRestored, name, "the file", cause)
	return data, b.writeFile(name, data)
}

// getObject serves a blob whose file is bad.
func (b *Blobs) getObject(ctx context.Context, name string) ([]byte, error) {
	end, err := b.catalog.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	release, err := b.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, err := b.index.Get(name); err != nil {
		return nil, ErrNotFound // deleted while the turn was waited for
	}
	data, err := b.readFile(name)
	if err == nil {
		return data, nil // restored meanwhile
	}
	return b.restoreFile(ctx, name, err)
}

func (b *Blobs) alarm(kind AlarmKind, name, what string, err error) {
	b.catalog.bell.ring(Alarm{
		Kind:   kind,
		Detail: fmt.Sprintf("blob %s%s of bucket %s: %s: %v", digestPrefix, name, b.bucket, what, err),
	})
}

// sweep removes what is stored and not listed.
func (b *Blobs) sweep(ctx context.Context) error {
	files, err := os.ReadDir(b.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := b.index.Get(f.Name()); err != nil {
			if err := os.Remove(filepath.Join(b.dir, f.Name())); err != nil {
				return err
			}
		}
	}
	list, err := b.objects.list(ctx)
	if err != nil {
		return err
	}
	for _, info := range list {
		if _, err := b.index.Get(info.Name); err != nil {
			if err := b.objects.remove(ctx, info.Name); err != nil {
				return err
			}
		}
	}
	return b.objects.sweepChunks(ctx)
}
