package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// upload is one that is under way: from its arrival until its version serves, is stored as an update, or is refused.
type upload struct {
	function  string
	giveUp    context.CancelCauseFunc // called with a *superseded, while storing is held
	candidate *version                // what is to be stored, when that is known; under Runtime.mu
}

// superseded is why an upload is given up: by is the number of the newer upload's version, 0 where the function was deleted. It is an ErrSuperseded.
type superseded struct{ by int }

func (e *superseded) Error() string {
	if e.by == 0 {
		return "the function was deleted while the upload was under way"
	}
	return fmt.Sprintf("a newer upload, version %d, has taken its place", e.by)
}

// Is makes it an ErrSuperseded.
func (e *superseded) Is(target error) bool { return target == ErrSuperseded }

// upload does work as an upload of a function that arrives now. Its context ends when what was uploaded later takes its place, or the function is deleted: what began
// before either must not undo it, however late it is ready. Work calls offer, and stores under storing, which is not to be had for what was given up.
func (rt *Runtime) upload(ctx context.Context, operation, name string, work func(ctx context.Context, u *upload) (*function, error)) (Function, error) {
	wrap := func(err error) error { return fmt.Errorf("runtime: %s %q: %w", operation, shorten(name), err) }
	if err := rt.enter(); err != nil {
		return Function{}, wrap(err)
	}
	defer rt.leave()
	u := &upload{function: name}
	ctx, u.giveUp = context.WithCancelCause(ctx)
	defer u.giveUp(nil)
	rt.mu.Lock()
	rt.uploads = append(rt.uploads, u)
	rt.mu.Unlock()
	defer func() {
		rt.mu.Lock()
		defer rt.mu.Unlock()
		rt.uploads = slices.DeleteFunc(rt.uploads, func(other *upload) bool { return other == u })
	}()
	f, err := work(ctx, u)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrSuperseded) {
		err = cause
	}
	if err != nil {
		return Function{}, wrap(err)
	}
	return f.describe(), nil
}

// offer tells what an upload is of.
func (rt *Runtime) offer(u *upload, v *version) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	u.candidate = v
}

// overtake gives up the uploads of a function that arrived before newest, whose version is by, unless they are of the same; of a function that
// was deleted all of them: then both are nil. Storing is held, so none of them is being stored.
func (rt *Runtime) overtake(name string, newest *upload, by *version) {
	why := new(superseded)
	if by != nil {
		why.by = by.number
	}
	rt.mu.RLock()
	defer rt.mu.RUnlock()
	for _, u := range rt.uploads {
		if u == newest {
			return
		}
		if u.function == name && (by == nil || u.candidate == nil || !u.candidate.identity.same(&by.identity)) {
			u.giveUp(why)
		}
	}
}
