package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/internal/aggregate/aggregatetest"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// world plays the function and the on-failure destination for TestProperties, and holds the package to what it promises, whatever the settings:
//
//   - a record that the filter lets through is handled, or stored at the destination, or pending; never lost;
//   - the records of a key come in order, and never two calls at once have the same key, nor without lanes the same shard;
//   - the checkpoint covers only what is handled or stored;
//   - what is given up has had the attempts that the settings say;
//   - a window's state has each of its records once.
type world struct {
	seed    uint32
	mapping Mapping // as it was made; what changes later is in force from some batch on
	largest int     // batch size
	deaf    bool    // replies are not looked at, so that nothing can be asked for again but all
	whole   bool    // no record is in an aggregate, whose records Lambda's door cannot tell apart

	mu       sync.Mutex
	records  map[string]*item // by "key.number"
	keys     map[string][]*item
	shards   map[shards.ShardID]*domain
	running  map[string]bool // keys, and shards without lanes
	attempts map[string]int  // deliveries of a record
	down     bool            // the destination
	windowed map[string]bool // records that a closed window's state had
	wrong    string
	calls    int
}

// item is one record that was put.
type item struct {
	name     string
	key      string
	shard    shards.ShardID
	sequence uint64 // of the stored record
	arrival  time.Time
	done     bool // handled, or stored at the destination
	counted  bool // by its function, in a window's state
}

// domain is the keys of an open shard.
type domain struct {
	keys   []string
	closed bool
}

