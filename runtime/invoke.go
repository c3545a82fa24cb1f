package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Invoke calls a function and waits for it. It runs in an instance of its own: an idle one, a new one while the
// version has fewer than its concurrency, or else it waits for one until ctx ends, in the order of arrival. Then it
// has the version's timeout, and ends earlier when ctx does. When Invoke returns nil, the function has succeeded and
// every record that it emitted is durable. reply is written in any case.
//
// Errors: a *FunctionError when the function failed; everything else is not its fault: ErrNotFound (ErrNoVersion, ErrNoAlias),
// ErrThrottled, ErrUnsupported, ErrUnavailable, ErrEmit, ErrState, ErrClosed, and one that wraps the error of ctx when ctx ended first. After
// none of them but ErrEmit and ErrState has anything been emitted.
func (rt *Runtime) Invoke(ctx context.Context, call Call, reply *Reply) error {
	reply.reset()
	f, err := rt.enterFor("invoke", call.Function)
	if err != nil {
		return err
	}
	defer rt.leave()
	v, err := f.resolve(call.Version, call.Alias)
	if err != nil {
		return fmt.Errorf("runtime: invoke %q %w", call.Function, err)
	}
	started := time.Now()
	reply.Version, reply.Invocation, reply.started = v.number, call.ID, started
	if call.ID == "" {
		reply.Invocation = rt.ids.at(started)
	}
	if call.Trial != nil {
		err = rt.try(ctx, f, v, &call, reply)
	} else {
		err = rt.invoke(ctx, f, v, &call, reply)
	}
	switch {
	case errors.Is(err, errDropped): // while the call waited for it: another one may be what is asked for now
		return rt.Invoke(ctx, call, reply)
	case call.Trial != nil && err != nil:
		return fmt.Errorf("runtime: try %q version %d: %w", f.name, v.number, err)
	case call.Trial != nil:
		return nil
	}
	rt.keepCapsule(v, &call, reply, started, err)
	f.metrics.observe(err, reply, call.records())
	v.calls.Add(1)
	if failed, ok := errors.AsType[*FunctionError](err); ok {
		f.logs.append(failed.logLine(time.Now()))
		reply.lines++
	}
	f.record(&call, reply, started, err) // after its lines, which are noted with it
	if err != nil {
		v.failures.Add(1)
		return fmt.Errorf("runtime: invoke %q version %d: %w", f.name, v.number, err)
	}
	return nil
}

func (rt *Runtime) invoke(ctx context.Context, f *function, v *version, call *Call, reply *Reply) error {
	if err := rt.handles(ctx, v, call.Kind); err != nil {
		return err
	}
	if err := rt.run(ctx, f, v, call, reply); err != nil {
		return err
	}
	reply.read()
	if reply.state == nil {
		return rt.emit(ctx, f, v, call, reply)
	}
	if err := reply.state.Check(); err != nil {
		return stateFailure(v, reply, err)
	}
	if err := rt.emit(ctx, f, v, call, reply); err != nil {
		return err
	}
	// After the outputs: a crash in between has them put again, where the other order would lose what was emitted for a record that the
	// state has as seen.
	if err := reply.state.Commit(); err != nil {
		return stateFailure(v, reply, err)
	}
	return nil
}

// handles is nil when a version handles a kind of call.
func (rt *Runtime) handles(ctx context.Context, v *version, kind Kind) error {
	kinds, err := rt.kinds(ctx, v)
	if err == nil && !kinds.Has(kind) {
		return fmt.Errorf("%w: %v", ErrUnsupported, kind)
	}
	return err
}

// kinds are those that a version handles. Of a first version they are known when it has been tried, which is waited for.
func (rt *Runtime) kinds(ctx context.Context, v *version) (Kinds, error) {
	if v.kinds.Load() == 0 {
		if _, err := rt.use(ctx, v); err != nil {
			return 0, err
		}
		rt.done(v)
	}
	return Kinds(v.kinds.Load()), nil
}

