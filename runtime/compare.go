package runtime

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// Comparison is how long calls of one function of a module take, the shortest of many each.
type Comparison struct {
	Plain   time.Duration // where the guest could not be stopped
	Metered time.Duration // as the runtime runs it
	Engine  time.Duration // with the engine's own switch for stopping guests
}

// Compare measures what metering costs. It calls export, a function (i32) -> i32 that any module may have, with argument n, in
// turn in each way, for about as long as span. It is for measuring; nothing is stored.
func Compare(ctx context.Context, code []byte, export string, n uint32, span time.Duration) (c Comparison, err error) {
	ways := []*way{{meter: meter{off: true}, best: &c.Plain}, {best: &c.Metered}, {meter: meter{engine: true}, best: &c.Engine}}
	for _, w := range ways {
		if err := w.open(ctx, code, export); err != nil {
			return c, fmt.Errorf("runtime: compare: %w", err)
		}
		defer w.close()
	}
	for until := time.Now().Add(span); time.Now().Before(until); {
		for _, w := range ways {
			took, err := w.call(ctx, n)
			if err != nil {
				return c, fmt.Errorf("runtime: compare: %w", err)
			}
			if *w.best == 0 || took < *w.best {
				*w.best = took
			}
		}
	}
	return c, nil
}

// way is a module that is run in one way.
type way struct {
	meter  meter
	best   *time.Duration
	closer []func() error
	watch  *watch
	f      api.Function
	stack  [1]uint64
}

func (w *way) open(ctx context.Context, code []byte, export string) error {
	e, err := newEngine(ctx, w.meter, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	p, err := e.compile(ctx, code, "none")
	if err != nil {
		return err
	}
	w.closer = append(w.closer, p.close)
	memory, err := reserveMemory(MaxMemoryBytes)
	if err != nil {
		return err
	}
	w.closer = append(w.closer, func() error { memory.Free(); return nil })
	w.watch = newWatch()
	w.watch.start(ctx, time.Minute)
	m, err := p.instantiate(w.watch, memory, guestConfig(&senses{watch: w.watch}, nil, io.Discard, io.Discard).WithStartFunctions("_initialize"))
	if err != nil {
		return err
	}
	w.watch.counter = counterOf(m)
	if w.f = m.ExportedFunction(export); w.f == nil {
		return fmt.Errorf("there is no function %q", export)
	}
	return nil
}

func (w *way) call(ctx context.Context, n uint32) (time.Duration, error) {
	w.stack[0] = uint64(n)
	began := time.Now()
	w.watch.start(ctx, time.Minute)
	err := w.f.CallWithStack(w.watch, w.stack[:])
	w.watch.stop()
	return time.Since(began), err
}

func (w *way) close() {
	for i := len(w.closer) - 1; i >= 0; i-- {
		_ = w.closer[i]() // it is measured, and nobody is left to tell
	}
}
