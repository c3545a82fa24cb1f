package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/runtime/quickjs"
	"github.com/shardmill/shardmill/runtime/wasm"
	"github.com/shardmill/shardmill/sdk/record"
)

// Keep says which calls are kept as capsules.
type Keep struct {
	Failed bool // those that fail, or ask for records again or reject some
	// Troubled says of an answer whether it asks for records again, or cannot be read; nil = what a reply's outcomes say is all there is.
	Troubled func(body []byte) bool
	Slow     time.Duration // those that take longer; 0 = none
	Sample   float64       // this part of all others, 0 to 1
	Settings []byte        // JSON: the mapping's settings, for the capsule
	// Window is the end of the tumbling window that a call closes with Lambda's event, in which runtime cannot see it; zero = the call's own says it.
	Window time.Time
}

// Capsules keeps capsules; *capsule.Store is one.
type Capsules interface {
	Put(c *capsule.Capsule) error
}

// noteFor is a new recording for a call that may be kept, or for the readings of a trial.
func noteFor(call *Call) *recording {
	switch {
	case call.Trial != nil && call.Trial.Note != nil:
		return &recording{tape: call.Trial.Note, readings: true}
	case call.Trial != nil || call.Keep == nil:
		return nil
	}
	return &recording{tape: new(capsule.Tape)}
}

// why is the reason to keep a call, or "".
func (k *Keep) why(reply *Reply, err error) string {
	switch failed := (*FunctionError)(nil); {
	case errors.As(err, &failed):
		if k.Failed {
			return capsule.Failed
		}
	case err != nil:
		return "" // not the function's
	case k.Failed && (troubled(reply) || k.Troubled != nil && k.Troubled(reply.Body)):
		return capsule.Failed
	case k.Slow > 0 && reply.Duration > k.Slow:
		return capsule.Slow
	case k.Sample > 0 && rand.Float64() < k.Sample:
		return capsule.Sampled
	}
	return ""
}

// troubled is whether a reply asks for a record again, or rejects one.
func troubled(reply *Reply) bool {
	for _, o := range reply.Outcomes {
		if o.Result == ResultRetry || o.Result == ResultRejected {
			return true
		}
	}
	return false
}

// keeper makes capsules, one after the other. Some may wait for their turn, so that calls that fail together are all kept; what comes beyond
// them is left out, and so is what has been kept already, a batch that fails again and again.
type keeper struct {
	turn sync.Mutex // held while a capsule is made

	mu    sync.Mutex
	begun int // capsules that are made or wait for their turn
	seen  map[string]bool
	age   []string // of seen, the oldest first
}

const (
	maxSeen  = 1000
	maxBegun = 8 // each holds what its call was given, 6 MiB at most
)

func newKeeper() *keeper { return &keeper{seen: map[string]bool{}} }

// begin is whether a capsule named so is to be made; make must be called then.
func (k *keeper) begin(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.begun == maxBegun || k.seen[name] {
		return false
	}
	k.begun++
	k.seen[name] = true
	if k.age = append(k.age, name); len(k.age) > maxSeen {
		delete(k.seen, k.age[0])
		k.age = k.age[1:]
	}
	return true
}

// make makes a capsule that was begun, when it is its turn.
func (k *keeper) make(capsule func() error) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	defer func() {
		k.mu.Lock()
		k.begun--
		k.mu.Unlock()
	}()
	return capsule()
}

// keepCapsule keeps a call that has ended, if it is to be kept. The call is made again for that, beside whatever goes on.
func (rt *Runtime) keepCapsule(v *version, call *Call, reply *Reply, started time.Time, err error) {
	if call.Keep == nil || reply.tape == nil || rt.options.Capsules == nil {
		return
	}
	why := call.Keep.why(reply, err)
	if why == "" {
		return
	}
	result := outcomeOfReply(reply, err)
	if !rt.keeper.begin(keptAs(v, call, reply, why, &result)) {
		return
	}
	c := capsuleOf(v, call, reply, started, why, result)
	secrets := reply.tape.secrets
	rt.spawn(func(ctx context.Context) {
		if err := rt.keeper.make(func() error { return rt.rehearse(ctx, v, c, secrets) }); err != nil {
			rt.options.Logger.Warn("a capsule could not be kept", "function", v.function, "invocation", c.ID, "error", err)
		}
	})
}

