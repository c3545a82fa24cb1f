package journal

import (
	"os"
	"syscall"
	_ "unsafe" // for the two functions of the runtime

	"golang.org/x/sys/unix"
)

// datasync flushes the file's data and the metadata needed to read it back, by one of the two functions below.
func datasync(f *os.File, by func(fd uintptr) syscall.Errno) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		for {
			if failed = by(fd); failed != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if failed != 0 {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}

func fdatasync(fd uintptr) syscall.Errno {
	_, _, errno := syscall.Syscall(unix.SYS_FDATASYNC, fd, 0, 0)
	return errno
}

// fdatasyncYielding gives the goroutine's processor to others before it waits. Nothing may be called between the two functions of the
// runtime that needs a processor.
//
//go:nosplit
func fdatasyncYielding(fd uintptr) syscall.Errno {
	entersyscallblock()
	_, _, errno := syscall.RawSyscall(unix.SYS_FDATASYNC, fd, 0, 0)
	exitsyscall()
	return errno
}

// These two are the runtime's own, which it keeps for packages that use them as this one does (go.dev/issue/67401): a Go in which they are
// missing does not link this package. fs_linux.s is there because the compiler wants it for functions without a body.
//
//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()
