package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func (h *house) blobs(t testing.TB, bucket string) *Blobs {
	t.Helper()
	b, err := h.catalog.Blobs(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustPut(t testing.TB, b *Blobs, data []byte) string {
	t.Helper()
	digest, err := b.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func wantBlob(t testing.TB, b *Blobs, digest string, data []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), digest)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, data) {
		t.Errorf("%s has %d other bytes", digest, len(got))
	}
}

// sample is n bytes that differ from each other.
func sample(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// The names of a bucket's directory and of the one above it are durable before anything is put; where they cannot be, there is no bucket yet.
func TestBlobsSyncDirectories(t *testing.T) {
	h := newHouse(t)
	b := h.catalog.bucket("code")
	broken := errors.New("broken")
	var synced []string
	b.syncDir = func(dir string) error {
		if _, err := os.Stat(b.dir); err != nil {
			t.Errorf("%s is synced before it has the name: %v", dir, err)
		}
		synced = append(synced, dir)
		return broken
	}
	if _, err := h.catalog.Blobs(t.Context(), "code"); !errors.Is(err, broken) {
		t.Errorf("a name that is not durable: %v", err)
	}
	synced, broken = nil, nil // and the directories are there now
	h.blobs(t, "code")
	if want := []string{filepath.Join(h.catalog.dir, blobsDir), h.catalog.dir}; !slices.Equal(synced, want) {
		t.Errorf("synced %q; want %q", synced, want)
	}
}

func TestBlobs(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	b := h.blobs(t, "code")
	if h.blobs(t, "code") != b {
		t.Error("two Blobs for one name")
	}
	contents := [][]byte{{}, []byte("x"), sample(1000), sample(3*chunkBytes + 7)}
	var digests []string
	for _, data := range contents {
		digest := mustPut(t, b, data)
		if want := fmt.Sprintf("sha256:%x", sha256.Sum256(data)); digest != want {
			t.Errorf("the digest is %s, want %s", digest, want)
		}
		if again := mustPut(t, b, data); again != digest {
			t.Errorf("put again it is %s", again)
		}
		digests = append(digests, digest)
	}
	other := h.blobs(t, "other")
	if _, err := other.Get(t.Context(), digests[1]); !errors.Is(err, ErrNotFound) {
		t.Errorf("another bucket: %v", err)
	}
	if err := b.Delete(t.Context(), digests[2]); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), digests[2]); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	for range 2 {
		for i, digest := range digests {
			if i == 2 {
				if _, err := b.Get(t.Context(), digest); !errors.Is(err, ErrNotFound) {
					t.Errorf("a deleted blob: %v", err)
				}
				continue
			}
			wantBlob(t, b, digest, contents[i])
		}
		h.close(t)
		h = openHouse(t, dir)
		b = h.blobs(t, "code")
	}
	wantNoAlarms(t, h.catalog)
	mustPut(t, b, contents[2])
	wantBlob(t, b, digests[2], contents[2])
	h.close(t)
}

func TestBlobDigestsAreChecked(t *testing.T) {
	h := newHouse(t)
	b := h.blobs(t, "code")
	hex := strings.Repeat("a", 64)
	for _, digest := range []string{"", hex, "sha256:", "sha256:" + hex[1:], "sha256:" + hex + "a", "sha256:" + strings.ToUpper(hex), "md5:" + hex, "sha256:../" + hex[3:]} {
		if _, err := b.Get(t.Context(), digest); !errors.Is(err, ErrInvalid) {
			t.Errorf("Get %q: %v", digest, err)
		}
		if err := b.Delete(t.Context(), digest); !errors.Is(err, ErrInvalid) {
			t.Errorf("Delete %q: %v", digest, err)
		}
	}
	if _, err := b.Get(t.Context(), "sha256:"+hex); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of what was never put: %v", err)
	}
}

