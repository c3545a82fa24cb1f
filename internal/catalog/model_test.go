package catalog

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// model is a catalog and what it must hold: random operations are done to both, with
// reopening and damage to one of the two copies in between.
type model struct {
	t    *testing.T
	rand *rand.Rand
	dir  string
	h    *house
	want map[id]change // the values and revisions acknowledged
	last uint64
	log  []string // what was done, for a failure's message
}

// TestModel runs the model with fixed seeds.
func TestModel(t *testing.T) {
	seeds := 10
	if os.Getenv(sweepEnv) == "1" {
		seeds = 300
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &model{
				t: t, rand: rand.New(rand.NewPCG(uint64(seed), 1)), dir: t.TempDir(), want: map[id]change{},
			}
			m.h = openHouse(t, m.dir)
			for range 60 {
				m.step()
				if t.Failed() {
					t.Fatalf("after %s", strings.Join(m.log, "\n"))
				}
			}
			m.h.close(t)
		})
	}
}

func (m *model) did(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

func (m *model) step() {
	switch n := m.rand.IntN(20); {
	case n < 7:
		m.create()
	case n < 12:
		m.update()
	case n < 17:
		m.delete()
	case n < 18:
		m.reopen("reopen", nil)
	case n < 19:
		m.reopen("damage JetStream", m.damageJetStream)
	default:
		m.reopen("damage the snapshot", m.damageSnapshot)
	}
}

// pick is one of a few entries, so that the operations meet.
func (m *model) pick() (*Table, id) {
	i := id{[]string{"streams", "mappings"}[m.rand.IntN(2)], fmt.Sprintf("k.%d", m.rand.IntN(5))}
	return m.h.table(m.t, i.table), i
}

func (m *model) value() []byte {
	return []byte(strings.Repeat(string(rune('a'+m.rand.IntN(26))), m.rand.IntN(3000)))
}

// acknowledged notes a write that succeeded.
func (m *model) acknowledged(i id, value []byte, revision uint64) {
	if revision <= m.last {
		m.t.Errorf("%v gets revision %d, %d was given before", i, revision, m.last)
	}
	m.last = revision
	m.want[i] = change{i, opPut, value, revision}
}

func (m *model) create() {
	table, i := m.pick()
	value := m.value()
	m.did("create %v", i)
	revision, err := table.Create(m.t.Context(), i.key, value)
	if _, exists := m.want[i]; exists {
		if !errors.Is(err, ErrExists) {
			m.t.Errorf("create of an existing %v: %v", i, err)
		}
		return
	}
	if err != nil {
		m.t.Error(err)
		return
	}
	m.acknowledged(i, value, revision)
}

func (m *model) update() {
	table, i := m.pick()
	value, now := m.value(), m.want[i]
	expected := now.revision
	if m.rand.IntN(4) == 0 {
		expected--
	}
	m.did("update %v at %d", i, expected)
	revision, err := table.Update(m.t.Context(), i.key, value, expected)
	switch {
	case now.revision == 0:
		if !errors.Is(err, ErrNotFound) {
			m.t.Errorf("update of a missing %v: %v", i, err)
		}
	case expected != now.revision:
		if !errors.Is(err, ErrConflict) {
			m.t.Errorf("update of %v at %d with %d: %v", i, now.revision, expected, err)
		}
	case err != nil:
		m.t.Error(err)
	default:
		m.acknowledged(i, value, revision)
	}
}

func (m *model) delete() {
	table, i := m.pick()
	m.did("delete %v", i)
	err := table.Delete(m.t.Context(), i.key, 0)
	if _, exists := m.want[i]; !exists {
		if !errors.Is(err, ErrNotFound) {
			m.t.Errorf("delete of a missing %v: %v", i, err)
		}
		return
	}
	if err != nil {
		m.t.Error(err)
	}
	delete(m.want, i)
	m.last++ // a deletion takes a revision
}

// reopen closes the house, does harm, opens it and compares.
func (m *model) reopen(what string, harm func()) {
	m.did("%s", what)
	m.h.close(m.t)
	if harm != nil {
		harm()
	}
	var err error
	if m.h, err = tryHouse(m.t, m.dir, Options{}); err != nil {
		m.h.close(m.t)
		m.t.Fatalf("%v, after %s", err, strings.Join(m.log, "\n"))
	}
	if harm == nil {
		wantNoAlarms(m.t, m.h.catalog)
	}
	want := map[id]string{}
	for i, c := range m.want {
		want[i] = string(c.value)
	}
	if got := everything(m.h); !maps.Equal(got, want) {
		m.t.Errorf("%d entries, want %d, or values differ; alarms %v", len(got), len(want), m.h.catalog.Alarms())
	}
	// A restore gives new revisions, above the old ones.
	for i, c := range m.want {
		e, err := m.h.table(m.t, i.table).Get(i.key)
		if err != nil || e.Revision < c.revision {
			m.t.Errorf("%v is at revision %d, was at %d: %v", i, e.Revision, c.revision, err)
			continue
		}
		c.revision = e.Revision
		m.want[i] = c
		m.last = max(m.last, e.Revision)
	}
}

// damageJetStream flips, cuts or removes one of JetStream's files.
func (m *model) damageJetStream() {
	dir := filepath.Join(natsDir(m.dir), "jetstream")
	files := listFiles(m.t, dir)
	m.harm(filepath.Join(dir, files[m.rand.IntN(len(files))]))
}

func (m *model) damageSnapshot() { m.harm(snapshotFile(m.dir)) }

func (m *model) harm(path string) {
	b := readFile(m.t, path)
	at := 0
	if len(b) > 0 {
		at = m.rand.IntN(len(b))
	}
	switch n := m.rand.IntN(6); {
	case n == 0:
		m.did("remove %s", filepath.Base(path))
		if err := os.Remove(path); err != nil {
			m.t.Error(err)
		}
	case n == 1:
		m.did("cut %s to %d", filepath.Base(path), at)
		writeFile(m.t, path, b[:at])
	case len(b) > 0:
		m.did("flip byte %d of %s", at, filepath.Base(path))
		b[at] ^= byte(1 + m.rand.IntN(255))
		writeFile(m.t, path, b)
	}
}
