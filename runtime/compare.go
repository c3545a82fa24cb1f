package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/runtime/image"
	"github.com/shardmill/shardmill/sdk/abi"
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
	config := guestConfig(&senses{watch: w.watch}, nil, io.Discard, io.Discard)
	m, err := p.instantiate(w.watch, memory, nil, config, image.ExportStart, abi.ExportInitialize)
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

// Overhead is how long one call takes, the shortest of many each.
type Overhead struct {
	Invoke time.Duration // through Invoke
	Bare   time.Duration // of the same export of the same rewritten module, with nothing around it but writing the call into the guest's memory
	Plain  time.Duration // the same of the module as it was uploaded: Bare is longer by what metering costs
}

// Overhead measures what Invoke adds to a call: code is that of the function, which is called again and again in turn in each way, for
// about as long as span. It is for measuring.
func (rt *Runtime) Overhead(ctx context.Context, code []byte, call Call, span time.Duration) (o Overhead, err error) {
	var reply Reply
	ways := map[*time.Duration]func() error{&o.Invoke: func() error { return rt.Invoke(ctx, call, &reply) }}
	for best, m := range map[*time.Duration]meter{&o.Bare: {}, &o.Plain: {off: true}} {
		f, done, err := bareCall(ctx, m, code, &call)
		if err != nil {
			return o, fmt.Errorf("runtime: overhead: %w", err)
		}
		defer done()
		ways[best] = f
	}
	const calls = 20 // between two readings of the clock
	for until := time.Now().Add(span); time.Now().Before(until); {
		for best, f := range ways {
			began := time.Now()
			for range calls {
				if err := f(); err != nil {
					return o, fmt.Errorf("runtime: overhead: %w", err)
				}
			}
			if took := time.Since(began) / calls; *best == 0 || took < *best {
				*best = took
			}
		}
	}
	return o, nil
}

// bareCall makes an instance of the code, and the function that makes the call in it.
func bareCall(ctx context.Context, m meter, code []byte, call *Call) (f func() error, done func(), err error) {
	e, err := newEngine(ctx, m, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	p, err := e.compile(ctx, code, "none")
	if err != nil {
		return nil, nil, err
	}
	config, err := Config{Timeout: time.Minute}.normalize()
	if err != nil {
		return nil, nil, err
	}
	id := &identity{function: call.Function, config: config}
	i, err := newInstance(ctx, p, id, newCapture(id, newLogRing(0), nil), new(Doors))
	if err != nil {
		return nil, nil, errors.Join(err, p.close())
	}
	done = func() { i.close(); _ = p.close() }
	i.watch.start(ctx, time.Hour)
	var head abi.Call
	records, size := i.head(ctx, call, new(Reply), &head)
	total, err := head.Size(size, len(call.State))
	if err == nil {
		_, err = i.inputArea(total)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	written := make([]byte, total)
	fill(&head, written, records, size, call)
	return func() error {
		if !i.module.Memory().Write(i.inputAt, written) {
			return errors.New("the input area is not in the memory")
		}
		i.stack[0], i.stack[1], i.stack[2] = uint64(call.Kind), uint64(i.inputAt), uint64(total)
		return i.handle.CallWithStack(i.watch, i.stack[:])
	}, done, nil
}
