package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// MaxBlobBytes is the size of the largest blob.
	MaxBlobBytes = 256 << 20

	digestPrefix = "sha256:"
	blobsDir     = "blobs"
	// indexPrefix begins the name of the table that lists a bucket's blobs. The dot
	// keeps it apart from every name a caller may use.
	indexPrefix = "blobs."
)

// Blobs is a bucket of byte strings named by their SHA-256. Each is kept twice, in
// JetStream's object store and as a file, and listed in a table of the catalog; either
// copy is made anew from the other when it is damaged. Its methods may be called from
// several goroutines.
type Blobs struct {
	catalog *Catalog
	bucket  string
	dir     string // of the second copies
	index   *Table // digest without its prefix → size in decimal
	turn    chan struct{}
	objects objects
	syncDir func(dir string) error // makes the names in a directory durable
}

// Blobs opens the bucket with this name, made when it does not exist; the rules for
// names are those of tables. It compares what is listed with both copies, by presence
// and size, and repairs. It always returns the same *Blobs for a name. Errors:
// ErrInvalid, ErrClosed.
func (c *Catalog) Blobs(ctx context.Context, bucket string) (*Blobs, error) {
	if err := checkName("bucket", bucket); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	end, err := c.begin()
	if err != nil {
		return nil, fmt.Errorf("catalog: blobs %s: %w", bucket, err)
	}
	defer end()
	b := c.bucket(bucket)
	if err := b.open(ctx); err != nil {
		return nil, fmt.Errorf("catalog: blobs %s: %w", bucket, err)
	}
	return b, nil
}

// bucket is the one *Blobs with this name, open or not.
func (c *Catalog) bucket(name string) *Blobs {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.blobs[name]
	if b == nil {
		b = &Blobs{
			catalog: c, bucket: name, dir: filepath.Join(c.dir, blobsDir, name),
			index: c.table(indexPrefix + name), turn: make(chan struct{}, 1), syncDir: syncDir,
		}
		c.blobs[name] = b
	}
	return b
}