func TestBlobLimit(t *testing.T) {
	h := newHouse(t)
	if _, err := h.blobs(t, "code").Put(t.Context(), make([]byte, MaxBlobBytes+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a blob over the limit: %v", err)
	}
}

// TestDeletedBlobsLeaveNothing checks the files and JetStream's messages.
func TestDeletedBlobsLeaveNothing(t *testing.T) {
	h := newHouse(t)
	b := h.blobs(t, "code")
	for i := range 3 {
		if err := b.Delete(t.Context(), mustPut(t, b, sample(chunkBytes+i))); err != nil {
			t.Fatal(err)
		}
	}
	info, err := b.objects.stream.Info(t.Context())
	if err != nil || info.State.Msgs != 0 {
		t.Errorf("JetStream holds %d messages, %v", info.State.Msgs, err)
	}
	if files, err := os.ReadDir(b.dir); err != nil || len(files) != 0 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
}

// TestLeftoverBlobsAreSwept leaves what a crash leaves between the steps of Put and
// Delete: copies that are not listed.
func TestLeftoverBlobsAreSwept(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	b := h.blobs(t, "code")
	kept := mustPut(t, b, []byte("kept"))
	data := []byte("not acknowledged")
	if err := b.objects.put(t.Context(), nameOf(data), data); err != nil {
		t.Fatal(err)
	}
	if err := b.writeFile(nameOf(data), data); err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.path(nameOf(data)+".tmp"), data[:4])
	if _, err := h.broker.JetStream().Publish(t.Context(), "$O.code.C.unfinished", data); err != nil {
		t.Fatal(err)
	}
	h.close(t)
	h = openHouse(t, dir)
	defer h.close(t)
	b = h.blobs(t, "code")
	if files, err := os.ReadDir(b.dir); err != nil || len(files) != 1 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
	if list, err := b.objects.list(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%d objects are left, %v", len(list), err)
	}
	if info, err := b.objects.stream.Info(t.Context()); err != nil || info.State.Msgs != 2 {
		t.Errorf("JetStream holds %d messages, want a chunk and a description: %v", info.State.Msgs, err)
	}
	wantBlob(t, b, kept, []byte("kept"))
	wantNoAlarms(t, h.catalog)
}

// harms damages one copy of a blob while the catalog is closed.
var harms = []struct {
	name string
	harm func(t *testing.T, dir, name string)
	kind AlarmKind
}{
	{"file flipped", func(t *testing.T, dir, name string) { flip(t, blobFile(dir, name), 1000) }, AlarmBlobRestored},
	{"file cut", func(t *testing.T, dir, name string) { writeFile(t, blobFile(dir, name), []byte("short")) }, AlarmBlobRestored},
	{"file gone", func(t *testing.T, dir, name string) { remove(t, blobFile(dir, name)) }, AlarmBlobRestored},
	{"chunk flipped", func(t *testing.T, dir, _ string) { flipBlock(t, dir, 10_000) }, AlarmBlobRestored},
	{"object store gone", func(t *testing.T, dir, _ string) { remove(t, objectDir(dir)) }, AlarmBlobRestored},
	{"object store unknown", func(t *testing.T, dir, _ string) { remove(t, filepath.Join(objectDir(dir), "meta.inf")) }, ""},
	{"both", func(t *testing.T, dir, name string) {
		remove(t, blobFile(dir, name))
		remove(t, objectDir(dir))
	}, AlarmBlobLost},
}

func blobFile(dir, name string) string { return filepath.Join(catalogDir(dir), blobsDir, "code", name) }

func objectDir(dir string) string {
	return filepath.Join(natsDir(dir), "jetstream", "$G", "streams", "OBJ_code")
}

func flipBlock(t *testing.T, dir string, offset int64) {
	flip(t, filepath.Join(objectDir(dir), "msgs", "1.blk"), offset)
}

func remove(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// TestBlobDamage damages a copy, and has it found and repaired by opening, reading and
// scrubbing; what is left of the damage then is nothing.
func TestBlobDamage(t *testing.T) {
	data := sample(150_000)
	for _, tc := range harms {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			h := openHouse(t, dir)
			digest := mustPut(t, h.blobs(t, "code"), data)
			h.close(t)
			tc.harm(t, dir, nameOf(data))
			h = openHouse(t, dir)
			b := h.blobs(t, "code")
			got, err := b.Get(t.Context(), digest)
			if tc.kind == AlarmBlobLost {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("Get: %v", err)
				}
			} else if err != nil || !bytes.Equal(got, data) {
				t.Errorf("Get: %d bytes, %v", len(got), err)
			}
			if err := b.Scrub(t.Context()); err != nil {
				t.Error(err)
			}
			alarms := h.catalog.Alarms()
			if (len(alarms) == 0) != (tc.kind == "") {
				t.Errorf("the alarms are %v", alarms)
			}
			for _, a := range alarms {
				if a.Kind != tc.kind || !strings.Contains(a.Detail, digest) {
					t.Errorf("the alarm is %s: %s", a.Kind, a.Detail)
				}
			}
			h.close(t)
			if tc.kind == AlarmBlobLost {
				return
			}
			h = openHouse(t, dir)
			defer h.close(t)
			b = h.blobs(t, "code")
			if err := b.Scrub(t.Context()); err != nil {
				t.Error(err)
			}
			wantBlob(t, b, digest, data)
			wantNoAlarms(t, h.catalog)
		})
	}
}

