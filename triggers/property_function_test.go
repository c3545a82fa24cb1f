package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shardmill/shardmill/internal/aggregate"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// unit is a record as the function has it: one that was put, or those of an aggregate that is handed over as it is stored.
type unit []*item

func (u unit) String() string {
	var names []string
	for _, it := range u {
		names = append(names, it.name)
	}
	return fmt.Sprint(names)
}

// units finds what was put of some records; nil for one that nobody has put.
func (w *world) units(runs []record.Run) (list []unit) {
	for _, run := range runs {
		for r := range run.All() {
			var u unit
			var users aggregate.Reader
			if users.Split(r.Data) {
				for user, ok := users.Next(); ok; user, ok = users.Next() {
					u = append(u, w.records[string(user.Data)])
				}
			} else {
				u = unit{w.records[string(r.Data)]}
			}
			if slices.Contains(u, nil) {
				u = nil
			}
			list = append(list, u)
		}
	}
	return list
}

// fails says whether a record makes a delivery fail. Some always do: only where the mapping gives something up.
func (w *world) fails(u unit) bool {
	return slices.ContainsFunc(u, func(it *item) bool {
		c := w.chance("fails", it.name)
		if m := w.mapping(); c < 4 && givesUp(&m) {
			return true
		}
		return c < 20 && w.attempts[it.name] <= c%4
	})
}

// begin checks a delivery.
func (w *world) begin(c runtime.Call) (units []unit, lock []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	shard := shards.ShardID(c.Source.Shard)
	if !w.during(time.Now(), func(m *Mapping) bool { return runs(m, c) }) {
		w.violated("version %d of alias %q was called", c.Version, c.Alias)
	}
	if !c.Window.Start.IsZero() {
		lock = append(lock, shard.String())
		w.began[shard.String()] = time.Now()
	}
	units = w.units(c.Records)
	seen := map[string]bool{}
	for i, u := range units {
		for _, it := range u {
			w.delivered(it, shard, seen)
			if l := it.key + "/" + it.stored; w.mixed() && !slices.Contains(lock, l) {
				lock = append(lock, l)
			} else if !w.mixed() && !slices.Contains(lock, it.key) {
				lock = append(lock, it.key)
			}
		}
		if u == nil {
			w.violated("shard %d was handed %q", shard, textOf(c.Records)[i])
			return nil, nil
		}
	}
	if len(units) > w.largest {
		w.violated("a call of %d records", len(units))
	}
	for _, l := range lock {
		if w.running[l] {
			w.violated("two calls at once for %s", l)
		}
		w.running[l] = true
	}
	return units, lock
}

// delivered checks that it is a record's turn. seen are those before it in the call.
func (w *world) delivered(it *item, shard shards.ShardID, seen map[string]bool) {
	if it.shard != shard || it.passed || w.excluded(it) {
		w.violated("shard %d was handed %s: %+v", shard, it.name, it)
	}
	for _, before := range w.keys[it.key] {
		if before == it {
			break
		}
		if !before.done && !seen[before.name] && !w.filtered(before) && (!w.mixed() || before.stored == it.stored) {
			w.violated("%s came before %s was done", it.name, before.name)
		}
	}
	seen[it.name] = true
	w.attempts[it.name]++
	w.began[it.name] = time.Now()
}

// runs says whether a call is of the version that a mapping names.
func runs(m *Mapping, c runtime.Call) bool {
	want := map[string]runtime.Call{"2": {Version: 2}, "prod": {Alias: "prod"}}[m.Qualifier]
	return c.Version == want.Version && c.Alias == want.Alias
}

