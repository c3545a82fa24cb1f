package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxAttempts is how often the compilation of an update is begun. A host that ended in the midst of it may have ended of it.
const maxAttempts = 3

// maxUpdating is how many updates are compiled, or wait for their trial, with their code in memory, at once.
const maxUpdating = 2

// maxTrying is how many updates are tried at once: each is an instance that runs.
const maxTrying = 8

// postponeTimeout bounds what a host that stops waits for the catalog.
const postponeTimeout = 5 * time.Second

// update is an upload that does not serve: it is being compiled, or has failed. A function has one at most, the newest; it is part of
// the function's definition, so that a restart goes on with it. The code of one that has failed is kept until something newer takes its place: another
// configuration may be what it needs.
type update struct {
	*version
	attempts int    // how often its compilation was begun, and not left unfinished by a host that was told to stop
	problem  string // why it has failed; "" while it is compiled
}

func (u *update) describe() *VersionDetail {
	if u == nil {
		return nil
	}
	d := u.version.describe()
	d.State, d.Problem = StatePending, u.problem
	if u.problem != "" {
		d.State = StateFailed
	}
	return &d
}

// is whether that version is the update.
func (u *update) is(v *version) bool { return u != nil && u.version == v }

// waits is whether the update is to be compiled.
func (u *update) waits() bool { return u != nil && u.problem == "" }

// Submit is DeployProven that does not wait for the code to be compiled and tried. When it returns, the upload is durable: it is
// Function.Update, in StatePending, and is compiled in the background, also by a host that starts anew. When that has succeeded it is
// $LATEST; until then, and where it fails (StateFailed, with the reason), the version before serves. Of a function that has no
// version yet, calls wait for the first. A newer upload takes the place of one that waits, as it takes that of an earlier Deploy's that is not ready, and aliases of a first version that never served lead to it. What can be found out without compiling is
// refused at once, with the errors of DeployProven.
func (rt *Runtime) Submit(ctx context.Context, name string, code []byte, config Config, proof Proof) (Function, error) {
	return rt.upload(ctx, "deploy", name, func(ctx context.Context, u *upload) (*function, error) {
		signer, err := rt.prove(digestOf(code), proof)
		if err != nil {
			return nil, err
		}
		return rt.submit(ctx, u, code, config, proof.Language, signer)
	})
}

// Configure is Submit of the code that a function has, in its language and with the signature that it came with, under another configuration: of version
// number, 0 being $LATEST. Errors: those of Submit, ErrNotFound, ErrNoVersion, ErrUnavailable.
func (rt *Runtime) Configure(ctx context.Context, name string, number int, config Config) (Function, error) {
	return rt.upload(ctx, "configure", name, func(ctx context.Context, u *upload) (*function, error) {
		v, code, err := rt.again(ctx, name, number)
		if err != nil {
			return nil, fmt.Errorf("version %d: %w", number, err)
		}
		return rt.submit(ctx, u, code, config, v.language, v.signer)
	})
}

func (rt *Runtime) submit(ctx context.Context, u *upload, code []byte, config Config, language Language, signer string) (*function, error) {
	v, err := rt.candidate(u.function, code, config, language, signer)
	if err != nil {
		return nil, err
	}
	rt.offer(u, v)
	if _, err := rt.examine(v, code); err != nil {
		return nil, err
	}
	if err := rt.store(ctx); err != nil {
		return nil, err
	}
	defer rt.stored()
	if f := rt.repeated(u, v); f != nil {
		return f, nil
	}
	if f := rt.find(u.function); f != nil && f.coming.waits() && f.coming.identity.same(&v.identity) {
		rt.overtake(u.function, u, f.coming.version)
		return f, nil
	}
	if err := rt.storeCode(ctx, v, code); err != nil {
		return nil, err
	}
	f, dropped := rt.awaiting(v)
	if err := rt.save(ctx, f); err != nil {
		rt.unsaved(ctx, f, v, err)
		return nil, err
	}
	rt.replace(ctx, f, dropped)
	rt.overtake(u.function, u, v)
	rt.begin(f.coming)
	return f, nil
}

// find is the function of a name, or nil.
func (rt *Runtime) find(name string) *function {
	rt.mu.RLock()
	defer rt.mu.RUnlock()
	return rt.functions[name]
}

// awaiting is the function with v as its update, and the versions that it no longer has: an earlier update.
func (rt *Runtime) awaiting(v *version) (f *function, dropped []*version) {
	f, dropped = rt.numbered(v)
	f.coming = &update{version: v}
	if len(f.versions) == 0 {
		v.code.expect()
		f.versions = []*version{v}
	}
	return f, dropped
}

// begin compiles and tries an update in the background, as long as it is its function's update.
func (rt *Runtime) begin(u *update) {
	rt.spawn(func(ctx context.Context) {
		started := time.Now()
		working, stop := u.code.while(ctx)
		defer stop()
		p, err := rt.attempt(working, u)
		if errors.Is(err, ErrClosed) || ctx.Err() != nil {
			rt.postpone(ctx, u, p)
			return
		}
		if err = rt.settle(ctx, u, p, err); err != nil {
			rt.options.Logger.Warn("an uploaded version does not serve", "function", u.function, "version", u.number, "error", err)
			return
		}
		rt.options.Logger.Info("an uploaded version serves", "function", u.function, "version", u.number, "took", time.Since(started))
	})
}

