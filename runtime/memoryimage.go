package runtime

import (
	"bytes"
	"cmp"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxImageBytes bounds the memory that is made an image of: every page of it is looked at, and what is not zero is held beside the
// instances.
const maxImageBytes = 256 << 20

// memoryImage is what memories begin with: content that they share, page by page, until they change it. It never changes.
type memoryImage struct {
	size int    // of the memory, in bytes
	held int    // bytes of it that are not zero, in whole pages: what the image takes
	file int    // that is mapped; -1 where the system has no such file
	heap []byte // that is copied, without a file
}

// makeImage makes an image of size bytes that are zero but for what fill writes into them.
func makeImage(size int, fill func([]byte) (held int, err error)) (*memoryImage, error) {
	image := &memoryImage{size: size, file: -1}
	file, view, err := newImageFile(size)
	if err != nil {
		view = make([]byte, size)
	}
	image.held, err = fill(view)
	if file < 0 {
		image.heap = view
	} else {
		image.file = file
		err = cmp.Or(err, sealImageFile(file, view)) // which takes the view away in any case
	}
	if err != nil {
		image.close()
		return nil, err
	}
	return image, nil
}

// copyOf is a fill that copies a memory, leaving out the pages that are zero.
func copyOf(memory []byte) func([]byte) (int, error) {
	var zero [pageBytes]byte
	return func(view []byte) (held int, err error) {
		for at := 0; at < len(memory); at += pageBytes {
			page := memory[at:min(at+pageBytes, len(memory))]
			if !bytes.Equal(page, zero[:len(page)]) {
				held += copy(view[at:], page)
			}
		}
		return held, nil
	}
}

// pageBytes is the grain of an image; the system's own pages are not smaller.
const pageBytes = 4 << 10

func (m *memoryImage) close() {
	if m.file >= 0 {
		// It has no buffers to lose.
		_ = unix.Close(m.file)
		m.file = -1
	}
	m.heap = nil
}

// begin makes an image the content of a memory that nothing has used yet. The memory needs the image only until begin returns.
func (m *linearMemory) begin(image *memoryImage) error {
	if uint64(image.size) > m.limit {
		return fmt.Errorf("an image of %d bytes for a memory of at most %d", image.size, m.limit)
	}
	part := m.reserved[:image.size]
	if len(part) == 0 {
		return nil
	}
	err := error(nil)
	if image.file >= 0 {
		err = mapImageFile(image.file, part)
	} else if err = unix.Mprotect(part, unix.PROT_READ|unix.PROT_WRITE); err == nil {
		copy(part, image.heap)
	}
	if err != nil {
		return fmt.Errorf("map %d bytes of an image: %w", image.size, err)
	}
	m.size.Store(uint64(image.size))
	return nil
}
