package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
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

// emitter is a function that emits for each record it settles, and fails, asks again and is throttled as its seed says. What it emits is
// settled by the records it is handed, as ExactlyOnce asks of functions that emit to several streams.
type emitter struct {
	seed   uint32
	outlet *outlet

	mu       sync.Mutex
	attempts map[string]int
	calls    int
	wrong    string
}

func (f *emitter) chance(of ...any) int {
	h := fnv.New32a()
	fmt.Fprint(h, f.seed, of)
	return int(h.Sum32() >> 3 % 100)
}

func (f *emitter) poisoned(text string) bool { return f.chance("poisoned", text) < 5 }

// elsewhere says whether a record has a second output.
func (f *emitter) elsewhere(text string) bool { return f.chance("elsewhere", text) < 50 }

func (f *emitter) silent(text string) bool { return f.chance("silent", text) < 20 }

func (f *emitter) invoke(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
	f.mu.Lock()
	f.calls++
	n := f.calls
	f.mu.Unlock()
	if !sleep(ctx, time.Duration(f.chance("takes", n))*time.Millisecond) {
		return ctx.Err()
	}
	if f.chance("throttled", n) < 5 {
		return runtime.ErrThrottled
	}
	var state []string
	if len(c.State) > 0 {
		if err := json.Unmarshal(c.State, &state); err != nil {
			f.violated("state %q", c.State)
		}
	}
	if c.Kind == runtime.KindWindowClose {
		if f.chance("close fails", n) < 20 {
			return failure("it does not close")
		}
		return f.outlet.emit(ctx, &c, reply, emission{"a", prefixed("window of ", state)}, emission{"b", prefixed("window of ", state)})
	}
	texts := textOf(c.Records)
	for i, text := range texts {
		if f.fails(text) {
			return failure(text)
		}
		if i > 0 && f.chance("again", text) < 5 { // always, so that a second call with the same records says the same
			reply.Outcomes = append(reply.Outcomes, runtime.Outcome{Index: i, Result: runtime.ResultRetry})
			texts = texts[:i]
			break
		}
	}
	if f.chance("too early", n) < 3 { // emits, and says that it has done nothing
		reply.Outcomes = []runtime.Outcome{{Index: 0, Result: runtime.ResultRetry}}
	}
	if !c.Window.Start.IsZero() {
		reply.State, _ = json.Marshal(append(state, texts...))
	}
	a := slices.DeleteFunc(slices.Clone(texts), f.silent)
	b := slices.DeleteFunc(slices.Clone(a), func(text string) bool { return !f.elsewhere(text) })
	if err := f.outlet.emit(ctx, &c, reply, emission{"a", a}, emission{"b", b}); err != nil {
		return err
	}
	if f.chance("conflict", n) < 5 { // of its state with another call's, which is seen behind the outputs
		return failure("conflict")
	}
	return nil
}

func prefixed(prefix string, list []string) (out []string) {
	for _, text := range list {
		out = append(out, prefix+text)
	}
	return out
}

func (f *emitter) fails(text string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts[text]++
	c := f.chance("fails", text)
	return f.poisoned(text) || c < 15 && f.attempts[text] <= c%4
}

func (f *emitter) violated(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wrong == "" {
		f.wrong = fmt.Sprintf(format, args...)
	}
}

// voyage is one random run with crashes.
type voyage struct {
	Seed    uint32
	Mapping Mapping
	Steps   []happening
}

