package runtime

import (
	"fmt"
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// linearMemory is the memory of one instance, outside Go's heap: address space for the whole limit is reserved
// at once and made accessible as the guest grows, so that growing never copies, what the guest never touches costs
// nothing, and what it leaves behind goes back to the system at once. It is used by one goroutine at a time.
type linearMemory struct {
	reserved []byte
	limit    uint64
	size     atomic.Uint64 // accessible to the guest; read by others for metrics
	refused  bool          // a request to grow went over the limit
}

// reserveMemory fails when the system has no address space left.
func reserveMemory(limit int64) (*linearMemory, error) {
	b, err := unix.Mmap(-1, 0, int(limit), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of memory for an instance: %w", limit, err)
	}
	return &linearMemory{reserved: b, limit: uint64(limit)}, nil
}

// Allocate makes it its own allocator: one instance has one memory.
func (m *linearMemory) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate is called by the engine when the instance is made and when it grows; nil makes memory.grow
// answer -1 to the guest.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > m.limit || m.reserved == nil {
		m.refused = true
		return nil
	}
	if size > m.size.Load() {
		if err := unix.Mprotect(m.reserved[:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			m.refused = true
			return nil
		}
		m.size.Store(size)
	}
	return m.reserved[:size:size]
}

// Free is called by the engine when it closes the instance, which it does not always, and by the instance's owner;
// the second call does nothing. No view of the memory may be used afterwards.
func (m *linearMemory) Free() {
	if m.reserved != nil {
		// It can only fail for an argument that is not a mapping, which this one is.
		_ = unix.Munmap(m.reserved)
		m.reserved = nil
	}
}
