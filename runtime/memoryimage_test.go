package runtime

import (
	"bytes"
	"errors"
	"testing"
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

// TestMemoriesBeginWithAnImage has memories of one image, mapped and copied: they begin alike, grow, and have nothing to do with each other.
func TestMemoriesBeginWithAnImage(t *testing.T) {
	content := make([]byte, 3*wasmPage)
	copy(content, "first")
	copy(content[2*wasmPage+100:], "last")
	image, err := makeImage(len(content), copyOf(content))
	if err != nil {
		t.Fatal(err)
	}
	defer image.close()
	if image.held != 2*pageBytes {
		t.Errorf("it holds %d bytes", image.held)
	}
	for name, image := range map[string]*memoryImage{"as made": image, "copied": {size: len(content), file: -1, heap: content}} {
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
		view[4*wasmPage] = 1
		if !bytes.Equal(other.Reallocate(3*wasmPage), content) || string(content[:5]) != "first" {
			t.Errorf("%s: one has changed the other", name)
		}
	}
	small := someMemory(t, 2*wasmPage)
	if err := small.begin(image); err == nil || small.size.Load() != 0 {
		t.Error("an image larger than the memory")
	}
	image.close()
	image.close()
}

func TestImageOfNothing(t *testing.T) {
	image, err := makeImage(0, copyOf(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer image.close()
	if err := someMemory(t, wasmPage).begin(image); err != nil || image.held != 0 {
		t.Errorf("%v, %d bytes", err, image.held)
	}
	failed := errors.New("failed")
	if image, err := makeImage(wasmPage, func([]byte) (int, error) { return 0, failed }); image != nil || !errors.Is(err, failed) {
		t.Errorf("%v, %v", image, err)
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
	if p.take() != all[2] || p.idleBytes != wasmPage {
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
