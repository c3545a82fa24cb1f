package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/sdk/abi"
)

// Doors are what functions reach of the outside besides streams, each as far as its configuration grants. A door that is nil
// answers that it is not available.
type Doors struct {
	Secrets Secrets
	State   Tables
	HTTP    HTTP
}

// Tables has the state tables of functions; *state.Store is one. Its methods may be called from several goroutines.
type Tables interface {
	// Begin makes the batch of one call.
	Begin() *state.Batch
	// Drop removes the tables that match, and returns when that is durable.
	Drop(match func(state.Table) bool) (int, error)
}

// Secrets has the values of secrets by name. Secret may block until ctx ends; it is called from many goroutines, and the
// caller does not change the value. Its error is, or wraps, ErrNoSecret when there is none of that name.
type Secrets interface {
	Secret(ctx context.Context, name string) ([]byte, error)
}

// ErrNoSecret is the error of Secrets for a name that it does not have.
var ErrNoSecret = errors.New("no such secret")

// door is one function that the host exports to guests.
type door struct {
	abi.HostFunction
	needs string // what a configuration has to grant, in words
	// granted says whether a configuration has any use for it; nil: always.
	granted func(*Config) bool
	brief   bool // it does not block
	// call answers what the guest gets; a negative number is a status, and then visit.result is the sentence about it. The
	// arguments are its parameters.
	call func(v *visit, ctx context.Context, m api.Memory, args []uint64) int64
}

// hostDoors are the functions of sdk/abi.md §6.
func hostDoors() []door {
	behaviour := map[string]door{
		abi.ImportResult: {call: (*visit).takeResult, brief: true},
		abi.ImportSecret: {call: (*visit).secret, needs: "a secret", granted: func(c *Config) bool { return len(c.Secrets) > 0 }},
	}
	maps.Copy(behaviour, stateDoors())
	maps.Copy(behaviour, fetchDoors())
	var out []door
	for _, f := range abi.HostFunctions() {
		d := behaviour[f.Name]
		d.HostFunction = f
		out = append(out, d)
	}
	return out
}

var valueTypes = map[string]api.ValueType{"i32": api.ValueTypeI32, "i64": api.ValueTypeI64}

// hostModule is the module that guests import the doors from.
func hostModule(r wazero.Runtime) wazero.HostModuleBuilder {
	b := r.NewHostModuleBuilder(abi.ImportModule)
	for _, d := range hostDoors() {
		var params []api.ValueType
		for _, p := range strings.Fields(d.Params) {
			params = append(params, valueTypes[p])
		}
		b = b.NewFunctionBuilder().
			WithGoModuleFunction(api.GoModuleFunc(d.enter), params, []api.ValueType{valueTypes[d.Result]}).
			WithName(d.Name).Export(d.Name)
	}
	return b
}

// visitKey is how a host function finds, in the context that the guest is called under, whose visit it is.
type visitKey struct{}

// enter is what a guest calls.
func (d *door) enter(ctx context.Context, m api.Module, stack []uint64) {
	v, _ := ctx.Value(visitKey{}).(*visit)
	status := int64(abi.StatusNoCall)
	switch {
	case v != nil && v.open && (d.granted == nil || d.granted(v.config)):
		started := time.Now()
		v.outcome = ""
		status = d.pass(ctx, v, m.Memory(), stack)
		stopped := ctx.Err() != nil
		if v.metrics != nil && d.Name != abi.ImportResult {
			v.metrics.passed(d.Name, outcomeOfDoor(v, status, stopped), time.Since(started))
		}
		if w, _ := ctx.Value(watchKey{}).(*watch); stopped && w != nil {
			w.halt() // its time is over: what it waited for is no use to it
		}
	case v != nil && v.open:
		status = v.denied(d.Name, "it may not call "+abi.ImportModule+"."+d.Name)
	case d.Result == "i32":
		status = 0
	}
	stack[0] = uint64(status)
	if d.Result == "i32" {
		stack[0] = api.EncodeI32(int32(status))
	}
}

// outcomeOfDoor names what became of a call of a door, for the metrics.
func outcomeOfDoor(v *visit, status int64, stopped bool) string {
	switch {
	case stopped:
		return "stopped"
	case status < 0:
		return strings.ReplaceAll(abi.Status(status).String(), " ", "_")
	case v.outcome != "":
		return v.outcome
	}
	return outcomeOK
}

// pass calls the door. While it blocks somebody has to end ctx when the guest's time is up.
func (d *door) pass(ctx context.Context, v *visit, m api.Memory, args []uint64) int64 {
	if w, ok := ctx.Value(watchKey{}).(*watch); ok && !d.brief {
		defer w.attend()()
	}
	return d.call(v, ctx, m, args)
}

