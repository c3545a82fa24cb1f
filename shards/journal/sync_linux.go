package journal

import (
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syncer has the kernel do the fdatasyncs of several files at the same time (io_submit(2)), without a thread of this process in each. A
// goroutine that is in fdatasync itself keeps one of Go's processors until Go's monitor notices, which takes about as long as an
// fdatasync: with a thousand journals the processors would be idle, and everything else would wait for them. A sync that is alone is
// done by its caller, which is sooner by the way there and back.
//
// The zero value is ready for use. A nil one leaves every sync to its caller.
type syncer struct {
	busy atomic.Int32 // syncs under way that somebody waits for

	mu      sync.Mutex // guards the rest
	ring    uintptr    // the kernel's io_context; 0 when it has not been made
	refused bool       // the kernel gives us none
	signal  *os.File   // an eventfd that is readable when a sync has been completed
	slots   []*pendingSync
	free    []*pendingSync // those of slots that are not with the kernel
	reaping bool           // the reaper runs
	reaper  sync.WaitGroup
}

// maxPending is how many syncs may be with the kernel at once; those beyond are done by their callers.
const maxPending = 512

// pendingSync is a sync with the kernel.
type pendingSync struct {
	control iocb
	done    chan unix.Errno // receives once; 0 is success
}

// iocb is the kernel's struct iocb (linux/aio_abi.h). What is zero in an fdatasync has no name.
type iocb struct {
	data   uint64
	_      uint64
	opcode uint16
	_      uint16
	file   uint32
	_      [4]uint64
	flags  uint32
	signal uint32
}

// ioEvent is the kernel's struct io_event.
type ioEvent struct {
	data, _ uint64
	result  int64
	_       int64
}

const (
	iocbFdsync = 3 // IOCB_CMD_FDSYNC
	iocbSignal = 1 // IOCB_FLAG_RESFD
)

// datasync flushes the file's data and the metadata needed to read it back.
func (s *syncer) datasync(f *os.File) error {
	if s == nil {
		return datasync(f)
	}
	defer s.busy.Add(-1)
	if s.busy.Add(1) == 1 {
		return datasync(f)
	}
	return s.beside(f)
}

// beside is datasync for what is done beside the puts: it does not take a processor from them where that can be helped.
func (s *syncer) beside(f *os.File) error {
	if s == nil {
		return datasync(f)
	}
	p := s.take()
	if p == nil {
		return datasync(f)
	}
	if err := s.submit(p, f); err != nil { // nothing has been attempted
		s.give(p)
		return datasync(f)
	}
	s.reap(0)
	failed := <-p.done
	s.give(p)
	if failed != 0 {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}

// take gets a slot, and sees to it that the reaper runs until it is given back; nil when there is none.
func (s *syncer) take() *pendingSync {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == 0 && !s.refused {
		s.refused = !s.open()
	}
	if s.refused {
		return nil
	}
	if len(s.free) == 0 {
		if len(s.slots) == maxPending {
			return nil
		}
		p := &pendingSync{control: iocb{data: uint64(len(s.slots)), opcode: iocbFdsync, flags: iocbSignal}, done: make(chan unix.Errno, 1)}
		s.slots, s.free = append(s.slots, p), append(s.free, p)
	}
	p := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	if !s.reaping {
		s.reaping = true
		s.reaper.Go(s.serve)
	}
	return p
}

// give gives a slot back. The last one wakes the reaper, which ends then.
func (s *syncer) give(p *pendingSync) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free = append(s.free, p); len(s.free) == len(s.slots) {
		_, _ = s.signal.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}) // it cannot block, and fails only when the count is at its greatest: then it is readable
	}
}

// open makes the ring. The caller holds s.mu.
func (s *syncer) open() bool {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return false
	}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, maxPending, uintptr(unsafe.Pointer(&s.ring)), 0); errno != 0 {
		_ = unix.Close(fd)
		return false
	}
	s.signal = os.NewFile(uintptr(fd), "eventfd")
	return true
}

// submit hands a sync to the kernel.
func (s *syncer) submit(p *pendingSync, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	signal, err := s.signal.SyscallConn()
	if err != nil {
		return err
	}
	if err := signal.Control(func(fd uintptr) { p.control.signal = uint32(fd) }); err != nil {
		return err
	}
	var failed unix.Errno
	list := []*iocb{&p.control}
	err = raw.Control(func(fd uintptr) {
		p.control.file = uint32(fd)
		_, _, failed = unix.Syscall(unix.SYS_IO_SUBMIT, s.ring, 1, uintptr(unsafe.Pointer(&list[0])))
	})
	if err == nil && failed != 0 {
		err = failed
	}
	if failed == unix.EINVAL { // a kernel before 4.18
		s.mu.Lock()
		s.refused = true
		s.mu.Unlock()
	}
	return err
}

// serve is the reaper's goroutine. It waits in Go's poller, so that it keeps no processor, and ends when nothing is with the kernel.
func (s *syncer) serve() {
	var count [8]byte
	for {
		least := 0
		if _, err := s.signal.Read(count[:]); err != nil {
			least = 1
		}
		s.reap(least)
		s.mu.Lock()
		if len(s.free) == len(s.slots) {
			s.reaping = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// reap answers the syncs that have been completed; it waits until there are at least so many.
func (s *syncer) reap(least int) {
	var events [64]ioEvent
	for {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, s.ring, uintptr(least), uintptr(len(events)),
			uintptr(unsafe.Pointer(&events)), uintptr(unsafe.Pointer(&unix.Timespec{})), 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			return
		}
		s.complete(events[:n])
		if int(n) < len(events) {
			return
		}
		least = 0
	}
}

// complete answers those who wait.
func (s *syncer) complete(events []ioEvent) {
	s.mu.Lock()
	slots := s.slots
	s.mu.Unlock()
	for _, e := range events {
		slots[e.data].done <- unix.Errno(max(-e.result, 0))
	}
}

// close gives back what the kernel holds. No sync must be under way.
func (s *syncer) close() error {
	s.reaper.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == 0 {
		return nil
	}
	_, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, s.ring, 0, 0)
	s.ring, s.refused = 0, true
	if err := s.signal.Close(); err != nil || errno == 0 {
		return err
	}
	return errno
}
