package runtime

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// maxImageBytes bounds the memory that is made an image of: every page of it is looked at, and what is not zero is held beside the
// instances.
const maxImageBytes = 256 << 20

// memoryImage is what memories begin with: content that they share, page by page, until they change it. It never changes.
type memoryImage struct {
	size    int       // of the memory, in bytes
	held    int       // bytes that the image takes, those of extents
	extents []extent  // ascending; everything else is zero
	file    imageFile // has the extents one behind the other; nil where the system has no such file
	heap    []byte    // has them without a file
}

// extent is a stretch of whole pages of a memory.
type extent struct{ at, size int }

func (e extent) of(memory []byte) []byte { return memory[e.at : e.at+e.size] }

// imageFile is a file in memory, without a name. It may be mapped by several at once.
type imageFile interface {
	io.WriterAt
	// seal makes it a file that nobody can change or shorten: a page that is gone would end the host.
	seal() error
	// mapTo puts what begins at an offset in place of a part of a mapping, to be read. What is written there, once that is allowed, is the
	// mapping's own. After an error the part is as it was, or cannot be accessed.
	mapTo(part []byte, offset int64) error
	io.Closer
}

// makeImage makes an image of a memory. newFile's error means that there are no such files here, and the image is copied; every other one
// that there is no room.
func makeImage(memory []byte, newFile func() (imageFile, error)) (*memoryImage, error) {
	image := &memoryImage{size: len(memory), extents: extentsOf(memory, imageGrain, maxExtents)}
	for _, e := range image.extents {
		image.held += e.size
	}
	file, err := newFile()
	if err != nil {
		for _, e := range image.extents {
			image.heap = append(image.heap, e.of(memory)...)
		}
		return image, nil
	}
	image.file = file
	if err := image.write(memory); err != nil {
		image.close()
		return nil, err
	}
	return image, nil
}

// write fills the file. It is written and not mapped: where the system has no room for a page, that is an error here, and a signal that ends the host there. For
// the same reason extents have no holes, whose pages would be made when somebody looks at them.
func (m *memoryImage) write(memory []byte) error {
	offset := int64(0)
	for _, e := range m.extents {
		n, err := m.file.WriteAt(e.of(memory), offset)
		if err != nil {
			return err
		}
		offset += int64(n)
	}
	return m.file.seal()
}

// imageGrain is that of extents, in bytes. The pages of all systems divide a page of WebAssembly.
var imageGrain = max(4<<10, os.Getpagesize())

// maxExtents bounds those of an image: each is a mapping in every instance, of which a process may have some 65,000.
const maxExtents = 2

// extentsOf finds what of a memory is not zero, as at most so many extents: of what is zero the largest stretches are left out.
func extentsOf(memory []byte, grain, most int) []extent {
	zero := make([]byte, grain)
	var all []extent
	for at := 0; at < len(memory); at += grain {
		page := memory[at:min(at+grain, len(memory))]
		if bytes.Equal(page, zero[:len(page)]) {
			continue
		}
		if last := len(all) - 1; last >= 0 && all[last].at+all[last].size == at {
			all[last].size += len(page)
		} else {
			all = append(all, extent{at, len(page)})
		}
	}
	if len(all) <= most {
		return all
	}
	gap := func(n int) int { return all[n].at - all[n-1].at - all[n-1].size } // before the n-th
	first := make([]int, 0, len(all)-1)
	for n := 1; n < len(all); n++ {
		first = append(first, n)
	}
	slices.SortStableFunc(first, func(a, b int) int { return cmp.Compare(gap(b), gap(a)) })
	first = first[:most-1]
	slices.Sort(first)
	merged, from := make([]extent, 0, most), 0
	for _, to := range append(first, len(all)) {
		at, last := all[from].at, all[to-1]
		merged = append(merged, extent{at, last.at + last.size - at})
		from = to
	}
	return merged
}

func (m *memoryImage) close() {
	if m.file != nil {
		// It has no buffers to lose.
		_ = m.file.Close()
		m.file = nil
	}
	m.heap = nil
}

// begin makes an image the content of a memory that nothing has used yet. The memory needs the image only until begin returns. After an
// error it is good for nothing but Free.
func (m *linearMemory) begin(image *memoryImage) error {
	if uint64(image.size) > m.limit {
		return fmt.Errorf("an image of %d bytes for a memory of at most %d", image.size, m.limit)
	}
	part := m.reserved[:image.size]
	if len(part) == 0 {
		return nil
	}
	offset := int64(0)
	if image.file != nil {
		for _, e := range image.extents {
			if err := image.file.mapTo(e.of(part), offset); err != nil {
				return fmt.Errorf("map %d bytes of an image: %w", e.size, err)
			}
			offset += int64(e.size)
		}
	}
	// Here the system counts the memory as used, and refuses where it has promised too much, which leaves everything as it is. Refusing a mapping that takes the
	// place of another leaves nothing there, and somebody else's may come to be there.
	if err := unix.Mprotect(part, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return fmt.Errorf("make %d bytes of memory accessible: %w", len(part), err)
	}
	if image.file == nil {
		for _, e := range image.extents {
			offset += int64(copy(e.of(part), image.heap[offset:]))
		}
	}
	m.size.Store(uint64(image.size))
	return nil
}