// visit is one instance's way to the outside. Only the goroutine that runs the instance uses it.
type visit struct {
	doors   *Doors
	config  *Config
	log     *capture
	metrics *functionMetrics // nil in the trial of an upload
	senses  *senses          // the instance's: what it is answered is noted there, or comes from there
	open    bool             // a call is under way
	files   bool             // the guest has changed what its stdin, stdout and stderr are

	result  []byte            // of the last door
	outcome string            // of the last door, where ok does not say it all
	known   map[string][]byte // values of the secrets that the instance has been given, by name
	owner   state.Table
	trial   *Trial       // of the call; nil: it is none
	batch   *state.Batch // of the call; nil until it reaches for state
}

// begin lets a call pass, and end nobody. end gives what the call has changed of the state, nil for nothing.
func (v *visit) begin(id *identity, call *Call) {
	v.open, v.trial = true, call.Trial
	v.owner = state.Table{Function: id.function, Mapping: call.Source.Mapping, Shard: call.Source.Shard}
	if v.trial != nil {
		v.owner.Mapping = state.Trials + v.trial.Tables // no mapping can be called so
	}
}

func (v *visit) end() *state.Batch {
	b := v.batch
	v.senses.note.end(v.known)
	v.open, v.result, v.batch, v.trial = false, nil, nil, nil
	if b == nil || b.Changes() == 0 {
		return nil
	}
	return b
}

// refuse keeps the sentence about a status and gives the status back.
func (v *visit) refuse(s abi.Status, format string, args ...any) int64 {
	text := fmt.Appendf(nil, format, args...)
	v.result = bytes.ToValidUTF8(text[:min(len(text), abi.MaxHostMessageBytes)], nil)
	return int64(s)
}

// denied counts and logs what the configuration does not grant.
func (v *visit) denied(door, what string) int64 {
	if v.metrics != nil {
		v.metrics.denied(door)
	}
	v.log.note(abi.LevelWarn, "denied: "+what+", which its configuration does not grant")
	return v.refuse(abi.StatusDenied, "%s, which the function's configuration does not grant", what)
}

// failed is the status for an error of the host's own.
func (v *visit) failed(what string, err error) int64 {
	v.log.note(abi.LevelError, what+": "+err.Error())
	return v.refuse(abi.StatusUnavailable, "%s: %v", what, err)
}

// text32 reads an argument of at least 1 and at most limit bytes; the view is good until the guest runs again. Where it is not there, problem
// says why.
func text32(m api.Memory, ptr, size uint64, limit int) (view []byte, problem string) {
	n := api.DecodeU32(size)
	if n == 0 || int64(n) > int64(limit) {
		return nil, fmt.Sprintf("has %d bytes; it must be 1 to %d", n, limit)
	}
	view, ok := m.Read(api.DecodeU32(ptr), n)
	if !ok {
		return nil, "lies outside of memory"
	}
	return view, ""
}

// takeResult is the door "result".
func (v *visit) takeResult(_ context.Context, m api.Memory, args []uint64) int64 {
	n := min(int(api.DecodeU32(args[1])), len(v.result))
	m.Write(api.DecodeU32(args[0]), v.result[:n]) // outside of memory it writes nothing
	return int64(len(v.result))
}

// secret is the door "secret".
func (v *visit) secret(ctx context.Context, m api.Memory, args []uint64) int64 {
	view, problem := text32(m, args[0], args[1], abi.MaxSecretNameBytes)
	if problem != "" {
		return v.refuse(abi.StatusInvalid, "the name of a secret %s", problem)
	}
	name := text(view)
	if _, granted := slices.BinarySearch(v.config.Secrets, name); !granted {
		return v.denied(abi.ImportSecret, fmt.Sprintf("it asked for secret %q", name))
	}
	return v.ask(ctx, asked(abi.ImportSecret, []byte(name)), func() int64 { return v.readSecret(ctx, name) })
}

func (v *visit) readSecret(ctx context.Context, name string) int64 {
	if v.doors.Secrets == nil {
		return v.refuse(abi.StatusUnavailable, "the host has no secrets")
	}
	value, err := v.doors.Secrets.Secret(ctx, name)
	switch {
	case errors.Is(err, ErrNoSecret):
		return v.refuse(abi.StatusNotFound, "the host has no secret %q", name)
	case err != nil:
		return v.failed(fmt.Sprintf("secret %q cannot be read", name), err)
	}
	return v.hand(value)
}

// hand gives the guest the value of a secret.
func (v *visit) hand(value []byte) int64 {
	v.log.hide(value)
	v.result = value
	return int64(len(value))
}