// keptAs is a name that calls with the same records which fail in the same way have in common.
func keptAs(v *version, call *Call, reply *Reply, why string, result *capsule.Outcome) string {
	s, end := call.Source, call.Window.End
	if end.IsZero() && call.Keep != nil {
		end = call.Keep.Window
	}
	if why != capsule.Failed || s.First == 0 && end.IsZero() {
		return reply.Invocation
	}
	return fmt.Sprint(s.Mapping, " ", s.Shard, " ", s.First, " ", s.Last, " ", end.UnixMicro(), " ", v.number, " ", result.Kind)
}

// capsuleOf copies what a capsule needs of a call.
func capsuleOf(v *version, call *Call, reply *Reply, started time.Time, why string, result capsule.Outcome) *capsule.Capsule {
	c := &capsule.Capsule{
		Summary: capsule.Summary{
			ID: reply.Invocation, Made: started.UTC(), Why: why, Function: v.function, Version: v.number, Digest: v.digest,
			Mapping: call.Source.Mapping, Stream: call.Source.Stream, Shard: call.Source.Shard, First: call.Source.First, Last: call.Source.Last,
			Outcome: result.Kind, Message: result.Message,
		},
		Limits: capsule.Limits{TimeoutMs: v.config.Timeout.Milliseconds(), MemoryBytes: v.config.MemoryBytes, Fuel: v.config.Fuel, Emit: v.config.Emit, Env: v.config.Env, Secrets: v.config.Secrets, State: v.config.State, HTTP: v.config.HTTP},
		Call: capsule.Call{
			Kind: uint8(call.Kind), Attempt: call.Attempt, Invocation: reply.Invocation, Deadline: reply.deadline,
			Body: bytes.Clone(call.Body), State: bytes.Clone(call.State),
			WindowStart: call.Window.Start, WindowEnd: call.Window.End, WindowEarly: call.Window.EndedEarly,
		},
		During: reply.tape.seal(), Result: result,
	}
	if json.Valid(call.Keep.Settings) {
		c.Settings = bytes.Clone(call.Keep.Settings)
	}
	c.Records = call.Count
	if len(call.Records) > 0 {
		c.Call.Records = capsule.Join(call.Records)
		c.Records = record.Batch(c.Call.Records).Len()
	}
	return c
}

// rehearse makes the capsule's call again, in an instance of its own that reads and is answered what the call was, and keeps the capsule with
// what came of it. A new instance may read more than the call did, whose instance had made calls before: then that is on the tape too, for every
// replay to read the same.
func (rt *Runtime) rehearse(ctx context.Context, v *version, c *capsule.Capsule, secrets map[string][]byte) error {
	p, err := rt.use(ctx, v)
	if err != nil {
		return err
	}
	defer rt.done(v)
	start := &recording{tape: new(capsule.Tape)}
	during := playerOf(&c.During, c.Format, secrets)
	during.note = &recording{tape: new(capsule.Tape), readings: true}
	c.Again, err = replay(ctx, p, v, c, &senses{note: start}, during)
	if err != nil {
		return err
	}
	c.Start = *start.tape
	c.During.Extend(during.note.tape)
	c.Reproduced = !c.Start.Cut && !c.During.Cut && c.Again.Same(&c.Result)
	return rt.options.Capsules.Put(c)
}

// playerOf plays a tape of a capsule of a format; the secrets are the values of those that the tape names.
func playerOf(t *capsule.Tape, format int, secrets map[string][]byte) *player {
	return &player{
		tape:    capsule.Tape{Wall: t.Wall, Mono: t.Mono, Random: t.Random},
		answers: newRetelling(t, format, secrets),
	}
}