// attempt compiles and tries an update. The trial has turns of its own, and as long as it takes other updates are compiled.
func (rt *Runtime) attempt(ctx context.Context, u *update) (*program, error) {
	p, info, err := rt.buildUpdate(ctx, u)
	if err != nil {
		return nil, err
	}
	defer func() { <-rt.trying }()
	return rt.probe(ctx, u.version, p, info)
}

// buildUpdate compiles an update, and counts that, and takes a turn to try it. Updates take turns, so that only those under way are in memory: one that
// is compiled keeps its turn until it is tried.
func (rt *Runtime) buildUpdate(ctx context.Context, u *update) (*program, *moduleInfo, error) {
	select {
	case rt.updating <- struct{}{}:
		defer func() { <-rt.updating }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	_, err := rt.change(ctx, "update", u.function, func(f *function) error {
		switch {
		case !f.coming.is(u.version):
			return ErrSuperseded
		case f.coming.attempts >= maxAttempts:
			return fmt.Errorf("the host ended %d times while it was compiled; deploy it again to have it tried again", maxAttempts)
		}
		again := *f.coming
		again.attempts++
		f.coming = &again
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	code, err := rt.options.Code.Get(ctx, u.digest)
	if err != nil {
		return nil, nil, err
	}
	p, info, err := rt.build(ctx, u.version, code)
	if err != nil {
		return nil, nil, err
	}
	select {
	case rt.trying <- struct{}{}:
		return p, info, nil
	case <-ctx.Done():
		return nil, nil, errors.Join(ctx.Err(), p.close())
	}
}

// postpone leaves an update to the next start. That this host was told to stop was not the update's doing, so the attempt does not count.
func (rt *Runtime) postpone(ctx context.Context, u *update, p *program) {
	u.code.refuse(ErrClosed)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), postponeTimeout)
	defer cancel()
	if err := errors.Join(closed(p), rt.uncount(ctx, u)); err != nil {
		rt.options.Logger.Error("an upload was left unfinished", "function", u.function, "version", u.number, "error", err)
	}
}

// uncount stores that the attempt which began with u was none.
func (rt *Runtime) uncount(ctx context.Context, u *update) error {
	if err := rt.store(ctx); err != nil {
		return err
	}
	defer rt.stored()
	f := rt.find(u.function)
	if f == nil || !f.coming.is(u.version) || f.coming.attempts <= u.attempts {
		return nil
	}
	again := *f
	again.coming = u
	if err := rt.save(ctx, &again); err != nil {
		return err
	}
	rt.replace(ctx, &again, nil)
	return nil
}

// settle ends an update: with a program it becomes $LATEST, with an error it has failed. It answers why it does not serve.
func (rt *Runtime) settle(ctx context.Context, u *update, p *program, failure error) error {
	v := u.version
	if err := rt.store(ctx); err != nil {
		return errors.Join(err, closed(p))
	}
	defer rt.stored()
	f := rt.find(v.function)
	if f == nil || !f.coming.is(v) {
		v.code.refuse(ErrSuperseded)
		err := errors.Join(ErrSuperseded, closed(p))
		rt.uncache(v.digest)
		return err
	}
	if failure == nil {
		next, dropped := rt.successor(v)
		if failure = rt.save(ctx, next); failure == nil {
			v.code.finish(p, nil)
			rt.replace(ctx, next, dropped)
			return nil
		}
	}
	failed := *f
	failed.coming = &update{version: v, problem: failure.Error()}
	failure = errors.Join(failure, closed(p))
	failure = errors.Join(failure, rt.save(ctx, &failed)) // unsaved, the next start tries it again
	v.code.refuse(failure)
	rt.replace(ctx, &failed, nil)
	return failure
}

func closed(p *program) error {
	if p == nil {
		return nil
	}
	return p.close()
}

// resume goes on with the updates that an earlier host left.
func (rt *Runtime) resume() {
	for _, f := range rt.all() {
		if f.coming.waits() {
			rt.begin(f.coming)
		}
	}
}

// replace lets f serve in the place of what has its name, and removes the versions that it no longer has.
func (rt *Runtime) replace(ctx context.Context, f *function, dropped []*version) {
	rt.mu.Lock()
	old := rt.functions[f.name]
	rt.functions[f.name] = f
	rt.mu.Unlock()
	if old != nil && old.latest() != f.latest() {
		old.latest().superseded.Store(true)
		old.latest().drain()
	}
	for _, v := range dropped {
		rt.discard(v)
	}
	rt.removeCode(ctx, dropped)
}

// numbered is the function with a number for v, without its earlier update, and what goes with that.
func (rt *Runtime) numbered(v *version) (f *function, dropped []*version) {
	old := rt.find(v.function)
	f = &function{name: v.function, next: 1, reserved: Unreserved}
	if old == nil {
		f.gate, f.logs, f.past, f.costs, f.metrics = newGate(Unreserved), newLogRing(rt.options.LogBytes), newPast(), newCosts(), rt.metrics.function(f.name)
	} else {
		*f = *old
		f.versions = slices.Clone(old.versions)
	}
	if c := f.coming; c != nil && c.version != v {
		f.versions = slices.DeleteFunc(f.versions, func(has *version) bool { return has == c.version })
		dropped = append(dropped, c.version)
	}
	f.coming = nil
	if v.number == 0 {
		v.number = f.next
		f.next++
	}
	for i, a := range f.aliases { // of a first version that never served; a definition whose alias leads nowhere would not be read
		if len(dropped) > 0 && a.Version == dropped[0].number {
			f.aliases = slices.Clone(f.aliases)
			f.aliases[i].Version, f.aliases[i].Modified = v.number, v.created
		}
	}
	return f, dropped
}
