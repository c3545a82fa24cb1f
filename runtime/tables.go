package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/sdk/abi"
)

// MaxState is how many state tables one function may be granted.
const MaxState = 32

// sharedPrefix marks the grant of a table that all functions have that are granted it; without it the function has one for each
// mapping and shard that it runs for.
const sharedPrefix = "shared:"

// ErrState: what a call has changed of the state could not be made durable. What it emitted may have been put.
var ErrState = errors.New("state could not be stored")

// normalizeState sorts granted tables and checks them. A name is granted once, private or shared.
func normalizeState(list []string) ([]string, error) {
	bare := make([]string, len(list))
	for i, grant := range list {
		bare[i] = strings.TrimPrefix(grant, sharedPrefix)
	}
	if _, err := names("state", "tables", bare, MaxState, abi.MaxTableNameBytes); err != nil {
		return nil, err
	}
	return distinct(list)
}

// distinct sorts the grants, and refuses two of one name.
func distinct(list []string) ([]string, error) {
	seen := map[string]string{}
	var out []string
	for _, grant := range list {
		name := strings.TrimPrefix(grant, sharedPrefix)
		switch before, twice := seen[name]; {
		case !twice:
			seen[name] = grant
			out = append(out, grant)
		case before != grant:
			return nil, field.Invalid("state", name, "private or shared, not both")
		}
	}
	return sorted(out), nil
}

// stateDoors are the doors to state.
func stateDoors() map[string]door {
	granted := func(c *Config) bool { return len(c.State) > 0 }
	doors := map[string]door{}
	for name, call := range map[string]func(*visit, context.Context, api.Memory, []uint64) int64{
		abi.ImportStateGet: (*visit).stateGet, abi.ImportStatePut: (*visit).statePut,
		abi.ImportStateDelete: (*visit).stateDelete, abi.ImportStateList: (*visit).stateList,
	} {
		doors[name] = door{call: call, needs: "a state table", granted: granted}
	}
	return doors
}

// table reads the name of a table, the first argument of every door to state, and finds what it is for this call. A status that is not 0 is the
// answer.
func (v *visit) table(m api.Memory, args []uint64) (t state.Table, status int64) {
	view, problem := text32(m, args[0], args[1], abi.MaxTableNameBytes)
	if problem != "" {
		return t, v.refuse(abi.StatusInvalid, "the name of a state table %s", problem)
	}
	name := text(view)
	for _, grant := range v.config.State {
		bare, shared := strings.CutPrefix(grant, sharedPrefix)
		switch {
		case bare != name:
		case shared && v.trial == nil:
			t = state.Table{Name: name, Shared: true}
		default:
			t = v.owner
			t.Name = name
		}
	}
	if t.Name == "" {
		return t, v.denied("state", fmt.Sprintf("it asked for state table %q", name))
	}
	return t, 0
}

// askState has a question answered from the batch of the call, which is begun with the first.
func (v *visit) askState(ctx context.Context, q question, do func(*state.Batch) int64) int64 {
	return v.ask(ctx, q, func() int64 {
		if v.doors.State == nil {
			return v.refuse(abi.StatusUnavailable, "the host keeps no state")
		}
		if v.batch == nil {
			v.batch = v.doors.State.Begin()
		}
		return do(v.batch)
	})
}

// entry reads table and key, the first arguments of the doors to one entry.
func (v *visit) entry(m api.Memory, args []uint64) (t state.Table, key string, status int64) {
	if t, status = v.table(m, args); status != 0 {
		return t, "", status
	}
	view, problem := text32(m, args[2], args[3], abi.MaxKeyBytes)
	if problem != "" {
		return t, "", v.refuse(abi.StatusInvalid, "the key %s", problem)
	}
	return t, string(view), 0
}

// stateProblem is the status for an error of a batch.
func (v *visit) stateProblem(err error) int64 {
	var refused *field.Error
	switch {
	case errors.As(err, &refused):
		return v.refuse(abi.StatusInvalid, "%v", refused)
	case errors.Is(err, state.ErrConflict):
		return v.refuse(abi.StatusConflict, "%v", err)
	}
	return v.failed("state cannot be read", err)
}

