package runtime

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestLoaderRests(t *testing.T) {
	var l loader
	want := &program{}
	if l.rest(1) != nil {
		t.Error("there was nothing")
	}
	l.finish(want, nil)
	if l.rest(1) != nil {
		t.Error("unloaded when it had just been loaded")
	}
	if _, err := l.use(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if l.rest(1) != nil {
			t.Fatal("unloaded while in use")
		}
	}
	l.done()
	for n := range 3 {
		if l.rest(3) != nil != (n == 2) {
			t.Errorf("asked %d times", n+1)
		}
	}
	if state, _ := l.state(); state != StateActive || l.loaded() {
		t.Errorf("state %s, loaded %v", state, l.loaded())
	}
	again := &program{}
	if p, err := l.use(t.Context(), func() { go l.finish(again, nil) }); p != again || err != nil || !l.loaded() {
		t.Errorf("%p, %v", p, err)
	}
	l.done()
	if l.rest(3) != nil { // it was used
		t.Error("unloaded at once")
	}
	// What cannot be loaded again has failed, and is told so.
	if l.rest(1) != again {
		t.Error("not unloaded")
	}
	l.finish(nil, context.Canceled)
	if state, why := l.state(); state != StateFailed || why == "" {
		t.Errorf("state %s: %s", state, why)
	}
}

// An instance of a program that is being unloaded is given to nobody who has another one.
func TestPoolKeepsProgramsApart(t *testing.T) {
	var p pool
	p.init(3, DefaultIdleBytes)
	old, now := &program{}, &program{}
	var all []*instance
	for _, of := range []*program{old, now, old} {
		if err := p.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		i := idleInstance(t)
		i.program = of
		p.add(i)
		all = append(all, i)
	}
	for _, i := range all {
		p.release(i, true)
	}
	if i := p.take(now); i != all[1] {
		t.Errorf("%p is not the one", i)
	}
	if i := p.take(now); i != nil {
		t.Errorf("%p is of another program", i)
	}
	p.evict(old)
	if n, _ := p.usage(); n != 1 || !all[0].closed() || all[1].closed() || !all[2].closed() {
		t.Errorf("%d instances are left", n)
	}
	if err := p.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.release(all[1], true)
	p.evict(now)
	if n, _ := p.usage(); n != 0 || p.idleUsage() != 0 {
		t.Errorf("%d instances are left", n)
	}
}

// awaitRest waits until a function has nothing in memory.
func (w *world) awaitRest(t *testing.T, name string) {
	t.Helper()
	f, err := w.function("test", name)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(time.Millisecond); ; {
		loaded := 0
		for _, v := range f.versions {
			if v.code.loaded() {
				loaded++
			}
		}
		if loaded == 0 && w.instances(name) == 0 {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d versions are loaded, with %d instances", loaded, w.instances(name))
		}
	}
}

// gauge is the value of one of a function's gauges.
func gauge(t *testing.T, from *prometheus.Registry, name, function string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == function {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, function)
	return 0
}

// A function that nobody calls holds nothing, whatever leads to it, and answers the next call; what is told of it stays as it was.
func TestIdleFunctionsHoldNothing(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	w := open(t, func(o *Options) { o.IdleTimeout = 20 * time.Millisecond; o.Registerer = registry })
	w.deploy(t, "f", guests["probe"], Config{})
	if _, _, err := w.PutAlias(t.Context(), "f", Alias{Name: "old", Version: 1}); err != nil {
		t.Fatal(err)
	}
	w.deploy(t, "f", constant(t, "new"), Config{})
	w.deployScript(t, "s", `export default { invoke() { return "said" } };`, Config{Timeout: time.Minute})
	for range 3 {
		if got := w.mustAsk(t, "f", ""); got != "new" {
			t.Errorf("f answers %q", got)
		}
		if err := w.Invoke(t.Context(), Call{Function: "f", Alias: "old", Kind: KindInvoke, Body: []byte("echo x")}, new(Reply)); err != nil {
			t.Error(err)
		}
		if got := w.mustAsk(t, "s", ""); got != "said" {
			t.Errorf("s answers %q", got)
		}
		for _, name := range []string{"f", "s"} {
			w.awaitRest(t, name)
			for _, metric := range []string{"programs", "instances", "memory_bytes", "idle_memory_bytes", "snapshot_bytes"} {
				if n := gauge(t, registry, "shardmill_function_"+metric, name); n != 0 {
					t.Errorf("%s of %s is %v", metric, name, n)
				}
			}
			f, err := w.Get(name)
			if err != nil || f.State != StateActive || f.Start == StartUnknown || f.Versions[0].State != StateActive {
				t.Errorf("%s is %+v, %v", name, f, err)
			}
		}
	}
	// The script's program has left its version before it is closed, and the engine with it.
	scripts, loaded := &w.engine.scripts, true
	deadline, tick := time.After(time.Minute), time.NewTicker(time.Millisecond)
	for ; loaded; <-tick.C {
		select {
		case <-deadline:
			t.Fatal("the engine of scripts stays loaded")
		case scripts.turn <- struct{}{}:
		}
		loaded = scripts.base != nil
		<-scripts.turn
	}
	tick.Stop()
}

// Calls come whenever they like, while programs are unloaded all the time: each is answered.
func TestCallsWhileUnloading(t *testing.T) {
	w := open(t, func(o *Options) { o.IdleTimeout = time.Millisecond; o.IdleBytes = 3 * wasmPage })
	const functions = 8
	for n := range functions {
		w.deploy(t, strconv.Itoa(n), constant(t, strconv.Itoa(n)), Config{Concurrency: 2})
	}
	calls := func() {
		var tasks sync.WaitGroup
		for first := range 4 {
			tasks.Go(func() {
				for n := range 30 {
					name := strconv.Itoa((first + n*n) % functions)
					if got, err := w.ask(t.Context(), name, ""); err != nil || got != name {
						t.Errorf("%s answers %q, %v", name, got, err)
					}
				}
			})
		}
		tasks.Wait()
	}
	for range 2 {
		calls()
		for n := range functions {
			w.awaitRest(t, strconv.Itoa(n))
		}
	}
	if n := w.idle.used.Load(); n != 0 {
		t.Errorf("%d bytes are counted as idle", n)
	}
}

// Only so much code is loaded before anybody calls it, that of functions called last first.
func TestPreloadIsBounded(t *testing.T) {
	book := &notebook{early: [][]byte{[]byte(`{"invocations":[{"id":"a","function":"b","version":1,"outcome":"ok","started":"2026-01-02T03:04:05Z"}]}`)}}
	w := open(t)
	for _, name := range []string{"a", "b", "c"} {
		w.deploy(t, name, constant(t, name), Config{})
	}
	for _, f := range w.all() {
		v := f.latest()
		v.size = preloadBytes // as if it had so much code
		if err := w.save(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	w = reopen(t, w.stores, remembering(book))
	ready := func(name string) bool {
		f, err := w.Get(name)
		return err != nil || f.State == StateActive
	}
	for tick := time.NewTicker(time.Millisecond); !ready("a") || !ready("b") || !ready("c"); <-tick.C {
	}
	if !w.functions["b"].latest().code.touched {
		t.Error("the one called last was not loaded")
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "c"} {
		l := &w.functions[name].latest().code
		if state, _ := l.state(); l.touched || state != StateActive {
			t.Errorf("%s was loaded, or is %s", name, state)
		}
	}
}