// run makes the call in an instance, and gives the instance back.
func (rt *Runtime) run(ctx context.Context, f *function, v *version, call *Call, reply *Reply) error {
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	p, err := rt.use(ctx, v)
	if err != nil {
		return err
	}
	defer rt.done(v)
	pool, log := &v.pool, func() *capture { return newCapture(&v.identity, f.logs, f.metrics) }
	if call.Trial != nil {
		pool, log = &v.trials, func() *capture { return newCapture(&v.identity, newLogRing(0), nil) }
	} else {
		if err := f.gate.enter(ctx); err != nil {
			return err
		}
		defer f.gate.leave()
	}
	if err := pool.wait(ctx); err != nil {
		return err
	}
	if p.command {
		s := &senses{note: noteFor(call), play: playFor(call)}
		err := runCommand(ctx, p, v, pool, log(), &rt.options.Doors, s, call, reply)
		reply.tape = s.note
		f.costs.add(call, reply, nil)
		return err
	}
	i := pool.take(p)
	if i == nil {
		started := time.Now()
		if i, err = rt.instanceFor(ctx, p, v, log(), call); err != nil {
			pool.giveUp()
			return err
		}
		rt.metrics.start.Observe(time.Since(started).Seconds())
		pool.add(i)
	}
	i.senses.note, i.senses.play = noteFor(call), playFor(call)
	reusable, err := i.invoke(ctx, call, reply)
	reply.tape, i.senses.note, i.senses.play = i.senses.note, nil, nil
	f.costs.add(call, reply, i.watch.marks.samples)
	if !reusable && call.Trial == nil {
		f.metrics.discarded.Inc()
	}
	kept := reusable && v.config.Isolation != IsolateInvocation
	// A call of $LATEST leaves nothing behind in a version that was superseded while it ran. (A swap after this
	// question drains the pool, and the instance with it.)
	pool.release(i, kept && (call.Version != 0 || call.Alias != "" || !v.superseded.Load()))
	return err
}

// instanceFor makes an instance for a call.
func (rt *Runtime) instanceFor(ctx context.Context, p *program, v *version, log *capture, call *Call) (*instance, error) {
	if call.Trial != nil {
		return newTapedInstance(ctx, p, &v.identity, log, &rt.options.Doors, trialSenses())
	}
	i, err := newInstance(ctx, p, &v.identity, log, &rt.options.Doors)
	if err == nil {
		err = i.locate(ctx, p)
	}
	return i, err
}

// emit hands the output records over, first making sure that all of them may be.
func (rt *Runtime) emit(ctx context.Context, f *function, v *version, call *Call, reply *Reply) error {
	if err := v.checkGrants(reply); err != nil {
		return err
	}
	if call.Once != nil {
		return rt.emitOnce(ctx, f, v, call, reply)
	}
	for o := range reply.parsed.Outputs() {
		if len(o.Stream) == 0 {
			continue // a transform's own: Replacements has it
		}
		if rt.options.Emitter == nil {
			return fmt.Errorf("%w: there is no emitter", ErrEmit)
		}
		err := rt.options.Emitter.Emit(ctx, Emission{
			Function: f.name, Version: v.number, Invocation: reply.Invocation, Source: call.Source,
			Stream: string(o.Stream), Records: o.Records,
		})
		if errors.Is(err, ErrRefused) {
			return refusal(f, v, reply, string(o.Stream), err)
		}
		if err != nil {
			return fmt.Errorf("%w: stream %q: %w", ErrEmit, o.Stream, err)
		}
		reply.Emitted += o.Records.Len()
	}
	return nil
}

// checkGrants makes sure that the function may emit to every stream that it did emit to.
func (v *version) checkGrants(reply *Reply) error {
	for o := range reply.parsed.Outputs() {
		if len(o.Stream) == 0 {
			continue
		}
		if _, granted := slices.BinarySearch(v.config.Emit, string(o.Stream)); !granted {
			return &FunctionError{
				Function: v.function, Version: v.number, Invocation: reply.Invocation, Kind: FailDenied,
				Message: fmt.Sprintf("it emitted to stream %q, which its configuration does not grant", shorten(text(o.Stream))),
			}
		}
	}
	return nil
}

// refusal is the failure of a function whose output a stream does not take.
func refusal(f *function, v *version, reply *Reply, stream string, err error) error {
	return &FunctionError{
		Function: f.name, Version: v.number, Invocation: reply.Invocation, Kind: FailRefused,
		Message: fmt.Sprintf("stream %q does not take what it emitted: %v", shorten(text([]byte(stream))), err),
	}
}
