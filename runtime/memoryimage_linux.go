package runtime

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newImageFile makes a file of size bytes in memory, which has no name, and shows it.
func newImageFile(size int) (file int, view []byte, err error) {
	if size == 0 {
		return -1, nil, errors.ErrUnsupported
	}
	file, err = unix.MemfdCreate("shardmill-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, nil, err
	}
	if err = unix.Ftruncate(file, int64(size)); err == nil {
		view, err = unix.Mmap(file, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		_ = unix.Close(file)
		return -1, nil, err
	}
	return file, view, nil
}

// sealImageFile takes the view away and makes the file one that nobody can change or shorten: a page that is gone would end the host.
func sealImageFile(file int, view []byte) error {
	if err := unix.Munmap(view); err != nil {
		return err
	}
	_, err := unix.FcntlInt(uintptr(file), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	return err
}

// mapImageFile puts the file in place of a part of a mapping. What is written there is the mapping's own.
func mapImageFile(file int, part []byte) error {
	_, err := unix.MmapPtr(file, 0, unsafe.Pointer(&part[0]), uintptr(len(part)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	return err
}
