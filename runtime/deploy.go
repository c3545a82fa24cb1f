package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/runtime/quickjs"
	"github.com/shardmill/shardmill/sdk/abi"
)

// Deploy stores code as the newest version of a function, which it makes where there is none, and lets $LATEST be it.
// When it returns, the version is durable, has been compiled, has made an instance, and serves. Calls under way finish
// on the version they began with. What $LATEST is already, code and configuration, is not stored again: its version is
// returned. Of several at once the one that came last wins: when it has succeeded, those that came before it and are not ready yet are given up, and
// so are those that came before a Submit or a Delete.
//
// Only the newest Options.KeepVersions versions are kept, and those that something names: an alias, or Options.Pinned; of the
// others the code is deleted.
//
// Errors: a *FieldError (ErrInvalid) for a name, a configuration or code that is refused, with nothing changed; ErrUntrusted where
// Options.Trust asks for a signature (see DeployProven); ErrSuperseded; ErrNoSpace; ErrClosed; what the stores answer.
func (rt *Runtime) Deploy(ctx context.Context, name string, code []byte, config Config) (Function, error) {
	return rt.DeployProven(ctx, name, code, config, Proof{})
}

func (rt *Runtime) deploy(ctx context.Context, u *upload, code []byte, config Config, language Language, signer string) (*function, error) {
	v, err := rt.candidate(u.function, code, config, language, signer)
	if err != nil {
		return nil, err
	}
	rt.offer(u, v)
	if f, err := rt.unchanged(ctx, u, v); f != nil || err != nil {
		return f, err
	}
	p, err := rt.admit(ctx, v, code)
	if err != nil {
		rt.uncache(v.digest)
		return nil, err
	}
	v.code.finish(p, nil)
	f, err := rt.publish(ctx, u, v, code)
	if err != nil || f.latest() != v {
		rt.discard(v)
	}
	if errors.Is(err, ErrSuperseded) {
		rt.uncache(v.digest)
	}
	return f, err
}

// unchanged is the function when it serves already what is uploaded, else nil.
func (rt *Runtime) unchanged(ctx context.Context, u *upload, v *version) (*function, error) {
	if err := rt.store(ctx); err != nil {
		return nil, err
	}
	defer rt.stored()
	return rt.repeated(u, v), nil
}

// repeated is the function when it serves already what is uploaded, which counts as the newest upload then; else nil. Storing is held.
func (rt *Runtime) repeated(u *upload, v *version) *function {
	f := rt.same(&v.identity)
	if f == nil || f.coming.waits() {
		return nil
	}
	rt.overtake(u.function, u, f.latest())
	return f
}

// candidate is a version of what was uploaded, without a number.
func (rt *Runtime) candidate(name string, code []byte, config Config, language Language, signer string) (*version, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	config, err := config.normalize()
	if err != nil {
		return nil, err
	}
	if len(code) > rt.options.MaxCodeBytes {
		return nil, field.Invalid("code", fmt.Sprintf("%d bytes", len(code)),
			fmt.Sprintf("at most %d bytes (%d MiB)", rt.options.MaxCodeBytes, rt.options.MaxCodeBytes>>20))
	}
	return newVersion(identity{
		function: name, digest: digestOf(code), size: len(code), language: language, config: config, signer: signer, created: time.Now().UTC(),
	}).share(&rt.idle), nil
}

