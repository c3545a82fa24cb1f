package runtime

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// retryLoad is how long a version whose code could not be loaded answers with that failure before it is tried
// again.
const retryLoad = 5 * time.Second

// errDropped: the version is gone, with its function or because something newer has taken its place.
var errDropped = fmt.Errorf("%w: its version is gone", ErrNotFound)

// loader holds the compiled code of a version while it is used or may be soon.
type loader struct {
	mu       sync.Mutex
	program  *program
	uses     int           // calls that hold the program
	doomed   bool          // the version is gone: unload with the last use
	loading  chan struct{} // closed when the load under way ends, or nobody needs it any more; nil when there is none
	problem  error         // of the last load
	refused  bool          // it is not tried again
	failedAt time.Time
	abort    context.CancelCauseFunc // ends the work of while; nil where there is none

	touched bool // it was used since rest was asked last
	quiet   int  // how often rest was asked since, in a row
	rested  *rested
}

// rested is what is told of a program that was unloaded because nobody used it.
type rested struct {
	start  Start
	reason string
}

func (l *loader) state() (State, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.program != nil:
		return StateActive, ""
	case l.problem != nil:
		return StateFailed, l.problem.Error()
	case l.rested != nil:
		return StateActive, ""
	}
	return StatePending, ""
}

// start is the status of the program's starter.
func (l *loader) start() (start Start, reason string, held int) {
	if s := l.starter(); s != nil {
		return s.status()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rested != nil {
		return l.rested.start, l.rested.reason, 0
	}
	return StartUnknown, "", 0
}

func (l *loader) starter() *starter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.program == nil {
		return nil
	}
	return l.program.starts
}

// use returns the program and holds it until done. Where it is not loaded, start is called for one of those who ask, and
// must see to it that finish is called from another goroutine; the others wait.
func (l *loader) use(ctx context.Context, start func()) (*program, error) {
	for {
		p, wait, err := l.try(start)
		if p != nil || err != nil {
			return p, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, canceled(ctx)
		}
	}
}

func (l *loader) try(start func()) (*program, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.doomed:
		return nil, nil, errDropped
	case l.program != nil:
		l.uses++
		l.touched = true
		return l.program, nil, nil
	case l.loading != nil:
		return nil, l.loading, nil
	case l.problem != nil && (l.refused || time.Since(l.failedAt) < retryLoad):
		return nil, nil, l.problem
	}
	l.loading = make(chan struct{})
	start()
	return nil, l.loading, nil
}

// finish ends a load; a program comes with no use.
func (l *loader) finish(p *program, err error) {
	l.mu.Lock()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	l.problem, l.failedAt = err, time.Now()
	var unwanted *program
	if l.doomed {
		unwanted, p = p, nil
	}
	l.program, l.touched = p, true
	l.wake()
	l.mu.Unlock()
	if unwanted != nil {
		unwanted.close()
	}
}

// wake has those go on who wait for the load; l.mu is held.
func (l *loader) wake() {
	if l.loading != nil {
		close(l.loading)
		l.loading = nil
	}
}

// expect has users wait for finish or refuse, which somebody is to call.
func (l *loader) expect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loading = make(chan struct{})
}

// refuse is finish for code that will never be loaded.
func (l *loader) refuse(err error) {
	l.mu.Lock()
	l.refused = true
	l.mu.Unlock()
	l.finish(nil, err)
}

// done ends a use. It returns the program when the caller must close it.
func (l *loader) done() *program {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uses--
	return l.unload(l.doomed)
}

// while is a context for making the program, which ends with errDropped as its cause when the version goes. stop must be called. One at a time makes it.
func (l *loader) while(ctx context.Context) (working context.Context, stop func()) {
	working, abort := context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.abort = abort; l.doomed {
		abort(errDropped)
	}
	return working, func() { abort(nil) }
}

// doom makes the version unusable, has those go on who wait for it, and ends the work on its program; it returns the program when the caller must close it.
func (l *loader) doom() *program {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doomed = true
	if l.abort != nil {
		l.abort(errDropped)
	}
	l.wake()
	return l.unload(true)
}

// rest unloads the program when nobody uses it and nobody has while rest was asked so many times in a row; the caller must close it. It will be loaded
// again when it is needed: it still counts as active, and is told of as it was.
func (l *loader) rest(times int) *program {
	start, reason, _ := l.start()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.touched || l.uses > 0 || l.program == nil {
		l.touched, l.quiet = false, 0
		return nil
	}
	if l.quiet++; l.quiet < times {
		return nil
	}
	l.rested = &rested{start, reason}
	return l.unload(true)
}

// leave has a program that was never loaded count as one that was unloaded.
func (l *loader) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rested = new(rested)
}

// loaded is whether there is a program in memory.
func (l *loader) loaded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.program != nil
}

// unload takes the program out; l.mu is held.
func (l *loader) unload(wanted bool) *program {
	if !wanted || l.uses > 0 {
		return nil
	}
	p := l.program
	l.program = nil
	return p
}
