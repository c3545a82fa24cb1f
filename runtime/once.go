package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/shardmill/shardmill/sdk/record"
)

// Mark tells what one call of a producer has emitted from what its other calls have: the ordinal grows from call to call.
type Mark struct {
	Producer string
	Ordinal  uint64
	Note     []byte // what the producer wants to find with it
}

// Once gives the call of a producer its mark, so that its outputs are put once, also when the call is made again.
type Once interface {
	// Claim is asked when the function has replied, before the first of its outputs is put; not when there are none. It may block. With
	// put false nothing is put, and the call succeeds. An error fails the call, and nothing has been put.
	Claim(ctx context.Context, reply *Reply) (m Mark, put bool, err error)
}

// OnceEmitter puts outputs of calls that have a mark. It is called from many goroutines.
type OnceEmitter interface {
	// Check says whether the stream takes the records: an error that wraps ErrRefused when it never will. It does not block.
	Check(e Emission) error
	// EmitOnce puts the records and the mark into the stream, both or neither, and returns when they are durable. When the producer's
	// mark there is this one it does nothing: then the outputs are there. After an error they may be there too, and it is to be called
	// again with the same mark.
	EmitOnce(ctx context.Context, e Emission, m Mark) error
}

// emitOnce is emit of a call that has a mark: one emission a stream, and all of them are checked before the first is put.
func (rt *Runtime) emitOnce(ctx context.Context, f *function, v *version, call *Call, reply *Reply) error {
	emissions, err := gather(reply)
	if err != nil || len(emissions) == 0 {
		return err
	}
	to := rt.options.OnceEmitter
	if to == nil {
		return fmt.Errorf("%w: there is no emitter that puts once", ErrEmit)
	}
	for i := range emissions {
		e := &emissions[i]
		e.Function, e.Version, e.Invocation, e.Source = f.name, v.number, reply.Invocation, call.Source
		if err := to.Check(*e); errors.Is(err, ErrRefused) {
			return refusal(f, v, reply, e.Stream, err)
		} else if err != nil {
			return fmt.Errorf("%w: stream %q: %w", ErrEmit, e.Stream, err)
		}
	}
	m, put, err := call.Once.Claim(ctx, reply)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEmit, err)
	}
	if !put {
		return nil
	}
	for _, e := range emissions {
		if err := to.EmitOnce(ctx, e, m); err != nil {
			return fmt.Errorf("%w: stream %q: %w", ErrEmit, e.Stream, err)
		}
		reply.Emitted += e.Records.Len()
	}
	return nil
}

// gather makes one emission for each stream of what a reply emits, in the order of the first to each.
func gather(reply *Reply) (list []Emission, err error) {
	var copies []*record.Builder // of those that were in pieces
	for o := range reply.parsed.Outputs() {
		if len(o.Stream) == 0 {
			continue
		}
		at := -1
		for i := range list {
			if list[i].Stream == string(o.Stream) {
				at = i
			}
		}
		if at < 0 {
			list, copies = append(list, Emission{Stream: string(o.Stream), Records: o.Records}), append(copies, nil)
			continue
		}
		if copies[at] == nil {
			copies[at] = new(record.Builder)
			err = copies[at].AppendRun(list[at].Records)
		}
		if err == nil {
			err = copies[at].AppendRun(o.Records)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: stream %q: %w", ErrEmit, o.Stream, err)
		}
		list[at].Records = copies[at].Run()
	}
	return list, nil
}