// digestOf names code in the store: "sha256:<hex>".
func digestOf(code []byte) string {
	sum := sha256.Sum256(code)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// same is the function when its newest version is this one already and serves.
func (rt *Runtime) same(id *identity) *function {
	f := rt.find(id.function)
	if f == nil || f.coming.is(f.latest()) || !f.latest().identity.same(id) {
		return nil
	}
	if state, _ := f.latest().code.state(); state == StateFailed {
		return nil
	}
	return f
}

// same is whether two uploads are the same.
func (id *identity) same(other *identity) bool {
	return id.digest == other.digest && id.language == other.language && id.signer == other.signer && id.config.equal(other.config)
}

// examine finds out what is wrong with code without compiling it. What it tells of a script is its engine's.
func (rt *Runtime) examine(v *version, code []byte) (*moduleInfo, error) {
	if v.language != "" {
		return rt.examineScript(v, code)
	}
	info, err := inspect(code)
	if err != nil {
		return nil, uninspected(err)
	}
	return info, info.admit(rt.engine.host, &v.config)
}

// admit compiles the code and tries it.
func (rt *Runtime) admit(ctx context.Context, v *version, code []byte) (*program, error) {
	p, info, err := rt.build(ctx, v, code)
	if err != nil {
		return nil, err
	}
	return rt.probe(ctx, v, p, info)
}

// build compiles the code. What it tells of a script is its engine's.
func (rt *Runtime) build(ctx context.Context, v *version, code []byte) (p *program, info *moduleInfo, err error) {
	if info, err = rt.examine(v, code); err != nil {
		return nil, nil, err
	}
	if v.language != "" {
		p, err = rt.buildScript(ctx, v, code)
	} else if p, err = rt.compile(ctx, code, info, v.digest); err != nil && ctx.Err() == nil && !errors.Is(err, ErrCompilerEnded) {
		err = badCode("does not compile: "+err.Error(), "")
	}
	if wrong := (*quickjs.SourceError)(nil); errors.As(err, &wrong) {
		err = badCode("does not compile: "+wrong.Error(), "")
	}
	return p, info, err
}

// probe tries what was built: one instance is made, under the timeout or maxTrial, and asked what it is. After an error the program is closed.
func (rt *Runtime) probe(ctx context.Context, v *version, p *program, info *moduleInfo) (*program, error) {
	if info.command() { // whatever it does at its start is what it does
		v.kinds.Store(uint32(KindInvoke.Mask()))
		return p, nil
	}
	_, hasKinds := info.exports[abi.ExportKinds]
	if err := rt.trial(ctx, v, p, hasKinds); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// maxTrial bounds an upload's trial where the function's timeout is longer: other uploads wait for it.
const maxTrial = time.Minute

// trial makes an instance and asks it what it is.
func (rt *Runtime) trial(ctx context.Context, v *version, p *program, hasKinds bool) error {
	refused := func(err error) error {
		var failed *FunctionError
		if errors.As(err, &failed) {
			if failed.Kind == FailTimeout && v.config.Timeout > maxTrial {
				return badCode(fmt.Sprintf("failed while the instance was made: an upload's trial has %v, whatever its timeout is (%s)", maxTrial, failed.Kind), "")
			}
			return badCode(fmt.Sprintf("failed %s%s (%s)", failed.Message, failed.where(), failed.Kind), "")
		}
		return err
	}
	said := newLogRing(maxInvocationBytes)
	tried := v.identity
	tried.config.Timeout = min(tried.config.Timeout, maxTrial)
	i, err := newInstance(ctx, p, &tried, newCapture(&tried, said, nil), &rt.options.Doors)
	if err != nil {
		return refused(err)
	}
	p.starts.said.Store(said)
	defer i.close()
	marker, err := i.ask(ctx, abi.ExportVersion)
	if err != nil {
		return refused(err)
	}
	if marker != abi.Version {
		return badCode(fmt.Sprintf("has version %d of the ABI, which is what %s returns", marker, abi.ExportVersion), fmt.Sprintf("of version %d", abi.Version))
	}
	kinds := AllKinds
	if hasKinds {
		mask, err := i.ask(ctx, abi.ExportKinds)
		if err != nil {
			return refused(err)
		}
		if kinds, err = kindsOf(mask); err != nil {
			return err
		}
	}
	v.kinds.Store(uint32(kinds))
	return nil
}

// publish stores the version and makes it $LATEST, unless somebody else has stored the same meanwhile. Code
// first, definition second, so that no definition is without its code; then the code that nobody needs any more.
func (rt *Runtime) publish(ctx context.Context, u *upload, v *version, code []byte) (*function, error) {
	if err := rt.store(ctx); err != nil {
		return nil, err
	}
	defer rt.stored()
	if f := rt.repeated(u, v); f != nil {
		return f, nil
	}
	if err := rt.storeCode(ctx, v, code); err != nil {
		return nil, err
	}
	f, dropped := rt.successor(v)
	if err := rt.save(ctx, f); err != nil {
		rt.unsaved(ctx, f, v, err)
		return nil, err
	}
	rt.replace(ctx, f, dropped)
	rt.overtake(u.function, u, v)
	return f, nil
}

func (rt *Runtime) storeCode(ctx context.Context, v *version, code []byte) error {
	digest, err := rt.options.Code.Put(ctx, code)
	if err != nil {
		return fmt.Errorf("store the code: %w", err)
	}
	if digest != v.digest {
		return fmt.Errorf("store the code: it is stored as %s and is %s", digest, v.digest)
	}
	return nil
}

// store waits until nobody else changes what is stored; stored ends that. It is not for what ended meanwhile; its error is the cause of that.
func (rt *Runtime) store(ctx context.Context) error {
	select {
	case rt.storing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if ctx.Err() != nil {
		rt.stored()
		return context.Cause(ctx)
	}
	return nil
}

func (rt *Runtime) stored() { <-rt.storing }

// successor is the function with v as its newest version, and the versions that it no longer has.
func (rt *Runtime) successor(v *version) (f *function, dropped []*version) {
	f, dropped = rt.numbered(v)
	if !slices.Contains(f.versions, v) {
		f.versions = append(f.versions, v)
	}
	// Those that are named count for nothing: however many they are, a bad version can be rolled back to the one before it.
	oldest := f.versions[max(0, len(f.versions)-rt.options.KeepVersions)].number
	f.versions = slices.DeleteFunc(f.versions, func(old *version) bool {
		if old.number >= oldest || f.named(old.number) || rt.options.Pinned(f.name, old.number) {
			return false
		}
		dropped = append(dropped, old)
		return true
	})
	return f, dropped
}

func (rt *Runtime) save(ctx context.Context, f *function) error {
	value, err := f.encode()
	if err != nil {
		return err
	}
	entry, err := rt.options.Functions.Get(f.name)
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		_, err = rt.options.Functions.Create(ctx, f.name, value)
	case err == nil:
		_, err = rt.options.Functions.Update(ctx, f.name, value, entry.Revision)
	}
	if err != nil {
		return fmt.Errorf("store the definition: %w", err)
	}
	return nil
}

// unsaved cleans up after a version that could not be stored. Its code goes only where it is certain that it was not,
// because a definition without its code is worse than code without a definition.
func (rt *Runtime) unsaved(ctx context.Context, f *function, v *version, err error) {
	if rt.find(f.name) == nil {
		rt.metrics.forget(f.name)
	}
	if errors.Is(err, catalog.ErrConflict) || errors.Is(err, catalog.ErrExists) || errors.Is(err, catalog.ErrNoSpace) {
		rt.removeCode(ctx, []*version{v})
	}
}

// discard makes a version unusable and frees it as soon as nobody uses it.
func (rt *Runtime) discard(v *version) {
	v.drain()
	rt.unloaded(v, v.code.doom())
}

// uncache removes the compiled code of what was refused. That of a version with the same code stays; where one is being made, it is
// compiled again when it is next loaded.
func (rt *Runtime) uncache(digest string) {
	if rt.engine.cache.root == "" || rt.digests()[digest] {
		return
	}
	if err := rt.engine.cache.remove(digest); err != nil {
		rt.options.Logger.Warn("compiled code of a refused upload could not be removed", "digest", digest, "error", err)
	}
}

// removeCode deletes the code of versions that are gone, where no other version has the same. What fails is
// only space lost, and tried again when the same code is deleted again.
func (rt *Runtime) removeCode(ctx context.Context, gone []*version) {
	needed := rt.digests()
	for _, v := range gone {
		if needed[v.digest] {
			continue
		}
		err := rt.options.Code.Delete(ctx, v.digest)
		if errors.Is(err, catalog.ErrNotFound) {
			err = nil
		}
		if rt.engine.cache.root != "" {
			err = errors.Join(err, rt.engine.cache.remove(v.digest))
		}
		if err != nil {
			rt.options.Logger.Warn("old code could not be deleted", "function", v.function, "version", v.number, "error", err)
		}
	}
}

// Get describes a function. Errors: ErrNotFound, ErrClosed.
func (rt *Runtime) Get(name string) (Function, error) {
	f, err := rt.function("get", name)
	if err != nil {
		return Function{}, err
	}
	return f.describe(), nil
}

// List describes every function, by name.
func (rt *Runtime) List() []Function {
	out := []Function{}
	for _, f := range rt.all() {
		out = append(out, f.describe())
	}
	return out
}

// Code returns the code of a version as it was uploaded; version 0 is $LATEST. Errors: ErrNotFound, ErrClosed, what the
// store answers.
func (rt *Runtime) Code(ctx context.Context, name string, version int) ([]byte, error) {
	f, err := rt.function("code", name)
	if err != nil {
		return nil, err
	}
	v := f.version(version)
	if v == nil {
		return nil, fmt.Errorf("runtime: code %q version %d: %w", name, version, ErrNoVersion)
	}
	code, err := rt.options.Code.Get(ctx, v.digest)
	if errors.Is(err, catalog.ErrNotFound) && f.coming.is(v) { // it has failed under a host that did not keep such code
		return nil, fmt.Errorf("runtime: code %q version %d: %w", name, version, ErrNoVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("runtime: code %q version %d: %w", name, v.number, err)
	}
	return bytes.Clone(code), nil
}

// Delete removes a function with all its versions and log lines. Calls under way finish; uploads under way are given up (ErrSuperseded). A function made later
// under the name begins with version 1. Errors: ErrNotFound, ErrClosed, what the store answers.
func (rt *Runtime) Delete(ctx context.Context, name string) error {
	if err := rt.enter(); err != nil {
		return fmt.Errorf("runtime: delete %q: %w", shorten(name), err)
	}
	defer rt.leave()
	if err := rt.store(ctx); err != nil {
		return fmt.Errorf("runtime: delete %q: %w", shorten(name), err)
	}
	defer rt.stored()
	f, err := rt.function("delete", name)
	if err != nil {
		return err
	}
	if err := rt.options.Functions.Delete(ctx, name, 0); err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return fmt.Errorf("runtime: delete %q: %w", name, err)
	}
	rt.mu.Lock()
	delete(rt.functions, name)
	rt.mu.Unlock()
	rt.overtake(name, nil, nil)
	all := f.all()
	for _, v := range all {
		rt.discard(v)
	}
	f.logs.close()
	f.past.close(true)
	rt.dropState(name)
	rt.diary.bury(ctx, f)
	rt.metrics.forget(name)
	rt.removeCode(ctx, all)
	return nil
}

// dropState removes the state tables that were a deleted function's own.
func (rt *Runtime) dropState(name string) {
	if rt.options.Doors.State == nil {
		return
	}
	if _, err := rt.options.Doors.State.Drop(func(t state.Table) bool { return !t.Shared && t.Function == name }); err != nil {
		rt.options.Logger.Warn("state of a deleted function could not be removed", "function", name, "error", err)
	}
}
