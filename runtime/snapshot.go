package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/runtime/image"
	"github.com/shardmill/shardmill/sdk/abi"
)

// Start is how the instances of a version begin.
type Start string

// The starts.
const (
	StartUnknown  Start = ""         // no instance was made since the host has started
	StartSnapshot Start = "snapshot" // from the memory and globals of one that was initialized
	StartPlain    Start = "plain"    // each is initialized by itself
)

// snapshot is what an instance begins with. Of a function it was taken when the first instance was initialized; of a command it is the data
// of its module.
type snapshot struct {
	memory  *memoryImage
	globals []uint64 // the mutable ones; nil: as the module has them
}

// Why instances must not begin with what another one was after its initialization.
var (
	errFilesChanged = errors.New("it changes its files when it is initialized")
	errRandomDrawn  = errors.New("it draws random numbers when it is initialized (in Go math/rand does), which its instances would share")
	errTimeRead     = errors.New("it reads the time of day when it is initialized, which is a common seed of random numbers, and its instances would share them")
)

// Random numbers that are drawn for what no guest can see.
const (
	goSeedBytes     = 32 // Go's run-time: for the hashes of its maps, unless math/rand uses them too
	scriptSeedBytes = 4  // the JavaScript engine's C library: to find damage on its stack
)

// starter has the snapshot of a program, once there is one.
type starter struct {
	plan   *image.Plan               // nil: the module was compiled whole, and there will be no snapshot
	file   func() (imageFile, error) // makes one for a snapshot
	names  []string                  // of the globals' exports
	seeds  int                       // bytes of random numbers that instances may have in common
	dates  bool                      // they may have in common what time it was
	used   atomic.Int64              // when the snapshot was used last, ns since the Unix epoch
	starts atomic.Bool               // an instance was made
	// said is what the initialization of the first instance has logged, if that was in the trial of an upload. It is for the function's log as
	// soon as there is one.
	said atomic.Pointer[logRing]

	mu       sync.RWMutex // held for reading while an instance is mapped, for writing while the snapshot changes
	snapshot *snapshot
	reason   string // why there will be none
	taking   bool   // somebody takes one, or nobody may any more
}

// newStarter makes one of a module that was divided, or not, for that reason.
func newStarter(plan *image.Plan, reason error) *starter {
	s := &starter{plan: plan, file: newImageFile}
	if plan == nil {
		s.reason, s.taking = reason.Error(), true
		return s
	}
	if plan.HashesOnly {
		s.seeds = goSeedBytes
	}
	for n := range plan.Globals {
		s.names = append(s.names, image.Global(n))
	}
	return s
}

// script makes a starter for one of the programs of the JavaScript engine. That reads the time for a generator which no script reaches: Math.random
// asks the host.
func (s *starter) script() *starter {
	out := &starter{plan: s.plan, file: s.file, names: s.names, seeds: scriptSeedBytes, dates: true}
	if s.plan == nil {
		out.reason, out.taking = s.reason, true
	}
	return out
}

// begin makes the snapshot the content of a new instance's memory. It is nil where there is none.
func (s *starter) begin(m *linearMemory) (*snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.snapshot == nil {
		return nil, nil
	}
	s.used.Store(time.Now().UnixNano())
	return s.snapshot, m.begin(s.snapshot.memory)
}

// tell logs what the initialization has logged, once; no instance that begins with the snapshot says it again.
func (s *starter) tell(ctx context.Context, log *capture) {
	if log.metrics == nil { // nobody reads it
		return
	}
	said := s.said.Swap(nil)
	if said == nil {
		return
	}
	for line := range said.all(ctx, false, nil) {
		line.Version = log.id.number
		log.ring.append(line)
	}
}

// take has a snapshot be taken, where there is none and could be one, and nobody else does it. from's error says why there can be none.
func (s *starter) take(from func() (*snapshot, error)) {
	s.starts.Store(true)
	s.mu.RLock()
	idle := s.taking
	s.mu.RUnlock()
	if idle || !s.claim() {
		return
	}
	taken, err := from()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.reason = err.Error()
	default:
		s.used.Store(time.Now().UnixNano())
		s.snapshot = taken
	}
}

func (s *starter) claim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	claimed := !s.taking
	s.taking = true
	return claimed
}

// drop gives a snapshot up that has not been used since. The next instance is initialized, and another one taken of it.
func (s *starter) drop(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot != nil && s.used.Load() < since.UnixNano() {
		s.snapshot.memory.close()
		s.snapshot, s.taking = nil, false
	}
}

// close gives the snapshot up for good; instances that began with it are not concerned.
func (s *starter) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot != nil {
		s.snapshot.memory.close()
		s.snapshot = nil
	}
	s.taking = true
}

// status says how instances begin, why plainly, and how many bytes the snapshot holds.
func (s *starter) status() (start Start, reason string, held int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.snapshot != nil {
		held = s.snapshot.memory.held
	}
	switch {
	case s.reason != "":
		return StartPlain, s.reason, 0
	case s.starts.Load():
		return StartSnapshot, "", held
	}
	return StartUnknown, "", held
}

// restore gives an instance whose memory began with a snapshot the rest of it.
func (s *starter) restore(m api.Module, from *snapshot) error {
	if missing := from.memory.size/wasmPage - int(s.plan.Pages); missing > 0 {
		if _, ok := m.Memory().Grow(uint32(missing)); !ok {
			return fmt.Errorf("memory does not grow to the %d bytes of a snapshot", from.memory.size)
		}
	}
	for n, value := range from.globals {
		m.ExportedGlobal(s.names[n]).(api.MutableGlobal).Set(value)
	}
	return nil
}

// capture takes a snapshot of an instance that was initialized and has not been called. The error says why other instances must not
// begin with what it is.
func (s *starter) capture(i *instance) (*snapshot, error) {
	size := i.memory.size.Load()
	resumes := i.module.ExportedFunction(abi.ExportResumed) != nil
	switch {
	case i.watch.visit.files:
		return nil, errFilesChanged
	case i.senses.drawn > s.seeds && !resumes:
		return nil, errRandomDrawn
	case i.senses.dated && !s.dates && !resumes:
		return nil, errTimeRead
	case size > maxImageBytes:
		return nil, fmt.Errorf("its initialization takes %d MiB of memory, more than %d", size>>20, maxImageBytes>>20)
	}
	memory, err := s.image(i.memory.reserved[:size])
	if err != nil {
		return nil, err
	}
	taken := &snapshot{memory: memory}
	for _, name := range s.names {
		taken.globals = append(taken.globals, i.module.ExportedGlobal(name).Get())
	}
	return taken, nil
}

// data makes the snapshot of a command: what its module puts into memory.
func (s *starter) data() (*snapshot, error) {
	size := s.plan.Pages * wasmPage
	if size > maxImageBytes {
		return nil, fmt.Errorf("it declares %d MiB of memory, more than %d", size>>20, maxImageBytes>>20)
	}
	scratch, err := reserveMemory(int64(max(size, wasmPage)))
	if err != nil {
		return nil, err
	}
	defer scratch.Free()
	content := scratch.Reallocate(size)
	if content == nil {
		return nil, fmt.Errorf("there is no memory for %d bytes of its data", size)
	}
	if err := s.plan.Fill(content); err != nil {
		return nil, err
	}
	memory, err := s.image(content)
	if err != nil {
		return nil, err
	}
	return &snapshot{memory: memory}, nil
}

func (s *starter) image(memory []byte) (*memoryImage, error) {
	made, err := makeImage(memory, s.file)
	if err != nil {
		return nil, fmt.Errorf("no image of its memory could be made: %w", err)
	}
	return made, nil
}
