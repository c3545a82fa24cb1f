package runtime

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shardmill/shardmill/sdk/record"
)

func someMemory(t testing.TB, limit int64) *linearMemory {
	t.Helper()
	m, err := reserveMemory(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Free)
	return m
}

// noFile is how a system without files in memory has images.
func noFile() (imageFile, error) { return nil, errors.ErrUnsupported }

// TestMemoriesBeginWithAnImage has memories of one image, mapped and copied: they begin alike, grow, and have nothing to do with each other.
func TestMemoriesBeginWithAnImage(t *testing.T) {
	content := make([]byte, 3*wasmPage)
	copy(content, "first")
	copy(content[2*wasmPage+100:], "last")
	for name, newFile := range map[string]func() (imageFile, error){"as made": newImageFile, "copied": noFile} {
		image, err := makeImage(content, newFile)
		if err != nil {
			t.Fatal(err)
		}
		defer image.close()
		if image.held != 2*imageGrain {
			t.Errorf("%s: it holds %d bytes", name, image.held)
		}
		one, other := someMemory(t, 8*wasmPage), someMemory(t, 8*wasmPage)
		for _, m := range []*linearMemory{one, other} {
			if err := m.begin(image); err != nil {
				t.Fatal(err)
			}
		}
		view := one.Reallocate(wasmPage)
		if len(view) != wasmPage || one.size.Load() != uint64(len(content)) {
			t.Errorf("%s: it begins with %d bytes of %d", name, len(view), one.size.Load())
		}
		if view = one.Reallocate(5 * wasmPage); !bytes.Equal(view[:len(content)], content) || !bytes.Equal(view[len(content):], make([]byte, 2*wasmPage)) {
			t.Errorf("%s: grown, it is something else", name)
		}
		copy(view, "changed")
		view[wasmPage], view[4*wasmPage] = 1, 1
		if !bytes.Equal(other.Reallocate(3*wasmPage), content) || string(content[:5]) != "first" {
			t.Errorf("%s: one has changed the other", name)
		}
		small := someMemory(t, 2*wasmPage)
		if err := small.begin(image); err == nil || small.size.Load() != 0 {
			t.Errorf("%s: an image larger than the memory", name)
		}
		image.close()
		image.close()
	}
}

// TestImageAllocatesNothingLater has a file that is as large as it was when everything of its memory has been read and written: what the system
// would have no room for later would be a signal.
func TestImageAllocatesNothingLater(t *testing.T) {
	content := make([]byte, 16*wasmPage)
	content[5*wasmPage], content[11*wasmPage] = 1, 2
	image, err := makeImage(content, newImageFile)
	if err != nil {
		t.Fatal(err)
	}
	defer image.close()
	file, ok := image.file.(interface{ Stat() (os.FileInfo, error) })
	if !ok {
		t.Skip("left out: this system has no files in memory")
	}
	blocks := func() int64 {
		info, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != int64(image.held) {
			t.Errorf("the file has %d bytes, want %d", info.Size(), image.held)
		}
		return info.Sys().(*syscall.Stat_t).Blocks
	}
	before, m := blocks(), someMemory(t, 32*wasmPage)
	if err := m.begin(image); err != nil {
		t.Fatal(err)
	}
	view := m.Reallocate(20 * wasmPage)
	for at := range view {
		view[at]++
	}
	if after := blocks(); after != before {
		t.Errorf("the file takes %d blocks, and took %d", after, before)
	}
}

func TestExtents(t *testing.T) {
	for memory, want := range map[string][]extent{
		"":                     nil,
		"........":             nil,
		"xx":                   {{0, 2}},
		"..xxxx..":             {{2, 4}},
		"x...xx..":             {{0, 2}, {4, 2}}, // by pages of 2
		"x.x.x.x.x.x.x.x.":     {{0, 16}},
		"x...x.....x..":        {{0, 6}, {10, 2}}, // by pages of 2, at most 2
		"x.......x...x...x...": {{0, 2}, {8, 10}},
		"x...x.......x...x":    {{0, 6}, {12, 5}}, // the last page is short
		"x...x...x":            {{0, 2}, {4, 5}},  // the first of equal stretches
	} {
		b := []byte(strings.ReplaceAll(memory, ".", "\x00"))
		if got := extentsOf(b, 2, 2); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", memory, got, want)
		}
	}
	many := make([]byte, 64<<20)
	for at := 0; at < len(many); at += 8 << 10 {
		many[at] = 1
	}
	if got := extentsOf(many, 4<<10, maxExtents); len(got) != maxExtents || got[0].at != 0 {
		t.Errorf("%v", got)
	}
}

// FuzzExtents: everything that is not zero is in one, none is empty, and they are in order.
func FuzzExtents(f *testing.F) {
	f.Add([]byte("a\x00\x00\x00\x00b\x00\x00c"), byte(1), byte(2))
	f.Fuzz(func(t *testing.T, memory []byte, grain, most byte) {
		page, n := int(grain%8)+1, int(most%5)+1
		found := extentsOf(memory, page, n)
		if len(found) > n {
			t.Fatalf("%d extents, more than %d", len(found), n)
		}
		end := 0
		for _, e := range found {
			if e.size <= 0 || e.at%page != 0 || e.at < end || !isZero(memory[end:e.at]) {
				t.Fatalf("%v of %d bytes", found, len(memory))
			}
			end = e.at + e.size
		}
		if end > len(memory) || !isZero(memory[end:]) {
			t.Fatalf("%v of %d bytes", found, len(memory))
		}
	})
}