// TestLostBlobCanBePutAgain deletes and uploads again what is lost.
func TestLostBlobCanBePutAgain(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	data, fine := sample(1000), []byte("fine")
	digest := mustPut(t, h.blobs(t, "code"), data)
	h.close(t)
	remove(t, blobFile(dir, nameOf(data)))
	remove(t, objectDir(dir))
	h = openHouse(t, dir)
	defer h.close(t)
	b := h.blobs(t, "code")
	other := mustPut(t, b, fine)
	if again := mustPut(t, b, data); again != digest {
		t.Errorf("put again it is %s", again)
	}
	wantBlob(t, b, digest, data)
	wantBlob(t, b, other, fine)
}

// TestFlipEveryByteOfABlob flips a bit in every byte of the object store's files in
// turn; the blob is served each time, and repaired.
func TestFlipEveryByteOfABlob(t *testing.T) {
	data := sample(600)
	s := specimen{dir: t.TempDir()}
	h := openHouse(t, s.dir)
	digest := mustPut(t, h.blobs(t, "code"), data)
	h.close(t)
	step := stride(t, 101)
	for _, file := range listFiles(t, objectDir(s.dir)) {
		path := filepath.Join(objectDir(s.dir), file)
		each(len(readFile(t, path)), step, func(i int) {
			dir := s.copyTo(t)
			flip(t, filepath.Join(objectDir(dir), file), int64(i))
			for round := range 2 {
				h, err := tryHouse(t, dir, Options{})
				if err != nil {
					t.Errorf("%s, byte %d: %v", file, i, err)
					h.close(t)
					return
				}
				b, err := h.catalog.Blobs(t.Context(), "code")
				if err != nil {
					t.Errorf("%s, byte %d: %v", file, i, err)
					h.close(t)
					return
				}
				if err := b.Scrub(t.Context()); err != nil {
					t.Errorf("%s, byte %d: %v", file, i, err)
				}
				wantBlob(t, b, digest, data)
				if a := h.catalog.Alarms(); round > 0 && len(a) > 0 {
					t.Errorf("%s, byte %d: alarms at the second open: %v", file, i, a)
				}
				h.close(t)
			}
			_ = os.RemoveAll(dir)
		})
	}
}

// TestBlobsAtOnce puts, gets and deletes the same blobs from several goroutines.
func TestBlobsAtOnce(t *testing.T) {
	h := newHouse(t)
	b := h.blobs(t, "code")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 5 {
				data := sample(100 + i)
				digest, err := b.Put(t.Context(), data)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := b.Get(t.Context(), digest)
				if err != nil && !errors.Is(err, ErrNotFound) || err == nil && !bytes.Equal(got, data) {
					t.Errorf("Get: %d bytes, %v", len(got), err)
				}
				if err := b.Delete(t.Context(), digest); w == 0 && err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantNoAlarms(t, h.catalog)
}

func TestBlobTurnIsGivenUpWithTheContext(t *testing.T) {
	h := newHouse(t)
	b := h.blobs(t, "code")
	b.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Put(ctx, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	<-b.turn
}

// TestObjectsAreNATSObjects reads an object with the object store's own reader.
func TestObjectsAreNATSObjects(t *testing.T) {
	h := newHouse(t)
	b := h.blobs(t, "code")
	for _, n := range []int{0, 1, chunkBytes, 2*chunkBytes + 1} {
		data := sample(n)
		mustPut(t, b, data)
		if err := b.objects.put(t.Context(), nameOf(data), data); err != nil { // over itself
			t.Fatal(err)
		}
		got, err := b.objects.store.GetBytes(t.Context(), nameOf(data))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: %d bytes, %v", n, len(got), err)
		}
	}
	info, err := b.objects.stream.Info(t.Context())
	if want := uint64(4 + 0 + 1 + 1 + 3); err != nil || info.State.Msgs != want {
		t.Errorf("JetStream holds %d messages, want %d, %v", info.State.Msgs, want, err)
	}
}

// TestForeignBucket takes a bucket's name for a stream that is no object store.
func TestForeignBucket(t *testing.T) {
	h := newHouse(t)
	if _, err := h.broker.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "elsewhere", Subjects: []string{"$O.code.C.>"},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.catalog.Blobs(t.Context(), "code"); err == nil {
		t.Error("the bucket opens")
	}
}
