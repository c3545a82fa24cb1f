package catalog

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/internal/broker"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashEnv); dir != "" {
		crashChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

var quiet = slog.New(slog.DiscardHandler)

// house is a broker and a catalog on one directory, as a host has them.
type house struct {
	broker  *broker.Broker
	catalog *Catalog
}

func (h *house) close(t testing.TB) {
	t.Helper()
	if h.catalog != nil {
		if err := h.catalog.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := h.broker.Close(); err != nil {
		t.Error(err)
	}
}

// tryHouse opens a house; with an error from the catalog only the broker is open.
func tryHouse(t testing.TB, dir string, o Options) (*house, error) {
	t.Helper()
	b, err := broker.Open(t.Context(), broker.Options{Dir: natsDir(dir), Logger: quiet})
	if err != nil {
		t.Fatalf("open the broker: %v", err)
	}
	o.JetStream, o.Dir, o.Logger = b.JetStream(), catalogDir(dir), quiet
	c, err := Open(t.Context(), o)
	return &house{b, c}, err
}

func openHouse(t testing.TB, dir string) *house {
	t.Helper()
	h, err := tryHouse(t, dir, Options{})
	if err != nil {
		h.close(t)
		t.Fatal(err)
	}
	return h
}

func natsDir(dir string) string    { return filepath.Join(dir, "nats") }
func catalogDir(dir string) string { return filepath.Join(dir, "catalog") }

func snapshotFile(dir string) string { return filepath.Join(catalogDir(dir), snapshotName) }

// newHouse opens a house in a new directory and closes it when the test ends.
func newHouse(t testing.TB) *house {
	t.Helper()
	h := openHouse(t, t.TempDir())
	t.Cleanup(func() { h.close(t) })
	return h
}

func (h *house) table(t testing.TB, name string) *Table {
	t.Helper()
	table, err := h.catalog.Table(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func mustCreate(t testing.TB, table *Table, key, value string) uint64 {
	t.Helper()
	revision, err := table.Create(t.Context(), key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func mustUpdate(t testing.TB, table *Table, key, value string, revision uint64) uint64 {
	t.Helper()
	revision, err := table.Update(t.Context(), key, []byte(value), revision)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func mustDelete(t testing.TB, table *Table, key string) {
	t.Helper()
	if err := table.Delete(t.Context(), key, 0); err != nil {
		t.Fatal(err)
	}
}

// content is what a table holds, without revisions.
func content(table *Table) map[string]string {
	m := map[string]string{}
	for _, e := range table.List() {
		m[e.Key] = string(e.Value)
	}
	return m
}

func wantNoAlarms(t testing.TB, c *Catalog) {
	t.Helper()
	for _, a := range c.Alarms() {
		t.Errorf("unexpected alarm: %s: %s %q", a.Kind, a.Detail, a.Lost)
	}
}
