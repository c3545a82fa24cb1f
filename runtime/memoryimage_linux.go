package runtime

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memoryFile is the system's imageFile.
type memoryFile struct{ *os.File }

func newImageFile() (imageFile, error) {
	const name = "shardmill-image"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	return memoryFile{os.NewFile(uintptr(fd), name)}, nil
}

func (f memoryFile) seal() error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	return err
}

// mapTo maps what may only be read, which the system refuses, if at all, before it takes away what was there.
func (f memoryFile) mapTo(part []byte, offset int64) error {
	at, size := unsafe.Pointer(&part[0]), uintptr(len(part))
	_, err := unix.MmapPtr(int(f.Fd()), offset, at, size, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_FIXED)
	if err == nil {
		return nil
	}
	// Should the part be gone all the same, it is taken again, before it is given to somebody else and taken away from them with the rest.
	again, failed := unix.MmapPtr(-1, 0, at, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED_NOREPLACE)
	if failed == nil && again != at { // a system that does not know the flag
		_ = unix.MunmapPtr(again, size)
	}
	return err
}