func (w *world) violated(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// chance is a number from 0 to 99 that depends on what is given.
func (w *world) chance(of ...any) int {
	h := fnv.New32a()
	fmt.Fprint(h, w.seed, of)
	return int(h.Sum32() >> 3 % 100)
}

// filtered are the records that the filter, if there is one, keeps from the function.
func (w *world) filtered(key string) bool { return len(w.mapping.Filters) > 0 && key == "k0" }

// poison are records that always fail: only where the mapping gives something up.
func (w *world) fails(it *item, delivery int) bool {
	c := w.chance("fails", it.name)
	if c < 4 && (w.mapping.MaxAttempts > 0 || w.mapping.MaxRecordAge > 0) {
		return true
	}
	return c < 20 && delivery <= c%4
}

// begin checks a delivery.
func (w *world) begin(c runtime.Call) (items []*item, lock []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	shard := shards.ShardID(c.Source.Shard)
	if w.mapping.TumblingWindow > 0 {
		lock = append(lock, shard.String())
	}
	seen := map[string]bool{}
	for _, text := range textOf(c.Records) {
		it := w.records[text]
		if it == nil || it.shard != shard || w.filtered(it.key) {
			w.violated("shard %d was handed %q", shard, text)
			return nil, nil
		}
		for _, before := range w.keys[it.key] {
			if before == it {
				break
			}
			if !before.done && !seen[before.name] {
				w.violated("%s came before %s was done", it.name, before.name)
			}
		}
		if !seen[it.name] && !slices.Contains(lock, it.key) {
			lock = append(lock, it.key)
		}
		seen[it.name] = true
		items = append(items, it)
		w.attempts[it.name]++
	}
	if len(items) > w.largest {
		w.violated("a call of %d records", len(items))
	}
	for _, l := range lock {
		if w.running[l] {
			w.violated("two calls at once for %s", l)
		}
		w.running[l] = true
	}
	return items, lock
}

func (w *world) invoke(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
	items, lock := w.begin(c)
	w.mu.Lock()
	n := w.calls
	takes := time.Duration(w.chance("takes", n)) * time.Second / 50
	for _, it := range items {
		if it.key == "k1" && w.chance("slow", it.name) < 30 {
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
	return w.handle(c, items, reply, n)
}

// handle settles what does not fail.
func (w *world) handle(c runtime.Call, items []*item, reply *runtime.Reply, n int) error {
	retryFrom := len(items)
	for i, it := range items {
		if w.fails(it, w.attempts[it.name]) {
			if w.chance("how", n) < 60 || w.deaf {
				return fmt.Errorf("invoke: %w", &runtime.FunctionError{Kind: failureKinds[w.chance("kind", n)%len(failureKinds)], Message: it.name})
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
	for i, it := range items[:retryFrom] {
		if w.chance("rejects", it.name) < 5 {
			reply.Outcomes = append(reply.Outcomes, runtime.Outcome{Index: i, Result: runtime.ResultRejected, Reason: "rejected"})
		}
		it.done = true
		if c.Window.Start.IsZero() {
			continue
		}
		if it.arrival.Before(c.Window.Start) || !it.arrival.Before(c.Window.End) {
			w.violated("%s of %v is not in the window from %v", it.name, it.arrival, c.Window.Start)
		}
		if state[it.name] {
			w.violated("%s is in the state already", it.name)
		}
		state[it.name], it.counted = true, true
	}
	if retryFrom < len(items) {
		reply.Outcomes = append(reply.Outcomes, runtime.Outcome{Index: retryFrom, Result: runtime.ResultRetry, Reason: "later"})
	}
	if !c.Window.Start.IsZero() {
		reply.State, _ = json.Marshal(state)
	}
	return nil
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
	for _, text := range textOf(f.Records) {
		it := w.records[text]
		if it == nil {
			w.violated("%q was stored", text)
			return nil
		}
		it.done = true
	}
	if f.Count > 0 && f.Count != len(textOf(f.Records)) {
		w.violated("a failure of %d records says %d", len(textOf(f.Records)), f.Count)
	}
	switch f.Reason {
	case AttemptsExhausted:
		if f.Attempts != w.mapping.MaxAttempts {
			w.violated("records were given up after %d attempts, want %d", f.Attempts, w.mapping.MaxAttempts)
		}
	case AgeExceeded:
		if w.mapping.MaxRecordAge == 0 || time.Since(f.LastArrival) < w.mapping.MaxRecordAge {
			w.violated("records of %v were given up for their age", f.LastArrival)
		}
	case RecordRejected:
	default:
		w.violated("records were given up for %q", f.Reason)
	}
	return nil
}

// checkSave is asked before each checkpoint.
func (w *world) checkSave(cp shards.Checkpoint) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, it := range w.records {
		if uint32(it.shard) == cp.Shard && it.sequence <= cp.Sequence && !it.done && !w.filtered(it.key) {
			w.violated("the checkpoint %d of shard %d covers %s", cp.Sequence, cp.Shard, it.name)
		}
	}
	return nil
}

// put stores n records of each key that a shard has, some of them aggregated.
func (w *world) put(b *bench, shard shards.ShardID, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.shards[shard]
	if d == nil || d.closed {
		return
	}
	var list []record.Record
	var users []aggregatetest.User
	now := time.Now()
	next := b.stream.nextOf(int(shard))
	for i := range n {
		for _, key := range d.keys {
			it := &item{
				name: key + "." + strconv.Itoa(len(w.keys[key])), key: key, shard: shard, arrival: now.Truncate(time.Microsecond),
				sequence: next + uint64(len(list)),
			}
			w.records[it.name] = it
			w.keys[key] = append(w.keys[key], it)
			if !w.whole && w.chance("aggregated", i, len(w.records)) < 20 {
				users = append(users, aggregatetest.User{Key: key, Data: it.name})
				if len(users) < 3 {
					continue
				}
			} else if len(users) == 0 {
				list = append(list, record.Record{Key: []byte(key), Data: []byte(it.name)})
				continue
			} else {
				users = append(users, aggregatetest.User{Key: key, Data: it.name})
			}
			list = append(list, record.Record{Key: []byte("aggregate"), Data: aggregatetest.Encode(users...)})
			users = nil
		}
	}
	if len(users) > 0 {
		list = append(list, record.Record{Key: []byte("aggregate"), Data: aggregatetest.Encode(users...)})
	}
	b.stream.putRecords(int(shard), list)
}

// reshard splits a shard, or merges it with another.
func (w *world) reshard(b *bench, at, other shards.ShardID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, e := w.shards[at], w.shards[other]
	if d == nil || d.closed {
		return
	}
	next := shards.ShardID(len(w.shards))
	if at == other || e == nil || e.closed {
		half := len(d.keys) / 2
		d.closed = true
		w.shards[next], w.shards[next+1] = &domain{keys: d.keys[:half]}, &domain{keys: d.keys[half:]}
		b.stream.reshard(2, at)
		return
	}
	d.closed, e.closed = true, true
	w.shards[next] = &domain{keys: slices.Concat(d.keys, e.keys)}
	b.stream.reshard(1, at, other)
}

// checkEnd is what holds when all has had time enough.
func (w *world) checkEnd(b *bench) error {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong != "" {
		return errors.New(w.wrong)
	}
	s, err := b.Get("m")
	if err != nil {
		return err
	}
	for name, it := range w.records {
		switch {
		case !it.done && !w.filtered(it.key):
			return fmt.Errorf("%s of shard %d was left behind; %+v", name, it.shard, s.Shards[it.shard])
		case it.counted && !w.windowed[name] && w.mapping.MaxAttempts == 0 && w.mapping.MaxRecordAge == 0:
			return fmt.Errorf("%s was in no window's state when that closed", name)
		}
	}
	for i, shard := range s.Shards {
		if tip := b.stream.nextOf(i) - 1; record.Counter(tip) > 0 && shard.Checkpoint != tip {
			return fmt.Errorf("the checkpoint of shard %d is %d of %d: %+v", i, shard.Checkpoint, tip, shard)
		}
		if shard.State != ShardRunning && shard.State != ShardEnded || shard.Attempt != 0 || shard.IteratorAge != 0 {
			return fmt.Errorf("all is done, and shard %d is %+v", i, shard)
		}
	}
	return nil
}

// episode is one random run.
type episode struct {
	Seed    uint32
	Mapping Mapping
	Lambda  bool // the function takes Lambda's event
	Keys    int
	Steps   []happening
}

// happening is something that happens from outside.
type happening struct {
	Kind    string
	A, B    int
	Wait    time.Duration
	Mapping Mapping // change
}

// TestProperties runs random combinations of all settings against random functions, destinations, crashes and reshards.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := drawEpisode(rt)
		var err error
		synctest.Test(t, func(t *testing.T) { err = e.run(t) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func (e *episode) run(t *testing.T) error {
	b := &bench{t: t, streams: &fakeStreams{}, table: &fakeTable{}}
	b.functions = &fakeFunctions{kinds: map[string]runtime.Kinds{"f": runtime.AllKinds}}
	b.stream = b.streams.create("s", 2)
	w := &world{
		seed: e.Seed, mapping: e.Mapping, largest: e.Mapping.BatchSize, records: map[string]*item{}, keys: map[string][]*item{},
		shards: map[shards.ShardID]*domain{0: {}, 1: {}}, running: map[string]bool{}, attempts: map[string]int{}, windowed: map[string]bool{},
	}
	for k := range e.Keys {
		d := w.shards[shards.ShardID(k%2)]
		d.keys = append(d.keys, fmt.Sprint("k", k))
	}
	b.functions.handle, b.stream.saveErr = w.invoke, w.checkSave
	if e.Lambda {
		w.takeEvents(b)
	}
	b.destinations = w
	b.open()
	defer func() { b.close() }()
	m := e.Mapping
	b.put(func(x *Mapping) { *x = m })
	for _, s := range e.Steps {
		s.do(b, w, &m)
	}
	w.mu.Lock()
	w.down = false
	w.mu.Unlock()
	m.Disabled = false
	b.put(func(x *Mapping) { *x = m })
	time.Sleep(30 * 24 * time.Hour)
	return w.checkEnd(b)
}

func (s *happening) do(b *bench, w *world, m *Mapping) {
	shard := func(n int) shards.ShardID { return shards.ShardID(n % len(w.shards)) }
	switch s.Kind {
	case "put":
		w.put(b, shard(s.A), s.B)
	case "wait":
		time.Sleep(s.Wait)
	case "reshard":
		w.reshard(b, shard(s.A), shard(s.B))
	case "change":
		w.mu.Lock()
		w.largest = max(w.largest, s.Mapping.BatchSize)
		w.mu.Unlock()
		m.BatchSize, m.BatchWindow, m.Parallelization, m.Bisect, m.Isolate = s.Mapping.BatchSize, s.Mapping.BatchWindow, s.Mapping.Parallelization, s.Mapping.Bisect, s.Mapping.Isolate
		if m.TumblingWindow > 0 {
			m.Parallelization = 1
		}
		b.put(func(x *Mapping) { *x = *m })
	case "pause":
		m.Disabled = !m.Disabled
		b.put(func(x *Mapping) { *x = *m })
	case "stop":
		_ = b.Close(context.Background())
		b.open()
	case "kill":
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = b.Close(now)
		b.open()
	case "destination":
		w.mu.Lock()
		w.down = !w.down
		w.mu.Unlock()
	}
}