func (v *visit) stateGet(ctx context.Context, m api.Memory, args []uint64) int64 {
	t, key, status := v.entry(m, args)
	if status != 0 {
		return status
	}
	q := asked(abi.ImportStateGet, []byte(t.Name), []byte(key))
	return v.askState(ctx, q, func(b *state.Batch) int64 {
		e, found, err := b.Get(t, key)
		switch {
		case err != nil:
			return v.stateProblem(err)
		case !found:
			return v.refuse(abi.StatusNotFound, "there is no key %q in state table %s", key, t.Name)
		}
		v.result = append(binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(e.Value)), uint64(e.Revision)), e.Value...)
		return int64(len(v.result))
	})
}

// expectation reads the last argument of a change. What is less than -1 means nothing.
func (v *visit) expectation(arg uint64) (expected, status int64) {
	if int64(arg) < state.Any {
		return 0, v.refuse(abi.StatusInvalid, "the expected revision is %d; it must be a revision, 0 or -1", int64(arg))
	}
	return int64(arg), 0
}

func (v *visit) statePut(ctx context.Context, m api.Memory, args []uint64) int64 {
	t, key, status := v.entry(m, args)
	if status != 0 {
		return status
	}
	value, ok := m.Read(api.DecodeU32(args[4]), api.DecodeU32(args[5]))
	if !ok {
		return v.refuse(abi.StatusInvalid, "the value lies outside of memory")
	}
	expected, status := v.expectation(args[6])
	if status != 0 {
		return status
	}
	q := asked(abi.ImportStatePut, []byte(t.Name), []byte(key), value, word(expected))
	return v.askState(ctx, q, func(b *state.Batch) int64 {
		revision, err := b.Put(t, key, value, expected)
		if err != nil {
			return v.stateProblem(err)
		}
		v.result = nil
		return revision
	})
}

func (v *visit) stateDelete(ctx context.Context, m api.Memory, args []uint64) int64 {
	t, key, status := v.entry(m, args)
	if status != 0 {
		return status
	}
	expected, status := v.expectation(args[4])
	if status != 0 {
		return status
	}
	q := asked(abi.ImportStateDelete, []byte(t.Name), []byte(key), word(expected))
	return v.askState(ctx, q, func(b *state.Batch) int64 {
		if err := b.Delete(t, key, expected); err != nil {
			return v.stateProblem(err)
		}
		v.result = nil
		return 0
	})
}

func (v *visit) stateList(ctx context.Context, m api.Memory, args []uint64) int64 {
	t, status := v.table(m, args)
	if status != 0 {
		return status
	}
	prefix, ok := m.Read(api.DecodeU32(args[2]), api.DecodeU32(args[3]))
	after, also := m.Read(api.DecodeU32(args[4]), api.DecodeU32(args[5]))
	if !ok || !also || len(prefix) > abi.MaxKeyBytes || len(after) > abi.MaxKeyBytes {
		return v.refuse(abi.StatusInvalid, "prefix or after has more than %d bytes, or lies outside of memory", abi.MaxKeyBytes)
	}
	limit := int(min(api.DecodeU32(args[6]), abi.MaxStateList))
	q := asked(abi.ImportStateList, []byte(t.Name), prefix, after, word(int64(limit)))
	return v.askState(ctx, q, func(b *state.Batch) int64 {
		list, more, err := b.List(t, string(prefix), string(after), limit)
		if err != nil {
			return v.stateProblem(err)
		}
		entries := make([]abi.StateEntry, len(list))
		for i, e := range list {
			entries[i] = abi.StateEntry{Revision: e.Revision, Key: []byte(e.Key), Value: e.Value}
		}
		v.result = abi.AppendStateList(nil, entries, more)
		return int64(len(v.result))
	})
}

// stateFailure is what an error of making a call's state durable means: a *FunctionError, or an ErrState.
func stateFailure(v *version, reply *Reply, err error) error {
	kind := FailConflict
	switch {
	case errors.Is(err, state.ErrConflict):
	case errors.Is(err, state.ErrFull):
		kind = FailRefused
	default:
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return &FunctionError{
		Function: v.function, Version: v.number, Invocation: reply.Invocation, Kind: kind,
		Message: "its changes of state were not stored: " + err.Error(),
	}
}
