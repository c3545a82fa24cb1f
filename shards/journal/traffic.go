package journal

import "sync/atomic"

// Traffic is what journals on one disk know of each other: how many of them wait for it at this moment. With it they decide whether a
// checkpoint waits for a put's commit to ride on, and they make their next segments one after the other: a thousand streams that began
// together need new ones together, and what makes a file waits for the file system's own journal, which holds up every write meanwhile.
// Its zero value cannot be used. Methods may be called concurrently.
type Traffic struct {
	syncing atomic.Int32
	turn    chan struct{} // whoever has put something in works on a segment beside its writer
	writing chan struct{} // has something in it for each that writes
}

// maxWriting is how many journals write at once. Whoever waits for the disk holds a thread of the system: where that stands still, all streams
// that are put to would, and a container often has but a thousand threads to give; Go ends a process with 10,000.
const maxWriting = 512

// NewTraffic is that of a disk with nothing to do.
func NewTraffic() *Traffic {
	return &Traffic{turn: make(chan struct{}, 1), writing: make(chan struct{}, maxWriting)}
}

// enter waits until fewer than maxWriting others write; exit must follow.
func (t *Traffic) enter() { t.writing <- struct{}{} }

// exit lets the next one write.
func (t *Traffic) exit() { <-t.writing }

// sync makes what was written to f durable.
func (t *Traffic) sync(f File) error {
	others := t.syncing.Add(1) - 1
	defer t.syncing.Add(-1)
	if y, ok := f.(yieldingFile); ok && others > 0 {
		return y.syncYielding()
	}
	return f.Sync()
}

// syncAhead is sync of what nobody waits for yet: it keeps no checkpoint waiting, and leaves its processor to others.
func (t *Traffic) syncAhead(f File) error {
	if y, ok := f.(yieldingFile); ok {
		return y.syncYielding()
	}
	return f.Sync()
}

// busy is whether somebody waits for the disk.
func (t *Traffic) busy() bool { return t.syncing.Load() > 0 }

// take waits for a turn to work beside the writers, and reports whether there is one before stop is closed.
func (t *Traffic) take(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return false
	default:
	}
	select {
	case t.turn <- struct{}{}:
		return true
	case <-stop:
		return false
	}
}

// leave ends a turn.
func (t *Traffic) leave() { <-t.turn }

// yieldingFile is a file that can be synced by a goroutine that gives its processor to others before it waits. That costs the one who waits
// some microseconds, and is worth it when others wait already: in a plain system call a goroutine keeps its processor until Go's monitor
// sees to it, so that a few syncs at once leave none for anybody.
type yieldingFile interface {
	File
	syncYielding() error
}
