package triggers

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/shards"
)

// crash is what is stored at a moment: as a host finds it that is started after an end without warning.
type crash struct {
	checkpoints map[string]shards.Checkpoint
	entries     map[string]catalog.Entry
}

// crashes notes what is stored before each write from now on.
func (b *bench) crashes() (list func() []crash) {
	var mu sync.Mutex
	var all []crash
	note := func() {
		mu.Lock()
		defer mu.Unlock()
		var c crash
		b.stream.mu.Lock()
		c.checkpoints = maps.Clone(b.stream.checkpoints)
		b.stream.mu.Unlock()
		b.table.mu.Lock()
		c.entries = maps.Clone(b.table.entries)
		b.table.mu.Unlock()
		all = append(all, c)
	}
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	b.stream.saving = func(_ context.Context, _ shards.Checkpoint) { note() }
	b.stream.deleting, b.table.writing = note, note
	return func() []crash {
		note()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// owners are the consumers that the definitions of c have.
func (c *crash) owners(t *testing.T) map[string]bool {
	t.Helper()
	owners := map[string]bool{}
	for _, e := range c.entries {
		def, err := parseDefinition(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		owners["mapping/"+def.ID] = true
		if def.Shadow != nil {
			owners["mapping/"+def.Shadow.ID], owners["shadow/"+def.Shadow.ID] = true, true
		}
	}
	return owners
}

// Whenever a host ends while mappings and shadows come and go, the next start leaves no checkpoint of what is not defined, and every other.
func TestStartRemovesWhatACrashHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.functions.versions = []int{1, 2, 3}
		b.stream.put(0, "before")
		for _, other := range []string{"lambda/async", "mapping/by-hand", "another"} {
			if _, err := b.stream.SaveCheckpoint(t.Context(), shards.Checkpoint{Consumer: other}); err != nil {
				t.Fatal(err)
			}
		}
		list := b.crashes()
		b.putVersion(1, func(m *Mapping) { m.StartingPosition = Newest })
		b.shadow(Shadow{Qualifier: "2"})
		b.stream.put(1, "x", "y")
		time.Sleep(10 * time.Second)
		b.shadow(Shadow{Qualifier: "3"})
		b.stream.put(0, "x")
		time.Sleep(10 * time.Second)
		if err := b.DeleteShadow(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		b.shadow(Shadow{Qualifier: "2", StartingPosition: Oldest})
		time.Sleep(10 * time.Second)
		if _, err := b.Promote(t.Context(), "m", ""); err != nil {
			t.Fatal(err)
		}
		b.shadow(Shadow{Qualifier: "3"})
		b.stream.put(0, "x")
		time.Sleep(10 * time.Second)
		if err := b.Delete(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		all := list()
		b.close()
		b.stream.saving, b.stream.deleting, b.table.writing = nil, nil, nil
		left := map[string]bool{}
		for _, c := range all {
			for consumer := range b.restarted(c) {
				left[consumer] = true
			}
		}
		b.open()
		kinds := map[string]int{}
		for consumer := range left {
			kind, _, _ := strings.Cut(consumer, "/")
			kinds[kind]++
		}
		if kinds["mapping"] != 5 || kinds["shadow"] != 4 { // the mapping and four shadows, and what each of those has found
			t.Errorf("the crashes have left: %v", left)
		}
	})
}

// restarted opens triggers on what a crash has stored, makes sure that the right checkpoints are there, and tells whose had been left.
func (b *bench) restarted(c crash) (left map[string]bool) {
	b.t.Helper()
	b.stream.mu.Lock()
	b.stream.checkpoints = maps.Clone(c.checkpoints)
	b.stream.mu.Unlock()
	b.table.mu.Lock()
	b.table.entries = maps.Clone(c.entries)
	b.table.mu.Unlock()
	b.open()
	owners := c.owners(b.t)
	b.stream.mu.Lock()
	after := maps.Clone(b.stream.checkpoints)
	b.stream.mu.Unlock()
	left = map[string]bool{}
	for key, cp := range c.checkpoints {
		wanted := owners[cp.Consumer] || !checkpointOwner.MatchString(cp.Consumer)
		if _, there := after[key]; there != wanted {
			b.t.Errorf("after a start the checkpoint %s is there: %v, want %v", key, there, wanted)
		}
		if !wanted {
			left[cp.Consumer] = true
		}
	}
	b.close()
	return left
}

// Where it is not known what there is, and where nothing says whose the streams are, nothing is removed; what cannot be removed harms no start.
func TestSweepOfCheckpointsIsCareful(t *testing.T) {
	gone, broken := "mapping/"+newID(), errors.New("the disk is gone")
	for name, c := range map[string]struct {
		change func(*bench)
		stays  bool
		logs   string
	}{
		"as it should be":             {func(*bench) {}, false, "consumers=1"},
		"a definition cannot be read": {func(b *bench) { b.table.entries["n"] = catalog.Entry{Key: "n", Value: []byte("{"), Revision: 9} }, true, "cannot be read"},
		"a definition of another form": {func(b *bench) {
			b.table.entries["n"] = catalog.Entry{Key: "n", Value: []byte(`{"format":2}`), Revision: 9}
		}, true, "has format 2"},
		"the stream is not there":        {func(b *bench) { b.streams.streams = map[string]*fakeStream{"t": b.stream} }, false, "consumers=1"},
		"it cannot be removed":           {func(b *bench) { b.streams.sweepErr = broken }, false, broken.Error()},
		"others use the streams as well": {func(b *bench) { b.shared = true }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				b.put(func(m *Mapping) { m.StartingPosition = Newest })
				own := "mapping/" + b.id()
				b.close()
				if _, err := b.stream.SaveCheckpoint(t.Context(), shards.Checkpoint{Consumer: gone}); err != nil {
					t.Fatal(err)
				}
				c.change(b)
				b.logged = new(bytes.Buffer)
				b.open()
				_, stays := b.stream.Checkpoint(gone, 0)
				if _, kept := b.stream.Checkpoint(own, 0); !kept || stays != c.stays {
					t.Errorf("the mapping's is there: %v, the other %v", kept, stays)
				}
				if !strings.Contains(b.logged.String(), c.logs) {
					t.Errorf("logged: %s", b.logged)
				}
			})
		})
	}
}

func TestOnlyOwnCheckpointsAreSwept(t *testing.T) {
	d := definition{ID: newID(), Shadow: &shadowDefinition{ID: newID()}}
	reading := d.shadowed()
	for _, own := range []string{d.consumer(), reading.consumer(), d.Shadow.reporter()} {
		if !checkpointOwner.MatchString(own) {
			t.Errorf("%s is not known as a mapping's", own)
		}
	}
	for _, other := range []string{
		"", "mapping/", "mapping/m", "lambda/async", d.ID, "consumer/" + d.ID, d.consumer() + "/1", "x" + d.consumer(), strings.ToUpper(d.consumer()), d.consumer() + "\n",
		producer(d.ID, 1),
	} {
		if checkpointOwner.MatchString(other) {
			t.Errorf("%s is taken for a mapping's", other)
		}
	}
}