// Whatever the settings, after crashes at any write each record that is settled has been put once into each of two streams.
func TestEachOutputIsPutOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := voyage{Seed: rapid.Uint32().Draw(rt, "seed"), Mapping: drawSettings(rt)}
		v.Mapping.ExactlyOnce, v.Mapping.Qualifier, v.Mapping.Aggregated = true, "", false // its function knows records by their texts
		v.Mapping.MaxAttempts = rapid.IntRange(1, 4).Draw(rt, "attempts")
		kinds := strings.Fields("put put put put wait crash crash stop change pause reshard")
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			s := happening{Kind: rapid.SampledFrom(kinds).Draw(rt, "step"), A: rapid.IntRange(0, 12).Draw(rt, "a"), B: rapid.IntRange(1, 6).Draw(rt, "b")}
			s.Wait = drawDuration(rt, "wait", time.Minute)
			s.Mapping = drawSettings(rt)
			v.Steps = append(v.Steps, s)
		}
		var err error
		synctest.Test(t, func(t *testing.T) { err = v.run(t) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func (v *voyage) run(t *testing.T) error {
	b := newBench(t, 2)
	f := &emitter{seed: v.Seed, outlet: b.outlet, attempts: map[string]int{}}
	b.functions.handle, b.stream.saveErr = f.invoke, b.outlet.checkSave
	m := v.Mapping
	b.put(func(x *Mapping) { *x = m })
	n, open := 0, []int{0, 1}
	for _, s := range v.Steps {
		switch s.Kind {
		case "put":
			n = f.put(b, open[s.A%len(open)], n, s.B)
		case "wait":
			time.Sleep(s.Wait)
		case "crash":
			b.outlet.crash(s.A)
			n = f.put(b, open[s.A%len(open)], n, 3*s.B)
			time.Sleep(s.Wait)
			restart(b, true)
		case "stop":
			restart(b, false)
		case "change":
			m.BatchSize, m.BatchWindow, m.Bisect, m.Isolate = s.Mapping.BatchSize, s.Mapping.BatchWindow, s.Mapping.Bisect, s.Mapping.Isolate
			if m.TumblingWindow == 0 {
				m.Parallelization = s.Mapping.Parallelization
			}
			b.put(func(x *Mapping) { *x = m })
		case "pause":
			m.Disabled = !m.Disabled
			b.put(func(x *Mapping) { *x = m })
		case "reshard":
			at := s.A % len(open)
			next := len(b.stream.Shards())
			b.stream.reshard(2, shards.ShardID(open[at]))
			open = slices.Concat(slices.Delete(open, at, at+1), []int{next, next + 1})
		}
	}
	m.Disabled = false
	b.put(func(x *Mapping) { *x = m })
	time.Sleep(30 * 24 * time.Hour)
	synctest.Wait()
	return f.check(b, n, &m)
}

// restart ends the host, by a crash or in order, and starts it again.
func restart(b *bench, crash bool) {
	shut(b, crash)
	b.outlet.restart()
	b.open()
}

// shut is the end of a host, after which none of its calls is made any more.
func shut(b *bench, crash bool) {
	ctx, cancel := context.WithCancel(context.Background())
	if crash {
		cancel()
	}
	defer cancel()
	_ = b.Close(ctx)
}

// put stores records, some of them aggregated, whose texts are the numbers from n on.
func (f *emitter) put(b *bench, shard, n, count int) int {
	var list []record.Record
	for end := n + count; n < end; {
		if f.chance("aggregated", n) < 30 {
			var users []aggregatetest.User
			for range 1 + f.chance("users", n)%7 {
				users = append(users, aggregatetest.User{Key: fmt.Sprint("k", n%3), Data: fmt.Sprint(n)})
				n++
			}
			list = append(list, record.Record{Key: []byte("a"), Data: aggregatetest.Encode(users...)})
			continue
		}
		list = append(list, record.Record{Key: fmt.Append(nil, "k", n%3), Data: fmt.Append(nil, n)})
		n++
	}
	b.stream.putRecords(shard, list)
	return n
}

// check wants each record's outputs once, and none of those that were given up twice.
func (f *emitter) check(b *bench, n int, m *Mapping) error {
	if f.wrong != "" {
		return errors.New(f.wrong)
	}
	givenUp := map[string]bool{}
	list, texts := b.failures.deliveries()
	windows := false // the state of one was given up
	for i, failure := range list {
		for _, text := range texts[i] {
			givenUp[text] = true
		}
		windows = windows || failure.Count == 0
	}
	a, other := b.outlet.emitted("a"), b.outlet.emitted("b")
	for i := range n {
		text := fmt.Sprint(i)
		passed := len(m.Filters) == 0 || i%3 != 0
		wantA, wantB := passed && !f.silent(text), passed && !f.silent(text) && f.elsewhere(text)
		wantW := passed && m.TumblingWindow > 0
		for name, put := range map[string]struct {
			count int
			want  bool
			loss  bool
		}{
			"a": {a[text], wantA, givenUp[text]}, "b": {other[text], wantB, givenUp[text]},
			"window in a": {a["window of "+text], wantW, givenUp[text] || windows}, "window in b": {other["window of "+text], wantW, givenUp[text] || windows},
		} {
			switch {
			case put.count > 1, put.count == 1 && !put.want:
				return fmt.Errorf("%s was put %d times into %s", text, put.count, name)
			case put.count == 0 && put.want && !put.loss:
				return fmt.Errorf("%s was not put into %s", text, name)
			}
		}
	}
	s, err := b.Get("m")
	if err != nil {
		return err
	}
	for i, shard := range s.Shards {
		if tip := b.stream.nextOf(i) - 1; record.Counter(tip) > 0 && shard.Checkpoint != tip {
			return fmt.Errorf("the checkpoint of shard %d is %d of %d: %+v", i, shard.Checkpoint, tip, shard)
		}
		if shard.State == ShardEnded && len(b.outlet.Producers(producer(s.ID, shards.ShardID(i)))) > 0 {
			return fmt.Errorf("shard %d has ended, and its markers are there", i)
		}
	}
	return nil
}