// replay makes a capsule's call in a new instance, which makes itself with the readings of s and then plays those of the call. Nothing outside is
// asked. The error is the host's.
func replay(ctx context.Context, p *program, v *version, c *capsule.Capsule, s *senses, play *player) (capsule.Outcome, error) {
	call := Call{
		Function: v.function, Kind: Kind(c.Call.Kind), Attempt: c.Call.Attempt, Body: c.Call.Body, State: c.Call.State, ID: c.Call.Invocation,
		Source: Source{Mapping: c.Mapping, Stream: c.Stream, Shard: c.Shard, First: c.First, Last: c.Last},
		Window: Window{Start: c.Call.WindowStart, End: c.Call.WindowEnd, EndedEarly: c.Call.WindowEarly},
	}
	if c.Call.Records != nil {
		call.Records = []record.Run{record.Batch(c.Call.Records).Run()}
	}
	reply := &Reply{Invocation: c.Call.Invocation, Version: c.Version}
	doors := new(Doors)
	log := newCapture(&v.identity, newLogRing(0), nil)
	var i *instance
	var err error
	if p.command {
		s.note, s.play = play.note, play
		if i, err = emptyInstance(&v.identity, log, doors, s); err != nil {
			return capsule.Outcome{}, err
		}
		defer i.close()
		err = i.execute(ctx, p, &call, reply)
	} else {
		if i, err = newTapedInstance(ctx, p, &v.identity, log, doors, s); err == nil {
			defer i.close()
			s.note, s.play = play.note, play
			i.deadline = c.Call.Deadline
			_, err = i.invoke(ctx, &call, reply)
		}
	}
	if err == nil {
		err = v.finish(reply)
	}
	if failed := (*FunctionError)(nil); err != nil && !errors.As(err, &failed) {
		return capsule.Outcome{}, err
	}
	return outcomeOfReply(reply, err), nil
}

// finish reads the reply of a call that puts nothing.
func (v *version) finish(reply *Reply) error {
	reply.read()
	return v.checkGrants(reply)
}

// outcomeOfReply is what a call came to, copied.
func outcomeOfReply(reply *Reply, err error) capsule.Outcome {
	o := capsule.Outcome{Kind: outcomeOK, DurationNs: int64(reply.Duration), MemoryPeak: reply.MemoryPeak}
	if failed := (*FunctionError)(nil); errors.As(err, &failed) {
		o.Kind, o.Message, o.Type, o.Stack, o.ExitCode = string(failed.Kind), failed.Message, failed.Type, failed.Stack, failed.ExitCode
		return o
	}
	o.Body, o.State = bytes.Clone(reply.Body), bytes.Clone(reply.State)
	for _, r := range reply.Outcomes {
		o.Records = append(o.Records, capsule.RecordResult{Index: r.Index, Result: resultName(r.Result), Reason: r.Reason})
	}
	for out := range reply.parsed.Outputs() {
		o.Outputs = append(o.Outputs, capsule.Output{Stream: text(out.Stream), Records: capsule.Join([]record.Run{out.Records})})
	}
	return o
}

func resultName(r Result) string {
	switch r {
	case ResultDropped:
		return "dropped"
	case ResultRetry:
		return "retry"
	case ResultRejected:
		return "rejected"
	}
	return strconv.Itoa(int(r))
}

// compileHere is what compiles a script where nothing else is said.
func compileHere(_ context.Context, source []byte, language Language) (*quickjs.Script, error) {
	return quickjs.Compile(source, language)
}