// take waits for the turn to change something: one change of a bucket at a time.
func (b *Blobs) take(ctx context.Context) (release func(), err error) {
	select {
	case b.turn <- struct{}{}:
		return func() { <-b.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *Blobs) open(ctx context.Context) error {
	release, err := b.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if b.objects.store != nil {
		return nil
	}
	if err := b.makeDir(); err != nil {
		return err
	}
	o, err := openObjects(ctx, b.catalog.js, b.bucket)
	if err != nil {
		return err
	}
	b.objects = o
	if err := b.heal(ctx, false); err != nil {
		b.objects = objects{}
		return err
	}
	// Leftovers are what a crash left of a Put or a Delete; after damage they may
	// be the last copy of something.
	if len(b.catalog.Alarms()) == 0 {
		if err := b.sweep(ctx); err != nil {
			b.catalog.log.Warn("catalog: leftover blobs could not be removed", "bucket", b.bucket, "error", err)
		}
	}
	return nil
}

// makeDir makes the directory of the second copies and its name durable, so that a power loss does not take with it the copies
// of what has been acknowledged. Always: an open before this one may have been cut short.
func (b *Blobs) makeDir() error {
	if err := os.MkdirAll(b.dir, 0o750); err != nil {
		return err
	}
	parent := filepath.Dir(b.dir)
	if err := b.syncDir(parent); err != nil {
		return err
	}
	return b.syncDir(filepath.Dir(parent))
}

func (b *Blobs) path(name string) string { return filepath.Join(b.dir, name) }

func (b *Blobs) wrap(operation, what string, err error) error {
	return fmt.Errorf("catalog: %s blob %s of %s: %w", operation, what, b.bucket, err)
}

// Put stores data and returns its digest, "sha256:" and 64 hexadecimal digits, when it
// is durable. Putting the same data again is no change. Errors: ErrInvalid (more than
// MaxBlobBytes), ErrNoSpace, ErrUnknownOutcome, ErrClosed.
func (b *Blobs) Put(ctx context.Context, data []byte) (string, error) {
	if len(data) > MaxBlobBytes {
		err := fmt.Errorf("%w: the blob has %d bytes; the limit is %d", ErrInvalid, len(data), MaxBlobBytes)
		return "", b.wrap("put", "", err)
	}
	name := nameOf(data)
	if err := b.put(ctx, name, data); err != nil {
		return "", b.wrap("put", digestPrefix+name, err)
	}
	return digestPrefix + name, nil
}

func nameOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (b *Blobs) put(ctx context.Context, name string, data []byte) error {
	end, err := b.catalog.begin()
	if err != nil {
		return err
	}
	defer end()
	release, err := b.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, err = b.index.Get(name)
	listed := err == nil
	if listed && b.intact(ctx, name, len(data)) {
		return nil
	}
	if err := b.catalog.space.forWrite(len(data)); err != nil {
		return err
	}
	if err := b.objects.put(ctx, name, data); err != nil {
		return err
	}
	if err := b.writeFile(name, data); err != nil {
		return err
	}
	if listed {
		return nil
	}
	// Listed last: a blob that is listed has both copies.
	_, err = b.index.Create(ctx, name, strconv.AppendInt(nil, int64(len(data)), 10))
	return err
}

// intact says whether a listed blob need not be stored again.
func (b *Blobs) intact(ctx context.Context, name string, size int) bool {
	_, err := b.readFile(name)
	return err == nil && b.objects.check(ctx, name, int64(size), false) == nil
}

func (b *Blobs) writeFile(name string, data []byte) error {
	f, err := replaceFile(b.dir, name, data)
	if err != nil {
		return err
	}
	return f.Close()
}

// Get returns the blob with this digest, verified. A copy that is found damaged is made
// anew from the other, with an alarm. Errors: ErrNotFound, ErrInvalid (not a digest),
// ErrDamaged (both copies).
func (b *Blobs) Get(ctx context.Context, digest string) ([]byte, error) {
	name, err := parseDigest(digest)
	if err != nil {
		return nil, b.wrap("get", digest, err)
	}
	if _, err := b.index.Get(name); err != nil {
		return nil, b.wrap("get", digest, ErrNotFound)
	}
	if data, err := b.readFile(name); err == nil {
		return data, nil
	}
	data, err := b.getObject(ctx, name)
	if err != nil {
		return nil, b.wrap("get", digest, err)
	}
	return data, nil
}

func parseDigest(digest string) (string, error) {
	name, ok := strings.CutPrefix(digest, digestPrefix)
	raw, err := hex.DecodeString(name)
	if !ok || err != nil || len(raw) != sha256.Size || name != strings.ToLower(name) {
		return "", fmt.Errorf("%w: %q is not sha256: and 64 lower case hexadecimal digits", ErrInvalid, digest)
	}
	return name, nil
}

// readFile reads and verifies the second copy.
func (b *Blobs) readFile(name string) ([]byte, error) {
	data, err := os.ReadFile(b.path(name))
	if err != nil {
		return nil, err
	}
	return data, verify(name, data)
}

func verify(name string, data []byte) error {
	if got := nameOf(data); got != name {
		return fmt.Errorf("its SHA-256 is %s", got)
	}
	return nil
}

// Delete removes the blob with this digest. Errors: ErrNotFound, ErrInvalid,
// ErrUnknownOutcome, ErrClosed.
func (b *Blobs) Delete(ctx context.Context, digest string) error {
	name, err := parseDigest(digest)
	if err == nil {
		err = b.delete(ctx, name)
	}
	if err != nil {
		return b.wrap("delete", digest, err)
	}
	return nil
}

func (b *Blobs) delete(ctx context.Context, name string) error {
	end, err := b.catalog.begin()
	if err != nil {
		return err
	}
	defer end()
	release, err := b.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	// First no longer listed: what is left then is swept at the next open.
	if err := b.index.Delete(ctx, name, 0); err != nil {
		return err
	}
	err = b.objects.remove(ctx, name)
	if gone := os.Remove(b.path(name)); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	if err != nil {
		b.catalog.log.Warn("catalog: a deleted blob was not removed", "bucket", b.bucket, "blob", digestPrefix+name, "error", err)
	}
	return nil
}