func (w *world) invoke(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
	units, lock := w.begin(c)
	w.mu.Lock()
	n := w.calls
	takes := time.Duration(w.chance("takes", n)) * time.Second / 50
	for _, u := range units {
		if u[0].key == "k1" && w.chance("slow", u[0].name) < 30 {
			takes += time.Minute
		}
	}
	w.mu.Unlock()
	alive := sleep(ctx, takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range lock {
		delete(w.running, l)
	}
	if !alive {
		return ctx.Err()
	}
	switch luck := w.chance("call", n); {
	case luck < 5:
		return runtime.ErrThrottled
	case luck < 8:
		return runtime.ErrEmit
	}
	if c.Kind == runtime.KindWindowClose {
		return w.close(c, n)
	}
	return w.handle(c, units, reply, n)
}

// handle settles what does not fail.
func (w *world) handle(c runtime.Call, units []unit, reply *runtime.Reply, n int) error {
	retryFrom := len(units)
	for i, u := range units {
		if w.fails(u) {
			if w.chance("how", n) < 60 || w.deaf {
				return fmt.Errorf("invoke: %w", &runtime.FunctionError{Kind: failureKinds[w.chance("kind", n)%len(failureKinds)], Message: u.String()})
			}
			retryFrom = min(retryFrom, i)
		}
	}
	state := map[string]bool{}
	if len(c.State) > 0 {
		if err := json.Unmarshal(c.State, &state); err != nil {
			w.violated("state %q", c.State)
		}
	}
	for i, u := range units[:retryFrom] {
		if w.chance("rejects", u[0].name) < 5 {
			reply.Outcomes = append(reply.Outcomes, runtime.Outcome{Index: i, Result: runtime.ResultRejected, Reason: "rejected"})
		}
		for _, it := range u {
			w.handled(c, it, state)
		}
	}
	if retryFrom < len(units) {
		reply.Outcomes = append(reply.Outcomes, runtime.Outcome{Index: retryFrom, Result: runtime.ResultRetry, Reason: "later"})
	}
	if !c.Window.Start.IsZero() {
		reply.State, _ = json.Marshal(state)
	}
	return nil
}

// handled notes that a record is done, and puts it into the state of a window.
func (w *world) handled(c runtime.Call, it *item, state map[string]bool) {
	it.done = true
	if c.Window.Start.IsZero() {
		return
	}
	if it.arrival.Before(c.Window.Start) || !it.arrival.Before(c.Window.End) {
		w.violated("%s of %v is not in the window from %v", it.name, it.arrival, c.Window.Start)
	}
	if state[it.name] {
		w.violated("%s is in the state already", it.name)
	}
	state[it.name], it.counted = true, true
}

// close notes which records the state of a window had.
func (w *world) close(c runtime.Call, n int) error {
	if w.chance("close", n) < 30 {
		return failure("the window does not close")
	}
	state := map[string]bool{}
	if len(c.State) > 0 {
		if err := json.Unmarshal(c.State, &state); err != nil {
			w.violated("state %q", c.State)
		}
	}
	for name := range state {
		w.windowed[name] = true
	}
	return nil
}

func (w *world) Check(context.Context, string) error { return nil }

// Deliver is the on-failure destination.
func (w *world) Deliver(ctx context.Context, _ string, f Failure) error {
	if !sleep(ctx, 10*time.Millisecond) {
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return errors.New("the destination is down")
	}
	units := w.units(f.Records)
	for _, u := range units {
		if u == nil {
			w.violated("%q was stored", textOf(f.Records))
			return nil
		}
		for _, it := range u {
			it.done = true
		}
	}
	if f.Count > 0 && f.Count != len(units) {
		w.violated("a failure of %d records says %d", len(units), f.Count)
	}
	switch f.Reason {
	case AttemptsExhausted:
		w.exhausted(&f, units)
	case AgeExceeded:
		if !w.during(f.Time, func(m *Mapping) bool { return m.MaxRecordAge > 0 && f.Time.Sub(f.LastArrival) >= m.MaxRecordAge }) {
			w.violated("records of %v were given up for their age", f.LastArrival)
		}
	case RecordRejected:
	default:
		w.violated("records were given up for %q", f.Reason)
	}
	return nil
}

// exhausted checks that records had their attempts. A limit that was lowered meanwhile may have been passed.
func (w *world) exhausted(f *Failure, units []unit) {
	last := w.began[shards.ShardID(f.Source.Shard).String()] // a window's close has no records
	for _, u := range units {
		last = w.began[u[0].name]
	}
	if !w.during(last, func(m *Mapping) bool { return m.MaxAttempts > 0 && f.Attempts >= m.MaxAttempts }) {
		w.violated("records were given up after %d attempts", f.Attempts)
	}
	if m := w.mapping(); f.Attempts > m.MaxAttempts && !w.ever(func(was *Mapping) bool { return was.MaxAttempts != m.MaxAttempts }) {
		w.violated("records were given up after %d attempts, want %d", f.Attempts, m.MaxAttempts)
	}
}

// checkSave is asked before each checkpoint.
func (w *world) checkSave(cp shards.Checkpoint) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, it := range w.records {
		if uint32(it.shard) == cp.Shard && it.sequence <= cp.Sequence && !it.done && !w.filtered(it) {
			w.violated("the checkpoint %d of shard %d covers %s", cp.Sequence, cp.Shard, it.name)
		}
	}
	return nil
}