// admit makes the program of code that is replayed: a module, or a source in either language of scripts.
func (e *engine) admit(ctx context.Context, code []byte, config *Config, o *ReplayOptions) (*program, error) {
	isModule := len(code) == 0 || code[0] == wasm.Header[0]
	info, err := inspect(code)
	if !isModule {
		info, err = scriptModule()
	}
	if err != nil {
		return nil, uninspected(err)
	}
	if isModule {
		err = info.admit(e.host, config)
	} else {
		err = info.admitMemory(config)
	}
	if err != nil {
		return nil, err
	}
	var p *program
	if isModule {
		p, err = e.compile(ctx, code, digestOf(code))
	} else {
		var script *quickjs.Script
		if script, err = o.CompileScript(ctx, code, JavaScript); err != nil {
			script, err = o.CompileScript(ctx, code, TypeScript)
		}
		if err == nil {
			p, err = e.script(ctx, script.Input())
		}
	}
	if err != nil {
		return nil, badCode("does not compile: "+err.Error(), "")
	}
	p.command = info.command()
	if p.source != nil {
		p.source.code, p.source.read = func(context.Context) ([]byte, error) { return code, nil }, o.FindLines
	}
	return p, nil
}

// ReplayOptions are what a replay can be given. The zero value works.
type ReplayOptions struct {
	CacheDir string            // keeps compiled code, as Options.CacheDir; "" keeps none
	Secrets  map[string][]byte // values of the secrets that Capsule.During names
	// CompileScript, CompileModule and FindLines are as those of Options.
	CompileScript func(ctx context.Context, source []byte, language Language) (*quickjs.Script, error)
	CompileModule func(ctx context.Context, code []byte, lines bool, dir string) error
	FindLines     func(ctx context.Context, code []byte, places []uint32) ([][]string, error)
}

// Replayed is what a capsule's call came to when it was made again.
type Replayed struct {
	capsule.Outcome
	// Overread says that the code read more of clocks and random numbers than the capsule has: from there on it had this machine's.
	Overread bool
	// Unanswered are the calls of the host, for people, that the capsule has no answer to, at most 100; Misses is how many there were. They were
	// answered with abi.StatusUnavailable.
	Unanswered []string
	Misses     int
	// Unasked are the calls of the host that the capsule has answers to, and that were not made, at most 100; Left is how many there are.
	Unasked []string
	Left    int
}

// Diverged is whether the code asked for what the capsule does not have.
func (r *Replayed) Diverged() bool { return r.Overread || r.Misses > 0 }

// Replay makes a capsule's call in a new instance of code, with the capsule's own readings, answers and limits, and puts nothing. With the code
// that the capsule was made with, and the secrets that it had, it comes to c.Again, always. With other code a call of the host is answered as the
// same call was in the capsule, and one about an entry of a state table from what the capsule tells of it and the code's own changes. Errors: a
// *FieldError for code that is refused, and that of ctx.
func Replay(ctx context.Context, code []byte, c *capsule.Capsule, o ReplayOptions) (r Replayed, err error) {
	logger := slog.New(slog.DiscardHandler)
	e, err := newEngine(ctx, meter{}, o.CacheDir, logger)
	if err != nil {
		return r, fmt.Errorf("runtime: replay: %w", err)
	}
	e.apart.into = o.CompileModule
	config := Config{
		Timeout: time.Duration(c.Limits.TimeoutMs) * time.Millisecond, MemoryBytes: c.Limits.MemoryBytes, Fuel: c.Limits.Fuel, Emit: c.Limits.Emit, Env: c.Limits.Env, Secrets: c.Limits.Secrets, State: c.Limits.State, HTTP: c.Limits.HTTP,
	}
	if config, err = config.normalize(); err != nil {
		return r, fmt.Errorf("runtime: replay: %w", err)
	}
	if o.CompileScript == nil {
		o.CompileScript = compileHere
	}
	p, err := e.admit(ctx, code, &config, &o)
	if err != nil {
		return r, fmt.Errorf("runtime: replay: %w", err)
	}
	defer func() { err = errors.Join(err, p.close()) }()
	v := newVersion(identity{function: c.Function, number: c.Version, digest: digestOf(code), size: len(code), config: config})
	start, during := playerOf(&c.Start, c.Format, nil), playerOf(&c.During, c.Format, o.Secrets)
	r.Outcome, err = replay(ctx, p, v, c, &senses{play: start}, during)
	r.Overread = start.over || during.over
	r.Unanswered, r.Misses = during.answers.missing, during.answers.misses
	r.Unasked, r.Left = during.answers.untold()
	return r, err
}
