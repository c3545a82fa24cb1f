package runtime

import (
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCutOff(t *testing.T) {
	age := func(second int, bytes int64) idleAge { return idleAge{time.Unix(int64(second), 0), bytes} }
	for _, tt := range []struct {
		name  string
		ages  []idleAge
		limit int64
		want  int // second; 0 is the zero time
	}{
		{"none", nil, 100, 0},
		{"so much is allowed", []idleAge{age(1, 50), age(2, 50)}, 100, 0},
		{"the last one stays, however large", []idleAge{age(9, 1000)}, 100, 0},
		{"all but the last one", []idleAge{age(3, 10), age(9, 1000), age(1, 10)}, 100, 9},
		{"the oldest, whatever their order", []idleAge{age(7, 40), age(2, 40), age(5, 40)}, 100, 5},
		{"an eighth is left free", []idleAge{age(1, 10), age(2, 10), age(3, 10), age(4, 80)}, 100, 4},
	} {
		want := time.Time{}
		if tt.want != 0 {
			want = time.Unix(int64(tt.want), 0)
		}
		if got := cutOff(tt.ages, tt.limit); !got.Equal(want) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
}

// idleAt makes an instance of a page that was used last at a second, and gives it to the pool.
func (p *pool) idleAt(t *testing.T, second int) *instance {
	t.Helper()
	if err := p.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	i := idleInstance(t)
	i.memory.Reallocate(wasmPage)
	p.add(i)
	i.usedAt = time.Unix(int64(second), 0)
	p.release(i, true)
	return i
}

// Of all functions' idle instances those used longest ago are closed, and what is counted is what there is.
func TestIdleMemoryOfAll(t *testing.T) {
	pools := []*pool{new(pool), new(pool)}
	shared := &idleMemory{limit: 3 * wasmPage, pools: func() []*pool { return pools }}
	for _, p := range pools {
		p.init(10, DefaultIdleBytes)
		p.shared = shared
	}
	a, b := pools[0].idleAt(t, 1), pools[1].idleAt(t, 2)
	c, d := pools[0].idleAt(t, 3), pools[1].idleAt(t, 4)
	if !a.closed() || !b.closed() || c.closed() || d.closed() || shared.used.Load() != 2*wasmPage {
		t.Errorf("closed %v %v %v %v, %d bytes are idle", a.closed(), b.closed(), c.closed(), d.closed(), shared.used.Load())
	}
	if i := pools[0].take(nil); i != c || shared.used.Load() != wasmPage {
		t.Errorf("%d bytes are idle beside the one that runs", shared.used.Load())
	}
	if err := pools[0].wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	pools[0].release(c, false)
	for _, p := range pools {
		p.drain()
		if n, _ := p.usage(); n != 0 || p.idleUsage() != 0 {
			t.Errorf("%d instances are left, %d bytes", n, p.idleUsage())
		}
	}
	if shared.used.Load() != 0 {
		t.Errorf("%d bytes are left", shared.used.Load())
	}
}

// Calls of many functions at once, with room for the idle instance of one: all are answered, and no more is held than may be.
func TestIdleMemoryWhileCalled(t *testing.T) {
	w := open(t, func(o *Options) { o.IdleBytes = 1 })
	names := strings.Split("abc", "")
	for _, name := range names {
		w.deploy(t, name, constant(t, name), Config{Concurrency: 2})
	}
	var tasks sync.WaitGroup
	for _, name := range names {
		tasks.Go(func() {
			for range 100 {
				if got, err := w.ask(t.Context(), name, ""); err != nil || got != name {
					t.Errorf("%s answers %q, %v", name, got, err)
				}
			}
		})
	}
	tasks.Wait()
	w.mustAsk(t, "a", "")
	idle, instances := uint64(0), 0
	for _, f := range w.all() {
		for _, v := range f.versions {
			idle += v.idleBytes()
		}
		instances += w.instances(f.name)
	}
	if instances != 1 || int64(idle) != w.idle.used.Load() {
		t.Errorf("%d instances are left; %d bytes, counted as %d", instances, idle, w.idle.used.Load())
	}
}

// The setting is part of the version, and stored where it is not the default.
func TestIdleMemoryIsStored(t *testing.T) {
	w := open(t)
	if f := w.deploy(t, "f", constant(t, "x"), Config{}); f.Config.IdleBytes != DefaultIdleBytes {
		t.Errorf("it has %d bytes", f.Config.IdleBytes)
	}
	if strings.Contains(string(w.stores.entries["f"].Value), "idleBytes") {
		t.Error("the default is stored")
	}
	w.deploy(t, "f", constant(t, "x"), Config{IdleBytes: 5 << 20})
	w = reopen(t, w.stores)
	f, err := w.Get("f")
	if err != nil || f.Version != 2 || f.Config.IdleBytes != 5<<20 || f.Versions[0].Config.IdleBytes != DefaultIdleBytes {
		t.Errorf("%+v, %v", f, err)
	}
}