func isZero(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }

func TestImageOfNothing(t *testing.T) {
	for _, memory := range [][]byte{nil, make([]byte, wasmPage)} {
		image, err := makeImage(memory, newImageFile)
		if err != nil {
			t.Fatal(err)
		}
		defer image.close()
		if err := someMemory(t, wasmPage).begin(image); err != nil || image.held != 0 {
			t.Errorf("%v, %d bytes", err, image.held)
		}
	}
}

// fullFile is one of a system that has no room: for what is written to it, for sealing it, or for mapping it, as often as it says.
type fullFile struct {
	imageFile
	writes, seals, maps int
	closed              bool
}

func (f *fullFile) WriteAt(b []byte, at int64) (int, error) {
	if f.writes--; f.writes >= 0 {
		return 0, unix.ENOSPC
	}
	return f.imageFile.WriteAt(b, at)
}

func (f *fullFile) seal() error {
	if f.seals--; f.seals >= 0 {
		return unix.ENOMEM
	}
	return f.imageFile.seal()
}

func (f *fullFile) mapTo(part []byte, offset int64) error {
	if f.maps--; f.maps >= 0 {
		return unix.ENOMEM
	}
	return f.imageFile.mapTo(part, offset)
}

func (f *fullFile) Close() error {
	f.closed = true
	return f.imageFile.Close()
}

// onFull has a program's images be on a file that is made so.
func onFull(t *testing.T, m *mold, f *fullFile) {
	t.Helper()
	m.starts.file = func() (file imageFile, err error) {
		f.imageFile, err = newImageFile()
		return f, err
	}
	if file, err := newImageFile(); err != nil {
		t.Skipf("left out: this system has no files in memory: %v", err)
	} else if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// run makes a call of a command.
func (m *mold) run(t *testing.T, body string) string {
	t.Helper()
	i, err := emptyInstance(&m.version.identity, newCapture(&m.version.identity, newLogRing(0), nil), &Doors{}, new(senses))
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	var reply Reply
	if err := i.execute(t.Context(), m.program, &Call{Kind: KindInvoke, Body: []byte(body)}, &reply); err != nil {
		t.Fatal(err)
	}
	return string(reply.raw)
}

// TestNoRoomForAnImage has functions and commands start plainly where the system has no room for an image, and say so.
func TestNoRoomForAnImage(t *testing.T) {
	for name, file := range map[string]*fullFile{"written": {writes: 1}, "sealed": {seals: 1}} {
		m := newMold(t, guests["touch"], "")
		onFull(t, m, file)
		call := Call{Kind: KindBatch, Records: []record.Run{records(t, "k", "a")}}
		want := invokeOn(t, m.make(t), call)
		m.mustStart(t, StartPlain, "no image of its memory could be made")
		if got := invokeOn(t, m.make(t), call); got != want || !file.closed {
			t.Errorf("%s: the next instance makes %s of it, want %s; the file is closed: %v", name, got, want, file.closed)
		}
	}
	c := newMold(t, guests["command"], "")
	onFull(t, c, &fullFile{writes: 1})
	c.starts.take(c.starts.data)
	c.mustStart(t, StartPlain, "no space left")
	if got := c.run(t, "calls"); got != "1" {
		t.Errorf("the command says %s", got)
	}
}

// TestInstanceThatCannotBeMapped is an error of the host, leaves nothing, and is nothing to the next one.
func TestInstanceThatCannotBeMapped(t *testing.T) {
	m, file := newMold(t, guests["touch"], ""), &fullFile{}
	onFull(t, m, file)
	call := Call{Kind: KindBatch, Records: []record.Run{records(t, "k", "a")}}
	want := invokeOn(t, m.make(t), call)
	m.mustStart(t, StartSnapshot, "")
	file.maps = 1
	i, err := newInstance(t.Context(), m.program, &m.version.identity, newCapture(&m.version.identity, newLogRing(0), nil), &Doors{})
	if failed := (*FunctionError)(nil); i != nil || !errors.Is(err, unix.ENOMEM) || errors.As(err, &failed) {
		t.Fatalf("%v, %v", i, err)
	}
	if got := invokeOn(t, m.make(t), call); got != want {
		t.Errorf("the next instance makes %s of it, want %s", got, want)
	}
}

func TestPoolHoldsSoMuchIdleMemory(t *testing.T) {
	var p pool
	p.init(3, DefaultIdleBytes)
	p.limit = 2 * wasmPage
	var all []*instance
	for range 3 {
		if err := p.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		i := idleInstance(t)
		i.memory.Reallocate(wasmPage)
		p.add(i)
		all = append(all, i)
	}
	for _, i := range all {
		p.release(i, true)
	}
	if !all[0].closed() || all[1].closed() || all[2].closed() || p.idleBytes != 2*wasmPage {
		t.Errorf("%d bytes are idle", p.idleBytes)
	}
	if p.take(nil) != all[2] || p.idleBytes != wasmPage {
		t.Errorf("%d bytes are idle", p.idleBytes)
	}
	p.limit = 1
	if err := p.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.release(all[2], true) // it is too large by itself, and stays
	if n, bytes := p.usage(); n != 1 || bytes != wasmPage || !all[1].closed() || all[2].closed() {
		t.Errorf("%d instances of %d bytes are left", n, bytes)
	}
	p.drain()
	if n, _ := p.usage(); n != 0 || p.idleBytes != 0 {
		t.Errorf("%d instances and %d bytes are left", n, p.idleBytes)
	}
}
