package journal_test

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/shardmill/shardmill/shards/journal"
)

// disk is a file system in memory that can crash, fill up and fail. What has not been synced may be lost, in part and out of
// order, when it crashes.
type disk struct {
	mu       sync.Mutex
	files    map[string]*inode // as a running process sees them
	durable  map[string]*inode // the names that a crash leaves
	capacity int64             // bytes in all files; 0 means no limit
	writeErr error             // what every write and create answers
	syncErr  error             // what every sync answers
	syncs    int
	open     int    // handles that have not been closed
	gate     func() // called before a sync, without the lock
	// before is called without the lock before everything that changes the disk, and can make it fail. w is nil for what is no write.
	before func(n *inode, w *write) error
}

type inode struct {
	content []byte
	synced  []byte
	pending []write
}

type write struct {
	at       int64
	data     []byte
	truncate bool
}

func newDisk() *disk { return &disk{files: map[string]*inode{}, durable: map[string]*inode{}} }

func (d *disk) set(f func(*disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

// change asks what is to become of the next change.
func (d *disk) change(n *inode, w *write) error {
	d.mu.Lock()
	before := d.before
	d.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(n, w)
}

func (d *disk) MkdirAll(string) error { return nil }

func (d *disk) ReadDir(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.files {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

func (d *disk) Create(name string) (journal.File, error) {
	if err := d.change(nil, nil); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writeErr != nil {
		return nil, d.writeErr
	}
	d.files[name] = &inode{}
	d.open++
	return &handle{d: d, n: d.files[name]}, nil
}

func (d *disk) Open(name string) (journal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.files[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	d.open++
	return &handle{d: d, n: n}, nil
}

func (d *disk) Remove(name string) error {
	if err := d.change(nil, nil); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name)
	return nil
}

func (d *disk) Rename(from, to string) error {
	if err := d.change(nil, nil); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writeErr != nil {
		return d.writeErr
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

func (d *disk) SyncDir(dir string) error {
	if err := d.change(nil, nil); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.durable {
		if filepath.Dir(name) == dir && d.files[name] == nil {
			delete(d.durable, name)
		}
	}
	for name, n := range d.files {
		if filepath.Dir(name) == dir {
			d.durable[name] = n
		}
	}
	return nil
}

func (d *disk) used() int64 {
	var sum int64
	for _, n := range d.files {
		sum += int64(len(n.content))
	}
	return sum
}

// killIn is the disk after the process was killed within a write, of which a part is there.
func (d *disk) killIn(n *inode, part write) *disk {
	after := d.kill()
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, file := range d.files {
		if file == n {
			c := after.files[name]
			c.content = writeAt(c.content, part.data, part.at)
			c.pending = append(c.pending, part)
		}
	}
	return after
}

// kill is the disk after the process was killed: everything written is there, in files of its own, and what was not synced still
// is not.
func (d *disk) kill() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newDisk()
	for name, n := range d.files {
		c := &inode{content: slices.Clone(n.content), synced: slices.Clone(n.synced), pending: slices.Clone(n.pending)}
		after.files[name] = c
		if d.durable[name] != nil {
			after.durable[name] = c
		}
	}
	return after
}

// powerCut is the disk after a loss of power: of what was not synced, any part is there.
func (d *disk) powerCut(rng *rand.Rand) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newDisk()
	names := map[string]*inode{}
	for name, n := range d.durable {
		if d.files[name] != nil || rng.IntN(2) == 0 {
			names[name] = n
		}
	}
	for name, n := range d.files {
		if d.durable[name] != nil || rng.IntN(2) == 0 {
			names[name] = n
		}
	}
	for name, n := range names {
		after.put(name, n.torn(rng))
	}
	return after
}

func (d *disk) put(name string, content []byte) {
	n := &inode{content: slices.Clone(content), synced: slices.Clone(content)}
	d.files[name], d.durable[name] = n, n
}

// flush makes the writes since the last sync durable.
func (n *inode) flush() {
	for _, w := range n.pending {
		if w.truncate {
			n.synced = resize(n.synced, w.at)
		} else {
			n.synced = writeAt(n.synced, w.data, w.at)
		}
	}
	n.pending = nil
}

// torn is the inode's content with any sectors of the writes since the last sync.
func (n *inode) torn(rng *rand.Rand) []byte {
	b := slices.Clone(n.synced)
	for _, w := range n.pending {
		if rng.IntN(3) == 0 {
			continue
		}
		if w.truncate {
			b = resize(b, w.at)
			continue
		}
		for from := int64(0); from < int64(len(w.data)); {
			to := min((w.at+from)/512*512+512-w.at, int64(len(w.data)))
			if rng.IntN(4) > 0 {
				b = writeAt(b, w.data[from:to], w.at+from)
			}
			from = to
		}
	}
	return b
}

func resize(b []byte, size int64) []byte {
	if int64(len(b)) >= size {
		return b[:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func writeAt(b, data []byte, at int64) []byte {
	if int64(len(b)) < at+int64(len(data)) {
		b = resize(b, at+int64(len(data)))
	}
	copy(b[at:], data)
	return b
}

type handle struct {
	d      *disk
	n      *inode
	closed bool
}

func (h *handle) ReadAt(b []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		return 0, fs.ErrClosed
	}
	if at >= int64(len(h.n.content)) {
		return 0, io.EOF
	}
	n := copy(b, h.n.content[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(b []byte, at int64) (int, error) {
	if err := h.d.change(h.n, &write{at: at, data: b}); err != nil {
		return 0, err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		return 0, fs.ErrClosed
	}
	if h.d.writeErr != nil {
		return 0, h.d.writeErr
	}
	grown := max(at+int64(len(b))-int64(len(h.n.content)), 0)
	if h.d.capacity > 0 && h.d.used()+grown > h.d.capacity {
		return 0, &fs.PathError{Op: "write", Path: "disk", Err: syscall.ENOSPC}
	}
	h.n.content = writeAt(h.n.content, b, at)
	h.n.pending = append(h.n.pending, write{at: at, data: slices.Clone(b)})
	return len(b), nil
}

func (h *handle) Sync() error {
	h.d.mu.Lock()
	gate := h.d.gate
	h.d.mu.Unlock()
	if gate != nil {
		gate()
	}
	if err := h.d.change(h.n, nil); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		return fs.ErrClosed
	}
	h.d.syncs++
	if h.d.syncErr != nil {
		h.n.pending = nil // as on Linux: what could not be written counts as clean from now on
		return h.d.syncErr
	}
	h.n.flush()
	return nil
}

func (h *handle) Truncate(size int64) error {
	if err := h.d.change(h.n, nil); err != nil {
		return err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		return fs.ErrClosed
	}
	if h.d.writeErr != nil {
		return h.d.writeErr
	}
	h.n.content = resize(h.n.content, size)
	h.n.pending = append(h.n.pending, write{at: size, truncate: true})
	return nil
}

func (h *handle) Size() (int64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		return 0, fs.ErrClosed
	}
	return int64(len(h.n.content)), nil
}

func (h *handle) Close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		return fs.ErrClosed
	}
	h.closed = true
	h.d.open--
	return nil
}

// files lists the disk's files with their content.
func (d *disk) snapshot(t testing.TB) map[string][]byte {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string][]byte{}
	for name, n := range d.files {
		out[name] = slices.Clone(n.content)
	}
	return out
}
